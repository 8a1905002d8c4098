package httpapi

import (
	"strings"
	"testing"
	"time"

	"tuco/engine"
)

// TestPolicyAndAgreements: what the customer decides holds for staff, at once.
func TestPolicyAndAgreements(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	owner, sam := ws.key(engine.Production, engine.RoleOwner), w.staff("Sam")
	policy := func(body obj) answer {
		return w.do(request{method: put, path: "/api/staff-access/policy", key: owner, body: body})
	}
	w.get(owner, "/api/staff-access/controls").is(t, "the controls of a new workspace", 200).golden(t, "controls-default")
	if got := w.get(owner, "/api/staff-access/policy").str("mode"); got != "approval" {
		t.Errorf("the default policy is %q", got)
	}
	w.rows(t, owner, put, "/api/staff-access/policy", []row{
		{"no mode", obj{}, 400, `Unknown policy "": use closed, approval or notify`},
		{"an unknown mode", obj{"mode": "open"}, 400, `Unknown policy "open": use closed, approval or notify`},
	})

	granted := func(change obj) string {
		id := sam.asks(t, f, change)
		w.post(owner, "/api/staff-access/requests/"+id+"/approve", nil).is(t, "approving", 200)
		return id
	}
	granted(nil)
	w.get(sam.token, f.look("leads")).is(t, "with a grant", 200)
	policy(obj{"mode": "closed"}).is(t, "closing", 200)
	w.get(sam.token, f.look("leads")).codes(t, "closed", 403, engine.CodePolicyClosed)
	w.post(sam.token, "/staff/access-requests", f.ask(nil)).codes(t, "asking a closed workspace", 403, engine.CodePolicyClosed)
	policy(obj{"mode": "notify"}).is(t, "notify", 200).golden(t, "access-policy")
	w.get(sam.token, f.look("leads")).codes(t, "what closing ended stays over", 403, engine.CodeAccessEnded)
	if a := w.post(sam.token, "/staff/access-requests", f.ask(nil)).is(t, "asking under notify", 201); a.str("status") != "approved" || a.at("approvedByPolicy") != true {
		t.Errorf("under notify: %s", a.text)
	}
	w.get(sam.token, f.look("leads")).is(t, "under notify", 200)

	add := func(what string, body obj) answer {
		return w.post(owner, "/api/staff-access/agreements", body).is(t, what, 201)
	}
	dpa := add("an agreement", obj{"type": "dpa", "reference": "DPA-7", "to": time.Now().AddDate(1, 0, 0).UTC().Format(time.RFC3339), "controls": obj{
		"maxDuration": "4h", "twoApprovers": true, "alwaysMasked": []string{"phone"}, "noEnvironments": []string{"staging"}, "noKinds": []string{"keys"},
		"employers": []string{"Vendor GmbH"}, "countries": []string{"de"}, "hours": obj{"from": "00:00", "to": "00:00", "zone": "Europe/Berlin"}, "retention": "8760h"}})
	dpa.golden(t, "agreement")
	controls := w.get(owner, "/api/staff-access/controls").is(t, "controls", 200)
	controls.golden(t, "controls")
	w.get(sam.token, f.look("leads")).codes(t, "a grant without approvers, where two are asked for by now", 403, engine.CodeAccessEnded)
	for code, change := range map[string]obj{
		engine.CodeDurationTooLong:     {"duration": "5h"},
		engine.CodeFieldMasked:         {"unmasked": []string{"phone"}},
		engine.CodeEnvironmentExcluded: {"environment": "staging"},
	} {
		w.post(sam.token, "/staff/access-requests", f.ask(change)).codes(t, code, 403, code)
	}
	id := sam.asks(t, f, nil)
	if got := w.post(owner, "/api/staff-access/requests/"+id+"/approve", nil).is(t, "the first approver", 200).str("status"); got != "pending" {
		t.Errorf("after one of two approvals: %q", got)
	}
	w.post(owner, "/api/staff-access/requests/"+id+"/approve", nil).codes(t, "the same once more", 409, engine.CodeAlreadyApproved)
	second := w.post(owner, "/api/keys", obj{"name": "second", "scopes": []string{"access:approve"}}).is(t, "a second key", 201).str("secret")
	if got := w.post(second, "/api/staff-access/requests/"+id+"/approve", nil).is(t, "the second approver", 200).str("status"); got != "approved" {
		t.Errorf("after both approvals: %q", got)
	}
	w.get(sam.token, f.look("leads")).is(t, "with both approvals", 200)
	w.get(sam.token, f.look("keys")).codes(t, "a kind that the agreement excludes", 403, engine.CodeKindExcluded)

	bad := func(name string, status int, says string, body obj) {
		a := w.post(owner, "/api/staff-access/agreements", body)
		if a.status != status || !strings.Contains(a.str("error"), says) {
			t.Errorf("%s: %d %s, want %d with %q", name, a.status, a.text, status, says)
		}
	}
	with := func(controls obj) obj { return obj{"type": "dpa", "reference": "R", "controls": controls} }
	bad("no type", 400, "type", obj{"reference": "R"})
	bad("no reference", 400, "reference", obj{"type": "dpa"})
	bad("a reference of prose", 400, "reference", obj{"type": "dpa", "reference": "with Ana"})
	bad("over already", 400, "over", obj{"type": "dpa", "reference": "R", "to": "2020-01-01"})
	bad("a bad date", 400, "Invalid from", obj{"type": "dpa", "reference": "R", "from": "soon"})
	bad("a bad duration", 400, "maxDuration", with(obj{"maxDuration": "long"}))
	bad("no duration at all", 400, "maxDuration", with(obj{"maxDuration": "0"}))
	bad("a negative retention", 400, "retention", with(obj{"retention": "-1h"}))
	bad("an unknown field", 400, "soul", with(obj{"alwaysMasked": []string{"soul"}}))
	bad("an unknown environment", 400, "nvironment", with(obj{"noEnvironments": []string{"prod"}}))
	bad("an unknown kind", 400, "kind", with(obj{"noKinds": []string{"souls"}}))
	bad("a bad country", 400, "countries", with(obj{"countries": []string{"Germany"}}))
	bad("no country", 400, "countries: name at least one", with(obj{"countries": []string{}}))
	bad("no employer", 400, "employers: name at least one", with(obj{"employers": []string{}}))
	bad("a control that there is not", 400, `no control "twoApprover"`, with(obj{"twoApprover": true, "maxDuration": "1h"}))
	bad("bad hours", 400, "hours", with(obj{"hours": obj{"from": "8", "to": "17:00", "zone": "UTC"}}))
	bad("no hours", 400, "hours", with(obj{"hours": obj{}}))
	bad("controls of another type", 400, "controls", obj{"type": "dpa", "reference": "R", "controls": 5})

	over := w.do(request{method: remove, path: "/api/staff-access/agreements/" + dpa.str("id"), key: owner}).is(t, "ending it", 200)
	if over.str("removedAt") == "" || over.str("removedBy") == "" {
		t.Errorf("ended: %s", over.text)
	}
	w.get(sam.token, f.look("keys")).is(t, "after the agreement", 200)
	if list, _ := w.get(owner, "/api/staff-access/agreements").at("agreements").([]any); len(list) != 1 {
		t.Errorf("%d agreements stay visible", len(list))
	}
	for _, path := range []string{"x", "agreement_6b03d08e97cd740000000002", dpa.str("id") + "0"} {
		w.do(request{method: remove, path: "/api/staff-access/agreements/" + path, key: owner}).is(t, "ending "+path, 404)
	}
}

// TestDecisionsStayInTheirWorkspace: nobody sees or decides what was asked of another.
func TestDecisionsStayInTheirWorkspace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.workspace("A"), w.workspace("B")
	f := a.fixture(engine.Production)
	other, sam := b.key(engine.Production, engine.RoleOwner), w.staff("Sam")
	id := sam.asks(t, f, nil)
	path := "/api/staff-access/requests/" + id
	for _, r := range []request{{method: get, path: path}, {method: post, path: path + "/approve"}, {method: post, path: path + "/deny"}, {method: post, path: path + "/revoke"}} {
		r.key = other
		w.do(r).fails(t, r.method+" "+r.path, 404, "Access request not found")
	}
	w.post(other, path+"/approve", obj{"workspaceId": a.id}).codes(t, "naming the other workspace", 403, engine.CodeWrongWorkspace)
	if text := w.get(other, "/api/staff-access/requests").text; strings.Contains(text, id) {
		t.Errorf("another workspace's request is listed: %s", text)
	}
	owner := a.key(engine.Staging, engine.RoleOwner)
	denied := w.post(owner, path+"/deny", obj{"note": "not today"}).is(t, "denying, with a key of another environment", 200)
	if denied.str("status") != "denied" || denied.str("note") != "not today" {
		t.Errorf("denied: %s", denied.text)
	}
	w.post(owner, path+"/deny", obj{"note": strings.Repeat("x", 2001)}).is(t, "a long note", 400)
	w.post(owner, path+"/deny", "{").is(t, "no JSON", 400)
	w.post(owner, path+"/deny", nil).codes(t, "denying again", 409, engine.CodeAlreadyDecided)
	w.post(owner, path+"/approve", nil).codes(t, "approving what was denied", 409, engine.CodeAlreadyDecided)
	w.get(sam.token, f.look("leads")).codes(t, "after the denial", 403, engine.CodeAccessEnded)
}

// TestAccessInReadOnly: decisions and reads go on while the workspace takes no writes.
func TestAccessInReadOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	owner, sam := ws.key(engine.Production, engine.RoleOwner), w.staff("Sam")
	ws.readOnly(engine.ReadOnlyPastDue)
	w.post(owner, "/api/lists", obj{"name": "x"}).codes(t, "a write", 402, "READ_ONLY")
	first, second := sam.asks(t, f, nil), sam.asks(t, f, nil)
	w.post(owner, "/api/staff-access/requests/"+first+"/approve", nil).is(t, "approving", 200)
	w.post(owner, "/api/staff-access/requests/"+second+"/deny", nil).is(t, "denying", 200)
	w.get(sam.token, f.look("messages")).is(t, "reading", 200)
	w.do(request{method: put, path: "/api/staff-access/policy", key: owner, body: obj{"mode": "approval"}}).is(t, "the policy", 200)
	made := w.post(owner, "/api/staff-access/agreements", obj{"type": "support", "reference": "S-1"}).is(t, "an agreement", 201)
	w.do(request{method: remove, path: "/api/staff-access/agreements/" + made.str("id"), key: owner}).is(t, "ending it", 200)
	w.post(owner, "/api/staff-access/requests/"+first+"/revoke", nil).is(t, "revoking", 200)
	w.get(sam.token, f.look("messages")).codes(t, "reading after that", 403, engine.CodeAccessEnded)
}
