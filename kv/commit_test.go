package kv

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

var errDisk = errors.New("input/output error")

// A failingDisk is the machine's, until it fails: from then on all that changes the log does, once for
// each step that is told.
type failingDisk struct {
	osDisk
	when atomic.Pointer[string]
}

// The steps that can fail. A write can fail when it was done in part, a sync when all was written.
const (
	onWrite = "write"
	onPart  = "part of a write"
	onSync  = "sync"
)

var failingSteps = []string{onWrite, onPart, onSync}

func (d *failingDisk) fail(when string) { d.when.Store(&when) }

func (d *failingDisk) fails(step string) bool {
	when := d.when.Load()
	return when != nil && *when == step
}

func (d *failingDisk) open(path string, create bool) (logFile, error) {
	f, err := d.osDisk.open(path, create)
	return failingFile{f, d}, err
}

type failingFile struct {
	logFile
	disk *failingDisk
}

func (f failingFile) WriteAt(p []byte, at int64) (int, error) {
	switch {
	case f.disk.fails(onWrite):
		return 0, errDisk
	case f.disk.fails(onPart):
		n, _ := f.logFile.WriteAt(p[:len(p)/2], at)
		return n, errDisk
	}
	return f.logFile.WriteAt(p, at)
}

func (f failingFile) sync() error {
	if f.disk.fails(onSync) {
		return errDisk
	}
	return f.logFile.sync()
}

// openFailing opens a database on a disk that can be told to fail.
func openFailing(t testing.TB, path string, opt Options) (*DB, *failingDisk) {
	t.Helper()
	d := &failingDisk{}
	db, err := open(path, opt, d)
	if err != nil {
		t.Fatalf("open(%q) = %v", path, err)
	}
	t.Cleanup(func() {
		if db.failure.Load() == nil {
			checkAndClose(t, db)
		}
		_ = db.Close()
	})
	return db, d
}

func TestOutcomeOfAFailedCommitIsUnknown(t *testing.T) {
	for _, step := range failingSteps {
		t.Run(step, func(t *testing.T) {
			path := tempPath(t)
			db, d := openFailing(t, path, Options{})
			put(t, db, "old", "k")
			queued := make(chan error, 2)
			refused := errors.New("refused")
			got := runGroup(db,
				func(tx *Tx) error { notes.Put(tx, []byte("k"), note{Text: "new"}); return nil },
				func(tx *Tx) error { notes.Put(tx, []byte("l"), note{Text: "new"}); return nil },
				func(tx *Tx) error { notes.Get(tx, []byte("k")); return nil },
				func(tx *Tx) error { notes.Get(tx, []byte("k")); return refused },
				func(tx *Tx) error {
					d.fail(step)
					for range cap(queued) { // these wait while the commit fails
						go func() { queued <- try(db, func(tx *Tx) error { notes.Delete(tx, []byte("k")); return nil }) }()
					}
					waitQueued(db, cap(queued))
					panic("a broken invariant")
				},
			)
			for i, want := range []error{ErrUnknown, ErrUnknown, ErrUnknown, ErrStopped} {
				if !errors.Is(got[i].err, want) {
					t.Errorf("function %d ended in %v, want %v", i, got[i].err, want)
				}
			}
			if !errors.Is(got[0].err, errDisk) {
				t.Errorf("function 0 ended in %v, want the cause in it", got[0].err)
			}
			if errors.Is(got[3].err, refused) {
				t.Errorf("function 3 failed with its own error, which rests on a write whose outcome is unknown")
			}
			if got[4].panicked == nil {
				t.Errorf("function 4 did not panic in its caller: %v", got[4])
			}
			for range cap(queued) {
				if err := <-queued; !errors.Is(err, ErrStopped) {
					t.Errorf("a queued write ended in %v, want %v", err, ErrStopped)
				}
			}
			checkStopped(t, db)
			closeTest(t, db)
			checkOldOrNew(t, path, map[string]note{"k": {Text: "old"}}, map[string]note{"k": {Text: "new"}, "l": {Text: "new"}})
		})
	}
}

func checkStopped(t *testing.T, db *DB) {
	t.Helper()
	select {
	case <-db.Failed():
	default:
		t.Errorf("Failed() is not closed")
	}
	if err := try(db, func(tx *Tx) error { return nil }); !errors.Is(err, ErrStopped) {
		t.Errorf("a later Update ended in %v, want %v", err, ErrStopped)
	}
	if err := tryCritical(db, func(tx *Tx) error { return nil }); !errors.Is(err, ErrStopped) {
		t.Errorf("a later UpdateCritical ended in %v, want %v", err, ErrStopped)
	}
	if err := db.Barrier(); !errors.Is(err, ErrStopped) {
		t.Errorf("a later Barrier ended in %v, want %v", err, ErrStopped)
	}
	if _, err := View(db, func(tx *Tx) (int, error) { return 0, nil }); err != nil {
		t.Errorf("a later View ended in %v, want none", err)
	}
}

// checkOldOrNew reopens the file: it holds one state or the other, and can be used.
func checkOldOrNew(t *testing.T, path string, before, after map[string]note) {
	t.Helper()
	db := openTest(t, path, Options{})
	checkClean(t, db)
	got := all(t, db, notes)
	want := before
	if _, ok := got["l"]; ok {
		want = after
	}
	equal(t, "after reopening", got, want)
	put(t, db, "works", "k")
	equal(t, "after a new write", all(t, db, notes)["k"], note{Text: "works"})
}

func TestCrashAfterAFailedCommit(t *testing.T) {
	for _, step := range failingSteps {
		db, d := openFailing(t, tempPath(t), Options{})
		put(t, db, "old", "k")
		d.fail(step)
		err := try(db, func(tx *Tx) error {
			notes.Put(tx, []byte("k"), note{Text: "new"})
			notes.Put(tx, []byte("l"), note{Text: "new"})
			return nil
		})
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: Update = %v, want %v", step, err, ErrUnknown)
		}
		checkOldOrNew(t, crash(t, db), map[string]note{"k": {Text: "old"}}, map[string]note{"k": {Text: "new"}, "l": {Text: "new"}})
	}
}

// A View never shows what may not be durable.
func TestFailedCommitIsNotSeen(t *testing.T) {
	for _, step := range failingSteps {
		db, d := openFailing(t, tempPath(t), Options{})
		put(t, db, "old", "k")
		d.fail(step)
		if err := try(db, func(tx *Tx) error { notes.Put(tx, []byte("k"), note{Text: "new"}); return nil }); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: Update = %v, want %v", step, err, ErrUnknown)
		}
		equal(t, step, all(t, db, notes), map[string]note{"k": {Text: "old"}})
	}
}

// commits of the applier that report a failure: bbolt's Commit does either of them when the disk fails.
var failingCommits = map[string]func(b *bolt.Tx) error{
	"not written": func(b *bolt.Tx) error {
		return errors.Join(errDisk, b.Rollback())
	},
	"written": func(b *bolt.Tx) error {
		return errors.Join(errDisk, b.Commit())
	},
}

// What was acknowledged is in the log when the applier fails; nobody knows what is in the file.
func TestFailedApplyEndsTheWriting(t *testing.T) {
	for name, fails := range failingCommits {
		path := tempPath(t)
		db, _ := openFailing(t, path, Options{})
		put(t, db, "old", "k")
		settle(t, db)
		put(t, db, "new", "k", "l")
		db.opt.commitBolt = fails
		if err := db.settle(); !errors.Is(err, ErrUnknown) || !errors.Is(err, errDisk) {
			t.Errorf("%s: settle() = %v, want %v with its cause", name, err, ErrUnknown)
		}
		checkStopped(t, db)
		equal(t, name, all(t, db, notes), map[string]note{"k": {Text: "new"}, "l": {Text: "new"}})
		closeTest(t, db)
		db = openTest(t, path, Options{})
		equal(t, name+", opened again", all(t, db, notes), map[string]note{"k": {Text: "new"}, "l": {Text: "new"}})
	}
}

// bbolt's own failing writes, not a stand-in: the file's descriptor can't be written to any more.
func TestApplyToABrokenFile(t *testing.T) {
	path := tempPath(t)
	db, _ := openFailing(t, path, Options{})
	put(t, db, "old", "k")
	breakFile(t, db)
	if err := db.settle(); !errors.Is(err, ErrUnknown) {
		t.Errorf("settle() = %v, want %v", err, ErrUnknown)
	}
	checkStopped(t, db)
	_ = db.Close()
	checkOldOrNew(t, path, map[string]note{"k": {Text: "old"}}, nil)
}

// breakFile puts a descriptor that only reads in place of bbolt's.
func breakFile(t *testing.T, db *DB) {
	t.Helper()
	f, err := os.Open(db.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Dup3(int(f.Fd()), int(db.bolt.Load().file.Fd()), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
}
