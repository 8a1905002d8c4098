package httpapi

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"

	"tuco/engine"
)

// checkLimits holds a 429 against design.md section 7 and the RateLimit draft.
func checkLimits(t *testing.T, a answer, name string, limit int64) {
	t.Helper()
	if a.str("limitName") != name || a.num("limit") != float64(limit) || a.num("used") != float64(limit) {
		t.Errorf("limit %s of %d: %s", name, limit, a.text)
	}
	resets, err := time.Parse(time.RFC3339, a.str("resetsAt"))
	if err != nil || !resets.After(time.Now()) {
		t.Errorf("resetsAt %q", a.str("resetsAt"))
	}
	after, err := strconv.ParseInt(a.header.Get("Retry-After"), 10, 64)
	if err != nil || after < 1 {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	policy, state := item(t, a, "RateLimit-Policy", name), item(t, a, "RateLimit", name)
	if q, _ := policy.Params.Get("q"); q != limit {
		t.Errorf("q of %s is %v, want %d", name, q, limit)
	}
	if w, _ := policy.Params.Get("w"); w == nil || w.(int64) <= 0 {
		t.Errorf("w of %s is %v", name, w)
	}
	if r, _ := state.Params.Get("r"); r != int64(0) {
		t.Errorf("r of %s is %v, want 0", name, r)
	}
	if s, _ := state.Params.Get("t"); s == nil || s.(int64) > after || s.(int64) < after-2 {
		t.Errorf("t of %s is %v, Retry-After %d", name, s, after)
	}
}

// item returns one policy of a RateLimit field.
func item(t *testing.T, a answer, field, name string) httpsfv.Item {
	t.Helper()
	list, err := httpsfv.UnmarshalList(a.header.Values(field))
	if err != nil {
		t.Fatalf("%s: %s: %v", field, a.header.Get(field), err)
	}
	for _, member := range list {
		if i, ok := member.(httpsfv.Item); ok && i.Value == name {
			return i
		}
	}
	t.Fatalf("%s: %q does not name %s", field, a.header.Values(field), name)
	panic("unreachable")
}

// hammer runs n clients, each with its own number, until stop says so.
func hammer(n int, client func(i int)) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { client(i) })
	}
	return &wg
}

const clients = 64

// TestSixtyFourClientsAgainstAPlan: plan day 1,000 and three lines of 100. Exactly 1,000 are accepted,
// the rest refused with the limit's name; 300 go today, 700 are put off.
func TestSixtyFourClientsAgainstAPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	thousand, none := int64(1000), int64(0)
	ws := w.workspaceOn("A", engine.PlanChange{MessagesPerDay: &thousand, RequestsPerMinute: &none})
	for i := range 3 {
		ws.line(engine.Production, person(i), 100)
	}
	key := ws.key(engine.Production, engine.RoleMember)
	w.dispatch()
	var next, accepted atomic.Int64
	var mu sync.Mutex
	var refused []answer
	byStatus := map[string]int{}
	hammer(clients, func(int) {
		for next.Add(1) <= 1200 {
			a, err := w.send(request{method: post, path: "/api/messages", key: key, body: obj{"message": "x", "recipientPhone": person(int(100 + next.Load()%3000))}})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			switch a.status {
			case 201:
				accepted.Add(1)
				byStatus[a.str("status")]++
			case 429:
				refused = append(refused, a)
			default:
				t.Errorf("%d %s", a.status, a.text)
			}
			mu.Unlock()
		}
	}).Wait()
	if accepted.Load() != 1000 || len(refused) != 200 {
		t.Fatalf("accepted %d, refused %d; want 1000 and 200", accepted.Load(), len(refused))
	}
	if byStatus["pending"] != 300 || byStatus["scheduled"] != 700 {
		t.Errorf("answers %v, want 300 pending and 700 scheduled", byStatus)
	}
	for _, a := range refused {
		a.codes(t, "a refusal", 429, "PLAN_LIMIT_REACHED")
		checkLimits(t, a, "messages_per_day", 1000)
	}
	stored := map[string]int{}
	for cursor := ""; ; {
		page := w.get(key, "/api/messages?limit=100"+cursor).is(t, "a page", 200)
		list, _ := page.at("messages").([]any)
		for _, m := range list {
			switch s := m.(map[string]any)["status"].(string); s {
			case "scheduled":
				stored[s]++
			default:
				stored["today"]++
			}
		}
		if page.at("nextCursor") == nil {
			break
		}
		cursor = "&cursor=" + page.str("nextCursor")
	}
	if stored["today"] != 300 || stored["scheduled"] != 700 {
		t.Errorf("stored %v, want 300 of today and 700 scheduled", stored)
	}
	lines, _ := w.get(key, "/api/lines/by-user").at("lines").([]any)
	for i := range lines {
		if got := w.get(key, "/api/lines/by-user").num("lines", fmt.Sprint(i), "usage", "totalMessagesCount"); got != 100 {
			t.Errorf("line %d has used %v of 100", i, got)
		}
	}
}

// stamped is one request's beginning and outcome.
type stamped struct {
	after  bool // it began after the change was answered
	status int
}

// underFire hammers POST /api/messages with 64 clients, makes a change by HTTP, and returns what became
// of the requests.
func underFire(t *testing.T, w *world, key string, change func()) (list []stamped) {
	t.Helper()
	var changed, stop atomic.Bool
	var admitted, since atomic.Int64
	warm, over := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	wg := hammer(clients, func(i int) {
		for n := 0; !stop.Load(); n++ {
			s := stamped{after: changed.Load()}
			a, err := w.send(request{method: post, path: "/api/messages", key: key, body: obj{"message": "x", "recipientPhone": person(100 + i*50 + n%50)}})
			if err != nil {
				t.Error(err)
				return
			}
			s.status = a.status
			if s.status == 201 && admitted.Add(1) == clients {
				close(warm)
			}
			if s.after && since.Add(1) == 2*clients {
				close(over)
			}
			mu.Lock()
			list = append(list, s)
			mu.Unlock()
		}
	})
	<-warm
	change()
	changed.Store(true)
	<-over
	stop.Store(true)
	wg.Wait()
	return list
}

// TestRevocationUnderFire: promise 4, and the same for READ_ONLY and a lowered plan.
func TestRevocationUnderFire(t *testing.T) {
	t.Parallel()
	type scene struct {
		name   string
		status int
		change func(t *testing.T, w *world, ws workspace, owner, id string)
	}
	key := func(method, suffix string, body any) func(*testing.T, *world, workspace, string, string) {
		return func(t *testing.T, w *world, _ workspace, owner, id string) {
			w.do(request{method: method, path: "/api/keys/" + id + suffix, key: owner, body: body}).is(t, "the change", 200)
		}
	}
	for _, s := range []scene{
		{"revoked", 401, key(remove, "", nil)},
		{"disabled", 401, key(patch, "", obj{"isDisabled": true})},
		{"rotated", 401, key(post, "/rotate", nil)},
		{"role taken", 403, key(patch, "", obj{"role": "viewer"})},
		{"address not allowed", 403, key(patch, "", obj{"allow": []string{"192.0.2.0/24"}})},
		{"read only", 402, func(_ *testing.T, _ *world, ws workspace, _, _ string) { ws.readOnly(engine.ReadOnlySuspended) }},
		{"plan lowered", 429, func(t *testing.T, w *world, _ workspace, _, _ string) {
			one := int64(1)
			must[engine.Plan](t)(w.eng.Admin().SetPlan("plan of A", engine.PlanChange{MessagesPerDay: &one}))
		}},
		{"workspace deleted", 401, func(t *testing.T, w *world, ws workspace, _, _ string) {
			if err := w.eng.Admin().DeleteWorkspace(ws.id); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ws := w.workspace("A")
			ws.line(engine.Production, person(1), 0)
			owner := ws.key(engine.Production, engine.RoleAdmin)
			made, secret := ws.makeKey(engine.Production, engine.NewKey{Name: "hammered", Role: engine.RoleMember})
			list := underFire(t, w, secret, func() { s.change(t, w, ws, owner, made.ID.String()) })
			after := 0
			for _, r := range list {
				switch {
				case r.after && r.status != s.status:
					t.Fatalf("a request that began after the change was answered got %d, want %d", r.status, s.status)
				case r.after:
					after++
				case r.status != 201 && r.status != s.status:
					t.Fatalf("a request got %d", r.status)
				}
			}
			if after < clients {
				t.Errorf("only %d requests began after the change", after)
			}
		})
	}
}
