package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"tuco/engine"
)

// looks are all routes by which staff see customer data, out of the router.
func (w *world) looks() (all []*route) {
	for _, r := range w.srv.routes {
		if _, ok := r.answers[http.StatusOK].(staffView); ok {
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		w.t.Fatal("there is no route by which staff look")
	}
	return all
}

// record is a record of a kind that the fixture has.
func (f fixture) record(kind engine.RecordKind) string {
	id := map[engine.RecordKind]string{
		engine.KindLeads: f.lead, engine.KindLists: f.list, engine.KindLines: f.line, engine.KindMessages: f.message, engine.KindKeys: f.key,
	}[kind]
	if id == "" {
		f.ws.w.t.Fatalf("the fixture has no record of the kind %s: add one", kind)
	}
	return id
}

// lookBy is a request by a route of looks.
func (f fixture) lookBy(r *route, token string) request {
	path := strings.TrimPrefix(r.path, "/staff/workspaces/{id}/")
	if what, of := strings.CutSuffix(path, "{record}"); of {
		path = what + f.record(r.answers[http.StatusOK].(staffView).kind)
	}
	return request{method: r.method, path: f.look(path), key: token}
}

// allFields are the names of every field that a grant can unmask.
func allFields() (all []string) {
	for _, k := range engine.RecordKinds {
		for _, name := range engine.MaskableFields(k) {
			all = append(all, string(k)+"."+name)
		}
	}
	return all
}

// granted is a grant of everything in the fixture's environment, with the fields that it unmasks.
func (s staffMember) granted(t *testing.T, f fixture, unmasked []string) (id string) {
	t.Helper()
	id = s.asks(t, f, obj{"unmasked": unmasked})
	owner := f.ws.key(f.env, engine.RoleOwner)
	s.w.post(owner, "/api/staff-access/requests/"+id+"/approve", nil).is(t, "approving", 200)
	return id
}

// entries is how many entries the audit log has.
func (w *world) entries() uint64 {
	w.t.Helper()
	n := uint64(0)
	for {
		lines, next, err := w.eng.Admin().AuditLines(n, 1000)
		if err != nil {
			w.t.Fatal(err)
		}
		if n = next; len(lines) < 1000 {
			return n
		}
	}
}

// showsNothing fails unless the answer is an error with the code, and no other member than those of an error. Nothing
// of the fixture's records may be in it.
func (a answer) showsNothing(t *testing.T, what string, f fixture, code string) {
	t.Helper()
	a.codes(t, what, 503, code)
	members, _ := a.at().(map[string]any)
	for name := range members {
		if !slices.Contains([]string{"error", "code", "reason"}, name) {
			t.Errorf("%s: the error has a member %q: %s", what, name, a.text)
		}
	}
	for _, secret := range f.secrets() {
		if strings.Contains(strings.ToLower(a.text), strings.ToLower(secret)) {
			t.Errorf("%s: the error has %q: %s", what, secret, a.text)
		}
	}
}

// secrets are what the fixture, which is a marked one, has of a customer's data.
func (f fixture) secrets() []string {
	return []string{marker, "2025550171", "2025550172", "2025550199", "example.com", f.lead, f.list, f.line, f.message, f.key}
}
