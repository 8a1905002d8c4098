package kv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"

	bolt "go.etcd.io/bbolt"
)

// AppendOnlyRoot is the outermost bucket in which all append-only ones lie. It is never dropped, nor is any bucket
// inside it.
const AppendOnlyRoot = Path("append-only")

// A Log is an append-only bucket, whose name ends in "+": records that are numbered from 0 on, of which none is ever
// changed. Those from First to Len are there. All that can be taken away is a whole segment of the oldest, but never
// the last record, so that no number is given twice. A [Bucket] or [Index] with the same path can read it; what they
// put or delete fails the transaction, as does a drop.
//
// Its methods can only be used like those of a Bucket: whatever is wrong fails the whole transaction.
type Log struct {
	Path Path

	home *home
}

const (
	logVersion  = 1 // of its records, which are what was appended
	numberBytes = 8 // of a key
)

// In is like [Bucket.In].
func (l Log) In(db *DB) Log {
	l.home = db.homes.home(l.Path)
	return l
}

// Append stores data behind the last record, and returns its number.
func (l Log) Append(tx *Tx, data []byte) (n uint64) {
	h := l.toWrite(tx)
	if h == nil {
		return 0
	}
	n = l.Len(tx)
	tx.store(h, logKey(n), logVersion, data)
	return n
}

// Get returns the record with that number, and whether it is there.
func (l Log) Get(tx *Tx, n uint64) (data []byte, ok bool) {
	h := tx.home(l.home, l.Path)
	key := logKey(n)
	value := tx.get(h, key)
	if value == nil {
		tx.mayLack(h, key)
		return nil, false
	}
	if data, ok = tx.openLogged(h, key, value); !ok {
		return nil, false
	}
	return bytes.Clone(data), true
}

// Len returns the number that the next record will have: how many were ever appended.
func (l Log) Len(tx *Tx) uint64 {
	if last, ok := l.firstOf(tx, Range{Down: true}); ok {
		return last + 1
	}
	return 0
}

// First returns the lowest number of a record that is still there; 0 if nothing was ever appended.
func (l Log) First(tx *Tx) uint64 {
	n, _ := l.firstOf(tx, Range{})
	return n
}

// firstOf returns the number of the first record of r, and whether there is one.
func (l Log) firstOf(tx *Tx, r Range) (n uint64, ok bool) {
	h := tx.home(l.home, l.Path)
	pairs := tx.read(h, r, 1)
	if len(pairs) == 0 {
		return 0, false
	}
	return tx.logNumber(h, pairs[0].key)
}

// Scan yields the records with the numbers from from (inclusive) to to (exclusive), as far as they are there, in
// ascending order. What the loop appends may come, too.
func (l Log) Scan(tx *Tx, from, to uint64) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		h := tx.home(l.home, l.Path)
		next := from
		for key, value := range tx.scan(h, Range{From: logKey(from), To: logKey(to)}) {
			n, ok := tx.logNumber(h, key)
			if !ok || n != next && !tx.mayLack(h, logKey(next)) {
				return
			}
			data, ok := tx.openLogged(h, key, value)
			if !ok || !yield(n, bytes.Clone(data)) {
				return
			}
			next = n + 1
		}
		if next < to {
			tx.mayLack(h, logKey(next))
		}
	}
}

// DropSegment removes the records of segment n, where each has size of them: those with the numbers from n*size to
// (n+1)*size, exclusive. The transaction fails unless all of them are there, none before them is, and there is one
// behind them.
func (l Log) DropSegment(tx *Tx, size, n uint64) {
	h := l.toWrite(tx)
	if h == nil {
		return
	}
	first, end := l.First(tx), l.Len(tx)
	switch {
	case size == 0 || end == 0 || (end-1)/size <= n: // the product could be too large
		tx.fail(fmt.Errorf("segment %d of bucket %q, of %d records, can't be dropped: there is none behind it; the next will be %d", n, h.path, size, end))
		return
	case first != n*size:
		tx.fail(fmt.Errorf("segment %d of bucket %q, of %d records, can't be dropped: the first that is there is %d", n, h.path, size, first))
		return
	}
	next := first
	for key := range tx.scan(h, Range{From: logKey(first), To: logKey(first + size)}) {
		if i, ok := tx.logNumber(h, key); !ok || i != next {
			break
		}
		tx.change(h, key, nil)
		next++
	}
	if next != first+size {
		tx.fail(recordError(h.path, logKey(next), notThere))
	}
}

// toWrite returns the log's home. It fails the transaction, and returns nil, if the path is none of an append-only
// bucket.
func (l Log) toWrite(tx *Tx) *home {
	h := tx.home(l.home, l.Path)
	if !h.appendOnly || !within(h.path, AppendOnlyRoot) {
		tx.fail(fmt.Errorf("bucket %q can't be an append-only one: its name must end in \"+\", and it must lie in %q", h.path, AppendOnlyRoot))
		return nil
	}
	return h
}

func logKey(n uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, numberBytes), n) }

const (
	noNumber = "its key is no number"
	notThere = "it is not there"
)

// logNumber returns the number of the record at key.
func (tx *Tx) logNumber(h *home, key []byte) (n uint64, ok bool) {
	if len(key) != numberBytes {
		tx.fail(recordError(h.path, key, noNumber))
		return 0, false
	}
	return binary.BigEndian.Uint64(key), true
}

// mayLack tells whether there need be no record at key, where none is: there are none before it, or none behind it.
// It fails the transaction otherwise.
func (tx *Tx) mayLack(h *home, key []byte) bool {
	if len(tx.read(h, Range{From: key}, 1)) == 0 || len(tx.read(h, Range{To: key, Down: true}, 1)) == 0 {
		return true
	}
	tx.fail(recordError(h.path, key, notThere))
	return false
}

// openLogged returns what was appended, which still lies in value's memory.
func (tx *Tx) openLogged(h *home, key, value []byte) (data []byte, ok bool) {
	defer tx.guard(h.path)
	data, err := openLogged(h.path, key, value)
	if err != nil {
		tx.fail(err)
	}
	return data, err == nil
}

func openLogged(path Path, key, value []byte) ([]byte, error) {
	version, data, err := unseal(path, key, value)
	if err == nil && version != logVersion {
		err = recordError(path, key, fmt.Sprintf("record version %d is not known", version))
	}
	return data, err
}

// checkLog reads all of the bucket and reports its faults: records that are damaged, and keys that are not the number
// after the one before.
func checkLog(b *bolt.Bucket, path Path, faults *[]string) error {
	var last []byte
	return b.ForEach(func(key, value []byte) error {
		_, err := openLogged(path, key, value)
		switch {
		case len(key) != numberBytes:
			err = recordError(path, key, noNumber)
		case err == nil && last != nil && binary.BigEndian.Uint64(key) != binary.BigEndian.Uint64(last)+1:
			err = recordError(path, key, "the one before it is missing")
		}
		if err != nil {
			*faults = report(*faults, err)
		}
		if len(key) == numberBytes {
			last = key
		}
		return nil
	})
}
