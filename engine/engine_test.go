package engine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"github.com/rs/zerolog"
	"hash"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tuco/engine/quota"
	"tuco/kv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when tests begin: a Monday, in winter on both sides of the Atlantic.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var home = netip.MustParseAddr("192.0.2.7")

// testClock is a wall clock beside the time that passes.
type testClock struct {
	mu   sync.Mutex
	wall time.Time
	past time.Duration
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

func (c *testClock) elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.past
}

// pass lets time pass.
func (c *testClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.past = c.wall.Add(d), c.past+d
}

// until lets time pass until t.
func (c *testClock) until(t time.Time) { c.pass(t.Sub(c.now())) }

// set sets the wall clock, without any time passing.
func (c *testClock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = t
}

// world is an engine with one workspace, for a test.
type world struct {
	*Engine
	t     testing.TB
	clock *testClock
	opt   Options
	id    WorkspaceID
}

func n64(n int64) *int64        { return &n }
func ptr[T any](v T) *T         { return &v }
func unlimited() PlanChange     { return PlanChange{RequestsPerMinute: n64(0)} }
func perDay(n int64) PlanChange { return PlanChange{MessagesPerDay: n64(n), RequestsPerMinute: n64(0)} }
func newPerDay(n int64) PlanChange {
	return PlanChange{NewContactsPerDay: n64(n), RequestsPerMinute: n64(0)}
}

// newWorld opens an engine with a workspace on a plan of its own. When the test ends everything is
// checked and closed.
func newWorld(t testing.TB, plan PlanChange) *world {
	t.Helper()
	return newWorldIn(t, plan, "UTC", Options{})
}

func newWorldIn(t testing.TB, plan PlanChange, zone string, opt Options) *world {
	t.Helper()
	w := &world{t: t, clock: &testClock{wall: noon, past: time.Hour}}
	opt.Dir = filepath.Join(t.TempDir(), "data")
	opt.Now = w.clock.now
	w.opt = opt
	w.open()
	t.Cleanup(func() {
		if w.Engine != nil {
			w.verify()
			w.close()
		}
	})
	if _, err := w.Admin().SetPlan("test", plan); err != nil {
		t.Fatal(err)
	}
	w.id = w.workspace("First", zone)
	return w
}

func (w *world) workspace(name, zone string) WorkspaceID {
	w.t.Helper()
	made, err := w.Admin().CreateWorkspace(name, "test", zone)
	if err != nil {
		w.t.Fatal(err)
	}
	return made.ID
}

func (w *world) open() {
	w.t.Helper()
	e, err := Open(w.opt)
	if err != nil {
		w.t.Fatal(err)
	}
	e.clock.elapsed, e.clock.ticks = w.clock.elapsed, w.clock.elapsed
	e.clock.accept()
	w.Engine = e
}

// realTime opens the engine again by the machine's own clocks.
func (w *world) realTime() {
	w.t.Helper()
	w.close()
	w.opt.Now = nil
	e, err := Open(w.opt)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Engine = e
}

func (w *world) close() {
	w.t.Helper()
	if err := w.Close(); err != nil {
		w.t.Errorf("closing: %v", err)
	}
	w.Engine = nil
}

// reopen closes the engine and opens it again.
func (w *world) reopen() {
	w.t.Helper()
	w.close()
	w.open()
}

// crash opens the engine again with the database and its redo log as they are, without closing it first.
func (w *world) crash() {
	w.t.Helper()
	dir := w.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(w.opt.Dir)); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, DatabaseName), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.close()
	w.opt.Dir = dir
	w.open()
}

// verify checks the store, and that the counters in memory are what is stored. Nothing may be in flight.
func (w *world) verify() {
	w.t.Helper()
	faults, err := w.Check()
	if err != nil {
		w.t.Errorf("check: %v", err)
	}
	for _, f := range faults {
		w.t.Errorf("check: %s", f)
	}
	for _, ten := range w.allTenants() {
		w.verifyCounters(ten)
	}
}

func (w *world) verifyCounters(ten *tenant) {
	w.t.Helper()
	_, err := kv.View(w.db, func(tx *kv.Tx) (struct{}, error) {
		for p, c := range ten.pools {
			u, _ := usageBucket(ten.id).Get(tx, []byte(p))
			w.sameUsage(fmt.Sprint(ten.id, " ", p, " messages"), c.messages.Usage(), u.Day, quota.Sums{First: u.Messages, Second: u.Month}, true)
			w.sameUsage(fmt.Sprint(ten.id, " ", p, " contacts"), c.contacts.Usage(), u.Day, quota.Sums{First: u.Contacts}, false)
		}
		for _, env := range ten.envs {
			for identity, c := range env.lines.Load().counters {
				u, _ := env.store.lineUsage.Get(tx, []byte(identity))
				w.sameUsage(fmt.Sprint(ten.id, " ", env.name, " line ", identity), c.Usage(), u.Day, quota.Sums{First: u.Messages, Second: u.Conversations}, false)
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		w.t.Error(err)
	}
}

// sameUsage compares a counter with what is stored. A refused request may have opened a day in memory.
func (w *world) sameUsage(what string, got quota.Usage, day quota.Label, want quota.Sums, monthly bool) {
	w.t.Helper()
	if got.Day > day {
		want.First = 0
		if !monthly || got.Day.Month() != day.Month() {
			want.Second = 0
		}
	}
	if got.Day < day && want == (quota.Sums{}) { // of the new day nothing was used
		want = got.Committed
	}
	if got.Committed != want || got.Reserved != (quota.Sums{}) {
		w.t.Errorf("%s: the counter has %+v, stored are %+v of %s", what, got, want, day)
	}
}

// in is an owner's key of one environment of the first workspace.
func (w *world) in(env Environment) Caller {
	w.t.Helper()
	return w.ownerOf(w.id, env)
}

func (w *world) ownerOf(id WorkspaceID, env Environment) Caller {
	w.t.Helper()
	_, secret := w.key(id, env, NewKey{Name: "owner", Role: RoleOwner})
	return w.auth(secret)
}

func (w *world) operator(env Environment) Caller {
	w.t.Helper()
	return w.operatorOf(w.id, env)
}

func (w *world) operatorOf(id WorkspaceID, env Environment) Caller {
	w.t.Helper()
	op, err := w.Admin().In(id, env)
	if err != nil {
		w.t.Fatal(err)
	}
	return op
}

func (w *world) key(id WorkspaceID, env Environment, in NewKey) (Key, string) {
	w.t.Helper()
	k, secret, err := w.CreateKey(w.operatorOf(id, env), in)
	if err != nil {
		w.t.Fatal(err)
	}
	return k, secret
}

func (w *world) auth(secret string) Caller {
	w.t.Helper()
	who, err := w.Authenticate(secret, home)
	if err != nil {
		w.t.Fatal(err)
	}
	return who
}

var nextPhone = struct {
	sync.Mutex
	n int
}{}

// phone is a valid phone number that no test has had.
func phone() string {
	nextPhone.Lock()
	defer nextPhone.Unlock()
	nextPhone.n++
	area := []string{"202", "203", "205", "206", "207", "208", "209", "210"}[nextPhone.n/10_000]
	return fmt.Sprintf("+1%s555%04d", area, nextPhone.n%10_000) // 555-0000 to -9999
}

// line makes a line without gaps. A limit of 0 is none.
func (w *world) line(env Environment, daily, conversations int64) Line {
	w.t.Helper()
	return w.lineOf(w.operator(env), IMessage, LineChange{Phone: ptr(phone()), DailyMessages: &daily, DailyNew: &conversations})
}

func (w *world) lineOf(who Caller, channel Channel, change LineChange) Line {
	w.t.Helper()
	if change.DeviceGap == nil {
		change.DeviceGap = ptr(time.Duration(0))
	}
	if change.ContactGap == nil {
		change.ContactGap = ptr(time.Duration(0))
	}
	l, err := w.CreateLine(who, channel, change)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// send sends a message that must be taken.
func (w *world) send(who Caller, req SendRequest) *SendResult {
	w.t.Helper()
	if req.Text == "" {
		req.Text = "Hello"
	}
	r, err := w.Send(who, nil, req)
	if err != nil {
		w.t.Fatalf("sending %+v: %v", req, err)
	}
	return r
}

// to asks for a message to a phone.
func to(phone string) SendRequest { return SendRequest{Text: "Hello", Phone: phone} }

// get reads a message again.
func (w *world) get(who Caller, id MessageID) Message {
	w.t.Helper()
	v, err := w.GetMessage(who, id.String())
	if err != nil {
		w.t.Fatal(err)
	}
	return v.Message
}

func (w *world) queue(env Environment) Queue { return Queue{w.tenant(w.id).envs[env]} }

// release moves everything that is due.
func (w *world) release(env Environment) {
	w.t.Helper()
	for {
		next, err := w.queue(env).Release()
		if err != nil {
			w.t.Fatal(err)
		}
		if next.IsZero() || next.After(w.clock.now()) {
			return
		}
	}
}

// deliver hands over and finishes what a line can send now, one message at most, and returns it.
func (w *world) deliver(env Environment, line LineID) (Message, bool) {
	w.t.Helper()
	q := w.queue(env)
	jobs, _, err := q.Next(line, 1, func(MessageID) bool { return false })
	if err != nil {
		w.t.Fatal(err)
	}
	if len(jobs) == 0 {
		return Message{}, false
	}
	if err := q.HandOver(jobs[0]); err != nil {
		if errors.Is(err, ErrNotNow) {
			return Message{}, false
		}
		w.t.Fatal(err)
	}
	m, err := q.Finish(jobs[0].Message.ID, Outcome{Status: Delivered, ExternalID: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return m, true
}

// usage is one limit's state.
func (w *world) usage(who Caller, name string) LimitState {
	w.t.Helper()
	all, err := w.Usage(who)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range all {
		if l.Name == name {
			return l
		}
	}
	w.t.Fatalf("no limit %q in %+v", name, all)
	return LimitState{}
}

// refused fails the test unless err is an *Error of the kind with the code and text; empty is any.
func refused(t *testing.T, what string, err error, kind Kind, code, text string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("%s: got %v, want an error of kind %d %s %q", what, err, kind, code, text)
		return &Error{}
	}
	if e.Kind != kind || code != "" && e.Code != code || text != "" && e.Msg != text {
		t.Errorf("%s: got kind %d, code %q, %q; want kind %d, code %q, %q", what, e.Kind, e.Code, e.Msg, kind, code, text)
	}
	return e
}

// mustFail is refused for calls that also return something.
func mustFail[T any](t *testing.T, what string, kind Kind, code, text string) func(T, error) *Error {
	return func(_ T, err error) *Error {
		t.Helper()
		return refused(t, what, err, kind, code, text)
	}
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		case <-look.C:
		}
	}
}

// contents is a digest of everything stored in every environment, and of the plan usage.
func (w *world) contents() string {
	w.t.Helper()
	sum := sha256.New()
	_, err := kv.View(w.db, func(tx *kv.Tx) (struct{}, error) {
		for _, work := range workspaces.Scan(tx, kv.Range{}) {
			digest(tx, work.ID.path(), sum)
		}
		return struct{}{}, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(sum.Sum(nil))
}

func digest(tx *kv.Tx, path kv.Path, sum hash.Hash) {
	raw := kv.Bucket[string]{Path: path, Codec: kv.Codec[string]{Decode: func(_ byte, data []byte) (string, error) { return string(data), nil }}}
	index := kv.Index{Path: path}
	records := strings.Contains(string(path), "/") && !indexNames[path[strings.LastIndexByte(string(path), '/')+1:]]
	switch {
	case strings.HasSuffix(string(path), "/keys.use"):
	case records:
		for key, value := range raw.Scan(tx, kv.Range{}) {
			fmt.Fprintf(sum, "%s %x %q\n", path, key, value)
		}
	default:
		for key := range index.Scan(tx, kv.Range{}) {
			fmt.Fprintf(sum, "%s %x\n", path, key)
		}
	}
	for _, name := range tx.Children(path) {
		digest(tx, path.Join(name), sum)
	}
}

// indexNames are the buckets that hold keys without records.
var indexNames = map[kv.Path]bool{
	"leads.address": true, "leads.list": true, "messages.status": true, "messages.lead": true, "messages.line": true, "messages.batch": true,
	"messages.address": true, "messages.released": true, "messages.due": true, "messages.ready": true, "idempotency.time": true,
}

type kvTx = kv.Tx

// forge changes the store behind the engine's back.
func (w *world) forge(fn func(tx *kv.Tx)) {
	w.t.Helper()
	if _, err := kv.Update(w.db, func(tx *kv.Tx) (struct{}, error) { fn(tx); return struct{}{}, nil }); err != nil {
		w.t.Fatal(err)
	}
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *syncBuffer) logger() zerolog.Logger { return zerolog.New(b) }

func (b *syncBuffer) has(words ...string) bool {
	return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(b.String(), word) })
}
