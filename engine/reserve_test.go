package engine

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tuco/engine/quota"
	"tuco/kv"
)

// together runs fn in so many goroutines at once.
func together(n int, fn func(i int)) {
	var start, done sync.WaitGroup
	start.Add(1)
	for i := range n {
		done.Go(func() {
			start.Wait()
			fn(i)
		})
	}
	start.Done()
	done.Wait()
}

// TestThousandAndThreeHundred is the case: 64 clients against plan day 1,000 and three lines of 100.
func TestThousandAndThreeHundred(t *testing.T) {
	w := newWorld(t, perDay(1000))
	for range 3 {
		w.line(Production, 100, 0)
	}
	who := w.in(Production)
	var accepted, denied, today, later atomic.Int64
	nine := time.Date(2026, 11, 24, 14, 0, 0, 0, time.UTC) // 09:00 in New York
	together(64, func(i int) {
		for n := range 20 {
			r, err := w.Send(who, nil, to(fmt.Sprintf("+1202556%04d", i*20+n)))
			if err != nil {
				e := refused(t, "over the plan", err, QuotaExceeded, CodePlanLimit, "")
				if e.Limit == nil || e.Limit.Name != limitDay || e.Limit.Limit != 1000 || e.Limit.Used != 1000 ||
					!e.Limit.ResetsAt.Equal(noon.Add(12*time.Hour)) || e.RetryAfter != 12*time.Hour {
					t.Errorf("the refusal says %+v, retry after %s", e.Limit, e.RetryAfter)
				}
				denied.Add(1)
				continue
			}
			accepted.Add(1)
			switch m := r.Message; {
			case m.Status == Pending && m.Unit.Day == 20261123:
				today.Add(1)
			case m.Status == Scheduled && m.Scheduled.Equal(nine) && m.Due.Equal(nine) && m.Unit.Day == 0 &&
				m.Reason == "Daily limit reached; scheduled for next send window.":
				later.Add(1)
			default:
				t.Errorf("neither today nor tomorrow: %+v", m)
			}
		}
	})
	if accepted.Load() != 1000 || denied.Load() != 280 || today.Load() != 300 || later.Load() != 700 {
		t.Errorf("accepted %d, denied %d, today %d, later %d; want 1000, 280, 300, 700", accepted.Load(), denied.Load(), today.Load(), later.Load())
	}
	for name, again := range map[string]func(){"a crash": w.crash, "a stop": w.reopen} {
		again()
		w.verify()
		who = w.in(Production)
		if l := w.usage(who, limitDay); l.Used != 1000 || l.Remaining() != 0 || l.Reserved != 0 {
			t.Errorf("after %s: %+v", name, l)
		}
		mustFail[*SendResult](t, "after "+name, QuotaExceeded, CodePlanLimit, "")(w.Send(who, nil, to(phone())))
	}
	// The next day the deferred ones compete for 300 units again, in order.
	w.clock.until(nine)
	w.release(Production)
	page, err := w.Messages(who, MessageQuery{Status: Scheduled, Limit: 1000})
	if err != nil || len(page.Messages) != 700-300+0 {
		t.Errorf("on the second day %d are put off again, want 400; %v", len(page.Messages), err)
	}
	if l := w.usage(who, limitDay); l.Used != 0 {
		t.Errorf("what was charged at acceptance is not charged again: %+v", l)
	}
}

func TestNewContacts(t *testing.T) {
	w := newWorld(t, newPerDay(20))
	w.line(Production, 0, 0)
	who := w.in(Production)
	var people []string
	for range 20 {
		people = append(people, phone())
	}
	// Each person gets four first messages at once; only one of them is a new contact, none is refused.
	var sent atomic.Int64
	together(80, func(i int) {
		if _, err := w.Send(who, nil, to(people[i%20])); err != nil {
			t.Errorf("a message to one of 20 people was refused: %v", err)
			return
		}
		sent.Add(1)
	})
	if l := w.usage(who, limitContacts); l.Used != 20 || sent.Load() != 80 {
		t.Errorf("80 messages to 20 people: %d sent, %+v", sent.Load(), l)
	}
	e := mustFail[*SendResult](t, "the 21st person", QuotaExceeded, CodePlanLimit, "")(w.Send(who, nil, to(phone())))
	if e.Limit == nil || e.Limit.Name != limitContacts {
		t.Errorf("the refusal names %+v", e.Limit)
	}
	w.send(who, to(people[0]))
}

// TestNoFalseRefusal sends to as many people as the plan has, each several times at once, again and again.
func TestNoFalseRefusal(t *testing.T) {
	w := newWorld(t, unlimited())
	w.line(Production, 0, 0)
	who := w.in(Production)
	for round := range 60 {
		const people = 4
		used := w.usage(who, limitContacts).Used
		if _, err := w.Admin().SetPlan("test", PlanChange{NewContactsPerDay: n64(used + people)}); err != nil {
			t.Fatal(err)
		}
		together(12, func(i int) {
			if _, err := w.Send(who, nil, to(fmt.Sprintf("+1202557%04d", round*people+i%people))); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		})
	}
}

// TestNoFalseDeferral is the same for a line's new conversations.
func TestNoFalseDeferral(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	for round := range 60 {
		const people = 4
		other, l := w.line(Production, 0, 0), w.line(Production, 0, people)
		for i := range people { // no new contacts, which would be judged anew in any case
			w.send(who, SendRequest{Phone: fmt.Sprintf("+1202558%04d", round*people+i), Line: other.ID.String()})
		}
		together(12, func(i int) {
			req := to(fmt.Sprintf("+1202558%04d", round*people+i%people))
			req.Line = l.ID.String()
			r, err := w.Send(who, nil, req)
			if err != nil || r.Message.Status != Pending {
				t.Errorf("round %d: %s, %v", round, r.Message.Status, err)
			}
		})
	}
}

func TestLimitsChange(t *testing.T) {
	w := newWorld(t, perDay(5))
	w.line(Production, 0, 0)
	who := w.in(Production)
	set := func(c PlanChange) {
		t.Helper()
		if _, err := w.Admin().SetPlan("test", c); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, n int, limit string) {
		t.Helper()
		for i := range n {
			if _, err := w.Send(who, nil, to(phone())); err != nil {
				t.Fatalf("%s: message %d of %d: %v", what, i+1, n, err)
			}
		}
		e := mustFail[*SendResult](t, what, QuotaExceeded, CodePlanLimit, "")(w.Send(who, nil, to(phone())))
		if e.Limit != nil && (e.Limit.Name != limit || e.Limit.Remaining() != 0) {
			t.Errorf("%s: refused by %+v, want %s", what, e.Limit, limit)
		}
	}
	expect("day 5", 5, limitDay)
	set(PlanChange{MessagesPerDay: n64(8)})
	expect("raised to 8", 3, limitDay)
	set(PlanChange{MessagesPerDay: n64(2)})
	expect("lowered to 2", 0, limitDay)
	set(PlanChange{MessagesPerDay: n64(9)})
	expect("raised to 9", 1, limitDay)
	set(PlanChange{MessagesPerDay: n64(0), MessagesPerMonth: n64(12)})
	expect("12 a month", 3, limitMonth)
	w.clock.pass(24 * time.Hour)
	expect("the month goes on", 0, limitMonth)
	w.reopen()
	who = w.in(Production)
	expect("after a restart", 0, limitMonth)
	w.clock.until(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
	expect("the next month", 12, limitMonth)
	if _, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{Plan: ptr("enterprise")}); err != nil {
		t.Fatal(err)
	}
	w.send(who, to(phone()))
}

func TestLoweredPlanHoldsAtOnce(t *testing.T) {
	w := newWorld(t, unlimited())
	w.line(Production, 0, 0)
	who := w.in(Production)
	var lowered, stop atomic.Bool
	var hammering sync.WaitGroup
	var sent atomic.Int64
	for range 64 {
		hammering.Go(func() {
			for !stop.Load() {
				began := lowered.Load()
				_, err := w.Send(who, nil, to("+12025559999"))
				if err == nil && began {
					t.Error("a message that began after the plan was lowered was taken")
				}
				if err == nil {
					sent.Add(1)
				}
			}
		})
	}
	eventually(t, "200 messages", func() bool { return sent.Load() > 200 })
	if _, err := w.Admin().SetPlan("test", PlanChange{MessagesPerDay: n64(100)}); err != nil {
		t.Fatal(err)
	}
	lowered.Store(true)
	for range 20 {
		mustFail[*SendResult](t, "after the plan was lowered", QuotaExceeded, "", "")(w.Send(who, nil, to("+12025559999")))
	}
	stop.Store(true)
	hammering.Wait()
}

func TestPools(t *testing.T) {
	w := newWorld(t, perDay(3))
	for _, env := range Environments {
		w.line(env, 0, 0)
	}
	prod, staging, dev := w.in(Production), w.in(Staging), w.in(Development)
	w.send(prod, to("+12025550142"))
	w.send(staging, to("+12025550142"))
	w.send(prod, to("+12025550142"))
	mustFail[*SendResult](t, "staging shares with production", QuotaExceeded, "", "")(w.Send(staging, nil, to(phone())))
	for range 3 {
		w.send(dev, to("+12025550142"))
	}
	mustFail[*SendResult](t, "development has as much", QuotaExceeded, "", "")(w.Send(dev, nil, to(phone())))
	if got := w.usage(staging, limitContacts).Used; got != 2 {
		t.Errorf("a person is a new contact of each environment: %d used", got)
	}
}

func TestRequestsPerMinute(t *testing.T) {
	w := newWorld(t, PlanChange{})
	w.line(Production, 0, 0)
	who, dev := w.in(Production), w.in(Development)
	for i := range 60 {
		r := w.send(who, to("+12025550142"))
		if rate := r.Limits[3]; rate.Name != limitRequests || rate.Limit != 60 || rate.Remaining() != int64(59-i) {
			t.Fatalf("request %d: %+v", i+1, rate)
		}
	}
	e := mustFail[*SendResult](t, "the 61st in a minute", QuotaExceeded, CodeRateLimit, "Rate limit exceeded")(w.Send(who, nil, to(phone())))
	if e.RetryAfter != time.Minute {
		t.Errorf("retry after %s", e.RetryAfter)
	}
	mustFail[*SendResult](t, "whatever the environment", QuotaExceeded, CodeRateLimit, "")(w.Send(dev, nil, to(phone())))
	w.clock.pass(time.Minute)
	w.send(who, to("+12025550142"))
	if _, err := w.Admin().SetPlan("test", PlanChange{RequestsPerMinute: n64(2)}); err != nil {
		t.Fatal(err)
	}
	w.send(who, to("+12025550142"))
	w.send(who, to("+12025550142"))
	mustFail[*SendResult](t, "the third of 2 a minute", QuotaExceeded, CodeRateLimit, "")(w.Send(who, nil, to(phone())))
	if got := w.usage(who, limitDay).Used; got != 63 {
		t.Errorf("refused requests count for nothing: %d used", got)
	}
}

func TestDaysRollOver(t *testing.T) {
	// It is 12:00 UTC: in Auckland 01:00 of Tuesday.
	w := newWorldIn(t, PlanChange{MessagesPerDay: n64(2), NewContactsPerDay: n64(1), RequestsPerMinute: n64(0)}, "Pacific/Auckland", Options{})
	l := w.line(Production, 3, 0)
	who := w.in(Production)
	person := phone()
	first := w.send(who, to(person)).Message
	w.send(who, to(person))
	e := mustFail[*SendResult](t, "the third message of the day", QuotaExceeded, "", "")(w.Send(who, nil, to(person)))
	midnight := time.Date(2026, 11, 24, 11, 0, 0, 0, time.UTC)
	if first.Plan.Day != 20261124 || first.Plan.Contact != 20261124 || first.Unit.Day != 20261123 || e.Limit == nil || !e.Limit.ResetsAt.Equal(midnight) {
		t.Errorf("the plan's day is Auckland's, the line's is UTC: %+v, %+v, resets at %+v", first.Plan, first.Unit, e.Limit)
	}
	w.clock.until(midnight)
	second := w.send(who, to(person)).Message
	if second.Plan.Day != 20261125 || second.Plan.Contact != 0 || second.Unit.Day != 20261124 {
		t.Errorf("after Auckland's midnight: %+v, %+v", second.Plan, second.Unit)
	}
	w.send(who, to(phone()))
	if got := w.usage(who, limitLineMessages).Used; got != 2 {
		t.Errorf("the line's new day: %d used", got)
	}
	// The clock is set back an hour: the label stays, no budget is opened twice.
	w.clock.set(midnight.Add(-time.Hour))
	mustFail[*SendResult](t, "after the clock was set back", QuotaExceeded, "", "")(w.Send(who, nil, to(person)))
	w.clock.set(midnight.Add(-time.Hour))
	w.reopen()
	who = w.in(Production)
	mustFail[*SendResult](t, "after a restart with the clock set back", QuotaExceeded, "", "")(w.Send(who, nil, to(person)))
	_ = l
}

func TestClockBack(t *testing.T) {
	w := newWorld(t, perDay(4))
	l := w.line(Production, 3, 0)
	who := w.in(Production)
	w.clock.until(time.Date(2026, 11, 24, 0, 30, 0, 0, time.UTC))
	first := w.send(who, to(phone())).Message
	w.clock.set(time.Date(2026, 11, 23, 23, 30, 0, 0, time.UTC))
	second := w.send(who, to(phone())).Message
	if second.Plan.Day != 20261124 || second.Plan.Contact != 20261124 || second.Unit.Day != 20261124 || second.Created.Before(first.Created.Truncate(time.Second)) || string(second.ID.key()) < string(first.ID.key()) {
		t.Errorf("labels and ids don't go back: %+v", second)
	}
	for range 2 {
		if _, ok := w.deliver(Production, l.ID); !ok {
			t.Error("sending stopped when the clock was set back")
		}
	}
	w.send(who, to(phone()))
	deferred := w.send(who, to(phone())).Message
	if want := time.Date(2026, 11, 25, 14, 0, 0, 0, time.UTC); deferred.Status != Scheduled || !deferred.Due.Equal(want) {
		t.Errorf("the spent day is the one of the label: deferred to %s, want %s", deferred.Due, want)
	}
	mustFail[*SendResult](t, "the plan's day is spent", QuotaExceeded, "", "")(w.Send(who, nil, to(phone())))
	w.reopen()
	who = w.in(Production)
	mustFail[*SendResult](t, "also after a restart", QuotaExceeded, "", "")(w.Send(who, nil, to(phone())))
}

func TestClockForward(t *testing.T) {
	w := newWorld(t, perDay(2))
	w.line(Production, 0, 0)
	who := w.in(Production)
	w.send(who, to(phone()))
	w.send(who, to(phone()))
	jump := noon.Add(48 * time.Hour)
	w.clock.set(jump)
	if !w.ClockHeld() {
		t.Error("a jump of two days is held")
	}
	e := mustFail[*SendResult](t, "a jump opens no day", QuotaExceeded, "", "")(w.Send(who, nil, to(phone())))
	if e.RetryAfter < time.Second {
		t.Errorf("retry after %s", e.RetryAfter)
	}
	w.clock.pass(13 * time.Hour) // real time: the next day may begin
	if r := w.send(who, to(phone())); r.Message.Plan.Day != 20261124 {
		t.Errorf("after 13 hours the day is %s", r.Message.Plan.Day)
	}
	w.Admin().AcceptClock()
	if w.ClockHeld() {
		t.Error("the clock is held although it was accepted")
	}
	if r := w.send(who, to(phone())); r.Message.Plan.Day != 20261126 {
		t.Errorf("accepted: the day is %s", r.Message.Plan.Day)
	}
}

// TestHeldClockDoesNotSpin: a message that waits for the end of a day that is over by the wall clock, but
// not by the trusted one, is not looked at all the time.
func TestHeldClockDoesNotSpin(t *testing.T) {
	w := newWorld(t, perDay(1))
	w.line(Production, 1, 0)
	who := w.in(Production)
	w.send(who, to(phone()))
	dated := noon.Add(time.Hour)
	w.clock.pass(time.Minute)
	if _, err := w.Admin().SetPlan("test", PlanChange{MessagesPerDay: n64(2)}); err != nil {
		t.Fatal(err)
	}
	off := w.send(who, to(phone())).Message // over the line's limit
	late := w.send(who, SendRequest{Phone: phone(), Scheduled: dated.Format(time.RFC3339)}).Message
	w.clock.set(noon.Add(72 * time.Hour))
	w.release(Production) // does not end if it spins
	for _, id := range []MessageID{off.ID, late.ID} {
		if m := w.get(who, id); m.Status == Pending || m.Due.Before(w.clock.now().Add(time.Minute)) {
			t.Errorf("waits until %s as %s (%s), now is %s", m.Due, m.Status, m.Reason, w.clock.now())
		}
	}
}

// TestWallClockIsTheWallClock: readings carry no monotonic part, with which no jump would ever show.
func TestWallClockIsTheWallClock(t *testing.T) {
	var c clock
	c.start(time.Now, func(time.Duration, bool) {})
	if wall := c.trust.Load().wall; wall != wall.Round(0) {
		t.Errorf("the reading has a monotonic part: %s", wall)
	}
	if now, held := c.trusted(); held || now != now.Round(0) {
		t.Errorf("the trusted time is %s, held %v", now, held)
	}
}

func TestCancelGivesBack(t *testing.T) {
	w := newWorld(t, unlimited())
	l := w.line(Production, 0, 0)
	who := w.in(Production)
	person := phone()
	state := func(what string, messages, contacts, line, conversations int64) {
		t.Helper()
		got := []int64{w.usage(who, limitDay).Used, w.usage(who, limitContacts).Used, w.usage(who, limitLineMessages).Used, w.usage(who, limitLineConversations).Used}
		if want := []int64{messages, contacts, line, conversations}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: day, contacts, line, conversations are %v, want %v", what, got, want)
		}
		w.verify()
	}
	cancel := func(req CancelRequest, n int) {
		t.Helper()
		c, err := w.CancelForLead(who, req)
		if err != nil || len(c.Messages) != n || c.Removed != n {
			t.Errorf("cancelled %d, %d from a queue, %v; want %d", len(c.Messages), c.Removed, err, n)
		}
	}
	first := w.send(who, to(person)).Message
	state("one message", 1, 1, 1, 1)
	cancel(CancelRequest{Phone: person}, 1)
	state("cancelled", 0, 0, 0, 0)
	cancel(CancelRequest{Lead: first.Lead.String()}, 0)

	// An heir takes over the contact and the conversation.
	a := w.send(who, to(person)).Message
	w.deliver(Production, l.ID)
	b := w.send(who, to(person)).Message
	state("one sent, one waits", 2, 1, 2, 1)
	cancel(CancelRequest{Lead: a.Lead.String()}, 1)
	state("the waiting one is cancelled", 1, 1, 1, 1)
	if m := w.get(who, b.ID); m.Status != Cancelled || m.Plan.Day != 0 || m.Unit.Day != 0 {
		t.Errorf("cancelled: %+v", m)
	}
	other := phone()
	older := w.send(who, SendRequest{Phone: other, Window: Window{Timezone: "UTC", Start: "13:00", End: "14:00"}}).Message
	younger := w.send(who, SendRequest{Email: "one@example.com", AltPhones: [3]*string{&other}}).Message
	_ = younger
	state("two people", 3, 3, 3, 3)
	cancel(CancelRequest{Email: "one@example.com", Phone: other}, 2)
	state("both cancelled", 1, 1, 1, 1)
	if m := w.get(who, older.ID); m.Status != Cancelled {
		t.Errorf("a message that waits for its window is cancelled: %s", m.Status)
	}

	// The first of two messages is cancelled alone, with its lead's deletion; the other is to the same address.
	saved, err := w.CreateLeads(who, nil, LeadBatch{Leads: []LeadInput{{Email: ptr("two@example.com")}}})
	if err != nil {
		t.Fatal(err)
	}
	shared := phone()
	w.send(who, SendRequest{Lead: saved.Created[0].ID.String(), Phone: shared})
	w.send(who, to(shared))
	state("two messages to one address", 3, 2, 3, 2)
	cancel(CancelRequest{Lead: saved.Created[0].ID.String()}, 1)
	state("the other inherits", 2, 2, 2, 2)
	cancel(CancelRequest{Phone: shared}, 1)
	state("and gives back", 1, 1, 1, 1)

	// A dated message was not charged.
	w.send(who, SendRequest{Phone: phone(), Scheduled: "2026-12-24", Email: "dated@example.com"})
	cancel(CancelRequest{Email: "dated@example.com"}, 1)
	state("a dated message", 1, 1, 1, 1)

	// Labels that are over get nothing back, but the month does.
	late := phone()
	w.send(who, SendRequest{Phone: late, Window: Window{Timezone: "UTC", Days: []int{5}}})
	month := w.usage(who, limitMonth).Used
	w.clock.pass(24 * time.Hour)
	w.send(who, to(phone()))
	cancel(CancelRequest{Phone: late}, 1)
	state("the day is over", 1, 1, 1, 1)
	if got := w.usage(who, limitMonth).Used; got != month {
		t.Errorf("the month: %d used, want %d", got, month)
	}
}

// TestCancelBesideSend: a message is cancelled by one request while another is still settling what it took.
func TestCancelBesideSend(t *testing.T) {
	w := newWorld(t, unlimited())
	w.line(Production, 0, 0)
	who := w.in(Production)
	person := phone()
	together(16, func(i int) {
		for range 30 {
			var err error
			if i%2 == 0 {
				_, err = w.Send(who, nil, to(person))
			} else {
				_, err = w.CancelForLead(who, CancelRequest{Phone: person})
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	w.verify()
	if _, err := w.CancelForLead(who, CancelRequest{Phone: person}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{limitDay, limitMonth, limitContacts, limitLineMessages, limitLineConversations} {
		if l := w.usage(who, name); l.Used != 0 || l.Reserved != 0 {
			t.Errorf("all are cancelled, but %+v", l)
		}
	}
}

func TestRefusedCancellations(t *testing.T) {
	w := newWorld(t, unlimited())
	who, dev := w.in(Production), w.in(Development)
	w.line(Development, 0, 0)
	foreign := w.send(dev, to(phone())).Lead.ID.String()
	mustFail[Cancellation](t, "nobody named", Invalid, "", "Either leadId, recipientPhone, or recipientEmail is required")(w.CancelForLead(who, CancelRequest{}))
	mustFail[Cancellation](t, "a malformed lead", Invalid, "", "Invalid leadId")(w.CancelForLead(who, CancelRequest{Lead: "x"}))
	mustFail[Cancellation](t, "a foreign lead", Forbidden, CodeWrongWorkspace, "")(w.CancelForLead(who, CancelRequest{Lead: foreign}))
	for _, req := range []CancelRequest{{Phone: phone()}, {Lead: "00000000000000000000000a"}, {Email: "nobody@example.com"}} {
		if c, err := w.CancelForLead(who, req); err != nil || len(c.Messages) != 0 {
			t.Errorf("cancelling nothing: %+v, %v", c, err)
		}
	}
}

func TestLineMadeAgain(t *testing.T) {
	w := newWorld(t, unlimited())
	op, who := w.operator(Production), w.in(Production)
	number := phone()
	change := LineChange{Phone: &number, DailyMessages: n64(2), DailyNew: n64(2)}
	l := w.lineOf(op, IMessage, change)
	mustFail[Line](t, "a second line with the number", Conflict, CodeLineExists, "")(w.CreateLine(op, SMS, change))
	w.send(who, to(phone()))
	w.send(who, to(phone()))
	for _, channel := range []Channel{IMessage, SMS} {
		if err := w.DeleteLine(op, l.ID.String()); err != nil {
			t.Fatal(err)
		}
		w.release(Production) // what waited for it has no line now, and gives its unit back
		l = w.lineOf(op, channel, change)
		if channel == IMessage {
			w.clock.pass(2 * time.Minute)
			w.release(Production)
			w.deliver(Production, l.ID)
			w.deliver(Production, l.ID)
		}
		if got := w.usage(who, limitLineMessages).Used; got != 2 {
			t.Errorf("made again as %s: %d used, want 2", channel, got)
		}
		r := w.send(who, SendRequest{Phone: phone(), Type: "sms"})
		if r.Message.Status != Scheduled {
			t.Errorf("made again as %s: the message is %s", channel, r.Message.Status)
		}
		if _, err := w.CancelForLead(who, CancelRequest{Lead: r.Message.Lead.String()}); err != nil {
			t.Fatal(err)
		}
		if channel == IMessage {
			w.reopen()
			op, who = w.operator(Production), w.in(Production)
		}
	}
}

func TestDeferral(t *testing.T) {
	w := newWorld(t, unlimited())
	l := w.line(Production, 1, 0)
	who := w.in(Production)
	w.send(who, to(phone()))
	for _, tt := range []struct {
		name   string
		window Window
		due    string
	}{
		{"09:00 in New York", Window{}, "2026-11-24T14:00:00Z"},
		{"09:00 in a zone", Window{Timezone: "Asia/Tokyo"}, "2026-11-24T00:00:00Z"},
		{"the window's start", Window{Timezone: "Europe/Berlin", Start: "10:30", End: "18:00"}, "2026-11-24T09:30:00Z"},
		{"the window's start on an allowed day", Window{Timezone: "UTC", Start: "10:00", End: "18:00", Days: []int{1}}, "2026-11-30T10:00:00Z"},
	} {
		m := w.send(who, SendRequest{Phone: phone(), Window: tt.window}).Message
		want, _ := ParseDate(tt.due)
		if m.Status != Scheduled || !m.Scheduled.Equal(want) || m.Reason == "" || !m.Line.IsZero() {
			t.Errorf("%s: %s to %s (%q), want %s", tt.name, m.Status, m.Scheduled, m.Reason, want)
		}
	}
	pinned := w.send(who, SendRequest{Phone: phone(), Line: l.ID.String()}).Message
	if pinned.Status != Scheduled || pinned.Line != l.ID {
		t.Errorf("a pinned message keeps its line: %+v", pinned)
	}
	// Another line with room takes it today.
	other := w.line(Production, 0, 0)
	if m := w.send(who, to(phone())).Message; m.Status != Pending || m.Line != other.ID {
		t.Errorf("every active line is tried: %s on %s", m.Status, m.Line)
	}
}

func TestPlanSpentAtRelease(t *testing.T) {
	w := newWorld(t, perDay(1))
	w.line(Production, 0, 0)
	who := w.in(Production)
	var dated []Message
	for range 3 {
		dated = append(dated, w.send(who, SendRequest{Phone: phone(), Scheduled: "2026-11-23T15:00:00Z"}).Message)
	}
	if got := w.usage(who, limitDay).Used; got != 0 {
		t.Errorf("dated messages are charged when they are released: %d used", got)
	}
	for day := range 3 {
		w.clock.until(time.Date(2026, 11, 23+day, 15, 0, 0, 0, time.UTC))
		w.release(Production)
		for i, d := range dated {
			m := w.get(who, d.ID)
			if (m.Status == Pending) != (i <= day) || (m.Status == Queued) != (m.Reason != "") {
				t.Errorf("day %d: message %d is %s (%q), charged %s, due %s", day, i, m.Status, m.Reason, m.Plan.Day, m.Due)
			}
		}
		w.reopen()
		who = w.in(Production)
	}
}

// What waits for the plan goes when the plan has room, not when the next day comes.
func TestRaisedPlanLetsGoWhatWaits(t *testing.T) {
	w := newWorld(t, perDay(1))
	w.line(Production, 0, 0)
	who := w.in(Production)
	var dated []Message
	for range 150 { // more than one transaction moves
		dated = append(dated, w.send(who, SendRequest{Phone: phone(), Scheduled: "2026-11-23T15:00:00Z"}).Message)
	}
	w.clock.until(time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC))
	going := func() (n int) {
		for range 3 {
			w.release(Production)
		}
		for _, d := range dated {
			if w.get(who, d.ID).Status == Pending {
				n++
			}
		}
		return n
	}
	if n := going(); n != 1 {
		t.Errorf("%d messages go under a plan of one a day", n)
	}
	if _, err := w.Admin().SetPlan("test", perDay(120)); err != nil {
		t.Fatal(err)
	}
	if n := going(); n != 120 {
		t.Errorf("%d messages go after the plan was raised to 120", n)
	}
}

func TestStorageFailureKeepsNothing(t *testing.T) {
	w := newWorld(t, perDay(2))
	w.line(Production, 0, 0)
	who := w.in(Production)
	broken := &Once{Key: "k", Encode: func(any) (Answer, error) { return Answer{}, errors.New("no answer") }}
	panics := &Once{Key: "k", Encode: func(any) (Answer, error) { panic("no answer") }}
	for range 5 {
		if _, err := w.Send(who, broken, to(phone())); err == nil {
			t.Error("a request that could not be stored was taken")
		}
		func() {
			defer func() { _ = recover() }()
			_, _ = w.Send(who, panics, to(phone()))
		}()
	}
	if l := w.usage(who, limitDay); l.Used != 0 || l.Reserved != 0 {
		t.Errorf("what failed holds units: %+v", l)
	}
	w.send(who, to(phone()))
	w.send(who, to(phone()))
}

// TestReleasedIsRecounted: a message that is older than the month counts on the day of its release, also
// when it was released again for another attempt.
func TestReleasedIsRecounted(t *testing.T) {
	w := newWorld(t, PlanChange{MessagesPerMonth: n64(5), RequestsPerMinute: n64(0)})
	l := w.line(Production, 0, 0)
	who := w.in(Production)
	m := w.send(who, SendRequest{Phone: phone(), Scheduled: "2026-12-10T12:00:00Z"}).Message
	w.clock.until(time.Date(2026, 12, 10, 12, 0, 0, 0, time.UTC))
	w.release(Production)
	jobs, _ := w.next(Production, l.ID, 1)
	if len(jobs) != 1 {
		t.Fatalf("%d jobs", len(jobs))
	}
	if _, err := w.queue(Production).Retry(m.ID, "later"); err != nil {
		t.Fatal(err)
	}
	w.clock.pass(time.Minute)
	w.release(Production)
	right := PlanUsage{Day: 20261210, Messages: 1, Month: 1, Contacts: 1}
	w.forge(func(tx *kvTx) { usageBucket(w.id).Put(tx, []byte(contracted), PlanUsage{Day: 20261210}) })
	w.reopen()
	who = w.in(Production)
	if d, n := w.usage(who, limitDay).Used, w.usage(who, limitMonth).Used; d != 1 || n != 1 {
		t.Errorf("recounted %d of the day, %d of the month; want 1 and 1", d, n)
	}
	w.forge(func(tx *kvTx) { usageBucket(w.id).Put(tx, []byte(contracted), right) })
	w.reopen()
}

func TestStoredUsageIsCorrected(t *testing.T) {
	w := newWorld(t, PlanChange{MessagesPerDay: n64(10), MessagesPerMonth: n64(12), NewContactsPerDay: n64(10), RequestsPerMinute: n64(0)})
	l := w.line(Production, 10, 0)
	who := w.in(Production)
	for range 4 {
		w.send(who, to(phone()))
	}
	w.send(who, SendRequest{Phone: phone(), Scheduled: "2026-11-23T13:00:00Z"})
	w.clock.until(noon.Add(time.Hour))
	w.release(Production)
	damage := func(plan PlanUsage, line LineUsage) {
		w.forge(func(tx *kvTx) {
			usageBucket(w.id).Put(tx, []byte(contracted), plan)
			w.queue(Production).env.store.lineUsage.Put(tx, []byte(l.identity()), line)
		})
	}
	const today quota.Label = 20261123
	for _, tt := range []struct {
		name string
		plan PlanUsage
		line LineUsage
		want [4]int64
	}{
		{"too little is stored", PlanUsage{Day: today, Messages: 1, Month: 2, Contacts: 0}, LineUsage{Day: today, Messages: 1}, [4]int64{5, 5, 5, 5}},
		{"too much is stored", PlanUsage{Day: today, Messages: 8, Month: 9, Contacts: 7}, LineUsage{Day: today, Messages: 6, Conversations: 5}, [4]int64{8, 9, 7, 6}},
	} {
		damage(tt.plan, tt.line)
		if faults, err := w.Check(); err != nil || len(faults) != 2 {
			t.Errorf("%s: the check says %q, %v", tt.name, faults, err)
		}
		var log syncBuffer
		w.opt.Log = log.logger()
		w.reopen()
		who = w.in(Production)
		got := [4]int64{w.usage(who, limitDay).Used, w.usage(who, limitMonth).Used, w.usage(who, limitContacts).Used, w.usage(who, limitLineMessages).Used}
		if got != tt.want {
			t.Errorf("%s: day, month, contacts, line are %v, want %v", tt.name, got, tt.want)
		}
		if !log.has("stored usage differs", string(w.id), limitDay) {
			t.Errorf("%s: the log says %s", tt.name, log.String())
		}
	}
	damage(PlanUsage{Day: today, Messages: 5, Month: 5, Contacts: 5}, LineUsage{Day: today, Messages: 5, Conversations: 5})
	var log syncBuffer
	w.opt.Log = log.logger()
	w.reopen()
	if log.has("stored usage differs") {
		t.Errorf("nothing differs, but the log says %s", log.String())
	}
}

// TestRecountIsBounded: a start looks at so many messages and no more, and compares nothing by halves.
func TestRecountIsBounded(t *testing.T) {
	w := newWorld(t, perDay(10))
	w.line(Production, 10, 0)
	who := w.in(Production)
	for range 3 {
		w.send(who, to(phone()))
	}
	w.send(who, SendRequest{Phone: phone(), Scheduled: "2026-11-24T13:00:00Z"}) // not charged, but looked at
	right := PlanUsage{Day: 20261123, Messages: 3, Month: 3, Contacts: 3}
	wrong := PlanUsage{Day: 20261123, Messages: 1, Month: 1, Contacts: 1}
	ten := w.tenant(w.id)
	w.forge(func(tx *kvTx) { usageBucket(w.id).Put(tx, []byte(contracted), wrong) })
	ten.pools[contracted].messages.Refund(20261123, quota.Sums{First: 2})
	for _, tt := range []struct {
		most, looked int
		compared     bool
		used         int64
	}{
		{0, 0, false, 1}, // the stored total alone tells
		{3, 3, false, 1},
		{4, 4, true, 3},
	} {
		looked, err := kv.View(w.db, func(tx *kvTx) (int, error) {
			looked, compared := ten.recount(tx, tt.most)
			if compared != tt.compared {
				t.Errorf("at most %d: compared %v", tt.most, compared)
			}
			return looked, nil
		})
		if used := w.usage(who, limitDay).Used; err != nil || looked != tt.looked || used != tt.used {
			t.Errorf("at most %d: looked at %d, %d used, %v; want %d and %d", tt.most, looked, used, err, tt.looked, tt.used)
		}
	}
	w.forge(func(tx *kvTx) { usageBucket(w.id).Put(tx, []byte(contracted), right) })
	w.reopen()
}
