package kv

import (
	"sync/atomic"
	"unsafe"

	bolt "go.etcd.io/bbolt"
)

// A version is the file as one commit of the applier left it. A transaction of bbolt's keeps its pages from
// being used again as long as the version has users: the database itself while it is the newest, and readers.
type version struct {
	number uint64
	homes  *homes
	tx     *bolt.Tx
	root   tree // of the outermost buckets
	users  atomic.Int64
	reads  *reads
}

// showFile makes the file as it is now the version that readers see. If it fails, nobody waits for one any more.
// It is the applier's.
func (db *DB) showFile() error {
	file := db.bolt.Load()
	tx, err := file.Begin(false)
	if err != nil {
		db.change(func(s state) state {
			s.lost = err
			return s
		})
		return err
	}
	db.shown++
	info := file.Info()
	mapped := *(*unsafe.Pointer)(unsafe.Pointer(&info.Data)) // which the collector does not know of
	v := &version{number: db.shown, homes: &db.homes, reads: &db.stats.reads, tx: tx, root: tree{
		data: unsafe.Slice((*byte)(mapped), tx.Size()),
		root: uint64(tx.Cursor().Bucket().Root()),
	}}
	v.users.Store(1)
	db.replaceFile(v)
	return nil
}

// hideFile takes the file away from readers: who comes waits for the next version.
func (db *DB) hideFile() { db.replaceFile(nil) }

func (db *DB) replaceFile(v *version) {
	var old *version
	db.change(func(s state) state {
		old, s.file = s.file, v
		return s
	})
	if old != nil {
		old.reads.begin(old)
		old.leave()
	}
}

// hold adds a user. It fails if the last one has left.
func (v *version) hold() bool {
	for {
		n := v.users.Load()
		if n == 0 {
			return false
		}
		if v.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave takes a user away. After the last one the version is gone.
func (v *version) leave() {
	if v.users.Add(-1) == 0 {
		_ = v.tx.Rollback()
		v.reads.end(v)
	}
}

// A place is where a bucket lay in one version of the file.
type place struct {
	version uint64
	tree    tree
}

// tree returns where the bucket lies.
func (v *version) tree(h *home) tree {
	if h == nil {
		return v.root
	}
	if p := h.place.Load(); p != nil && v.has(p, h) {
		return p.tree.in(v)
	}
	outer := v.tree(h.outer)
	at := outer.inner(h.name())
	h.place.Store(&place{v.number, at})
	return at
}

// get returns the value at key, nil if there is none.
func (v *version) get(h *home, key []byte) []byte {
	at := v.tree(h)
	if h.packed {
		if at.exists() && packedHas(&treeCursor{tree: at}, h.path, key) {
			return packedValue
		}
		return nil
	}
	if value, bucket := at.get(key); !bucket {
		return value
	}
	return nil
}

// cursor is over the records of r, nil if there is no bucket.
func (v *version) cursor(h *home, r Range) cursor {
	at := v.tree(h)
	switch {
	case !at.exists():
		return nil
	case h.packed:
		return &packedCursor{path: h.path, in: &treeCursor{tree: at}, r: r}
	}
	return &treeCursor{tree: at, r: r}
}

// has tells whether the bucket lies at p, where it was in this or another version. A small bucket lies in a
// page of the one around it, and moves with that.
func (v *version) has(p *place, h *home) bool {
	return p.version == v.number ||
		p.tree.leaf == nil && max(h.moved.Load(), v.homes.dropped.Load()) <= min(p.version, v.number)
}

// in is the tree in another version that has it in the same place.
func (t tree) in(v *version) tree {
	t.data = v.root.data
	return t
}
