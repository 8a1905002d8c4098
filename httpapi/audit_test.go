package httpapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"tuco/engine"
	"tuco/engine/auditlog"
)

// TestTheLogTellsTheStory: request, approval and each look are in the log, without a word of the customer's, and what
// the auditor gets agrees with the checkpoint that it gets.
func TestTheLogTellsTheStory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.marked(engine.Production)
	owner, sam, ada := ws.key(engine.Production, engine.RoleOwner), w.staff("Sam"), w.auditor("Ada")
	w.get(sam.token, f.look("leads")).codes(t, "before", 403, engine.CodeAccessRequired)
	id := sam.asks(t, f, obj{"reason": "because of " + marker, "unmasked": []string{"leads.firstName"}})
	sent := request{method: post, path: "/api/staff-access/requests/" + id + "/approve", key: owner, header: map[string]string{"X-Request-Id": "for-" + marker, "X-Correlation-Id": marker}}
	if a := w.do(sent).is(t, "approving", 200); strings.Contains(a.header.Get(headerRequestID), marker) {
		t.Error("what a client calls its request would be in the log")
	}
	shown := w.do(request{method: get, path: f.look("leads/" + f.lead), key: sam.token, header: map[string]string{"X-Request-Id": marker}}).is(t, "a lead", 200)
	if shown.str("lead", "firstName") != marker {
		t.Errorf("unmasked: %s", shown.text)
	}
	w.get(sam.token, f.look("messages")).is(t, "messages", 200)
	w.get(sam.token, f.look("leads?search="+marker)).codes(t, "a search", 403, engine.CodeFieldMasked)
	w.post(owner, "/api/staff-access/requests/"+id+"/revoke", nil).is(t, "revoking", 200)

	signed := w.get(ada, "/audit/checkpoint").is(t, "the checkpoint", 200)
	keys := w.get(ada, "/audit/key").is(t, "the keys", 200)
	if got := signed.header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
		t.Errorf("Content-Type %s", got)
	}
	verifier := must[note.Verifier](t)(note.NewVerifier(strings.TrimSpace(keys.text)))
	checkpoint := must[auditlog.Checkpoint](t)(auditlog.OpenCheckpoint([]byte(signed.text), verifier))
	tree, events := new(auditlog.Range), []string{}
	for from := 0; ; {
		page := w.get(ada, fmt.Sprint("/audit/log?limit=4&from=", from)).is(t, "a page of the log", 200)
		var body struct{ Entries []json.RawMessage }
		if err := json.Unmarshal([]byte(page.text), &body); err != nil {
			t.Fatal(err)
		}
		for _, line := range body.Entries {
			line = append(line, '\n')
			e := must[auditlog.Entry](t)(auditlog.ParseLine(line))
			tree.Append(auditlog.LeafHash(line))
			if e.Workspace == string(ws.id) && (e.Actor.Kind == auditlog.Staff || e.Access != "") {
				events = append(events, e.Event)
			}
			if e.Event == "staff.read" && e.Kind == "leads" {
				if want := "GET /staff/workspaces/{id}/leads/{record}"; e.Operation != want || e.Request != shown.header.Get(headerRequestID) || e.Address != "127.0.0.1" || e.Access != id ||
					e.Object != f.lead || float64(e.Seq) != shown.num("auditEntry") || e.Records != 1 || len(e.Persons) == 0 || !slices.Equal(e.Fields, []string{"firstName"}) {
					t.Errorf("the entry of the look: %s", line)
				}
			}
		}
		if strings.Contains(strings.ToLower(page.text), strings.ToLower(marker)) || strings.Contains(page.text, "2025550171") {
			t.Errorf("the log has what is the customer's: %s", page.text)
		}
		if next := int(page.num("next")); len(body.Entries) == 0 || next == from {
			break
		} else {
			from = next
		}
	}
	if tree.Size() != checkpoint.Size || tree.Root() != checkpoint.Root {
		t.Errorf("%d entries with root %s, checkpoint of %d with %s", tree.Size(), tree.Root(), checkpoint.Size, checkpoint.Root)
	}
	want := []string{"staff.refused", "access.requested", "access.approved", "staff.read", "staff.read", "staff.refused", "access.revoked"}
	if !slices.Equal(events, want) {
		t.Errorf("events %v, want %v", events, want)
	}
	for path, says := range map[string]string{"from=-1": "from", "from=x": "from", "from=99999999999999999999": "from", "limit=0": "limit", "limit=x": "limit"} {
		if a := w.get(ada, "/audit/log?"+path).is(t, path, 400); !strings.Contains(a.str("error"), says) {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	if got := w.get(ada, "/audit/log?from=1000000").is(t, "behind the end", 200).text; !strings.HasPrefix(got, `{"entries":[]`) {
		t.Errorf("behind the end: %s", got)
	}

	// The customer reads its own part, page by page.
	var own []string
	for cursor := ""; ; {
		page := w.get(owner, "/api/staff-access/log?limit=2"+cursor).is(t, "own log", 200)
		list, _ := page.at("entries").([]any)
		for i := range list {
			own = append([]string{page.str("entries", strconv.Itoa(i), "event")}, own...)
		}
		if strings.Contains(strings.ToLower(page.text), strings.ToLower(marker)) {
			t.Errorf("the log names a person: %s", page.text)
		}
		next, more := page.at("nextCursor").(string)
		if !more {
			break
		}
		cursor = "&cursor=" + next
	}
	if own[0] != "workspace.created" || !slices.Contains(own, "staff.read") || own[len(own)-1] != "access.revoked" {
		t.Errorf("the customer's own log is %q", own)
	}
	w.get(owner, "/api/staff-access/log?cursor=x").is(t, "a cursor that is none", 400)
	if got := w.get(owner, "/api/staff-access/checkpoint").is(t, "checkpoint", 200).text; !strings.HasPrefix(got, "tuco.local/") {
		t.Errorf("the customer's checkpoint is %q", got)
	}

	// The customer asks who saw a person.
	for _, query := range []string{"phone=" + url.QueryEscape("+12025550171"), "phone=(202)%20555-0172", "email=" + marker + "@example.com"} {
		a := w.get(owner, "/api/staff-access/who-saw?"+query).is(t, query, 200)
		list, _ := a.at("entries").([]any)
		if len(list) != 3 && strings.HasPrefix(query, "phone=%2B") || len(list) == 0 || !strings.Contains(a.text, string(sam.id)) {
			t.Errorf("who saw %s: %s", query, a.text)
		}
		if strings.Contains(a.text, marker) {
			t.Errorf("%s: the answer names the person: %s", query, a.text)
		}
	}
	saw := w.get(owner, "/api/staff-access/who-saw?email="+marker+"@example.com")
	text := "Staff member " + string(sam.id) + " (support, Vendor GmbH, DE) looked at 1 record of leads in production, by " + id + " (ticket T-1); fields not masked: firstName; "
	if got := saw.str("entries", "1", "text"); !strings.HasPrefix(got, text) {
		t.Errorf("in plain words: %s\nwant %s", got, text)
	}
	if got := w.get(owner, "/api/staff-access/who-saw?email=nobody@example.com").is(t, "nobody", 200).text; got != `{"entries":[]}` {
		t.Errorf("whom nobody saw: %s", got)
	}
	for _, bad := range []string{"", "?phone=12", "?email=x", "?email=+12025550171", "?phone=a@example.com", "?phone=1&email=a@example.com"} {
		w.get(owner, "/api/staff-access/who-saw"+bad).is(t, "who-saw"+bad, 400)
	}
	other := w.workspace("B").key(engine.Production, engine.RoleOwner)
	if got := w.get(other, "/api/staff-access/who-saw?email="+marker+"@example.com").text; got != `{"entries":[]}` {
		t.Errorf("another workspace sees %s", got)
	}
}

// TestUnmaskedFields: what a grant can show is shown, of every kind, also where there is nothing.
func TestUnmaskedFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.marked(engine.Production)
	bare := ws.fixture(engine.Production)
	owner, sam := ws.key(engine.Production, engine.RoleOwner), w.staff("Sam")
	var all []string
	for _, k := range engine.RecordKinds {
		for _, name := range engine.MaskableFields(k) {
			all = append(all, string(k)+"."+name)
		}
	}
	id := sam.asks(t, f, obj{"unmasked": all})
	w.post(owner, "/api/staff-access/requests/"+id+"/approve", nil).is(t, "approving", 200)
	for _, v := range append(f.views(), bare.views()...) {
		a := w.get(sam.token, f.look(v.path)).is(t, v.path, 200)
		if strings.Contains(a.text, engine.Mask) {
			t.Errorf("%s: still masked: %s", v.path, a.text)
		}
	}
	if got := w.get(sam.token, f.look("leads?search="+marker)).is(t, "a search", 200); got.str("leads", "0", "id") != f.lead {
		t.Errorf("found %s", got.text)
	}
	w.get(sam.token, f.look("leads?email=x")).is(t, "a filter that there is not", 400)
	w.get(sam.token, f.look("leads/"+f.lead)).golden(t, "staff-lead-unmasked")
	w.get(sam.token, f.look("messages/"+f.message)).golden(t, "staff-message-unmasked")
}
