package engine

import (
	"testing"
	"time"
)

// TestRefusalsArePaced: sixty refusals a minute have an entry each; what comes beyond is one entry that counts them.
func TestRefusalsArePaced(t *testing.T) {
	w := newWorld(t, unlimited())
	s := w.staff()
	before := len(w.lines())
	for range maxRefusals + 40 {
		_, err := w.StaffRead(s, w.look(KindLeads))
		refused(t, "without a grant", err, Forbidden, CodeAccessRequired, "")
	}
	if n := len(w.lines()) - before; n != maxRefusals {
		t.Errorf("%d entries", n)
	}
	if err := w.KeepAudit(); err != nil {
		t.Fatal(err)
	}
	e := w.last("key.misused")
	if e.Records != 40 || e.Credential != string(s.staff.ID) || e.Workspace != string(w.id) || e.Detail["reason"] != "refused: "+CodeAccessRequired {
		t.Errorf("the summary: %+v", e)
	}
	w.clock.pass(time.Minute)
	before = len(w.lines())
	_, err := w.StaffRead(s, w.look(KindLeads))
	refused(t, "a minute later", err, Forbidden, CodeAccessRequired, "")
	if got := w.events(before); got != "staff.refused" {
		t.Errorf("a minute later: %s", got)
	}
}

// TestRequestsArePaced: asking and taking back can't fill the log either.
func TestRequestsArePaced(t *testing.T) {
	w := newWorld(t, unlimited())
	s := w.staff()
	for range maxRefusals {
		if _, err := w.WithdrawAccess(s, string(w.ask(s, w.wish()).ID)); err != nil {
			t.Fatal(err)
		}
	}
	before := len(w.lines())
	_, err := w.RequestAccess(s, w.wish())
	if e := refused(t, "one more", err, QuotaExceeded, CodeRateLimit, ""); e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
		t.Errorf("after %v", e.RetryAfter)
	}
	if len(w.lines()) != before {
		t.Error("it left an entry")
	}
	w.clock.pass(time.Minute)
	w.ask(s, w.wish())
}
