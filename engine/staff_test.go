package engine

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// entries are those of the audit log with an event; of all if it is empty.
func (w *world) entries(event string) (all []auditlog.Entry) {
	w.t.Helper()
	for _, line := range w.lines() {
		e, err := auditlog.ParseLine([]byte(line))
		if err != nil {
			w.t.Fatal(err)
		}
		if event == "" || e.Event == event {
			all = append(all, e)
		}
	}
	return all
}

// lines are the audit log.
func (w *world) lines() []string {
	w.t.Helper()
	all, err := kv.View(w.db, func(tx *kv.Tx) (all []string, err error) {
		for _, line := range auditLines.Scan(tx, 0, auditNodes.Len(tx)) {
			all = append(all, string(line))
		}
		return all, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// last is the newest entry with an event.
func (w *world) last(event string) auditlog.Entry {
	w.t.Helper()
	all := w.entries(event)
	if len(all) == 0 {
		w.t.Fatalf("there is no entry %s", event)
	}
	return all[len(all)-1]
}

// events are those of the log after the first n entries.
func (w *world) events(n int) string {
	w.t.Helper()
	var words []string
	for _, e := range w.entries("")[n:] {
		words = append(words, e.Event)
	}
	return strings.Join(words, " ")
}

var grace = NewStaff{Name: "Grace Marker", Email: "grace@vendor.example", Employer: "Vendor GmbH", Country: "de", Role: "support"}

func (w *world) addStaff(in NewStaff) (Staff, string) {
	w.t.Helper()
	s, token, err := w.Admin().AddStaff(in)
	if err != nil {
		w.t.Fatal(err)
	}
	return s, token
}

func (w *world) staff() StaffCaller {
	w.t.Helper()
	_, token := w.addStaff(grace)
	return w.authStaff(token)
}

func (w *world) authStaff(token string) StaffCaller {
	w.t.Helper()
	who, err := w.AuthenticateStaff(token, home)
	if err != nil {
		w.t.Fatal(err)
	}
	return who
}

func TestStaffTokens(t *testing.T) {
	w := newWorld(t, unlimited())
	s, token := w.addStaff(grace)
	u, auditToken, err := w.Admin().AddAuditor(NewAuditor{Name: "Ada Marker", Email: "ada@audit.example"})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{token, auditToken} {
		if !regexp.MustCompile("^"+TokenPattern+"$").MatchString(secret) || secretSum(secret[:len(secret)-6]) != secret[len(secret)-6:] {
			t.Errorf("%q is no token", secret)
		}
	}
	if s.Country != "DE" || !isSystemID(string(s.ID), "staff") || !isSystemID(string(u.ID), "auditor") {
		t.Errorf("made %+v, %+v", s, u)
	}
	_, key := w.key(w.id, Production, NewKey{Name: "k"})
	staff := func(secret string) error { _, err := w.AuthenticateStaff(secret, home); return err }
	auditor := func(secret string) error { _, err := w.AuthenticateAuditor(secret, home); return err }
	apiKey := func(secret string) error { _, err := w.Authenticate(secret, home); return err }
	for _, tt := range []struct {
		name   string
		err    error
		ok     bool
		wanted string
	}{
		{"a staff token", staff(token), true, ""},
		{"an auditor token", auditor(auditToken), true, ""},
		{"an auditor token as staff", staff(auditToken), false, CodeTokenNotAccepted},
		{"an API key as staff", staff(key), false, CodeTokenNotAccepted},
		{"a staff token as auditor", auditor(token), false, CodeTokenNotAccepted},
		{"an API key as auditor", auditor(key), false, CodeTokenNotAccepted},
		{"a staff token as API key", apiKey(token), false, CodeTokenNotAccepted},
		{"an auditor token as API key", apiKey(auditToken), false, CodeTokenNotAccepted},
		{"an unknown staff token", staff(newToken(staffPrefix)), false, ""},
		{"an unknown auditor token", auditor(newToken(auditorPrefix)), false, ""},
		{"nothing", staff(""), false, ""},
		{"something else", auditor("Bearer"), false, ""},
	} {
		if tt.ok && tt.err != nil {
			t.Errorf("%s: %v", tt.name, tt.err)
		} else if !tt.ok {
			if e := refused(t, tt.name, tt.err, Unauthorized, tt.wanted, "Unauthorized"); e.Code != tt.wanted {
				t.Errorf("%s: the code is %q", tt.name, e.Code)
			}
		}
	}

	_, second, err := w.Admin().RotateStaff(s.ID, time.Hour)
	if err != nil || staff(token) != nil || staff(second) != nil {
		t.Errorf("both live for the overlap: %v", err)
	}
	w.clock.pass(time.Hour)
	refused(t, "after the overlap", staff(token), Unauthorized, "", "")
	_, third, err := w.Admin().RotateStaff(s.ID, 0)
	if err != nil || staff(third) != nil {
		t.Errorf("rotated: %v", err)
	}
	refused(t, "rotated without overlap", staff(second), Unauthorized, "", "")
	if _, err := w.Admin().DisableStaff(s.ID); err != nil {
		t.Fatal(err)
	}
	refused(t, "disabled", staff(third), Unauthorized, "", "")
	if _, err := w.Admin().EnableStaff(s.ID); err != nil || staff(third) != nil {
		t.Errorf("enabled: %v", err)
	}
	if _, err := w.Admin().SetStaff(s.ID, StaffChange{Expires: ptr(w.clock.now().Add(time.Hour)), Employer: ptr("Other Ltd")}); err != nil || staff(third) != nil {
		t.Errorf("set: %v", err)
	}
	w.clock.pass(time.Hour)
	refused(t, "expired", staff(third), Unauthorized, "", "")

	_, audit2, err := w.Admin().RotateAuditor(u.ID, 0)
	if err != nil || auditor(audit2) != nil {
		t.Errorf("rotated: %v", err)
	}
	refused(t, "rotated", auditor(auditToken), Unauthorized, "", "")
	if _, err := w.Admin().DisableAuditor(u.ID); err != nil {
		t.Fatal(err)
	}
	refused(t, "disabled", auditor(audit2), Unauthorized, "", "")
	if _, err := w.Admin().EnableAuditor(u.ID); err != nil || auditor(audit2) != nil {
		t.Errorf("enabled: %v", err)
	}
	if err := w.KeepAudit(); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	if auditor(audit2) != nil {
		t.Error("after a restart the auditor is gone")
	}

	for _, tt := range []struct {
		event, id string
		n         int
	}{
		{"staff.added", string(s.ID), 1}, {"staff.rotated", string(s.ID), 2}, {"staff.disabled", string(s.ID), 1}, {"staff.enabled", string(s.ID), 1},
		{"staff.changed", string(s.ID), 1}, {"auditor.added", string(u.ID), 1}, {"auditor.rotated", string(u.ID), 1}, {"auditor.disabled", string(u.ID), 1},
		{"auditor.enabled", string(u.ID), 1},
	} {
		all := w.entries(tt.event)
		if len(all) != tt.n || all[0].Object != tt.id || all[0].Actor.Kind != auditlog.Operator {
			t.Errorf("%s: %+v", tt.event, all)
		}
	}
	if e := w.last("staff.changed"); e.Detail["employer"] != "Other Ltd" || e.Detail["employerBefore"] != "Vendor GmbH" || e.Detail["country"] != "DE" {
		t.Errorf("changed: %+v", e)
	}
	w.clock.pass(misuseEvery)
	if err := w.KeepAudit(); err != nil {
		t.Fatal(err)
	}
	reasons := map[string]int64{}
	for _, e := range w.entries("key.misused") {
		reasons[e.Detail["reason"]] += e.Records
	}
	if reasons["another realm's"] != 6 || reasons["unknown"] < 4 || reasons["disabled"] == 0 || reasons["expired"] == 0 {
		t.Errorf("misuses: %v", reasons)
	}
	all := strings.Join(w.lines(), "")
	for _, secret := range []string{"Marker", "vendor.example", "audit.example", token, second, third, auditToken, audit2} {
		if strings.Contains(all, secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

func TestStaffRefusals(t *testing.T) {
	w := newWorld(t, unlimited())
	for name, change := range map[string]func(*NewStaff){
		"no name":      func(s *NewStaff) { s.Name = "" },
		"no mailbox":   func(s *NewStaff) { s.Email = "grace" },
		"no employer":  func(s *NewStaff) { s.Employer = " " },
		"no role":      func(s *NewStaff) { s.Role = "" },
		"long country": func(s *NewStaff) { s.Country = "DEU" },
		"no country":   func(s *NewStaff) { s.Country = "" },
		"expired":      func(s *NewStaff) { s.Expires = noon.Add(-time.Hour) },
	} {
		in := grace
		change(&in)
		_, _, err := w.Admin().AddStaff(in)
		refused(t, name, err, Invalid, "", "")
	}
	for _, id := range []StaffID{"", "staff_", "staff_x", "staff_0123456789abcdef01234567", "auditor_0123456789abcdef01234567"} {
		_, err := w.Admin().DisableStaff(id)
		refused(t, string(id), err, NotFound, "", "")
	}
	s, _ := w.addStaff(grace)
	for range maxSecrets - 1 {
		if _, _, err := w.Admin().RotateStaff(s.ID, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := w.Admin().RotateStaff(s.ID, time.Hour)
	refused(t, "one token too many", err, Conflict, CodeTooMany, "")
	_, _, err = w.Admin().RotateStaff(s.ID, -1)
	refused(t, "a negative overlap", err, Invalid, "", "")
	if all, err := w.Admin().StaffAccounts(); err != nil || len(all) != 1 || len(all[0].Secrets) != maxSecrets {
		t.Errorf("accounts: %+v, %v", all, err)
	}
}
