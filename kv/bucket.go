package kv

import (
	"bytes"
	"fmt"
	"iter"
)

// A Path names a bucket: the names of the buckets around it and its own, joined by "/". A bucket holds
// either records or other buckets.
type Path string

// packed tells whether the bucket is a packed one.
func (p Path) packed() bool { return p != "" && p[len(p)-1] == '~' }

// appendOnly tells whether the bucket is one that can only be appended to.
func (p Path) appendOnly() bool { return p != "" && p[len(p)-1] == '+' }

// Join returns the path of the bucket called name inside p.
func (p Path) Join(name string) Path { return p + "/" + Path(name) }

// A Bucket holds T records, ordered by key. Its methods can only be used while the transaction's
// function runs. They report no errors of their own: a damaged record, or a key or value that can't
// be stored, fails the whole transaction, whatever its function returns.
type Bucket[T any] struct {
	Path  Path
	Codec Codec[T]

	home *home
}

// In returns the bucket with the place that it has in db, where it can then be used without being looked for.
// It is for buckets that are used often; there is no way to use it in another database.
func (b Bucket[T]) In(db *DB) Bucket[T] {
	b.home = db.homes.home(b.Path)
	return b
}

// home returns the bucket's home, which may be known already.
func (tx *Tx) home(known *home, path Path) *home {
	if known != nil {
		return known
	}
	return tx.db.homes.home(path)
}

// Get returns the record at key, and whether there is one.
func (b Bucket[T]) Get(tx *Tx, key []byte) (v T, ok bool) {
	value := tx.get(tx.home(b.home, b.Path), key)
	if value == nil {
		return v, false
	}
	return b.decode(tx, key, value)
}

// Has tells whether there is a record at key, without decoding it.
func (b Bucket[T]) Has(tx *Tx, key []byte) bool { return tx.get(tx.home(b.home, b.Path), key) != nil }

// Put stores v at key, in place of what was there.
func (b Bucket[T]) Put(tx *Tx, key []byte, v T) {
	tx.mustWrite()
	data, err := b.Codec.Encode(tx.encoded[:0], v)
	if tx.encoded = data; err != nil {
		tx.fail(fmt.Errorf("encoding a record of bucket %q: %w", b.Path, err))
		return
	}
	tx.put(tx.home(b.home, b.Path), key, b.Codec.Version, data)
}

// Delete removes the record at key, if there is one.
func (b Bucket[T]) Delete(tx *Tx, key []byte) { tx.delete(tx.home(b.home, b.Path), key) }

// Scan yields the records of r in ascending order, or in descending order if r says so. The loop
// may put and delete; it sees the bucket somewhere between its states before and after.
func (b Bucket[T]) Scan(tx *Tx, r Range) iter.Seq2[[]byte, T] {
	return func(yield func([]byte, T) bool) {
		for key, value := range tx.scan(tx.home(b.home, b.Path), r) {
			v, ok := b.decode(tx, key, value)
			if !ok || !yield(key, v) {
				return
			}
		}
	}
}

// ChangedSince tells whether the bucket may have been changed since the state called m: then what was read in it
// must be read again. In doubt it says so.
func (b Bucket[T]) ChangedSince(tx *Tx, m Mark) bool {
	return tx.changedSince(m, tx.home(b.home, b.Path))
}

func (b Bucket[T]) decode(tx *Tx, key, value []byte) (v T, ok bool) {
	version, data, ok := tx.unseal(b.Path, key, value)
	if !ok {
		return v, false
	}
	v, err := b.Codec.Decode(version, data)
	if err != nil {
		tx.fail(recordError(b.Path, key, err.Error()))
		var zero T
		return zero, false
	}
	return v, true
}

// An Index is an ordered set of keys: records that are nothing but their checksum. Where keys are put all over
// it, its name should end in "~": then they rest in the file in packed runs.
type Index struct {
	Path Path

	home *home
}

// In is like [Bucket.In].
func (x Index) In(db *DB) Index {
	x.home = db.homes.home(x.Path)
	return x
}

// Put adds key.
func (x Index) Put(tx *Tx, key []byte) { tx.put(tx.home(x.home, x.Path), key, 0, nil) }

// Delete removes key, if it is there.
func (x Index) Delete(tx *Tx, key []byte) { tx.delete(tx.home(x.home, x.Path), key) }

// Has tells whether key is there.
func (x Index) Has(tx *Tx, key []byte) bool { return tx.get(tx.home(x.home, x.Path), key) != nil }

// Scan yields the keys of r like [Bucket.Scan].
func (x Index) Scan(tx *Tx, r Range) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for key, value := range tx.scan(tx.home(x.home, x.Path), r) {
			if _, _, ok := tx.unseal(x.Path, key, value); !ok || !yield(key) {
				return
			}
		}
	}
}

// First returns the first key of r, nil if there is none.
func (x Index) First(tx *Tx, r Range) []byte {
	pairs := tx.read(tx.home(x.home, x.Path), r, 1)
	if len(pairs) == 0 {
		return nil
	}
	if _, _, ok := tx.unseal(x.Path, pairs[0].key, pairs[0].value); !ok {
		return nil
	}
	return pairs[0].key
}

// Any tells whether there is a key in r.
func (x Index) Any(tx *Tx, r Range) bool { return x.First(tx, r) != nil }

// A Range is the keys from From (inclusive; nil is the first) to To (exclusive; nil is past the last).
type Range struct {
	From, To []byte
	Down     bool // newest first: in descending order
}

// Prefix is the range of all keys that begin with the given parts, put together.
func Prefix(parts ...[]byte) Range {
	prefix := Key(parts...)
	return Range{From: prefix, To: successor(prefix)}
}

// Descending is r in descending order.
func (r Range) Descending() Range {
	r.Down = true
	return r
}

// Before is r cut to the keys below key, or all of r if key is nil.
func (r Range) Before(key []byte) Range {
	if key != nil && (r.To == nil || bytes.Compare(key, r.To) < 0) {
		r.To = key
	}
	return r
}

// Key puts the parts of a key together.
func Key(parts ...[]byte) []byte {
	var key []byte
	for _, part := range parts {
		key = append(key, part...)
	}
	return key
}

// successor returns the first key after all keys with this prefix, nil if there is none.
func successor(prefix []byte) []byte {
	next := append([]byte(nil), prefix...)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return next[:i+1]
		}
	}
	return nil
}
