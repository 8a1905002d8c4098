package notice_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tuco/engine"
	"tuco/engine/notice"
)

// TestNotices: what is told, in which order, signed by whom, and what is not in it.
func TestNotices(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	c.decided() // before: it is not told
	secret := c.set(s.srv.URL + "/path-that-is-a-secret")
	from := len(c.told())
	r.start()
	ask := c.asked()
	r.expect(notice.Delivered)
	must[engine.AccessRequest](t)(r.eng.ApproveAccess(c.who(), string(ask.ID)))
	r.expect(notice.Delivered)
	_, _, err := r.eng.CreateKey(c.who(), engine.NewKey{Name: "Cy Marker"})
	if err != nil {
		t.Fatal(err)
	}
	r.expect(notice.Delivered)
	must[engine.StaffPage](t)(r.eng.StaffRead(r.staff, engine.StaffQuery{Workspace: c.id, Environment: engine.Production, Kind: engine.KindLeads, Limit: 10}))
	r.expect(notice.Delivered)
	c.refused()
	r.expect(notice.Delivered)
	must[engine.Agreement](t)(r.eng.AddAgreement(c.who(), engine.Agreement{Type: engine.SupportAgreement, Reference: "S-1"}))
	r.expect(notice.Delivered)
	must[engine.Policy](t)(r.eng.SetAccessPolicy(c.who(), engine.Policy{Mode: engine.PolicyClosed}))
	eventually(t, "all is delivered", func() bool { h := c.webhook(); return h.Waiting == 0 && h.Failures == 0 })
	r.stop()

	want := c.told()[from:]
	for i, name := range []string{"access.requested", "access.approved", "key.created", "staff.read", "staff.refused", "agreement.added", "policy.changed", "access.ended"} {
		if !strings.HasSuffix(want[i], " "+name) {
			t.Errorf("the log has %q, want %s", want[i], name)
		}
	}
	if got := s.events(); !slices.Equal(got, want) {
		t.Errorf("told\n%q\nthe log has\n%q", got, want)
	}
	for _, p := range s.got() {
		if !p.signedBy(t, secret) || strings.Contains(p.signature, " ") || p.stamp != noon.Unix() {
			t.Errorf("signed %q at %d", p.signature, p.stamp)
		}
		if strings.Contains(p.raw, "Marker") || strings.Contains(p.raw, "marker") || strings.Contains(p.raw, "path-that") {
			t.Errorf("what nobody is to see: %s", p.raw)
		}
		if r.size(p) == 0 {
			t.Errorf("an empty checkpoint: %s", p.raw)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := r.logged.String(); text != "" {
		t.Errorf("logged although all went well: %s", text)
	}
}

// TestTriedAgain: a notice that is refused comes again as it was, later and later, and what came meanwhile after it.
func TestTriedAgain(t *testing.T) {
	r := newRig(t)
	s, c, other := r.receiver(), r.customer("First"), r.customer("Other")
	c.set(s.srv.URL + "/a-secret-path")
	fence := r.receiver()
	r.with.Roots.AddCert(s.srv.Certificate())
	other.set(fence.srv.URL)
	r.start()
	s.answers(500)
	c.decided()
	r.expect(notice.Refused)
	first := s.last()
	if h := c.webhook(); h.Waiting != 2 || h.Failures != 1 || h.Error != "it answered 500" || !h.Failed.Equal(noon) || h.Next.Before(noon.Add(2500*time.Millisecond)) || h.Next.After(noon.Add(5*time.Second)) || !h.Delivered.IsZero() {
		t.Errorf("after a failure: %+v", h)
	}
	for i, most := range []time.Duration{5, 10, 20, 40} {
		c.asked() // wakes, but is no reason to try before it is time
		next := c.webhook().Next
		r.pass(next.Sub(r.opt.Now()) - 1)
		other.asked()
		r.expect(notice.Delivered)
		if n := len(s.got()); n != i+1 {
			t.Fatalf("tried before it was time: %d times", n)
		}
		if i == 2 {
			r.stop()
			r.reopen()
			r.start() // what it has waited for holds on
		}
		r.pass(1)
		r.expect(notice.Refused)
		if again := s.last(); again.id != first.id || !slices.Equal(again.events, first.events) || again.stamp != r.opt.Now().Unix() {
			t.Errorf("tried again: %s %q, before %s %q", again.id, again.events, first.id, first.events)
		}
		if pause := c.webhook().Next.Sub(r.opt.Now()); pause < most*time.Second || pause > 2*most*time.Second {
			t.Errorf("after %d failures it rests %v", i+2, pause)
		}
	}
	if err := r.eng.RemoveWebhook(other.who()); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		r.pass(time.Hour)
		r.expect(notice.Refused)
	}
	if pause := c.webhook().Next.Sub(r.opt.Now()); pause < 30*time.Minute || pause > time.Hour {
		t.Errorf("in the end it rests %v", pause)
	}
	if n := c.webhook().Waiting; n != 6 {
		t.Errorf("the customer sees %d entries wait, want 6", n)
	}
	eventually(t, "the operator sees as many", func() bool { return r.d.Waiting() == 6 })
	s.answers(200)
	r.pass(time.Hour)
	r.expect(notice.Delivered, notice.Delivered)
	if got, want := s.events(), c.told(); !slices.Equal(got, want) {
		t.Errorf("told\n%q\nthe log has\n%q", got, want)
	}
	if h := c.webhook(); h.Waiting != 0 || h.Failures != 0 || h.Error == "" || !h.Next.IsZero() || !h.Delivered.Equal(r.opt.Now()) {
		t.Errorf("after it was delivered: %+v", h)
	}
	eventually(t, "nothing waits", func() bool { return r.d.Waiting() == 0 })
	r.quiet()
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := r.logged.String(); strings.Contains(text, "secret") || strings.Count(text, "takes no notices") != 1 || strings.Count(text, "works again") != 1 {
		t.Errorf("logged %s", text)
	}
}

// TestClockBack: nobody waits for a clock that was set back to catch up.
func TestClockBack(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	c.set(s.srv.URL)
	s.answers(500)
	r.start()
	c.asked()
	r.expect(notice.Refused)
	eventually(t, "it rests", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return strings.Contains(r.logged.String(), "takes no notices")
	})
	r.pass(-24 * time.Hour)
	r.expect(notice.Refused)
	s.answers(200)
	r.pass(time.Hour)
	r.expect(notice.Delivered)
	r.pass(-24 * time.Hour)
	c.refused()
	r.expect(notice.Delivered)
	r.quiet()
}

// TestManyEntries: at most a hundred at a time, none missing.
func TestManyEntries(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	c.set(s.srv.URL)
	for i := range 120 {
		if i%50 == 0 { // as often as staff may ask
			r.pass(time.Minute)
		}
		c.decided()
	}
	r.start()
	r.expect(notice.Delivered, notice.Delivered, notice.Delivered)
	if got, want := s.events(), c.told(); !slices.Equal(got, want) {
		t.Errorf("told %d, the log has %d", len(got), len(want))
	}
	for i, want := range []int{100, 100, 40} {
		if p := s.got()[i]; len(p.events) != want {
			t.Errorf("notice %d has %d entries, want %d", i, len(p.events), want)
		}
	}
	r.quiet()
}

// TestKilledInTheMiddle: what was under way when the process was killed comes again, as it was.
func TestKilledInTheMiddle(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	secret := c.set(s.srv.URL)
	reached, open := make(chan struct{}), make(chan struct{})
	s.does(func(w http.ResponseWriter, _ *http.Request) {
		reached <- struct{}{}
		<-open
	})
	c.asked()
	r.start()
	<-reached
	dir := r.snapshot()
	s.answers(200)
	close(open)
	r.expect(notice.Delivered)
	r.stop()
	if err := r.eng.Close(); err != nil {
		t.Fatal(err)
	}
	r.opt.Dir = dir
	r.open()
	r.start()
	r.expect(notice.Delivered)
	r.quiet()
	all := s.got()
	if len(all) != 2 || all[0].id != all[1].id || !slices.Equal(all[0].events, all[1].events) || len(all[1].events) != 1 || !all[1].signedBy(t, secret) {
		t.Errorf("after the kill: %+v", all)
	}
	r.start() // the third life has nothing to tell
	fence := r.customer("Other")
	fence.set(s.srv.URL)
	fence.asked()
	r.expect(notice.Delivered)
	r.quiet()
}

// TestStopped: what is under way at a stop is waited for.
func TestStopped(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	c.set(s.srv.URL)
	reached, open := make(chan struct{}), make(chan struct{})
	s.does(func(http.ResponseWriter, *http.Request) { reached <- struct{}{}; <-open })
	c.asked()
	r.start()
	<-reached
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	close(open)
	<-stopped
	r.expect(notice.Delivered)
	if h := c.webhook(); h.Waiting != 0 {
		t.Errorf("after the stop: %+v", h)
	}

	hang := make(chan struct{})
	defer close(hang)
	s.does(func(http.ResponseWriter, *http.Request) { reached <- struct{}{}; <-hang })
	c.asked()
	r.start()
	<-reached
	r.d.Stop(0)
	r.d = nil
	if h := c.webhook(); h.Waiting != 1 || h.Failures != 0 {
		t.Errorf("a stop is no failure of theirs: %+v", h)
	}
	r.quiet()
}

// TestGone: after 410 nothing comes until the webhook is set again, and then all of it.
func TestGone(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	c.set(s.srv.URL)
	s.answers(410)
	r.start()
	c.asked()
	r.expect(notice.Gone)
	s.answers(200)
	c.asked()
	r.pass(48 * time.Hour)
	other := r.customer("Other")
	other.set(s.srv.URL)
	other.asked()
	r.expect(notice.Delivered)
	if h := c.webhook(); !h.Gone || h.Waiting != 2 || !h.Next.IsZero() || !strings.Contains(h.Error, "410") {
		t.Errorf("gone: %+v", h)
	}
	r.stop()
	r.start()
	if secret := c.set(s.srv.URL); secret != "" {
		t.Error("the same URL gets another secret")
	}
	r.expect(notice.Delivered)
	eventually(t, "all is delivered", func() bool { return c.webhook().Waiting == 0 })
	var got []string
	for _, p := range s.got()[1:] { // the first was refused
		if strings.HasPrefix(p.id, string(c.id)) {
			got = append(got, p.events...)
		}
	}
	if want := c.told(); !slices.Equal(got, want) {
		t.Errorf("told %q, the log has %q", got, want)
	}
}

// TestCheckpointAlone: who is told of nothing for an hour gets the newest checkpoint, if the log has grown.
func TestCheckpointAlone(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	secret := c.set(s.srv.URL)
	r.start()
	c.asked()
	r.expect(notice.Delivered)
	r.pass(time.Hour - 1)
	fence := r.receiver()
	r.with.Roots.AddCert(s.srv.Certificate())
	r.quiet()
	r.start()
	other := r.customer("Other")
	other.set(fence.srv.URL)
	other.asked()
	r.expect(notice.Delivered) // at a time at which the first one's hour is not over
	r.quiet()
	if len(s.got()) != 1 || len(fence.got()) != 1 {
		t.Fatalf("before the hour is over: %d", len(s.got()))
	}
	if err := r.eng.RemoveWebhook(other.who()); err != nil {
		t.Fatal(err)
	}
	r.skip(1)
	r.start()
	r.expect(notice.Delivered)
	alone := s.last()
	if len(alone.events) != 0 || !alone.signedBy(t, secret) || alone.id != fmt.Sprintf("%s-checkpoint-%d", c.id, r.size(alone)) || !strings.Contains(alone.raw, `"entries":[]`) {
		t.Errorf("after an hour: %+v", alone)
	}
	r.stop()
	r.skip(3 * time.Hour) // and nothing happens
	r.start()
	r.quiet()
	r.start()
	r.pass(0) // an entry of nobody's
	r.expect(notice.Delivered)
	if p := s.last(); len(p.events) != 0 || r.size(p) <= r.size(alone) || p.id == alone.id {
		t.Errorf("when the log has grown: %+v", p)
	}
	s.answers(500)
	r.pass(time.Hour)
	r.expect(notice.Refused)
	c.asked()
	s.answers(200)
	r.pass(time.Minute)
	r.expect(notice.Delivered)
	if p := s.last(); len(p.events) != 1 {
		t.Errorf("an entry that came while a checkpoint failed: %+v", p)
	}
	r.quiet()
}
