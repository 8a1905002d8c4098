package kv

import (
	"errors"
	"testing"
)

// written returns the path of a file of this schema, with one note.
func written(t *testing.T, schema int) string {
	t.Helper()
	path := tempPath(t)
	db := openTest(t, path, Options{Schema: schema})
	put(t, db, "from the old program", "k")
	closeTest(t, db)
	return path
}

// migrations each put a note that says what was there before.
var (
	toTwo   = migration("two")
	toThree = migration("three")
)

func migration(name string) func(tx *Tx) error {
	return func(tx *Tx) error {
		notes.Put(tx, []byte(name), note{N: int64(len(keysOf(tx, "notes", Range{})))})
		return nil
	}
}

var errMigration = errors.New("can't be migrated")

func failingMigration(tx *Tx) error {
	tx.Drop("notes")
	return errMigration
}

func TestSchemas(t *testing.T) {
	for _, tt := range []struct {
		name string
		file int
		opt  Options
		want error
		then map[string]note // in the file afterwards
		left int             // its schema
	}{
		{"the same version", 2, Options{Schema: 2}, nil, map[string]note{"k": {Text: "from the old program"}}, 2},
		{"a file of a newer program", 3, Options{Schema: 2}, ErrNewer, map[string]note{"k": {Text: "from the old program"}}, 3},
		{"one version older", 1, Options{Schema: 2, Migrations: []func(*Tx) error{toTwo}}, nil,
			map[string]note{"k": {Text: "from the old program"}, "two": {N: 1}}, 2},
		{"two versions older", 1, Options{Schema: 3, Migrations: []func(*Tx) error{toTwo, toThree}}, nil,
			map[string]note{"k": {Text: "from the old program"}, "two": {N: 1}, "three": {N: 2}}, 3},
		{"already at the second of three", 2, Options{Schema: 3, Migrations: []func(*Tx) error{toTwo, toThree}}, nil,
			map[string]note{"k": {Text: "from the old program"}, "three": {N: 1}}, 3},
		{"the first migration fails", 1, Options{Schema: 3, Migrations: []func(*Tx) error{failingMigration, toThree}}, errMigration,
			map[string]note{"k": {Text: "from the old program"}}, 1},
		{"the second migration fails", 1, Options{Schema: 3, Migrations: []func(*Tx) error{toTwo, failingMigration}}, errMigration,
			map[string]note{"k": {Text: "from the old program"}, "two": {N: 1}}, 2},
		{"no migration", 1, Options{Schema: 2}, ErrOlder, map[string]note{"k": {Text: "from the old program"}}, 1},
		{"one migration too few", 1, Options{Schema: 3, Migrations: []func(*Tx) error{toTwo}}, ErrForeign,
			map[string]note{"k": {Text: "from the old program"}, "two": {N: 1}}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := written(t, tt.file)
			db, err := Open(path, tt.opt)
			if !errors.Is(err, tt.want) {
				t.Errorf("Open = %v, want %v", err, tt.want)
			}
			if err == nil {
				closeTest(t, db)
			}
			db = openTest(t, path, Options{Schema: tt.left}) // the program of that version can use it
			equal(t, "records", all(t, db, notes), tt.then)
			put(t, db, "works", "k")
		})
	}
}

func TestEachMigrationIsATransactionOfItsOwn(t *testing.T) {
	path := written(t, 1)
	db := openTest(t, path, Options{Schema: 3, Migrations: []func(*Tx) error{toTwo, toThree}})
	equal(t, "commits", db.Stats().Commits, int64(2))
}

func TestMigrationMayUseTheReserve(t *testing.T) {
	path := tempPath(t)
	opt := Options{MaxSize: 6 << 20, Reserve: 2 << 20}
	db := openTest(t, path, opt)
	n := fill(t, db, try, 0, 10_000)
	closeTest(t, db)
	opt.Schema, opt.Migrations = 2, []func(*Tx) error{toTwo}
	db = openTest(t, path, opt)
	equal(t, "number of records", count(t, db), n+1)
}
