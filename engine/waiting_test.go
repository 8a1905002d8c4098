package engine

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func (w *world) waiting() Waiting {
	w.t.Helper()
	w.waitingCount().known.Store(nil) // what was knownWaiting a moment ago is as good in production
	got, ok, err := w.Waiting()
	if err != nil || !ok {
		w.t.Fatalf("waiting: %v, %v", ok, err)
	}
	return got
}

func (w *world) waitingCount() *waitingCount { return &w.Engine.waiting }

// TestWaiting: what waits is knownWaiting where it waits, in every environment, and what is due only where it could go.
func TestWaiting(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	l := w.line(Production, 2, 0)
	is := func(when string, want map[Status]int64, due int64, oldest time.Duration) {
		t.Helper()
		got := w.waiting()
		maps.DeleteFunc(got.ByStatus, func(_ Status, n int64) bool { return n == 0 })
		if !maps.Equal(got.ByStatus, want) || got.Due != due || got.OldestDue != oldest {
			t.Errorf("%s: %+v; want %v, %d due for %v", when, got, want, due, oldest)
		}
	}
	is("nothing", map[Status]int64{}, 0, 0)
	for range 3 { // the third is put off by the line's limit, to the next day
		w.send(who, to(phone()))
	}
	later := to(phone())
	later.Scheduled = w.clock.now().Add(time.Hour).Format(time.RFC3339)
	w.send(who, later)
	w.lineOf(w.in(Development), IMessage, LineChange{Phone: ptr(phone())})
	w.send(w.in(Development), to(phone()))
	is("sent", map[Status]int64{Pending: 3, Scheduled: 2}, 0, 0)
	w.clock.pass(time.Hour + time.Minute)
	is("an hour later", map[Status]int64{Pending: 3, Scheduled: 2}, 1, time.Minute)
	if _, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{ReadOnly: ptr(ReadOnlyOperator)}); err != nil {
		t.Fatal(err)
	}
	is("in READ_ONLY", map[Status]int64{Pending: 3, Scheduled: 2}, 0, 0)
	if _, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{ReadOnly: ptr(ReadOnlyReason(""))}); err != nil {
		t.Fatal(err)
	}
	q := w.queue(Production)
	jobs, _ := w.next(Production, l.ID, 1)
	if err := q.HandOver(jobs[0]); err != nil {
		t.Fatal(err)
	}
	is("handed over", map[Status]int64{Pending: 2, Scheduled: 2, Sending: 1}, 1, time.Minute)
	if _, err := q.Lose(jobs[0].Message.ID, "?"); err != nil {
		t.Fatal(err)
	}
	is("lost", map[Status]int64{Pending: 2, Scheduled: 2, Uncertain: 1}, 1, time.Minute)
}

// TestWaitingInParts: more than one transaction counts is knownWaiting, each once.
func TestWaitingInParts(t *testing.T) {
	for _, n := range []int64{0, 1, 2, 3, 4, 6, 7} {
		w := newWorld(t, unlimited())
		w.waitingCount().atOnce = 3
		w.line(Production, 0, 0)
		for range n {
			w.send(w.in(Production), to(phone()))
		}
		if got := w.waiting().ByStatus[Pending]; got != n {
			t.Errorf("%d of %d messages were knownWaiting", got, n)
		}
	}
}

// TestWaitingWhileCounted: whoever asks while it is knownWaiting has the count before, and nothing if there is none.
func TestWaitingWhileCounted(t *testing.T) {
	w := newWorld(t, unlimited())
	w.line(Production, 0, 0)
	w.send(w.in(Production), to(phone()))
	c := w.waitingCount()
	c.counting.Lock()
	if _, ok, err := w.Waiting(); ok || err != nil {
		t.Errorf("while it is knownWaiting for the first time: %v, %v", ok, err)
	}
	c.counting.Unlock()
	w.waiting()
	w.send(w.in(Production), to(phone()))
	c.known.Store(&knownWaiting{Waiting: c.known.Load().Waiting})
	c.counting.Lock()
	got, ok, err := w.Waiting()
	c.counting.Unlock()
	if !ok || err != nil || got.ByStatus[Pending] != 1 {
		t.Errorf("while it is knownWaiting again: %+v, %v, %v", got, ok, err)
	}
	if got, _, _ := w.Waiting(); got.ByStatus[Pending] != 2 {
		t.Errorf("knownWaiting again: %+v", got)
	}
}

// TestCounts: lines by their health, workspaces by why they are READ_ONLY, credentials by where they were found.
func TestCounts(t *testing.T) {
	w := newWorld(t, unlimited())
	l := w.line(Production, 0, 0)
	off := w.line(Production, 0, 0)
	w.lineOf(w.in(Development), Email, LineChange{Email: ptr("a@example.com")})
	if _, err := w.SetLine(w.in(Production), off.ID.String(), LineChange{Active: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.queue(Production).Health(l.ID, false, "gone"); err != nil {
		t.Fatal(err)
	}
	n := w.LineCounts()
	if !maps.Equal(n[IMessage], map[LineHealth]int64{LineDown: 1, LineInactive: 1}) || !maps.Equal(n[Email], map[LineHealth]int64{LineUp: 1}) {
		t.Errorf("lines: %v", n)
	}
	w.workspace("Second", "UTC")
	third := w.workspace("Third", "UTC")
	if _, err := w.Admin().SetWorkspace(third, WorkspaceChange{ReadOnly: ptr(ReadOnlyPastDue)}); err != nil {
		t.Fatal(err)
	}
	if got := w.WorkspaceCounts(); !maps.Equal(got, map[ReadOnlyReason]int64{"": 2, ReadOnlyPastDue: 1}) {
		t.Errorf("workspaces: %v", got)
	}
	hits, misses := w.KeyChecks()
	_, secret := w.key(w.id, Production, NewKey{Name: "k", Role: RoleMember})
	w.auth(secret)
	w.keys.cache.Wait()
	w.auth(secret)
	if h, m := w.KeyChecks(); h-hits != 1 || m-misses != 1 {
		t.Errorf("%d found in memory, %d not; want one of each", h-hits, m-misses)
	}
	before, err := w.AuditEntries()
	if err != nil {
		t.Fatal(err)
	}
	w.workspace("Fourth", "UTC")
	if n, err := w.AuditEntries(); err != nil || n != before+1 {
		t.Errorf("%d entries, then %d: %v", before, n, err)
	}
}

// TestAnchored: the time moves while every anchor is up to date, and stands still from the moment on at which one is not.
func TestAnchored(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWorldIn(t, unlimited(), "UTC", Options{Anchors: []string{filepath.Join(dir, "anchor")}})
	opened := w.Anchored()
	w.clock.pass(time.Minute)
	if got := w.Anchored(); !got.Equal(opened) {
		t.Errorf("%v before any was written; want the opening, %v", got, opened)
	}
	for _, when := range []string{"the log grew", "it did not"} {
		w.clock.pass(time.Minute)
		if err := w.KeepAudit(); err != nil {
			t.Fatal(err)
		}
		if got := w.Anchored(); !got.Equal(w.clock.now()) {
			t.Errorf("%s: %v at %v", when, got, w.clock.now())
		}
	}
	last := w.Anchored()
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	w.workspace("Second", "UTC")
	w.clock.pass(time.Minute)
	if err := w.KeepAudit(); err == nil {
		t.Fatal("an anchor was written where none can be")
	}
	if got := w.Anchored(); !got.Equal(last) {
		t.Errorf("%v although one can't be written; want %v", got, last)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
}
