package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestSettingAccounts: what is changed of an account is recorded, name and mailbox not as they are; and what it was granted ends.
func TestSettingAccounts(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, _ := w.populate(w.id, Production, "marker")
	s, _ := w.granted(owner)
	w.read(s, w.look(KindLeads))
	id := s.Staff().ID
	was := s.Staff()
	before := uint64(len(w.audited(0)))
	same := StaffChange{Name: &was.Name, Email: ptr(strings.ToUpper(was.Email)), Country: ptr(strings.ToLower(was.Country)), Role: &was.Role}
	if _, err := w.Admin().SetStaff(id, same); err != nil {
		t.Fatal(err)
	}
	if got := w.audited(before); len(got) > 0 {
		t.Errorf("nothing was changed, and recorded is %+v", got)
	}
	w.read(s, w.look(KindLeads))
	w.clock.pass(time.Second)
	set, err := w.Admin().SetStaff(id, StaffChange{Country: ptr("us")})
	if err != nil || set.Country != "US" {
		t.Fatalf("%+v, %v", set, err)
	}
	_, err = w.StaffRead(s, w.look(KindLeads))
	refused(t, "a look by what was granted to somebody in another country", err, Forbidden, CodeAccessEnded, "")
	e := w.last("staff.changed")
	if d := e.Detail; d["changed"] != "country" || d["country"] != "US" || d["countryBefore"] != was.Country || d["employerBefore"] != was.Employer || d["roleBefore"] != was.Role {
		t.Errorf("recorded %+v", e)
	}
	if set, err = w.Admin().SetStaff(id, StaffChange{Name: ptr("Marker Name"), Email: ptr("marker@vendor.example")}); err != nil || set.Name != "Marker Name" {
		t.Fatalf("%+v, %v", set, err)
	}
	if e = w.last("staff.changed"); e.Detail["changed"] != "name email" || strings.Contains(strings.ToLower(fmt.Sprint(e)), "marker") {
		t.Errorf("recorded %+v", e)
	}
	_, u := w.auditor()
	if u, err = w.Admin().SetAuditor(u.ID, AuditorChange{Email: ptr("ADA@audit.example")}); err != nil || w.last("").Event != "auditor.added" {
		t.Errorf("nothing was changed of %+v, %v", u, err)
	}
	if u, err = w.Admin().SetAuditor(u.ID, AuditorChange{Name: ptr("Bo"), Email: ptr("bo@audit.example")}); err != nil || u.Name != "Bo" || u.Email != "bo@audit.example" {
		t.Errorf("%+v, %v", u, err)
	}
	if e := w.last("auditor.changed"); e.Detail["changed"] != "name email" || strings.Contains(fmt.Sprint(e), "bo@") {
		t.Errorf("recorded %+v", e)
	}
}
