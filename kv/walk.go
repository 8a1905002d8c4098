package kv

import "bytes"

// A walk goes through pages, each of which must be there, be what it says, be named once, and have its
// keys in order.
type walk struct {
	data []byte
	seen []bool
}

// checkTree walks all pages from the root.
func checkTree(data []byte, m meta) error {
	w := walk{data, make([]bool, m.pages)}
	return w.tree(m.root, span{first: true})
}

// checkFreelist looks at the list that Close wrote: a page in it is written to without another look.
func checkFreelist(data []byte, m meta) error {
	w := walk{data, make([]bool, m.pages)}
	p, kind, count, err := w.page(m.freelist)
	if err != nil {
		return err
	}
	ids := p[pageHeader:]
	if count == 1<<16-1 { // then the first number is the count
		count = int(layout.Uint64(ids))
		ids = ids[8:]
	}
	if kind != freelistPage || count < 0 || count > len(ids)/8 {
		return damaged("page %d is no list of free pages", m.freelist)
	}
	for i, last := 0, uint64(1); i < count; i++ {
		id := layout.Uint64(ids[8*i:])
		if id <= last || id >= m.pages || w.seen[id] {
			return damaged("page %d: %d can't be a free page", m.freelist, id)
		}
		last = id
	}
	return nil
}

// page returns the page called id with those that it runs on into, and marks them as seen.
func (w *walk) page(id uint64) (p []byte, kind uint16, count int, err error) {
	if id < 2 || id >= uint64(len(w.seen)) {
		return nil, 0, 0, damaged("page %d is not in the file", id)
	}
	p = w.data[id*pageBytes:]
	more := uint64(layout.Uint32(p[12:]))
	if layout.Uint64(p) != id || id+more >= uint64(len(w.seen)) {
		return nil, 0, 0, damaged("page %d is something else", id)
	}
	for i := id; i <= id+more; i++ {
		if w.seen[i] {
			return nil, 0, 0, damaged("page %d is named twice", i)
		}
		w.seen[i] = true
	}
	return p[:(more+1)*pageBytes], layout.Uint16(p[8:]), int(layout.Uint16(p[10:])), nil
}

// tree walks the page and all below it. Their keys lie in keys.
func (w *walk) tree(id uint64, keys span) error {
	p, kind, count, err := w.page(id)
	if err != nil {
		return err
	}
	if kind == leafPage {
		return w.leaf(id, p, keys)
	}
	if kind != branchPage || count == 0 || pageHeader+count*elementSize > len(p) {
		return damaged("page %d is no part of a tree", id)
	}
	for i := range count {
		at := pageHeader + i*elementSize
		key, _, ok := cutKey(p, at, at)
		if !ok || !keys.take(key) {
			return damaged("page %d: its element %d is wrong", id, i)
		}
		below := span{last: key, first: true, end: keys.end}
		if i+1 < count {
			if below.end, _, ok = cutKey(p, at+elementSize, at+elementSize); !ok {
				return damaged("page %d: its element %d is wrong", id, i+1)
			}
		}
		if err := w.tree(layout.Uint64(p[at+8:]), below); err != nil {
			return err
		}
	}
	return nil
}

// leaf walks the page p, or a small bucket inside page id.
func (w *walk) leaf(id uint64, p []byte, keys span) error {
	count := int(layout.Uint16(p[10:]))
	if pageHeader+count*elementSize > len(p) {
		return damaged("page %d: too many elements", id)
	}
	for i := range count {
		at := pageHeader + i*elementSize
		key, value, ok := cutKey(p, at, at+4)
		size := int(layout.Uint32(p[at+12:]))
		if !ok || !keys.take(key) || size > len(value) {
			return damaged("page %d: its element %d is wrong", id, i)
		}
		if layout.Uint32(p[at:])&bucketFlag == 0 {
			continue
		}
		if err := w.bucket(id, value[:size]); err != nil {
			return err
		}
	}
	return nil
}

// bucket walks the bucket whose record in page id has this value.
func (w *walk) bucket(id uint64, value []byte) error {
	if len(value) < bucketSize {
		return damaged("page %d: a bucket is cut", id)
	}
	if root := layout.Uint64(value); root != 0 {
		return w.tree(root, span{first: true})
	}
	if len(value) < bucketSize+pageHeader || layout.Uint16(value[bucketSize+8:]) != leafPage {
		return damaged("page %d: a bucket is cut", id)
	}
	return w.leaf(id, value[bucketSize:], span{first: true})
}

// cutKey returns the key of the element at at, whose position and size are told at pos, and what
// comes after it.
func cutKey(p []byte, at, pos int) (key, rest []byte, ok bool) {
	from := at + int(layout.Uint32(p[pos:]))
	to := from + int(layout.Uint32(p[pos+4:]))
	if to > len(p) {
		return nil, nil, false
	}
	return p[from:to], p[to:], true
}

// A span is where the next key of a page must lie: after last, or at it if it is the first one, and
// before end, unless that is nil.
type span struct {
	last, end []byte
	first     bool
}

// take moves the span past key, and tells whether key lies in it.
func (s *span) take(key []byte) bool {
	order := bytes.Compare(s.last, key)
	ok := (order < 0 || order == 0 && s.first) && (s.end == nil || bytes.Compare(key, s.end) < 0)
	s.last, s.first = key, false
	return ok
}
