package httpapi

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tuco/engine"
)

// unrecordedRoutes are those that docs/audit.md lists.
func unrecordedRoutes(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, found := strings.Cut(string(text), "\n## Routes that leave no entry\n")
	part, _, _ = strings.Cut(part, "\n## ")
	for _, m := range regexp.MustCompile("`((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)`").FindAllStringSubmatch(part, -1) {
		if slices.Contains(all, m[1]) {
			t.Errorf("docs/audit.md lists %s twice", m[1])
		}
		all = append(all, m[1])
	}
	if !found || len(all) < 20 {
		t.Fatalf("docs/audit.md lists %d routes that leave no entry", len(all))
	}
	return all
}

// TestUnrecordedRoutes: docs/audit.md lists just the routes whose use leaves no entry in the audit log. Each route is used
// once, with a credential that may, and the log is looked at.
func TestUnrecordedRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	sam, ada := w.staff("Sam"), w.auditor("Ada")
	access := sam.granted(t, f, nil)
	// A key that a key made: what is done with the operator's is another matter.
	key := w.post(ws.key(f.env, engine.RoleOwner), "/api/keys", obj{"name": "own", "role": "owner"}).is(t, "a key", 201).str("secret")
	listed := unrecordedRoutes(t)
	for _, r := range w.srv.routes {
		name := r.method + " " + r.path
		use, status := f.use(t, r, sam, access)
		use.key = map[realm]string{workspaceKey: key, staffToken: sam.token, auditorToken: ada}[r.realm]
		before := w.entries()
		a, err := w.send(use)
		if err != nil || a.status != status {
			t.Errorf("%s: %v %d %s, want %d", name, err, a.status, a.text, status)
			continue
		}
		recorded, isListed := w.entries() > before, slices.Contains(listed, name)
		switch {
		case !recorded && !isListed:
			t.Errorf("%s leaves no entry, and docs/audit.md does not list it", name)
		case recorded && isListed:
			t.Errorf("%s leaves an entry, and docs/audit.md lists it", name)
		}
		listed = slices.DeleteFunc(listed, func(l string) bool { return l == name })
	}
	for _, name := range listed {
		t.Errorf("docs/audit.md lists %s, which there is not", name)
	}
}

// use is a request that the route takes, and the status of its answer.
func (f fixture) use(t *testing.T, r *route, sam staffMember, access string) (request, int) {
	t.Helper()
	switch {
	case r.id == "forgetPerson": // somebody whom staff have seen
		w := f.ws.w
		w.post(f.ws.key(f.env, engine.RoleOwner), "/api/leads", obj{"leads": []obj{{"phone": "+12025550188"}}}).is(t, "a lead", 201)
		w.get(sam.token, "/staff/workspaces/"+string(f.ws.id)+"/leads?environment="+string(f.env)).is(t, "a look", 200)
		return request{method: post, path: r.path, body: obj{"phone": "+12025550188"}}, 200
	case r.realm == workspaceKey:
		return f.valid(r.id)
	case strings.Contains(r.path, "{seq}"):
		return request{method: r.method, path: strings.Replace(r.path, "{seq}", "0", 1)}, 200
	case strings.HasSuffix(r.path, "/consistency"):
		return request{method: r.method, path: r.path + "?from=1"}, 200
	case slices.Contains(f.ws.w.looks(), r):
		return f.lookBy(r, ""), 200
	case r.id == "requestAccess":
		return request{method: post, path: r.path, body: f.ask(nil)}, 201
	case r.id == "withdrawAccessRequest":
		access = sam.asks(t, f, nil)
	}
	return request{method: r.method, path: strings.Replace(r.path, "{id}", access, 1)}, 200
}
