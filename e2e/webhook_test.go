package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// notices are what a customer's server got of its webhook.
type notices struct {
	mu      sync.Mutex
	came    map[int64]string // event by its number in the log
	again   int              // entries that came before
	entries []int64          // in the order in which they came for the first time
}

func (n *notices) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var body struct{ Entries []logged }
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range body.Entries {
		if !strings.HasPrefix(e.Event, "staff.") {
			continue
		}
		if n.came[e.Seq] != "" {
			n.again++
			continue
		}
		n.came[e.Seq] = e.Event
		n.entries = append(n.entries, e.Seq)
	}
}

// logged is an entry of GET /api/staff-access/log.
type logged struct {
	Seq   int64
	Event string
}

// TestWebhookKilled kills the process at random moments while notices go out. What was recorded of staff is told, in its
// order, and nothing is left out.
func TestWebhookKilled(t *testing.T) {
	t.Parallel()
	got := &notices{came: map[int64]string{}}
	hook := httptest.NewServer(got)
	defer hook.Close()
	dir := t.TempDir()
	life := func() *server { return serve(t, dir, "--allow-fetch", "127.0.0.1/32") }
	s := life()
	who := newTenant(s, "--requests-per-minute", "0")
	var owner struct{ Secret string }
	s.tuco(&owner, "key", "create", "--workspace", who.workspace, "--env", "production", "--name", "owner", "--role", "owner")
	var staff struct{ Token string }
	s.tuco(&staff, "staff", "add", "Sam", "--email", "sam@vendor.example", "--employer", "Vendor", "--country", "DE", "--role", "support")
	if a, err := call(client, http.MethodPut, s.url+"/api/staff-access/webhook", owner.Secret, map[string]any{"url": hook.URL}); err != nil || a.status != http.StatusOK {
		t.Fatalf("setting the webhook: %d %s, %v", a.status, a.body, err)
	}
	for _, step := range []struct {
		method, path, token string
		body                map[string]any
	}{
		{http.MethodPut, "/api/staff-access/policy", owner.Secret, map[string]any{"mode": "notify"}},
		{http.MethodPost, "/staff/access-requests", staff.Token, map[string]any{
			"workspaceId": who.workspace, "environment": "production", "scopes": []string{"leads:read"}, "reasonType": "incident",
			"reason": "to look", "ticket": "T-1", "duration": "1h",
		}},
	} {
		if a, err := call(client, step.method, s.url+step.path, step.token, step.body); err != nil || a.status >= 300 {
			t.Fatalf("%s: %d %s, %v", step.path, a.status, a.body, err)
		}
	}
	looks := 0
	for range killRounds {
		end := time.After(time.Duration(20+rand.N(200)) * time.Millisecond)
		for alive := true; alive; {
			select {
			case <-end:
				alive = false
			default:
				a, err := call(fresh, http.MethodGet, s.url+"/staff/workspaces/"+who.workspace+"/leads?environment=production", staff.Token, nil)
				if err != nil || a.status != http.StatusOK {
					t.Fatalf("a look: %d %s, %v", a.status, a.body, err)
				}
				looks++
			}
		}
		s.kill()
		s = life()
	}
	var shown struct {
		Webhook struct {
			Waiting  int
			Failures int
		}
	}
	eventually(t, "all is delivered", func() bool {
		s.get(owner.Secret, "/api/staff-access/webhook", &shown)
		return shown.Webhook.Waiting == 0
	})
	want, cursor := map[int64]string{}, ""
	for {
		var page struct {
			Entries    []logged
			NextCursor string
		}
		s.get(owner.Secret, "/api/staff-access/log?limit=100"+cursor, &page)
		for _, e := range page.Entries {
			if strings.HasPrefix(e.Event, "staff.") {
				want[e.Seq] = e.Event
			}
		}
		if page.NextCursor == "" {
			break
		}
		cursor = "&cursor=" + page.NextCursor
	}
	got.mu.Lock()
	defer got.mu.Unlock()
	t.Logf("%d rounds: %d looks, %d entries, %d told, %d of them again", killRounds, looks, len(want), len(got.came), got.again)
	if len(want) < looks || fmt.Sprint(got.came) != fmt.Sprint(want) {
		t.Errorf("%d looks were answered, the log has %d of them, told are %d", looks, len(want), len(got.came))
	}
	for i, seq := range got.entries[1:] {
		if seq < got.entries[i] {
			t.Errorf("entry %d was told after entry %d", seq, got.entries[i])
		}
	}
	s.check()
}
