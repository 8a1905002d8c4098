package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tuco/engine"
)

// credential is one way to come without a right to.
type credential struct {
	name          string
	authorization string
	challenge     string
	code          string
}

const (
	bareChallenge  = `Bearer realm="tuco"`
	tokenChallenge = `Bearer realm="tuco", error="invalid_token"`
)

func TestNoRouteAnswersWithoutAGoodCredential(t *testing.T) {
	t.Parallel()
	clock := time.Now()
	w := newWorld(t, func(o *engine.Options, _ *Options) { o.Now = func() time.Time { return clock } })
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	who := ws.in(engine.Production)
	admin := func(name string) engine.NewKey { return engine.NewKey{Name: name, Role: engine.RoleAdmin} }

	good := ws.key(engine.Production, engine.RoleOwner)
	short := admin("expired")
	short.Expires = clock.Add(time.Minute)
	_, expired := ws.makeKey(engine.Production, short)
	k, disabled := ws.makeKey(engine.Production, admin("disabled"))
	yes := true
	must[engine.Key](t)(w.eng.SetKey(who, k.ID.String(), engine.KeyChange{Disabled: &yes}))
	k, revoked := ws.makeKey(engine.Production, admin("revoked"))
	if err := w.eng.RevokeKey(who, k.ID.String()); err != nil {
		t.Fatal(err)
	}
	k, rotated := ws.makeKey(engine.Production, admin("rotated out"))
	if _, _, err := w.eng.RotateKey(who, k.ID.String(), 0); err != nil {
		t.Fatal(err)
	}
	gone := w.workspace("Gone")
	_, deleted := gone.makeKey(engine.Production, admin("of a deleted workspace"))
	if err := w.eng.Admin().DeleteWorkspace(gone.id); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(2 * time.Minute)

	list := []credential{
		{"none", "", bareChallenge, ""},
		{"another scheme", "Basic dHVjbzp0dWNv", bareChallenge, ""},
		{"no secret", "Bearer ", bareChallenge, ""},
		{"no scheme", good, bareChallenge, ""},
		{"two secrets", "Bearer " + good + " " + good, bareChallenge, ""},
		{"a list of secrets", "Bearer " + good + "," + good, bareChallenge, ""},
		{"8 KiB", "Bearer tuco_" + strings.Repeat("a", 8<<10), bareChallenge, ""},
		{"no key of ours", "Bearer sk_live_1234567890", tokenChallenge, ""},
		{"unknown", "Bearer tuco_sk_prod_" + strings.Repeat("x", 49), tokenChallenge, ""},
		{"a good one with a letter changed", "Bearer " + good[:len(good)-1] + "!", tokenChallenge, ""},
		{"upper case", "Bearer " + strings.ToUpper(good), tokenChallenge, ""},
		{"expired", "Bearer " + expired, tokenChallenge, ""},
		{"disabled", "Bearer " + disabled, tokenChallenge, ""},
		{"revoked", "Bearer " + revoked, tokenChallenge, ""},
		{"rotated out", "Bearer " + rotated, tokenChallenge, ""},
		{"of a deleted workspace", "Bearer " + deleted, tokenChallenge, ""},
		{"staff", "Bearer tuco_st_" + strings.Repeat("x", 49), tokenChallenge, engine.CodeTokenNotAccepted},
		{"auditor", "Bearer tuco_au_" + strings.Repeat("x", 49), tokenChallenge, engine.CodeTokenNotAccepted},
		{"staff of this server", "Bearer " + w.staff("Sam").token, tokenChallenge, engine.CodeTokenNotAccepted},
		{"auditor of this server", "Bearer " + w.auditor("Ada"), tokenChallenge, engine.CodeTokenNotAccepted},
	}
	for _, r := range w.srv.routes {
		if r.scope == "" {
			continue
		}
		req, _ := f.valid(r.id)
		for _, c := range list {
			req.header = map[string]string{"Authorization": c.authorization}
			a := w.do(req).fails(t, r.id+" with "+c.name, 401, "Unauthorized")
			if got := a.header.Get("WWW-Authenticate"); got != c.challenge || a.str("code") != c.code {
				t.Errorf("%s with %s: challenge %s, code %q; want %s, %q", r.id, c.name, got, a.str("code"), c.challenge, c.code)
			}
		}
		// The scheme is read in any case.
		req, status := f.valid(r.id)
		req.header = map[string]string{"Authorization": "bEARER " + good}
		w.do(req).is(t, r.id+" with a good credential", status)
	}
	w.do(request{method: get, path: "/api/usage?key=" + good}).codes(t, "a key in the query", 400, "")
	if s := w.logged.String(); strings.Contains(s, good[13:]) {
		t.Error("a secret is in the log")
	}
}

// scopesOf are the roles in the words of the design: what each may do here.
var mayWrite = map[engine.Role][]string{
	engine.RoleViewer: {},
	engine.RoleMember: {"leads:write", "lists:write", "messages:write"},
	engine.RoleAdmin:  {"leads:write", "lists:write", "messages:write", "lines:write", "keys:manage"},
	engine.RoleOwner:  {"leads:write", "lists:write", "messages:write", "lines:write", "keys:manage", "access:approve"},
}

func TestRolesAndScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Staging)
	check := func(who string, key string, r *route, may bool) {
		t.Helper()
		req, status := f.valid(r.id)
		req.key = key
		a := w.do(req)
		if may {
			a.is(t, r.id+" as "+who, status)
			return
		}
		a.codes(t, r.id+" as "+who, 403, engine.CodeInsufficientScope)
		want := `Bearer realm="tuco", error="insufficient_scope", scope="` + string(r.scope) + `"`
		if got := a.header.Get("WWW-Authenticate"); got != want || a.str("scope") != string(r.scope) {
			t.Errorf("%s as %s: %s, scope %q; want %s", r.id, who, got, a.str("scope"), want)
		}
	}
	for role, writes := range mayWrite {
		key := ws.key(engine.Staging, role)
		for _, r := range w.srv.routes {
			if r.scope != "" {
				check(string(role), key, r, strings.HasSuffix(string(r.scope), ":read") || slices.Contains(writes, string(r.scope)))
			}
		}
	}
	for _, only := range []engine.Scope{engine.LeadsRead, engine.MessagesWrite, engine.KeysManage} {
		_, key := ws.makeKey(engine.Staging, engine.NewKey{Name: "one scope", Scopes: []engine.Scope{only}})
		for _, r := range w.srv.routes {
			if r.scope == "" || only == engine.KeysManage && r.scope == only { // a key can't change a mightier one
				continue
			}
			check(string(only), key, r, r.scope == only)
		}
	}
}

func TestAKeyGivesNoMoreThanItHas(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	owner, admin := ws.key(engine.Production, engine.RoleOwner), ws.key(engine.Production, engine.RoleAdmin)
	w.post(admin, "/api/keys", obj{"name": "x", "role": "owner"}).codes(t, "an admin makes an owner", 403, engine.CodeInsufficientScope)
	w.post(admin, "/api/keys", obj{"name": "x", "scopes": []string{"access:approve"}}).codes(t, "an admin makes an approver", 403, engine.CodeInsufficientScope)
	w.post(admin, "/api/keys", obj{"name": "x", "scopes": []string{}}).fails(t, "no scopes", 400, "Give a role or at least one scope")
	made := w.post(owner, "/api/keys", obj{"name": "x", "role": "owner"}).is(t, "an owner makes an owner", 201)
	path := "/api/keys/" + made.str("id")
	for name, body := range map[string]obj{"disable": {"isDisabled": true}, "rename": {"name": "y"}, "weaken": {"role": "viewer"}} {
		w.do(request{method: patch, path: path, key: admin, body: body}).codes(t, "an admin may not "+name+" an owner's key", 403, engine.CodeInsufficientScope)
	}
	w.post(admin, path+"/rotate", nil).codes(t, "nor rotate it", 403, engine.CodeInsufficientScope)
	w.do(request{method: remove, path: path, key: admin}).codes(t, "nor revoke it", 403, engine.CodeInsufficientScope)
	for _, body := range []obj{{"scopes": []string{}}, {"role": ""}, {"role": "", "scopes": []string{}}} {
		w.do(request{method: patch, path: path, key: owner, body: body}).fails(t, "an empty change of rights", 400, "Give a role or at least one scope")
	}
	if got := w.get(owner, "/api/keys").text; !strings.Contains(got, `"access:approve"`) {
		t.Error("the owner's keys lost a scope")
	}
}

func TestAddressAllowList(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	_, elsewhere := ws.makeKey(engine.Production, engine.NewKey{Name: "elsewhere", Role: engine.RoleViewer, Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	_, here := ws.makeKey(engine.Production, engine.NewKey{Name: "here", Role: engine.RoleOwner, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	for _, r := range w.srv.routes {
		if r.scope == "" {
			continue
		}
		req, status := f.valid(r.id)
		req.key, req.header = elsewhere, map[string]string{"X-Forwarded-For": "192.0.2.1", "X-Real-Ip": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
		w.do(req).codes(t, r.id+" from an address that isn't allowed", 403, engine.CodeAddressNotAllowed)
		req.key = here
		switch r.id {
		case "setKey", "revokeKey", "rotateKey": // the fixture's key is bound to no network
			w.do(req).codes(t, r.id+" on a wider key", 403, engine.CodeWiderKey)
		default:
			w.do(req).is(t, r.id+" from an address that is", status)
		}
	}
}

func TestPeersAddress(t *testing.T) {
	for _, tt := range []struct {
		peer net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.IP{192, 0, 2, 1}, Port: 1}, "192.0.2.1"},
		{&net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 1}, "192.0.2.1"}, // in 16 bytes, as a listener for both families gives it
		{&net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 1}, "2001:db8::1"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 1}, "fe80::1%eth0"},
		{&net.TCPAddr{Port: 1}, "invalid IP"},
		{&net.UnixAddr{Name: "/x", Net: "unix"}, "invalid IP"},
		{nil, "invalid IP"},
	} {
		if got := ipOf(tt.peer).String(); got != tt.want {
			t.Errorf("ipOf(%v) = %s, want %s", tt.peer, got, tt.want)
		}
	}
}

// TestForeignIDs proves that an id of another workspace or environment answers the same whether its
// record exists, existed or never did.
func TestForeignIDs(t *testing.T) {
	w := newWorld(t)
	a, b := w.workspace("A"), w.workspace("B")
	own, sibling, foreign := a.fixture(engine.Production), a.fixture(engine.Staging), b.fixture(engine.Production)
	deleted := b.fixture(engine.Production)
	b.deleteAll(deleted)
	gone := w.workspace("Gone")
	buried := gone.fixture(engine.Development)
	if err := w.eng.Admin().DeleteWorkspace(gone.id); err != nil {
		t.Fatal(err)
	}
	key := a.key(engine.Production, engine.RoleAdmin)
	ask := func(u idUse, id string) answer {
		r := u.with(id)
		r.key, r.header = key, map[string]string{"X-Request-Id": "same", "X-Correlation-Id": "same"}
		return w.do(r)
	}
	for _, u := range idUses() {
		refused := ask(u, u.own(foreign)).codes(t, u.name+": a foreign id", 403, engine.CodeWrongWorkspace)
		refused.header.Del("Date")
		for name, id := range map[string]string{
			"deleted":                  u.own(deleted),
			"never made":               neverMade(u.own(foreign)),
			"of another environment":   u.own(sibling),
			"of a deleted workspace":   u.own(buried),
			"in upper case":            strings.ToUpper(u.own(foreign)),
			"of another kind":          foreign.message,
			"of another kind, deleted": deleted.lead,
		} {
			got := ask(u, id)
			got.header.Del("Date")
			if got.status != refused.status || got.text != refused.text || !sameHeader(got.header, refused.header) {
				t.Errorf("%s, %s: %d %s %v\nwant the same as for one that exists: %d %s %v", u.name, name, got.status, got.text, got.header, refused.status, refused.text, refused.header)
			}
		}
		if u.unknown == "" { // cancelling for nobody cancels nothing
			ask(u, neverMade(u.own(own))).is(t, u.name+": unknown", 200)
			ask(u, nobodys(u.own(own))).is(t, u.name+": nobody's", 200)
		} else {
			ask(u, neverMade(u.own(own))).fails(t, u.name+": unknown", 404, u.unknown)
			ask(u, nobodys(u.own(own))).fails(t, u.name+": nobody's", 404, u.unknown)
		}
		for _, bad := range []string{"nope", u.own(own)[:23], u.own(own) + "0", u.own(own)[:23] + "g", "%EF%BC%91" + u.own(own)[1:]} {
			if u.in == "body" {
				bad = strings.ReplaceAll(bad, "%EF%BC%91", "１")
			}
			ask(u, bad).fails(t, u.name+": malformed "+bad, u.status, u.malformed)
		}
	}
	// Whose id it is comes before what the request is worth.
	w.do(request{method: put, path: "/api/leads/" + foreign.lead, key: key, body: "{"}).codes(t, "a foreign id and no JSON", 403, engine.CodeWrongWorkspace)
	w.get(key, "/api/messages?limit=0&leadId="+foreign.lead).codes(t, "a foreign id and a bad limit", 403, engine.CodeWrongWorkspace)
	w.get(key, "/api/messages?leadId="+own.lead+"&leadId="+foreign.lead).codes(t, "a foreign id hidden behind an own one", 403, engine.CodeWrongWorkspace)
	w.get(key, "/api/messages?leadId="+foreign.lead+"&leadId="+own.lead).codes(t, "a foreign id before an own one", 403, engine.CodeWrongWorkspace)
	w.get(key, "/api/messages?cursor="+foreign.message).codes(t, "a foreign cursor", 403, engine.CodeWrongWorkspace)
	w.do(request{method: remove, path: "/api/leads", key: key, body: obj{"ids": []string{foreign.lead, deleted.lead, sibling.lead, nobodys(own.lead), own.lead}}}).is(t, "bulk delete", 200)
	if n := w.get(b.key(engine.Production, engine.RoleViewer), "/api/leads?id="+foreign.lead); n.status != 200 {
		t.Errorf("a foreign lead was deleted: %d %s", n.status, n.text)
	}
}

func sameHeader(a, b http.Header) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

// deleteAll deletes what a fixture made, as far as it can be.
func (ws workspace) deleteAll(f fixture) {
	ws.w.t.Helper()
	who := ws.in(f.env)
	must[int](ws.w.t)(ws.w.eng.DeleteLeads(who, []string{f.lead}))
	for _, err := range []error{ws.w.eng.DeleteList(who, f.list), ws.w.eng.DeleteLine(who, f.line), ws.w.eng.RevokeKey(who, f.key)} {
		if err != nil {
			ws.w.t.Fatal(err)
		}
	}
}

// TestOrderOfRefusals walks design.md section 6 for every route that writes.
func TestOrderOfRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.workspace("A"), w.workspace("B")
	f, foreign := a.fixture(engine.Production), b.fixture(engine.Production)
	admin, viewer := a.key(engine.Production, engine.RoleOwner), a.key(engine.Production, engine.RoleViewer)
	valid := map[string]request{}
	for _, r := range w.srv.routes {
		if r.scope != "" {
			valid[r.id], _ = f.valid(r.id)
		}
	}
	a.readOnly(engine.ReadOnlyPastDue)
	for _, r := range w.srv.routes {
		if r.scope == "" {
			continue
		}
		req := valid[r.id]
		ask := func(key string, body any, header map[string]string) answer {
			req := req
			req.key, req.header = key, header
			if body != nil {
				req.body = body
			}
			return w.do(req)
		}
		if !r.write {
			if status := ask(admin, nil, nil).status; status >= 300 && r.id != "setKey" {
				t.Errorf("%s in READ_ONLY: %d", r.id, status)
			}
			continue
		}
		ask("", nil, nil).fails(t, r.id+": 401 before 402", 401, "Unauthorized")
		ask(viewer, nil, nil).codes(t, r.id+": scope before 402", 403, engine.CodeInsufficientScope)
		for name, query := range map[string]string{"a foreign workspace": "workspaceId=" + string(b.id), "a foreign id": "x=" + foreign.lead} {
			req := req
			req.key, req.path = admin, req.path+"?"+query
			w.do(req).codes(t, r.id+": "+name+" in the query before 402", 403, engine.CodeWrongWorkspace)
		}
		denied := ask(admin, nil, nil).codes(t, r.id+" in READ_ONLY", 402, "READ_ONLY").fails(t, r.id, 402, "READ_ONLY")
		if denied.str("reason") != "past_due" || denied.header.Get("Link") != `</api/workspace>; rel="help"` {
			t.Errorf("%s: reason %q, Link %q", r.id, denied.str("reason"), denied.header.Get("Link"))
		}
		if req.body == nil {
			continue
		}
		ask(admin, obj{"workspaceId": b.id}, nil).codes(t, r.id+": a foreign workspace in the body before 402", 403, engine.CodeWrongWorkspace)
		ask(admin, obj{"name": []int{1}, "workspaceId": b.id, "message": 5, "ids": 5, "leads": 5, "firstName": 5, "channel": 5, "leadId": 5}, nil).
			codes(t, r.id+": also in a body that is wrong otherwise", 403, engine.CodeWrongWorkspace)
		ask(admin, "{", nil).codes(t, r.id+": 402 before 400", 402, "READ_ONLY")
		ask(admin, "{}", map[string]string{"Content-Type": "text/plain"}).codes(t, r.id+": 402 before 415", 402, "READ_ONLY")
		ask(admin, strings.Repeat(" ", bodyBytes+1), nil).codes(t, r.id+": 402 before 413", 402, "READ_ONLY")
	}
	for _, u := range idUses() {
		r := u.with(u.own(foreign))
		r.key = admin
		switch got := w.do(r); {
		case u.in == "body":
			got.codes(t, u.name+": 402 before a foreign id in the body", 402, "READ_ONLY")
		default:
			got.codes(t, u.name+": a foreign id before 402", 403, engine.CodeWrongWorkspace)
		}
	}
	// What takes rights away works in READ_ONLY, what gives them doesn't.
	key := "/api/keys/" + f.key
	w.do(request{method: patch, path: key, key: admin, body: obj{"isDisabled": true}}).is(t, "disabling in READ_ONLY", 200)
	w.do(request{method: patch, path: key, key: admin, body: obj{"isDisabled": false}}).codes(t, "enabling", 402, "READ_ONLY")
	w.do(request{method: patch, path: key, key: admin, body: obj{"isDisabled": true, "role": "admin"}}).codes(t, "disabling and more", 402, "READ_ONLY")
	w.post(admin, key+"/rotate", nil).is(t, "rotating", 200)
	w.do(request{method: remove, path: key, key: admin}).is(t, "revoking", 200)
	state := w.get(admin, "/api/workspace").is(t, "the workspace", 200)
	if state.str("state") != "read_only" || state.str("message") != "Tuco workspace is in read-only mode; please resolve billing in Tuco." {
		t.Errorf("the workspace says %s", state.text)
	}
}

func TestBrowsersAreRefusedWithAnExplanation(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	key := ws.key(engine.Production, engine.RoleOwner)
	for _, r := range w.srv.routes {
		if r.scope == "" {
			continue
		}
		for _, header := range []map[string]string{{"Origin": "https://shop.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-origin"}} {
			req, _ := f.valid(r.id)
			req.key, req.header = key, header
			if a := w.do(req).codes(t, r.id, 403, codeBrowser); !strings.Contains(a.str("error"), "belong on servers") {
				t.Errorf("%s: no explanation in %s", r.id, a.text)
			}
		}
	}
	a := w.do(request{method: http.MethodOptions, path: "/api/messages", header: map[string]string{"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}})
	if a.status != 405 || a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("preflight: %d %v", a.status, a.header)
	}
	w.do(request{method: get, path: "/api/usage", key: key, header: map[string]string{"Sec-Fetch-Site": "none"}}).is(t, "no page made this request", 200)
}
