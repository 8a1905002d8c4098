package httpapi

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"tuco/engine"
)

// notForStaff are the first words of customers' paths behind which there are no records for staff.
var notForStaff = []string{
	"staff-access", // the decisions about it: staff see their own requests elsewhere
}

// TestEveryCustomersRecordHasItsStaffRoute: whoever adds records that customers read also adds the kind, its route for
// staff, and its line in docs/api.md.
func TestEveryCustomersRecordHasItsStaffRoute(t *testing.T) {
	w := newWorld(t)
	staff := map[string]engine.RecordKind{}
	for _, r := range w.looks() {
		staff[strings.TrimPrefix(r.path, "/staff/workspaces/{id}/")] = r.answers[http.StatusOK].(staffView).kind
	}
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	_, documented, _ := strings.Cut(string(text), "\n### Staff: look\n")
	documented, _, _ = strings.Cut(documented, "\n### ")

	nouns := map[string]bool{} // whether one record is named by its id
	for _, r := range w.srv.routes {
		noun, rest, _ := strings.Cut(strings.TrimPrefix(r.path, "/api/"), "/")
		if r.realm != workspaceKey || slices.Contains(notForStaff, noun) {
			continue
		}
		nouns[noun] = nouns[noun] || strings.Contains(rest, "{id}")
	}
	for noun, single := range nouns {
		kind := kindOf(noun)
		if kind == "" {
			t.Errorf("customers have /api/%s, and there is no kind of record %q: add it to engine.RecordKinds with its fields, or to notForStaff", noun, noun)
			continue
		}
		paths := []string{noun}
		if single && noun != "keys" { // of which a page shows all that staff may see
			paths = append(paths, noun+"/{record}")
		}
		for _, path := range paths {
			if staff[path] != kind {
				t.Errorf("customers have /api/%s, and staff no route /staff/workspaces/{id}/%s", noun, path)
			}
		}
	}
	for path := range staff {
		if shown := "`" + strings.Replace(path, "{record}", "{id}", 1) + "`"; !strings.Contains(documented, shown) {
			t.Errorf("docs/api.md does not tell staff of %s", shown)
		}
	}
}

func kindOf(noun string) engine.RecordKind {
	kind, err := engine.ParseRecordKind(noun)
	if err != nil {
		return ""
	}
	return kind
}
