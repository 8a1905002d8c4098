package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"tuco/engine"
	"tuco/engine/auditlog"
)

// entriesFrom are those of the log from a number on.
func (w *world) entriesFrom(from uint64) (all []auditlog.Entry) {
	w.t.Helper()
	lines, _, err := w.eng.Admin().AuditLines(from, 10_000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, line := range lines {
		entry, err := auditlog.ParseLine(line)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, entry)
	}
	return all
}

// TestReadsWithOperatorsKeys: what is read with a key that the operator made is recorded, on every route; with one that the
// customer made it is not.
func TestReadsWithOperatorsKeys(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	operators := ws.key(engine.Production, engine.RoleOwner)
	made := w.post(operators, "/api/keys", obj{"name": "own", "role": "owner"}).is(t, "making a key", 201)
	recorded := 0
	for _, r := range w.srv.routes {
		if r.realm != workspaceKey || r.scope == engine.AccessApprove || r.method != http.MethodGet {
			continue
		}
		for _, key := range []string{made.str("secret"), operators} {
			req, status := f.valid(r.id)
			if req.key = key; r.id == "listLeads" {
				req.path = "/api/leads" // not only those of a list that has none
			}
			before := w.entries()
			w.do(req).is(t, r.id, status)
			fresh := w.entriesFrom(before)
			if key != operators {
				if len(fresh) > 0 {
					t.Errorf("%s with a key of the customer's: %+v", r.id, fresh)
				}
				continue
			}
			kind, _, _ := strings.Cut(string(r.scope), ":")
			if len(fresh) != 1 || fresh[0].Event != "key.read" || fresh[0].Operation != "GET "+r.path || fresh[0].Kind != kind || fresh[0].Records < 1 ||
				fresh[0].Workspace != string(ws.id) || fresh[0].Actor.Kind != auditlog.Key || fresh[0].Environment != "production" {
				t.Errorf("%s with a key of the operator's: %+v", r.id, fresh)
				continue
			}
			if persons := slices.Contains([]string{"leads", "messages"}, kind); persons != (len(fresh[0].Persons) > 0) {
				t.Errorf("%s names %d persons", r.id, len(fresh[0].Persons))
			}
			recorded++
		}
	}
	if recorded < 8 {
		t.Errorf("only %d routes", recorded)
	}

	lead := obj{"firstName": "Ana", "phone": "+12025550177"}
	w.post(operators, "/api/leads", obj{"leads": []obj{lead}}).is(t, "a new lead", 201)
	before := w.entries()
	w.post(operators, "/api/leads", obj{"leads": []obj{lead}}).is(t, "a lead that is there", 200)
	if got := w.entriesFrom(before); len(got) != 1 || got[0].Operation != "POST /api/leads" || len(got[0].Persons) != 1 {
		t.Errorf("a duplicate, which is shown: %+v", got)
	}
	seen := w.get(operators, "/api/staff-access/who-saw?phone=%2B12025550177").is(t, "who saw", 200)
	if text := seen.str("entries", "0", "text"); !strings.Contains(text, "which the operator made, read 1 record of leads") {
		t.Errorf("%q", text)
	}
}
