package engine

import (
	"fmt"
	"testing"
	"time"
)

// dated stores n messages for an hour from now, to the n-th of these people and so round, and lets that
// hour pass.
func (w *world) dated(who Caller, n int, people ...string) (all []Message) {
	w.t.Helper()
	at := w.clock.now().Add(time.Hour).Format(time.RFC3339)
	for i := range n {
		all = append(all, w.send(who, SendRequest{Phone: people[i%len(people)], Scheduled: at}).Message)
	}
	w.clock.pass(time.Hour)
	return all
}

func people(n int) (all []string) {
	for range n {
		all = append(all, phone())
	}
	return all
}

// TestReleaseAtOnce: messages that are due together get exactly what is left of each limit, the first of
// them, and the transactions are few.
func TestReleaseAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name          string
		plan          PlanChange
		daily, first  int64
		people        int
		go_, put, lim int // how many go, are put off by their line, wait for the plan
	}{
		{"everything", unlimited(), 0, 0, 40, 40, 0, 0},
		{"the plan's day", perDay(25), 0, 0, 40, 25, 0, 15},
		{"the plan's month", PlanChange{MessagesPerMonth: n64(25), RequestsPerMinute: n64(0)}, 0, 0, 3, 25, 0, 15},
		{"new contacts", newPerDay(3), 0, 0, 8, 15, 0, 25},
		{"one new contact", newPerDay(1), 0, 0, 1, 40, 0, 0},
		{"the line's day", unlimited(), 25, 0, 40, 25, 15, 0},
		{"new conversations", unlimited(), 0, 3, 8, 15, 25, 0},
		{"plan and line", perDay(30), 10, 0, 40, 10, 20, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.plan)
			w.line(Production, tt.daily, tt.first)
			who := w.in(Production)
			due := w.dated(who, 40, people(tt.people)...)
			before := w.Stats().Transactions
			w.release(Production)
			if n := w.Stats().Transactions - before; n > 8 {
				t.Errorf("%d transactions", n)
			}
			var went, put, limited int
			last := ""
			for _, m := range due {
				switch m := w.get(who, m.ID); m.Status {
				case Pending:
					went++
				case Scheduled:
					put++
				case Queued:
					limited++
				}
				if last = fmt.Sprint(went, put, limited); tt.people == 40 && put+limited > 0 && went < tt.go_ {
					t.Fatalf("a later one overtook: %s so far", last)
				}
			}
			if went != tt.go_ || put != tt.put || limited != tt.lim {
				t.Errorf("%s go, are put off, wait for the plan; want %d %d %d", last, tt.go_, tt.put, tt.lim)
			}
		})
	}
}

// TestReleaseOfChanged: what happens to one message between the look and the transaction concerns no other.
func TestReleaseOfChanged(t *testing.T) {
	w := newWorld(t, perDay(5))
	l := w.line(Production, 5, 5)
	who := w.in(Production)
	persons := people(5)
	due := w.dated(who, 5, persons...)
	var ids []MessageID
	for _, m := range due {
		ids = append(ids, m.ID)
	}
	q := w.queue(Production)
	batch, left, err := q.prepare(ids)
	if err != nil || len(batch) != 5 || len(left) != 0 {
		t.Fatalf("%d prepared, %d left, %v", len(batch), len(left), err)
	}
	if c, err := w.CancelForLead(who, CancelRequest{Phone: persons[1]}); err != nil || len(c.Messages) != 1 {
		t.Fatalf("cancelled %+v, %v", c, err)
	}
	w.forge(func(tx *kvTx) { // the fourth person hears from the line meanwhile
		m, _ := who.env.store.messages.Get(tx, due[3].ID.key())
		old := m
		m.Due = m.Due.Add(time.Second)
		who.env.putMessage(tx, &old, &m)
	})
	changed, err := q.commit(batch)
	if err != nil || len(changed) != 1 || changed[0] != due[3].ID {
		t.Fatalf("changed are %v, %v; want %v", changed, err, due[3].ID)
	}
	for i, want := range []Status{Pending, Cancelled, Pending, Scheduled, Pending} {
		if m := w.get(who, due[i].ID); m.Status != want || (m.Unit.Day != 0) != (want == Pending) {
			t.Errorf("message %d is %s with %+v, want %s", i, m.Status, m.Unit, want)
		}
	}
	if u := w.usage(who, limitDay); u.Used != 3 || u.Reserved != 0 {
		t.Errorf("the plan has %d used, %d reserved; want 3 and 0", u.Used, u.Reserved)
	}
	w.clock.pass(time.Second)
	w.release(Production)
	if m := w.get(who, due[3].ID); m.Status != Pending {
		t.Errorf("the one that changed goes with the next look: it is %s", m.Status)
	}
	for range 4 {
		if _, ok := w.deliver(Production, l.ID); !ok {
			t.Error("a message that was released does not go")
		}
	}
}

// TestReleaseReturnsUnits: a message whose line is gone gives its unit back before the next one is judged.
// Here the units are those of the number, which a new line has taken over.
func TestReleaseReturnsUnits(t *testing.T) {
	w := newWorld(t, unlimited())
	op := w.operator(Production)
	number := LineChange{Phone: ptr(phone()), DailyMessages: n64(3)}
	first := w.lineOf(op, IMessage, number)
	who := w.in(Production)
	var waiting []Message
	for range 3 {
		waiting = append(waiting, w.send(who, to(phone())).Message)
	}
	if err := w.DeleteLine(op, first.ID.String()); err != nil {
		t.Fatal(err)
	}
	second := w.lineOf(op, IMessage, number)
	w.release(Production)
	for i, m := range waiting {
		m := w.get(who, m.ID)
		if went := m.Status == Pending && m.Line == second.ID; went != (i > 0) { // the first found the day spent, by itself too
			t.Errorf("message %d is %s on %s", i, m.Status, m.Line)
		}
	}
}

// TestReleaseOfUnknownOutcome: when the transaction's outcome is not known, every unit of it stays taken.
func TestReleaseOfUnknownOutcome(t *testing.T) {
	w := newWorld(t, perDay(5))
	w.line(Production, 0, 0)
	who := w.in(Production)
	w.dated(who, 4, people(4)...)
	w.breakDisk()
	_, err := w.queue(Production).Release()
	refused(t, "when the disk fails", err, Unknown, CodeOutcomeUnknown, "")
	if l := w.usage(who, limitDay); l.Used != 0 || l.Reserved != 4 {
		t.Errorf("the units stay taken: %+v", l)
	}
	_ = w.Close()
	w.open()
	who = w.in(Production)
	if l := w.usage(who, limitDay); l.Used != 0 || l.Reserved != 0 {
		t.Errorf("after the next start: %+v", l)
	}
	w.release(Production)
	if l := w.usage(who, limitDay); l.Used != 4 {
		t.Errorf("released after the next start: %+v", l)
	}
}
