package kv

import (
	"sync"

	bolt "go.etcd.io/bbolt"
)

// A state is what lies over the file: the table that is added to, and those that are being moved into
// the file, newest first. It is replaced, never changed.
type state struct {
	active *table
	frozen []*table
}

func (s *state) tables(fn func(*table) (more bool)) {
	if !fn(s.active) {
		return
	}
	for _, t := range s.frozen {
		if !fn(t) {
			return
		}
	}
}

// A snapshot is one consistent state of the database: the file with the tables over it, up to one
// transaction. It is used by one goroutine.
type snapshot struct {
	state *state
	at    uint64 // the last transaction that is seen
	tx    *bolt.Tx
	store *boltStore

	places [16]place // those used last
	oldest int
}

// A place is where a snapshot finds the records of one bucket.
type place struct {
	path   Path
	hash   uint64
	layers []layer // newest first

	// What is below the layers, once it was looked for: nil if there is nothing.
	under   *bolt.Bucket
	looked  bool
	dropped bool // then there is nothing
}

// snapshots are used again: a reader needs little else.
var snapshots = sync.Pool{New: func() any { return &snapshot{store: newBoltStore(nil)} }}

// snapshot opens the newest durable state. If the applier begins or ends its work meanwhile, the file and
// the tables may not fit together; so it looks again.
func (db *DB) snapshot() (*snapshot, error) {
	for {
		s := db.state.Load()
		tx, err := db.bolt.Begin(false)
		if err != nil {
			return nil, err
		}
		at := db.visible.Load() // before the second look at the state: so s has all up to it
		if db.state.Load() == s {
			snap := snapshots.Get().(*snapshot)
			snap.state, snap.at, snap.tx, snap.store.tx = s, at, tx, tx
			return snap, nil
		}
		_ = tx.Rollback()
	}
}

// close ends the snapshot. Nothing that was found through it may be used after that.
func (s *snapshot) close() {
	_ = s.tx.Rollback()
	s.forget()
	s.state, s.tx, s.store.tx = nil, nil, nil
	clear(s.store.buckets)
	snapshots.Put(s)
}

// place finds the bucket at path. What it returns is good until the next call.
func (s *snapshot) place(path Path) *place {
	hash := hashPath(path)
	for i := range s.places {
		if p := &s.places[i]; p.hash == hash && p.path == path {
			return p
		}
	}
	p := &s.places[s.oldest]
	s.oldest = (s.oldest + 1) % len(s.places)
	clear(p.layers) // so that it holds no table any longer
	*p = place{path: path, hash: hash, layers: p.layers[:0]}
	s.state.tables(func(t *table) bool {
		at := t.seen(s.at)
		floor := t.droppedAt(path, at)
		if l := t.list(path, hash); l != nil && l.newest.Load() > floor {
			p.layers = append(p.layers, layer{t, l, at, floor})
		}
		p.dropped = floor > 0
		return !p.dropped
	})
	return p
}

// below returns the bucket in the file, nil if there is none or it was dropped since.
func (s *snapshot) below(p *place) *bolt.Bucket {
	if !p.looked && !p.dropped {
		p.under = s.store.bucket(p.path)
	}
	p.looked = true
	return p.under
}

// changedSince tells whether the bucket at path may have been changed since m.
func (s *snapshot) changedSince(m Mark, path Path) bool {
	hash := hashPath(path)
	changed, reached := false, false
	s.state.tables(func(t *table) bool {
		seen := t.seen(uint64(m))
		if l := t.list(path, hash); l != nil && l.newest.Load() > seen {
			changed = true
		}
		changed = changed || t.droppedAt(path, t.seen(s.at)) > seen
		reached = t.base <= uint64(m) // older tables hold nothing newer
		return !changed && !reached
	})
	return changed || !reached
}

// forget makes the snapshot look again where buckets lie: one was made or dropped.
func (s *snapshot) forget() {
	for i := range s.places {
		if p := &s.places[i]; p.path != "" {
			clear(p.layers) // so that it holds no table any longer
			*p = place{layers: p.layers[:0]}
		}
	}
	s.oldest = 0
}

// get returns the value at key, nil if there is none.
func (s *snapshot) get(path Path, key []byte) []byte {
	p := s.place(path)
	for i := range p.layers {
		if value, ok := p.layers[i].get(key); ok {
			return value
		}
	}
	if b := s.below(p); b != nil {
		return b.Get(key)
	}
	return nil
}

// cursors are over the records of r, newest first.
func (s *snapshot) cursors(path Path, r Range) (all []cursor) {
	p := s.place(path)
	for i := range p.layers {
		v := p.layers[i] // the place may be another's before the cursor ends
		all = append(all, &layerCursor{layer: &v, r: r})
	}
	if b := s.below(p); b != nil {
		all = append(all, &boltCursor{c: b.Cursor(), r: r})
	}
	return all
}

// holdsRecords tells whether there is a record in the bucket at path, or was since it was made.
func (s *snapshot) holdsRecords(path Path) bool {
	p := s.place(path)
	for i := range p.layers {
		if p.layers[i].any() {
			return true
		}
	}
	key, value := firstOf(s.below(p))
	return key != nil && value != nil
}

// holdsBuckets tells whether there is a bucket inside path. It is the writer's.
func (s *snapshot) holdsBuckets(path Path) (yes bool) {
	p := s.place(path)
	if len(p.layers) > 0 {
		return false
	}
	if key, value := firstOf(s.below(p)); key != nil {
		return value == nil
	}
	s.state.tables(func(t *table) bool {
		if t.outers[path] {
			t.all(func(l *list) { yes = yes || l.path != path && within(l.path, path) && s.holdsRecords(l.path) })
		}
		return !yes
	})
	return yes
}

// firstOf returns the first entry of a bucket: a record, or a bucket inside it, which has no value.
func firstOf(b *bolt.Bucket) (key, value []byte) {
	if b == nil {
		return nil, nil
	}
	return b.Cursor().First()
}

// named calls fn with the names directly inside path that anything was made of, some of them more than once.
func (s *snapshot) named(path Path, fn func(name string)) {
	s.state.tables(func(t *table) bool {
		t.all(func(l *list) {
			if name, ok := path.child(l.path); ok {
				fn(name)
			}
		})
		return true
	})
	for _, name := range s.store.children(path) {
		fn(name)
	}
}
