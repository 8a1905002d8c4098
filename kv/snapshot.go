package kv

import "fmt"

// A state is the file with what lies over it: the table that is added to, and those that are being moved
// into the file, newest first. It is replaced, never changed.
type state struct {
	active *table
	frozen []*table
	file   *version // nil for a moment when the next one begins, and when the database is closed
	lost   error    // why there is no file and will be none
}

// depth is how many tables there are.
func (s *state) depth() int { return 1 + len(s.frozen) }

// table returns one of them; 0 is the newest.
func (s *state) table(i int) *table {
	if i == 0 {
		return s.active
	}
	return s.frozen[i-1]
}

// A snapshot is one consistent state of the database, up to one transaction.
type snapshot struct {
	state *state
	at    uint64 // the last transaction that is seen
}

// snapshot opens the newest durable state. close ends it.
func (db *DB) snapshot() (snapshot, error) {
	for {
		s := db.state.Load()
		if s.file == nil {
			if err := db.awaitFile(); err != nil {
				return snapshot{}, err
			}
			continue
		}
		if !s.file.hold() {
			continue // there is a newer one
		}
		at := db.visible.Load() // before the second look at the state: so s has all up to it
		if db.state.Load() == s {
			return snapshot{s, at}, nil
		}
		s.file.leave()
	}
}

// awaitFile returns when the file can be read.
func (db *DB) awaitFile() error {
	db.changing.Lock()
	defer db.changing.Unlock()
	for db.state.Load().file == nil {
		if db.over.Load() {
			return fmt.Errorf("%w: it is closed", ErrStopped)
		}
		if err := db.state.Load().lost; err != nil {
			return fmt.Errorf("%w: %w", ErrStopped, err)
		}
		db.changed.Wait()
	}
	return nil
}

// close ends the snapshot. Nothing that was found through it may be used after that.
func (s snapshot) close() { s.state.file.leave() }

// layer returns what the snapshot sees of a bucket in one table. If that is nothing, it has no list.
func (s snapshot) layer(i int, h *home) layer {
	t := s.state.table(i)
	at := t.seen(s.at)
	v := layer{t: t, at: at, floor: t.droppedAt(h.path, at)}
	if l := t.list(h); l != nil && l.newest.Load() > v.floor {
		v.l = l
	}
	return v
}

// layers returns what lies over the file, newest first, and whether the bucket in the file was dropped since.
func (s snapshot) layers(h *home) (all []layer, dropped bool) {
	for i := 0; i < s.state.depth() && !dropped; i++ {
		v := s.layer(i, h)
		if v.l != nil {
			all = append(all, v)
		}
		dropped = v.floor > 0
	}
	return all, dropped
}

// get returns the value at key, nil if there is none.
func (s snapshot) get(h *home, key []byte) []byte {
	for i := range s.state.depth() {
		v := s.layer(i, h)
		if v.l != nil {
			if value, ok := v.get(key); ok {
				return value
			}
		}
		if v.floor > 0 {
			return nil
		}
	}
	return s.state.file.get(h, key)
}

// cursors are over the records of r, newest first.
func (s snapshot) cursors(all []cursor, h *home, r Range) []cursor {
	layers, dropped := s.layers(h)
	for i := range layers {
		all = append(all, &layerCursor{layer: &layers[i], r: r})
	}
	if dropped {
		return all
	}
	if c := s.state.file.cursor(h, r); c != nil {
		all = append(all, c)
	}
	return all
}

// holdsRecords tells whether there is a record in the bucket, or was since it was made.
func (s snapshot) holdsRecords(h *home) bool {
	layers, dropped := s.layers(h)
	for i := range layers {
		if layers[i].any() {
			return true
		}
	}
	key, value := s.firstInFile(h, dropped)
	return key != nil && value != nil
}

// holdsBuckets tells whether there is a bucket inside this one. It is the writer's.
func (s snapshot) holdsBuckets(h *home) (yes bool) {
	layers, dropped := s.layers(h)
	if len(layers) > 0 {
		return false
	}
	if key, value := s.firstInFile(h, dropped); key != nil {
		return value == nil
	}
	for i := 0; i < s.state.depth() && !yes; i++ {
		if t := s.state.table(i); t.outers[h.path] {
			t.all(func(l *list) {
				yes = yes || l.home != h && within(l.home.path, h.path) && s.holdsRecords(l.home)
			})
		}
	}
	return yes
}

// firstInFile returns the first entry of the bucket in the file: a record, or a bucket, which has no value.
func (s snapshot) firstInFile(h *home, dropped bool) (key, value []byte) {
	if dropped {
		return nil, nil
	}
	p := (&treeCursor{tree: s.state.file.tree(h)}).first()
	return p.key, p.value
}

// named calls fn with the names directly inside path that anything was made of, some of them more than once.
func (s snapshot) named(h *home, fn func(name string)) {
	for i := range s.state.depth() {
		s.state.table(i).all(func(l *list) {
			if name, ok := h.path.child(l.home.path); ok {
				fn(name)
			}
		})
	}
	c := &treeCursor{tree: s.state.file.tree(h)}
	for p := c.first(); p.key != nil; p = c.next() {
		if p.value == nil {
			fn(string(p.key))
		}
	}
}
