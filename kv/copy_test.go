package kv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// steps writes transactions that put the same number into two buckets, until it is stopped.
func steps(t *testing.T, db *DB) (stop func() int) {
	done := make(chan struct{})
	var working sync.WaitGroup
	n := 0
	working.Go(func() {
		for ; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			if err := try(db, func(tx *Tx) error {
				for _, path := range []Path{"a/x", "b/y"} {
					bucketAt(path).Put(tx, number(n%300), note{Text: fmt.Sprint(n, " ", long(n%2000))})
				}
				return nil
			}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	return func() int {
		close(done)
		working.Wait()
		return n
	}
}

// newestStep opens a copy, which must have the steps up to some number and none behind it, and returns that.
func newestStep(t *testing.T, path string) (newest int) {
	t.Helper()
	db := openTest(t, path, Options{})
	defer checkAndClose(t, db)
	a, b := all(t, db, bucketAt("a/x")), all(t, db, bucketAt("b/y"))
	equal(t, "the second bucket", b, a)
	var steps []int
	newest = -1
	for _, v := range a {
		var n int
		if _, err := fmt.Sscan(v.Text, &n); err != nil {
			t.Fatal(err)
		}
		steps, newest = append(steps, n), max(newest, n)
	}
	for _, n := range steps {
		if n <= newest-300 {
			t.Errorf("step %d is there, and should have been overwritten by %d", n, newest)
		}
	}
	if want := min(newest+1, 300); len(steps) != want {
		t.Errorf("%d steps are there after step %d", len(steps), newest)
	}
	return newest
}

// TestCopies: a copy that is made under load is one state between two transactions, of a moment while it was made; with what
// is logged since it is every later one.
func TestCopies(t *testing.T) {
	t.Parallel()
	db := openTest(t, tempPath(t), Options{Overlay: 1 << 20, segmentBytes: 256 << 10, partOps: 50})
	defer checkAndClose(t, db)
	before := int64(0)
	for round := range 8 {
		stop := steps(t, db)
		for db.Stats().Commits < before+50 { // so that it runs
			if err := db.settle(); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(t.TempDir(), "copy")
		r, err := db.CopyTo(t.Context(), path, 0)
		if err != nil {
			t.Fatal(err)
		}
		if round%2 == 1 {
			if err := SettleCopy(path, Options{}, func(*Tx) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		first := filepath.Join(t.TempDir(), "first")
		cloneCopy(t, path, first)
		newest := newestStep(t, first)
		pieces := ship(t, r, path, db.Position())
		later := filepath.Join(t.TempDir(), "later")
		cloneCopy(t, path, later)
		between := newestStep(t, later)
		last := stop() - 1
		if round == 7 {
			checkClean(t, db)
		}
		ship(t, r, path, db.Position())
		r.Close()
		if got := newestStep(t, path); newest > between || between > last || got != last || pieces < 0 {
			t.Errorf("the copy has step %d, later it had %d, at last %d of %d", newest, between, got, last)
		}
		before = db.Stats().Commits
		do(t, db, func(tx *Tx) { tx.Drop("a"); tx.Drop("b") })
	}
}

// TestCopyOfAnEmptyLog: a copy of a database in whose log there is nothing yet, after one that was closed.
func TestCopyOfAnEmptyLog(t *testing.T) {
	t.Parallel()
	path := tempPath(t)
	for range 3 {
		db := openTest(t, path, Options{KeepLog: 1 << 20})
		for _, written := range []bool{false, true} {
			if written {
				put(t, db, "1", "a")
			}
			to := filepath.Join(t.TempDir(), "copy")
			r, err := db.CopyTo(t.Context(), to, 0)
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
			closeTest(t, openTest(t, to, Options{}))
		}
		closeTest(t, db)
	}
}

// cloneCopy copies a copy, so that it can be opened.
func cloneCopy(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err == nil {
		err = os.CopyFS(to+redoSuffix, os.DirFS(from+redoSuffix))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ship brings a copy up to a position.
func ship(t *testing.T, r *LogReader, path string, end Position) (pieces int) {
	t.Helper()
	w, err := ExtendLog(path)
	if err != nil {
		t.Fatal(err)
	}
	for r.Position() < end {
		p, err := r.Next(64 << 10)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(p); err != nil {
			t.Fatal(err)
		}
		r.Advance(p)
		pieces++
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return pieces
}

// TestLogReaderKeepsTheLog: what a reader has not read stays; without one it goes, and who asks for it later is told so.
func TestLogReaderKeepsTheLog(t *testing.T) {
	t.Parallel()
	db := openTest(t, tempPath(t), Options{Overlay: 256 << 10, segmentBytes: 64 << 10})
	defer checkAndClose(t, db)
	from := db.Position()
	r, err := db.ReadLog(from)
	if err != nil {
		t.Fatal(err)
	}
	fill := func() {
		for i := range 40 {
			put(t, db, long(20_000), fmt.Sprint(i))
		}
		settle(t, db)
	}
	fill()
	read := int64(0)
	for {
		p, err := r.Next(1)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Data) == 0 {
			break
		}
		r.Advance(p)
		read += int64(len(p.Data))
	}
	if read != int64(db.Position()-from) || r.Behind() != 0 {
		t.Errorf("read %d bytes of %d, %d behind", read, db.Position()-from, r.Behind())
	}
	r.Close()
	fill()
	fill()
	for _, at := range []Position{from, db.Position() + 1} {
		if _, err := db.ReadLog(at); !errors.Is(err, ErrGone) {
			t.Errorf("a reader from %d: %v", at, err)
		}
	}
}

// TestLogWriterIsStrict: what does not follow what is there is refused.
func TestLogWriterIsStrict(t *testing.T) {
	t.Parallel()
	db := openTest(t, tempPath(t), Options{})
	defer checkAndClose(t, db)
	put(t, db, "1", "a")
	path := filepath.Join(t.TempDir(), "copy")
	r, err := db.CopyTo(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	put(t, db, "2", "a")
	p, err := r.Next(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	w, err := ExtendLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for name, wrong := range map[string]LogPiece{
		"a gap":             {Log: p.Log, Base: p.Base, From: p.From + 1, Data: p.Data},
		"twice":             {Log: p.Log, Base: p.Base, From: p.From - 1, Data: p.Data},
		"another segment":   {Log: p.Log, Base: p.Base + 1, From: p.From, Data: p.Data},
		"a segment too far": {Log: p.Log, Base: p.To(), From: p.To(), Data: p.Data},
	} {
		if err := w.Add(wrong); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.Add(p); err != nil {
		t.Error(err)
	}
}
