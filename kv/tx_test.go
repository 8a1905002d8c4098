package kv

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestOwnWritesAreVisible(t *testing.T) {
	db := newTest(t)
	put(t, db, "committed", "a", "b", "c")
	do(t, db, func(tx *Tx) {
		notes.Put(tx, []byte("b"), note{Text: "own"})
		notes.Put(tx, []byte("bb"), note{Text: "own"})
		notes.Delete(tx, []byte("c"))
		notes.Put(tx, []byte("d"), note{})
		notes.Delete(tx, []byte("d"))

		equal(t, "keys", keysOf(tx, "notes", Range{}), []string{"a", "b", "bb"})
		equal(t, "keys, descending", keysOf(tx, "notes", Range{Down: true}), []string{"bb", "b", "a"})
		equal(t, "keys from b to bb", keysOf(tx, "notes", Range{From: []byte("b"), To: []byte("bb")}), []string{"b"})
		if got, ok := notes.Get(tx, []byte("b")); got.Text != "own" || !ok {
			t.Errorf("Get(b) = %+v, %v, want what this transaction put", got, ok)
		}
		if notes.Has(tx, []byte("c")) || notes.Has(tx, []byte("d")) {
			t.Errorf("Has(c), Has(d) after their deletion, want false")
		}
	})
	equal(t, "afterwards", all(t, db, notes), map[string]note{"a": {Text: "committed"}, "b": {Text: "own"}, "bb": {Text: "own"}})
}

func TestDropTakesEverythingInside(t *testing.T) {
	db := newTest(t)
	do(t, db, func(tx *Tx) {
		for _, path := range []Path{"w/x", "w/a/deep", "w/b", "wide", "other"} {
			bucketAt(path).Put(tx, []byte("k"), note{})
		}
	})
	do(t, db, func(tx *Tx) {
		bucketAt("w/c").Put(tx, []byte("k"), note{})
		tx.Drop("w")
		tx.Drop("absent")
		tx.Drop("absent/too")
		for _, path := range []Path{"w/x", "w/a/deep", "w/b", "w/c"} {
			if bucketAt(path).Has(tx, []byte("k")) {
				t.Errorf("%s has its record after the drop, in the same transaction", path)
			}
		}
		bucketAt("w/a").Put(tx, []byte("new"), note{})
		equal(t, "children after the drop", tx.Children("w"), []string{"a"})
		equal(t, "keys after the drop", keysOf(tx, "w/a", Range{}), []string{"new"})
	})
	look(t, db, func(tx *Tx) bool {
		equal(t, "children, committed", tx.Children("w"), []string{"a"})
		equal(t, "children of a", tx.Children("w/a"), []string(nil))
		equal(t, "keys of w/a", keysOf(tx, "w/a", Range{}), []string{"new"})
		for _, path := range []Path{"wide", "other"} {
			equal(t, "keys of "+string(path), keysOf(tx, path, Range{}), []string{"k"})
		}
		return true
	})
}

func TestDropThenPutThenDrop(t *testing.T) {
	db := newTest(t)
	put(t, db, "old", "a")
	do(t, db, func(tx *Tx) {
		tx.Drop("notes")
		notes.Put(tx, []byte("b"), note{})
		tx.Drop("notes")
		notes.Put(tx, []byte("c"), note{Text: "new"})
	})
	equal(t, "records", all(t, db, notes), map[string]note{"c": {Text: "new"}})
}

func TestChildren(t *testing.T) {
	db := newTest(t)
	for _, path := range []Path{"w/b", "w/a/deep", "w/c"} {
		do(t, db, func(tx *Tx) { bucketAt(path).Put(tx, []byte("k"), note{}) })
	}
	do(t, db, func(tx *Tx) {
		bucketAt("w/b").Delete(tx, []byte("k"))
		bucketAt("w/d/deep").Put(tx, []byte("k"), note{})
		tx.Drop("w/c")
		equal(t, "in the transaction", tx.Children("w"), []string{"a", "d"})
	})
	look(t, db, func(tx *Tx) bool {
		for path, want := range map[Path][]string{
			"w": {"a", "d"}, "w/a": {"deep"}, "w/d": {"deep"}, "w/b": nil, "w/c": nil, "absent": nil,
		} {
			equal(t, "children of "+string(path), tx.Children(path), want)
		}
		return true
	})
}

// A group's members don't know of each other: whatever one sees must not depend on being in a group.
func TestEarlierMembersOfTheGroupAreVisible(t *testing.T) {
	db := newTest(t)
	do(t, db, func(tx *Tx) {
		for i := range 1000 {
			notes.Put(tx, number(i), note{Text: long(100)})
			bucketAt("drop").Put(tx, number(i), note{})
		}
	})
	before := db.Stats().Commits
	var want []string
	for i := range 1000 {
		if i < 100 || i >= 900 {
			want = append(want, string(number(i)))
		}
	}
	want = append(want, "later")
	got := runGroup(db,
		func(tx *Tx) error { // whole pages of the middle go
			for i := 100; i < 900; i++ {
				notes.Delete(tx, number(i))
			}
			tx.Drop("drop")
			bucketAt("new/inner").Put(tx, []byte("k"), note{})
			return nil
		},
		func(tx *Tx) error {
			notes.Put(tx, []byte("later"), note{})
			bucketAt("drop").Put(tx, []byte("again"), note{})
			return nil
		},
		func(tx *Tx) error {
			equal(t, "keys", keysOf(tx, "notes", Range{}), want)
			down := slices.Clone(want)
			slices.Reverse(down)
			equal(t, "keys, descending", keysOf(tx, "notes", Range{Down: true}), down)
			equal(t, "keys of the dropped bucket", keysOf(tx, "drop", Range{}), []string{"again"})
			equal(t, "children of the new bucket", tx.Children("new"), []string{"inner"})
			return nil
		},
	)
	equal(t, "outcomes", got, make([]outcome, 3))
	equal(t, "commits", db.Stats().Commits-before, int64(1))
	look(t, db, func(tx *Tx) bool {
		equal(t, "keys, committed", keysOf(tx, "notes", Range{}), want)
		return true
	})
}

// What was read must not lie in the file's memory: that is written over when its page is reused, and
// goes when the file has to be mapped anew.
func TestValuesOutliveTheTransaction(t *testing.T) {
	db := newTest(t)
	content := func(i int) string { return fmt.Sprintf("%d %s", i, long(500)) }
	want := map[string]note{}
	do(t, db, func(tx *Tx) {
		for i := range 200 {
			want[string(number(i))] = note{content(i), int64(i)}
			notes.Put(tx, number(i), note{content(i), int64(i)})
		}
	})
	var keys [][]byte
	var values []note
	do(t, db, func(tx *Tx) {
		keys, values = nil, nil
		for key, v := range notes.Scan(tx, Range{}) {
			keys, values = append(keys, key), append(values, v)
		}
	})
	got := all(t, db, notes)
	children := look(t, db, func(tx *Tx) []string { return tx.Children("kv") })

	settle(t, db)
	size := db.Stats().FileBytes
	for round := range 20 { // the old pages are reused, and the file grows
		do(t, db, func(tx *Tx) {
			for i := range 200 {
				notes.Put(tx, number(i), note{Text: fmt.Sprintf("overwritten %d", round) + long(4000)})
			}
		})
		settle(t, db)
	}
	if now := db.Stats().FileBytes; now < 5*size {
		t.Fatalf("the file grew from %d to %d bytes; this test wants more", size, now)
	}
	closeTest(t, db) // and now its memory is gone

	equal(t, "records", got, want)
	equal(t, "children", children, []string{"header", "redo"})
	for i := range keys {
		equal(t, "key", string(keys[i]), string(number(i)))
		equal(t, "value", values[i], want[string(number(i))])
	}
}

func TestReadOnlyTransactionsDoNotWrite(t *testing.T) {
	db := newTest(t)
	put(t, db, "there", "k")
	for name, fn := range map[string]func(tx *Tx){
		"Put":    func(tx *Tx) { notes.Put(tx, []byte("new"), note{}) },
		"Delete": func(tx *Tx) { notes.Delete(tx, []byte("k")) },
		"Drop":   func(tx *Tx) { tx.Drop("notes") },
		"NewID":  func(tx *Tx) { tx.NewID(Tag{1}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s in a View did not panic", name)
				}
			}()
			_, _ = View(db, func(tx *Tx) (int, error) { fn(tx); return 0, nil })
		}()
	}
	equal(t, "records", all(t, db, notes), map[string]note{"k": {Text: "there"}})
}

func TestViewReturnsItsFunctionsError(t *testing.T) {
	db := newTest(t)
	want := errors.New("not found")
	if got, err := View(db, func(*Tx) (int, error) { return 1, want }); got != 0 || err != want {
		t.Errorf("View = %v, %v, want 0, %v", got, err, want)
	}
}

func TestViewAfterClose(t *testing.T) {
	db := newTest(t)
	closeTest(t, db)
	if _, err := View(db, func(*Tx) (int, error) { return 1, nil }); !errors.Is(err, ErrStopped) {
		t.Errorf("View after Close = %v, want %v", err, ErrStopped)
	}
	if _, err := db.Check(); !errors.Is(err, ErrStopped) {
		t.Errorf("Check after Close = %v, want %v", err, ErrStopped)
	}
	db.Room()
	db.Stats()
}

// Whoever read a bucket in one state can tell in a later transaction whether to read it again.
func TestChangedSince(t *testing.T) {
	db := newTest(t)
	do(t, db, func(tx *Tx) {
		notes.Put(tx, []byte("k"), note{})
		bucketAt("other/x").Put(tx, []byte("k"), note{})
	})
	mark := func() Mark { return look(t, db, func(tx *Tx) Mark { return tx.Mark() }) }
	changed := func(m Mark, path Path) (yes bool) {
		do(t, db, func(tx *Tx) { yes = bucketAt(path).ChangedSince(tx, m) })
		return yes
	}
	for name, tt := range map[string]struct {
		change func(tx *Tx)
		want   bool
	}{
		"nothing":                {func(*Tx) {}, false},
		"another bucket":         {func(tx *Tx) { bucketAt("other/y").Put(tx, []byte("k"), note{}) }, false},
		"a put":                  {func(tx *Tx) { notes.Put(tx, []byte("l"), note{}) }, true},
		"a delete":               {func(tx *Tx) { notes.Put(tx, []byte("d"), note{}); notes.Delete(tx, []byte("d")) }, true},
		"a drop":                 {func(tx *Tx) { tx.Drop("notes") }, true},
		"a drop and a put again": {func(tx *Tx) { tx.Drop("notes"); notes.Put(tx, []byte("k"), note{}) }, true},
	} {
		m := mark()
		if changed(m, "notes") {
			t.Errorf("%s: changed before it was", name)
		}
		do(t, db, tt.change)
		if got := changed(m, "notes"); got != tt.want {
			t.Errorf("%s: ChangedSince = %v, want %v", name, got, tt.want)
		}
	}
	m := mark()
	put(t, db, "moved", "k")
	settle(t, db) // the table that knew is gone
	if !changed(m, "notes") {
		t.Errorf("a change that lies in the file by now was not told")
	}
	m = mark()
	got := runGroup(db,
		func(tx *Tx) error { notes.Put(tx, []byte("k"), note{Text: "earlier"}); return nil },
		func(tx *Tx) error {
			if !bucketAt("notes").ChangedSince(tx, m) || bucketAt("other/x").ChangedSince(tx, m) {
				t.Errorf("of the member before: ChangedSince = %v, %v, want true, false", bucketAt("notes").ChangedSince(tx, m), bucketAt("other/x").ChangedSince(tx, m))
			}
			bucketAt("other/x").Put(tx, []byte("l"), note{})
			if !bucketAt("other/x").ChangedSince(tx, m) {
				t.Errorf("its own change was not told")
			}
			return nil
		},
	)
	equal(t, "outcomes", got, make([]outcome, 2))
}

// What must not be taken is found in whatever way it comes, since the applier can't do it later.
func TestRecordsAndBucketsAfterADrop(t *testing.T) {
	k := []byte("k")
	outer, inner := bucketAt("a"), bucketAt("a/b")
	refused := errors.New("refused")
	db := newTest(t)
	do(t, db, func(tx *Tx) { inner.Put(tx, k, note{}) })
	do(t, db, func(tx *Tx) { tx.Drop("a") })
	do(t, db, func(tx *Tx) { outer.Put(tx, []byte("b"), note{}) })
	if err := try(db, func(tx *Tx) error { inner.Put(tx, k, note{}); return nil }); err == nil {
		t.Errorf("a record inside a bucket of records was taken")
	}
	do(t, db, func(tx *Tx) { tx.Drop("a/b") }) // a record's name
	settle(t, db)
	equal(t, "records", all(t, db, outer), map[string]note{"b": {}})

	got := runGroup(db,
		func(tx *Tx) error { tx.Drop("a"); inner.Put(tx, k, note{}); return refused },
		func(tx *Tx) error { inner.Put(tx, k, note{}); return nil },
		func(tx *Tx) error {
			tx.Drop("a")
			inner.Put(tx, k, note{})
			tx.Drop("a/b")
			outer.Put(tx, k, note{})
			inner.Put(tx, k, note{})
			return nil
		},
	)
	for i, r := range got {
		if r.err == nil {
			t.Errorf("member %d was taken", i)
		}
	}
	settle(t, db)
	equal(t, "records, afterwards", all(t, db, outer), map[string]note{"b": {}})
}

// A transaction is of no use when its function has ended, and says so.
func TestTransactionKeptTooLong(t *testing.T) {
	db := newTest(t)
	put(t, db, "", "k")
	for name, run := range map[string]func(fn func(*Tx)){
		"View":   func(fn func(*Tx)) { look(t, db, func(tx *Tx) bool { fn(tx); return true }) },
		"Update": func(fn func(*Tx)) { do(t, db, fn) },
	} {
		var kept *Tx
		run(func(tx *Tx) { kept = tx })
		notes.Get(kept, []byte("k"))
		if kept.err == nil {
			t.Errorf("a transaction of %s can be read after its end", name)
		}
	}
}
