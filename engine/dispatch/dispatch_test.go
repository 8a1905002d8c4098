package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tuco/engine"
)

func TestSandboxOutcomes(t *testing.T) {
	r := newRig(t)
	r.line("")
	before := r.send(engine.SendRequest{}) // from before the start
	r.start()
	r.expect(engine.Delivered)
	for _, tt := range []struct {
		email string
		want  engine.Status
	}{
		{"ana@example.com", engine.Delivered}, {"failed@example.com", engine.Failed}, {"fallback@example.com", engine.Fallback},
	} {
		m := r.send(engine.SendRequest{Email: tt.email})
		r.expect(tt.want)
		got := r.get(m.ID)
		if got.Status != tt.want || (got.ExternalID != "") != (tt.want == engine.Delivered) || (got.Error != "") == (tt.want == engine.Delivered) ||
			(len(got.Checked) > 0) != (tt.want == engine.Fallback) || got.SentAt.IsZero() == (tt.want == engine.Delivered) {
			t.Errorf("to %s: %+v", tt.email, got)
		}
	}
	if m := r.get(before.ID); m.Status != engine.Delivered {
		t.Errorf("what waited at the start is %s", m.Status)
	}
}

func TestGaps(t *testing.T) {
	r := newRig(t)
	gapped, free := r.line("", 30*time.Second, 45*time.Second), r.line("")
	known := mailbox()
	over := func(email string) engine.Message {
		return r.send(engine.SendRequest{Email: email, Line: gapped.ID.String()})
	}
	r.start()
	over(known)
	r.expect(engine.Delivered)
	first := over(mailbox())
	follow := over(known)
	for _, step := range []struct {
		pass time.Duration
		goes *engine.Message
	}{{29 * time.Second, nil}, {time.Second, &follow}, {29 * time.Second, nil}, {time.Second, &first}} {
		r.pass(step.pass)
		if step.goes != nil {
			eventually(t, "the gap is over", func() bool { return r.get(step.goes.ID).Status == engine.Delivered })
			r.expect(engine.Delivered)
			continue
		}
		r.fence(free)
		r.expect(engine.Delivered) // the fence itself
		r.quiet()
	}
}

func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name string
		when func(s *mailServer)
	}{
		{"refused at the recipient", func(s *mailServer) { s.answer(later, nil) }},
		{"refused after the content", func(s *mailServer) { s.answer(nil, later) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, s := newRig(t), newMailServer(t)
			tt.when(s)
			r.line(s.url())
			r.start()
			m := r.send(engine.SendRequest{})
			other := r.send(engine.SendRequest{})
			for range 4 {
				r.expect(engine.Queued, engine.Queued)
				r.pass(time.Minute)
			}
			r.expect(engine.Failed, engine.Failed)
			if got := r.get(m.ID); got.Status != engine.Failed || got.Attempts != 5 || !strings.Contains(got.Error, "451") {
				t.Errorf("after five attempts: %+v", got)
			}
			s.answer(nil, nil)
			r.send(engine.SendRequest{})
			r.expect(engine.Sent)
			if n := len(s.received()); n != 1 || r.get(other.ID).Status != engine.Failed {
				t.Errorf("%d messages came", n)
			}
		})
	}
	t.Run("one recipient ends the session", func(t *testing.T) {
		r, s := newRig(t), newMailServer(t)
		var once sync.Once
		s.answer(func() (err error) {
			once.Do(func() { err = notLikeThis() })
			return err
		}, nil)
		r.line(s.url())
		r.start()
		m := r.send(engine.SendRequest{})
		r.expect(engine.Queued)
		r.send(engine.SendRequest{})
		r.expect(engine.Sent)
		if got := r.get(m.ID); got.Attempts != 1 || got.Reason == "" {
			t.Errorf("the line can be reached, so this was an attempt: %+v", got)
		}
		r.pass(time.Minute)
		r.expect(engine.Sent)
	})
	t.Run("one attempt is refused", func(t *testing.T) {
		r, s := newRig(t), newMailServer(t)
		s.answer(nil, later)
		r.line(s.url())
		r.start()
		m := r.send(engine.SendRequest{})
		r.expect(engine.Queued)
		s.answer(nil, nil)
		r.pass(time.Minute)
		r.expect(engine.Sent)
		if got := r.get(m.ID); got.Attempts != 1 || got.Reason != "" || len(s.received()) != 1 {
			t.Errorf("%+v; %d came", got, len(s.received()))
		}
	})
}

func TestLineDownAndUp(t *testing.T) {
	r, s := newRig(t), newMailServer(t)
	s.stop()
	l := r.line(s.url())
	r.start()
	var all []engine.Message
	for range 10 {
		all = append(all, r.send(engine.SendRequest{}))
	}
	healthy := func() bool {
		lines, err := r.eng.Lines(r.operator())
		if err != nil {
			t.Fatal(err)
		}
		return lines[0].Healthy
	}
	eventually(t, "the line is down", func() bool { return !healthy() })
	for range 8 { // longer than five attempts
		r.pass(time.Minute)
	}
	for _, m := range all {
		if got := r.get(m.ID); got.Status != engine.Pending || got.Attempts != 0 {
			t.Errorf("while the line is down: %s after %d attempts", got.Status, got.Attempts)
		}
	}
	r.quiet()
	s.again()
	r.setLine(l, engine.LineChange{})
	for range all {
		r.expect(engine.Sent)
	}
	eventually(t, "the line is up", healthy)
	for id, n := range s.received() {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
	if n := len(s.received()); n != len(all) {
		t.Errorf("%d messages came, want %d", n, len(all))
	}
}

// TestTransportThatCannotOpen: a certificate file that is missing takes the line down, not the program.
func TestTransportThatCannotOpen(t *testing.T) {
	r, s := newRig(t), newMailServer(t)
	l := r.line("smtp://" + s.addr + "?ca=/does/not/exist.pem")
	r.start()
	m := r.send(engine.SendRequest{})
	down := func() bool {
		lines, err := r.eng.Lines(r.operator())
		return err == nil && !lines[0].Healthy && strings.Contains(lines[0].HealthDetail, "exist.pem")
	}
	eventually(t, "the line is down", down)
	for range 3 { // each look tries again
		r.setLine(l, engine.LineChange{})
	}
	url := s.url()
	r.setLine(l, engine.LineChange{Transport: &url})
	r.expect(engine.Sent)
	if got := r.get(m.ID); got.Status != engine.Sent {
		t.Errorf("with another transport: %+v", got)
	}
}

func TestUnknownOutcome(t *testing.T) {
	r, s := newRig(t), newMailServer(t)
	s.answer(nil, func() error { return errHangUp })
	r.line(s.url())
	r.start()
	m := r.send(engine.SendRequest{})
	r.expect(engine.Uncertain)
	s.answer(nil, nil)
	r.restart()
	r.pass(time.Hour)
	other := r.send(engine.SendRequest{})
	r.expect(engine.Sent)
	if got := r.get(m.ID); got.Status != engine.Uncertain || got.Error == "" || got.Unit.Day == 0 || r.get(other.ID).Status != engine.Sent {
		t.Errorf("an unknown outcome stays: %+v", got)
	}
	if n := len(s.received()); n != 1 {
		t.Errorf("%d messages came, want 1", n)
	}
	if _, err := r.eng.Settle(r.operator(), m.ID.String(), engine.Pending); err != nil {
		t.Fatal(err)
	}
	r.expect(engine.Sent)
	if n := len(s.received()); n != 2 {
		t.Errorf("after it was settled %d messages came, want 2", n)
	}
}

func TestInterrupted(t *testing.T) {
	r, s := newRig(t), newMailServer(t)
	sandbox, smtp := r.line(""), r.line(s.url())
	var all []engine.Message
	for _, l := range []engine.Line{sandbox, smtp} {
		m := r.send(engine.SendRequest{Line: l.ID.String()})
		all = append(all, m)
		for _, q := range r.eng.Queues() {
			jobs, _, err := q.Next(l.ID, 1, func(engine.MessageID) bool { return false })
			if err != nil {
				t.Fatal(err)
			}
			for _, job := range jobs {
				if err := q.HandOver(job); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	r.restart()
	for i, want := range []engine.Status{engine.Delivered, engine.Uncertain} {
		if m := r.get(all[i].ID); m.Status != want {
			t.Errorf("after a restart: %+v, want %s", m, want)
		}
	}
	r.fence(smtp)
	if n := len(s.received()); n != 1 {
		t.Errorf("%d messages came, want only the fence", n)
	}
}

// TestManyInterrupted: where there are many, the start doesn't wait for all. Others are sent meanwhile; a stop leaves the rest, which the
// next start decides.
func TestManyInterrupted(t *testing.T) {
	r := newRig(t)
	line := r.line("")
	var all []engine.MessageID
	for range 600 {
		all = append(all, r.send(engine.SendRequest{Line: line.ID.String()}).ID)
	}
	for _, q := range r.eng.Queues() {
		jobs, _, err := q.Next(line.ID, len(all), func(engine.MessageID) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		for _, job := range jobs {
			if err := q.HandOver(job); err != nil {
				t.Fatal(err)
			}
		}
	}
	waiting := func() (n int) {
		for _, id := range all {
			if r.get(id).Status == engine.Sending {
				n++
			}
		}
		return n
	}
	r.patience = time.Nanosecond
	r.start()
	if m := r.get(all[len(all)-1]); m.Status != engine.Sending {
		t.Error("the start waited for all")
	}
	r.stop(10 * time.Second)
	t.Logf("a stop left %d of %d", waiting(), len(all))
	r.start()
	fresh := r.send(engine.SendRequest{Line: line.ID.String()})
	eventually(t, "all are decided", func() bool { return waiting() == 0 && r.get(fresh.ID).Status == engine.Delivered })
	for _, id := range all {
		if m := r.get(id); m.Status != engine.Delivered {
			t.Fatalf("%+v", m)
		}
	}
}

// gate stops a mail server's answer until it is opened.
type gate struct{ reached, open chan struct{} }

func newGate() *gate { return &gate{make(chan struct{}, 100), make(chan struct{})} }

func (g *gate) wait() error {
	g.reached <- struct{}{}
	<-g.open
	return nil
}

func TestStopDrains(t *testing.T) {
	r, s, g := newRig(t), newMailServer(t), newGate()
	s.answer(nil, g.wait)
	r.line(s.url())
	r.start()
	m := r.send(engine.SendRequest{})
	<-g.reached
	late := r.send(engine.SendRequest{Email: m.To[0]})
	stopped := make(chan struct{})
	go func() { r.stop(time.Minute); close(stopped) }()
	<-r.d.stopping.Done()
	close(g.open)
	<-stopped
	r.expect(engine.Sent)
	if got := r.get(m.ID); got.Status != engine.Sent {
		t.Errorf("the send that ran: %s", got.Status)
	}
	if got := r.get(late.ID); got.Status != engine.Pending {
		t.Errorf("the one behind it: %s", got.Status)
	}
	r.send(engine.SendRequest{}) // nobody listens, and that is no fault
	r.start()
	r.expect(engine.Sent, engine.Sent)
}

func TestStopWithoutPatience(t *testing.T) {
	r, s, g := newRig(t), newMailServer(t), newGate()
	defer close(g.open)
	s.answer(nil, g.wait)
	r.line(s.url())
	r.start()
	m := r.send(engine.SendRequest{})
	<-g.reached
	r.stop(0)
	r.expect(engine.Uncertain)
	if got := r.get(m.ID); got.Status != engine.Uncertain {
		t.Errorf("the send that was cut: %s", got.Status)
	}
}

// TestBetweenPreparationAndHandOver stops a message at the recipient, before the hand-over.
func TestBetweenPreparationAndHandOver(t *testing.T) {
	for _, tt := range []struct {
		name string
		req  engine.SendRequest
		do   func(r *rig, m engine.Message)
		want engine.Status
	}{
		{"cancelled", engine.SendRequest{}, func(r *rig, m engine.Message) {
			c, err := r.eng.CancelForLead(r.operator(), engine.CancelRequest{Email: m.To[0]})
			if err != nil || len(c.Messages) != 1 {
				r.t.Errorf("cancelled %+v, %v", c, err)
			}
		}, engine.Cancelled},
		{"its window closed", engine.SendRequest{Window: engine.Window{Timezone: "UTC", Start: "09:00", End: "13:00"}},
			func(r *rig, _ engine.Message) { r.pass(time.Hour) }, engine.Queued},
		{"READ_ONLY", engine.SendRequest{}, func(r *rig, _ engine.Message) {
			reason := engine.ReadOnlyPastDue
			if _, err := r.eng.Admin().SetWorkspace(r.id, engine.WorkspaceChange{ReadOnly: &reason}); err != nil {
				r.t.Fatal(err)
			}
		}, engine.Pending},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, s, g := newRig(t), newMailServer(t), newGate()
			s.answer(g.wait, nil)
			l := r.line(s.url())
			r.start()
			m := r.send(tt.req)
			<-g.reached
			tt.do(r, m)
			close(g.open)
			s.answer(nil, nil)
			if tt.name == "READ_ONLY" {
				active := engine.ReadOnlyReason("")
				r.stop(time.Minute)
				if _, err := r.eng.Admin().SetWorkspace(r.id, engine.WorkspaceChange{ReadOnly: &active}); err != nil {
					t.Fatal(err)
				}
			} else {
				r.fence(l)
				r.expect(engine.Sent)
			}
			if got := r.get(m.ID); got.Status != tt.want {
				t.Errorf("%s: it is %s, want %s", tt.name, got.Status, tt.want)
			}
			r.quiet()
			for _, id := range slices.Sorted(maps(s.received())) {
				if strings.Contains(id, m.ID.String()) {
					t.Errorf("%s: it was sent", tt.name)
				}
			}
		})
	}
}

func maps(m map[string]int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestReadOnlyStopsAndGoesOn(t *testing.T) {
	r := newRig(t)
	r.line("")
	set := func(reason engine.ReadOnlyReason) {
		t.Helper()
		if _, err := r.eng.Admin().SetWorkspace(r.id, engine.WorkspaceChange{ReadOnly: &reason}); err != nil {
			t.Fatal(err)
		}
	}
	m := r.send(engine.SendRequest{})
	dated := r.send(engine.SendRequest{Scheduled: noon.Add(time.Minute).Format(time.RFC3339)})
	set(engine.ReadOnlySuspended)
	r.start()
	r.pass(time.Hour)
	r.pass(time.Hour)
	r.quiet()
	if a, b := r.get(m.ID), r.get(dated.ID); a.Status != engine.Pending || b.Status != engine.Scheduled {
		t.Errorf("while READ_ONLY: %s, %s", a.Status, b.Status)
	}
	set("")
	r.expect(engine.Delivered, engine.Delivered)
}

func TestDatedAndPutOff(t *testing.T) {
	r := newRig(t)
	l := r.line("")
	one := int64(1)
	r.setLine(l, engine.LineChange{DailyMessages: &one})
	r.start()
	r.send(engine.SendRequest{})
	r.expect(engine.Delivered)
	off := r.send(engine.SendRequest{})
	dated := r.send(engine.SendRequest{Scheduled: "2026-11-25T10:00:00Z"})
	if off.Status != engine.Scheduled {
		t.Fatalf("over the line's limit: %s", off.Status)
	}
	r.pass(26 * time.Hour) // 14:00, 09:00 in New York
	r.expect(engine.Delivered)
	r.pass(20 * time.Hour)
	r.expect(engine.Delivered)
	if a, b := r.get(off.ID), r.get(dated.ID); a.Unit.Day != 20261124 || b.Unit.Day != 20261125 || b.Plan.Day != 20261125 || a.Plan.Day != 20261123 {
		t.Errorf("units: %+v %+v, %+v %+v", a.Plan, a.Unit, b.Plan, b.Unit)
	}
}

func TestDeletedLine(t *testing.T) {
	r, s := newRig(t), newMailServer(t)
	s.stop()
	l := r.line(s.url())
	r.start()
	free := r.send(engine.SendRequest{})
	pinned := r.send(engine.SendRequest{Line: l.ID.String()})
	other := r.line("")
	if err := r.eng.DeleteLine(r.operator(), l.ID.String()); err != nil {
		t.Fatal(err)
	}
	r.expect(engine.Delivered)
	if m := r.get(free.ID); m.Status != engine.Delivered || m.Line != other.ID {
		t.Errorf("another line takes it: %+v", m)
	}
	eventually(t, "the pinned one fails", func() bool { return r.get(pinned.ID).Status == engine.Failed })
}

func TestDeletedWorkspace(t *testing.T) {
	r, s, g := newRig(t), newMailServer(t), newGate()
	s.answer(g.wait, nil)
	r.line(s.url())
	r.start()
	r.send(engine.SendRequest{})
	<-g.reached
	if err := r.eng.Admin().DeleteWorkspace(r.id); err != nil {
		t.Fatal(err)
	}
	close(g.open)
	// The dispatcher works on for others.
	w, err := r.eng.Admin().CreateWorkspace("Second", "test", "")
	if err != nil {
		t.Fatal(err)
	}
	r.id = w.ID
	r.line("")
	r.send(engine.SendRequest{})
	r.expect(engine.Delivered)
	r.stop(time.Minute)
	r.quiet()
	if n := len(s.received()); n != 0 {
		t.Errorf("a deleted workspace sent %d messages", n)
	}
}

// TestOrder sends several messages to each of a few people at once: each person gets them in order.
func TestOrder(t *testing.T) {
	r, s := newRig(t), newMailServer(t)
	l := r.line(s.url())
	const people, each = 4, 10
	for n := range each {
		for p := range people {
			r.send(engine.SendRequest{Line: l.ID.String(), Email: fmt.Sprintf("p%d@example.com", p), Text: fmt.Sprintf("%d-%02d", p, n)})
		}
	}
	r.start()
	for range people * each {
		r.expect(engine.Sent)
	}
	last := map[string]string{}
	for _, text := range s.texts() {
		person, n, _ := strings.Cut(text, "-")
		if n <= last[person] {
			t.Errorf("to %s: %s after %s", person, n, last[person])
		}
		last[person] = n
	}
}

// TestExactlyOnce sends 2,000 messages over three lines while lines pause and the dispatcher restarts.
func TestExactlyOnce(t *testing.T) {
	const total = 2000
	r, s := newRig(t), newMailServer(t)
	lines := []engine.Line{r.line(s.url()), r.line(s.url()), r.line(s.url())}
	r.start()
	var sending sync.WaitGroup
	for part := range 8 {
		sending.Go(func() {
			for i := range total / 8 {
				if _, err := r.eng.Send(r.operator(), nil, engine.SendRequest{Type: "email", Text: "x", Email: fmt.Sprintf("m%d-%d@example.com", part, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	pause, resume := false, true
	for n := range 6 {
		eventually(t, "some messages came", func() bool { return len(s.received()) > n*100 })
		if n == 3 {
			r.stop(time.Minute)
			r.start()
		}
		r.setLine(lines[n%3], engine.LineChange{Active: &pause})
		r.setLine(lines[n%3], engine.LineChange{Active: &resume})
	}
	sending.Wait()
	for range total {
		r.expect(engine.Sent)
	}
	r.quiet()
	got := s.received()
	if len(got) != total {
		t.Errorf("%d different messages came, want %d", len(got), total)
	}
	for id, n := range got {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
	page, err := r.eng.Messages(r.operator(), engine.MessageQuery{Status: engine.Sent, Limit: total + 1})
	if err != nil || len(page.Messages) != total {
		t.Errorf("%d are stored as sent, %v", len(page.Messages), err)
	}
}
