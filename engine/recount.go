package engine

import (
	"encoding/binary"
	"time"

	"tuco/engine/quota"
	"tuco/kv"
)

// A tally is what messages say has been used, counted anew from their labels.
type tally struct {
	messages map[quota.Label]int64 // by plan day
	contacts map[quota.Label]int64
	lines    map[lineDay]quota.Sums
	restored PlanUsage // that no message stands for
}

type lineDay struct {
	line LineID
	day  quota.Label
}

func newTally() *tally {
	return &tally{messages: map[quota.Label]int64{}, contacts: map[quota.Label]int64{}, lines: map[lineDay]quota.Sums{}}
}

func (t *tally) add(m *Message) {
	if m.Plan.Day != 0 {
		t.messages[m.Plan.Day]++
	}
	if m.Plan.Contact != 0 {
		t.contacts[m.Plan.Contact]++
	}
	if m.Unit.Day != 0 {
		key := lineDay{m.Line, m.Unit.Day}
		n, needs := t.lines[key], (&candidate{first: m.Unit.First}).needs()
		t.lines[key] = quota.Sums{First: n.First + needs.First, Second: n.Second + needs.Second}
	}
}

// plan is what was used under the labels of u's day and month, with what was restored of that.
func (t *tally) plan(u PlanUsage) PlanUsage {
	extra := u.under(t.restored)
	n := PlanUsage{Day: u.Day, Messages: t.messages[u.Day] + extra.Messages, Contacts: t.contacts[u.Day] + extra.Contacts, Month: extra.Month}
	for day, messages := range t.messages {
		if day.Month() == u.Day.Month() {
			n.Month += messages
		}
	}
	return n
}

// byIdentity adds up the lines' days by what their counters are kept under.
func (t *tally) byIdentity(tx *kv.Tx, env *environment) map[string]map[quota.Label]quota.Sums {
	all := map[string]map[quota.Label]quota.Sums{}
	for key, n := range t.lines {
		l, _ := env.store.lines.Get(tx, key.line.key())
		if all[l.identity()] == nil {
			all[l.identity()] = map[quota.Label]quota.Sums{}
		}
		sum := all[l.identity()][key.day]
		all[l.identity()][key.day] = quota.Sums{First: sum.First + n.First, Second: sum.Second + n.Second}
	}
	return all
}

// withRestored adds what no message stands for.
func withRestored(tx *kv.Tx, env *environment, all map[string]map[quota.Label]quota.Sums) map[string]map[quota.Label]quota.Sums {
	for identity, r := range env.restoredLines().Scan(tx, kv.Range{}) {
		days := all[string(identity)]
		if days == nil {
			days = map[quota.Label]quota.Sums{}
			all[string(identity)] = days
		}
		days[r.Day] = quota.Sums{First: days[r.Day].First + r.Messages, Second: days[r.Day].Second + r.Conversations}
	}
	return all
}

// recountAtMost is how many messages a start looks at, in all workspaces together. Looking at more would
// keep everyone waiting, and stored totals are written in the transaction that charges: what the start
// leaves out, [Engine.Check] compares.
const recountAtMost = 100_000

// recount compares the counters with the messages of the days that are open, and of the month if the
// plan limits it. Where they differ the larger figure holds: better too few messages than one too many.
// It looks at up to most messages, and returns at how many; where there are more it compares nothing.
func (t *tenant) recount(tx *kv.Tx, most int) (looked int, compared bool) {
	used := map[pool]PlanUsage{}
	plans := map[pool]*tally{}
	month := t.plan.Load().MessagesPerMonth > 0
	for p := range t.pools {
		used[p], _ = usageBucket(t.id).Get(tx, []byte(p))
		plans[p] = newTally()
		plans[p].restored, _ = restoredUsage(t.id).Get(tx, []byte(p))
		if n := used[p].Messages; n > int64(most) || month && used[p].Month > int64(most) {
			return 0, false
		}
	}
	tallies := map[*environment]*tally{}
	for _, env := range t.envs {
		p := env.name.pool()
		own, n, all := env.tallySince(tx, used[p].Day, month, most-looked)
		if looked += n; !all {
			return looked, false
		}
		for day, n := range own.messages {
			plans[p].messages[day] += n
		}
		for day, n := range own.contacts {
			plans[p].contacts[day] += n
		}
		tallies[env] = own
	}
	for env, own := range tallies {
		env.recountLines(tx, own)
	}
	for p, c := range t.pools {
		stored, counted := used[p], plans[p].plan(used[p])
		if !month {
			counted.Month = stored.Month // not counted
		}
		t.correct(c.messages, stored.Day, limitDay+", "+limitMonth, quota.Sums{First: stored.Messages, Second: stored.Month}, quota.Sums{First: counted.Messages, Second: counted.Month})
		t.correct(c.contacts, stored.Day, limitContacts, quota.Sums{First: stored.Contacts}, quota.Sums{First: counted.Contacts})
	}
	return looked, true
}

// tallySince counts the messages that can have been charged on day, or in its month: those that were
// made since, and older ones that were released since. It looks at up to most, and tells at how many, and
// whether that was all.
func (env *environment) tallySince(tx *kv.Tx, day quota.Label, month bool, most int) (t *tally, looked int, all bool) {
	t = newTally()
	if day == 0 {
		return t, 0, true
	}
	first := day
	if month {
		first = quota.Label(day.Month()*100 + 1)
	}
	// A calendar day begins up to 14 hours before it does in UTC, and ids can lie ahead of the clock.
	floor := kv.FloorID(env.tag, first.Start(time.UTC).Add(-36*time.Hour))
	for _, m := range env.store.messages.Scan(tx, kv.Range{From: floor[:]}) {
		if looked == most {
			return t, looked, false
		}
		looked++
		t.add(&m)
	}
	since := binary.BigEndian.AppendUint32(nil, uint32(first))
	for key := range env.store.released.Scan(tx, kv.Range{From: since}) {
		if looked == most {
			return t, looked, false
		}
		looked++
		id := idOf[messageKind](key)
		if m, ok := env.store.messages.Get(tx, id.key()); ok && string(id.key()) < string(floor[:]) {
			t.add(&m)
		}
	}
	return t, looked, true
}

// recountLines raises the counters of lines to what the messages say, if that is more. It may be less:
// a message keeps its age when its line unit moves to another day.
func (env *environment) recountLines(tx *kv.Tx, t *tally) {
	counters := env.lines.Load().counters
	for identity, days := range withRestored(tx, env, t.byIdentity(tx, env)) {
		u, _ := env.store.lineUsage.Get(tx, []byte(identity))
		stored, counted := quota.Sums{First: u.Messages, Second: u.Conversations}, days[u.Day]
		if c := counters[identity]; c != nil && (counted.First > stored.First || counted.Second > stored.Second) {
			env.tenant.correct(c, u.Day, limitLineMessages+", "+limitLineConversations, stored, counted)
		}
	}
}

// correct raises a counter to the larger of what is stored and what was counted, and logs a difference.
func (t *tenant) correct(c *quota.Counter, day quota.Label, limit string, stored, counted quota.Sums) {
	if stored == counted {
		return
	}
	c.Charge(day, quota.Sums{First: max(0, counted.First-stored.First), Second: max(0, counted.Second-stored.Second)})
	t.engine.log.Error().Str("workspace", string(t.id)).Str("limit", limit).Stringer("day", day).
		Ints64("stored", []int64{stored.First, stored.Second}).Ints64("counted", []int64{counted.First, counted.Second}).
		Msg("stored usage differs from the messages; the larger figure holds")
}
