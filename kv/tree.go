package kv

import "bytes"

// bbolt's own readers need a transaction and an object for each bucket on the way; so what is read often
// is read here: the same pages, by any number of goroutines, without an allocation. A fault of the pages
// is a panic; whoever reads for a transaction turns it into [ErrDamaged].

// A page is one page of the file with those that it runs on into, or a small bucket's inside another page.
type page []byte

func (p page) count() int { return int(layout.Uint16(p[10:])) }

func (p page) isLeaf() bool {
	switch kind := layout.Uint16(p[8:]); kind {
	case leafPage, branchPage:
		return kind == leafPage
	default:
		panic(damaged("page %d is no part of a tree", layout.Uint64(p)))
	}
}

// element returns where the i-th element and its key begin, and the key's length.
func (p page) element(i int, leaf bool) (at, key, size int) {
	at = pageHeader + i*elementSize
	pos := at
	if leaf {
		pos += 4
	}
	return at, at + int(layout.Uint32(p[pos:])), int(layout.Uint32(p[pos+4:]))
}

func (p page) key(i int, leaf bool) []byte {
	_, key, size := p.element(i, leaf)
	return p[key : key+size : key+size]
}

// child returns the page below a branch's i-th element.
func (p page) child(i int) uint64 { return layout.Uint64(p[pageHeader+i*elementSize+8:]) }

// entry returns a leaf's i-th key and value, and whether that is a bucket.
func (p page) entry(i int) (key, value []byte, bucket bool) {
	at, from, size := p.element(i, true)
	end := from + size + int(layout.Uint32(p[at+12:]))
	return p[from : from+size : from+size], p[from+size : end : end], layout.Uint32(p[at:])&bucketFlag != 0
}

// search returns the first element whose key is not below key: its number, and whether it has the same.
func (p page) search(key []byte, leaf bool) (i int, same bool) {
	end := p.count()
	for i < end {
		middle := int(uint(i+end) / 2)
		switch order := bytes.Compare(p.key(middle, leaf), key); {
		case order < 0:
			i = middle + 1
		default:
			end, same = middle, order == 0
		}
	}
	return i, same
}

// A tree is one bucket in the file. The zero tree is empty.
type tree struct {
	data []byte // all pages
	root uint64
	leaf page // in place of root, if the bucket is a small one
}

func (t *tree) exists() bool { return t.root != 0 || t.leaf != nil }

func (t *tree) page(id uint64) page {
	if id < 2 || (id+1)*pageBytes > uint64(len(t.data)) {
		panic(damaged("page %d is not in the file", id))
	}
	p := t.data[id*pageBytes:]
	size := (uint64(layout.Uint32(p[12:])) + 1) * pageBytes
	if layout.Uint64(p) != id || size > uint64(len(p)) {
		panic(damaged("page %d is something else", id))
	}
	return p[:size:size]
}

func (t *tree) top() page {
	if t.leaf != nil {
		return t.leaf
	}
	return t.page(t.root)
}

// get returns the value at key, nil if there is none, and whether it is a bucket.
func (t *tree) get(key []byte) (value []byte, bucket bool) {
	if !t.exists() {
		return nil, false
	}
	p := t.top()
	for depth := 0; !p.isLeaf(); depth++ {
		i, same := p.search(key, false)
		if !same && i > 0 {
			i--
		}
		p = t.below(p, i, depth)
	}
	if i, same := p.search(key, true); same {
		_, value, bucket = p.entry(i)
	}
	return value, bucket
}

// maxDepth is more than any tree has levels.
const maxDepth = 64

func (t *tree) below(p page, i, depth int) page {
	if i >= p.count() || depth > maxDepth {
		panic(damaged("page %d is no part of a tree", layout.Uint64(p)))
	}
	return t.page(p.child(i))
}

// inner returns the bucket called name.
func (t *tree) inner(name []byte) tree {
	value, bucket := t.get(name)
	if !bucket {
		return tree{}
	}
	if len(value) < bucketSize {
		panic(damaged("bucket %q is cut", name))
	}
	in := tree{data: t.data, root: layout.Uint64(value)}
	if in.root == 0 {
		in.leaf = page(value[bucketSize:])
	}
	return in
}

// A treeCursor walks a tree. A pair with a nil value is a bucket. Behind the end there is no next.
type treeCursor struct {
	tree
	r    Range
	hops []hop // from the top to a leaf
}

// A hop is one page on the way to an element, and which of the page's it is.
type hop struct {
	page page
	i    int
}

func (c *treeCursor) first() pair {
	switch {
	case !c.exists():
		return pair{}
	case !c.r.Down:
		c.seek(c.r.From)
		return c.up()
	case c.r.To == nil:
		c.descend(c.top(), true)
	default:
		c.seek(c.r.To)
		c.last().i--
	}
	return c.down()
}

func (c *treeCursor) next() pair {
	if c.r.Down {
		c.last().i--
		return c.down()
	}
	c.last().i++
	return c.up()
}

func (c *treeCursor) last() *hop { return &c.hops[len(c.hops)-1] }

// seek goes to the first element that is not below key, or behind its leaf's last one.
func (c *treeCursor) seek(key []byte) {
	c.hops = c.hops[:0]
	p := c.top()
	for !p.isLeaf() {
		i, same := p.search(key, false)
		if !same && i > 0 {
			i--
		}
		c.hops = append(c.hops, hop{p, i})
		p = c.below(p, i, len(c.hops))
	}
	i, _ := p.search(key, true)
	c.hops = append(c.hops, hop{p, i})
}

// descend goes from p to the first or last element below it.
func (c *treeCursor) descend(p page, last bool) {
	for {
		i := 0
		if last {
			i = p.count() - 1
		}
		c.hops = append(c.hops, hop{p, i})
		if p.isLeaf() {
			return
		}
		p = c.below(p, i, len(c.hops))
	}
}

// up returns the element that the cursor is at, or, behind a leaf's last one, the next leaf's first.
func (c *treeCursor) up() pair {
	for c.last().i >= c.last().page.count() {
		if c.hops = c.hops[:len(c.hops)-1]; len(c.hops) == 0 {
			return pair{}
		}
		if s := c.last(); s.i+1 < s.page.count() {
			s.i++
			c.descend(c.below(s.page, s.i, len(c.hops)), false)
		} else {
			s.i = s.page.count()
		}
	}
	return c.pair()
}

// down returns the element that the cursor is at, or, before a leaf's first one, the last of the leaf before.
func (c *treeCursor) down() pair {
	for c.last().i < 0 {
		if c.hops = c.hops[:len(c.hops)-1]; len(c.hops) == 0 {
			return pair{}
		}
		if s := c.last(); s.i > 0 {
			s.i--
			c.descend(c.below(s.page, s.i, len(c.hops)), true)
		} else {
			s.i = -1
		}
	}
	return c.pair()
}

func (c *treeCursor) pair() pair {
	s := c.last()
	key, value, bucket := s.page.entry(s.i)
	switch {
	case !c.r.holds(key):
		return pair{}
	case bucket:
		value = nil
	}
	return pair{key, value}
}
