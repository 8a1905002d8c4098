package engine

import (
	"slices"

	"tuco/engine/address"
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
	c, err := writing(who, func(tx *kv.Tx) (Cancellation, error) {
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
		phone, err := address.Phone(r.Phone, DefaultCountryCode)
		if err != nil {
			return lead, nil, Errorf(Invalid, "recipientPhone: not a valid phone number").With(CodeInvalidAddress)
		}
		addresses = append(addresses, phone)
	}
	if r.Email != "" {
		email, err := address.Email(r.Email)
		if err != nil {
			return lead, nil, Errorf(Invalid, "recipientEmail: not a valid e-mail address").With(CodeInvalidAddress)
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
	r = refund{plan: old.Plan.Day, contact: old.Plan.Contact, line: old.Unit.Day, units: quota.Sums{First: 1}}
	if heir, ok := env.heir(tx, personPrefix(old.person(), true)); ok && r.contact != 0 {
		changed := heir
		changed.Plan.Contact, r.contact = r.contact, 0
		env.putMessage(tx, &heir, &changed)
	}
	if old.Unit.First {
		heir, ok := env.heir(tx, personKey(old.person(), true, old.Line))
		switch {
		case !ok:
			r.units.Second = 1
		case heir.Unit.Day == old.Unit.Day: // a unit of another day can't change hands: it stays used
			changed := heir
			changed.Unit.First = true
			env.putMessage(tx, &heir, &changed)
		}
	}
	env.giveBack(tx, &old, &r)
	return r
}

// heir returns a message to the person that another unit can go to.
func (env *environment) heir(tx *kv.Tx, prefix []byte) (m Message, ok bool) {
	for key := range env.store.messageByAddr.Scan(tx, kv.Prefix(prefix)) {
		return env.store.messages.Get(tx, idOf[messageKind](key).key())
	}
	return m, false
}

// giveBack takes the refund out of the stored totals.
func (env *environment) giveBack(tx *kv.Tx, m *Message, r *refund) {
	if r.plan != 0 {
		env.chargePlan(tx, r.plan, -1, 0)
	}
	if r.contact != 0 {
		env.chargePlan(tx, r.contact, 0, -1)
	}
	if r.line != 0 {
		l, _ := env.store.lines.Get(tx, m.Line.key())
		r.identity = l.identity()
		env.chargeLine(tx, r.identity, r.line, -1, -r.units.Second)
	}
}

// refund gives back to the counters in memory what the store has given back.
func (env *environment) refund(list []refund) {
	c, lines := env.tenant.pools[env.name.pool()], env.lines.Load()
	for _, r := range list {
		if r.plan != 0 {
			c.messages.Refund(r.plan, quota.Sums{First: 1, Second: 1})
		}
		if r.contact != 0 {
			c.contacts.Refund(r.contact, quota.Sums{First: 1})
		}
		if counter := lines.counters[r.identity]; r.line != 0 && counter != nil {
			counter.Refund(r.line, r.units)
		}
	}
}
