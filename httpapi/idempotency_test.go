package httpapi

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"tuco/engine"
)

func TestReplayIsByteIdentical(t *testing.T) {
	clock := time.Now()
	w := newWorld(t, func(o *engine.Options, _ *Options) { o.Now = func() time.Time { return clock } })
	ws := w.workspace("A")
	f, other := ws.fixture(engine.Production), ws.fixture(engine.Staging)
	key, staging := ws.key(engine.Production, engine.RoleAdmin), ws.key(engine.Staging, engine.RoleAdmin)
	for _, r := range w.srv.routes {
		if !r.idempotent {
			continue
		}
		req, status := f.valid(r.id)
		req.key, req.header = key, map[string]string{"Idempotency-Key": `"first try"`}
		first := w.do(req).is(t, r.id, status)
		if first.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: the first answer says it is a replay", r.id)
		}
		again := w.do(req).is(t, r.id+" again", status)
		if again.text != first.text || again.header.Get("Content-Type") != first.header.Get("Content-Type") || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: first\n%s\nthen\n%s %v", r.id, first.text, again.text, again.header)
		}
		changed := req
		changed.body = strings.ReplaceAll(bodyText(t, req), "}", ` }`)
		w.do(changed).codes(t, r.id+": another body", 422, engine.CodeIdempotencyMismatch)
		elsewhere, status := other.valid(r.id)
		elsewhere.key, elsewhere.header = staging, req.header
		if a := w.do(elsewhere).is(t, r.id+" in another environment", status); a.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: another environment got a replay", r.id)
		}
		clock = clock.Add(engine.OnceKept)
		later, status := f.valid(r.id)
		later.key, later.header = key, req.header
		if a := w.do(later).is(t, r.id+" after 24 hours", status); a.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: a replay after 24 hours", r.id)
		}
	}
}

func bodyText(t *testing.T, r request) string {
	t.Helper()
	text, err := json.Marshal(r.body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestIdempotencyKeys(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	key := ws.key(engine.Production, engine.RoleOwner)
	ask := func(field string) answer {
		a, err := w.send(request{method: post, path: "/api/messages", key: key, body: obj{"message": "x", "recipientPhone": person(2)}, header: map[string]string{"Idempotency-Key": field}})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	bare := ask("k-1").is(t, "bare", 201)
	if quoted := ask(`"k-1"`).is(t, "quoted", 201); quoted.text != bare.text {
		t.Error("the bare and the quoted form are two keys")
	}
	if a := ask(`"k-1";x=1`).is(t, "with a parameter", 201); a.text != bare.text {
		t.Error("a parameter makes another key")
	}
	ask(strings.Repeat("k", 255)).is(t, "255 characters", 201)
	ask(strings.Repeat("k", 256)).fails(t, "256 characters", 400, "An Idempotency-Key has at most 255 characters")
	for _, bad := range []string{`""`, `"`, `"a`, `"a" "b"`, `"a", "b"`, "a b", "ä", `"ä"`, "a\tb"} {
		ask(bad).fails(t, bad, 400, "Invalid Idempotency-Key")
	}
	got := w.raw(t, "POST /api/messages HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n{}")
	if list := statuses(got); len(list) != 1 || list[0] != "400" {
		t.Errorf("two keys: %v", list)
	}

	// Only answers of success are kept.
	for _, body := range []obj{{"message": ""}, {"message": "x", "recipientPhone": person(2)}} {
		a := w.do(request{method: post, path: "/api/messages", key: key, body: body, header: map[string]string{"Idempotency-Key": "after-an-error"}})
		if want := map[bool]int{true: 400, false: 201}[body["message"] == ""]; a.status != want {
			t.Errorf("%v: %d %s", body, a.status, a.text)
		}
	}
	// Where a repetition would do it again, a key is refused; elsewhere it is ignored.
	for _, r := range w.srv.routes {
		if r.scope == "" || r.idempotent {
			continue
		}
		req, status := f.valid(r.id)
		req.key, req.header = key, map[string]string{"Idempotency-Key": "k"}
		if r.unrepeatable {
			w.do(req).fails(t, r.id, 400, "This endpoint takes no Idempotency-Key: a repetition would do it again")
		} else {
			w.do(req).is(t, r.id, status)
		}
	}
}

// TestARepetitionIsNotChargedAgain: one unit of the plan, however often and by how many at once it is asked for.
func TestARepetitionIsNotChargedAgain(t *testing.T) {
	w := newWorld(t)
	one, none := int64(1), int64(0)
	ws := w.workspaceOn("A", engine.PlanChange{MessagesPerDay: &one, RequestsPerMinute: &none})
	ws.line(engine.Production, person(1), 1)
	key := ws.key(engine.Production, engine.RoleMember)
	req := request{method: post, path: "/api/messages", key: key, body: obj{"message": "x", "recipientPhone": person(2)}, header: map[string]string{"Idempotency-Key": "k"}}
	var mu sync.Mutex
	texts := map[string]int{}
	hammer(clients, func(int) {
		a, err := w.send(req)
		if err != nil || a.status != 201 {
			t.Errorf("%v %d %s", err, a.status, a.text)
		}
		mu.Lock()
		texts[a.text]++
		mu.Unlock()
	}).Wait()
	if len(texts) != 1 {
		t.Errorf("%d different answers", len(texts))
	}
	if list, _ := w.get(key, "/api/messages").at("messages").([]any); len(list) != 1 {
		t.Errorf("%d messages", len(list))
	}
	if got := w.get(key, "/api/usage").num("limits", "0", "used"); got != 1 {
		t.Errorf("used %v", got)
	}
}
