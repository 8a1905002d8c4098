package httpapi

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"tuco/engine"
	"tuco/engine/auditlog"
)

// TestForget: after it nobody can tell which entries name the person; deleting the lead does not do it. The log stays as it was.
func TestForget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.workspace("A"), w.workspace("B")
	f, g := a.marked(engine.Production), b.marked(engine.Production)
	owner, other, sam := a.key(engine.Production, engine.RoleOwner), b.key(engine.Production, engine.RoleOwner), w.staff("Sam")
	for key, f := range map[string]fixture{owner: f, other: g} {
		id := sam.asks(t, f, nil)
		w.post(key, "/api/staff-access/requests/"+id+"/approve", nil).is(t, "approving", 200)
		w.get(sam.token, f.look("leads")).is(t, "a look", 200)
	}
	const phone = "+12025550171" // of the marked lead
	seen := func(key string) int {
		list, _ := w.get(key, "/api/staff-access/who-saw?phone="+url.QueryEscape(phone)).is(t, "who saw", 200).at("entries").([]any)
		return len(list)
	}
	forget := func(body any) answer { return w.post(owner, "/api/staff-access/forget", body) }
	before := must[auditlog.Checkpoint](t)(auditlog.UnsignedCheckpoint(must[[]byte](t)(w.eng.Checkpoint())))
	w.do(request{method: remove, path: "/api/leads", key: owner, body: obj{"ids": []string{f.lead}}}).is(t, "deleting the lead", 200)
	if seen(owner) != 2 || seen(other) != 2 { // the look, and the send with a key that the operator made
		t.Fatalf("after the lead was deleted, %d and %d entries name the person, want 2 and 2", seen(owner), seen(other))
	}
	for name, body := range map[string]any{
		"nobody": obj{}, "two": obj{"phone": phone, "email": "a@example.com"}, "no number": obj{"phone": "12"}, "no address": obj{"email": "x"},
		"an address as a number": obj{"phone": "a@example.com"}, "no JSON": "{", "another type": obj{"phone": 5},
	} {
		forget(body).is(t, name, 400)
	}
	forget(obj{"phone": phone, "workspaceId": b.id}).codes(t, "in another workspace", 403, engine.CodeWrongWorkspace)
	_, narrow := a.makeKey(engine.Production, engine.NewKey{Name: "narrow", Role: engine.RoleAdmin})
	w.post(narrow, "/api/staff-access/forget", obj{"phone": phone}).codes(t, "without the scope", 403, engine.CodeInsufficientScope)
	if seen(owner) != 2 {
		t.Error("a request that was refused made it forget")
	}
	a.readOnly(engine.ReadOnlyPastDue)
	if got := forget(obj{"phone": "(202) 555-0171"}).is(t, "in READ_ONLY", 200).text; got != `{"forgotten":1}` {
		t.Errorf("forgotten: %s", got)
	}
	if seen(owner) != 0 || seen(other) != 2 {
		t.Errorf("after that, %d and %d entries name the person, want 0 and 2", seen(owner), seen(other))
	}
	if got := forget(obj{"phone": phone}).is(t, "again", 200).text; got != `{"forgotten":0}` {
		t.Errorf("forgotten again: %s", got)
	}
	log := w.auditLines()
	if last := log[len(log)-1]; last.Event != "person.erased" || last.Workspace != string(a.id) || last.Actor.Kind != auditlog.Key || len(last.Persons) != 1 || last.Address == "" {
		t.Errorf("the last entry is %+v", last)
	}
	proof := w.get(owner, fmt.Sprint("/api/staff-access/consistency?from=", before.Size)).is(t, "a proof", 200).text
	if _, err := auditlog.VerifyConsistency([]byte(proof), before, w.verifiers()...); err != nil {
		t.Errorf("the log is not what it was: %v", err)
	}
	got := w.post(owner, "/api/staff-access/export", nil).is(t, "the bundle", 200)
	w.bundle(got, nil)
	if strings.Contains(got.text, phone) {
		t.Error("the number is in the bundle")
	}
}
