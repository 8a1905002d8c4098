package engine

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"tuco/kv"
)

// once makes the record of a repeatable request, with the message's id as the answer.
func once(key, body string) *Once {
	return &Once{Key: key, Route: "POST /api/messages", Fingerprint: [32]byte([]byte(fmt.Sprintf("%-32s", body))), Encode: func(result any) (Answer, error) {
		switch r := result.(type) {
		case *SendResult:
			return Answer{201, []byte(r.Message.ID.String())}, nil
		case LeadsSaved:
			return Answer{201, []byte(fmt.Sprint(len(r.Created)))}, nil
		case ListResult:
			return Answer{201, []byte(r.Name)}, nil
		}
		panic(result)
	}}
}

// A repetition is no new request: it is given its answer when the minute's requests are used up.
func TestOnceWhenTheMinuteIsSpent(t *testing.T) {
	w := newWorld(t, PlanChange{RequestsPerMinute: n64(1)})
	w.line(Production, 0, 0)
	who := w.in(Production)
	if r, err := w.Send(who, once("k", "a"), to("+12025550142")); err != nil || r.Replay != nil {
		t.Fatal(r, err)
	}
	mustFail[*SendResult](t, "another request", QuotaExceeded, CodeRateLimit, "")(w.Send(who, once("new", "a"), to(phone())))
	if r, err := w.Send(who, once("k", "a"), to("+12025550142")); err != nil || r.Replay == nil {
		t.Errorf("the repetition: %+v, %v", r, err)
	}
}

func TestOnce(t *testing.T) {
	w := newWorld(t, perDay(2))
	w.line(Production, 0, 0)
	w.line(Staging, 0, 0)
	who, staging := w.in(Production), w.in(Staging)
	first, err := w.Send(who, once("k", "a"), to("+12025550142"))
	if err != nil || first.Replay != nil {
		t.Fatal(first, err)
	}
	again := func(what string) {
		t.Helper()
		r, err := w.Send(who, once("k", "a"), to("+12025550142"))
		if err != nil || r.Replay == nil || r.Replay.Status != 201 || string(r.Replay.Body) != first.Message.ID.String() {
			t.Errorf("%s: %+v, %v", what, r.Replay, err)
		}
	}
	again("repeated")
	mustFail[*SendResult](t, "another request with the key", Mismatch, CodeIdempotencyMismatch, "")(w.Send(who, once("k", "b"), to("+12025550142")))
	if r, err := w.Send(staging, once("k", "b"), to("+12025550142")); err != nil || r.Replay != nil {
		t.Errorf("the key in another environment: %+v, %v", r.Replay, err)
	}
	mustFail[*SendResult](t, "the plan is spent", QuotaExceeded, "", "")(w.Send(who, once("new", "a"), to(phone())))
	again("the plan is spent meanwhile")
	w.crash()
	who = w.in(Production)
	again("after a crash")
	other := once("k", "b")
	other.Route = "POST /api/lists"
	if r, err := w.CreateList(who, other, "x", ""); err != nil || r.Replay != nil {
		t.Errorf("the key at another route: %+v, %v", r, err)
	}
	if r, err := w.CreateList(who, other, "x", ""); err != nil || r.Replay == nil || string(r.Replay.Body) != "x" {
		t.Errorf("a list made twice: %+v, %v", r, err)
	}
	leads := once("leads", "")
	batch := LeadBatch{Leads: []LeadInput{{Phone: ptr(phone())}}}
	for i := range 2 {
		if r, err := w.CreateLeads(who, leads, batch); err != nil || (r.Replay == nil) != (i == 0) {
			t.Errorf("leads, time %d: %+v, %v", i, r, err)
		}
	}
	w.clock.pass(OnceKept - time.Second)
	again("just before it is forgotten")
	w.clock.pass(time.Second)
	r, err := w.Send(who, once("k", "c"), to("+12025550142"))
	if err != nil || r.Replay != nil {
		t.Errorf("a day later the key is new: %+v, %v", r.Replay, err)
	}
}

func TestOnceAtTheSameTime(t *testing.T) {
	t.Run("there is room for one", func(t *testing.T) {
		w := newWorld(t, perDay(1))
		w.line(Production, 0, 0)
		onceAtTheSameTime(w)
	})
	t.Run("nothing but the key keeps others out", func(t *testing.T) {
		w := newWorld(t, unlimited())
		w.line(Production, 0, 0)
		w.send(w.in(Production), to("+12025550142")) // who is known is the same to each of them
		onceAtTheSameTime(w)
	})
}

func onceAtTheSameTime(w *world) {
	t := w.t
	t.Helper()
	who := w.in(Production)
	before := w.usage(who, limitDay).Used
	var mu sync.Mutex
	answers := map[string]int{}
	together(32, func(int) {
		r, err := w.Send(who, once("k", "a"), to("+12025550142"))
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if r.Replay != nil {
			answers[string(r.Replay.Body)]++
		} else {
			answers[r.Message.ID.String()]++
		}
	})
	if len(answers) != 1 {
		t.Errorf("32 times the same request: %d messages", len(answers))
	}
	if l := w.usage(who, limitDay); l.Used != before+1 || l.Reserved != 0 {
		t.Errorf("charged %+v, before it was %d", l, before)
	}
}

func TestOldAnswersAreForgotten(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	stored := func() (n, index int) {
		t.Helper()
		s := w.queue(Production).env.store
		_, err := kv.View(w.db, func(tx *kv.Tx) (struct{}, error) {
			for range s.idempotency.Scan(tx, kv.Range{}) {
				n++
			}
			for range s.idempotencyByTime.Scan(tx, kv.Range{}) {
				index++
			}
			return struct{}{}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n, index
	}
	list := func(i int) {
		t.Helper()
		if _, err := w.CreateList(who, once(fmt.Sprint(i), ""), fmt.Sprint(i), ""); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		list(i)
	}
	w.clock.pass(OnceKept + time.Millisecond)
	list(100)
	if n, index := stored(); n != 17 || index != 17 {
		t.Errorf("one request forgets four old answers: %d are left, %d in the index", n, index)
	}
	for i := range 5 {
		list(101 + i)
	}
	if n, index := stored(); n != 6 || index != 6 {
		t.Errorf("old answers don't pile up: %d are left, %d in the index", n, index)
	}
}
