package kv

import (
	"bytes"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// A table holds the newest changes in memory, until they lie in the file: for each bucket a skip list,
// ordered by key. One goroutine adds to it while any number read it. Nothing in it is changed in place:
// a key leads to its newest value, and that to the one before it, so a reader finds the newest of its own time.
//
// Nodes lie in large pieces of memory without pointers, which cost the garbage collector nothing.
type table struct {
	number uint64 // tables are numbered from the opening on
	base   uint64 // transactions are numbered in it from base+1 on
	end    Position
	lists  [1 << 13]atomic.Pointer[list] // by the hash of their path
	drops  atomic.Pointer[[]drop]        // oldest first
	pieces atomic.Pointer[[][]uint32]
	size   atomic.Int64 // bytes of memory, about

	// The writer's.
	outers map[Path]bool // the buckets around those that have a list
	used   int           // words of the last piece
	random uint32
}

// A drop hides what its table and older ones have inside path, up to the transaction of that number.
type drop struct {
	path Path
	seq  uint32
}

// A list holds one bucket's changes in one table.
type list struct {
	home   *home
	table  uint64 // the table's number
	chain  *list  // the next with the same place in the table
	height atomic.Int32
	newest atomic.Uint32 // the last transaction that changed it
	head   [maxHeight]uint32
	last   [maxHeight]uint32 // the last node on each level; the writer's
}

// A node is some words: its sizes, its newest value, the next node on each of its levels, and then, as bytes,
// its key. A value is some words, too, the first one of a key just behind its node.
const (
	nodeSizes  = iota // the key's length, and in the upper half the number of levels
	nodeNewest        // reference to the newest value
	nodeNext
)

const (
	valueSeq   = iota // the transaction
	valueSize         // its length + 1; 0 for a tombstone
	valueOlder        // reference to the value before it, 0 if there is none
	valueData
)

const (
	maxHeight = 12 // enough for 4^12 entries
	nodeBits  = 16 // of a reference: the word in its piece; the rest says which piece. 0 is none
	minPiece  = 1 << 10
	maxPiece  = 1 << nodeBits // words, but for a piece that holds one large node
)

func newTable(number, base uint64) *table {
	t := &table{number: number, base: base, outers: map[Path]bool{}, random: 0x9e3779b9}
	t.pieces.Store(&[][]uint32{make([]uint32, minPiece)})
	t.used = 1 // reference 0 stays free
	return t
}

// list returns the bucket's list, nil if nothing of it was changed.
func (t *table) list(h *home) *list {
	l := h.lists[t.number%uint64(len(h.lists))].Load()
	switch {
	case l == nil || l.table < t.number:
		return nil
	case l.table == t.number:
		return l
	}
	l = t.lists[h.hash%uint64(len(t.lists))].Load() // a much newer table's took its place
	for l != nil && l.home != h {
		l = l.chain
	}
	return l
}

// add makes the bucket's list.
func (t *table) add(h *home) *list {
	head := &t.lists[h.hash%uint64(len(t.lists))]
	l := &list{home: h, table: t.number, chain: head.Load()}
	head.Store(l)
	h.lists[t.number%uint64(len(h.lists))].Store(l)
	for outer := h.outer; outer != nil && !t.outers[outer.path]; outer = outer.outer {
		t.outers[outer.path] = true
	}
	t.size.Add(256)
	return l
}

// all calls fn with every list.
func (t *table) all(fn func(*list)) {
	for i := range t.lists {
		for l := t.lists[i].Load(); l != nil; l = l.chain {
			fn(l)
		}
	}
}

// drop records that transaction seq dropped the bucket at path.
func (t *table) drop(path Path, seq uint32) {
	drops := append(t.dropped(), drop{path, seq}) // a reader's slice ends before it
	t.drops.Store(&drops)
	t.size.Add(int64(len(path)) + 32)
}

func (t *table) dropped() []drop {
	if d := t.drops.Load(); d != nil {
		return *d
	}
	return nil
}

// droppedAt returns the number of the last transaction up to at that dropped the bucket at path, 0 if none did.
func (t *table) droppedAt(path Path, at uint32) (seq uint32) {
	if t.drops.Load() == nil {
		return 0
	}
	for _, d := range t.dropped() {
		if d.seq <= at && within(path, d.path) {
			seq = d.seq
		}
	}
	return seq
}

// put adds what transaction seq made of key: value, or nil for a tombstone. Both are copied.
func (t *table) put(l *list, seq uint32, key, value []byte) {
	before := l.last // most buckets grow at their end; 0 is the head
	ref := before[0]
	if ref != 0 {
		switch order := bytes.Compare(nodeKey(t.at(ref)), key); {
		case order < 0:
			ref = 0
		case order > 0:
			clear(before[:])
			ref = t.find(l, key, &before)
		}
	}
	if ref != 0 && bytes.Equal(nodeKey(t.at(ref)), key) {
		newest := &t.at(ref)[nodeNewest]
		at, words := t.allocate(valueWords(value))
		putValue(words, seq, value, *newest)
		l.newest.Store(seq)
		atomic.StoreUint32(newest, at) // from here on readers meet it
		return
	}
	t.link(l, seq, key, value, &before)
}

// link adds a node for a key that the list does not have, behind the last one before it on each level.
func (t *table) link(l *list, seq uint32, key, value []byte, before *[maxHeight]uint32) {
	height := t.pickHeight()
	size := nodeNext + height + (len(key)+3)/4
	ref, node := t.allocate(size + valueWords(value))
	node[nodeSizes] = uint32(len(key)) | uint32(height)<<16
	node[nodeNewest] = ref + uint32(size)
	copy(nodeKey(node), key)
	putValue(node[size:], seq, value, 0)
	l.newest.Store(seq)
	if int32(height) > l.height.Load() {
		l.height.Store(int32(height))
	}
	for level := range height {
		next := t.next(l, before[level], level)
		node[nodeNext+level] = atomic.LoadUint32(next)
		if node[nodeNext+level] == 0 {
			l.last[level] = ref
		}
		atomic.StoreUint32(next, ref) // from here on readers meet it
	}
}

func valueWords(value []byte) int { return valueData + (len(value)+3)/4 }

func putValue(words []uint32, seq uint32, value []byte, older uint32) {
	words[valueSeq], words[valueOlder] = seq, older
	if value != nil {
		words[valueSize] = uint32(len(value)) + 1
		copy(bytesOf(words[valueData:], len(value)), value)
	}
}

// insert adds the changes of the transaction after seq, and returns its number.
func (t *table) insert(c *changeSet, seq uint64) (last uint64) {
	if len(c.dropped) > 0 { // comes first, under a number of its own
		seq++
		for _, path := range c.dropped {
			t.drop(path, t.seen(seq))
		}
	}
	seq++
	var l *list
	c.each(func(o *op) {
		if l == nil || l.home != o.home {
			if l = t.list(o.home); l == nil {
				l = t.add(o.home)
			}
			o.home.changed.Store(seq)
			o.home.records = true
		}
		t.put(l, t.seen(seq), o.key, o.value)
	})
	return seq
}

// seen turns the number of a transaction into the table's own.
func (t *table) seen(at uint64) uint32 {
	if at < t.base {
		return 0
	}
	return uint32(min(at-t.base, 1<<32-1))
}

// pickHeight is 1 in three of four cases, 2 in three of four others, and so on.
func (t *table) pickHeight() int {
	t.random ^= t.random << 13
	t.random ^= t.random >> 17
	t.random ^= t.random << 5
	return 1 + min(maxHeight-1, bits.TrailingZeros32(t.random|1<<31)/2)
}

// allocate returns room for so many words, in a row, and the reference to it.
func (t *table) allocate(words int) (ref uint32, room []uint32) {
	pieces := *t.pieces.Load()
	last := pieces[len(pieces)-1]
	if t.used+words > len(last) {
		last = make([]uint32, max(words, min(2*len(last), maxPiece)))
		pieces = append(pieces, last) // a reader's slice ends before it
		t.pieces.Store(&pieces)
		t.used = 0
	}
	ref = uint32(len(pieces)-1)<<nodeBits | uint32(t.used)
	room = last[t.used : t.used+words]
	t.used += words
	t.size.Add(int64(4 * words))
	return ref, room
}

func (t *table) at(ref uint32) []uint32 {
	return (*t.pieces.Load())[ref>>nodeBits][ref&(1<<nodeBits-1):]
}

// bytesOf are the first n bytes of some words.
func bytesOf(words []uint32, n int) []byte {
	if n == 0 {
		return []byte{}
	}
	_ = words[(n-1)/4]
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n)
}

func nodeKey(node []uint32) []byte {
	sizes := node[nodeSizes]
	return bytesOf(node[nodeNext+sizes>>16:], int(sizes&0xffff))
}

// next is where the reference to the node after ref lies; ref 0 is the head.
func (t *table) next(l *list, ref uint32, level int) *uint32 {
	if ref == 0 {
		return &l.head[level]
	}
	return &t.at(ref)[nodeNext+level]
}

// find returns the first node whose key is not below key, 0 if there is none, and the last node before it on
// each level.
func (t *table) find(l *list, key []byte, before *[maxHeight]uint32) (ref uint32) {
	last := uint32(0)
	for level := int(l.height.Load()) - 1; level >= 0; level-- {
		for {
			ref = atomic.LoadUint32(t.next(l, last, level))
			if ref == 0 || bytes.Compare(nodeKey(t.at(ref)), key) >= 0 {
				break
			}
			last = ref
		}
		before[level] = last
	}
	return ref
}

// A layer is what one reader sees of a list: the transactions after floor up to at.
type layer struct {
	t         *table
	l         *list
	at, floor uint32
}

// get returns the value at key, nil for a tombstone, and whether the layer has either. It lies in the table's
// memory.
func (v *layer) get(key []byte) (value []byte, ok bool) {
	var before [maxHeight]uint32
	ref := v.t.find(v.l, key, &before)
	if ref == 0 {
		return nil, false
	}
	node := v.t.at(ref)
	if !bytes.Equal(nodeKey(node), key) {
		return nil, false
	}
	return v.value(node)
}

// value returns the newest value of a node that the layer sees.
func (v *layer) value(node []uint32) (value []byte, ok bool) {
	for ref := atomic.LoadUint32(&node[nodeNewest]); ref != 0; {
		words := v.t.at(ref)
		switch seq := words[valueSeq]; {
		case seq <= v.floor:
			return nil, false
		case seq <= v.at && words[valueSize] == 0:
			return nil, true
		case seq <= v.at:
			return bytesOf(words[valueData:], int(words[valueSize])-1), true
		}
		ref = words[valueOlder]
	}
	return nil, false
}

// any tells whether the layer has anything.
func (v *layer) any() bool {
	c := layerCursor{layer: v}
	return c.first().key != nil
}

// layerCursor walks a layer. A pair with a nil value is a tombstone.
type layerCursor struct {
	*layer
	r   Range
	key []byte // where it is
	ref uint32 // of key's node
}

func (c *layerCursor) first() pair {
	var before [maxHeight]uint32
	if c.r.Down {
		return c.below(c.r.To)
	}
	return c.from(c.t.find(c.l, c.r.From, &before))
}

func (c *layerCursor) next() pair {
	if c.r.Down {
		return c.below(c.key)
	}
	return c.from(atomic.LoadUint32(&c.t.at(c.ref)[nodeNext]))
}

// from returns the first visible pair from the node ref on.
func (c *layerCursor) from(ref uint32) pair {
	for ref != 0 {
		node := c.t.at(ref)
		if value, ok := c.value(node); ok {
			c.ref = ref
			return c.within(pair{nodeKey(node), value})
		}
		ref = atomic.LoadUint32(&node[nodeNext])
	}
	return pair{}
}

// below returns the last visible pair whose key is below bound; nil is past the last.
func (c *layerCursor) below(bound []byte) pair {
	for {
		last := c.t.last(c.l, bound)
		if last == 0 {
			return pair{}
		}
		node := c.t.at(last)
		key := nodeKey(node)
		if value, ok := c.value(node); ok {
			return c.within(pair{key, value})
		}
		bound = key
	}
}

func (c *layerCursor) within(p pair) pair {
	if !c.r.holds(p.key) {
		return pair{}
	}
	c.key = p.key
	return p
}

// last returns the last node whose key is below bound, of all nodes if that is nil; 0 if there is none.
func (t *table) last(l *list, bound []byte) (last uint32) {
	if bound != nil {
		var before [maxHeight]uint32
		t.find(l, bound, &before)
		return before[0]
	}
	for level := int(l.height.Load()) - 1; level >= 0; level-- {
		for {
			ref := atomic.LoadUint32(t.next(l, last, level))
			if ref == 0 {
				break
			}
			last = ref
		}
	}
	return last
}
