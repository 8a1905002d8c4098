package httpapi

import (
	"bytes"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"tuco/engine"
)

// TestNoMarkerLeaves: what somebody wrote, in whatever field of whatever record, is in no entry, export, answer to auditors or
// masked answer to staff, and in no line of the server's log; also where it was part of a request that was refused.
func TestNoMarkerLeaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.marked(engine.Production)
	owner, ada := ws.key(f.env, engine.RoleOwner), w.auditor("Ada")
	other := w.staff(marker) // with name and address
	name := marker
	if _, err := w.eng.Admin().SetStaff(other.id, engine.StaffChange{Name: &name}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.eng.Admin().AddAuditor(engine.NewAuditor{Name: marker, Email: marker + "@audit.example"}); err != nil {
		t.Fatal(err)
	}
	var masked, unmasked, public strings.Builder
	note := func(to *strings.Builder, a answer) answer {
		to.WriteString(a.text + "\n")
		for name, values := range a.header {
			if name != headerCorrelationID { // it is the client's own
				to.WriteString(name + strings.Join(values, "\n") + "\n")
			}
		}
		return a
	}
	header := map[string]string{"X-Request-Id": marker, "X-Correlation-Id": marker, "User-Agent": marker}

	// Everything that can be written is: requests, decisions, agreements, and what of it is refused.
	denied := other.asks(t, f, obj{"reason": "because of " + marker})
	w.post(owner, "/api/staff-access/requests/"+denied+"/deny", obj{"note": "not for " + marker}).is(t, "denying", 200)
	for _, change := range []obj{{"ticket": "call " + marker}, {"unmasked": []string{marker}}, {"scopes": []string{marker}}, {"duration": marker}, {"startAt": marker}, {"workspaceId": "org_" + marker}} {
		if a := w.post(other.token, "/staff/access-requests", f.ask(change)); a.status < 400 {
			t.Errorf("%v: %d %s", change, a.status, a.text)
		}
	}
	for _, body := range []obj{{"type": marker, "reference": "R"}, {"type": "dpa", "reference": "with " + marker}, {"type": "dpa", "reference": "R", "controls": obj{"noKinds": []string{marker}}}} {
		w.post(owner, "/api/staff-access/agreements", body).is(t, "an agreement of prose", 400)
	}
	// Names of employers are in entries on purpose: those of staff, and those that an agreement allows.
	employers := obj{"type": "support", "reference": "S-1", "controls": obj{"employers": []string{"Vendor GmbH"}}}
	w.post(owner, "/api/staff-access/agreements", employers).is(t, "an agreement", 201)
	w.do(request{method: patch, path: "/api/keys/" + f.key, key: owner, body: obj{"name": "renamed " + marker}}).is(t, "a key's name", 200)

	access := other.asks(t, f, obj{"reason": "because of " + marker})
	w.post(owner, "/api/staff-access/requests/"+access+"/approve", nil).is(t, "approving", 200)
	for _, r := range w.looks() {
		look := f.lookBy(r, other.token)
		look.header = header
		note(&masked, w.do(look).is(t, r.id, 200))
		for _, query := range []string{"cursor=", "search=", "email=", "sort=", "batchId=", "status=", "dateFrom=", marker + "="} {
			bad := look
			bad.path += "&" + query + marker
			a, err := w.send(bad)
			if err != nil || a.status >= 500 {
				t.Errorf("%s: %v %d %s", bad.path, err, a.status, a.text)
			}
		}
	}
	for _, path := range []string{"leads/" + marker, marker, "messages/" + f.lead} {
		_, _ = w.send(request{method: get, path: f.look(path), key: other.token, header: header})
	}
	_, _ = w.send(request{method: get, path: "/staff/workspaces/" + marker + "/leads?environment=" + marker, key: other.token})
	_, _ = w.send(request{method: get, path: "/staff/workspaces/" + marker + "/leads?environment=production", key: other.token})
	_, _ = w.send(request{method: get, path: "/audit/log?from=" + marker, key: ada, header: header})
	_, _ = w.send(request{method: get, path: "/audit/log", key: "tuco_au_" + marker})
	_, _ = w.send(request{method: get, path: "/api/staff-access/who-saw?email=" + marker, key: owner})

	sam := w.staff("Sam")
	sam.granted(t, f, allFields())
	for _, r := range w.looks() {
		note(&unmasked, w.do(f.lookBy(r, sam.token)).is(t, r.id+", unmasked", 200))
	}
	w.get(sam.token, f.look("leads?search="+marker)).is(t, "an unmasked search", 200)
	w.post(owner, "/api/staff-access/requests/"+access+"/revoke", nil).is(t, "revoking", 200)
	if n := strings.Count(unmasked.String(), marker); n < 30 {
		t.Fatalf("the marker is in %d places only: %s", n, unmasked.String())
	}
	if err := w.eng.KeepAudit(); err != nil {
		t.Fatal(err)
	}

	note(&public, w.get(ada, "/audit/log?limit=1000").is(t, "the log", 200))
	for _, path := range []string{"log?limit=100", "who-saw?email=" + marker + "@example.com", "who-saw?phone=" + url.QueryEscape("+12025550171"), "checkpoint"} {
		note(&public, w.get(owner, "/api/staff-access/"+path).is(t, path, 200))
	}
	note(&public, w.get("", "/metrics").is(t, "metrics", 200))
	for _, r := range []engine.AuditRange{{}, {Workspace: ws.id}} {
		var file bytes.Buffer
		if _, err := w.eng.Admin().ExportAudit(&file, "1.2.3", r); err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"entries.jsonl", "entries.csv", "entries.ocsf.jsonl", "entries.cef", "report.html"} {
			if !bytes.Contains(file.Bytes(), []byte(format)) {
				t.Errorf("the bundle has no %s", format)
			}
		}
		public.Write(file.Bytes())
	}
	// Customers' own ids of their requests are in the server's log, as docs/api.md says, and nothing else.
	logged := regexp.MustCompile(`"correlation":"[^"]*",?`).ReplaceAllString(w.logged.String(), "")
	logged = regexp.MustCompile(`"request":"[^"]*",?`).ReplaceAllString(logged, "")
	for where, text := range map[string]string{"masked answers": masked.String(), "the log, exports and metrics": public.String(), "the server's log": logged} {
		if len(text) < 1000 {
			t.Errorf("%s: there are only %d bytes", where, len(text))
		}
		for _, secret := range []string{marker, "2025550171", "2025550172", "2025550199", "example.com/", "@example.com", other.token[8:]} {
			if i := strings.Index(strings.ToLower(text), strings.ToLower(secret)); i >= 0 {
				t.Errorf("%q is in %s: …%s…", secret, where, text[max(0, i-300):min(len(text), i+60)])
			}
		}
	}
}
