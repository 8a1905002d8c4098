package httpapi

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tuco/engine"
)

// row is a line of the wire contract: a request and how it is refused.
type row struct {
	name   string
	body   any
	status int
	text   string
}

func (w *world) rows(t *testing.T, key, method, path string, rows []row) {
	t.Helper()
	for _, r := range rows {
		w.do(request{method: method, path: path, key: key, body: r.body}).fails(t, r.name, r.status, r.text)
	}
}

// until asks again until found, at most 10 s.
func (w *world) until(t *testing.T, what string, ask func() answer, found func(answer) bool) answer {
	t.Helper()
	tick, end := time.NewTicker(5*time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for {
		a := ask()
		if found(a) {
			return a
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: still %d %s", what, a.status, a.text)
		}
	}
}

// TestContractConventions: tuco-api.md section 1.
func TestContractConventions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	ws.line(engine.Production, person(1), 0)
	key := ws.key(engine.Production, engine.RoleAdmin)
	hex24, stamp := regexp.MustCompile(`^[0-9a-f]{24}$`), regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)

	sent := w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(2), "somethingUnknown": true}).is(t, "an unknown field is ignored", 201)
	for _, path := range [][]string{{"message", "_id"}, {"message", "fromLineId"}, {"leadId"}} {
		if !hex24.MatchString(sent.str(path...)) {
			t.Errorf("%v is %q, want 24 hex digits", path, sent.str(path...))
		}
	}
	if !stamp.MatchString(sent.str("message", "createdAt")) || !strings.HasPrefix(sent.str("message", "workspaceId"), "org_") {
		t.Errorf("createdAt or workspaceId of %s", sent.text)
	}
	if got := sent.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}

	// Both prefixes are taken; only tuco_sk_ is issued.
	_, imported := ws.makeKey(engine.Production, engine.NewKey{Name: "old", Role: engine.RoleViewer, Secret: "tuco_0123456789abcdef"})
	w.get(imported, "/api/usage").is(t, "an imported key without tuco_sk_", 200)
	_, imported = ws.makeKey(engine.Production, engine.NewKey{Name: "old", Role: engine.RoleViewer, Secret: "tuco_sk_live0123456789"})
	w.get(imported, "/api/usage").is(t, "an imported key with tuco_sk_", 200)
	made := w.post(key, "/api/keys", obj{"name": "second"}).is(t, "a second key", 201)
	if !regexp.MustCompile(engine.SecretPattern).MatchString(made.str("secret")) {
		t.Errorf("issued secret %q", made.str("secret"))
	}

	// Keys are named, renamed, disabled and removed, and stop at once.
	path, second := "/api/keys/"+made.str("id"), made.str("secret")
	patchKey := func(body obj) answer { return w.do(request{method: patch, path: path, key: key, body: body}) }
	if got := patchKey(obj{"name": "renamed"}).str("key", "name"); got != "renamed" {
		t.Errorf("renamed to %q", got)
	}
	w.get(second, "/api/usage").is(t, "the second key", 200)
	patchKey(obj{"isDisabled": true}).is(t, "disabling", 200)
	w.get(second, "/api/usage").fails(t, "disabled", 401, "Unauthorized")
	patchKey(obj{"isDisabled": false}).is(t, "enabling", 200)
	w.get(second, "/api/usage").is(t, "enabled", 200)
	rotated := w.post(key, path+"/rotate", obj{"overlap": "1h"}).is(t, "rotating", 200)
	w.get(second, "/api/usage").is(t, "the old secret, in its overlap", 200)
	w.get(rotated.str("secret"), "/api/usage").is(t, "the new secret", 200)
	w.do(request{method: remove, path: path, key: key}).is(t, "removing", 200)
	w.get(second, "/api/usage").fails(t, "removed", 401, "Unauthorized")
	w.get(rotated.str("secret"), "/api/usage").fails(t, "removed", 401, "Unauthorized")
	patchKey(obj{"name": "again"}).fails(t, "changing a revoked key", 409, "This key was revoked")
	w.rows(t, key, post, "/api/keys", []row{
		{"no name", obj{}, 400, "Name is required"},
		{"an unknown role", obj{"name": "x", "role": "god"}, 400, `Unknown role "god": use viewer, member, admin or owner`},
		{"an unknown scope", obj{"name": "x", "scopes": []string{"all"}}, 400, `Unknown scope "all"`},
		{"role and scopes", obj{"name": "x", "role": "viewer", "scopes": []string{"leads:read"}}, 400, "Give a role or scopes, not both"},
		{"a bad network", obj{"name": "x", "allow": []string{"localhost"}}, 400, `"localhost" is not a network such as 192.0.2.0/24`},
		{"a past expiry", obj{"name": "x", "expiresAt": "2020-01-01"}, 400, "The key would have expired already"},
		{"a bad expiry", obj{"name": "x", "expiresAt": "soon"}, 400, "Invalid expiresAt"},
	})
	w.rows(t, key, post, "/api/keys/"+made.str("id")+"/rotate", []row{{"a bad overlap", obj{"overlap": "long"}, 400, "overlap must be a duration such as 24h"}})

	w.get("", "/api/usage").fails(t, "no key", 401, "Unauthorized")
	w.get(key, "/api/nothing").fails(t, "no such endpoint", 404, "Not found")
	if a := w.post(key, "/api/usage", obj{}).fails(t, "no such method", 405, "Method not allowed"); a.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("Allow: %s", a.header.Get("Allow"))
	}
}

// TestContractRates: the documented requests per minute, and what an answer says of them.
func TestContractRates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspaceOn("A", engine.PlanChange{})
	ws.line(engine.Production, person(1), 0)
	keys := []string{ws.key(engine.Production, engine.RoleMember), ws.key(engine.Production, engine.RoleMember)}
	body := obj{"message": "x", "recipientPhone": person(2)}
	for i := range 60 {
		a, err := w.send(request{method: post, path: "/api/messages", key: keys[i%2], body: body})
		if err != nil || a.status != 201 {
			t.Fatalf("request %d: %v %d %s", i, err, a.status, a.text)
		}
		if want := fmt.Sprintf(`"requests_per_minute";r=%d;t=`, 59-i); !strings.HasPrefix(a.header.Get("RateLimit"), want) {
			t.Fatalf("request %d: RateLimit %s, want %s", i, a.header.Get("RateLimit"), want)
		}
	}
	refused := w.post(keys[0], "/api/messages", body).fails(t, "the 61st, whatever the key", 429, "Rate limit exceeded").codes(t, "the 61st", 429, engine.CodeRateLimit)
	checkLimits(t, refused, "requests_per_minute", 60)
	w.get(keys[0], "/api/messages").is(t, "reads are not limited", 200)
	w.post(keys[0], "/api/messages/cancel-for-lead", obj{"recipientPhone": person(2)}).is(t, "nor is another endpoint", 200)
	refused.golden(t, "error-rate-limit")
}

// TestContractReadOnly: tuco-api.md section 3.
func TestContractReadOnly(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	key := ws.key(engine.Production, engine.RoleMember)
	ws.readOnly(engine.ReadOnlyPastDue)
	refused := w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(2)}).is(t, "a write", 402)
	refused.golden(t, "error-read-only")
	if refused.text != `{"error":"READ_ONLY","code":"READ_ONLY","reason":"past_due"}` {
		t.Errorf("402 with %s", refused.text)
	}
	w.get(key, "/api/workspace").golden(t, "workspace-read-only")
	for _, path := range []string{"/api/leads", "/api/messages", "/api/lines/by-user", "/api/messages/" + f.message} {
		w.get(key, path).is(t, "reading "+path, 200)
	}
	ws.readOnly("")
	w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(2)}).is(t, "a write, when that is over", 201)
	w.get(key, "/api/workspace").golden(t, "workspace")
}

// TestContractLines: tuco-api.md section 4.
func TestContractLines(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	key := ws.key(engine.Production, engine.RoleAdmin)
	if got := w.get(key, "/api/lines/by-user").is(t, "no lines", 200).text; got != `{"lines":[]}` {
		t.Errorf("no lines: %s", got)
	}
	w.dispatch()
	made := w.post(key, "/api/lines", obj{"channel": "imessage", "phone": "(202) 555-0100", "firstName": "Ana", "lastName": "Smith",
		"dailyNewConversationsLimit": 20, "dailyTotalMessagesLimit": 50, "deviceGapSeconds": 0, "contactGapSeconds": 0}).is(t, "a line", 201)
	id := made.str("line", "_id")
	made.golden(t, "line")
	w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(2)}).is(t, "a message", 201)
	for range 2 {
		w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(3)}).is(t, "a message", 201)
	}
	lines := w.get(key, "/api/lines/by-user")
	lines.golden(t, "lines")
	usage := obj{"date": time.Now().UTC().Format(time.DateOnly), "newConversationsCount": 2.0, "totalMessagesCount": 3.0}
	for name, want := range usage {
		if got := lines.at("lines", "0", "usage", name); got != want {
			t.Errorf("usage.%s: %v, want %v", name, got, want)
		}
	}
	if strings.Contains(lines.text, "sandbox:") {
		t.Errorf("the transport's settings are shown: %s", lines.text)
	}
	w.until(t, "sends", func() answer { return w.get(key, "/api/lines/spam-monitor") }, func(a answer) bool {
		return a.num("lines", "0", "totalSentLast24h") == 3
	}).golden(t, "spam-monitor")

	w.do(request{method: patch, path: "/api/lines/" + id, key: key, body: obj{"isActive": false}}).is(t, "pausing", 200)
	noLine := "No active lines in workspace. Add and activate a line, or provide fromLineId."
	w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(4)}).fails(t, "without an active line", 400, noLine)
	w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(4), "fromLineId": id}).fails(t, "by name", 400, "The line is not active. Activate it, or leave out fromLineId.")
	w.rows(t, key, post, "/api/lines", []row{
		{"a second line of a number", obj{"channel": "sms", "phone": "+12025550100"}, 409, "There is a line with this number or mailbox already"},
		{"no channel", obj{"phone": person(9)}, 400, "Invalid line type. Must be imessage, sms, or email"},
		{"no number", obj{"channel": "sms"}, 400, "A line of type sms needs a phone number"},
		{"a bad number", obj{"channel": "sms", "phone": "12"}, 400, "phone: not a valid phone number"},
		{"a bad gap", obj{"channel": "sms", "phone": person(9), "deviceGapSeconds": -1}, 400, "deviceGapSeconds must be from 0 to 86400"},
		{"a real transport", obj{"channel": "email", "email": "a@example.com", "transport": "smtp://u:p@mail.example.com"}, 403, "Only the operator can connect a line to a transport (tuco line set --transport)"},
	})
	w.do(request{method: patch, path: "/api/lines/" + id, key: key, body: obj{"phone": person(9)}}).fails(t, "another number", 400, "A line keeps its phone number and e-mail address; make another line")
	w.do(request{method: remove, path: "/api/lines/" + id, key: key}).is(t, "deleting", 200)
	w.do(request{method: remove, path: "/api/lines/" + id, key: key}).fails(t, "deleting again", 404, "Line not found")
	w.get(key, "/api/messages?lineId="+id).is(t, "its messages stay", 200)
}

// TestSpamRisk: the bands of the spam monitor, 5 to 15 per cent inclusive being medium.
func TestSpamRisk(t *testing.T) {
	for _, tt := range []struct {
		sent, failed int64
		rate         float64
		risk         string
	}{{0, 0, 0, "low"}, {150, 3, 2, "low"}, {1000, 49, 4.9, "low"}, {100, 5, 5, "medium"}, {100, 15, 15, "medium"}, {1000, 151, 15.1, "high"}, {1, 1, 100, "high"}} {
		got := newSpamReport(engine.SpamReport{Sent: tt.sent, Failed: tt.failed})
		if got.FailureRate != tt.rate || got.SpamRisk != tt.risk {
			t.Errorf("%d of %d failed: %v %s, want %v %s", tt.failed, tt.sent, got.FailureRate, got.SpamRisk, tt.rate, tt.risk)
		}
	}
}

// TestContractLeads: tuco-api.md section 5.
func TestContractLeads(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	key := ws.key(engine.Production, engine.RoleMember)
	list := w.post(key, "/api/lists", obj{"name": "Spring", "description": "people to reach"}).is(t, "a list", 201)
	list.golden(t, "list")
	listID := list.str("list", "_id")

	created := w.post(key, "/api/leads", obj{"listId": listID, "ghlLocationId": "g", "leads": []obj{
		{"firstName": "Ana", "lastName": "Lopez", "email": " Ana@Example.COM ", "phone": "2025550101", "altPhone1": "1 202 555 0102", "companyName": "Acme",
			"jobTitle": "CTO", "notes": "n", "linkedinUrl": "https://example.com/ana", "customFields": obj{"tier": "gold", "n": 1}, "externalId": "e",
			"hsContactId": "h", "ghlContactId": "gc", "contactOwnerEmail": "owner@example.com"},
		{"email": "bob@example.com"},
	}}).is(t, "two leads", 201)
	created.golden(t, "leads-created")
	ana := created.str("leadIds", "0")
	lead := w.get(key, "/api/leads?id="+ana).is(t, "one lead", 200)
	lead.golden(t, "lead")
	for name, want := range map[string]string{"phone": "+12025550101", "email": "ana@example.com", "altPhone1": "+12025550102", "ghlLocationId": "g", "source": "csv"} {
		if got := lead.str("lead", name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}

	one := w.post(key, "/api/leads", obj{"body": []obj{{"phone": "+1 (202) 555-0102"}}}).is(t, "a duplicate by an alternate number", 200)
	one.golden(t, "leads-duplicate")
	if one.str("leadId") != ana || one.at("duplicateOnly") != true || one.str("message") != "Lead was a duplicate; existing lead ID returned." {
		t.Errorf("duplicate: %s", one.text)
	}
	w.post(key, "/api/leads", obj{"leads": []obj{{"email": "ANA@example.com"}, {"email": "carl@example.com"}, {"email": "carl@example.com"}}}).
		is(t, "some duplicates", 201).golden(t, "leads-some-duplicates")

	page := w.get(key, "/api/leads?search=ACME&page=1&limit=10").is(t, "a search", 200)
	page.golden(t, "leads")
	for _, search := range []string{"ana%20lo", "LOPEZ", "example.com", "(202)%20555-0101", "acme"} {
		if got := w.get(key, "/api/leads?search="+search).num("pagination", "totalCount"); got == 0 {
			t.Errorf("search %s finds nothing", search)
		}
	}
	if got := w.get(key, "/api/leads?search=nobody").text; !strings.Contains(got, `"leads":[]`) {
		t.Errorf("a search without a match: %s", got)
	}
	if got := w.get(key, "/api/leads?limit=2&page=2").num("pagination", "totalPages"); got != 2 {
		t.Errorf("3 leads, 2 a page: %v pages", got)
	}
	if got := w.get(key, "/api/leads?limit=100000").num("pagination", "limit"); got != maxLeadPage {
		t.Errorf("limit 100000 is taken as %v", got)
	}

	changed := w.do(request{method: put, path: "/api/leads/" + ana, key: key, body: obj{"firstName": "Anna", "lastName": nil, "jobTitle": ""}}).is(t, "a change", 200)
	if changed.str("lead", "firstName") != "Anna" || changed.str("lead", "lastName") != "Lopez" || changed.at("lead", "jobTitle") != nil {
		t.Errorf("null says nothing, an empty text clears: %s", changed.text)
	}
	w.rows(t, key, put, "/api/leads/"+ana, []row{
		{"an address of another lead", obj{"email": "bob@example.com"}, 409, "Another lead has one of these phone numbers or e-mail addresses"},
		{"no address left", obj{"email": "", "phone": ""}, 400, "Either email or phone is required"},
		{"a bad number", obj{"phone": "123"}, 400, "phone: not a valid phone number"},
	})
	w.rows(t, key, post, "/api/leads", []row{
		{"no leads", obj{}, 400, "No leads provided"},
		{"an empty list", obj{"leads": []obj{}}, 400, "No leads provided"},
		{"no address", obj{"leads": []obj{{"firstName": "x"}}}, 400, "leads/0: either email or phone is required"},
		{"a bad address in the second", obj{"leads": []obj{{"email": "x@example.com"}, {"email": "nope"}}}, 400, "leads/1/email: not a valid e-mail address"},
		{"an impossible number", obj{"leads": []obj{{"phone": "+10000000000"}}}, 400, "leads/0/phone: not a valid phone number"},
		{"custom fields that are no object", obj{"leads": []obj{{"email": "x@example.com", "customFields": []int{1}}}}, 400, "leads/0/customFields must be an object of at most 16000 bytes"},
		{"leads that are no array", obj{"leads": obj{}}, 400, "leads must be an array"},
		{"a lead that is none", obj{"leads": []int{1}}, 400, "leads/0 must be an object"},
		{"an unknown list", obj{"listId": neverMade(listID), "leads": []obj{{"email": "x@example.com"}}}, 404, unknownList},
	})
	if got := w.get(key, "/api/leads").num("pagination", "totalCount"); got != 3 {
		t.Errorf("refused requests left %v leads, want 3", got)
	}
	w.get(key, "/api/leads?id=").fails(t, "an empty id", 400, "Invalid lead id")

	w.rows(t, key, remove, "/api/leads", []row{
		{"no ids", obj{}, 400, "No ids provided"},
		{"no ids in the array", obj{"ids": []string{}}, 400, "No ids provided"},
		{"a malformed id", obj{"ids": []string{ana, "nope"}}, 400, "Invalid lead id in ids array"},
	})
	w.get(key, "/api/leads?id="+ana).is(t, "all or nothing", 200)
	deleted := w.do(request{method: remove, path: "/api/leads", key: key, body: obj{"ids": []string{ana, ana, neverMade(ana)}}}).is(t, "deleting", 200)
	if deleted.text != `{"deletedCount":1}` {
		t.Errorf("deleting: %s", deleted.text)
	}
	w.get(key, "/api/leads?id="+ana).fails(t, "deleted", 404, "Lead not found").golden(t, "error-not-found")

	w.rows(t, key, post, "/api/lists", []row{
		{"a name in other case", obj{"name": "SPRING"}, 409, "There is a list with this name already"},
		{"no name", obj{"name": " "}, 400, "Name is required"},
		{"a name with a line break", obj{"name": "a\r\nb"}, 400, "A name has no control characters"},
	})
	w.do(request{method: remove, path: "/api/lists/" + listID, key: key}).fails(t, "a list with leads", 409, "This list still has 1 leads: delete them or move them to another list first")
	if got := w.get(key, "/api/lists").is(t, "lists", 200).str("lists", "1", "name"); got != engine.QuickSends {
		t.Errorf("the list of leads without one is called %q", got)
	}
}

// TestContractManyLeads: 10,000 leads in one request, all or nothing.
func TestContractManyLeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.workspace("A").key(engine.Production, engine.RoleMember)
	leads := make([]obj, engine.MaxLeads+1)
	for i := range leads {
		leads[i] = obj{"email": fmt.Sprintf("p%d@example.com", i), "notes": strings.Repeat("n", 100)}
	}
	many := func(n int) answer {
		a, err := w.send(request{method: post, path: "/api/leads", key: key, body: obj{"leads": leads[:n]}})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	many(engine.MaxLeads+1).fails(t, "10,001 leads", 413, "At most 10000 leads in one request")
	if got := many(engine.MaxLeads).is(t, "10,000 leads", 201).num("savedCount"); got != engine.MaxLeads {
		t.Errorf("saved %v", got)
	}
	if got := many(engine.MaxLeads).is(t, "again", 200).num("duplicateCount"); got != engine.MaxLeads {
		t.Errorf("%v duplicates", got)
	}
}

// TestContractMessageErrors: tuco-api.md section 6.3.
func TestContractMessageErrors(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	key := ws.key(engine.Production, engine.RoleMember)
	valid := func(change obj) obj {
		body := obj{"message": "x", "recipientPhone": person(2)}
		for k, v := range change {
			body[k] = v
		}
		return body
	}
	w.post(key, "/api/messages", valid(nil)).fails(t, "no line", 400, "No active lines in workspace. Add and activate a line, or provide fromLineId.")
	line := ws.line(engine.Production, person(1), 0).ID.String()
	ws.fixture(engine.Production)
	const window = "Invalid timezone or time window settings. Please check your timezone and time format."
	const clock = "Invalid time format. sendWindowStart and sendWindowEnd must be in HH:mm format (e.g., 09:00, 17:00)"
	const noJSON = "Invalid request body (JSON required)"
	const noObject = "Request body must be a JSON object"
	w.rows(t, key, post, "/api/messages", []row{
		{"an array", "[]", 400, noObject},
		{"null", "null", 400, noObject},
		{"a string", `"x"`, 400, noObject},
		{"no JSON", "message=x", 400, noJSON},
		{"nothing", "", 400, noJSON},
		{"half an object", `{"message":`, 400, noJSON},
		{"no text", obj{"recipientPhone": person(2)}, 400, "Message and attachmentUrls cannot both be empty"},
		{"blank text", valid(obj{"message": " \n"}), 400, "Message and attachmentUrls cannot both be empty"},
		{"a type that isn't", valid(obj{"messageType": "fax"}), 400, "Invalid messageType. Must be email, sms, or imessage"},
		{"attachments that are no array", valid(obj{"attachmentUrls": "https://example.com/a.png"}), 400, "attachmentUrls must be an array"},
		{"three attachments", valid(obj{"attachmentUrls": []string{"https://a.example/1", "https://a.example/2", "https://a.example/3"}}), 400, "Maximum 2 attachments per message"},
		{"an attachment that is no URL", valid(obj{"attachmentUrls": []string{"file:///etc/passwd"}}), 400, "attachmentUrls must be http or https URLs of at most 2048 bytes"},
		{"a date that isn't", valid(obj{"scheduledDate": "tomorrow"}), 400, "Invalid scheduledDate format"},
		{"a clock that isn't", valid(obj{"timezone": "UTC", "sendWindowStart": "9:00", "sendWindowEnd": "25:00"}), 400, clock},
		{"a zone that isn't", valid(obj{"timezone": "Mars/Olympus"}), 400, window},
		{"a window without its zone", valid(obj{"sendWindowStart": "09:00", "sendWindowEnd": "17:00"}), 400, window},
		{"half a window", valid(obj{"timezone": "UTC", "sendWindowStart": "09:00"}), 400, window},
		{"an eighth day", valid(obj{"timezone": "UTC", "allowedDaysOfWeek": []int{7}}), 400, window},
		{"nobody", obj{"message": "x"}, 400, "Either recipientEmail or recipientPhone is required (in body or on the lead when leadId is provided)."},
		{"a bad number", valid(obj{"recipientPhone": "12"}), 400, "recipientPhone: not a valid phone number"},
		{"a bad mailbox", valid(obj{"recipientEmail": "a@"}), 400, "recipientEmail: not a valid e-mail address"},
		{"a fallback that isn't configured", valid(obj{"sendFallbackSmsOnFailed": true}), 400, "sendFallbackSmsOnFailed is true but fallback SMS is not configured. Configure fallback in workspace settings (Settings → Fallback) or set sendFallbackSmsOnFailed to false."},
		{"a text that is too long", valid(obj{"messageType": "sms", "message": strings.Repeat("é", 1601)}), 400, "Message is too long: at most 1600 characters for sms"},
		{"a line of another type", valid(obj{"messageType": "email", "recipientEmail": "a@example.com", "fromLineId": line}), 400, "This line can't send messages of type email"},
	})
	w.post(key, "/api/messages", valid(obj{"sendFallbackSmsOnFailed": true})).codes(t, "the fallback's code", 400, "FALLBACK_NOT_CONFIGURED").golden(t, "error-fallback")
	w.post(key, "/api/messages", `{"message":"a","message":"b"}`).fails(t, "a key twice", 400, noJSON).golden(t, "error-json")
	for _, good := range []obj{
		{"messageType": nil, "recipientEmail": nil, "scheduledDate": nil, "attachmentUrls": nil, "settings": nil, "fromLineId": nil, "sendFallbackSmsOnFailed": nil, "contactOwnerEmail": nil, "altPhone1": nil},
		{"attachmentUrls": []string{"https://example.com/a.png"}, "attachmentNames": []string{"a.png"}, "message": ""},
		{"scheduledDate": "2020-01-01"}, {"scheduledDate": "2020-01-01T10:00:00.000Z"}, {"scheduledDate": "2020-01-01T10:00:00+02:00"},
		{"messageType": "sms"}, {"workspaceId": string(ws.id)}, {"message": strings.Repeat("é", 20_000)},
	} {
		w.post(key, "/api/messages", valid(good)).is(t, fmt.Sprintf("%.80v", good), 201)
	}
}

// TestContractMessages: tuco-api.md sections 6, 6.1, 6.2 and 6.4.
func TestContractMessages(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	line := ws.line(engine.Production, person(1), 0)
	key := ws.key(engine.Production, engine.RoleMember)
	sent := w.post(key, "/api/messages", obj{"message": "Hello {{firstName}}", "recipientPhone": "(202) 555-0142", "recipientName": "Ana Lopez", "batchId": "spring", "altEmail1": "ana@example.com",
		"ghlContactId": "g", "contactOwnerEmail": "owner@example.com", "correlationId": "trace-1"}).is(t, "a message", 201)
	sent.golden(t, "message-created")
	id := sent.str("message", "_id")
	before := w.get(key, "/api/messages/"+id).is(t, "the message", 200)
	if fmt.Sprint(before.at("message")) != fmt.Sprint(sent.at("message")) {
		t.Errorf("POST answered\n%v\nGET\n%v", sent.at("message"), before.at("message"))
	}
	if got := sent.str("message", "fromLinePhone"); got != line.Phone {
		t.Errorf("fromLinePhone %q, want %q", got, line.Phone)
	}
	lead := w.get(key, "/api/leads?id="+sent.str("leadId"))
	if lead.str("lead", "firstName") != "Ana" || lead.str("lead", "lastName") != "Lopez" || lead.str("lead", "altEmail1") != "ana@example.com" {
		t.Errorf("the new lead: %s", lead.text)
	}
	matched := w.post(key, "/api/messages", obj{"message": "again", "recipientEmail": "ANA@example.com", "altPhone1": "2025550143"}).is(t, "a recipient that is a lead", 201)
	if matched.str("leadId") != sent.str("leadId") {
		t.Error("a lead was made twice")
	}
	if got := w.get(key, "/api/leads?id="+sent.str("leadId")).str("lead", "altPhone1"); got != "+12025550143" {
		t.Errorf("altPhone1 on the lead: %q", got)
	}
	override := w.post(key, "/api/messages", obj{"message": "x", "leadId": sent.str("leadId"), "recipientPhone": person(77)}).is(t, "a recipient beside the lead", 201)
	if override.str("message", "recipientPhone") != person(77) || override.str("leadId") != sent.str("leadId") {
		t.Errorf("the recipient in the body stands in for the lead's: %s", override.text)
	}
	failing := map[string]string{"+15005550001": "failed", "+15005550002": "fallback", person(5): "delivered"}
	ids := map[string]string{}
	for to := range failing {
		ids[to] = w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": to}).is(t, to, 201).str("message", "_id")
	}
	w.dispatch()
	for to, status := range failing {
		got := w.until(t, to, func() answer { return w.get(key, "/api/messages/"+ids[to]) }, func(a answer) bool {
			return a.str("message", "status") == status
		})
		got.golden(t, "message-"+status)
	}
	done := w.until(t, "the first", func() answer { return w.get(key, "/api/messages/"+id) }, func(a answer) bool { return a.at("message", "sentAt") != nil })
	if got := done.str("message", "message"); got != "Hello Ana" {
		t.Errorf("the placeholder became %q", got)
	}
}

// TestContractListMessages: GET /api/messages, whose parameters Tuco doesn't document.
func TestContractListMessages(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	line := ws.line(engine.Production, person(1), 0).ID.String()
	key := ws.key(engine.Production, engine.RoleMember)
	if got := w.get(key, "/api/messages").text; got != `{"messages":[],"nextCursor":null}` {
		t.Errorf("no messages: %s", got)
	}
	var ids []string
	var lead string
	for i := range 7 {
		a := w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(2 + i%2), "batchId": fmt.Sprint("b", i%3)}).is(t, "a message", 201)
		ids = append(ids, a.str("message", "_id"))
		lead = a.str("leadId")
	}
	w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(2), "scheduledDate": "2099-01-01"}).is(t, "scheduled", 201)
	count := func(query string) int {
		list, _ := w.get(key, "/api/messages"+query).is(t, query, 200).at("messages").([]any)
		return len(list)
	}
	for query, want := range map[string]int{
		"": 8, "?status=pending": 7, "?status=scheduled": 1, "?status=unknown": 0, "?lineId=" + line: 7, "?leadId=" + lead: 5, "?batchId=b0": 3, "?batchId=b": 0,
		"?status=pending&leadId=" + lead + "&batchId=b0": 2, "?dateFrom=2099-01-01": 0, "?dateTo=2020-01-01": 0, "?dateFrom=2020-01-01&dateTo=2099-01-01": 8, "?unknown=x": 8, "?limit=1000": 8, "?status=": 8,
	} {
		if query == "?limit=1000" || query == "?status=" { // taken, beyond what the document promises
			if a, err := w.send(request{method: get, path: "/api/messages" + query, key: key}); err != nil || a.status != 200 {
				t.Errorf("%s: %v %d", query, err, a.status)
			}
			continue
		}
		if got := count(query); got != want {
			t.Errorf("%s: %d messages, want %d", query, got, want)
		}
	}
	var seen []string
	for cursor := ""; ; {
		page := w.get(key, "/api/messages?status=pending&limit=3"+cursor)
		for i := range 3 {
			if id := page.str("messages", fmt.Sprint(i), "_id"); id != "" {
				seen = append(seen, id)
			}
		}
		if page.at("nextCursor") == nil {
			break
		}
		cursor = "&cursor=" + page.str("nextCursor")
	}
	slices.Reverse(seen)
	if !slices.Equal(seen, ids) {
		t.Errorf("pages hold %v, want %v from the end", seen, ids)
	}
	for query, text := range map[string]string{
		"?status=lost": "Invalid status", "?dateFrom=x": "Invalid dateFrom", "?dateTo=x": "Invalid dateTo", "?dateFrom=2026-01-02&dateTo=2026-01-01": "dateFrom must be <= dateTo",
		"?cursor=x": "Invalid cursor", "?limit=0": "limit must be a number from 1 to 2147483647", "?limit=x": "limit must be a number from 1 to 2147483647",
		"?limit=99999999999999999999": "limit must be a number from 1 to 2147483647", "?limit=1&limit=2": "limit is given more than once", "?status=&status=sent": "status is given more than once",
	} {
		w.get(key, "/api/messages"+query).fails(t, query, 400, text)
	}
}

// TestContractCancel: tuco-api.md section 6.5.
func TestContractCancel(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	ws.line(engine.Production, person(1), 0)
	key := ws.key(engine.Production, engine.RoleMember)
	send := func(change obj) answer {
		body := obj{"message": "x", "recipientPhone": person(2), "altPhone1": person(3)}
		for k, v := range change {
			body[k] = v
		}
		return w.post(key, "/api/messages", body).is(t, "a message", 201)
	}
	cancel := func(body obj) answer {
		return w.post(key, "/api/messages/cancel-for-lead", body).is(t, fmt.Sprint("cancelling ", body), 200)
	}
	first := send(nil)
	send(obj{"scheduledDate": "2099-01-01"})
	done := cancel(obj{"leadId": first.str("leadId")})
	done.golden(t, "cancelled")
	if done.num("cancelledCount") != 2 || done.str("leadId") != first.str("leadId") {
		t.Errorf("cancelled %s", done.text)
	}
	w.get(key, "/api/messages/"+first.str("message", "_id")).golden(t, "message-cancelled")
	send(nil)
	if got := cancel(obj{"recipientPhone": person(3)}).num("cancelledCount"); got != 1 {
		t.Errorf("by an alternate number: %v", got)
	}
	if got := cancel(obj{"recipientPhone": person(2)}).text; got != fmt.Sprintf(`{"success":true,"cancelledCount":0,"jobsRemovedFromQueue":0,"leadId":%q,"messageIds":[]}`, first.str("leadId")) {
		t.Errorf("nothing left: %s", got)
	}
	if got := cancel(obj{"recipientEmail": "nobody@example.com"}).text; got != `{"success":true,"cancelledCount":0,"jobsRemovedFromQueue":0,"leadId":null,"messageIds":[]}` {
		t.Errorf("for nobody: %s", got)
	}
	w.rows(t, key, post, "/api/messages/cancel-for-lead", []row{
		{"nobody named", obj{}, 400, "Either leadId, recipientPhone, or recipientEmail is required"},
		{"a malformed id", obj{"leadId": "nope"}, 400, "Invalid leadId"},
		{"a bad number", obj{"recipientPhone": "1"}, 400, "recipientPhone: not a valid phone number"},
	})
}

// TestContractSchedule: tuco-api.md section 7.
func TestContractSchedule(t *testing.T) {
	noon := time.Date(2026, 7, 15, 16, 0, 0, 0, time.UTC) // a Wednesday, noon in New York
	w := newWorld(t, func(o *engine.Options, _ *Options) { o.Now = func() time.Time { return noon } })
	ws := w.workspace("A")
	ws.line(engine.Production, person(1), 1)
	key := ws.key(engine.Production, engine.RoleMember)
	send := func(change obj) answer {
		body := obj{"message": "x", "recipientPhone": person(2)}
		for k, v := range change {
			body[k] = v
		}
		return w.post(key, "/api/messages", body).is(t, fmt.Sprint(change), 201)
	}
	if got := send(nil); got.str("status") != "pending" || got.at("scheduledDate") != nil {
		t.Errorf("within the line's day: %s", got.text)
	}
	over := send(nil)
	over.golden(t, "message-deferred")
	for _, tt := range []struct {
		name         string
		change       obj
		date, reason string
	}{
		{"over the line's day", nil, "2026-07-16T13:00:00.000Z", "Daily limit reached; scheduled for next send window."},
		{"with settings", obj{"settings": obj{"timezone": "Europe/Berlin", "sendWindowStart": "10:30", "sendWindowEnd": "20:00"}}, "2026-07-16T08:30:00.000Z", "Daily limit reached; scheduled for next send window."},
		{"with the fields at top level", obj{"timezone": "Europe/Berlin", "sendWindowStart": "10:30", "sendWindowEnd": "20:00"}, "2026-07-16T08:30:00.000Z", "Daily limit reached; scheduled for next send window."},
		{"at a date", obj{"scheduledDate": "2026-08-01T10:00:00Z"}, "2026-08-01T10:00:00.000Z", ""},
		{"at a date in a zone", obj{"scheduledDate": "2026-08-01T10:00:00+02:00"}, "2026-08-01T08:00:00.000Z", ""},
		{"at a date outside of the window", obj{"scheduledDate": "2026-08-01T22:00:00Z", "timezone": "UTC", "sendWindowStart": "09:00", "sendWindowEnd": "17:00"}, "2026-08-02T09:00:00.000Z", ""},
	} {
		got := send(tt.change)
		if got.str("status") != "scheduled" || got.str("scheduledDate") != tt.date || got.str("reason") != tt.reason || got.at("success") != true {
			t.Errorf("%s: %s, want %s %q", tt.name, got.text, tt.date, tt.reason)
		}
	}
	tomorrow := send(obj{"timezone": "UTC", "sendWindowStart": "09:00", "sendWindowEnd": "10:00", "allowedDaysOfWeek": []int{4}})
	if tomorrow.str("status") != "pending" || tomorrow.str("message", "status") != "queued" || tomorrow.str("reason") != "Outside of the send window; it opens at 2026-07-16T09:00:00Z." {
		t.Errorf("outside of its window: %s", tomorrow.text)
	}
}

// TestContractPlan: the answer to a message over a plan ceiling.
func TestContractPlan(t *testing.T) {
	t.Parallel()
	one := int64(1)
	for name, plan := range map[string]engine.PlanChange{
		"messages_per_day": {MessagesPerDay: &one}, "messages_per_month": {MessagesPerMonth: &one}, "new_contacts_per_day": {NewContactsPerDay: &one},
	} {
		w := newWorld(t)
		ws := w.workspaceOn("A", plan)
		ws.line(engine.Production, person(1), 0)
		key := ws.key(engine.Production, engine.RoleMember)
		w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(2)}).is(t, "within "+name, 201)
		over := w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(3)}).codes(t, "over "+name, 429, "PLAN_LIMIT_REACHED")
		checkLimits(t, over, name, 1)
		over.golden(t, "error-"+strings.ReplaceAll(name, "_", "-"))
		problem := w.do(request{method: post, path: "/api/messages", key: key, body: obj{"message": "x", "recipientPhone": person(3)}, header: map[string]string{"Accept": "application/problem+json"}})
		if problem.header.Get("Content-Type") != problemType || problem.str("type") != quotaProblem || problem.str("violated-policies", "0") != name ||
			problem.str("error") != over.str("error") || problem.num("status") != 429 || problem.str("code") != "PLAN_LIMIT_REACHED" {
			t.Errorf("as a problem: %s", problem.text)
		}
		usage := w.get(key, "/api/usage").is(t, "usage", 200)
		if name == "messages_per_day" {
			usage.golden(t, "usage")
			problem.golden(t, "problem")
		}
		// Nothing was stored.
		if list, _ := w.get(key, "/api/leads").at("leads").([]any); len(list) != 1 {
			t.Errorf("%s: a refused message left a lead", name)
		}
	}
}

func TestAcceptDecidesAboutProblems(t *testing.T) {
	w := newWorld(t)
	for accept, want := range map[string]string{
		"": "application/json", "*/*": "application/json", "application/json": "application/json", "application/*": "application/json",
		"application/problem+json": problemType, "application/json, application/problem+json": problemType, "Application/Problem+JSON; q=0.5": problemType,
		"application/problem+json;q=0": "application/json", "application/problem+jsonx": "application/json", "application/problem+json;q=x": "application/json", ";;;": "application/json",
	} {
		a := w.do(request{method: get, path: "/api/usage", header: map[string]string{"Accept": accept}}).is(t, accept, http.StatusUnauthorized)
		if got := a.header.Get("Content-Type"); got != want || a.str("error") != "Unauthorized" {
			t.Errorf("Accept %q: %s %s, want %s", accept, got, a.text, want)
		}
	}
}
