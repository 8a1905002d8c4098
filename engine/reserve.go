package engine

import (
	"errors"
	"time"

	"tuco/engine/quota"
	"tuco/kv"
)

// hold is what was reserved in memory for one message: new contact and plan, both or none, and a unit
// of a line if one had room. The line's refusal only puts the message off.
type hold struct {
	contact, plan quota.Unit
	unit          quota.Unit
	line          *candidate  // whose unit it is; nil if there is none
	spent         quota.Label // the UTC day that was found spent, if no line had room
}

func (h *hold) units() [3]quota.Unit { return [3]quota.Unit{h.contact, h.plan, h.unit} }

// release gives everything back. The hold can be used again.
func (h *hold) release() {
	for _, u := range h.units() {
		u.Release()
	}
	*h = hold{}
}

// settle ends the reservation by what became of the transaction: used if it was stored. After an
// unknown outcome the units stay taken: better too few than one too many.
func (h *hold) settle(err error, used bool) {
	switch {
	case used:
		for _, u := range h.units() {
			u.Commit()
		}
	case isKind(err, Unknown):
	default:
		h.release()
	}
}

// spend runs a transaction that uses what is held, and ends the reservations by what became of it. used
// tells whether the result is one that used the i-th.
func spend[T any](holds []*hold, run func() (T, error), used func(v T, i int) bool) (v T, err error) {
	decided := false
	defer func() {
		if decided {
			return
		}
		for _, h := range holds {
			h.release() // run panicked, so nothing was stored
		}
	}()
	v, err = run()
	decided = true
	for i, h := range holds {
		h.settle(err, err == nil && used(v, i))
	}
	return v, err
}

// reserve takes what the draft needs. A refusal is final only if what is stored leaves no room; while
// other requests hold the rest, it waits until they are decided.
func (e *Engine) reserve(who Caller, d *draft) (*hold, error) {
	h := new(hold)
	for {
		busy, err := e.tryReserve(h, who, d)
		if !busy {
			return h, err
		}
		if err := e.othersEnd(); err != nil {
			return nil, err
		}
	}
}

// othersEnd returns when the requests that came before this one are decided. Of this one nothing is stored
// yet, even if nobody knows what became of those.
func (e *Engine) othersEnd() error {
	err := e.db.Barrier()
	if errors.Is(err, kv.ErrUnknown) {
		err = kv.ErrStopped
	}
	return storageError(err)
}

// tryReserve takes into h, which is empty, what the draft needs. It takes nothing if it fails, or if
// others hold what may come free.
func (e *Engine) tryReserve(h *hold, who Caller, d *draft) (busy bool, err error) {
	if d.timing.kind == later {
		return false, nil // charged when it is released
	}
	now, _ := e.clock.trusted()
	if busy, err = who.env.reservePlan(h, now, d.newContact); busy || err != nil {
		h.release()
		return busy, err
	}
	today := quota.DayOf(now, time.UTC)
	if d.timing.kind == inWindow && quota.DayOf(d.timing.due, time.UTC) != today {
		return false, nil // goes on another day, and takes that day's unit then
	}
	if busy = h.reserveLine(today, d.lines); busy {
		h.release()
	}
	return busy, nil
}

// reservePlan takes the new contact, if it is one, and then the message: both or none.
func (env *environment) reservePlan(h *hold, now time.Time, newContact bool) (busy bool, err error) {
	c := env.counters
	today := max(quota.DayOf(now, env.tenant.zone.Load()), c.messages.Day(), c.contacts.Day()) // one label for both
	var verdict quota.Verdict
	if newContact {
		switch h.contact, verdict = c.contacts.Reserve(today, quota.Sums{First: 1}); verdict {
		case quota.Granted:
		case quota.Busy:
			return true, nil
		default:
			return false, env.planRefusal(limitContacts)
		}
	}
	h.plan, verdict = c.messages.Reserve(today, quota.Sums{First: 1, Second: 1})
	switch verdict {
	case quota.Granted:
		return false, nil
	case quota.FirstSpent:
		return false, env.planRefusal(limitDay)
	case quota.SecondSpent:
		return false, env.planRefusal(limitMonth)
	}
	return true, nil
}

// reserveLine takes a unit of the first line that has room. If none has, h says which day is spent.
func (h *hold) reserveLine(today quota.Label, lines []candidate) (busy bool) {
	h.spent = today
	for i := range lines {
		l := &lines[i]
		unit, verdict := l.counter.Reserve(today, l.needs())
		switch verdict {
		case quota.Granted:
			h.unit, h.line = unit, l
			return false
		case quota.Busy:
			busy = true
		}
		h.spent = max(h.spent, l.counter.Day())
	}
	return busy
}

// needs is what a message takes of the line's day.
func (c *candidate) needs() quota.Sums {
	n := quota.Sums{First: 1}
	if c.first {
		n.Second = 1
	}
	return n
}

// planRefusal is the answer to a message over a plan ceiling.
func (env *environment) planRefusal(name string) error {
	for _, l := range env.planLimits() {
		if l.Name == name {
			retry := max(time.Second, l.ResetsAt.Sub(env.engine.opt.Now()))
			return &Error{Kind: QuotaExceeded, Code: CodePlanLimit, Msg: planSentences[name] + " Nothing was stored.", Limit: &l, RetryAfter: retry}
		}
	}
	panic("no plan limit is called " + name)
}

var planSentences = map[string]string{
	limitDay:      "The plan's messages per day are used up.",
	limitMonth:    "The plan's messages per month are used up.",
	limitContacts: "The plan's new contacts per day are used up.",
}

// accept stores the message with what it took, inside the transaction.
func (env *environment) accept(tx *kv.Tx, who Caller, s *send, d *draft, h *hold) *SendResult {
	r := &SendResult{NewLead: d.lead.ID.IsZero()}
	m := &r.Message
	*m = Message{
		ID: newID[messageKind](tx, env), Text: s.Text, Attachments: s.Attachments, AttachmentNames: s.AttachmentNames,
		Channel: s.channel, To: d.to, RecipientName: s.Name, Lead: env.settleLead(tx, d), Line: s.line, Pinned: !s.line.IsZero(),
		Window: s.Window, BatchID: s.BatchID, CorrelationID: s.CorrelationID, Owner: s.Owner, CRM: s.CRM,
		MadeBy: who.madeBy(), Updated: tx.Now,
	}
	m.Created = createdAt(tx.Now, m.ID)
	m.charge(tx, env, h)
	env.place(m, d.timing, h)
	env.storeMessage(tx, nil, m)
	if d.newContact || h.line == nil || h.line.first { // else the people are known already
		env.store.retrace(tx, nil, m)
	}
	env.addLine(tx, &r.MessageView)
	return r
}

// createdAt is now, except when the clock went back: then it is the id's time, so that messages sort
// by both alike.
func createdAt(now time.Time, id MessageID) time.Time {
	if at := id.Time(); at.After(now) {
		return at
	}
	return now
}

// settleLead stores the draft's lead: new, or with the alternates that the request brought. The draft stays as it
// is, since the transaction may run again.
func (env *environment) settleLead(tx *kv.Tx, d *draft) LeadID {
	lead := &d.lead
	switch {
	case lead.ID.IsZero():
		made := d.lead
		made.List = env.quickSends(tx).ID
		made = env.addLead(tx, made)
		env.countLeads(tx, made.List, 1)
		return made.ID
	case d.old != nil && (lead.AltPhones != d.old.AltPhones || lead.AltEmails != d.old.AltEmails):
		lead.Updated = tx.Now
		env.putLead(tx, d.old, lead)
	}
	return lead.ID
}

// charge writes what h holds into the stored totals and the message.
func (m *Message) charge(tx *kv.Tx, env *environment, h *hold) {
	if day := h.plan.Day(); day != 0 {
		m.Plan.Day = day
		env.chargePlan(tx, day, 1, 0)
	}
	if day := h.contact.Day(); day != 0 {
		m.Plan.Contact = day
		env.chargePlan(tx, day, 0, 1)
	}
	if h.line != nil {
		m.takeUnit(tx, env, h.line, h.unit.Day())
	}
}

// takeUnit gives the message a unit of a line's day.
func (m *Message) takeUnit(tx *kv.Tx, env *environment, c *candidate, day quota.Label) {
	m.Line, m.Unit = c.ID, LineUnit{Day: day, First: c.first}
	env.chargeLine(tx, c.identity(), day, 1, c.needs().Second)
}

// place says where the message waits, and what its status is.
func (env *environment) place(m *Message, when timing, h *hold) {
	switch {
	case when.kind == later:
		m.Status, m.Place, m.Due, m.Scheduled = Scheduled, inDue, when.due, when.due
	case h.line == nil && h.spent != 0:
		m.putOff(m.Updated, h.spent)
	case when.kind == inWindow:
		m.wait(when.due, windowReason(when.due))
	default:
		m.Status, m.Place, m.Due = Pending, inReady, when.due
	}
}

// putOff schedules the message after a day on which no line had room for it.
func (m *Message) putOff(now time.Time, spent quota.Label) {
	m.Status, m.Place = Scheduled, inDue
	m.Due = notBefore(now.Add(nextLook), m.Window.deferral(spent))
	m.Scheduled, m.Reason = m.Due, "Daily limit reached; scheduled for next send window."
	if !m.Pinned {
		m.Line = LineID{}
	}
}

// notBefore is t, or earliest if t is before it. While the clock is held a spent day may have ended by the
// wall clock already: what waits for its end must not be looked at without a pause.
func notBefore(earliest, t time.Time) time.Time {
	if t.Before(earliest) {
		return earliest.UTC()
	}
	return t
}

func windowReason(opens time.Time) string {
	return "Outside of the send window; it opens at " + opens.UTC().Format(time.RFC3339) + "."
}
