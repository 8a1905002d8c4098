package engine

import (
	"time"

	"tuco/engine/quota"
	"tuco/kv"
)

// PlanUsage is what a pool has used of its plan, as it is stored: it is written in the transaction
// that charges, so it always equals what the messages say.
type PlanUsage struct {
	Day      quota.Label `json:"day"`
	Messages int64       `json:"messages"` // of the day
	Month    int64       `json:"month"`    // messages of the day's month
	Contacts int64       `json:"contacts"` // new ones of the day
}

// charge adds units that carry a day's label; n may be negative. A label that is over changes only
// what is still open of it: the month.
func (u *PlanUsage) charge(day quota.Label, messages, contacts int64) {
	if day > u.Day {
		if day.Month() != u.Day.Month() {
			u.Month = 0
		}
		u.Day, u.Messages, u.Contacts = day, 0, 0
	}
	if day == u.Day {
		u.Messages += messages
		u.Contacts += contacts
	}
	if day.Month() == u.Day.Month() {
		u.Month += messages
	}
}

// LineUsage is what a line has used of its UTC day, and when it last sent.
type LineUsage struct {
	Day           quota.Label `json:"day"`
	Messages      int64       `json:"messages"`
	Conversations int64       `json:"conversations"` // new ones
	LastSend      time.Time   `json:"lastSend,omitzero"`
	LastFirst     time.Time   `json:"lastFirst,omitzero"` // send of a first message
	Failures      int64       `json:"failures,omitzero"`  // in a row
}

func (u *LineUsage) charge(day quota.Label, messages, conversations int64) {
	if day > u.Day {
		u.Day, u.Messages, u.Conversations = day, 0, 0
	}
	if day == u.Day {
		u.Messages += messages
		u.Conversations += conversations
	}
}

func usageBucket(w WorkspaceID) kv.Bucket[PlanUsage] {
	return kv.Bucket[PlanUsage]{Path: w.path().Join("usage"), Codec: planUsageCodec}
}

// chargePlan writes a pool's usage after adding to it.
func (env *environment) chargePlan(tx *kv.Tx, day quota.Label, messages, contacts int64) {
	key := []byte(env.name.pool())
	u, _ := env.usage.Get(tx, key)
	u.charge(day, messages, contacts)
	env.usage.Put(tx, key, u)
}

// chargeLine writes a line's usage after adding to it.
func (env *environment) chargeLine(tx *kv.Tx, identity string, day quota.Label, messages, conversations int64) {
	u, _ := env.store.lineUsage.Get(tx, []byte(identity))
	u.charge(day, messages, conversations)
	env.store.lineUsage.Put(tx, []byte(identity), u)
}

// loadCounters rebuilds a pool's counters from what is stored.
func loadCounters(tx *kv.Tx, w Workspace, p pool) *counters {
	u, _ := usageBucket(w.ID).Get(tx, []byte(p))
	none := quota.Sums{First: quota.Unlimited, Second: quota.Unlimited}
	return &counters{
		messages: quota.NewCounter(true, u.Day, quota.Sums{First: u.Messages, Second: u.Month}, none),
		contacts: quota.NewCounter(false, u.Day, quota.Sums{First: u.Contacts}, none),
	}
}

// dayEnds is when a day and its month end somewhere.
type dayEnds struct {
	zone       *time.Location
	day        quota.Label
	end, month time.Time
}

// ends returns when a day and its month end, which every answer to a send says.
func (t *tenant) ends(zone *time.Location, day quota.Label) (end, month time.Time) {
	known := t.dayEnds.Load()
	if known == nil || known.zone != zone || known.day != day {
		known = &dayEnds{zone, day, day.End(zone), day.MonthEnd(zone)}
		t.dayEnds.Store(known)
	}
	return known.end, known.month
}

// planDay is today's label in the workspace's time zone.
func (t *tenant) planDay() quota.Label {
	now, _ := t.engine.clock.trusted()
	return quota.DayOf(now, t.zone.Load())
}

// lineDay is today's label for lines.
func (e *Engine) lineDay() quota.Label {
	now, _ := e.clock.trusted()
	return quota.DayOf(now, time.UTC)
}

// A LimitState is where a limit stands.
type LimitState struct {
	Name     string // messages_per_day, messages_per_month, new_contacts_per_day, requests_per_minute, line_messages_per_day, line_new_conversations_per_day
	Line     LineID // of the line limits
	Limit    int64  // [quota.Unlimited] if there is none
	Used     int64  // stored
	Reserved int64  // asked for by requests that are not decided yet
	Window   time.Duration
	ResetsAt time.Time
}

// Remaining is what is left, never below 0.
func (l LimitState) Remaining() int64 { return max(0, l.Limit-l.Used-l.Reserved) }

// Unlimited tells whether there is no limit.
func (l LimitState) Unlimited() bool { return l.Limit >= quota.Unlimited }

const day = 24 * time.Hour

// planLimits are the states of a pool's plan ceilings.
func (env *environment) planLimits() []LimitState {
	t, c := env.tenant, env.counters
	zone, today := t.zone.Load(), t.planDay()
	m, n := c.messages.Usage(), c.contacts.Usage()
	today = max(today, m.Day, n.Day)
	if m.Day < today { // nothing was asked for yet today
		if m.Day.Month() != today.Month() {
			m.Committed.Second, m.Reserved.Second = 0, 0
		}
		m.Committed.First, m.Reserved.First = 0, 0
	}
	if n.Day < today {
		n.Committed, n.Reserved = quota.Sums{}, quota.Sums{}
	}
	end, month := t.ends(zone, today)
	ml, nl := c.messages.Limits(), c.contacts.Limits()
	return []LimitState{
		{Name: limitDay, Limit: ml.First, Used: m.Committed.First, Reserved: m.Reserved.First, Window: day, ResetsAt: end},
		{Name: limitMonth, Limit: ml.Second, Used: m.Committed.Second, Reserved: m.Reserved.Second, Window: 30 * day, ResetsAt: month},
		{Name: limitContacts, Limit: nl.First, Used: n.Committed.First, Reserved: n.Reserved.First, Window: day, ResetsAt: end},
	}
}

// The names of the limits, as answers carry them.
const (
	limitDay               = "messages_per_day"
	limitMonth             = "messages_per_month"
	limitContacts          = "new_contacts_per_day"
	limitPhoneLines        = "phone_lines"
	limitEmailLines        = "email_lines"
	limitRequests          = "requests_per_minute"
	limitLineMessages      = "line_messages_per_day"
	limitLineConversations = "line_new_conversations_per_day"
)

// PlanLimits are the names of the limits whose reaching refuses a request. Those of lines put messages off.
var PlanLimits = []string{limitDay, limitMonth, limitContacts, limitPhoneLines, limitEmailLines, limitRequests}

// lineLimits are the states of a line's limits of the day.
func (l *lineState) limits(today quota.Label) []LimitState {
	u, limits := l.counter.Usage(), l.counter.Limits()
	if u.Day < today {
		u.Committed, u.Reserved = quota.Sums{}, quota.Sums{}
	}
	end := max(today, u.Day).End(time.UTC)
	return []LimitState{
		{Name: limitLineMessages, Line: l.ID, Limit: limits.First, Used: u.Committed.First, Reserved: u.Reserved.First, Window: day, ResetsAt: end},
		{Name: limitLineConversations, Line: l.ID, Limit: limits.Second, Used: u.Committed.Second, Reserved: u.Reserved.Second, Window: day, ResetsAt: end},
	}
}

// Usage returns every limit of the caller's plan and lines.
func (e *Engine) Usage(who Caller) ([]LimitState, error) {
	if err := who.Require(UsageRead); err != nil {
		return nil, err
	}
	all := who.env.planLimits()
	all = append(all, who.tenant.rates.Load().states(e.clock.ticks())...)
	today := e.lineDay()
	for _, l := range who.env.lines.Load().all {
		all = append(all, l.limits(today)...)
	}
	return all, nil
}
