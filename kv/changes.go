package kv

import (
	"bytes"
	"strings"

	"github.com/tidwall/btree"
)

// A changeSet is what one transaction made of the state that it saw: first the dropped buckets go, with
// all in them, then ops come.
type changeSet struct {
	dropped []Path
	ops     *btree.BTreeG[op] // by path, then key; nil if there are none
	bytes   int64             // of the keys and values that were put
}

// An op is a new value at a key, or nil for a tombstone.
type op struct {
	path       Path
	key, value []byte
}

func (o op) less(other op) bool {
	if o.path != other.path {
		return o.path < other.path
	}
	return bytes.Compare(o.key, other.key) < 0
}

func (s *changeSet) empty() bool {
	return len(s.dropped) == 0 && (s.ops == nil || s.ops.Len() == 0)
}

func (s *changeSet) set(o op) {
	if s.ops == nil {
		s.ops = btree.NewBTreeGOptions(op.less, btree.Options{NoLocks: true})
	}
	s.ops.Set(o)
}

// each calls fn with the changes, in order.
func (s *changeSet) each(fn func(op)) {
	if s.ops != nil {
		s.ops.Scan(func(o op) bool { fn(o); return true })
	}
}

// get returns what the transaction made of key, and whether it made anything of it.
func (s *changeSet) get(path Path, key []byte) (value []byte, ok bool) {
	if s.ops == nil {
		return nil, false
	}
	o, ok := s.ops.Get(op{path: path, key: key})
	return o.value, ok
}

// drop forgets the changes inside path: it was dropped after them.
func (s *changeSet) drop(path Path) {
	s.dropped = append(s.dropped, path)
	if s.ops == nil {
		return
	}
	var inside []op
	s.ops.Ascend(op{path: path}, func(o op) bool {
		if within(o.path, path) {
			inside = append(inside, o)
		}
		return strings.HasPrefix(string(o.path), string(path))
	})
	for _, o := range inside {
		s.ops.Delete(o)
	}
}

func (s *changeSet) drops(path Path) bool {
	for _, d := range s.dropped {
		if within(path, d) {
			return true
		}
	}
	return false
}

// holdsRecords tells whether there are changes of the bucket at path itself.
func (s *changeSet) holdsRecords(path Path) (yes bool) {
	if s.ops != nil {
		s.ops.Ascend(op{path: path}, func(o op) bool { yes = o.path == path; return false })
	}
	return yes
}

// holdsBuckets tells whether there are changes of buckets inside path.
func (s *changeSet) holdsBuckets(path Path) (yes bool) {
	if s.ops != nil {
		s.ops.Ascend(op{path: path + "/"}, func(o op) bool { yes = within(o.path, path); return false })
	}
	return yes
}

// named calls fn with the names directly inside path.
func (s *changeSet) named(path Path, fn func(name string)) {
	if s.ops == nil {
		return
	}
	s.ops.Ascend(op{path: path + "/"}, func(o op) bool {
		name, ok := path.child(o.path)
		if ok {
			fn(name)
		}
		return ok
	})
}

// outer returns the bucket that path is directly inside of, "" if there is none.
func (p Path) outer() Path {
	return p[:max(0, strings.LastIndexByte(string(p), '/'))]
}

// child returns the name of the bucket directly inside p that path is, or is inside of.
func (p Path) child(path Path) (name string, ok bool) {
	if len(path) <= len(p) || !within(path, p) {
		return "", false
	}
	name, _, _ = strings.Cut(string(path[len(p)+1:]), "/")
	return name, true
}

func within(path, outer Path) bool {
	return strings.HasPrefix(string(path), string(outer)) && (len(path) == len(outer) || path[len(outer)] == '/')
}

// changeCursor walks the changes of a transaction to one bucket.
type changeCursor struct {
	it   btree.IterG[op]
	path Path
	r    Range
}

func (c *changeCursor) first() pair {
	switch {
	case !c.r.Down:
		return c.at(c.it.Seek(op{path: c.path, key: c.r.From}))
	case c.r.To != nil:
		if c.it.Seek(op{path: c.path, key: c.r.To}) {
			return c.at(c.it.Prev())
		}
	case c.it.Seek(op{path: c.path + "\x00"}): // the first behind the bucket
		return c.at(c.it.Prev())
	}
	return c.at(c.it.Last())
}

func (c *changeCursor) next() pair {
	if c.r.Down {
		return c.at(c.it.Prev())
	}
	return c.at(c.it.Next())
}

func (c *changeCursor) at(ok bool) pair {
	if !ok {
		return pair{}
	}
	if o := c.it.Item(); o.path == c.path && c.r.holds(o.key) {
		return pair{o.key, o.value}
	}
	return pair{}
}
