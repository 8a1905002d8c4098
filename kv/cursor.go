package kv

import (
	"bytes"

	"github.com/tidwall/btree"
	bolt "go.etcd.io/bbolt"
)

type pair struct {
	key   []byte
	value []byte // lies in the file's memory, which stands still while the function runs
}

// A cursor walks a range in its direction. A nil key is the end.
type cursor interface {
	first() pair
	next() pair
}

type empty struct{}

func (empty) first() pair { return pair{} }
func (empty) next() pair  { return pair{} }

// merge walks both cursors; where both have a key, over wins. A pair with a nil value is left out.
func merge(over, under cursor, down bool, n int) []pair {
	pairs := make([]pair, 0, n)
	o, u := over.first(), under.first()
	for len(pairs) < n && (o.key != nil || u.key != nil) {
		order := compare(o.key, u.key, down)
		p := u
		if order <= 0 {
			p = o
		}
		if p.value != nil {
			pairs = append(pairs, pair{bytes.Clone(p.key), p.value})
		}
		if order <= 0 {
			o = over.next()
		}
		if order >= 0 {
			u = under.next()
		}
	}
	return pairs
}

// compare orders two keys in a scan's direction; the end (nil) comes last.
func compare(a, b []byte, down bool) int {
	switch {
	case a == nil:
		return 1
	case b == nil:
		return -1
	case down:
		return bytes.Compare(b, a)
	}
	return bytes.Compare(a, b)
}

func (r Range) holds(key []byte) bool {
	return bytes.Compare(key, r.From) >= 0 && (r.To == nil || bytes.Compare(key, r.To) < 0)
}

type boltCursor struct {
	c *bolt.Cursor
	r Range
}

func (c *boltCursor) first() pair {
	switch {
	case !c.r.Down:
		return c.at(c.c.Seek(c.r.From))
	case c.r.To == nil:
		return c.at(c.c.Last())
	}
	if key, _ := c.c.Seek(c.r.To); key == nil {
		return c.at(c.c.Last())
	}
	return c.at(c.c.Prev())
}

func (c *boltCursor) next() pair {
	if c.r.Down {
		return c.at(c.c.Prev())
	}
	return c.at(c.c.Next())
}

// at turns bbolt's answer into a pair. A nil value is a bucket inside this one, and so no record.
func (c *boltCursor) at(key, value []byte) pair {
	if key == nil || !c.r.holds(key) {
		return pair{}
	}
	return pair{key, value}
}

type changeCursor struct {
	it btree.MapIter[string, []byte]
	r  Range
}

func (c *changeCursor) first() pair {
	switch {
	case !c.r.Down:
		return c.at(c.it.Seek(string(c.r.From)))
	case c.r.To == nil, !c.it.Seek(string(c.r.To)):
		return c.at(c.it.Last())
	}
	return c.at(c.it.Prev())
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
	key := []byte(c.it.Key())
	if !c.r.holds(key) {
		return pair{}
	}
	return pair{key, c.it.Value()}
}
