package engine

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tuco/engine/quota"
	"tuco/kv"
)

// history is a world with few people and small limits, and the highest limits that were in force.
type history struct {
	*world
	r      *rapid.T
	who    map[Environment]Caller
	people []string
	limits [3]int64 // day, month, contacts; 0 is unlimited
	// highest is by limit and label, while that label was the newest.
	highest map[string]int64
}

// TestHistory runs random operations. After each of them the stored totals are what a recount of all
// messages says, every person is what the indexes say, the counters in memory are the same as in the store,
// and no label has used more than its highest limit.
func TestHistory(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorldIn(t, unlimited(), rapid.SampledFrom([]string{"UTC", "Pacific/Auckland", "America/New_York"}).Draw(r, "zone"), Options{})
		defer func() {
			w.close()
		}()
		h := &history{world: w, r: r, highest: map[string]int64{}, who: map[Environment]Caller{}}
		for i := range 4 {
			h.people = append(h.people, fmt.Sprintf("+1202555010%d", i))
		}
		for _, env := range []Environment{Staging, Production} {
			for i := range 2 {
				w.lineOf(w.operator(env), IMessage, LineChange{Phone: ptr(fmt.Sprintf("+1202555020%d", i)), DailyMessages: n64(3), DailyNew: n64(2)})
			}
		}
		h.setLimits()
		h.login()
		actions := []func(){h.sendOne, h.sendOne, h.sendOne, h.sendMany, h.cancel, h.cancel, h.releaseAll, h.deliverOne, h.deliverOne, h.setLimits, h.passTime, h.passTime, h.clockBack, h.restart, h.changeLine, h.changeLead, h.deleteLead}
		for range rapid.IntRange(10, 60).Draw(r, "steps") {
			actions[rapid.IntRange(0, len(actions)-1).Draw(r, "action")]()
			h.noteLimits()
			h.verify()
			h.withinLimits()
			if t.Failed() {
				r.Fatalf("stopped")
			}
		}
	})
}

func (h *history) login() {
	for _, env := range []Environment{Staging, Production} {
		h.who[env] = h.operator(env)
	}
}

func (h *history) env() Environment {
	return rapid.SampledFrom([]Environment{Staging, Production}).Draw(h.r, "env")
}

func (h *history) request() SendRequest {
	req := to(rapid.SampledFrom(h.people).Draw(h.r, "person"))
	switch rapid.IntRange(0, 5).Draw(h.r, "kind") {
	case 0:
		req.Scheduled = h.clock.now().Add(time.Duration(rapid.IntRange(1, 40).Draw(h.r, "hours")) * time.Hour).Format(time.RFC3339)
	case 1:
		req.Window = Window{Timezone: "UTC", Start: fmt.Sprintf("%02d:00", rapid.IntRange(0, 23).Draw(h.r, "start")), End: "12:00"}
	case 2: // from now on its lead has this address, too
		req.AltPhones[0] = ptr(rapid.SampledFrom(h.people).Draw(h.r, "alternate"))
	}
	return req
}

func (h *history) take(err error) {
	if e, ok := err.(*Error); err != nil && (!ok || e.Kind != QuotaExceeded && e.Kind != Invalid) {
		h.t.Errorf("%v", err)
	}
}

func (h *history) sendOne() {
	_, err := h.Send(h.who[h.env()], nil, h.request())
	h.take(err)
}

func (h *history) sendMany() {
	env := h.env()
	var reqs []SendRequest
	for range 6 {
		reqs = append(reqs, h.request())
	}
	together(len(reqs), func(i int) {
		var err error
		if i == 0 {
			_, err = h.CancelForLead(h.who[env], CancelRequest{Phone: reqs[0].Phone})
		} else {
			_, err = h.Send(h.who[env], nil, reqs[i])
		}
		h.take(err)
	})
}

func (h *history) cancel() {
	_, err := h.CancelForLead(h.who[h.env()], CancelRequest{Phone: rapid.SampledFrom(h.people).Draw(h.r, "person")})
	h.take(err)
}

func (h *history) releaseAll() {
	for range 3 {
		_, err := h.queue(h.env()).Release()
		h.take(err)
	}
}

func (h *history) deliverOne() {
	env := h.env()
	q := h.queue(env)
	for _, id := range q.LineIDs() {
		jobs, _, err := q.Next(id, 1, nobody)
		h.take(err)
		if len(jobs) == 0 {
			continue
		}
		if err := q.HandOver(jobs[0]); err != nil {
			if err != ErrNotNow {
				h.t.Error(err)
			}
			continue
		}
		switch id := jobs[0].Message.ID; rapid.IntRange(0, 3).Draw(h.r, "outcome") {
		case 0:
			_, err = q.Retry(id, "later")
		case 1:
			_, err = q.Finish(id, Outcome{Status: Failed})
		case 2:
			if _, err = q.Lose(id, "?"); err == nil {
				_, err = h.Settle(h.who[env], id.String(), Pending)
			}
		default:
			_, err = q.Finish(id, Outcome{Status: Delivered})
		}
		h.take(err)
	}
}

func (h *history) setLimits() {
	for i := range h.limits {
		h.limits[i] = rapid.SampledFrom([]int64{0, 1, 2, 3, 5, 8, 12}).Draw(h.r, "limit")
	}
	_, err := h.Admin().SetPlan("test", PlanChange{MessagesPerDay: &h.limits[0], MessagesPerMonth: &h.limits[1], NewContactsPerDay: &h.limits[2]})
	h.take(err)
}

func (h *history) passTime() {
	h.clock.pass(time.Duration(rapid.IntRange(1, 30).Draw(h.r, "hours")) * time.Hour)
}

func (h *history) clockBack() { h.clock.set(h.clock.now().Add(-time.Hour)) }

func (h *history) restart() {
	if rapid.Bool().Draw(h.r, "crash") {
		h.crash()
	} else {
		h.reopen()
	}
	h.login()
}

func (h *history) changeLine() {
	env := h.env()
	ids := h.queue(env).LineIDs()
	if len(ids) == 0 {
		return
	}
	id := rapid.SampledFrom(ids).Draw(h.r, "line").String()
	var err error
	switch rapid.IntRange(0, 3).Draw(h.r, "change") {
	case 0:
		l := h.queue(env).env.lines.Load().find(LineID{must(kv.ParseID(id))})
		if err = h.DeleteLine(h.who[env], id); err == nil {
			_, err = h.CreateLine(h.who[env], IMessage, LineChange{Phone: &l.Phone, DailyMessages: &l.DailyMessages, DailyNew: &l.DailyNew, DeviceGap: ptr(time.Duration(0)), ContactGap: ptr(time.Duration(0))})
		}
	case 1:
		_, err = h.SetLine(h.who[env], id, LineChange{Active: ptr(false)})
	default:
		_, err = h.SetLine(h.who[env], id, LineChange{Active: ptr(true)})
	}
	h.take(err)
}

func must[T any](v T, ok bool) T {
	if !ok {
		panic("not ok")
	}
	return v
}

func (h *history) changeLead() {
	env := h.env()
	if lead, ok := h.lead(env); ok {
		_, err := h.SetLead(h.who[env], lead.String(), LeadInput{
			Phone: ptr(rapid.SampledFrom(h.people).Draw(h.r, "phone")), AltPhones: [3]*string{ptr("")},
		}, "")
		if !isKind(err, Conflict) {
			h.take(err)
		}
	}
}

func (h *history) deleteLead() {
	env := h.env()
	if lead, ok := h.lead(env); ok {
		_, err := h.DeleteLeads(h.who[env], []string{lead.String()})
		h.take(err)
	}
}

// lead is any lead, and false if there is none.
func (h *history) lead(env Environment) (LeadID, bool) {
	page, err := h.Leads(h.who[env], LeadQuery{Limit: 10})
	h.take(err)
	if len(page.Leads) == 0 {
		return LeadID{}, false
	}
	return rapid.SampledFrom(page.Leads).Draw(h.r, "lead").ID, true
}

// noteLimits raises the highest limits of the labels that are open now.
func (h *history) noteLimits() {
	day := h.tenant(h.id).pools[contracted].messages.Day()
	contacts := h.tenant(h.id).pools[contracted].contacts.Day()
	today := h.tenant(h.id).planDay()
	for i, key := range []string{"day " + max(day, today).String(), fmt.Sprint("month ", max(day, today).Month()), "contacts " + max(contacts, today).String()} {
		h.highest[key] = max(h.highest[key], limitOf(h.limits[i]))
	}
}

// withinLimits recounts every message and compares each label with the highest limit of its time.
func (h *history) withinLimits() {
	used := map[string]int64{}
	type lineKey struct {
		env      Environment
		identity string
		day      quota.Label
	}
	lines := map[lineKey]quota.Sums{}
	for _, env := range []Environment{Staging, Production} {
		e := h.queue(env).env
		h.forge(func(tx *kv.Tx) {
			for _, m := range e.store.messages.Scan(tx, kv.Range{}) {
				if m.Plan.Day != 0 {
					used["day "+m.Plan.Day.String()]++
					used[fmt.Sprint("month ", m.Plan.Day.Month())]++
				}
				if m.Plan.Contact != 0 {
					used["contacts "+m.Plan.Contact.String()]++
				}
				if m.Unit.Day != 0 {
					l, _ := e.store.lines.Get(tx, m.Line.key())
					key := lineKey{env, l.identity(), m.Unit.Day}
					n := lines[key]
					n.First++
					if m.Unit.First {
						n.Second++
					}
					lines[key] = n
				}
			}
		})
	}
	for key, n := range used {
		if highest, known := h.highest[key]; known && n > highest {
			h.t.Errorf("%s: %d used, the highest limit was %d", key, n, highest)
		}
	}
	for key, n := range lines {
		if n.First > 3 || n.Second > 2 && key.day >= h.lineDay() {
			h.t.Errorf("%v: %+v used of 3 and 2", key, n)
		}
	}
}
