package kv

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// helpers are what this test binary does when a test starts it as another process.
var helpers = map[string]func(path string){
	"open":    helpOpen,
	"commit":  helpCommit,
	"compact": helpCompact,
	"map":     helpMap,
}

func TestMain(m *testing.M) {
	if helper := helpers[os.Getenv("KV_TEST_HELPER")]; helper != nil {
		helper(os.Getenv("KV_TEST_PATH"))
		return
	}
	_ = flag.Set("rapid.checks", "25") // unless the command line says more
	m.Run()
}

// A note is the record of these tests.
type note struct {
	Text string `json:"text"`
	N    int64  `json:"n"`
}

func bucketAt(path Path) Bucket[note] { return Bucket[note]{Path: path, Codec: JSON[note](1)} }

var notes = bucketAt("notes")

func tempPath(t testing.TB) string { return filepath.Join(t.TempDir(), "db") }

// openTest opens the database at path, and checks and closes it at the end of the test.
func openTest(t testing.TB, path string, opt Options) *DB {
	t.Helper()
	db, err := Open(path, opt)
	if err != nil {
		t.Fatalf("Open(%q) = %v", path, err)
	}
	t.Cleanup(func() { checkAndClose(t, db) })
	return db
}

func newTest(t testing.TB) *DB {
	t.Helper()
	return openTest(t, tempPath(t), Options{})
}

func checkAndClose(t testing.TB, db *DB) {
	t.Helper()
	db.closing.RLock()
	closed := db.closed
	db.closing.RUnlock()
	if closed {
		return
	}
	checkClean(t, db)
	if err := db.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

func checkClean(t testing.TB, db *DB) {
	t.Helper()
	if faults, err := db.Check(); err != nil || len(faults) > 0 {
		t.Errorf("Check() = %q, %v, want no faults", faults, err)
	}
}

func closeTest(t testing.TB, db *DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatalf("Close() = %v", err)
	}
}

// crash returns the path of a copy of the file and its log as they are now, and forgets db: as if the
// process had died.
func crash(t testing.TB, db *DB) string {
	t.Helper()
	path := copyFile(t, db.Path())
	if err := os.CopyFS(path+"-redo", os.DirFS(db.Path()+"-redo")); err != nil {
		t.Fatal(err)
	}
	db.abandon()
	return path
}

// settle moves everything into the file.
func settle(t testing.TB, db *DB) {
	t.Helper()
	if err := db.settle(); err != nil {
		t.Fatalf("settle() = %v", err)
	}
}

func copyFile(t testing.TB, path string) string {
	t.Helper()
	from, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.CreateTemp(filepath.Dir(path), "copy-*")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Name()
}

// do runs fn in an update and fails the test if that fails.
func do(t testing.TB, db *DB, fn func(tx *Tx)) {
	t.Helper()
	if err := try(db, func(tx *Tx) error { fn(tx); return nil }); err != nil {
		t.Fatalf("Update = %v", err)
	}
}

func try(db *DB, fn func(tx *Tx) error) error {
	_, err := Update(db, func(tx *Tx) (struct{}, error) { return struct{}{}, fn(tx) })
	return err
}

func tryCritical(db *DB, fn func(tx *Tx) error) error {
	_, err := UpdateCritical(db, func(tx *Tx) (struct{}, error) { return struct{}{}, fn(tx) })
	return err
}

// look returns what fn finds in a view.
func look[T any](t testing.TB, db *DB, fn func(tx *Tx) T) T {
	t.Helper()
	v, err := View(db, func(tx *Tx) (T, error) { return fn(tx), nil })
	if err != nil {
		t.Fatalf("View = %v", err)
	}
	return v
}

// put stores a note with this text at each key.
func put(t testing.TB, db *DB, text string, keys ...string) {
	t.Helper()
	do(t, db, func(tx *Tx) {
		for _, key := range keys {
			notes.Put(tx, []byte(key), note{Text: text})
		}
	})
}

// all returns the bucket's records by key.
func all(t testing.TB, db *DB, b Bucket[note]) map[string]note {
	t.Helper()
	return look(t, db, func(tx *Tx) map[string]note {
		found := map[string]note{}
		for key, v := range b.Scan(tx, Range{}) {
			found[string(key)] = v
		}
		return found
	})
}

func keysOf(tx *Tx, path Path, r Range) (keys []string) {
	if path.packed() {
		for key := range (Index{Path: path}).Scan(tx, r) {
			keys = append(keys, string(key))
		}
		return keys
	}
	if path.appendOnly() {
		for key := range tx.scan(tx.home(nil, path), r) {
			keys = append(keys, string(key))
		}
		return keys
	}
	for key := range (bucketAt(path)).Scan(tx, r) {
		keys = append(keys, string(key))
	}
	return keys
}

func number(i int) []byte { return fmt.Appendf(nil, "%06d", i) }

// An outcome is how a transaction of a group ended.
type outcome struct {
	err      error
	panicked any
}

// runGroup runs the functions as one group, in this order: it holds the writer until all are queued. It
// returns nil if the writer can't be held.
func runGroup(db *DB, fns ...func(*Tx) error) []outcome {
	release := holdWriter(db)
	if release == nil {
		return nil
	}
	outcomes := make([]outcome, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Go(func() {
			defer func() { outcomes[i].panicked = recover() }()
			outcomes[i].err = try(db, fn)
		})
		waitQueued(db, i+1)
	}
	release()
	wg.Wait()
	return outcomes
}

// holdWriter keeps the writer inside a function until release is called; nil if the writer runs none.
func holdWriter(db *DB) (release func()) {
	holds, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = try(db, func(*Tx) error { close(holds); <-goOn; return nil })
	}()
	select {
	case <-holds:
		return func() { close(goOn); <-ended }
	case <-ended:
		return nil
	}
}

// waitQueued waits until n requests wait for the writer.
func waitQueued(db *DB, n int) {
	for start := time.Now(); len(db.requests) < n; runtime.Gosched() {
		if time.Since(start) > 20*time.Second {
			panic(fmt.Sprintf("%d requests were queued in 20 seconds, want %d", len(db.requests), n))
		}
	}
}

// A clock is the time that a test sets.
type clock struct{ unix atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.unix.Store(1_800_000_000)
	return c
}

func (c *clock) now() time.Time { return time.Unix(c.unix.Load(), 0) }

func (c *clock) move(d time.Duration) { c.unix.Add(int64(d / time.Second)) }

// ahead returns how many seconds id lies ahead of the clock.
func (c *clock) ahead(id ID) int64 { return id.Time().Unix() - c.unix.Load() }

// within20s waits for what done says, but not for ever.
func within20s(done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		return errors.New("still blocked after 20 seconds")
	}
}

// equal fails the test unless got is want.
func equal(t interface {
	Helper()
	Errorf(format string, args ...any)
}, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", what, brief(got), brief(want))
	}
}

func brief(v any) string {
	s := fmt.Sprintf("%+v", v)
	if b, ok := v.([]byte); ok {
		s = fmt.Sprintf("%q", b)
	}
	if len(s) > 2000 {
		s = s[:2000] + "…"
	}
	return s
}

// rewrite gives the file's bytes to change, and writes what it returns.
func rewrite(t testing.TB, path string, change func(data []byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// flip flips a bit in each place where part occurs in the file.
func flip(t testing.TB, path string, part []byte, bit int) {
	t.Helper()
	rewrite(t, path, func(data []byte) []byte {
		changed := bytes.Clone(part)
		changed[bit/8] ^= 1 << (bit % 8)
		if !bytes.Contains(data, part) {
			t.Fatalf("%q does not occur in the file", part)
		}
		return bytes.ReplaceAll(data, part, changed)
	})
}

func long(n int) string { return strings.Repeat("x", n) }
