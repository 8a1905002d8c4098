package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tuco/engine"
)

// adminSocket serves w's admin commands on a socket and returns its path.
func (w *world) adminSocket() string {
	w.t.Helper()
	dir, err := os.MkdirTemp("", "tuco") // t.TempDir can be longer than a socket's path may be
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "admin.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		w.t.Fatal(err)
	}
	a := NewAdmin(w.eng, "test", w.srv.log)
	served := make(chan error, 1)
	go func() { served <- a.Serve(ln) }()
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(a.Shutdown(ctx), <-served); err != nil {
			w.t.Error("stopping the admin server:", err)
		}
	})
	return path
}

// ask runs a command and returns its answer.
func ask[Out any](t *testing.T, c *AdminClient, name string, in any) Out {
	t.Helper()
	var out Out
	if err := c.Call(name, in, &out); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

func TestAdminCommands(t *testing.T) {
	w := newWorld(t)
	c := NewAdminClient(w.adminSocket())
	name, plan, day, reason, none := "Acme", "gold", int64(5), "past_due", ""
	ask[PlanOutput](t, c, "plan/set", PlanInput{Name: plan, MessagesPerDay: &day})
	if got := ask[PlanOutput](t, c, "plan/show", PlanInput{Name: plan}); *got.MessagesPerDay != 5 || got.MessagesPerMonth != nil || got.PhoneLines != nil {
		t.Errorf("plan %+v", got)
	}
	if got := ask[PlansOutput](t, c, "plan/list", Nothing{}); len(got.Plans) != 5 {
		t.Errorf("plans %+v", got)
	}
	ws := ask[WorkspaceOutput](t, c, "workspace/create", WorkspaceInput{Name: &name, Plan: &plan})
	if got := ask[WorkspaceOutput](t, c, "workspace/show", IDInput{ws.ID}); got != ws || got.Timezone != "UTC" || got.State != "active" {
		t.Errorf("workspace %+v, made %+v", got, ws)
	}
	key := ask[secretResponse](t, c, "key/create", KeyInput{WorkspaceID: ws.ID, Environment: "production", Name: "k", Role: "owner", Expires: "24h", Allow: []string{"127.0.0.1"}})
	w.get(key.Secret, "/api/workspace").is(t, "the key", 200)
	if key.Key.MadeBy != "operator" || key.Key.ExpiresAt == nil || len(key.Key.Allow) != 1 {
		t.Errorf("key %+v", key.Key)
	}
	imported := ask[secretResponse](t, c, "key/create", KeyInput{WorkspaceID: ws.ID, Environment: "production", Name: "old", Secret: "tuco_0123456789abcdef"})
	if imported.Secret != "" {
		t.Error("an imported secret is shown")
	}
	w.get("tuco_0123456789abcdef", "/api/workspace").is(t, "the imported key", 200)
	ask[keyObject](t, c, "key/disable", IDInput{imported.ID})
	w.get("tuco_0123456789abcdef", "/api/workspace").is(t, "disabled", 401)
	ask[keyObject](t, c, "key/enable", IDInput{imported.ID})
	w.get("tuco_0123456789abcdef", "/api/workspace").is(t, "enabled", 200)
	rotated := ask[secretResponse](t, c, "key/rotate", RotateInput{ID: imported.ID})
	w.get("tuco_0123456789abcdef", "/api/workspace").is(t, "rotated out", 401)
	w.get(rotated.Secret, "/api/workspace").is(t, "the new secret", 200)
	ask[successResponse](t, c, "key/revoke", IDInput{imported.ID})
	w.get(rotated.Secret, "/api/workspace").is(t, "revoked", 401)
	if got := ask[keysResponse](t, c, "key/list", ScopeInput{WorkspaceID: ws.ID}); len(got.Keys) != 2 || strings.Contains(got.Keys[0].Secrets[0].Hint, key.Secret[13:40]) {
		t.Errorf("keys %+v", got)
	}
	phone, gap, limit := "+12025550100", "0s", int64(1)
	line := ask[lineObject](t, c, "line/create", LineInput{WorkspaceID: ws.ID, Environment: "production", Channel: "imessage", Phone: &phone, DeviceGap: &gap, ContactGap: &gap})
	ask[lineObject](t, c, "line/set", LineInput{ID: line.ID, DailyMessages: &limit})
	if got := ask[map[string][]lineObject](t, c, "line/list", ScopeInput{WorkspaceID: ws.ID}); len(got["production"]) != 1 || *got["production"][0].DailyTotalMessagesLimit != 1 {
		t.Errorf("lines %+v", got)
	}
	w.post(key.Secret, "/api/messages", obj{"message": "x", "recipientPhone": person(2)}).is(t, "a message", 201)
	if got := ask[map[string][]limitObject](t, c, "usage", ScopeInput{WorkspaceID: ws.ID, Environment: "production"}); got["production"][0].Used != 1 {
		t.Errorf("usage %+v", got)
	}
	if got := ask[DryRunOutput](t, c, "workspace/dry-run", IDInput{ws.ID}); got.Requests["messages:write"] != 1 || got.Waiting != 1 {
		t.Errorf("dry run %+v", got)
	}
	if got := ask[WorkspaceOutput](t, c, "workspace/set", WorkspaceInput{ID: ws.ID, ReadOnly: &reason}); got.State != "read_only" || *got.Reason != reason {
		t.Errorf("read only: %+v", got)
	}
	w.post(key.Secret, "/api/messages", obj{"message": "x", "recipientPhone": person(2)}).codes(t, "read only", 402, "READ_ONLY")
	ask[WorkspaceOutput](t, c, "workspace/set", WorkspaceInput{ID: ws.ID, ReadOnly: &none})
	w.post(key.Secret, "/api/messages", obj{"message": "x", "recipientPhone": person(2)}).is(t, "active", 201)
	ask[successResponse](t, c, "line/delete", IDInput{line.ID})
	if got := ask[CheckOutput](t, c, "check", Nothing{}); len(got.Faults) != 0 {
		t.Errorf("faults %v", got.Faults)
	}
	if got := ask[messagesResponse](t, c, "message/unknown", ScopeInput{WorkspaceID: ws.ID}); len(got.Messages) != 0 {
		t.Errorf("unknown outcomes %+v", got)
	}
	ask[Nothing](t, c, "clock/accept", Nothing{})
	ask[Nothing](t, c, "workspace/delete", IDInput{ws.ID})
	w.get(key.Secret, "/api/workspace").is(t, "deleted", 401)
	if got := ask[WorkspacesOutput](t, c, "workspace/list", Nothing{}); len(got.Workspaces) != 0 {
		t.Errorf("workspaces %+v", got)
	}
	if s := w.logged.String(); strings.Contains(s, key.Secret[13:]) || strings.Contains(s, "0123456789abcdef") {
		t.Error("a secret is in the log")
	}
}

func TestAdminErrors(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	path := w.adminSocket()
	c := NewAdminClient(path)
	for _, tt := range []struct {
		name string
		in   any
		want string
	}{
		{"workspace/create", obj{"nmae": "x"}, `unknown key "nmae", byte 1`},
		{"workspace/create", WorkspaceInput{}, "Name is required"},
		{"workspace/show", IDInput{"org_x"}, `There is no workspace "org_x"`},
		{"workspace/set", obj{"id": ws.id, "readOnly": "storage"}, `Unknown reason "storage": use past_due, suspended, license_expired, operator or maintenance`},
		{"plan/show", PlanInput{Name: "platinum"}, `There is no plan "platinum"`},
		{"plan/set", obj{"name": "x", "messagesPerDay": -1}, "messages per day must be from 0 to "},
		{"key/create", KeyInput{WorkspaceID: string(ws.id), Environment: "test", Name: "x"}, `Unknown environment "test": use development, staging or production`},
		{"key/create", KeyInput{WorkspaceID: string(ws.id), Environment: "staging", Name: "x", Expires: "soon"}, "expires must be a duration such as 2160h"},
		{"key/create", KeyInput{WorkspaceID: string(ws.id), Environment: "staging", Name: "x", Allow: []string{"x"}}, `"x" is not a network such as 192.0.2.0/24`},
		{"key/create", KeyInput{WorkspaceID: string(ws.id), Environment: "staging", Name: "x", Secret: "tuco_st_0123456789abcdef"}, "Not a Tuco secret: it should be tuco_ and 11 to 250 letters, digits, _ or -"},
		{"key/revoke", IDInput{"x"}, `"x" is not an id of 24 hex digits`},
		{"key/rotate", RotateInput{ID: "6b03d3c2cceb160000000005", Overlap: "long"}, "overlap must be a duration such as 24h"},
		{"line/set", IDInput{"6b03d3c2feeeee0000000005"}, "Line not found"},
		{"line/create", obj{"workspaceId": ws.id, "environment": "staging", "deviceGap": "1"}, "device-gap must be a duration such as 30s"},
		{"usage", ScopeInput{WorkspaceID: "org_x"}, `There is no workspace "org_x"`},
		{"message/settle", SettleInput{ID: "6b03d3c2feeeee0000000005", As: "sent"}, "Message not found"},
		{"nothing/here", Nothing{}, "404 Not Found"},
	} {
		if err := c.Call(tt.name, tt.in, &struct{}{}); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s %v: %v, want %s", tt.name, tt.in, err, tt.want)
		}
	}
	if err := NewAdminClient(path+"x").Call("check", Nothing{}, &struct{}{}); !errors.Is(err, ErrNoServer) {
		t.Errorf("without a server: %v", err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	for url, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200, "/workspace/list": 405, "/": 404} {
		resp, err := client.Get("http://admin" + url)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s: %d, want %d", url, resp.StatusCode, want)
		}
	}
	for _, url := range []string{"/debug/pprof/", "/debug/vars", "/workspace/list", "/plan/set"} {
		w.get(ws.key(engine.Production, engine.RoleOwner), url).fails(t, url+" on the API", 404, "Not found")
	}
}
