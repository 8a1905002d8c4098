package engine

import (
	"errors"
	"slices"
	"testing"
	"time"
)

var nobody = func(MessageID) bool { return false }

// next is what the line can send now.
func (w *world) next(env Environment, line LineID, most int) (jobs []Job, at time.Time) {
	w.t.Helper()
	jobs, again, err := w.queue(env).Next(line, most, nobody)
	if err != nil {
		w.t.Fatal(err)
	}
	return jobs, again.At
}

// A look at a line doesn't take longer with everything that waits there: behind a first message that must
// wait, only so many follow-ups are looked past; and then no further message makes the line look again.
func TestLookIsBounded(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	l := w.lineOf(w.operator(Production), IMessage, LineChange{Phone: ptr(phone()), ContactGap: ptr(time.Hour)})
	w.send(who, to(phone()))
	if _, ok := w.deliver(Production, l.ID); !ok {
		t.Fatal("the first message goes at once")
	}
	waits, known := phone(), phone()
	w.send(who, to(waits))
	for i := range lookPast + 1 {
		crowded := i == lookPast
		jobs, again, err := w.queue(Production).Next(l.ID, 1, nobody)
		if len(jobs) > 0 || !again.At.After(w.clock.now()) || again.Firm != crowded || err != nil {
			t.Errorf("behind %d follow-ups: %d jobs, next look %+v, %v", i, len(jobs), again, err)
		}
		if !crowded {
			w.send(who, to(waits)) // behind its first, which keeps the contact gap
		}
	}
	w.send(who, to(known))
	if jobs, at := w.next(Production, l.ID, 1); len(jobs) > 0 || !at.After(w.clock.now()) {
		t.Errorf("%d jobs, next look at %s", len(jobs), at)
	}
	w.clock.pass(time.Hour)
	for range 2 + lookPast {
		if _, ok := w.deliver(Production, l.ID); !ok {
			w.clock.pass(time.Hour)
			if _, ok := w.deliver(Production, l.ID); !ok {
				t.Fatal("what waited does not go")
			}
		}
	}
}

func TestGaps(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	l := w.lineOf(w.operator(Production), IMessage, LineChange{Phone: ptr(phone()), DeviceGap: ptr(30 * time.Second), ContactGap: ptr(45 * time.Second)})
	known, a, b := phone(), phone(), phone()
	w.send(who, to(known))
	if _, ok := w.deliver(Production, l.ID); !ok {
		t.Fatal("the first message goes at once")
	}
	first := w.send(who, to(a)).Message
	w.send(who, to(a)) // behind the first message to a
	second := w.send(who, to(b)).Message
	follow := w.send(who, to(known)).Message
	start := w.clock.now()
	for _, step := range []struct {
		after time.Duration // since the first
		want  MessageID
		at    time.Duration // else, when to look again
	}{
		{0, MessageID{}, 30 * time.Second},
		{29 * time.Second, MessageID{}, 30 * time.Second},
		{30 * time.Second, follow.ID, 0}, // a follow-up keeps the device gap only
		{45 * time.Second, MessageID{}, 60 * time.Second},
		{60 * time.Second, first.ID, 0},
	} {
		w.clock.until(start.Add(step.after))
		jobs, at := w.next(Production, l.ID, 8)
		if step.want.IsZero() {
			if len(jobs) > 0 || !at.Equal(start.Add(step.at)) {
				t.Errorf("after %s: %d messages, look again after %s; want %s", step.after, len(jobs), at.Sub(start), step.at)
			}
			continue
		}
		if m, ok := w.deliver(Production, l.ID); !ok || m.ID != step.want {
			t.Errorf("after %s: %s went, want %s", step.after, m.ID, step.want)
		}
	}
	w.clock.until(start.Add(90 * time.Second))
	if m, ok := w.deliver(Production, l.ID); !ok || m.ID == second.ID || m.To[0] != a {
		t.Errorf("the follow-up to the person comes before another first message: %+v", m)
	}
	// The clock is set back: the line does not stand still for an hour.
	w.clock.set(start.Add(-time.Hour))
	if m, ok := w.deliver(Production, l.ID); !ok || m.ID != second.ID {
		t.Errorf("after the clock was set back nothing goes: %+v", m)
	}
}

func TestRateOfTransport(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	l := w.lineOf(w.operator(Production), Email, LineChange{Email: ptr("l@example.com"), Transport: ptr("smtp://mail.example.com:587?rate=6/m")})
	for range 2 {
		w.send(who, SendRequest{Email: "a@example.com", Type: "email"})
	}
	if _, ok := w.deliver(Production, l.ID); !ok {
		t.Fatal("the first message goes at once")
	}
	if jobs, at := w.next(Production, l.ID, 8); len(jobs) > 0 || !at.Equal(noon.Add(10*time.Second)) {
		t.Errorf("six a minute: %d go, look again at %s", len(jobs), at)
	}
}

func TestHandOver(t *testing.T) {
	w := newWorld(t, unlimited())
	who, op := w.in(Production), w.operator(Production)
	l := w.line(Production, 0, 0)
	q := w.queue(Production)
	prepare := func(req SendRequest) (Message, Job) {
		t.Helper()
		m := w.send(who, req).Message
		jobs, _ := w.next(Production, m.Line, 1)
		if len(jobs) != 1 || jobs[0].Message.ID != m.ID {
			t.Fatalf("%d jobs", len(jobs))
		}
		return m, jobs[0]
	}
	notNow := func(what string, job Job) {
		t.Helper()
		if err := q.HandOver(job); !errors.Is(err, ErrNotNow) {
			t.Errorf("%s: handed over, %v", what, err)
		}
	}
	person := phone()
	m, job := prepare(to(person))
	if _, err := w.CancelForLead(who, CancelRequest{Phone: person}); err != nil {
		t.Fatal(err)
	}
	notNow("cancelled since it was prepared", job)
	if got := w.get(who, m.ID); got.Status != Cancelled {
		t.Errorf("it is %s", got.Status)
	}

	m, job = prepare(to(person))
	if err := q.HandOver(job); err != nil {
		t.Fatal(err)
	}
	notNow("handed over twice", job)
	if c, err := w.CancelForLead(who, CancelRequest{Phone: person}); err != nil || len(c.Messages) != 0 {
		t.Errorf("cancelled what was handed over: %+v, %v", c, err)
	}
	if done, err := q.Finish(m.ID, Outcome{Status: Fallback, Detail: "no", Checked: []string{person}}); err != nil || done.Status != Fallback || done.Error != "no" || !done.SentAt.IsZero() {
		t.Errorf("finished as %+v, %v", done, err)
	}
	if again, err := q.Finish(m.ID, Outcome{Status: Delivered}); err != nil || again.Status != Fallback {
		t.Errorf("finished twice: %s, %v", again.Status, err)
	}

	m, job = prepare(SendRequest{Phone: person, Window: Window{Timezone: "UTC", Start: "09:00", End: "13:00"}})
	w.clock.until(noon.Add(time.Hour))
	var told []Work
	w.OnWork(func(work Work) { told = append(told, work) })
	notNow("its window has closed", job)
	opens := noon.Add(21 * time.Hour)
	if got := w.get(who, m.ID); got.Status != Queued || !got.Due.Equal(opens) || got.Reason == "" || got.Unit.Day == 0 {
		t.Errorf("it waits for its window: %+v", got)
	}
	if !slices.ContainsFunc(told, func(work Work) bool { return work.At.Equal(opens) && work.Line.IsZero() }) {
		t.Errorf("nobody was told when it is due: %+v", told)
	}
	w.clock.until(opens)
	w.release(Production)
	if got, ok := w.deliver(Production, l.ID); !ok || got.ID != m.ID || got.Unit.Day != 20261124 {
		t.Errorf("it goes when it opens again, with a unit of that day: %+v", got)
	}

	_, job = prepare(to(person))
	if _, err := w.SetLine(op, l.ID.String(), LineChange{Active: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	notNow("its line was paused", job)
	if jobs, _ := w.next(Production, l.ID, 1); len(jobs) != 0 {
		t.Error("a paused line sends")
	}
	if got := w.get(who, job.Message.ID); got.Status != Queued || got.Reason == "" {
		t.Errorf("its line was paused: it is %s (%q)", got.Status, got.Reason)
	}
	if _, err := w.SetLine(op, l.ID.String(), LineChange{Active: ptr(true)}); err != nil {
		t.Fatal(err)
	}
	w.release(Production)
	if _, ok := w.deliver(Production, l.ID); !ok {
		t.Error("it goes when the line is active again")
	}
}

func TestRetries(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	l := w.line(Production, 0, 0)
	q := w.queue(Production)
	m := w.send(who, to(phone())).Message
	for attempt := 1; attempt <= maxAttempts; attempt++ {
		jobs, _ := w.next(Production, l.ID, 1)
		if len(jobs) != 1 {
			t.Fatalf("attempt %d: %d jobs", attempt, len(jobs))
		}
		if err := q.HandOver(jobs[0]); err != nil {
			t.Fatal(err)
		}
		var told []Work
		w.OnWork(func(work Work) { told = append(told, work) })
		got, err := q.Retry(m.ID, "451 later")
		if err != nil || got.Attempts != attempt {
			t.Fatalf("attempt %d: %+v, %v", attempt, got, err)
		}
		if attempt == maxAttempts {
			if got.Status != Failed || got.Error != "Gave up after 5 attempts: 451 later" || got.Place != nowhere {
				t.Errorf("after the last attempt: %+v", got)
			}
			break
		}
		if due := w.clock.now().Add(time.Minute); got.Status != Queued || !got.Due.Equal(due) || len(told) != 1 || !told[0].At.Equal(due) {
			t.Errorf("attempt %d: %s, due %s; told %+v", attempt, got.Status, got.Due, told)
		}
		w.clock.pass(time.Minute)
		w.release(Production)
	}
	if used := w.usage(who, limitLineMessages).Used; used != 1 {
		t.Errorf("one unit, however often it is tried: %d", used)
	}
	report, err := w.SpamMonitor(who)
	if err != nil || len(report) != 1 || report[0].Failed != 1 || report[0].Consecutive != 1 {
		t.Errorf("the spam monitor says %+v, %v", report, err)
	}
}

func TestUncertain(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	l := w.line(Production, 1, 0)
	q := w.queue(Production)
	m := w.send(who, to(phone())).Message
	jobs, _ := w.next(Production, l.ID, 1)
	if err := q.HandOver(jobs[0]); err != nil {
		t.Fatal(err)
	}
	w.crash()
	who, q = w.in(Production), w.queue(Production)
	op := w.operator(Production)
	if jobs, _ := w.next(Production, l.ID, 1); len(jobs) != 0 {
		t.Error("what was handed over would be sent again after a crash")
	}
	lost, err := q.Interrupted()
	if err != nil || len(lost) != 1 || lost[0].Message.ID != m.ID || lost[0].Text != "Hello" || lost[0].Line.ID != l.ID {
		t.Fatalf("interrupted: %+v, %v", lost, err)
	}
	if got, err := q.Lose(m.ID, "crash"); err != nil || got.Status != Uncertain || got.Unit.Day == 0 {
		t.Errorf("lost: %+v, %v", got, err)
	}
	if used := w.usage(who, limitLineMessages).Used; used != 1 {
		t.Errorf("an unknown outcome keeps its unit: %d", used)
	}
	mustFail[Message](t, "settled by a customer", Forbidden, "", "")(w.Settle(who, m.ID.String(), Sent))
	mustFail[Message](t, "settled as delivered", Invalid, "", "")(w.Settle(op, m.ID.String(), Delivered))
	// It is to be sent again, but its line is gone: another takes it.
	if err := w.DeleteLine(op, l.ID.String()); err != nil {
		t.Fatal(err)
	}
	other := w.line(Production, 0, 0)
	if _, err := w.Settle(op, m.ID.String(), Pending); err != nil {
		t.Fatal(err)
	}
	w.release(Production)
	if got, ok := w.deliver(Production, other.ID); !ok || got.ID != m.ID || got.Status != Delivered {
		t.Errorf("sent again: %+v", got)
	}
	mustFail[Message](t, "settled although it is known", Conflict, "", "")(w.Settle(op, m.ID.String(), Sent))
	second := w.send(who, to(phone())).Message
	jobs, _ = w.next(Production, other.ID, 1)
	if err := q.HandOver(jobs[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Lose(second.ID, "?"); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Settle(op, second.ID.String(), Sent); err != nil || got.Status != Sent || !got.SentAt.Equal(w.clock.now()) {
		t.Errorf("settled as sent: %+v, %v", got, err)
	}
}

func TestLineUnitMovesToTheNewDay(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	l := w.line(Production, 2, 1)
	a, b := phone(), phone()
	first := w.send(who, to(a)).Message
	follow := w.send(who, to(a)).Message
	w.clock.until(noon.Add(24 * time.Hour))
	q := w.queue(Production)
	jobs, _ := w.next(Production, l.ID, 2)
	if len(jobs) != 1 || jobs[0].Message.ID != first.ID {
		t.Fatalf("%d jobs; the follow-up waits for the first message", len(jobs))
	}
	// A new person takes the new day's only new conversation. The first message to a is put off, and
	// with it the new conversation; the follow-up inherits that, and is put off too.
	taken := w.send(who, to(b)).Message
	if taken.Status != Pending {
		t.Fatalf("the new day's conversation: %s", taken.Status)
	}
	if err := q.HandOver(jobs[0]); !errors.Is(err, ErrNotNow) || jobs[0].Message.ID != first.ID {
		t.Errorf("handed over beyond the day's new conversations: %v", err)
	}
	jobs, _ = w.next(Production, l.ID, 2)
	for _, job := range jobs {
		if job.Message.ID == follow.ID {
			if err := q.HandOver(job); !errors.Is(err, ErrNotNow) {
				t.Errorf("a follow-up began the conversation without a unit: %v", err)
			}
		}
	}
	for _, id := range []MessageID{first.ID, follow.ID} {
		if m := w.get(who, id); m.Status != Scheduled || m.Unit.Day != 0 || m.Reason == "" {
			t.Errorf("put off: %+v", m)
		}
	}
	if m, ok := w.deliver(Production, l.ID); !ok || m.ID != taken.ID {
		t.Errorf("sent %+v", m)
	}
	w.verify()
	// With room the unit moves.
	w.clock.until(noon.Add(48 * time.Hour).Add(6 * time.Hour))
	w.release(Production)
	m, ok := w.deliver(Production, l.ID)
	if !ok || m.Unit.Day != 20261125 || !m.Unit.First {
		t.Errorf("sent on the third day: %+v", m)
	}
	m, ok = w.deliver(Production, l.ID)
	if !ok || m.Unit.Day != 20261125 || m.Unit.First {
		t.Errorf("and its follow-up: %+v", m)
	}
	if n, c := w.usage(who, limitLineMessages).Used, w.usage(who, limitLineConversations).Used; n != 2 || c != 1 {
		t.Errorf("the third day has used %d and %d", n, c)
	}
}

func TestDeletedLine(t *testing.T) {
	w := newWorld(t, unlimited())
	who, op := w.in(Production), w.operator(Production)
	l := w.line(Production, 0, 0)
	free := w.send(who, to(phone())).Message
	pinned := w.send(who, SendRequest{Phone: phone(), Line: l.ID.String()}).Message
	later := w.send(who, SendRequest{Phone: phone(), Window: Window{Timezone: "UTC", Start: "15:00", End: "16:00"}}).Message
	if err := w.DeleteLine(op, l.ID.String()); err != nil {
		t.Fatal(err)
	}
	w.release(Production)
	if m := w.get(who, free.ID); m.Status != Queued || m.Reason != "Waits for an active line." || m.Unit.Day != 0 {
		t.Errorf("without another line: %+v", m)
	}
	if m := w.get(who, pinned.ID); m.Status != Failed || m.Error != "The line that was asked for was deleted." {
		t.Errorf("a pinned message: %+v", m)
	}
	mustFail[*SendResult](t, "sending over it", NotFound, "", "Line not found")(w.Send(who, nil, SendRequest{Text: "x", Phone: phone(), Line: l.ID.String()}))
	other := w.line(Production, 0, 0)
	w.clock.until(noon.Add(3 * time.Hour))
	w.release(Production)
	for _, id := range []MessageID{free.ID, later.ID} {
		if m := w.get(who, id); m.Status != Pending || m.Line != other.ID || m.Unit.Day != 20261123 {
			t.Errorf("with another line: %+v", m)
		}
	}
	if m := w.get(who, later.ID); m.Plan.Released {
		t.Error("what was charged at acceptance counts as released")
	}
}

func TestRoomOfPlan(t *testing.T) {
	w := newWorld(t, PlanChange{PhoneLines: n64(1), EmailLines: n64(0), RequestsPerMinute: n64(0)})
	op := w.operator(Production)
	mail := LineChange{Email: ptr("l@example.com"), Transport: ptr("smtp://mail.example.com:587")}
	e := mustFail[Line](t, "an e-mail line beyond the plan", Forbidden, CodePlanLimit, "")(w.CreateLine(op, Email, mail))
	if e.Limit == nil || e.Limit.Name != limitEmailLines || e.Limit.Limit != 0 {
		t.Errorf("the limit is %+v", e.Limit)
	}
	if _, err := w.Admin().SetPlan("test", PlanChange{EmailLines: n64(1)}); err != nil {
		t.Fatal(err)
	}
	l := w.lineOf(op, Email, mail)
	mail.Email = ptr("m@example.com")
	mustFail[Line](t, "a second e-mail line", Forbidden, CodePlanLimit, "")(w.CreateLine(op, Email, mail))
	sandbox := w.lineOf(op, Email, LineChange{Email: ptr("s@example.com")})
	mustFail[Line](t, "a sandbox line that becomes a real one", Forbidden, CodePlanLimit, "")(w.SetLine(op, sandbox.ID.String(), LineChange{Transport: mail.Transport}))
	mustFail[Line](t, "a real transport in development", Forbidden, CodeTransportNotAllowed, "")(w.CreateLine(w.operator(Development), Email, mail))
	mustFail[Line](t, "a real transport in staging", Forbidden, CodeTransportNotAllowed, "")(w.CreateLine(w.operator(Staging), Email, mail))
	mustFail[Line](t, "a real transport by a customer", Forbidden, CodeTransportNotAllowed, "")(w.CreateLine(w.in(Production), Email, mail))
	mustFail[Line](t, "SMTP on a phone line", Invalid, "", "")(w.CreateLine(op, SMS, LineChange{Phone: ptr(phone()), Transport: mail.Transport}))
	mustFail[Line](t, "another phone number", Invalid, "", "")(w.SetLine(op, l.ID.String(), LineChange{Phone: ptr(phone())}))
	mustFail[Line](t, "a limit below 0", Invalid, "", "")(w.SetLine(op, l.ID.String(), LineChange{DailyMessages: n64(-1)}))
	if err := w.DeleteLine(op, l.ID.String()); err != nil {
		t.Fatal(err)
	}
	w.lineOf(op, Email, mail)
}
