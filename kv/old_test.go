package kv

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// upgrade are options that bring a file to schema 2, copying it into dir first.
func upgrade(t *testing.T, dir string, then func(tx *Tx) error) Options {
	return Options{Schema: 2, Migrations: []func(*Tx) error{then}, BeforeMigration: func(old Old) error {
		if old.Schema != 1 || old.Newest != 2 {
			t.Errorf("it is told of %+v", old)
		}
		return old.CopyTo(dir)
	}}
}

// The copy is what the file was, with what lay in its log; the program before can open it.
func TestCopyBeforeMigration(t *testing.T) {
	t.Parallel()
	for _, died := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "before")
		path := tempPath(t)
		db := openTest(t, path, Options{Schema: 1})
		put(t, db, "in the file", "a")
		settle(t, db)
		put(t, db, "in the log", "b")
		if died {
			path = crash(t, db)
		} else {
			closeTest(t, db)
		}
		want := map[string]note{"a": {Text: "in the file"}, "b": {Text: "in the log"}}
		if err := os.Mkdir(dir+PartSuffix, 0o700); err != nil { // an upgrade before was killed
			t.Fatal(err)
		}
		db = openTest(t, path, upgrade(t, dir, toTwo))
		equal(t, "records now", len(all(t, db, notes)), 3)
		names, err := os.ReadDir(dir)
		if err != nil || len(names) != 1 {
			t.Errorf("died %v: beside the copy: %v, %v", died, names, err)
		}
		if _, err := os.Stat(dir + PartSuffix); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("died %v: an incomplete copy is left", died)
		}
		old := openTest(t, filepath.Join(dir, filepath.Base(path)), Options{Schema: 1})
		equal(t, "records before", all(t, old, notes), want)
		put(t, old, "works", "c")
		closeTest(t, db)
		asked := false
		opt := upgrade(t, dir, toTwo)
		opt.BeforeMigration = func(Old) error { asked = true; return nil }
		openTest(t, path, opt)
		if asked {
			t.Error("a file that is up to date is to be copied")
		}
	}
}

// A copy that can't be made leaves the file as it is.
func TestNoMigrationWithoutCopy(t *testing.T) {
	t.Parallel()
	path := written(t, 1)
	dir := filepath.Join(t.TempDir(), "not there", "before")
	if _, err := Open(path, upgrade(t, dir, toTwo)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open = %v", err)
	}
	old := openTest(t, path, Options{Schema: 1})
	equal(t, "records", all(t, old, notes), map[string]note{"k": {Text: "from the old program"}})
}

// An upgrade that fails each time fills no disk: the copy of the first time serves, as long as it is of just this file.
func TestCopyOnce(t *testing.T) {
	t.Parallel()
	path := written(t, 1)
	dir := filepath.Join(t.TempDir(), "before")
	if _, err := Open(path, upgrade(t, dir, failingMigration)); !errors.Is(err, errMigration) {
		t.Fatalf("Open = %v", err)
	}
	is := func() (is bool) {
		t.Helper()
		opt := upgrade(t, dir, failingMigration)
		opt.BeforeMigration = func(old Old) error { is = old.IsIn(dir); return nil }
		if _, err := Open(path, opt); !errors.Is(err, errMigration) {
			t.Fatalf("Open = %v", err)
		}
		return is
	}
	if first, second := is(), is(); !first || !second {
		t.Error("the copy is not known again")
	}
	old := openTest(t, path, Options{Schema: 1})
	put(t, old, "changed", "k")
	closeTest(t, old)
	if is() {
		t.Error("a copy of another state serves")
	}
}
