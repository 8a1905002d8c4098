package engine

import (
	"iter"
	"runtime"
	"slices"

	"tuco/engine/quota"
	"tuco/kv"
)

// A CancelRequest names whose waiting messages to cancel.
type CancelRequest struct{ Lead, Phone, Email string }

// Cancellation is what was cancelled.
type Cancellation struct {
	Lead     LeadID
	Messages []MessageID
	Removed  int // how many of them waited in a queue
	refunds  []refund
}

// refund is what a cancelled message gives back to the counters in memory, after the commit that gave
// it back in the store.
type refund struct {
	plan, contact quota.Label
	identity      string
	line          quota.Label
	units         quota.Sums
}

// CancelForLead cancels everything that waits for a lead, or for an address that no lead has. It gives
// back what the messages had taken of days that are still open.
func (e *Engine) CancelForLead(who Caller, req CancelRequest) (Cancellation, error) {
	if err := who.write(MessagesWrite); err != nil {
		return Cancellation{}, err
	}
	lead, addresses, err := req.check(who)
	if err != nil {
		return Cancellation{}, err
	}
	c, err := writing(who.env, func(tx *kv.Tx) (Cancellation, error) {
		id := lead
		if id.IsZero() {
			if found, ok := who.env.findLead(tx, addresses); ok {
				id = found.ID
			}
		}
		waiting := who.env.waitingFor(tx, id)
		for _, a := range addresses {
			waiting = append(waiting, who.env.waitingAt(tx, a)...)
		}
		c := who.env.cancelAll(tx, waiting)
		c.Lead = id
		return c, nil
	})
	if err != nil {
		return c, err
	}
	who.env.refund(c.refunds)
	return c, nil
}

func (r CancelRequest) check(who Caller) (lead LeadID, addresses []string, err error) {
	if r.Lead == "" && r.Phone == "" && r.Email == "" {
		return lead, nil, Errorf(Invalid, "Either leadId, recipientPhone, or recipientEmail is required")
	}
	if r.Lead != "" {
		parsed, ok := kv.ParseID(r.Lead)
		if !ok {
			return lead, nil, Errorf(Invalid, "Invalid leadId")
		}
		// An id that nobody has cancels nothing; it is no error, as documented.
		if err := who.owns(parsed, ""); err != nil && err.(*Error).Kind != NotFound {
			return lead, nil, err
		}
		lead = LeadID{parsed}
	}
	if r.Phone != "" {
		phone, err := recipientPhone(r.Phone)
		if err != nil {
			return lead, nil, err
		}
		addresses = append(addresses, phone)
	}
	if r.Email != "" {
		email, err := recipientEmail(r.Email)
		if err != nil {
			return lead, nil, err
		}
		addresses = append(addresses, email)
	}
	return lead, addresses, nil
}

// waitingFor returns the messages that wait for a lead.
func (env *environment) waitingFor(tx *kv.Tx, lead LeadID) []MessageID {
	if lead.IsZero() {
		return nil
	}
	return env.waiting(tx, env.store.messageByLead.Scan(tx, kv.Prefix(lead.key())))
}

// waitingAt returns the messages that wait for a person's address.
func (env *environment) waitingAt(tx *kv.Tx, addr string) []MessageID {
	return env.waiting(tx, env.store.messageByAddr.Scan(tx, kv.Prefix(addressKey(addr))))
}

func (env *environment) waiting(tx *kv.Tx, keys func(yield func([]byte) bool)) (ids []MessageID) {
	for key := range keys {
		id := idOf[messageKind](key)
		for _, s := range []Status{Queued, Pending, Scheduled} {
			if env.store.messageByStatus.Has(tx, kv.Key([]byte{statusCodes[s]}, id.key())) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func (env *environment) cancelAll(tx *kv.Tx, ids []MessageID) (c Cancellation) {
	slices.SortFunc(ids, func(a, b MessageID) int { return slices.Compare(a.key(), b.key()) })
	for _, id := range slices.Compact(ids) {
		m, ok := env.store.messages.Get(tx, id.key())
		if !ok || !m.Status.waits() {
			continue
		}
		if m.Place != nowhere {
			c.Removed++
		}
		c.refunds = append(c.refunds, env.cancel(tx, &m))
		c.Messages = append(c.Messages, id)
	}
	return c
}

// cancel stores m as cancelled and gives back its units, as far as their days are still open. The
// unit of a new contact or conversation goes to another message to the same person, if there is one.
func (env *environment) cancel(tx *kv.Tx, m *Message) (r refund) {
	old := *m
	m.Status, m.Place, m.Reason, m.Updated = Cancelled, nowhere, "", tx.Now
	m.Plan, m.Unit = PlanUnit{}, LineUnit{}
	env.putMessage(tx, &old, m)
	if old.Unit.Day != 0 {
		r = env.returnUnit(tx, &old, env.passFirst(tx, &old))
	}
	if r.plan = old.Plan.Day; r.plan != 0 {
		env.chargePlan(tx, r.plan, -1, 0)
	}
	if old.Plan.Contact != 0 && !env.passContact(tx, &old) {
		r.contact = old.Plan.Contact
		env.chargePlan(tx, r.contact, 0, -1)
	}
	return r
}

// passContact hands the new-contact unit of a message on to another one to the same person, and
// reports whether there is one.
func (env *environment) passContact(tx *kv.Tx, m *Message) bool {
	for heir := range env.others(tx, m, func(addr string) []byte { return personPrefix(addr, true) }) {
		if heir.Plan.Contact != 0 {
			continue // it has a unit of its own, for another of its addresses
		}
		changed := heir
		changed.Plan.Contact = m.Plan.Contact
		env.putMessage(tx, &heir, &changed)
		return true
	}
	return false
}

// passFirst hands the new conversation of a message that loses its line unit on to another message of
// the line to the same person, and returns how many go back: none if the heir has a unit of the same
// day. With one of an earlier day the heir takes its own when it is handed over.
func (env *environment) passFirst(tx *kv.Tx, m *Message) (back int64) {
	if !m.Unit.First {
		return 0
	}
	var heir *Message
	for other := range env.others(tx, m, func(addr string) []byte { return personKey(addr, true, m.Line) }) {
		if other.Unit.First {
			continue // it has a unit of its own, for another of its addresses
		}
		if other.Unit.Day == m.Unit.Day || other.Unit.Day < m.Unit.Day && heir == nil {
			heir = &other
		}
		if other.Unit.Day == m.Unit.Day {
			break
		}
	}
	if heir == nil {
		return 1
	}
	changed := *heir
	changed.Unit.First = true
	env.putMessage(tx, heir, &changed)
	if heir.Unit.Day == m.Unit.Day {
		return 0
	}
	return 1
}

// others yields the messages but m to one of its addresses whose entries in the index of persons begin
// with prefix, oldest first for each address.
func (env *environment) others(tx *kv.Tx, m *Message, prefix func(addr string) []byte) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for _, addr := range m.To {
			for key := range env.store.messageByAddr.Scan(tx, kv.Prefix(prefix(addr))) {
				other, ok := env.store.messages.Get(tx, idOf[messageKind](key).key())
				if ok && other.ID != m.ID && !yield(other) {
					return
				}
			}
		}
	}
}

// returnUnit takes a message's line unit out of the stored total, with so many conversations. What it
// returns goes back to the counter in memory after the commit.
func (env *environment) returnUnit(tx *kv.Tx, m *Message, conversations int64) refund {
	l, _ := env.store.lines.Get(tx, m.Line.key())
	r := refund{identity: l.identity(), line: m.Unit.Day, units: quota.Sums{First: 1, Second: conversations}}
	env.chargeLine(tx, r.identity, r.line, -r.units.First, -r.units.Second)
	return r
}

// refund gives back to the counters in memory what the store has given back.
func (env *environment) refund(list []refund) {
	c, lines := env.counters, env.lines.Load()
	for _, r := range list {
		if r.plan != 0 {
			takeBack(c.messages, r.plan, quota.Sums{First: 1, Second: 1}, true)
		}
		if r.contact != 0 {
			takeBack(c.contacts, r.contact, quota.Sums{First: 1}, false)
		}
		if counter := lines.counters[r.identity]; r.line != 0 && counter != nil {
			takeBack(counter, r.line, r.units, false)
		}
	}
}

// takeBack gives n back to a counter, as far as the label still counts. The message was stored, but the
// request that stored it may not have settled its reservation yet: that moment is waited for.
func takeBack(c *quota.Counter, day quota.Label, n quota.Sums, monthly bool) {
	for calm := 0; calm < calmLooks; calm++ {
		back := c.Refund(day, n)
		n = quota.Sums{First: n.First - back.First, Second: n.Second - back.Second}
		if now := c.Day(); now != day {
			n.First = 0
			if !monthly || now.Month() != day.Month() {
				n.Second = 0
			}
		}
		if n == (quota.Sums{}) {
			return
		}
		if c.Usage().Reserved != (quota.Sums{}) {
			calm = 0
		}
		runtime.Gosched()
	}
}

// calmLooks is how often in a row nothing must seem to be reserved before a unit that is not there is given
// up. One look can miss a reservation, while others give back.
const calmLooks = 100
