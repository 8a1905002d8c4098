package kv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// hollow makes most of a database's file free pages, and returns what is left in it.
func hollow(t *testing.T, db *DB) model {
	t.Helper()
	for round := range 20 {
		do(t, db, func(tx *Tx) {
			for i := range 100 {
				n := round*100 + i
				bucketAt("a/x").Put(tx, number(n), note{Text: long(3000), N: int64(n)})
				bucketAt(deep(n%30)).Put(tx, number(n), note{Text: long(n % 700)})
				Index{Path: "b/k~"}.Put(tx, number(n))
				lines.Append(tx, fmt.Appendf(nil, "line %d %s", n, long(n%900)))
			}
		})
		settle(t, db)
	}
	do(t, db, func(tx *Tx) {
		for n := range 1990 {
			bucketAt("a/x").Delete(tx, number(n))
		}
		bucketAt(deep(3)).Put(tx, []byte("large"), note{Text: long(200_000)})
		tx.Drop("b/4")
	})
	settle(t, db)
	return holdings(t, db)
}

func deep(n int) Path { return Path(fmt.Sprintf("b/%d/deep", n)) }

// holdings reads all that the tests of compaction write.
func holdings(t *testing.T, db *DB) model {
	t.Helper()
	return look(t, db, func(tx *Tx) model {
		got := model{}
		paths := []Path{"a/x", notes.Path}
		for n := range 30 {
			paths = append(paths, deep(n))
		}
		for _, path := range paths {
			for key, v := range bucketAt(path).Scan(tx, Range{}) {
				got.put(path, string(key), fmt.Sprint(v))
			}
		}
		got.putAll("b/k~", keysOf(tx, "b/k~", Range{}))
		for i, line := range lines.Scan(tx, 0, lines.Len(tx)) {
			got.put(lines.Path, fmt.Sprint(i), string(line))
		}
		return got
	})
}

// holds fails the test unless db has just what is wanted.
func holds(t *testing.T, when string, db *DB, want model) {
	t.Helper()
	if got := holdings(t, db); !want.same(got) || !got.same(want) {
		t.Errorf("%s: the database holds\n %s\nwant\n %s", when, brief(got.sizes()), brief(want.sizes()))
	}
}

// note puts a note, also into what is wanted.
func (m model) note(t *testing.T, db *DB, key, text string) {
	t.Helper()
	put(t, db, text, key)
	m.put(notes.Path, key, fmt.Sprint(note{Text: text}))
}

func compact(t *testing.T, db *DB) Compaction {
	t.Helper()
	c, err := db.Compact(context.Background(), 0, nil)
	if err != nil {
		t.Fatalf("Compact = %v", err)
	}
	return c
}

func noStale(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path + compactSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a second file is left: %v", err)
	}
}

func TestCompact(t *testing.T) {
	t.Parallel()
	path := tempPath(t)
	db := openTest(t, path, Options{Overlay: 1 << 20})
	want := hollow(t, db)
	before := fileSize(t, path)
	var told []int64
	c, err := db.Compact(context.Background(), 0, func(done, total int64) {
		if told = append(told, done); done > total {
			t.Errorf("%d of %d bytes are done", done, total)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Before != before || c.After != fileSize(t, path) || c.After > before/2 || c.Took <= 0 {
		t.Errorf("%+v; the file had %d bytes and has %d, want less than half", c, before, fileSize(t, path))
	}
	if len(told) < 2 || !slices.IsSorted(told) {
		t.Errorf("progress was %v", told)
	}
	if free := db.Stats().FreePages; free > 100 {
		t.Errorf("%d pages are free", free)
	}
	if db.Lost() {
		t.Error("the compacted file counts as another one")
	}
	holds(t, "at once", db, want)
	for i := range 50 {
		want.note(t, db, fmt.Sprint(i), long(2000))
	}
	settle(t, db)
	holds(t, "after writes", db, want)
	closeTest(t, db)
	db = openTest(t, path, Options{})
	holds(t, "opened again", db, want)
	compact(t, db)
	compact(t, db)
	want.note(t, db, "z", "after two more")
	db = openTest(t, crash(t, db), Options{})
	holds(t, "after a crash", db, want)

	compact(t, db)
	copied := filepath.Join(t.TempDir(), "copy")
	r, err := db.CopyTo(t.Context(), copied, 0) // of a file that had another name when bbolt opened it
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	holds(t, "a copy", openTest(t, copied, Options{}), want)
}

// Writers and readers go on while the file is compacted, again and again; readers see one state.
// A compaction takes the time that its pace asks for.
func TestCompactIsPaced(t *testing.T) {
	t.Parallel()
	db := openTest(t, tempPath(t), Options{})
	want := hollow(t, db)
	const pace = 16 << 20
	var copied int64
	began := time.Now()
	if _, err := db.Compact(t.Context(), pace, func(done, _ int64) { copied = done }); err != nil {
		t.Fatal(err)
	}
	if took, least := time.Since(began), time.Duration(copied)*time.Second/pace; took < least || copied < 2<<20 {
		t.Errorf("%d bytes took %v, want %v or more", copied, took, least)
	}
	holds(t, "at its pace", db, want)
}

// It keeps no pace at which the changes that come meanwhile would end it.
func TestCompactHurries(t *testing.T) {
	t.Parallel()
	db := openTest(t, tempPath(t), Options{Overlay: 4 << 20})
	want := hollow(t, db)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := db.Compact(ctx, 1<<10, func(_, _ int64) {
		for n := 0; db.pending() < db.compactMost()*9/10; n++ {
			want.note(t, db, fmt.Sprint(n), long(10_000))
		}
	})
	if err != nil {
		t.Errorf("Compact = %v", err)
	}
	holds(t, "hurried", db, want)
}

func TestCompactUnderLoad(t *testing.T) {
	t.Parallel()
	path := tempPath(t)
	db := openTest(t, path, Options{Overlay: 4 << 20, segmentBytes: 256 << 10, partOps: 50})
	hollow(t, db)
	do(t, db, func(tx *Tx) { tx.Drop("a"); tx.Drop("b") })
	stop := steps(t, db)
	var ended atomic.Bool
	readers := make(chan int)
	for range 2 {
		go func() { readers <- readPairs(t, db, &ended) }()
	}
	compacted, commits := 0, db.Stats().Commits
	for range 15 {
		switch _, err := db.Compact(context.Background(), 0, nil); {
		case err == nil:
			compacted++
		case !errors.Is(err, ErrOverrun):
			t.Errorf("Compact = %v", err)
		}
	}
	commits = db.Stats().Commits - commits
	ended.Store(true)
	read := <-readers + <-readers
	last := stop() - 1
	closeTest(t, db)
	if got := newestStep(t, path); got != last {
		t.Errorf("the file has step %d, want %d", got, last)
	}
	if compacted == 0 || commits < 15 || read < 15 {
		t.Errorf("%d of 15 compactions, %d commits, %d reads: this test wants more", compacted, commits, read)
	}
	t.Logf("%d of 15 compactions, %d commits and %d reads beside them", compacted, commits, read)
}

// readPairs reads what steps writes, and returns how often.
func readPairs(t *testing.T, db *DB, ended *atomic.Bool) (n int) {
	for ; !ended.Load(); n++ {
		two, err := View(db, func(tx *Tx) (bool, error) {
			for key, v := range bucketAt("a/x").Scan(tx, Range{}) {
				if other, ok := bucketAt("b/y").Get(tx, key); !ok || other != v {
					return true, nil
				}
			}
			return false, nil
		})
		if two || err != nil {
			t.Errorf("a reader found two states: %v, %v", two, err)
			break
		}
	}
	return n
}

// Largest size hit, and no page free: only half of each page is used. Compacting makes room, without a restart.
func TestCompactMakesRoom(t *testing.T) {
	t.Parallel()
	db := openTest(t, tempPath(t), Options{MaxSize: 8 << 20, Reserve: 1 << 20})
	n := fill(t, db, try, 0, 900)
	for i := range n {
		if i%4 < 2 {
			if err := try(db, deleteNotes(i, i+1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	settle(t, db)
	if more := fill(t, db, try, n, 900); more > n/10 {
		t.Fatalf("%d of %d records fit again; this test wants a full file", more, n)
	}
	if !db.Room().Low() {
		t.Errorf("%+v is not low", db.Room())
	}
	compact(t, db)
	if room := db.Room(); room.Low() {
		t.Errorf("%+v is low", room)
	}
	if more := fill(t, db, try, 2*n, 900); more < n/3 {
		t.Errorf("%d records fit, want a third of %d", more, n)
	}
}
