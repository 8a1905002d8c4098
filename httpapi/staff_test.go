package httpapi

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tuco/engine"
)

// staffMember is one of staff.
type staffMember struct {
	w     *world
	id    engine.StaffID
	token string
}

func (w *world) staff(name string) staffMember {
	w.t.Helper()
	s, token, err := w.eng.Admin().AddStaff(engine.NewStaff{
		Name: name, Email: strings.ToLower(name) + "@vendor.example", Employer: "Vendor GmbH", Country: "DE", Role: "support",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return staffMember{w, s.ID, token}
}

func (w *world) auditor(name string) (token string) {
	w.t.Helper()
	_, token, err := w.eng.Admin().AddAuditor(engine.NewAuditor{Name: name, Email: strings.ToLower(name) + "@audit.example"})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// ask is a request for access with what change changes.
func (f fixture) ask(change obj) obj {
	body := obj{
		"workspaceId": f.ws.id, "environment": f.env, "scopes": []string{"leads:read", "messages:read", "lists:read", "lines:read", "usage:read", "workspace:read"},
		"reasonType": "customer_initiated_support", "reason": "a delivery that is late", "ticket": "T-1", "duration": "1h",
	}
	for name, value := range change {
		if body[name] = value; value == nil {
			delete(body, name)
		}
	}
	return body
}

// asks asks for access and returns the request's id.
func (s staffMember) asks(t testing.TB, f fixture, change obj) string {
	t.Helper()
	a := s.w.post(s.token, "/staff/access-requests", f.ask(change))
	if a.status != 201 {
		t.Fatalf("asking for access: %d %s", a.status, a.text)
	}
	return a.str("id")
}

// look is where staff look into the fixture's environment.
func (f fixture) look(path string) string {
	join := "?"
	if strings.Contains(path, "?") {
		join = "&"
	}
	return "/staff/workspaces/" + string(f.ws.id) + "/" + path + join + "environment=" + string(f.env)
}

// newAccess asks for access by way of the engine.
func (f fixture) newAccess() string {
	w := f.ws.w
	who := must[engine.StaffCaller](w.t)(w.eng.AuthenticateStaff(w.staff("Sam").token, ipOf(nil)))
	r := must[engine.AccessRequest](w.t)(w.eng.RequestAccess(who, engine.NewAccess{
		Workspace: f.ws.id, Environment: f.env, Scopes: []engine.Scope{engine.LeadsRead}, ReasonType: "service", Reason: "x", Ticket: "T-1", Duration: time.Hour,
	}))
	return string(r.ID)
}

// newGrant is one that the workspace's owner gave.
func (f fixture) newGrant() string {
	w, id := f.ws.w, f.newAccess()
	who := must[engine.Caller](w.t)(w.eng.Authenticate(f.ws.key(f.env, engine.RoleOwner), netip.MustParseAddr("127.0.0.1")))
	must[engine.AccessRequest](w.t)(w.eng.ApproveAccess(who, id))
	return id
}

func (f fixture) newAgreement() string {
	a := must[engine.Agreement](f.ws.w.t)(f.ws.w.eng.Admin().AddAgreement(f.ws.id, engine.Agreement{Type: engine.SupportAgreement, Reference: "S-1"}))
	return string(a.ID)
}

// newWebhook sets one, unless it is set.
func (f fixture) newWebhook() {
	w := f.ws.w
	who := must[engine.Caller](w.t)(w.eng.Authenticate(f.ws.key(f.env, engine.RoleOwner), netip.MustParseAddr("127.0.0.1")))
	if _, _, err := w.eng.SetWebhook(who, "https://hooks.example/tuco"); err != nil {
		w.t.Fatal(err)
	}
}

// TestTheStoryOfAGrant: nothing is shown before the customer says yes, only what was granted after that, and nothing
// once it is revoked.
func TestTheStoryOfAGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.marked(engine.Production)
	owner, sam := ws.key(engine.Production, engine.RoleOwner), w.staff("Sam")
	w.get(sam.token, f.look("leads")).codes(t, "before anything was asked for", 403, engine.CodeAccessRequired)

	asked := w.post(sam.token, "/staff/access-requests", f.ask(nil)).is(t, "asking", 201)
	asked.golden(t, "access-request")
	id := asked.str("id")
	if asked.str("status") != "pending" || asked.str("expiresAt") == "" {
		t.Errorf("asked: %s", asked.text)
	}
	w.get(sam.token, f.look("leads")).codes(t, "before it was approved", 403, engine.CodeAccessPending)

	path := "/api/staff-access/requests/" + id
	shown := w.get(owner, path).is(t, "the customer looks at it", 200)
	shown.golden(t, "access-request-opens")
	if list, _ := w.get(owner, "/api/staff-access/requests?status=pending").at("requests").([]any); len(list) != 1 {
		t.Errorf("%d requests wait", len(list))
	}
	if got := w.post(owner, path+"/approve", nil).is(t, "approving", 200); got.str("status") != "approved" || got.str("endsAt") == "" {
		t.Errorf("approved: %s", got.text)
	}
	w.post(owner, path+"/approve", nil).codes(t, "approving again", 409, engine.CodeAlreadyDecided)
	if got := w.get(sam.token, "/staff/access-requests/"+id).str("status"); got != "approved" {
		t.Errorf("staff see that it is %s", got)
	}

	for _, v := range f.views() {
		a := w.get(sam.token, f.look(v.path)).is(t, v.path, 200)
		if strings.Contains(a.text, marker) || strings.Contains(strings.ToLower(a.text), strings.ToLower(marker)) {
			t.Errorf("%s shows what is masked: %s", v.path, a.text)
		}
		if !strings.Contains(a.text, v.shows) || a.str("accessId") != id || a.num("auditEntry") == 0 {
			t.Errorf("%s: %s, want %s in it", v.path, a.text, v.shows)
		}
		a.golden(t, "staff-"+v.name)
	}

	// A field is shown only by a grant that names it.
	more := sam.asks(t, f, obj{"unmasked": []string{"messages.message"}, "scopes": []string{"messages:read"}})
	w.post(owner, "/api/staff-access/requests/"+more+"/approve", obj{}).is(t, "a second grant", 200)
	a := w.get(sam.token, f.look("messages/"+f.message)).is(t, "unmasked", 200)
	if got := a.str("message", "message"); !strings.Contains(got, marker) {
		t.Errorf("the field that was granted is %q", got)
	}
	if got := a.str("message", "to"); got != engine.Mask {
		t.Errorf("a field that was not granted is %q", got)
	}
	if strings.Contains(w.get(sam.token, f.look("leads")).is(t, "leads, by the other grant", 200).text, marker) {
		t.Error("a field of one kind was unmasked in another")
	}

	// Revoked is revoked on the next request.
	w.post(owner, "/api/staff-access/requests/"+more+"/revoke", nil).is(t, "revoking", 200)
	if got := w.get(sam.token, f.look("messages/"+f.message)).str("message", "message"); got != engine.Mask {
		t.Errorf("after the revocation: %q", got)
	}
	w.post(owner, path+"/revoke", nil).is(t, "revoking the first", 200)
	for _, v := range f.views() {
		w.get(sam.token, f.look(v.path)).codes(t, v.path+" after the revocation", 403, engine.CodeAccessEnded)
	}
	w.post(owner, path+"/revoke", nil).codes(t, "revoking again", 409, engine.CodeAlreadyDecided)
	if got := w.get(owner, path).str("status"); got != "revoked" {
		t.Errorf("the request is %q in the end", got)
	}
}

const marker = "Zyxmarker"

// marked is a fixture in which everything that somebody wrote carries the marker.
func (ws workspace) marked(env engine.Environment) fixture {
	ws.w.t.Helper()
	w, who, f := ws.w, ws.in(env), fixture{ws: ws, env: env}
	line := ws.line(env, "+12025550199", 0)
	name := marker
	must[engine.Line](w.t)(w.eng.SetLine(who, line.ID.String(), engine.LineChange{FirstName: &name, LastName: &name}))
	must[engine.Workspace](w.t)(w.eng.Admin().SetWorkspace(ws.id, engine.WorkspaceChange{Name: &name}))
	f.line = line.ID.String()
	f.list = must[engine.ListResult](w.t)(w.eng.CreateList(who, nil, "List "+marker, marker)).ID.String()
	k, _ := ws.makeKey(env, engine.NewKey{Name: "key " + marker, Role: engine.RoleViewer})
	_, secret := ws.makeKey(env, engine.NewKey{Name: "filler " + marker, Role: engine.RoleAdmin})
	f.key = k.ID.String()
	made := w.post(secret, "/api/leads", obj{"listId": f.list, "leads": []obj{{
		"firstName": marker, "lastName": marker, "email": marker + "@example.com", "phone": "+12025550171", "altPhone1": "+12025550172", "altEmail1": "alt" + marker + "@example.com",
		"companyName": marker, "jobTitle": marker, "notes": marker, "linkedinUrl": "https://example.com/" + marker, "customFields": obj{marker: marker},
		"externalId": marker, "hsContactId": marker, "hsPortalId": marker, "ghlContactId": marker, "ghlLocationId": marker, "contactOwnerEmail": "o" + marker + "@example.com",
	}}})
	f.lead = made.str("leadIds", "0")
	sent := w.post(secret, "/api/messages", obj{"message": "text " + marker, "leadId": f.lead, "batchId": marker, "correlationId": marker, "recipientName": marker,
		"attachmentUrls": []string{"https://example.com/" + marker}, "attachmentNames": []string{marker}})
	if f.message = sent.str("message", "_id"); f.message == "" || f.lead == "" {
		w.t.Fatalf("filling: %s %s", made.text, sent.text)
	}
	return f
}

// view is a way in which staff look.
type view struct{ name, path, shows string }

// views are all the routes by which staff look.
func (f fixture) views() []view {
	return []view{
		{"workspace", "workspace", string(f.ws.id)},
		{"usage", "usage", "messages_per_day"},
		{"keys", "keys", f.key},
		{"leads", "leads", f.lead},
		{"lead", "leads/" + f.lead, f.list},
		{"lists", "lists", f.list},
		{"list", "lists/" + f.list, f.list},
		{"lines", "lines", f.line},
		{"line", "lines/" + f.line, f.line},
		{"messages", "messages", f.message},
		{"message", "messages/" + f.message, f.lead},
	}
}

// TestEveryKindHasItsStaffRoutes: also one that comes later.
func TestEveryKindHasItsStaffRoutes(t *testing.T) {
	w := newWorld(t)
	f := fixture{ws: workspace{w, "org_x"}}
	var routed, viewed []string
	kinds := map[engine.RecordKind]bool{}
	for _, r := range w.srv.routes {
		v, ok := r.answers[http.StatusOK].(staffView)
		if ok != strings.HasPrefix(r.path, "/staff/workspaces/") || ok && r.method != get {
			t.Errorf("%s %s", r.method, r.path)
		}
		if ok {
			kinds[v.kind] = true
			routed = append(routed, strings.Replace(strings.TrimPrefix(r.path, "/staff/workspaces/{id}/"), "{record}", "", 1))
		}
	}
	for _, v := range f.views() {
		viewed = append(viewed, v.path)
	}
	slices.Sort(routed)
	slices.Sort(viewed)
	if !slices.Equal(routed, viewed) {
		t.Errorf("routes %v, tested %v", routed, viewed)
	}
	for _, k := range engine.RecordKinds {
		if !kinds[k] {
			t.Errorf("%s has no staff route", k)
		}
	}
}

// TestRealms: no credential is taken where another is asked for, whatever is asked.
func TestRealms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	owner := ws.key(engine.Production, engine.RoleOwner)
	sam, ada := w.staff("Sam"), w.auditor("Ada")
	of := map[realm]string{workspaceKey: owner, staffToken: sam.token, auditorToken: ada}
	ids := strings.NewReplacer("{id}", "6b03d08e97cd740000000002", "{record}", "6b03d08e97cd740000000002")
	for _, r := range w.srv.routes {
		if prefix, _, _ := strings.Cut(r.path[1:], "/"); r.realm != or(map[string]realm{"api": workspaceKey, "staff": staffToken, "audit": auditorToken}[prefix], anybody) {
			t.Errorf("%s is in realm %d", r.path, r.realm)
		}
		if r.realm == anybody {
			continue
		}
		for realm, token := range of {
			a := w.do(request{method: r.method, path: ids.Replace(r.path), key: token})
			if refused := a.status == 401; refused != (realm != r.realm) || refused && a.str("code") != engine.CodeTokenNotAccepted {
				t.Errorf("%s with a credential of realm %d: %d %s", r.id, realm, a.status, a.text)
			}
		}
		w.do(request{method: r.method, path: ids.Replace(r.path)}).fails(t, r.id+" without", 401, "Unauthorized")
		for _, unknown := range []string{sam.token[:len(sam.token)-1] + "!", "tuco_st_" + strings.Repeat("x", 49), "tuco_au_" + strings.Repeat("x", 49)} {
			w.do(request{method: r.method, path: ids.Replace(r.path), key: unknown}).fails(t, r.id+" with an unknown one", 401, "Unauthorized")
		}
		w.do(request{method: r.method, path: ids.Replace(r.path), key: of[r.realm], header: map[string]string{"Origin": "https://shop.example"}}).
			codes(t, r.id+" from a page", 403, codeBrowser)
	}
	if _, err := w.eng.Admin().DisableStaff(sam.id); err != nil {
		t.Fatal(err)
	}
	w.get(sam.token, "/staff/access-requests").fails(t, "disabled", 401, "Unauthorized")
	for _, secret := range of {
		if strings.Contains(w.logged.String(), secret[13:]) {
			t.Error("a secret is in the log")
		}
	}
}

// TestBadRequestsOfStaff: what is wrong is said, with a status of its own.
func TestBadRequestsOfStaff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	sam := w.staff("Sam")
	rows := []struct {
		name   string
		change obj
		status int
		says   string
	}{
		{"no workspace", obj{"workspaceId": nil}, 400, "workspaceId"},
		{"an unknown workspace", obj{"workspaceId": "org_6b03d08e97cd740000000002"}, 404, "workspace"},
		{"no environment", obj{"environment": nil}, 400, "nvironment"},
		{"an unknown environment", obj{"environment": "prod"}, 400, "nvironment"},
		{"no scopes", obj{"scopes": nil}, 400, "scopes"},
		{"an empty list of scopes", obj{"scopes": []string{}}, 400, "scopes"},
		{"an unknown scope", obj{"scopes": []string{"all"}}, 400, "scope"},
		{"a scope that writes", obj{"scopes": []string{"leads:write"}}, 400, "leads:write"},
		{"to approve", obj{"scopes": []string{"access:approve"}}, 400, "access:approve"},
		{"no type of reason", obj{"reasonType": nil}, 400, "reasonType"},
		{"an unknown type of reason", obj{"reasonType": "curiosity"}, 400, "reasonType"},
		{"no reason", obj{"reason": nil}, 400, "reason"},
		{"an empty reason", obj{"reason": " "}, 400, "reason"},
		{"a long reason", obj{"reason": strings.Repeat("x", 2001)}, 400, "reason"},
		{"no ticket", obj{"ticket": nil}, 400, "ticket"},
		{"a ticket of prose", obj{"ticket": "call Ana"}, 400, "ticket"},
		{"no duration", obj{"duration": nil}, 400, "duration"},
		{"a malformed duration", obj{"duration": "an hour"}, 400, "duration"},
		{"a duration as a number", obj{"duration": 3600}, 400, "duration"},
		{"a negative duration", obj{"duration": "-1h"}, 400, "duration"},
		{"a year", obj{"duration": "8760h"}, 400, "duration"},
		{"a duration that overflows", obj{"duration": "99999999999h"}, 400, "duration"},
		{"a malformed start", obj{"startAt": "tomorrow"}, 400, "startAt"},
		{"a start in a year", obj{"startAt": time.Now().AddDate(1, 0, 0).Format(time.RFC3339)}, 400, "startAt"},
		{"an unknown field", obj{"unmasked": []string{"soul"}}, 400, "soul"},
		{"a field that is always hidden", obj{"unmasked": []string{"Secrets"}}, 400, "Secrets"},
		{"fields as a text", obj{"unmasked": "phone"}, 400, "unmasked"},
	}
	for _, r := range rows {
		a := w.post(sam.token, "/staff/access-requests", f.ask(r.change))
		if a.status != r.status || !strings.Contains(a.str("error"), r.says) {
			t.Errorf("%s: %d %s, want %d with %q", r.name, a.status, a.text, r.status, r.says)
		}
	}
	w.rows(t, sam.token, post, "/staff/access-requests", []row{
		{"no JSON", "{", 400, "Invalid request body (JSON required)"},
		{"nothing", "", 400, "Invalid request body (JSON required)"},
		{"a list", "[]", 400, "Request body must be a JSON object"},
	})
	if list, _ := w.get(sam.token, "/staff/access-requests").at("requests").([]any); len(list) != 0 {
		t.Errorf("%d requests were stored", len(list))
	}
	unknown := sam.asks(t, f, obj{"somethingUnknown": 1}) // is ignored
	w.post(sam.token, "/staff/access-requests/"+unknown+"/withdraw", nil).is(t, "withdrawing", 200)

	owner := ws.key(engine.Production, engine.RoleOwner)
	id := sam.asks(t, f, obj{"unmasked": []string{"batchId"}})
	w.post(owner, "/api/staff-access/requests/"+id+"/approve", nil).is(t, "approving", 200)
	other := w.workspace("B").fixture(engine.Production)
	for _, r := range []struct {
		path   string
		status int
		code   string
	}{
		{"/staff/workspaces/" + string(ws.id) + "/leads", 400, ""},
		{"/staff/workspaces/" + string(ws.id) + "/leads?environment=prod", 400, ""},
		{"/staff/workspaces/" + string(ws.id) + "/leads?environment=staging", 403, engine.CodeAccessRequired},
		{"/staff/workspaces/" + string(other.ws.id) + "/leads?environment=production", 403, engine.CodeAccessRequired},
		{"/staff/workspaces/org_6b03d08e97cd740000000002/leads?environment=production", 403, engine.CodeAccessRequired},
		{"/staff/workspaces/x/leads?environment=production", 403, engine.CodeAccessRequired},
		{f.look("campaigns"), 404, ""},
		{f.look("leads?limit=0"), 400, ""},
		{f.look("leads?limit=1000"), 200, ""},
		{f.look("leads?cursor=x"), 400, ""},
		{f.look("leads/x"), 400, ""},
		{f.look("leads/" + neverMade(f.lead)), 404, ""},
		{f.look("leads/" + other.lead), 403, engine.CodeWrongWorkspace},
		{f.look("messages/" + other.message), 403, engine.CodeWrongWorkspace},
		{f.look("messages?status=lost"), 400, ""},
		{f.look("messages?dateFrom=soon"), 400, ""},
		{f.look("messages?dateFrom=2026-02-01&dateTo=2026-01-01"), 400, ""},
		{f.look("messages?status=pending&lineId=" + f.line), 200, ""},
		{f.look("leads?search=ana"), 403, engine.CodeFieldMasked},
		{f.look("leads?phone=12025550101"), 403, engine.CodeFieldMasked},
		{f.look("leads?sort=-lastName"), 403, engine.CodeFieldMasked},
		{f.look("leads?sortBy=created,email"), 403, engine.CodeFieldMasked},
		{f.look("leads?leads.email=x"), 403, engine.CodeFieldMasked},
		{f.look("leads?sort=created"), 400, ""},
		{f.look("messages?search=x"), 403, engine.CodeFieldMasked},
		{f.look("messages?to=x"), 403, engine.CodeFieldMasked},
		{f.look("messages?batchId=x"), 200, ""}, // it is unmasked
		{f.look("messages?type=sms"), 400, ""},
		{f.look("lists?name=x"), 403, engine.CodeFieldMasked},
		{f.look("usage?search=x"), 400, ""},
		{f.look("leads?somethingUnknown=1"), 200, ""},
		{"/staff/access-requests?status=lost", 400, ""},
		{"/staff/access-requests?cursor=x", 400, ""},
		{"/staff/access-requests?limit=x", 400, ""},
		{"/staff/access-requests/x", 404, ""},
		{"/staff/access-requests/access_6b03d08e97cd740000000002", 404, ""},
	} {
		w.get(sam.token, r.path).codes(t, r.path, r.status, r.code)
	}
	eve := w.staff("Eve")
	w.get(eve.token, "/staff/access-requests/"+id).is(t, "a request of somebody else's", 404)
	w.post(eve.token, "/staff/access-requests/"+id+"/withdraw", nil).is(t, "withdrawing it", 404)
	w.get(eve.token, f.look("leads")).codes(t, "somebody else's grant", 403, engine.CodeAccessRequired)
	w.post(sam.token, "/staff/access-requests/"+id+"/withdraw", nil).is(t, "giving the grant back", 200)
	w.post(sam.token, "/staff/access-requests/"+id+"/withdraw", nil).codes(t, "again", 409, engine.CodeAlreadyDecided)
	w.get(sam.token, f.look("leads")).codes(t, "after that", 403, engine.CodeAccessEnded)
}

// TestStaffSeeAtMostAHundred: whatever they ask for, and every page follows the one before it.
func TestStaffSeeAtMostAHundred(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	owner, sam := ws.key(engine.Production, engine.RoleOwner), w.staff("Sam")
	var leads []obj
	for i := range 230 {
		leads = append(leads, obj{"phone": person(3000 + i)})
	}
	w.post(owner, "/api/leads", obj{"leads": leads}).is(t, "leads", 201)
	id := sam.asks(t, f, nil)
	w.post(owner, "/api/staff-access/requests/"+id+"/approve", nil).is(t, "approving", 200)
	seen, cursor, pages := map[string]bool{}, "", 0
	for {
		a := w.get(sam.token, f.look("leads?limit=500&cursor="+cursor)).is(t, "a page", 200)
		var page struct {
			Leads      []struct{ ID string }
			NextCursor *string
		}
		if err := json.Unmarshal([]byte(a.text), &page); err != nil {
			t.Fatal(err)
		}
		for _, l := range page.Leads {
			seen[l.ID] = true
		}
		if pages++; len(page.Leads) > 100 {
			t.Fatalf("%d leads in one answer", len(page.Leads))
		}
		if page.NextCursor == nil {
			break
		}
		cursor = *page.NextCursor
	}
	if len(seen) != 231 || pages != 3 {
		t.Errorf("%d leads on %d pages", len(seen), pages)
	}
}

// TestNothingThatIsSentBreaksAStaffRoute: odd text in every place of every route is refused or shows nothing, and is
// never an error of the server's.
func TestNothingThatIsSentBreaksAStaffRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.marked(engine.Production)
	owner, sam, ada := ws.key(engine.Production, engine.RoleOwner), w.staff("Sam"), w.auditor("Ada")
	id := sam.asks(t, f, nil)
	w.post(owner, "/api/staff-access/requests/"+id+"/approve", nil).is(t, "approving", 200)
	odd := []string{"%ff", "%00", "%20", "%22%5C", "%e2%80%ae", "1e9", "-1", "org_", "access_", "agreement_", strings.Repeat("9", 400), strings.Repeat("a", 4000), f.lead, string(ws.id)}
	for _, r := range w.srv.routes {
		key := map[realm]string{staffToken: sam.token, auditorToken: ada, workspaceKey: owner}[r.realm]
		if key == "" || r.realm == workspaceKey && r.scope != engine.AccessApprove {
			continue
		}
		var paths []string
		for _, s := range odd {
			paths = append(paths, strings.NewReplacer("{id}", s, "{seq}", s, "{record}", f.lead).Replace(r.path)+"?environment=production")
			paths = append(paths, strings.NewReplacer("{id}", string(ws.id), "{record}", s).Replace(r.path)+"?environment=production")
			base := strings.NewReplacer("{id}", string(ws.id), "{record}", f.lead).Replace(r.path)
			for _, p := range newBinder(reflect.TypeOf(r.input)).params {
				if p.query == "environment" || p.query == "" {
					continue
				}
				paths = append(paths, base+"?environment=production&"+p.query+"="+s)
			}
			paths = append(paths, base+"?environment="+s, base+"?environment=production&sort="+s, base+"?environment=production&"+s+"="+s)
		}
		for _, path := range paths {
			a, err := w.send(request{method: r.method, path: path, key: key, body: map[bool]any{true: obj{"mode": "approval"}}[r.method != get]})
			if err != nil || a.status >= 500 || strings.Contains(a.text, marker) {
				t.Errorf("%s %s: %v %d %s", r.method, path, err, a.status, a.text)
			}
		}
	}
	for _, body := range []string{`null`, `{}`, `{"duration":null}`, `{"scopes":[null]}`, `{"scopes":[[]]}`, `{"unmasked":[""]}`, `{"workspaceId":"\u0000"}`, `{"reason":"\ud800"}`,
		`{"controls":{"hours":null}}`, `{"controls":{"employers":[""]}}`, `{"controls":{"maxDuration":"1e9h"}}`, `{"mode":"\u202e"}`, `{"note":5}`, strings.Repeat("[", 5000)} {
		for _, r := range w.srv.routes {
			key := map[realm]string{staffToken: sam.token, workspaceKey: owner}[r.realm]
			if r.method == get || key == "" || r.realm == workspaceKey && r.scope != engine.AccessApprove {
				continue
			}
			a := w.do(request{method: r.method, path: strings.Replace(r.path, "{id}", "access_6b03d08e97cd740000000002", 1), key: key, body: body})
			if a.status < 400 && r.id != "exportAccessLog" || a.status >= 500 {
				t.Errorf("%s %s %s: %d %s", r.method, r.path, body, a.status, a.text)
			}
		}
	}
}
