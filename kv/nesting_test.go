package kv

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// TestBucketInItself: a damaged page by which a bucket lies in itself is an error, and no search without end.
func TestBucketInItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	inner := Bucket[[]byte]{Path: "outer/inner", Codec: JSON[[]byte](1)}
	if _, err := Update(db, func(tx *Tx) (struct{}, error) {
		inner.Put(tx, []byte("key"), make([]byte, 2*pageBytes))
		return struct{}{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	var root uint64
	err = b.View(func(tx *bolt.Tx) error { root = uint64(tx.Bucket([]byte("outer")).Root()); return nil })
	if err := errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := data[root*pageBytes : (root+1)*pageBytes]
	at := bytes.Index(page, []byte("inner"))
	if root == 0 || at < 0 {
		t.Fatalf("the bucket is not in page %d", root)
	}
	layout.PutUint64(page[at+len("inner"):], root) // where the inner one's tree begins
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // it is damaged
	names, err := View(db, func(tx *Tx) ([]string, error) { return tx.Children("outer"), nil })
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("its buckets are %q, %v", names, err)
	}
}
