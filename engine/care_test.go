package engine

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tuco/kv"
)

func TestSpaceAdvice(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, tt := range []struct {
		name  string
		space Space
		want  string
	}{
		{"a small file", Space{File: 256 * mib, Free: 255 * mib}, ""},
		{"half free", Space{File: 300 * mib, Free: 150 * mib}, ""},
		{"more than half free", Space{File: 300 * mib, Free: 151 * mib}, "Of the database file's 300 MiB, 151 MiB are free inside it: 'tuco compact' gives them back to the disk."},
		{"nothing", Space{}, ""},
	} {
		if got := tt.space.Advice(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A file that was large once is a warning until it is compacted.
func TestHollowFileWarns(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 300 MB")
	}
	t.Parallel()
	dir := t.TempDir()
	db, err := kv.Open(filepath.Join(dir, DatabaseName), kv.Options{Schema: Schema})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 5<<20)
	bucket := kv.Bucket[string]{Path: "large", Codec: kv.JSON[string](1)}
	change := func(fn func(tx *kv.Tx)) {
		t.Helper()
		if _, err := kv.Update(db, func(tx *kv.Tx) (struct{}, error) { fn(tx); return struct{}{}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 60 {
		change(func(tx *kv.Tx) { bucket.Put(tx, bytes.Repeat([]byte{byte(i)}, 2), text) })
	}
	if _, err := db.Check(); err != nil { // it moves everything into the file
		t.Fatal(err)
	}
	change(func(tx *kv.Tx) { tx.Drop("large") })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	advised := func() bool {
		return slices.ContainsFunc(e.Warnings(), func(w string) bool { return strings.Contains(w, "tuco compact") })
	}
	if !advised() {
		t.Errorf("%+v, and the warnings are %q", e.Space(), e.Warnings())
	}
	c, err := e.Compact(t.Context(), func(string, int64, int64) {})
	if err != nil || c.After > c.Before/10 {
		t.Errorf("Compact = %+v, %v", c, err)
	}
	if advised() {
		t.Errorf("%+v, and the warnings are %q", e.Space(), e.Warnings())
	}
}
