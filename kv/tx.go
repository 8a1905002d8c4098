package kv

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Limits of one record; bbolt's own are wider.
const (
	maxKeyBytes   = 1 << 10
	maxValueBytes = 16 << 20

	// A transaction is one part of one record of the log.
	maxTransactionBytes = 1 << 30
)

// A Tx is one consistent state of the database and the changes its function has made to it.
// It must not be used by several goroutines, nor after its function returned.
type Tx struct {
	Now time.Time // read once, in UTC

	db       *DB
	under    snapshot // with the changes of the group's members before this one
	writable bool
	own      changeSet
	memory   []byte // where the next of own's keys and values go
	encoded  []byte // the record that was put last
	err      error  // the first failure; it fails the transaction
}

// A Mark names a committed state of the database while it is open.
type Mark uint64

// Mark returns the mark of the state that the transaction sees, without its own changes and those of
// transactions that are committed together with it.
func (tx *Tx) Mark() Mark { return Mark(min(tx.under.at, tx.db.visible.Load())) }

// changedSince tells whether the bucket may have been changed since the state called m.
func (tx *Tx) changedSince(m Mark, h *home) bool {
	return h.changed.Load() > uint64(m) || tx.db.dropped.Load() > uint64(m) || tx.own.holdsRecords(h) || len(tx.own.dropped) > 0
}

func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

// guard turns a panic over a damaged page into a failure of the transaction.
func (tx *Tx) guard(path Path) {
	if p := recover(); p != nil {
		tx.fail(damaged("bucket %q: %v", path, p))
	}
}

// get returns the value at key, nil if there is none. It must not be kept or changed.
func (tx *Tx) get(h *home, key []byte) []byte {
	defer tx.guard(h.path)
	if tx.writable {
		if value, ok := tx.own.get(h, key); ok || tx.own.drops(h.path) {
			return value
		}
	}
	return tx.under.get(h, key)
}

// unseal returns the version and data of a value that get or scan found. A packed key has none, and lies in a
// block that was looked at already.
func (tx *Tx) unseal(path Path, key, value []byte) (version byte, data []byte, ok bool) {
	if path.packed() {
		return 0, nil, true
	}
	defer tx.guard(path)
	version, data, err := unseal(path, key, value)
	if err != nil {
		tx.fail(err)
	}
	return version, data, err == nil
}

// put stores at key the value that is sealed around data, in place of what was there.
func (tx *Tx) put(h *home, key []byte, version byte, data []byte) {
	if h.appendOnly {
		tx.refuseChange(h)
		return
	}
	tx.store(h, key, version, data)
}

// store is put, for any bucket.
func (tx *Tx) store(h *home, key []byte, version byte, data []byte) {
	if len(key) == 0 || len(key) > maxKeyBytes || len(data) > maxValueBytes-valueHeader {
		tx.fail(fmt.Errorf("bucket %q can't hold a key of %d bytes with a value of %d", h.path, len(key), len(data)))
		return
	}
	if h.packed && (version != 0 || len(data) > 0) {
		tx.fail(fmt.Errorf("the packed bucket %q can't hold values", h.path))
		return
	}
	if !tx.mayHoldRecords(h) {
		return
	}
	if tx.own.bytes += int64(len(key) + valueHeader + len(data)); tx.own.bytes > maxTransactionBytes {
		tx.fail(fmt.Errorf("a transaction can't put more than %d bytes", int64(maxTransactionBytes)))
		return
	}
	room := tx.allocate(len(key) + valueHeader + len(data))
	at := append(room, key...)
	value := at[len(key):]
	if !h.packed {
		value = appendSealed(value, key, version, data)
	}
	tx.change(h, at[:len(key):len(key)], value)
}

// mayHoldRecords tells whether there can be a record in the bucket, and fails the transaction if not: its
// name is none, it holds buckets, or one that it would be inside of holds records.
func (tx *Tx) mayHoldRecords(h *home) bool {
	tx.mustWrite()
	defer tx.guard(h.path)
	if len(tx.own.dropped) == 0 && (h.records || tx.own.holdsRecords(h)) {
		return true // it was asked before
	}
	path := h.path
	wrong := path == "" || path[0] == '/' || path[len(path)-1] == '/' || strings.Contains(string(path), "//")
	if !wrong {
		wrong = tx.own.holdsBuckets(path) || !tx.own.drops(path) && tx.under.holdsBuckets(h)
	}
	for outer := h.outer; outer != nil && !wrong; outer = outer.outer {
		wrong = outer.appendOnly || tx.own.holdsRecords(outer) || !tx.own.drops(outer.path) && tx.under.holdsRecords(outer)
	}
	if wrong {
		tx.fail(fmt.Errorf("there can be no record in bucket %q: a bucket has a name, and holds either records or buckets", path))
		return false
	}
	return true
}

// memoryPiece is how much a transaction allocates at a time.
const memoryPiece = 2 << 10

// allocate returns an empty slice with room for n bytes.
func (tx *Tx) allocate(n int) []byte {
	if n > len(tx.memory) {
		tx.memory = make([]byte, max(n, memoryPiece))
	}
	room := tx.memory[:0:n]
	tx.memory = tx.memory[n:]
	return room
}

func (tx *Tx) delete(h *home, key []byte) {
	tx.mustWrite()
	if h.appendOnly {
		tx.refuseChange(h)
		return
	}
	if tx.get(h, key) != nil {
		tx.change(h, append(tx.allocate(len(key)), key...), nil)
	}
}

func (tx *Tx) change(h *home, key, value []byte) {
	tx.mustWrite()
	tx.own.set(op{h, key, value})
}

// refuseChange fails the transaction because it would change what is in an append-only bucket.
func (tx *Tx) refuseChange(h *home) {
	tx.fail(fmt.Errorf("in bucket %q nothing can be put or deleted: it can only be appended to", h.path))
}

// Drop deletes the bucket at path and every bucket inside it. Nothing in [AppendOnlyRoot] can be dropped.
func (tx *Tx) Drop(path Path) {
	tx.mustWrite()
	if within(path, AppendOnlyRoot) {
		tx.fail(fmt.Errorf("bucket %q can't be dropped: append-only buckets lie in %q", path, AppendOnlyRoot))
		return
	}
	tx.own.drop(path)
}

func (tx *Tx) mustWrite() {
	if !tx.writable {
		panic("kv: write in a read-only transaction")
	}
}

// Children returns the names of the buckets directly inside path that hold records, or buckets that do,
// in order.
func (tx *Tx) Children(path Path) (names []string) {
	defer tx.guard(path)
	for _, name := range tx.named(path) {
		if tx.holdsAny(path.Join(name)) {
			names = append(names, name)
		}
	}
	return names
}

// named returns the names directly inside path that anything was ever made of.
func (tx *Tx) named(path Path) (names []string) {
	add := func(name string) { names = append(names, name) }
	tx.under.named(tx.home(nil, path), add)
	tx.own.named(path, add)
	slices.Sort(names)
	return slices.Compact(names)
}

// maxNesting is more than buckets lie in each other anywhere. In a damaged file one may lie in itself.
const maxNesting = 32

// holdsAny tells whether there is a record in the bucket at path, or in one inside it.
func (tx *Tx) holdsAny(path Path) bool {
	if strings.Count(string(path), "/") > maxNesting {
		tx.fail(damaged("bucket %q lies in itself", path[:strings.IndexByte(string(path), '/')]))
	}
	if tx.err != nil {
		return false
	}
	return len(tx.read(tx.home(nil, path), Range{}, 1)) > 0 ||
		slices.ContainsFunc(tx.named(path), func(name string) bool { return tx.holdsAny(path.Join(name)) })
}

// chunk is how many records a scan reads ahead; so its cursor never meets a change of the loop's.
const chunk = 128

func (tx *Tx) scan(h *home, r Range) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		size := 8
		for {
			pairs := tx.read(h, r, size)
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
func (tx *Tx) read(h *home, r Range, n int) []pair {
	defer tx.guard(h.path)
	var all []cursor
	if tx.own.len() > 0 {
		all = append(all, tx.own.cursor(h, r))
	}
	if !tx.own.drops(h.path) {
		all = tx.under.cursors(all, h, r)
	}
	return merge(all, r.Down, n)
}
