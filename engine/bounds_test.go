package engine

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A key that is bound to networks and a date makes and manages none that is good in other places or longer.
func TestKeysStayInBounds(t *testing.T) {
	w := newWorld(t, unlimited())
	net, soon := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, w.clock.now().Add(time.Hour)
	_, secret := w.key(w.id, Production, NewKey{Name: "bound", Role: RoleAdmin, Allow: net, Expires: soon})
	free, _ := w.key(w.id, Production, NewKey{Name: "free"})
	who, err := w.Authenticate(secret, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	made, _, err := w.CreateKey(who, NewKey{Name: "inherits"})
	if err != nil || len(made.Allow) != 1 || made.Allow[0] != net[0] || !made.Expires.Equal(soon) {
		t.Errorf("what is not said is inherited: %+v, %v", made, err)
	}
	create := func(what string, in NewKey) {
		t.Helper()
		in.Name = what
		_, _, err := w.CreateKey(who, in)
		refused(t, what, err, Forbidden, CodeWiderKey, "")
	}
	create("lasts longer", NewKey{Expires: soon.Add(time.Second)})
	create("other networks", NewKey{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	create("a wider network", NewKey{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
	if _, _, err := w.CreateKey(who, NewKey{Name: "narrower", Expires: soon.Add(-time.Minute), Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}); err != nil {
		t.Errorf("a narrower key: %v", err)
	}
	mustFail[Key](t, "its own networks cleared", Forbidden, CodeWiderKey, "")(w.SetKey(who, who.Key().String(), KeyChange{Allow: &[]netip.Prefix{}}))
	_, _, err = w.RotateKey(who, free.ID.String(), 0)
	refused(t, "another's secret", err, Forbidden, CodeWiderKey, "")
	refused(t, "another's end", w.RevokeKey(who, free.ID.String()), Forbidden, CodeWiderKey, "")
}

// The operator gets at no secret that may approve staff access, once the customer has it.
func TestOperatorDoesNotRotateApprovers(t *testing.T) {
	w := newWorld(t, unlimited())
	owner := w.in(Production)
	k, _, err := w.CreateKey(owner, NewKey{Name: "customer", Role: RoleOwner})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = w.RotateKey(w.operator(Production), k.ID.String(), time.Hour)
	refused(t, "rotated by the operator", err, Forbidden, "", "")
	for range maxSecrets - 1 {
		if _, _, err := w.RotateKey(owner, k.ID.String(), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err = w.RotateKey(owner, k.ID.String(), time.Hour)
	refused(t, "one secret too many", err, Conflict, CodeTooMany, "")
	if _, _, err := w.RotateKey(owner, k.ID.String(), 0); err != nil {
		t.Errorf("without overlap: %v", err)
	}
}

// What the operator has connected, a customer's key can't disconnect.
func TestTransportIsTheOperators(t *testing.T) {
	w := newWorld(t, unlimited())
	op, who := w.operator(Production), w.in(Production)
	l := w.lineOf(op, Email, LineChange{Email: ptr("l@example.com"), Transport: ptr("smtp://127.0.0.1:2599?starttls=none")})
	mustFail[Line](t, "made a sandbox", Forbidden, CodeTransportNotAllowed, "")(w.SetLine(who, l.ID.String(), LineChange{Transport: ptr("sandbox:")}))
	if got, err := w.SetLine(who, l.ID.String(), LineChange{FirstName: ptr("Ann")}); err != nil || got.Transport != "smtp" {
		t.Errorf("its name changed: %+v, %v", got, err)
	}
}

// Each address that a message may reach is a person: no ceiling is got round by alternates.
func TestAlternatesAreContacts(t *testing.T) {
	w := newWorld(t, newPerDay(2))
	w.line(Production, 0, 0)
	who := w.in(Production)
	try := func(alternate string) error {
		req := to("+15005550002")
		req.AltPhones[0] = &alternate
		_, err := w.Send(who, nil, req)
		return err
	}
	for _, alternate := range []string{"+12025550101", "+12025550102"} {
		if err := try(alternate); err != nil {
			t.Error(err)
		}
	}
	refused(t, "a third person by way of an alternate", try("+12025550103"), QuotaExceeded, CodePlanLimit, "")
	if err := try("+12025550101"); err != nil {
		t.Errorf("a person who was written to before: %v", err)
	}
	c, err := w.CancelForLead(who, CancelRequest{Phone: "+12025550102"})
	if err != nil || len(c.Messages) == 0 {
		t.Errorf("cancelled by the alternate address: %+v, %v", c, err)
	}
}

// A start alone says when a message goes that a limit put off; it is no window.
func TestDeferralClock(t *testing.T) {
	w := newWorld(t, unlimited())
	w.line(Production, 1, 0)
	who := w.in(Production)
	req := to(phone())
	req.Window = Window{Timezone: "Asia/Tokyo", Deferral: "07:00"}
	if m := w.send(who, req).Message; m.Status != Pending {
		t.Errorf("the first goes now: %s", m.Status)
	}
	req.Phone = phone()
	m := w.send(who, req).Message
	if want := "2026-11-24T22:00:00Z"; m.Status != Scheduled || m.Scheduled.Format(time.RFC3339) != want {
		t.Errorf("put off to %s, want %s (%s)", m.Scheduled.Format(time.RFC3339), want, m.Status)
	}
	req.Window.Deferral = "25:00"
	mustFail[*SendResult](t, "no clock", Invalid, "", "")(w.Send(who, nil, req))
	for _, date := range []string{"9999-12-31T23:59:59-01:00", "9000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", strings.Repeat("9", 30)} {
		req := to(phone())
		req.Scheduled = date
		mustFail[*SendResult](t, date, Invalid, "", "Invalid scheduledDate format")(w.Send(who, nil, req))
	}
}
