package engine

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"tuco/engine/quota"
	"tuco/engine/schedule"
	"tuco/kv"
)

// Status is where a message stands.
type Status string

// The statuses. All but Uncertain are documented; on the wire Uncertain is "sending".
const (
	Queued    Status = "queued"    // waits for a limit, a window or a new attempt
	Pending   Status = "pending"   // waits for its line
	Sending   Status = "sending"   // handed over; its outcome is not known yet
	Sent      Status = "sent"      // accepted by the provider
	Delivered Status = "delivered" // confirmed
	Failed    Status = "failed"    // refused, or given up after retries
	Fallback  Status = "fallback"  // the person can't be reached on this channel
	Scheduled Status = "scheduled" // goes at a later date
	Cancelled Status = "cancelled"
	Uncertain Status = "unknown" // was handed over, and nobody can tell whether it arrived
)

// statusCodes are the statuses in keys.
var statusCodes = map[Status]byte{
	Queued: 1, Pending: 2, Sending: 3, Sent: 4, Delivered: 5, Failed: 6, Fallback: 7, Scheduled: 8, Cancelled: 9, Uncertain: 10,
}

// waits tells whether a message was not handed over yet, so that it can still be cancelled.
func (s Status) waits() bool { return s == Queued || s == Pending || s == Scheduled }

// A Message is one send to one person.
type Message struct {
	ID              MessageID `json:"id"`
	Text            string    `json:"text,omitzero"` // with placeholders until it is handed over
	Attachments     []string  `json:"attachments,omitzero"`
	AttachmentNames []string  `json:"attachmentNames,omitzero"`
	Channel         Channel   `json:"channel"`
	Status          Status    `json:"status"`
	Reason          string    `json:"reason,omitzero"` // why it waits, for people

	To            []string `json:"to"` // addresses to try, in order; the first names the person
	RecipientName string   `json:"recipientName,omitzero"`
	Lead          LeadID   `json:"lead,omitzero"`
	Line          LineID   `json:"line,omitzero"`
	Pinned        bool     `json:"pinned,omitzero"` // the request named the line

	Scheduled time.Time `json:"scheduled,omitzero"` // the date that was asked for, or to which a limit put it off
	Due       time.Time `json:"due,omitzero"`       // when it can go, as far as is known
	Place     place     `json:"place,omitzero"`     // where it waits
	Window    Window    `json:"window,omitzero"`

	Plan     PlanUnit `json:"plan,omitzero"`
	Unit     LineUnit `json:"unit,omitzero"`
	Attempts int      `json:"attempts,omitzero"`

	BatchID       string `json:"batchId,omitzero"`
	CorrelationID string `json:"correlationId,omitzero"`
	Owner         string `json:"owner,omitzero"` // contactOwnerEmail
	CRM           CRM    `json:"crm,omitzero"`
	MadeBy        string `json:"madeBy"`

	SentAt      time.Time `json:"sentAt,omitzero"`
	DeliveredAt time.Time `json:"deliveredAt,omitzero"`
	ExternalID  string    `json:"externalId,omitzero"`
	Error       string    `json:"error,omitzero"`
	Checked     []string  `json:"checked,omitzero"`
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
}

// A PlanUnit is what a message was charged of the plan, each under the label of its day. Labels are
// stored with the unit and never computed again. Zero: nothing yet.
type PlanUnit struct {
	Day      quota.Label `json:"day,omitzero"`
	Contact  quota.Label `json:"contact,omitzero"` // the day of the new-contact unit; zero if it was no new contact
	Released bool        `json:"released,omitzero"`
}

// A LineUnit is what a message has of its line's UTC day. Zero: nothing.
type LineUnit struct {
	Day   quota.Label `json:"day,omitzero"`
	First bool        `json:"first,omitzero"` // with a new conversation
}

// place is where a message waits.
type place string

const (
	nowhere place = ""
	inDue   place = "due"   // for a time
	inReady place = "ready" // for its line
)

// A Window is when a message may go, as its request said.
type Window struct {
	Timezone string `json:"timezone,omitzero"`
	Start    string `json:"start,omitzero"`
	End      string `json:"end,omitzero"`
	Days     []int  `json:"days,omitzero"`
	Deferral string `json:"deferral,omitzero"` // when a message goes that was put off; Start if empty
}

// parse returns the window, and false if there is none.
func (w Window) parse() (parsed schedule.Window, ok bool, err error) {
	if w.Start == "" && w.End == "" && len(w.Days) == 0 {
		return parsed, false, nil
	}
	if parsed.Zone, err = schedule.LoadZone(w.Timezone); err != nil {
		return parsed, false, err
	}
	if parsed.Days, err = schedule.ParseWeekdays(w.Days); err != nil {
		return parsed, false, err
	}
	if w.Start == "" && w.End == "" {
		return parsed, true, nil
	}
	if parsed.Start, err = schedule.ParseClock(w.Start); err != nil {
		return parsed, false, err
	}
	parsed.End, err = schedule.ParseClock(w.End)
	return parsed, true, err
}

// opens is when the message may go at t or later.
func (w Window) opens(t time.Time) time.Time {
	if parsed, ok, err := w.parse(); ok && err == nil { // it was checked when the message came
		return parsed.Next(t)
	}
	return t
}

// The line limits put a message off to this hour, unless its request names another.
const (
	deferralZone  = "America/New_York"
	deferralClock = "09:00"
)

// deferral is when a message goes that found its line's day spent: the first 09:00 after that day.
func (w Window) deferral(spent quota.Label) time.Time {
	zone, err := schedule.LoadZone(w.Timezone)
	if err != nil {
		zone, _ = schedule.LoadZone(deferralZone)
	}
	clock, err := schedule.ParseClock(cmp.Or(w.Deferral, w.Start))
	if err != nil {
		clock, _ = schedule.ParseClock(deferralClock)
	}
	return w.opens(schedule.NextAt(spent.End(time.UTC), clock, zone)).UTC()
}

// indexKey is one entry of one index.
type indexKey struct {
	index kv.Index
	key   string
}

// indexKeys are all index entries of a message. They follow from the message alone.
func (env *environment) indexKeys(m *Message) []indexKey {
	s, id := &env.store, m.ID.key()
	keys := []indexKey{{s.messageByStatus, string(kv.Key([]byte{statusCodes[m.Status]}, id))}}
	add := func(index kv.Index, parts ...[]byte) {
		keys = append(keys, indexKey{index, string(append(kv.Key(parts...), id...))})
	}
	if !m.Lead.IsZero() {
		add(s.messageByLead, m.Lead.key())
	}
	if !m.Line.IsZero() {
		add(s.messageByLine, m.Line.key())
	}
	if m.BatchID != "" {
		add(s.messageByBatch, addressKey(m.BatchID))
	}
	if m.Status != Cancelled {
		for _, addr := range m.To { // any of them may be the one that is reached
			add(s.messageByAddr, personKey(addr, m.Plan.Day != 0, m.unitLine()))
		}
	}
	if m.Plan.Released {
		add(s.released, binary.BigEndian.AppendUint32(nil, uint32(m.Plan.Day)))
	}
	switch m.Place {
	case inDue:
		add(s.due, timeKey(m.Due))
	case inReady:
		add(s.ready, readyKey(m.Line, m.Unit.First), timeKey(m.Due))
	}
	return keys
}

// unitLine is the line that the message has a unit of.
func (m *Message) unitLine() LineID {
	if m.Unit.Day == 0 {
		return LineID{}
	}
	return m.Line
}

// personKey begins the index entries of a person's messages: those that were charged to the plan
// apart from those that were not, and each line's apart.
func personKey(person string, charged bool, line LineID) []byte {
	return kv.Key(personPrefix(person, charged), line.key())
}

func personPrefix(person string, charged bool) []byte {
	if charged {
		return addressKey(person, []byte{1})
	}
	return addressKey(person, []byte{0})
}

// readyKey begins the entries of a line's waiting messages: first messages apart, since they keep a
// longer gap.
func readyKey(line LineID, first bool) []byte {
	if first {
		return kv.Key(line.key(), []byte{1})
	}
	return kv.Key(line.key(), []byte{0})
}

// newContact tells whether nothing was ever charged for one of the addresses: each is a person who may be
// reached.
func (env *environment) newContact(tx *kv.Tx, to []string) bool {
	return slices.ContainsFunc(to, func(addr string) bool {
		return !env.store.messageByAddr.Any(tx, kv.Prefix(personPrefix(addr, true)))
	})
}

// newConversation tells whether the line never had a unit for one of the addresses.
func (env *environment) newConversation(tx *kv.Tx, to []string, line LineID) bool {
	return slices.ContainsFunc(to, func(addr string) bool {
		return !env.store.messageByAddr.Any(tx, kv.Prefix(personKey(addr, true, line)))
	})
}

// putMessage stores m in place of old, nil for none, with its index entries.
func (env *environment) putMessage(tx *kv.Tx, old, m *Message) {
	keys := env.indexKeys(m)
	if old != nil {
		for _, k := range env.indexKeys(old) {
			if !slices.Contains(keys, k) {
				k.index.Delete(tx, []byte(k.key))
			}
		}
	}
	for _, k := range keys {
		k.index.Put(tx, []byte(k.key))
	}
	env.store.messages.Put(tx, m.ID.key(), *m)
}
