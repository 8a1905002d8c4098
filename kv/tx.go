package kv

import (
	"fmt"
	"iter"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Limits of one record; bbolt's own are wider.
const (
	maxKeyBytes   = 1 << 10
	maxValueBytes = 16 << 20
)

// A Tx is one consistent state of the database and the changes its function has made to it.
// It must not be used by several goroutines, nor after its function returned.
type Tx struct {
	Now time.Time // read once, in UTC

	db       *DB
	store    *boltStore
	writable bool
	err      error // the first failure; it fails the transaction

	// The group's changes reach bbolt when all its functions have run: its cursors go wrong in pages
	// that are being changed.
	earlier changeSet // of the group's members before this one
	own     changeSet
}

func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

// guard turns bbolt's panic over a damaged page into a failure of the transaction.
func (tx *Tx) guard(path Path) {
	if p := recover(); p != nil {
		tx.fail(damaged("bucket %q: %v", path, p))
	}
}

// get returns the value at key, nil if there is none. It must not be kept or changed.
func (tx *Tx) get(path Path, key []byte) []byte {
	defer tx.guard(path)
	if c := tx.changes(path); c != nil {
		if value, ok := c.Get(string(key)); ok {
			return value
		}
	}
	if b := tx.committed(path); b != nil {
		return b.Get(key)
	}
	return nil
}

// unseal returns the version and data of a value that get or scan found.
func (tx *Tx) unseal(path Path, key, value []byte) (version byte, data []byte, ok bool) {
	defer tx.guard(path)
	version, data, err := unseal(path, key, value)
	if err != nil {
		tx.fail(err)
	}
	return version, data, err == nil
}

// changes returns what this transaction sees of changes to the bucket at path, nil if there are none.
func (tx *Tx) changes(path Path) *changes {
	if c, ok := tx.own.changed[path]; ok {
		return c
	}
	return tx.earlier.changed[path]
}

// committed returns the bucket at path below the changes, nil if there is none.
func (tx *Tx) committed(path Path) *bolt.Bucket {
	if tx.own.drops(path) || tx.earlier.drops(path) {
		return nil
	}
	return tx.store.bucket(path)
}

func (tx *Tx) put(path Path, key, value []byte) {
	if len(key) == 0 || len(key) > maxKeyBytes || len(value) > maxValueBytes {
		tx.fail(fmt.Errorf("bucket %q can't hold a key of %d bytes with a value of %d", path, len(key), len(value)))
		return
	}
	tx.own.bytes += int64(len(key) + len(value))
	tx.change(path, key, value)
}

func (tx *Tx) delete(path Path, key []byte) {
	if tx.get(path, key) != nil {
		tx.change(path, key, nil)
	}
}

func (tx *Tx) change(path Path, key, value []byte) {
	tx.mustWrite()
	c := tx.own.changed[path]
	if c == nil {
		c = tx.begin(path)
	}
	c.Set(string(key), value)
}

// begin prepares for this transaction's first change to the bucket at path, and makes the buckets
// around it.
func (tx *Tx) begin(path Path) *changes {
	c := new(changes)
	if seen := tx.changes(path); seen != nil {
		c = seen.Copy() // cheap: nodes are copied when they are changed
	}
	tx.own.changed[path] = c
	if outer := path.outer(); outer != "" && tx.changes(outer) == nil && tx.committed(outer) == nil {
		tx.begin(outer)
	}
	return c
}

// Drop deletes the bucket at path and every bucket inside it.
func (tx *Tx) Drop(path Path) {
	tx.mustWrite()
	for _, set := range []changeSet{tx.earlier, tx.own} {
		for changed := range set.changed {
			if within(changed, path) {
				tx.own.changed[changed] = nil
			}
		}
	}
	tx.own.dropped = append(tx.own.dropped, path)
}

func (tx *Tx) mustWrite() {
	if !tx.writable {
		panic("kv: write in a read-only transaction")
	}
}

// Children returns the names of the buckets directly inside path, in order. A bucket is there from
// the first Put into it, or into one inside it, until it is dropped, or one around it.
func (tx *Tx) Children(path Path) (names []string) {
	defer tx.guard(path)
	for _, name := range tx.store.children(path) {
		if tx.committed(path.Join(name)) != nil {
			names = append(names, name)
		}
	}
	for _, set := range []changeSet{tx.earlier, tx.own} {
		for changed := range set.changed {
			if changed.outer() == path && tx.changes(changed) != nil {
				names = append(names, string(changed[len(path)+1:]))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// chunk is how many records a scan reads ahead; so its cursor never meets a change of the loop's.
const chunk = 128

func (tx *Tx) scan(path Path, r Range) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		size := 8
		for {
			pairs := tx.read(path, r, size)
			for _, p := range pairs {
				if !yield(p.key, p.value) {
					return
				}
			}
			if len(pairs) < size {
				return
			}
			last := pairs[len(pairs)-1].key
			if r.Down {
				r.To = last
			} else {
				r.From = append(slices.Clone(last), 0)
			}
			size = chunk
		}
	}
}

// read returns up to n records of r: the committed ones with the changes over them.
func (tx *Tx) read(path Path, r Range, n int) []pair {
	defer tx.guard(path)
	var over, under cursor = empty{}, empty{}
	if c := tx.changes(path); c != nil {
		over = &changeCursor{it: c.Iter(), r: r}
	}
	if b := tx.committed(path); b != nil {
		under = &boltCursor{c: b.Cursor(), r: r}
	}
	return merge(over, under, r.Down, n)
}
