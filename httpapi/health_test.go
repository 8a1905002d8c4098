package httpapi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tuco/engine"
)

func TestHealthAsksForNothingAndNamesNobody(t *testing.T) {
	clock := time.Now()
	w := newWorld(t, func(o *engine.Options, _ *Options) { o.Now = func() time.Time { return clock } })
	ws := w.workspace("Acme Corp")
	f := ws.fixture(engine.Production)
	key := ws.key(engine.Production, engine.RoleMember)
	w.get(key, "/api/messages/"+f.message).is(t, "a message", 200)
	w.get(key, "/nowhere/"+f.lead).is(t, "nowhere", 404)
	for path, want := range map[string]string{"/livez": `{"status":"ok"}`, "/readyz": `{"status":"ready","warnings":[]}`} {
		if got := w.get("", path).is(t, path, 200).text; got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	metrics := w.get("", "/metrics").is(t, "metrics", 200).text
	for _, want := range []string{
		`tuco_http_requests_total{method="GET",route="/api/messages/:id",status="200"} 1`, `tuco_http_requests_total{method="GET",route="none",status="404"} 1`,
		"tuco_commits_total ", "tuco_database_bytes ", `tuco_read_only_workspaces{reason="operator"} 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	for _, name := range []string{string(ws.id), "Acme", f.lead, f.message, key[13:], "+1202"} {
		if strings.Contains(metrics, name) {
			t.Errorf("%q is in the metrics", name)
		}
	}
	ws.readOnly(engine.ReadOnlyOperator)
	if metrics := w.get("", "/metrics").text; !strings.Contains(metrics, `tuco_read_only_workspaces{reason="operator"} 1`) {
		t.Error("a workspace in READ_ONLY isn't counted")
	}
	clock = clock.Add(time.Hour)
	if got := w.get("", "/readyz").is(t, "after a jump of the clock", 200); !strings.Contains(got.str("warnings", "0"), "The clock jumped ahead") {
		t.Errorf("%s", got.text)
	}
}

// TestAFullDisk: READ_ONLY with reason storage, what takes rights away still works, and readyz warns in a 200.
func TestAFullDisk(t *testing.T) {
	dir := t.TempDir()
	in := func(o *engine.Options, _ *Options) { o.Dir = dir }
	var ws workspace
	var key string
	var f fixture
	t.Run("before", func(t *testing.T) {
		ws = newWorld(t, in).workspace("A")
		f = ws.fixture(engine.Production)
		key = ws.key(engine.Production, engine.RoleAdmin)
	})
	w := newWorld(t, in, func(o *engine.Options, _ *Options) { o.Reserve = 1 << 60 })
	if got := w.get("", "/readyz").is(t, "readyz", 200); !strings.Contains(got.str("warnings", "0"), "The disk is nearly full") {
		t.Errorf("%s", got.text)
	}
	if got := w.post(key, "/api/lists", obj{"name": "x"}).is(t, "a write", 402); got.str("reason") != "storage" {
		t.Errorf("%s", got.text)
	}
	w.get(key, "/api/leads").is(t, "a read", 200)
	if got := w.get(key, "/api/workspace"); got.str("state") != "read_only" || got.str("reason") != "storage" {
		t.Errorf("%s", got.text)
	}
	w.do(request{method: remove, path: "/api/keys/" + f.key, key: key}).is(t, "revoking", 200)
}

// TestSecretsStaySecret: no secret is in the log, the metrics, an error or the data directory.
func TestSecretsStaySecret(t *testing.T) {
	dir := t.TempDir()
	var secrets []string
	var seen strings.Builder
	t.Run("traffic", func(t *testing.T) {
		w := newWorld(t, func(o *engine.Options, _ *Options) { o.Dir = dir })
		ws := w.workspace("A")
		f := ws.fixture(engine.Production)
		key := ws.key(engine.Production, engine.RoleAdmin)
		imported := "tuco_canary0123456789abcdef"
		ws.makeKey(engine.Production, engine.NewKey{Name: "imported", Secret: imported})
		made := w.post(key, "/api/keys", obj{"name": "made"}).is(t, "a key", 201)
		rotated := w.post(key, "/api/keys/"+made.str("id")+"/rotate", nil).is(t, "rotating", 200)
		secrets = []string{key, imported, made.str("secret"), rotated.str("secret")}
		for _, s := range secrets {
			for _, r := range []request{
				{method: get, path: "/api/usage", key: s},
				{method: get, path: "/api/usage?key=" + s},
				{method: get, path: "/api/usage?key=%74uco_" + s[5:]},
				{method: get, path: "/" + s},
				{method: get, path: "/api/usage", key: s + "x"},
				{method: get, path: "/api/usage", header: map[string]string{"Authorization": s}},
				{method: get, path: "/api/usage", header: map[string]string{"X-Request-Id": s, "X-Correlation-Id": s}},
				{method: post, path: "/api/messages", key: s, body: obj{"message": "x", "recipientPhone": person(2), "correlationId": s}},
				{method: post, path: "/api/messages", key: s, body: `{"message":"` + s},
				{method: post, path: "/api/keys", key: s, body: obj{"name": "x", "secret": s}},
				{method: put, path: "/api/leads/" + f.lead, key: s, body: obj{"listId": s}},
			} {
				a := w.do(r)
				seen.WriteString(strings.ReplaceAll(a.text, a.str("secret"), "") + "\n")
			}
		}
		w.get(key, "/api/keys").is(t, "keys", 200)
		seen.WriteString(w.get(key, "/api/keys").text + w.get("", "/metrics").text + w.logged.String())
	})
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		seen.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if i := strings.Index(seen.String(), s[5:len(s)-4]); i >= 0 {
			t.Errorf("a secret is in …%q…", seen.String()[max(0, i-200):i])
		}
	}
}
