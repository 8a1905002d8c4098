package kv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// A stored value is one that lies in the file, wherever it came from.
type stored struct {
	path       Path
	key, value []byte
}

func storedValues(t *testing.T, db *DB) (values []stored) {
	t.Helper()
	var walk func(path Path, b *bolt.Bucket) error
	walk = func(path Path, b *bolt.Bucket) error {
		return b.ForEach(func(key, value []byte) error {
			if value == nil {
				return walk(path.Join(string(key)), b.Bucket(key))
			}
			if path != marks.Path { // is written anew by each opening
				values = append(values, stored{path, bytes.Clone(key), bytes.Clone(value)})
			}
			return nil
		})
	}
	if err := db.bolt.Load().View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error { return walk(Path(name), b) })
	}); err != nil {
		t.Fatal(err)
	}
	return values
}

func TestFlippedBitIsFound(t *testing.T) {
	t.Parallel()
	path := tempPath(t)
	tag := Tag{1, 2, 3}
	db := openTest(t, path, Options{})
	do(t, db, func(tx *Tx) {
		notes.Put(tx, []byte("empty"), note{})
		notes.Put(tx, []byte("short"), note{"some words", 7})
		notes.Put(tx, []byte("over several pages"), note{Text: long(10_000)})
		bucketAt("inner/bucket").Put(tx, []byte("k"), note{Text: "deep"})
		Index{Path: "index"}.Put(tx, []byte("an index key"))
		lines.Append(tx, []byte("a line"))
		tx.NewID(tag)
	})
	closeTest(t, db)
	db = openTest(t, path, Options{})
	values := storedValues(t, db)
	equal(t, "number of stored values", len(values), 8) // with the header and the lease
	closeTest(t, db)

	for _, v := range values {
		for bit := 0; bit < len(v.value)*8; bit += 1 + len(v.value)*8/16 {
			damaged := copyFile(t, path)
			flip(t, damaged, bytes.Join([][]byte{v.key, v.value}, nil), len(v.key)*8+bit)
			what := fmt.Sprintf("bit %d of %q in %q", bit, v.key, v.path)
			checkFound(t, damaged, v, tag, what)
			if err := os.Remove(damaged); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checkFound opens a file in which v is damaged: v's reader finds that out, and so does Check, but
// nobody else.
func checkFound(t *testing.T, path string, v stored, tag Tag, what string) {
	t.Helper()
	db, err := Open(path, Options{})
	if v.path == headers.Path {
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s flipped: Open = %v, want %v", what, err, ErrDamaged)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s flipped: Open = %v", what, err)
	}
	defer db.abandon()
	_, err = Update(db, func(tx *Tx) (int, error) {
		switch v.path {
		case leases.Path:
			tx.NewID(tag)
		case "index":
			Index{Path: v.path}.Any(tx, Range{})
		case lines.Path:
			lines.Get(tx, 0)
		default:
			bucketAt(v.path).Get(tx, v.key)
		}
		return 0, nil
	})
	var record *RecordError
	if !errors.As(err, &record) || record.Path != v.path || !bytes.Equal(record.Key, v.key) || !errors.Is(err, ErrDamaged) {
		t.Errorf("%s flipped: its reader got %v, want a RecordError", what, err)
	}
	faults, err := db.Check()
	if err != nil || len(faults) != 1 || !strings.Contains(faults[0], fmt.Sprintf("%x in bucket %q", v.key, v.path)) {
		t.Errorf("%s flipped: Check = %q, %v, want that one fault", what, faults, err)
	}
	if err := try(db, func(tx *Tx) error { bucketAt("inner/other").Put(tx, []byte("new"), note{}); return nil }); err != nil {
		t.Errorf("%s flipped: a write elsewhere ended in %v", what, err)
	}
}

func TestCheckReportsAtMostAHundredFaults(t *testing.T) {
	path := tempPath(t)
	db := openTest(t, path, Options{})
	do(t, db, func(tx *Tx) {
		for i := range 150 {
			notes.Put(tx, number(i), note{Text: "some words"})
		}
	})
	closeTest(t, db)
	flip(t, path, []byte("some words"), 5)
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.abandon()
	faults, err := db.Check()
	if len(faults) != 100 || err != nil {
		t.Errorf("Check = %d faults, %v, want 100", len(faults), err)
	}
}

func TestCheckBesideWriters(t *testing.T) {
	t.Parallel()
	db := newTest(t)
	ended := make(chan error)
	go func() {
		var err error
		for i := 0; i < 300 && err == nil; i++ {
			err = try(db, func(tx *Tx) error {
				notes.Put(tx, number(i), note{Text: long(i * 10)})
				notes.Delete(tx, number(i/2))
				return nil
			})
		}
		ended <- err
	}()
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Update = %v", err)
			}
			return
		default:
			checkClean(t, db)
		}
	}
}

// A damaged page fails the transaction that meets it, also one that only wanted to put something.
func TestPutBesideADamagedPage(t *testing.T) {
	path := tempPath(t)
	db := openTest(t, path, Options{})
	for i := range 300 {
		do(t, db, func(tx *Tx) { bucketAt("a/b").Put(tx, fmt.Appendf(nil, "needle-%04d", i), note{}) })
	}
	closeTest(t, db)
	changePages(t, path, "needle-0000", func(page []byte) { layout.PutUint16(page[8:], 77) })
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := try(db, func(tx *Tx) error { bucketAt("a/b").Put(tx, []byte("new"), note{}); return nil }); !errors.Is(err, ErrDamaged) {
		t.Errorf("Update = %v, want %v", err, ErrDamaged)
	}
}
