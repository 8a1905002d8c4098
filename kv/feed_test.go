package kv

import (
	"errors"
	"fmt"
	"testing"
)

// replica is what a reader of changes makes of them.
type replica struct {
	records map[Path]map[string]string
	next    Position
}

func (r *replica) read(t *testing.T, db *DB) (commits int) {
	t.Helper()
	for c, err := range db.Changes(r.next) {
		if err != nil {
			t.Fatalf("Changes(%d) = %v", r.next, err)
		}
		if c.Next <= r.next {
			t.Fatalf("the commit after %d ends at %d", r.next, c.Next)
		}
		r.next = c.Next
		commits++
		for _, change := range c.Changes {
			r.take(change)
		}
	}
	return commits
}

func (r *replica) take(c Change) {
	switch {
	case c.Dropped:
		for path := range r.records {
			if within(path, c.Path) {
				delete(r.records, path)
			}
		}
	case c.Value == nil:
		delete(r.records[c.Path], string(c.Key))
	default:
		if r.records[c.Path] == nil {
			r.records[c.Path] = map[string]string{}
		}
		_, data, err := unseal(c.Path, c.Key, c.Value)
		if err != nil {
			panic(err)
		}
		v, _ := JSON[note](1).Decode(1, data)
		r.records[c.Path][string(c.Key)] = v.Text
	}
}

func (r *replica) agrees(t *testing.T, db *DB, paths ...Path) {
	t.Helper()
	for _, path := range paths {
		want := map[string]string{}
		for key, v := range all(t, db, bucketAt(path)) {
			want[key] = v.Text
		}
		if got := r.records[path]; len(got)+len(want) > 0 {
			equal(t, "the replica's "+string(path), got, want)
		}
	}
}

// Whoever reads the changes has what the database has, also when the file has it all already, over
// restarts and crashes, and over many segments.
func TestChangesMakeAReplica(t *testing.T) {
	t.Parallel()
	opt := Options{Overlay: 256 << 10, KeepLog: 1 << 30}
	db := openTest(t, tempPath(t), opt)
	r := &replica{records: map[Path]map[string]string{}}
	for round := range 6 {
		for i := range 60 {
			do(t, db, func(tx *Tx) {
				bucketAt("a/x").Put(tx, number(i), note{Text: fmt.Sprint(round, long(3000))})
				bucketAt("a/y").Put(tx, number(i*round), note{Text: fmt.Sprint(i)})
				bucketAt("b").Delete(tx, number(i-1))
				bucketAt("b").Put(tx, number(i), note{})
				if i == 30 {
					tx.Drop("a")
					bucketAt("a/x").Put(tx, []byte("after"), note{Text: "the drop"})
				}
			})
			if i == 40 {
				r.read(t, db)
				r.agrees(t, db, "a/x", "a/y", "b")
			}
		}
		switch round % 3 {
		case 0:
			settle(t, db)
		case 1:
			closeTest(t, db)
			db = openTest(t, db.Path(), opt)
		case 2:
			db = openTest(t, crash(t, db), opt)
		}
		if n := r.read(t, db); n < 19 {
			t.Errorf("round %d: %d commits were read, want the last 19 at least", round, n)
		}
		r.agrees(t, db, "a/x", "a/y", "b")
		if r.next != db.Position() {
			t.Errorf("round %d: all was read up to %d, the position is %d", round, r.next, db.Position())
		}
	}
}

func TestChangesThatAreGone(t *testing.T) {
	path := tempPath(t)
	db := openTest(t, path, Options{})
	put(t, db, "", "k")
	first := db.Position()
	closeTest(t, db) // and the log with it
	db = openTest(t, path, Options{})
	put(t, db, "", "l")
	for from, want := range map[Position]error{0: ErrGone, first - 1: ErrGone} {
		for _, err := range db.Changes(from) {
			if !errors.Is(err, want) {
				t.Errorf("Changes(%d) = %v, want %v", from, err, want)
			}
		}
	}
	for c, err := range db.Changes(db.Position()) {
		t.Errorf("there is a change behind the newest one: %v, %v", c, err)
	}
}

// What is being read is not released under the reader.
func TestReaderOfChangesHoldsTheLog(t *testing.T) {
	t.Parallel()
	db := openTest(t, tempPath(t), Options{})
	write := func(from int) {
		for i := range 20 {
			do(t, db, func(tx *Tx) { notes.Put(tx, number(from+i), note{Text: long(1 << 20)}) })
		}
		settle(t, db)
	}
	start := db.Position()
	for i := range 3 { // more than a segment
		do(t, db, func(tx *Tx) { notes.Put(tx, number(i), note{Text: long(8 << 20)}) })
	}
	n := 0
	for _, err := range db.Changes(start) {
		if err != nil {
			t.Fatalf("Changes = %v", err)
		}
		if n++; n == 1 {
			write(1000)
		}
	}
	equal(t, "commits that were read", n, 3)
	write(2000)
	for _, err := range db.Changes(start) {
		if !errors.Is(err, ErrGone) {
			t.Errorf("Changes after all was moved into the file = %v, want %v", err, ErrGone)
		}
		break
	}
}
