package httpapi

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"tuco/engine"
)

// party is one environment of one workspace, whose every text carries a marker.
type party struct {
	fixture
	marker, secret string
}

// TestNothingCrosses: two workspaces with equal data in three environments each, random traffic over a
// few shared connections. No answer, error, metric or line of the log about one names another.
func TestNothingCrosses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.client.Transport = &http.Transport{MaxConnsPerHost: 4, MaxIdleConnsPerHost: 4}
	var parties []party
	var markers []string
	for _, name := range []string{"ALPHA", "BRAVO"} {
		ws := w.workspace(name)
		for _, env := range engine.Environments {
			p := party{marker: "MARK" + name + strings.ToUpper(string(env[:1])) + "KRAM"}
			p.secret = ws.key(env, engine.RoleAdmin)
			parties, markers = append(parties, p), append(markers, p.marker)
			p.fill(t, ws, env, &parties[len(parties)-1])
		}
	}
	const workers, turns = 16, 60
	var own atomic.Int64
	hammer(workers, func(i int) {
		dice := rand.New(rand.NewPCG(1, uint64(i)))
		for range turns {
			p, other := parties[dice.IntN(len(parties))], parties[dice.IntN(len(parties))]
			r := p.request(dice, other)
			r.key, r.header = p.secret, map[string]string{"X-Correlation-Id": p.marker, "X-Request-Id": p.marker}
			a, err := w.send(r)
			if err != nil {
				t.Error(err)
				return
			}
			if a.status >= 500 {
				t.Errorf("%s %s: %d %s", r.method, r.path, a.status, a.text)
			}
			if strings.Contains(a.text, p.marker) {
				own.Add(1)
			}
			all := a.text + fmt.Sprint(a.header)
			for _, m := range markers {
				if m != p.marker && strings.Contains(all, m) {
					t.Errorf("%s %s as %s: %s of another in %d %s", r.method, r.path, p.marker, m, a.status, all)
				}
			}
			if other.ws.id != p.ws.id && strings.Contains(all, string(other.ws.id)) {
				t.Errorf("%s %s as %s: another workspace's id in %s", r.method, r.path, p.marker, all)
			}
		}
	}).Wait()
	if own.Load() < workers*turns/4 {
		t.Errorf("only %d answers carried their own marker", own.Load())
	}
	for line := range strings.Lines(w.logged.String()) {
		var named []string
		for _, p := range parties {
			if strings.Contains(line, p.marker) {
				named = append(named, p.marker)
				for _, q := range parties {
					if q.ws.id != p.ws.id && strings.Contains(line, string(q.ws.id)) {
						t.Errorf("the log mixes workspaces: %s", line)
					}
				}
			}
		}
		if len(named) > 1 {
			t.Errorf("the log mixes %v: %s", named, line)
		}
	}
	open := w.get("", "/metrics").text + w.get("", "/readyz").text + w.get("", "/livez").text
	for _, p := range parties {
		if strings.Contains(open, p.marker) || strings.Contains(open, string(p.ws.id)) || strings.Contains(open, p.lead) {
			t.Errorf("%s is in an answer that asks for no credential", p.marker)
		}
	}
}

// fill makes the same records in every environment, but for the marker.
func (p party) fill(t *testing.T, ws workspace, env engine.Environment, to *party) {
	t.Helper()
	w := ws.w
	to.ws, to.env = ws, env
	to.line = ws.line(env, "+12025550100", 0).ID.String()
	first := p.marker
	must[engine.Line](t)(w.eng.SetLine(ws.in(env), to.line, engine.LineChange{FirstName: &first}))
	to.list = w.post(p.secret, "/api/lists", obj{"name": "List " + p.marker}).is(t, "a list", 201).str("list", "_id")
	made := w.post(p.secret, "/api/leads", obj{"listId": to.list, "leads": []obj{{"firstName": p.marker, "phone": "+12025550101", "email": "ana@example.com", "notes": p.marker}}}).is(t, "a lead", 201)
	to.lead = made.str("leadId")
	to.message = w.post(p.secret, "/api/messages", obj{"message": "for " + p.marker, "leadId": to.lead, "batchId": "batch"}).is(t, "a message", 201).str("message", "_id")
	k := w.post(p.secret, "/api/keys", obj{"name": "key " + p.marker, "role": "viewer"}).is(t, "a key", 201)
	to.key = k.str("id")
}

// request is one of many kinds; it names a record of other's, who may be p itself.
func (p party) request(dice *rand.Rand, other party) request {
	kinds := []request{
		{method: get, path: "/api/messages"},
		{method: get, path: "/api/messages?batchId=batch"},
		{method: get, path: "/api/messages/" + other.message},
		{method: get, path: "/api/messages?leadId=" + other.lead},
		{method: get, path: "/api/leads?search=ana@example.com"},
		{method: get, path: "/api/leads?id=" + other.lead},
		{method: get, path: "/api/lists"},
		{method: get, path: "/api/lines/by-user"},
		{method: get, path: "/api/keys"},
		{method: get, path: "/api/workspace?workspaceId=" + string(other.ws.id)},
		{method: get, path: "/api/usage"},
		{method: post, path: "/api/messages", body: obj{"message": p.marker, "recipientPhone": "+12025550101"}},
		{method: post, path: "/api/messages", body: obj{"message": p.marker, "leadId": other.lead}},
		{method: post, path: "/api/messages", body: obj{"message": p.marker, "recipientPhone": "+12025550101", "fromLineId": other.line}},
		{method: post, path: "/api/messages", body: obj{"message": p.marker, "recipientEmail": "ana@example.com", "workspaceId": string(other.ws.id)}},
		{method: post, path: "/api/messages", body: `{"message":"` + p.marker},
		{method: post, path: "/api/leads", body: obj{"leads": []obj{{"email": "ANA@example.com", "firstName": p.marker}}}},
		{method: post, path: "/api/leads", body: obj{"listId": other.list, "leads": []obj{{"email": p.marker}}}},
		{method: put, path: "/api/leads/" + other.lead, body: obj{"notes": p.marker}},
		{method: patch, path: "/api/lists/" + other.list, body: obj{"description": p.marker}},
		{method: patch, path: "/api/keys/" + other.key, body: obj{"name": "key " + p.marker}},
		{method: post, path: "/api/lists", body: obj{"name": "List " + other.marker[:4] + p.marker}},
		{method: remove, path: "/api/lists/" + other.list},
	}
	return kinds[dice.IntN(len(kinds))]
}
