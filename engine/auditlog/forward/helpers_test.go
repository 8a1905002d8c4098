package forward

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tuco/engine/auditlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	installation = "7f3c9a"
	patience     = 30 * time.Second
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually asks until fn is content.
func eventually(t testing.TB, what string, fn func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !fn() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		case <-tick.C:
		}
	}
}

// quick is the pace of tests.
var quick = pace{
	look: 5 * time.Millisecond, settle: 100 * time.Millisecond, stall: patience, retry: 2 * time.Millisecond, longest: 20 * time.Millisecond,
	dial: patience, part: patience, late: 50 * time.Millisecond,
}

// A testLog is a log in memory, of lines as they are sealed, and its cursors.
type testLog struct {
	t      testing.TB
	origin string

	mu      sync.Mutex
	head    auditlog.Head
	entries []Entry
	cursors map[string]uint64
	asked   int // how often for its length
}

func newLog(t testing.TB, n int) *testLog {
	l := &testLog{t: t, origin: auditlog.Origin(installation, 0), cursors: map[string]uint64{}}
	l.grow(n)
	return l
}

// grow appends n entries. They have what some format must escape; one in seven is no longer kept.
func (l *testLog) grow(n int) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		i := int(l.head.Seq)
		e := auditlog.Entry{
			Time: time.Date(2026, 11, 23, 14, 5, 6, 1000*i, time.UTC), Event: "staff.read",
			Outcome: []auditlog.Outcome{auditlog.Done, auditlog.Denied, auditlog.Failed}[i%3],
			Actor:   auditlog.Actor{Kind: auditlog.Staff, ID: "=s1", Employer: "a|b=c\\d"},
			Ticket:  []string{"T-5", "+1\n2,\"x\"", "a cs3Label=leafHash cs3=0 externalId=9", "é\u2028"}[i%4],
			Detail:  map[string]string{"n": fmt.Sprint(i)},
		}
		line, next, _, err := auditlog.Seal(&e, l.head, auditlog.Head{})
		must(l.t, err)
		l.head = next
		entry := Entry{Seq: uint64(i), Line: line, Leaf: auditlog.LeafHash(line)}
		if i%7 == 6 {
			entry.Line = nil
		}
		l.entries = append(l.entries, entry)
	}
}

// first returns a log that has only the first n entries.
func (l *testLog) first(n int) *testLog {
	return &testLog{t: l.t, origin: l.origin, entries: l.entries[:n], cursors: map[string]uint64{}}
}

func (l *testLog) Origin() string { return l.origin }

func (l *testLog) Len() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	return uint64(len(l.entries)), nil
}

// looks is how often the log was looked at; a session does once in each round.
func (l *testLog) looks() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

func (l *testLog) Entries(seq uint64, most int) (some []Entry, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, size := int(seq), 0; i < len(l.entries) && size < most; i++ {
		some = append(some, l.entries[i])
		size += len(l.entries[i].Line)
	}
	return some, nil
}

func (l *testLog) Cursor(sink string) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursors[sink], nil
}

func (l *testLog) SetCursor(sink string, seq uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq < l.cursors[sink] {
		l.t.Errorf("the cursor of %s goes back from %d to %d", sink, l.cursors[sink], seq)
	}
	l.cursors[sink] = seq
	return nil
}

// forwardTo runs a forwarder until the test ends, or until what it returns is called.
func forwardTo(t testing.TB, l *testLog, opt Options, urls ...string) (f *Forwarder, stop func()) {
	t.Helper()
	sinks, err := ParseAll(urls)
	must(t, err)
	if opt.pace == (pace{}) {
		opt.pace = quick
	}
	f, err = Start(l, sinks, opt)
	must(t, err)
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		f.Stop(ctx)
	})
	t.Cleanup(stop)
	return f, stop
}

// kill ends a forwarder without letting it send anything more.
func kill(f *Forwarder) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f.cut()
	f.Stop(ctx)
}

// A logBuffer is what was logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) count(what string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Count(b.text.Bytes(), []byte(what))
}
