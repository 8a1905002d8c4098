package kv

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"unsafe"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// TestTreeReadsWhatBoltWrote: the pages say the same here as to bbolt's own readers, whatever was put and deleted,
// in small buckets, which lie in their outer one's page, and in those of several levels.
func TestTreeReadsWhatBoltWrote(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		b, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bolt.Options{NoSync: true, PageSize: pageBytes})
		if err != nil {
			r.Fatal(err)
		}
		defer b.Close()
		for range rapid.IntRange(1, 4).Draw(r, "commits") {
			if err := b.Update(func(tx *bolt.Tx) error { return scribble(r, tx) }); err != nil {
				r.Fatal(err)
			}
		}
		if err := b.View(func(tx *bolt.Tx) error {
			info := b.Info()
			root := tree{
				data: unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&info.Data))), tx.Size()),
				root: uint64(tx.Cursor().Bucket().Root()),
			}
			compareTrees(r, "", root, tx.Cursor(), tx.Bucket)
			return nil
		}); err != nil {
			r.Fatal(err)
		}
	})
}

// scribble changes some records of some buckets.
func scribble(r *rapid.T, tx *bolt.Tx) error {
	for _, name := range []string{"few", "many", "large"} {
		outer, err := tx.CreateBucketIfNotExists([]byte(name))
		if err != nil {
			return err
		}
		inner, err := outer.CreateBucketIfNotExists([]byte("k05-inner"))
		if err != nil {
			return err
		}
		most := map[string]int{"few": 3, "many": 3000, "large": 40}[name]
		size := map[string]int{"few": 10, "many": 20, "large": 9000}[name]
		for range rapid.IntRange(0, most).Draw(r, "ops") {
			b := []*bolt.Bucket{outer, inner}[rapid.IntRange(0, 1).Draw(r, "bucket")]
			key := fmt.Appendf(nil, "k%04d", rapid.IntRange(0, 2*most).Draw(r, "key"))
			if rapid.IntRange(0, 3).Draw(r, "kind") == 0 {
				err = b.Delete(key)
			} else {
				err = b.Put(key, bytes.Repeat([]byte{'v'}, rapid.IntRange(0, size).Draw(r, "size")))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func compareTrees(r *rapid.T, path string, at tree, c *bolt.Cursor, bucket func([]byte) *bolt.Bucket) {
	var want []pair
	for key, value := c.First(); key != nil; key, value = c.Next() {
		want = append(want, pair{key, value})
		got, isBucket := at.get(key)
		if isBucket != (value == nil) || value != nil && !bytes.Equal(got, value) {
			r.Fatalf("%s: get(%q) = %q, %v, want %q", path, key, got, isBucket, value)
		}
		if value == nil {
			b := bucket(key)
			compareTrees(r, path+"/"+string(key), at.inner(key), b.Cursor(), b.Bucket)
		}
	}
	if got, _ := at.get([]byte("k05")); got != nil {
		r.Fatalf("%s: get of a key that is not there = %q", path, got)
	}
	if missing := at.inner([]byte("k05")); missing.exists() {
		r.Fatalf("%s: a bucket that is not there is", path)
	}
	bound := rapid.OneOf(rapid.Just([]byte(nil)), rapid.Map(rapid.IntRange(0, 6100), func(i int) []byte { return fmt.Appendf(nil, "k%04d", i) }))
	for range 4 {
		in := Range{From: bound.Draw(r, "from"), To: bound.Draw(r, "to"), Down: rapid.Bool().Draw(r, "down")}
		var got []pair
		cursor := &treeCursor{tree: at, r: in}
		for p := cursor.first(); p.key != nil; p = cursor.next() {
			got = append(got, p)
		}
		if in.Down {
			slices.Reverse(got)
		}
		if held := slices.DeleteFunc(slices.Clone(want), func(p pair) bool { return !in.holds(p.key) }); !samePairs(got, held) {
			r.Fatalf("%s: %q to %q, down %v: %d pairs, want %d", path, in.From, in.To, in.Down, len(got), len(held))
		}
	}
}
