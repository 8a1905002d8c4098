package kv

import (
	"bytes"
	"slices"
	"sort"
	"strings"

	"github.com/tidwall/btree"
)

// A changeSet is what one transaction made of the state that it saw: first the dropped buckets go, with
// all in them, then ops come.
type changeSet struct {
	dropped []Path
	few     []op              // by path, then key, as long as there are few
	many    *btree.BTreeG[op] // else
	bytes   int64             // of the keys and values that were put
}

// maxFew is up to how many ops a sorted slice is faster than a tree.
const maxFew = 32

// An op is a new value at a key, or nil for a tombstone.
type op struct {
	home       *home
	key, value []byte
}

func (o op) less(other op) bool {
	if o.home != other.home && o.home.path != other.home.path {
		return o.home.path < other.home.path
	}
	return bytes.Compare(o.key, other.key) < 0
}

// before is an op that comes before all of the bucket at path, whether or not there are any.
func before(path Path) op { return op{home: &home{path: path}} }

func (s *changeSet) empty() bool { return len(s.dropped) == 0 && s.len() == 0 }

func (s *changeSet) len() int {
	if s.many != nil {
		return s.many.Len()
	}
	return len(s.few)
}

// find returns where o is among the few, or where it belongs.
func (s *changeSet) find(o op) (i int, found bool) {
	i = sort.Search(len(s.few), func(i int) bool { return !s.few[i].less(o) })
	return i, i < len(s.few) && !o.less(s.few[i])
}

func (s *changeSet) set(o op) {
	if s.many != nil {
		s.many.Set(o)
		return
	}
	i, found := s.find(o)
	switch {
	case found:
		s.few[i] = o
	case len(s.few) < maxFew:
		s.few = slices.Insert(s.few, i, o)
	default:
		s.many = btree.NewBTreeGOptions(op.less, btree.Options{NoLocks: true})
		for _, other := range s.few {
			s.many.Load(other)
		}
		s.few = nil
		s.many.Set(o)
	}
}

// each calls fn with the changes, in order.
func (s *changeSet) each(fn func(*op)) {
	for i := range s.few {
		fn(&s.few[i])
	}
	if s.many != nil {
		s.many.Scan(func(o op) bool { fn(&o); return true })
	}
}

// from calls fn with the changes from o on, in order, until it returns false.
func (s *changeSet) from(o op, fn func(op) bool) {
	if s.many != nil {
		s.many.Ascend(o, fn)
		return
	}
	for i, _ := s.find(o); i < len(s.few) && fn(s.few[i]); i++ {
	}
}

// get returns what the transaction made of key, and whether it made anything of it.
func (s *changeSet) get(h *home, key []byte) (value []byte, ok bool) {
	if s.many != nil {
		o, ok := s.many.Get(op{home: h, key: key})
		return o.value, ok
	}
	for i := range s.few {
		if o := &s.few[i]; o.home == h && bytes.Equal(o.key, key) {
			return o.value, true
		}
	}
	return nil, false
}

// drop forgets the changes inside path: it was dropped after them.
func (s *changeSet) drop(path Path) {
	s.dropped = append(s.dropped, path)
	s.few = slices.DeleteFunc(s.few, func(o op) bool { return within(o.home.path, path) })
	if s.many == nil {
		return
	}
	var inside []op
	s.from(before(path), func(o op) bool {
		if within(o.home.path, path) {
			inside = append(inside, o)
		}
		return strings.HasPrefix(string(o.home.path), string(path))
	})
	for _, o := range inside {
		s.many.Delete(o)
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

// holdsRecords tells whether there are changes of the bucket itself.
func (s *changeSet) holdsRecords(h *home) (yes bool) {
	if s.many == nil {
		return slices.ContainsFunc(s.few, func(o op) bool { return o.home == h })
	}
	s.from(op{home: h}, func(o op) bool { yes = o.home == h; return false })
	return yes
}

// holdsBuckets tells whether there are changes of buckets inside path.
func (s *changeSet) holdsBuckets(path Path) (yes bool) {
	s.from(before(path+"/"), func(o op) bool { yes = within(o.home.path, path); return false })
	return yes
}

// named calls fn with the names directly inside path.
func (s *changeSet) named(path Path, fn func(name string)) {
	s.from(before(path+"/"), func(o op) bool {
		name, ok := path.child(o.home.path)
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

// cursor is over the changes of a bucket. The set is not changed while it is used.
func (s *changeSet) cursor(h *home, r Range) cursor {
	if s.many != nil {
		return &manyCursor{it: s.many.Iter(), home: h, r: r}
	}
	i, _ := s.find(op{home: h, key: r.From})
	end := i
	for end < len(s.few) && s.few[end].home == h && r.holds(s.few[end].key) {
		end++
	}
	return &fewCursor{s.few[i:end], r.Down}
}

// fewCursor walks what it holds.
type fewCursor struct {
	rest []op
	down bool
}

func (c *fewCursor) first() pair { return c.next() }

func (c *fewCursor) next() (p pair) {
	if len(c.rest) == 0 {
		return pair{}
	}
	i, rest := 0, c.rest[1:]
	if c.down {
		i = len(c.rest) - 1
		rest = c.rest[:i]
	}
	p = pair{c.rest[i].key, c.rest[i].value}
	c.rest = rest
	return p
}

// manyCursor walks the changes to one bucket in a tree.
type manyCursor struct {
	it   btree.IterG[op]
	home *home
	r    Range
}

func (c *manyCursor) first() pair {
	switch {
	case !c.r.Down:
		return c.at(c.it.Seek(op{home: c.home, key: c.r.From}))
	case c.r.To != nil:
		if c.it.Seek(op{home: c.home, key: c.r.To}) {
			return c.at(c.it.Prev())
		}
	case c.it.Seek(before(c.home.path + "\x00")): // the first behind the bucket
		return c.at(c.it.Prev())
	}
	return c.at(c.it.Last())
}

func (c *manyCursor) next() pair {
	if c.r.Down {
		return c.at(c.it.Prev())
	}
	return c.at(c.it.Next())
}

func (c *manyCursor) at(ok bool) pair {
	if !ok {
		return pair{}
	}
	if o := c.it.Item(); o.home == c.home && c.r.holds(o.key) {
		return pair{o.key, o.value}
	}
	return pair{}
}
