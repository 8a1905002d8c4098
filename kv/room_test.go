package kv

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// fill puts records of size bytes at the keys from first on until there is no room, and returns how
// many were acknowledged.
func fill(t *testing.T, db *DB, update func(*DB, func(*Tx) error) error, first, size int) (n int) {
	t.Helper()
	before := count(t, db)
	for ; n < 10_000; n++ {
		err := update(db, func(tx *Tx) error {
			notes.Put(tx, number(first+n), note{Text: long(size)})
			return nil
		})
		if err != nil {
			if !errors.Is(err, ErrNoRoom) {
				t.Fatalf("put number %d ended in %v, want %v", first+n, err, ErrNoRoom)
			}
			equal(t, "number of records after ErrNoRoom", count(t, db), before+n)
			return n
		}
	}
	t.Fatalf("%d records of %d bytes, and still room", n, size)
	return n
}

// count returns how many notes there are, without reading them.
func count(t *testing.T, db *DB) int {
	t.Helper()
	return look(t, db, func(tx *Tx) (n int) {
		for range tx.scan(tx.home(nil, notes.Path), Range{}) {
			n++
		}
		return n
	})
}

func deleteNotes(from, to int) func(*Tx) error {
	return func(tx *Tx) error {
		for i := from; i < to; i++ {
			notes.Delete(tx, number(i))
		}
		return nil
	}
}

func TestFileKeepsToItsLargestSize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		max     int64
		record  int
		atLeast int
	}{
		{"small records", 4 << 20, 1000, 1200},
		{"records of some pages", 4 << 20, 20_000, 100},
		{"beyond 16 MiB", 20 << 20, 200_000, 80},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := tempPath(t)
			db := openTest(t, path, Options{MaxSize: tt.max})
			n := fill(t, db, try, 0, tt.record)
			if n < tt.atLeast {
				t.Errorf("%d records of %d bytes fit into %d bytes, want at least %d", n, tt.record, tt.max, tt.atLeast)
			}
			if size := fileSize(t, path); size > tt.max {
				t.Errorf("the file has %d bytes, want at most %d", size, tt.max)
			}
			for i := range 10 { // one by one they need little room
				if err := try(db, deleteNotes(i, i+1)); err != nil {
					t.Fatalf("a deletion in the full file ended in %v", err)
				}
			}
			put(t, db, "small", "after the deletions")
			if err := try(db, deleteNotes(0, n/2)); err != nil {
				t.Errorf("the deletion of half the records ended in %v", err)
			}
			if again := fill(t, db, try, n, tt.record); again < n/4 {
				t.Errorf("after half of %d records were deleted, %d fit, want more", n, again)
			}
			if size := fileSize(t, path); size > tt.max {
				t.Errorf("the file has %d bytes, want at most %d", size, tt.max)
			}
			closeTest(t, db)
			openTest(t, path, Options{MaxSize: tt.max})
		})
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestReserveIsForCriticalTransactions(t *testing.T) {
	t.Parallel()
	db := openTest(t, tempPath(t), Options{MaxSize: 8 << 20, Reserve: 3 << 20})
	n := fill(t, db, try, 0, 10_000)
	room := db.Room()
	if !room.Low() && room.left() > room.Reserve+100_000 {
		t.Errorf("no room with %+v, want only the reserve left", room)
	}
	if err := try(db, func(tx *Tx) error { notes.Get(tx, number(0)); return nil }); err != nil {
		t.Errorf("a transaction without changes ended in %v", err)
	}
	if err := db.Barrier(); err != nil {
		t.Errorf("Barrier() = %v", err)
	}
	if more := fill(t, db, tryCritical, n, 10_000); more < 50 {
		t.Errorf("%d critical records of 10,000 bytes fit into a reserve of 3 MiB, want more", more)
	}
	if err := tryCritical(db, deleteNotes(0, n)); err != nil {
		t.Errorf("a critical deletion of most records ended in %v", err)
	}
	put(t, db, "room again", "k")
}

func TestHugeTransactionTakesNoOtherWithIt(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]Options{
		"with a reserve":    {MaxSize: 4 << 20, Reserve: 1 << 20},
		"without a reserve": {MaxSize: 4 << 20},
	} {
		db := openTest(t, tempPath(t), opt)
		fns := make([]func(*Tx) error, 40)
		for i := range fns {
			fns[i] = func(tx *Tx) error { notes.Put(tx, number(i), note{Text: long(1000)}); return nil }
		}
		fns[17] = func(tx *Tx) error {
			for i := range 15 {
				notes.Put(tx, number(1000+i), note{Text: long(300_000)})
			}
			return nil
		}
		for i, got := range runGroup(db, fns...) {
			if i == 17 && !errors.Is(got.err, ErrNoRoom) || i != 17 && got.err != nil {
				t.Errorf("%s: transaction %d ended in %v", name, i, got.err)
			}
		}
		equal(t, name+": number of records", count(t, db), len(fns)-1)
	}
}

// Each fits alone, but not all of them do: as many as possible are done.
func TestGroupThatDoesNotFitTogether(t *testing.T) {
	t.Parallel()
	db := openTest(t, tempPath(t), Options{MaxSize: 8 << 20, Reserve: 1 << 20})
	fns := make([]func(*Tx) error, 16)
	for i := range fns {
		fns[i] = func(tx *Tx) error { notes.Put(tx, number(i), note{Text: long(1 << 20)}); return nil }
	}
	done := 0
	for i, got := range runGroup(db, fns...) {
		if got.err == nil {
			done++
		} else if !errors.Is(got.err, ErrNoRoom) {
			t.Errorf("transaction %d ended in %v, want none or %v", i, got.err, ErrNoRoom)
		}
	}
	if done < 3 || done > 6 {
		t.Errorf("%d of 16 MiB fit into 8 MiB with 1 MiB in reserve, want 3 to 6", done)
	}
	equal(t, "number of records", count(t, db), done)
}

func TestCloseWithoutRoom(t *testing.T) {
	path := tempPath(t)
	opt := Options{MaxSize: 4 << 20, Reserve: 1 << 20}
	db := openTest(t, path, opt)
	do(t, db, func(tx *Tx) { tx.NewID(Tag{1}) })
	n := fill(t, db, try, 0, 10_000)
	n += fill(t, db, tryCritical, n, 10_000)
	closeTest(t, db)
	db = openTest(t, path, opt)
	equal(t, "number of records", count(t, db), n)
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 7<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	db := openTest(t, filepath.Join(dir, "db"), Options{Reserve: 6 << 20})
	if n := fill(t, db, try, 0, 50_000); n < 50 {
		t.Errorf("%d records of 50,000 bytes fit onto a disk of 19 MiB with a reserve of 6 MiB, want more", n)
	}
	room := db.Room()
	if room.Free < room.Reserve-(1<<20) || room.Free > room.Reserve+(1<<20) {
		t.Errorf("ErrNoRoom came with %d bytes free, want about %d", room.Free, room.Reserve)
	}
	if n := fill(t, db, tryCritical, 1000, 50_000); n < 10 {
		t.Errorf("%d critical records of 50,000 bytes fit into the reserve of 6 MiB, want more", n)
	}
	if err := tryCritical(db, deleteNotes(0, 20)); err != nil {
		t.Errorf("a critical deletion on the nearly full disk ended in %v", err)
	}
	select {
	case <-db.Failed():
		t.Fatalf("the disk was full before ErrNoRoom came")
	default:
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	settleAtLast(t, db)
	put(t, db, "there is room again", "k")
}

// settleAtLast waits until the applier, which may have been stuck, has found that there is room again.
func settleAtLast(t *testing.T, db *DB) {
	t.Helper()
	for start := time.Now(); db.settle() != nil; runtime.Gosched() {
		if time.Since(start) > 20*time.Second {
			t.Fatal("nothing is moved although there is room again")
		}
	}
}

// A disk that fills up from elsewhere refuses what comes; what was acknowledged stays, and when there is
// room again all goes on.
func TestDiskFilledByOthers(t *testing.T) {
	dir := smallDisk(t)
	path := filepath.Join(dir, "db")
	db := openTest(t, path, Options{})
	put(t, db, "old", "k")
	ballast := filepath.Join(dir, "ballast")
	_ = os.WriteFile(ballast, make([]byte, 32<<20), 0o600)
	for range 3 {
		err := try(db, func(tx *Tx) error { notes.Put(tx, []byte("big"), note{Text: long(1 << 20)}); return nil })
		if !errors.Is(err, ErrNoRoom) {
			t.Errorf("a write to the full disk ended in %v, want %v", err, ErrNoRoom)
		}
	}
	equal(t, "records on the full disk", all(t, db, notes), map[string]note{"k": {Text: "old"}})
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	put(t, db, "works", "k")
	closeTest(t, db)
	db = openTest(t, path, Options{})
	equal(t, "records", all(t, db, notes), map[string]note{"k": {Text: "works"}})
}

// The file can't grow any more when what was acknowledged is to be moved into it: it stays in the log
// until there is room.
func TestDiskFullForTheApplier(t *testing.T) {
	dir := smallDisk(t)
	path := filepath.Join(dir, "db")
	db := openTest(t, path, Options{})
	want := map[string]note{}
	for i := range 4 {
		want[string(number(i))] = note{Text: long(2 << 20)}
		do(t, db, func(tx *Tx) { notes.Put(tx, number(i), note{Text: long(2 << 20)}) })
	}
	ballast := filepath.Join(dir, "ballast")
	_ = os.WriteFile(ballast, make([]byte, 32<<20), 0o600)
	if err := db.settle(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("settle() on the full disk = %v, want %v", err, unix.ENOSPC)
	}
	equal(t, "records on the full disk", all(t, db, notes), want)
	closeTest(t, db) // as after a crash
	db = openTest(t, path, Options{})
	equal(t, "records, opened again on the full disk", all(t, db, notes), want)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	put(t, db, "works", "k")
	want["k"] = note{Text: "works"}
	equal(t, "records", all(t, db, notes), want)
}

// smallDisk mounts 24 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting the small disk: %v", err)
		}
	})
	return dir
}

// While nothing can be moved into the file memory does not grow beyond its bound, and what is taken is kept.
func TestStuckApplierBoundsMemory(t *testing.T) {
	const overlay = 256 << 10
	db := openTest(t, tempPath(t), Options{Overlay: overlay})
	put(t, db, "", "first")
	settle(t, db)
	full := &fs.PathError{Op: "write", Path: "db", Err: unix.ENOSPC}
	var roomy atomic.Bool
	db.opt.commitBolt = func(b *bolt.Tx) error {
		if roomy.Load() {
			return b.Commit()
		}
		return errors.Join(full, b.Rollback())
	}
	taken := 0
	for ; taken < 2000; taken++ {
		err := try(db, func(tx *Tx) error { notes.Put(tx, number(taken), note{Text: long(1000)}); return nil })
		if errors.Is(err, ErrNoRoom) {
			break
		} else if err != nil {
			t.Fatalf("Update = %v", err)
		}
	}
	if taken < 100 || taken == 2000 {
		t.Errorf("%d records of 1,000 bytes were taken into %d bytes of memory", taken, overlay)
	}
	for range 50 {
		if err := tryCritical(db, func(tx *Tx) error { notes.Put(tx, []byte("more"), note{}); return nil }); !errors.Is(err, ErrNoRoom) {
			t.Errorf("UpdateCritical = %v, want %v", err, ErrNoRoom)
		}
	}
	if frozen := len(db.state.Load().frozen); frozen > 3 {
		t.Errorf("%d tables wait to be moved", frozen)
	}
	equal(t, "number of records", count(t, db), taken+1)
	roomy.Store(true)
	settleAtLast(t, db)
	put(t, db, "", "last")
	equal(t, "number of records in the end", count(t, db), taken+2)
}
