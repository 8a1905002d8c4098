package kv

import (
	"testing"
)

// TestGraft: buckets come from the other database as they are there, the others stay.
func TestGraft(t *testing.T) {
	t.Parallel()
	paths := []Path{"a/kept", "a/taken", "f/g/deep", "b/taken", "c", "d"}
	made := func(text string, with ...Path) string {
		db := openTest(t, tempPath(t), Options{})
		for _, path := range with {
			do(t, db, func(tx *Tx) {
				for i := range 500 {
					bucketAt(path).Put(tx, number(i), note{Text: text + string(path) + long(50)})
				}
			})
		}
		closeTest(t, db)
		return db.Path()
	}
	to, from := made("to ", paths...), made("from ", "a/kept", "a/taken", "f/g/deep", "a/new", "c", "e/new")
	choose := func(path Path) Graft {
		switch path {
		case "a", "b":
			return AskWithin
		case "m":
			return MergeBucket
		case "a/taken", "a/new", "b/taken", "e", "c", "f":
			return TakeBucket
		}
		return KeepBucket
	}
	for path, n := range map[string]int{to: 1, from: 2} {
		db := openTest(t, path, Options{})
		do(t, db, func(tx *Tx) {
			bucketAt("m").Put(tx, number(0), note{Text: path})
			bucketAt("m").Put(tx, number(n), note{Text: path})
		})
		closeTest(t, db)
	}
	open := openTest(t, to, Options{})
	copied := crash(t, open)
	if err := GraftFrom(copied, from, choose); err == nil {
		t.Error("a database that was not closed is taken")
	}
	closeTest(t, openTest(t, to, Options{}))
	if err := GraftFrom(to, from, choose); err != nil {
		t.Fatal(err)
	}
	db := openTest(t, to, Options{})
	defer checkAndClose(t, db)
	for path, want := range map[Path]string{
		"a/kept": "to a/kept", "a/taken": "from a/taken", "f/g/deep": "from f/g/deep", "a/new": "from a/new",
		"b/taken": "", "c": "from c", "d": "to d", "e/new": "from e/new",
	} {
		got := all(t, db, bucketAt(path))
		if want == "" {
			if len(got) > 0 {
				t.Errorf("%s is still there", path)
			}
			continue
		}
		if len(got) != 500 || got["000123"].Text != want+long(50) {
			t.Errorf("%s: %d records, %.20q", path, len(got), got["000123"].Text)
		}
	}
	equal(t, "the merged", all(t, db, bucketAt("m")), map[string]note{"000000": {Text: from}, "000001": {Text: to}, "000002": {Text: from}})
	do(t, db, func(tx *Tx) { bucketAt("a/taken").Put(tx, number(1), note{Text: "new"}) })
}
