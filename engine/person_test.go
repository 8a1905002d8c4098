package engine

import (
	"slices"
	"testing"
	"time"

	"tuco/kv"
)

// known returns what is known of an address, and the mark of the state in which it was read.
func (w *world) known(who Caller, addr string) (p person, at kv.Mark) {
	w.t.Helper()
	_, err := kv.View(w.db, func(tx *kv.Tx) (struct{}, error) {
		p, at = who.env.store.person(tx, addr), tx.Mark()
		return struct{}{}, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return p, at
}

// cancelOne cancels one message of several to a person, as no request can.
func (w *world) cancelOne(who Caller, m Message) {
	w.t.Helper()
	var c Cancellation
	w.forge(func(tx *kv.Tx) { c = who.env.cancelAll(tx, []MessageID{m.ID}) })
	who.env.refund(c.refunds)
}

// aPerson is somebody at one address, and what should be known of it.
type aPerson struct {
	*world
	who  Caller
	addr string
}

func (p aPerson) is(when string, lead LeadID, charged bool, lines ...LineID) {
	p.t.Helper()
	got, _ := p.known(p.who, p.addr)
	if want := (person{Lead: lead, Alone: got.Alone, Charged: charged, Lines: lines}); !got.equal(&want) {
		p.t.Errorf("%s: %s is known as %+v, want lead %s, charged %v, lines %s", when, p.addr, got, lead, charged, lines)
	}
	p.verify()
}

// TestPersonOfMessages: what is known of a person is what the messages to it that are left say.
func TestPersonOfMessages(t *testing.T) {
	w := newWorld(t, unlimited())
	a, b := w.line(Production, 0, 0).ID, w.line(Production, 0, 0).ID
	who := w.in(Production)
	anyone := func() aPerson { return aPerson{w, who, phone()} }
	from := func(p aPerson, line LineID) *SendResult {
		return w.send(who, SendRequest{Phone: p.addr, Line: line.String()})
	}
	none := LeadID{}

	p := anyone()
	p.is("before anything", none, false)
	first := from(p, a)
	lead := first.Message.Lead
	p.is("a message", lead, true, a)
	second := from(p, a)
	p.is("a second", lead, true, a)
	other := from(p, b)
	p.is("one of another line", lead, true, a, b)
	w.cancelOne(who, first.Message)
	p.is("the first is cancelled", lead, true, a, b)
	w.cancelOne(who, second.Message)
	p.is("all of one line are cancelled", lead, true, b)
	w.cancelOne(who, other.Message)
	p.is("all are cancelled", lead, false)
	if _, err := w.DeleteLeads(who, []string{lead.String()}); err != nil {
		t.Fatal(err)
	}
	p.is("the lead is deleted", none, false)

	p = anyone()
	sent := from(p, a)
	if m, ok := w.deliver(Production, a); !ok || m.ID != sent.Message.ID {
		t.Fatalf("not delivered: %+v", m)
	}
	if _, err := w.DeleteLeads(who, []string{sent.Message.Lead.String()}); err != nil {
		t.Fatal(err)
	}
	p.is("delivered, and the lead is deleted", none, true, a)

	p = anyone()
	later := w.send(who, SendRequest{Phone: p.addr, Line: a.String(), Scheduled: w.clock.now().Add(time.Hour).Format(time.RFC3339)})
	p.is("a message for later", later.Message.Lead, false)
	w.clock.pass(time.Hour)
	w.release(Production)
	p.is("it is released", later.Message.Lead, true, a)

	p, mail := anyone(), aPerson{w, who, "several@example.com"}
	several := w.send(who, SendRequest{Phone: p.addr, Email: mail.addr, Line: b.String()})
	if len(several.Message.To) != 2 {
		t.Fatalf("it goes to %q", several.Message.To)
	}
	p.is("a message to several addresses", several.Message.Lead, true, b)
	mail.is("a message to several addresses", several.Message.Lead, true, b)
	w.cancelOne(who, several.Message)
	p.is("it is cancelled", several.Message.Lead, false)
	mail.is("it is cancelled", several.Message.Lead, false)
}

// TestPersonOfAttempts: tries and failures change nothing; a message that leaves its line takes that along.
func TestPersonOfAttempts(t *testing.T) {
	w := newWorld(t, unlimited())
	line := w.line(Production, 0, 0)
	who := w.in(Production)
	q := w.queue(Production)
	p := aPerson{w, who, phone()}
	sent := w.send(who, to(p.addr))
	lead := sent.Message.Lead
	handOver := func() {
		t.Helper()
		w.release(Production)
		jobs, _, err := q.Next(line.ID, 1, nobody)
		if err != nil || len(jobs) != 1 {
			t.Fatalf("%d jobs, %v", len(jobs), err)
		}
		if err := q.HandOver(jobs[0]); err != nil {
			t.Fatal(err)
		}
	}
	handOver()
	p.is("handed over", lead, true, line.ID)
	if _, err := q.Retry(sent.Message.ID, "busy"); err != nil {
		t.Fatal(err)
	}
	p.is("to be tried again", lead, true, line.ID)
	if err := w.DeleteLine(who, line.ID.String()); err != nil {
		t.Fatal(err)
	}
	line = w.line(Production, 0, 0)
	p.is("its line is gone", lead, true, sent.Message.Line)
	w.clock.pass(time.Hour)
	handOver()
	p.is("another line has it", lead, true, line.ID)
	if _, err := q.Finish(sent.Message.ID, Outcome{Status: Failed}); err != nil {
		t.Fatal(err)
	}
	p.is("it failed", lead, true, line.ID)
}

// TestPersonOfPutOff: who waits for a line again is unknown to the one that had no room.
func TestPersonOfPutOff(t *testing.T) {
	w := newWorld(t, unlimited())
	line := w.line(Production, 1, 0).ID
	who := w.in(Production)
	today, tomorrow := aPerson{w, who, phone()}, aPerson{w, who, phone()}
	late := w.send(who, to(today.addr))
	w.clock.pass(24 * time.Hour)
	early := w.send(who, to(tomorrow.addr))
	today.is("it has a unit of its day", late.Message.Lead, true, line)
	tomorrow.is("it has a unit of the next day", early.Message.Lead, true, line)
	if m, ok := w.deliver(Production, line); ok {
		t.Fatalf("delivered %+v: that day is spent", m)
	}
	today.is("its day is over, and the next is spent", late.Message.Lead, true)
	tomorrow.is("another is put off", early.Message.Lead, true, line)
}

// TestPersonOfLeads: an address is the oldest lead's that has it, whatever becomes of the others.
func TestPersonOfLeads(t *testing.T) {
	w := newWorld(t, unlimited())
	w.line(Production, 0, 0)
	who := w.in(Production)
	one, two, three := aPerson{w, who, phone()}, aPerson{w, who, phone()}, aPerson{w, who, phone()}
	none := LeadID{}
	saved := w.save(who, LeadInput{Phone: &one.addr}, LeadInput{Phone: &two.addr}).Created
	older, younger := saved[0].ID, saved[1].ID
	one.is("a lead", older, false)
	two.is("another", younger, false)

	set := func(lead LeadID, in LeadInput) {
		t.Helper()
		if _, err := w.SetLead(who, lead.String(), in, ""); err != nil {
			t.Fatal(err)
		}
	}
	set(younger, LeadInput{Phone: &three.addr})
	two.is("its address changed", none, false)
	three.is("its address changed", younger, false)
	set(younger, LeadInput{AltPhones: [3]*string{&two.addr}})
	two.is("it has the old one as an alternate", younger, false)
	set(younger, LeadInput{AltPhones: [3]*string{ptr("")}})
	two.is("and no more", none, false)
	_, before := w.known(who, three.addr)
	set(younger, LeadInput{FirstName: ptr("Ada")})
	w.unchanged("a new name", who, before)

	// A request's alternates are stored on its lead, also if another has them.
	share := func(lead LeadID, addr string) {
		w.send(who, SendRequest{Lead: lead.String(), Type: "email", Email: "shared@example.com", AltPhones: [3]*string{&addr}, Scheduled: "2030-01-01"})
	}
	w.lineOf(w.operator(Production), Email, LineChange{Email: ptr("line@example.com")})
	share(younger, one.addr)
	one.is("a younger lead has it, too", older, false)
	share(older, three.addr)
	three.is("an older lead has it, too", older, false)
	if _, err := w.DeleteLeads(who, []string{older.String()}); err != nil {
		t.Fatal(err)
	}
	one.is("the oldest is deleted", younger, false)
	three.is("the oldest is deleted", younger, false)
	if got := w.send(who, to(one.addr)).Message.Lead; got != younger {
		t.Errorf("a message to it is to lead %s, want %s", got, younger)
	}
}

// unchanged checks that no record of a person was written since.
func (w *world) unchanged(what string, who Caller, since kv.Mark) {
	w.t.Helper()
	w.forge(func(tx *kv.Tx) {
		if who.env.store.people.ChangedSince(tx, since) {
			w.t.Errorf("%s: a person was written", what)
		}
	})
}

// TestWhatDraftsRestOn: only what could change what another request comes to makes it look again.
func TestWhatDraftsRestOn(t *testing.T) {
	w := newWorld(t, unlimited())
	line, other := w.line(Production, 0, 0), w.line(Production, 0, 0)
	w.line(Staging, 0, 0)
	who, staging := w.in(Production), w.in(Staging)
	friend, half := phone(), phone()
	from := func(l Line, phone string) *SendResult {
		return w.send(who, SendRequest{Phone: phone, Line: l.ID.String()})
	}
	from(line, friend)
	lead := from(other, friend).Lead.ID
	from(line, half)
	for _, tt := range []struct {
		name string
		want bool
		do   func() error
	}{
		{"nothing", false, func() error { return nil }},
		{"a message to who is known", false, func() error { w.send(who, to(friend)); return nil }},
		{"one with an Idempotency-Key", false, func() error {
			_, err := w.Send(who, once("k", ""), to(friend))
			return err
		}},
		{"one for later", false, func() error {
			w.send(who, SendRequest{Phone: friend, Scheduled: "2030-01-01"})
			return nil
		}},
		{"a delivery", false, func() error { w.deliver(Production, line.ID); return nil }},
		{"a new contact in another environment", false, func() error { w.send(staging, to(phone())); return nil }},
		{"a message to who is new", true, func() error { w.send(who, to(phone())); return nil }},
		{"one to who is new to its line", true, func() error { from(other, half); return nil }},
		{"a person's last message is cancelled", true, func() error {
			_, err := w.CancelForLead(who, CancelRequest{Phone: half})
			return err
		}},
		{"a lead's new name", true, func() error {
			_, err := w.SetLead(who, lead.String(), LeadInput{FirstName: ptr("Ada")}, "")
			return err
		}},
		{"a new lead", true, func() error { w.save(who, LeadInput{Phone: ptr(phone())}); return nil }},
		{"a paused line", true, func() error {
			_, err := w.SetLine(who, line.ID.String(), LineChange{Active: ptr(false)})
			return err
		}},
	} {
		set := who.env.lines.Load()
		_, before := w.known(who, friend)
		if err := tt.do(); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		w.forge(func(tx *kv.Tx) {
			if got := who.env.changed(tx, before, set); got != tt.want {
				t.Errorf("%s: changed is %v, want %v", tt.name, got, tt.want)
			}
		})
	}
}

// TestToSchema2 makes the records of schema 1's people anew, exactly as they came to be by themselves.
func TestToSchema2(t *testing.T) {
	w := newWorld(t, unlimited())
	w.populate(w.id, Production, "x")
	who, _ := w.populate(w.workspace("Other", "UTC"), Staging, "y")
	person := phone()
	for range 2 {
		line := w.lineOf(w.operatorOf(who.Workspace(), Staging), IMessage, LineChange{Phone: ptr(phone())})
		w.send(who, SendRequest{Phone: person, Line: line.ID.String()})
	}
	w.send(who, SendRequest{Phone: person, Email: "mail@example.com", AltEmails: [3]*string{ptr("alt@example.com")}, Scheduled: "2030-01-01"})
	w.save(who, LeadInput{Phone: ptr(phone())}) // a lead without messages
	lead := w.lead(who, w.send(who, to(phone())))
	w.forge(func(tx *kv.Tx) { // a message without a lead
		who.env.putLead(tx, &lead, nil)
		who.env.countLeads(tx, lead.List, -1)
	})
	before := w.contents()
	w.forge(func(tx *kv.Tx) {
		for _, ten := range w.allTenants() {
			for _, env := range ten.envs {
				tx.Drop(env.store.people.Path)
				copyIndex(tx, env.store.messageByLead, kv.Index{Path: env.path().Join("messages.lead")})
				copyIndex(tx, env.store.messageByAddr, kv.Index{Path: env.path().Join("messages.address")})
				tx.Drop(env.store.messageByLead.Path)
				tx.Drop(env.store.messageByAddr.Path)
			}
		}
	})
	if w.contents() == before {
		t.Fatal("nothing was dropped")
	}
	w.forge(func(tx *kv.Tx) {
		if err := toSchema2(tx); err != nil {
			t.Error(err)
		}
	})
	if w.contents() != before {
		t.Error("the records are not what they were")
	}
}

// TestEveryAddressIsJudged: it is the oldest lead of all addresses that a request reaches, and a first
// conversation if the line has never written to one of them.
func TestEveryAddressIsJudged(t *testing.T) {
	w := newWorld(t, unlimited())
	one, other := w.line(Production, 0, 0).ID.String(), w.line(Production, 0, 0).ID.String()
	who := w.in(Production)
	friend, half := phone(), phone()
	for _, req := range []SendRequest{{Phone: friend, Line: one}, {Phone: friend, Line: other}, {Phone: half, Line: one}} {
		w.send(who, req)
	}
	for line, want := range map[string]bool{one: false, other: true} {
		m := w.send(who, SendRequest{Phone: friend, AltPhones: [3]*string{&half}, Line: line}).Message
		if len(m.To) != 2 || m.Unit.First != want || m.Plan.Contact != 0 {
			t.Errorf("to %q by line %s: %+v, %+v; want no new contact, and first is %v", m.To, line, m.Unit, m.Plan, want)
		}
	}
	older := w.save(who, LeadInput{Email: ptr("older@example.com"), Phone: ptr(phone())}).Created[0]
	younger := w.save(who, LeadInput{Email: ptr("younger@example.com"), Phone: ptr(phone())}).Created[0]
	for _, req := range []SendRequest{{Phone: younger.Phone, Email: older.Email}, {Phone: older.Phone, Email: younger.Email}} {
		if got := w.send(who, req).Message.Lead; got != older.ID {
			t.Errorf("to %s and %s: lead %s, want the older, %s", req.Phone, req.Email, got, older.ID)
		}
	}
}

// TestLeadWithOneAddress: a send does not read a lead that is known to have but one address; so that must be true.
func TestLeadWithOneAddress(t *testing.T) {
	w := newWorld(t, unlimited())
	w.line(Production, 0, 0)
	who := w.in(Production)
	addr, other := phone(), "other@example.com"
	is := func(when string, alone bool, to ...string) {
		t.Helper()
		if got, _ := w.known(who, addr); got.Alone != alone {
			t.Errorf("%s: the lead has one address: %v, want %v", when, got.Alone, alone)
		}
		if got := w.send(who, SendRequest{Phone: addr}).Message.To; !slices.Equal(got, to) {
			t.Errorf("%s: a message goes to %q, want %q", when, got, to)
		}
		w.verify()
	}
	change := func(id LeadID, in LeadInput) {
		t.Helper()
		if _, err := w.SetLead(who, id.String(), in, ""); err != nil {
			t.Fatal(err)
		}
	}
	lead := w.send(who, SendRequest{Phone: addr}).Message.Lead
	is("a new lead", true, addr)
	change(lead, LeadInput{Email: &other})
	is("it is given a mailbox", false, addr)
	change(lead, LeadInput{FirstName: ptr("Ana")})
	is("it is given a name", false, addr)
	change(lead, LeadInput{Email: ptr("")})
	is("the other is taken away", true, addr)
	change(lead, LeadInput{AltEmails: [3]*string{&other}})
	is("it is given an alternate", false, addr, other)

	second := w.send(who, SendRequest{Phone: phone(), AltPhones: [3]*string{nil, &addr}}).Message.Lead
	is("a younger lead has the address, too", false, addr, other)
	if _, err := w.DeleteLeads(who, []string{lead.String()}); err != nil {
		t.Fatal(err)
	}
	is("the younger one is left", false, addr)
	change(second, LeadInput{Phone: &addr, AltPhones: [3]*string{nil, ptr("")}})
	is("it has no other any more", true, addr)
}
