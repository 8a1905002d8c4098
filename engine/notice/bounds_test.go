package notice_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tuco/engine"
	"tuco/engine/notice"
)

// TestRedirects: nobody is led elsewhere.
func TestRedirects(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	target := newReceiver(t)
	target.srv.Start()
	s.does(func(w http.ResponseWriter, req *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "kept", Value: "no"})
		http.Redirect(w, req, target.srv.URL, http.StatusTemporaryRedirect)
	})
	c.set(s.srv.URL)
	r.start()
	c.asked()
	r.expect(notice.Refused)
	if h := c.webhook(); h.Error != "it answered 307; redirects are not followed" {
		t.Errorf("a redirect: %+v", h)
	}
	r.pass(time.Minute)
	r.expect(notice.Refused)
	r.stop()
	if target.conns != 0 || s.conns != 2 {
		t.Errorf("%d connections to where it was led, %d to where it was to go", target.conns, s.conns)
	}
}

// TestPrivateAddresses: a webhook reaches nothing of the operator's network, whatever name leads there.
func TestPrivateAddresses(t *testing.T) {
	r := newRig(t, func(o *engine.Options) { o.AllowFetch = nil })
	s, c := r.receiver(), r.customer("First")
	port := s.srv.URL[strings.LastIndex(s.srv.URL, ":"):]
	for _, host := range []string{"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.1.2.3", "169.254.169.254", "[fe80::1%25eth0]", "[64:ff9b::7f00:1]", "0.0.0.0", "192.168.1.1"} {
		_, _, err := r.eng.SetWebhook(c.who(), "https://"+host+port)
		if e := (*engine.Error)(nil); !errors.As(err, &e) || e.Kind != engine.Invalid || e.Code != engine.CodeInvalidURL {
			t.Errorf("%s: %v", host, err)
		}
	}
	c.set("https://localhost" + port)
	r.start()
	c.asked()
	r.expect(notice.Forbidden)
	r.stop()
	if h := c.webhook(); h.Error != "it can't be reached, or its address may not be reached from here" || h.Waiting != 1 {
		t.Errorf("a name that leads here: %+v", h)
	}
	if s.conns != 0 {
		t.Errorf("%d connections", s.conns)
	}
}

// TestPlainHTTP: only within what the operator allows.
func TestPlainHTTP(t *testing.T) {
	r := newRig(t, func(o *engine.Options) { o.AllowFetch = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	s, c := newReceiver(t), r.customer("First")
	s.srv.Start()
	c.set(s.srv.URL)
	r.start()
	c.asked()
	r.expect(notice.Delivered)
	for _, host := range []string{"127.0.0.2", "93.184.216.34"} {
		if _, _, err := r.eng.SetWebhook(c.who(), "http://"+host); err == nil {
			t.Errorf("http to %s was taken", host)
		}
	}
	r.quiet()
}

// TestUntrusted: TLS that proves nothing gets nothing.
func TestUntrusted(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	r.with.Roots = nil
	c.set(s.srv.URL)
	r.start()
	c.asked()
	r.expect(notice.Unreachable)
	r.stop()
	if h := c.webhook(); !strings.Contains(h.Error, "certificate") || len(s.got()) != 0 {
		t.Errorf("an unknown certificate: %+v, %d came", h, len(s.got()))
	}
}

// TestSlowOnesHoldUpNobody: webhooks that fail and hang, more than there are attempts at a time, hold up none that works.
func TestSlowOnesHoldUpNobody(t *testing.T) {
	r := newRig(t)
	r.with.Timeout = 10 * time.Minute
	s := r.receiver()
	dead := newReceiver(t)
	dead.srv.StartTLS()
	r.with.Roots.AddCert(dead.srv.Certificate())
	dead.answers(500)
	const many, atATime = 40, 16
	for i := range many {
		c := r.customer(fmt.Sprint("Slow ", i))
		c.set(dead.srv.URL)
		c.asked()
	}
	good := r.customer("Good")
	good.set(s.srv.URL)
	r.start()
	for range many { // each of them once
		r.expect(notice.Refused)
	}
	r.stop()
	hang := make(chan struct{})
	defer close(hang)
	dead.does(func(http.ResponseWriter, *http.Request) { <-hang })
	r.skip(time.Minute)
	r.start()
	eventually(t, "the failing ones hang", func() bool { return len(dead.got()) == many+atATime })
	good.asked()
	r.expect(notice.Delivered)
	if n := len(dead.got()) - many; n != atATime {
		t.Errorf("%d attempts at those that fail, want %d at a time", n, atATime)
	}
	r.d.Stop(0)
	r.d = nil
}

// TestTimeout: who doesn't answer in time is tried again.
func TestTimeout(t *testing.T) {
	r := newRig(t)
	r.with.Timeout = 200 * time.Millisecond
	s, c := r.receiver(), r.customer("First")
	hang := make(chan struct{})
	defer close(hang)
	s.does(func(http.ResponseWriter, *http.Request) { <-hang })
	c.set(s.srv.URL)
	r.start()
	c.asked()
	r.expect(notice.TimedOut)
	if h := c.webhook(); h.Error != "it took too long" || h.Waiting != 1 || h.Next.IsZero() {
		t.Errorf("after a timeout: %+v", h)
	}
	r.quiet()
}

// TestOneAtATime: a workspace's notices come one after the other.
func TestOneAtATime(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	c.set(s.srv.URL)
	inside := make(chan struct{}, 1)
	s.does(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case inside <- struct{}{}:
		default:
			t.Error("two at a time")
		}
		c.refused()
		if len(s.got()) == 20 {
			s.answers(200)
		}
		<-inside
	})
	c.refused()
	r.start()
	eventually(t, "all is delivered", func() bool { return len(s.got()) > 20 && c.webhook().Waiting == 0 })
	r.stop()
	if got, want := s.events(), c.told(); !slices.Equal(got, want) {
		t.Errorf("told\n%q\nthe log has\n%q", got, want)
	}
}

// TestRotation: for a while both secrets sign.
func TestRotation(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	secrets := []string{c.set(s.srv.URL)}
	rotate := func(overlap time.Duration) {
		t.Helper()
		_, secret, err := r.eng.RotateWebhook(c.who(), overlap)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, secret)
	}
	signed := func(what string, want ...bool) {
		t.Helper()
		c.asked()
		r.expect(notice.Delivered)
		p := s.last()
		for i, want := range want {
			if p.signedBy(t, secrets[i]) != want {
				t.Errorf("%s: signed by secret %d: %v", what, i, !want)
			}
		}
	}
	r.start()
	rotate(2 * time.Minute)
	signed("in the overlap", true, true)
	r.pass(2*time.Minute - 1)
	signed("at its end", true, true)
	r.pass(1)
	signed("after it", false, true)
	rotate(time.Minute)
	rotate(time.Minute)
	signed("rotated twice", false, false, true, true)
	rotate(0)
	signed("without overlap", false, false, false, false, true)
	if _, _, err := r.eng.RotateWebhook(c.who(), -1); err == nil {
		t.Error("a negative overlap")
	}
	r.quiet()
}

// TestAnotherURL: it begins with what happens from then on, and what was under way to the old one moves nothing.
func TestAnotherURL(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	old := c.set(s.srv.URL + "/old")
	reached, open := make(chan struct{}), make(chan struct{})
	s.does(func(http.ResponseWriter, *http.Request) { reached <- struct{}{}; <-open })
	r.start()
	c.asked()
	<-reached
	secret := c.set(s.srv.URL + "/new")
	if secret == old || secret == "" {
		t.Error("another URL has the old secret")
	}
	place := c.webhook().Place
	s.answers(200)
	close(open)
	r.expect(notice.Delivered)
	if h := c.webhook(); h.Place != place || !h.Delivered.IsZero() {
		t.Errorf("the old one moved the new one: %+v", h)
	}
	c.asked()
	r.expect(notice.Delivered)
	if p := s.last(); len(p.events) != 1 || !p.signedBy(t, secret) || p.signedBy(t, old) {
		t.Errorf("the new one: %+v", p)
	}
	if err := r.eng.RemoveWebhook(c.who()); err != nil {
		t.Fatal(err)
	}
	c.asked()
	other := r.customer("Other")
	other.set(s.srv.URL)
	other.asked()
	r.expect(notice.Delivered)
	r.quiet()
}

// TestDeletedWorkspace: its last entries are told; for a day at most.
func TestDeletedWorkspace(t *testing.T) {
	r := newRig(t)
	s, dead := r.receiver(), newReceiver(t)
	dead.srv.StartTLS()
	r.with.Roots.AddCert(dead.srv.Certificate())
	dead.answers(500)
	a, b := r.customer("First"), r.customer("Second")
	a.set(s.srv.URL)
	b.set(dead.srv.URL)
	r.start()
	a.asked()
	r.expect(notice.Delivered)
	b.asked()
	r.expect(notice.Refused)
	for _, c := range []customer{a, b} {
		if err := r.eng.Admin().DeleteWorkspace(c.id); err != nil {
			t.Fatal(err)
		}
	}
	r.expect(notice.Delivered)
	if p := s.last(); len(p.events) != 1 || !strings.HasSuffix(p.events[0], " access.ended") {
		t.Errorf("of the deletion: %q", p.events)
	}
	left := func() int { return len(must[[]engine.WorkspaceID](t)(r.eng.Notices().Workspaces())) }
	eventually(t, "the one that works is removed", func() bool { return left() == 1 })
	r.pass(23 * time.Hour)
	r.expect(notice.Refused)
	if left() != 1 {
		t.Error("removed before a day was over")
	}
	r.pass(time.Hour)
	eventually(t, "the other one is removed", func() bool { return left() == 0 && r.d.Waiting() == 0 })
	r.quiet()
}

// TestReadOnly: notices go on.
func TestReadOnly(t *testing.T) {
	r := newRig(t)
	s, c := r.receiver(), r.customer("First")
	reason := engine.ReadOnlyPastDue
	must[engine.Workspace](t)(r.eng.Admin().SetWorkspace(c.id, engine.WorkspaceChange{ReadOnly: &reason}))
	c.set(s.srv.URL)
	r.start()
	c.asked()
	r.expect(notice.Delivered)
	if h := c.webhook(); h.Waiting != 0 {
		t.Errorf("in READ_ONLY: %+v", h)
	}
	if _, _, err := r.eng.RotateWebhook(c.who(), 0); err != nil {
		t.Error(err)
	}
	if err := r.eng.RemoveWebhook(c.who()); err != nil {
		t.Error(err)
	}
	r.quiet()
}

// TestFullDisk: what can't be recorded as delivered is delivered again, and nothing is missing when there is room.
func TestFullDisk(t *testing.T) {
	r := newRig(t, func(o *engine.Options) { o.MaxSize, o.Reserve = 12<<20, 1<<20 })
	s, c := r.receiver(), r.customer("First")
	c.set(s.srv.URL)
	must[engine.Policy](t)(r.eng.SetAccessPolicy(c.who(), engine.Policy{Mode: engine.PolicyNotify}))
	for i := range 120 {
		if i%50 == 0 { // as many as have an entry each
			r.pass(time.Minute)
		}
		c.refused()
	}
	notes, phone, err := strings.Repeat("x", 10_000), 0, error(nil)
	for err == nil {
		number := fmt.Sprintf("+1202555%04d", phone)
		phone++
		_, err = r.eng.CreateLeads(c.who(), nil, engine.LeadBatch{Leads: []engine.LeadInput{{Phone: &number, Notes: &notes}}})
	}
	if e := (*engine.Error)(nil); !errors.As(err, &e) || e.Kind != engine.ReadOnly {
		t.Fatal(err)
	}
	for err, n := error(nil), 0; err == nil && n < 50_000; n++ {
		_, err = r.eng.StaffRead(r.staff, engine.StaffQuery{Workspace: c.id, Environment: engine.Production, Kind: engine.KindLists, Limit: 10})
	}
	for err, n := error(nil), 0; err == nil && n < 50_000; n++ { // to the last byte
		err = r.eng.Admin().AcceptClock()
	}
	r.start()
	r.expect(notice.Failed)
	r.stop()
	r.start()
	r.expect(notice.Failed)
	all := s.got()
	if len(all) != 2 || all[0].id != all[1].id || len(all[0].events) != 100 || !slices.Equal(all[0].events, all[1].events) {
		t.Errorf("%d came: %q with %d, %q with %d", len(all), all[0].id, len(all[0].events), all[1].id, len(all[1].events))
	}
	r.opt.MaxSize = 0
	r.reopen()
	r.start()
	eventually(t, "all is delivered", func() bool { return r.d.Waiting() == 0 })
	if got, want := s.events(), c.told(); !slices.Equal(got, want) {
		t.Errorf("told %d, the log has %d", len(got), len(want))
	}
}

// TestOnlyTheCustomer: the operator neither sees nor changes where a customer is told.
func TestOnlyTheCustomer(t *testing.T) {
	r := newRig(t)
	c := r.customer("First")
	c.set("https://hooks.example")
	operator := must[engine.Caller](t)(r.eng.Admin().In(c.id, engine.Production))
	for what, do := range map[string]func() error{
		"showing":  func() error { _, err := r.eng.Webhook(operator); return err },
		"setting":  func() error { _, _, err := r.eng.SetWebhook(operator, "https://elsewhere.example"); return err },
		"rotating": func() error { _, _, err := r.eng.RotateWebhook(operator, 0); return err },
		"removing": func() error { return r.eng.RemoveWebhook(operator) },
	} {
		err := do()
		if e := (*engine.Error)(nil); !errors.As(err, &e) || e.Code != engine.CodeInsufficientScope {
			t.Errorf("%s: %v", what, err)
		}
	}
	if h := c.webhook(); h.URL != "https://hooks.example" {
		t.Errorf("now it is %q", h.URL)
	}
}
