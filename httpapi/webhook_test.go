package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tuco/engine"
	"tuco/engine/notice"
)

const webhookPath = "/api/staff-access/webhook"

// TestWebhook: it is set, shown, rotated and removed; its secret is shown once, and of its URL only the host is recorded.
func TestWebhook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	owner := ws.key(engine.Production, engine.RoleOwner)
	set := func(url string) answer {
		return w.do(request{method: put, path: webhookPath, key: owner, body: obj{"url": url}})
	}
	for _, r := range []request{{method: get, path: webhookPath}, {method: remove, path: webhookPath}, {method: post, path: webhookPath + "/rotate"}} {
		r.key = owner
		w.do(r).codes(t, r.method+" before one is set", 404, engine.CodeNoWebhook)
	}
	for _, url := range []string{
		"", "x", "hooks.example", "ftp://hooks.example", "https://", "https:hooks.example", "https://user@hooks.example", "https://user:secret@hooks.example",
		"https://hooks.example/#x", "https://hooks.example:0", "https://hooks.example:70000", "https://hooks.example:x", "https://10.0.0.1", "https://[::1]/",
		"https://127.0.0.1:8420/", "https://169.254.169.254/latest", "http://hooks.example", "http://93.184.216.34", "https://ho oks.example", "https://hööks.example",
		"https://hooks.example/" + strings.Repeat("x", 2048), "https://[fe80::1%25eth0]", "https://%31",
	} {
		set(url).codes(t, url, 400, engine.CodeInvalidURL)
	}
	w.rows(t, owner, put, webhookPath, []row{{"a URL of another type", obj{"url": 5}, 400, "url must be a string"}})
	w.do(request{method: put, path: webhookPath, key: owner, body: "{"}).is(t, "no JSON", 400)
	w.do(request{method: put, path: webhookPath, key: owner, body: obj{"url": "https://hooks.example", "workspaceId": w.workspace("B").id}}).codes(t, "another workspace", 403, engine.CodeWrongWorkspace)

	const url = "https://hooks.example:8443/t0ken-in-the-path?k=v"
	first := set("https://Hooks.Example:8443/t0ken-in-the-path?k=v").is(t, "setting it", 200)
	secret := first.str("secret")
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) != 32 || first.str("webhook", "url") != url || first.str("warning") == "" {
		t.Errorf("set: %s, %v", first.text, err)
	}
	if again := set(url).is(t, "setting it again", 200); again.at("secret") != nil || again.at("warning") != nil {
		t.Errorf("set again: %s", again.text)
	}
	shown := w.get(owner, webhookPath).is(t, "showing it", 200)
	shown.golden(t, "access-webhook")
	rotate := func(body any) answer { return w.post(owner, webhookPath+"/rotate", body) }
	rotate(obj{"overlap": "soon"}).fails(t, "a bad overlap", 400, "overlap must be a duration such as 24h")
	rotate(obj{"overlap": "-1h"}).is(t, "a negative one", 400)
	rotated := rotate(nil).is(t, "rotating it", 200)
	until, err := time.Parse(time.RFC3339, rotated.str("webhook", "oldSecretUntil"))
	if left := time.Until(until); err != nil || left < 23*time.Hour || left > 24*time.Hour || rotated.str("secret") == secret || rotated.str("secret") == "" {
		t.Errorf("rotated: %s, %v", rotated.text, err)
	}
	member := ws.key(engine.Production, engine.RoleAdmin)
	w.get(member, webhookPath).codes(t, "without access:approve", 403, engine.CodeInsufficientScope)
	w.do(request{method: remove, path: webhookPath, key: owner}).is(t, "removing it", 200)
	w.get(owner, webhookPath).codes(t, "when it is removed", 404, engine.CodeNoWebhook)
	if other := set(url).is(t, "setting it anew", 200); other.str("secret") == "" || other.str("secret") == secret {
		t.Errorf("set anew: %s", other.text)
	}

	log := w.get(owner, "/api/staff-access/log").is(t, "the log", 200)
	var events []string
	for _, e := range log.at("entries").([]any) {
		if name := e.(map[string]any)["event"].(string); strings.HasPrefix(name, "webhook.") {
			events = append(events, name)
		}
	}
	if want := []string{"webhook.set", "webhook.removed", "webhook.rotated", "webhook.set", "webhook.set"}; !slices.Equal(events, want) {
		t.Errorf("recorded %q, want %q", events, want)
	}
	if !strings.Contains(log.text, "hooks.example:8443") {
		t.Errorf("the host is not recorded: %s", log.text)
	}
	for what, text := range map[string]string{"shown": shown.text, "the audit log": log.text, "logged": w.logged.String(), "the document": w.get("", "/openapi.json").text} {
		if strings.Contains(text, "whsec_"+base64.StdEncoding.EncodeToString(key)) || what != "shown" && strings.Contains(text, "t0ken") {
			t.Errorf("%s has what is secret: %s", what, text)
		}
	}
}

// TestWebhooksStayApart: a webhook, and what it is told, is of one workspace; and it is what the log has.
func TestWebhooksStayApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *engine.Options, _ *Options) {
		o.AllowFetch = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	bodies := make(chan string, 100)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		bodies <- r.URL.Path + " " + string(text)
	}))
	t.Cleanup(srv.Close)
	d, err := notice.Start(w.eng, notice.Options{Render: NoticeBody, Roots: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Stop(10 * time.Second) })
	a, b, sam := w.workspace("A"), w.workspace("B"), w.staff("Sam")
	owners := map[string]string{}
	for _, ws := range []workspace{a, b} {
		owner := ws.key(engine.Production, engine.RoleOwner)
		ws.readOnly(engine.ReadOnlyPastDue)
		w.do(request{method: put, path: webhookPath, key: owner, body: obj{"url": srv.URL + "/" + string(ws.id)}}).is(t, "setting it", 200)
		owners[string(ws.id)] = owner
	}
	for _, ws := range []workspace{a, b, a} {
		w.post(sam.token, "/staff/access-requests", fixture{ws: ws, env: engine.Production}.ask(nil)).is(t, "asking", 201)
		var path, text string
		select {
		case body := <-bodies:
			path, text, _ = strings.Cut(body, " ")
		case <-time.After(20 * time.Second):
			t.Fatal("waited in vain")
		}
		var got struct {
			WorkspaceID string
			Entries     []json.RawMessage
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || path != "/"+string(ws.id) || got.WorkspaceID != string(ws.id) || len(got.Entries) != 1 {
			t.Fatalf("to %s: %s, %v", path, text, err)
		}
		var same any
		if err := json.Unmarshal(got.Entries[0], &same); err != nil {
			t.Fatal(err)
		}
		if want := w.get(owners[got.WorkspaceID], "/api/staff-access/log").at("entries", "0"); !reflect.DeepEqual(same, want) {
			t.Errorf("told\n%v\nthe log has\n%v", same, want)
		}
	}
}
