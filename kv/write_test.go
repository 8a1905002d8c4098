package kv

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func TestFailingFunctionChangesNothing(t *testing.T) {
	db := newTest(t)
	do(t, db, func(tx *Tx) {
		bucketAt("inner/a").Put(tx, []byte("k"), note{Text: "there"})
		notes.Put(tx, []byte("k"), note{Text: "there"})
	})
	refused := errors.New("refused")
	got, err := Update(db, func(tx *Tx) (int, error) {
		notes.Put(tx, []byte("k"), note{Text: "changed"})
		notes.Put(tx, []byte("new"), note{})
		bucketAt("inner/b").Put(tx, []byte("k"), note{})
		tx.Drop("inner")
		return 7, refused
	})
	if got != 0 || err != refused {
		t.Errorf("Update = %v, %v, want 0, %v", got, err, refused)
	}
	equal(t, "notes", all(t, db, notes), map[string]note{"k": {Text: "there"}})
	equal(t, "inner", look(t, db, func(tx *Tx) []string { return tx.Children("inner") }), []string{"a"})
}

func TestPanicReachesItsCallerOnly(t *testing.T) {
	db := newTest(t)
	store := func(key string) func(*Tx) error {
		return func(tx *Tx) error { notes.Put(tx, []byte(key), note{}); return nil }
	}
	refused := errors.New("refused")
	got := runGroup(db,
		store("first"),
		func(tx *Tx) error { notes.Put(tx, []byte("lost"), note{}); panic("a broken invariant") },
		store("second"),
		func(tx *Tx) error { notes.Put(tx, []byte("lost too"), note{}); return refused },
		store("third"),
	)
	equal(t, "outcomes", got, []outcome{{}, {panicked: "a broken invariant"}, {}, {err: refused}, {}})
	equal(t, "records", all(t, db, notes), map[string]note{"first": {}, "second": {}, "third": {}})
	equal(t, "transactions", db.Stats().Transactions, int64(3))
	put(t, db, "", "the writer goes on")
}

// The function may be wrong about its success: it read a record that is damaged.
func TestDamagedRecordFailsTheFunctionThatReadsIt(t *testing.T) {
	path := tempPath(t)
	db := openTest(t, path, Options{})
	put(t, db, "a damaged text", "bad")
	put(t, db, "a good text", "good")
	closeTest(t, db)
	flip(t, path, []byte("a damaged text"), 3)

	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.abandon()
	reads := map[string]func(tx *Tx){
		"Get":  func(tx *Tx) { notes.Get(tx, []byte("bad")) },
		"Scan": func(tx *Tx) { keysOf(tx, "notes", Range{}) },
	}
	for name, read := range reads {
		got := runGroup(db,
			func(tx *Tx) error { notes.Put(tx, []byte("before"), note{}); return nil },
			func(tx *Tx) error { read(tx); notes.Put(tx, []byte("lost"), note{}); return nil },
			func(tx *Tx) error { read(tx); return errors.New("its own error comes second") },
			func(tx *Tx) error { notes.Put(tx, []byte("after"), note{}); return nil },
		)
		for i, damaged := range []bool{false, true, true, false} {
			var record *RecordError
			if errors.As(got[i].err, &record) != damaged || errors.Is(got[i].err, ErrDamaged) != damaged {
				t.Errorf("%s: function %d ended in %v, want a RecordError: %v", name, i, got[i].err, damaged)
			}
			if damaged && (record.Path != "notes" || string(record.Key) != "bad") {
				t.Errorf("%s: the error names %q in %q, want bad in notes", name, record.Key, record.Path)
			}
		}
		if _, err := View(db, func(tx *Tx) (int, error) { read(tx); return 1, nil }); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s in a View = %v, want %v", name, err, ErrDamaged)
		}
	}
	look(t, db, func(tx *Tx) bool {
		for key, want := range map[string]bool{"before": true, "lost": false, "after": true, "good": true, "bad": true} {
			if got := notes.Has(tx, []byte(key)); got != want {
				t.Errorf("Has(%q) = %v, want %v", key, got, want)
			}
		}
		return true
	})
}

func TestWaitingTransactionsAreCommittedTogether(t *testing.T) {
	db := newTest(t)
	fns := make([]func(*Tx) error, 200)
	for i := range fns {
		fns[i] = func(tx *Tx) error { notes.Put(tx, number(i), note{}); return nil }
	}
	before := db.Stats()
	runGroup(db, fns...)
	after := db.Stats()
	equal(t, "commits", after.Commits-before.Commits, int64(1))
	equal(t, "transactions", after.Transactions-before.Transactions, int64(len(fns)))
}

func TestEveryAcknowledgedWriteIsInTheFile(t *testing.T) {
	db := newTest(t)
	const callers, each = 32, 25
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				if err := try(db, func(tx *Tx) error {
					notes.Put(tx, fmt.Appendf(nil, "%d/%d", c, i), note{N: int64(i)})
					return nil
				}); err != nil {
					t.Errorf("Update = %v", err)
				}
			}
		})
	}
	wg.Wait()
	stats := db.Stats()
	if stats.Transactions != callers*each || stats.Commits >= stats.Transactions {
		t.Errorf("%d commits for %d transactions, want %d in fewer commits", stats.Commits, stats.Transactions, callers*each)
	}
	db = openTest(t, crash(t, db), Options{})
	got := all(t, db, notes)
	for c := range callers {
		for i := range each {
			if key := fmt.Sprintf("%d/%d", c, i); got[key] != (note{N: int64(i)}) {
				t.Errorf("acknowledged record %s = %+v, want it", key, got[key])
			}
		}
	}
}

// A countingDisk counts the syncs that followed a write.
type countingDisk struct {
	osDisk
	synced atomic.Int64
}

func (d *countingDisk) open(path string, create bool) (logFile, error) {
	f, err := d.osDisk.open(path, create)
	return &countingFile{logFile: f, disk: d}, err
}

type countingFile struct {
	logFile
	disk    *countingDisk
	written bool
}

func (f *countingFile) WriteAt(p []byte, at int64) (int, error) {
	f.written = true
	return f.logFile.WriteAt(p, at)
}

func (f *countingFile) sync() error {
	err := f.logFile.sync()
	if f.written && err == nil {
		f.disk.synced.Add(1)
	}
	f.written = false
	return err
}

func TestAcknowledgementComesAfterTheCommit(t *testing.T) {
	d := &countingDisk{}
	db, err := open(tempPath(t), Options{}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer checkAndClose(t, db)
	for i := range 200 {
		before := d.synced.Load()
		put(t, db, "", string(number(i)))
		if got := d.synced.Load() - before; got != 1 {
			t.Fatalf("write %d was acknowledged after %d syncs", i+1, got)
		}
	}
}

func TestFunctionsWithoutChangesNeedNoCommit(t *testing.T) {
	db := newTest(t)
	put(t, db, "", "k")
	before := db.Stats().Commits
	do(t, db, func(tx *Tx) { notes.Get(tx, []byte("k")); notes.Delete(tx, []byte("absent")) })
	if err := db.Barrier(); err != nil {
		t.Errorf("Barrier() = %v", err)
	}
	equal(t, "commits", db.Stats().Commits-before, int64(0))
}

func TestBarrierWaitsForWhatWasQueued(t *testing.T) {
	db := newTest(t)
	release := holdWriter(db)
	go func() {
		_ = try(db, func(tx *Tx) error { notes.Put(tx, []byte("k"), note{}); return nil })
	}()
	waitQueued(db, 1)
	barrier := make(chan error, 1)
	go func() { barrier <- db.Barrier() }()
	waitQueued(db, 2)
	release()
	if err := <-barrier; err != nil {
		t.Errorf("Barrier() = %v", err)
	}
	equal(t, "records after the barrier", all(t, db, notes), map[string]note{"k": {}})
}

func TestCloseWaitsForWhatWasQueued(t *testing.T) {
	path := tempPath(t)
	db := openTest(t, path, Options{})
	release := holdWriter(db)
	const n = 50
	acknowledged := make(chan error, n)
	for i := range n {
		go func() {
			acknowledged <- try(db, func(tx *Tx) error { notes.Put(tx, number(i), note{}); return nil })
		}()
	}
	waitQueued(db, n)
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	release()
	for range n {
		if err := <-acknowledged; err != nil {
			t.Errorf("a write queued before Close ended in %v", err)
		}
	}
	if err := <-closed; err != nil {
		t.Errorf("Close() = %v", err)
	}
	if err := try(db, func(*Tx) error { return nil }); !errors.Is(err, ErrStopped) {
		t.Errorf("a write after Close ended in %v, want %v", err, ErrStopped)
	}
	if err := db.Close(); err != nil {
		t.Errorf("the second Close() = %v", err)
	}
	db = openTest(t, path, Options{})
	equal(t, "number of records", len(all(t, db, notes)), n)
}
