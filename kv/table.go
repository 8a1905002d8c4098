package kv

import (
	"bytes"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// A table holds the newest changes in memory, until they lie in the file: for each bucket a skip list,
// ordered by key. One goroutine adds to it while any number read it. Nothing in it is changed in place:
// a key's newer value comes before its older ones, so a reader finds the newest of its own time.
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

// A node is some words: its sizes, its transaction, the next node on each of its levels, and then, as
// bytes, its key and value.
const (
	nodeSizes = iota // the key's length, and in the upper half the number of levels
	nodeValue        // the value's length + 1; 0 for a tombstone
	nodeSeq
	nodeNext
)

const (
	maxHeight = 12 // enough for 4^12 entries
	nodeBits  = 16 // of a reference: the word in its piece; the rest says which piece. 0 is no node
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
	height := t.pickHeight()
	ref, node := t.newNode(nodeNext + height + (len(key)+len(value)+3)/4)
	node[nodeSizes] = uint32(len(key)) | uint32(height)<<16
	node[nodeSeq] = seq
	data := nodeData(node, len(key)+len(value))
	copy(data[copy(data, key):], value)
	if value != nil {
		node[nodeValue] = uint32(len(value)) + 1
	}
	before := l.last // most buckets grow at their end; 0 is the head
	if before[0] != 0 && !t.precedes(before[0], key, seq) {
		clear(before[:])
		t.find(l, key, seq, &before)
	}
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

func (t *table) newNode(words int) (ref uint32, node []uint32) {
	pieces := *t.pieces.Load()
	last := pieces[len(pieces)-1]
	if t.used+words > len(last) {
		last = make([]uint32, max(words, min(2*len(last), maxPiece)))
		pieces = append(pieces, last) // a reader's slice ends before it
		t.pieces.Store(&pieces)
		t.used = 0
	}
	ref = uint32(len(pieces)-1)<<nodeBits | uint32(t.used)
	node = last[t.used : t.used+words]
	t.used += words
	t.size.Add(int64(4 * words))
	return ref, node
}

func (t *table) at(ref uint32) []uint32 {
	return (*t.pieces.Load())[ref>>nodeBits][ref&(1<<nodeBits-1):]
}

// nodeData is where a node's key and value lie, n bytes in all.
func nodeData(node []uint32, n int) []byte {
	words := node[nodeNext+node[nodeSizes]>>16:]
	if n == 0 {
		return nil
	}
	_ = words[(n-1)/4]
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n)
}

// next is where the reference to the node after ref lies; ref 0 is the head.
func (t *table) next(l *list, ref uint32, level int) *uint32 {
	if ref == 0 {
		return &l.head[level]
	}
	return &t.at(ref)[nodeNext+level]
}

func nodeKey(node []uint32) []byte { return nodeData(node, int(node[nodeSizes]&0xffff)) }

// nodePair returns the node's key and value. They lie in the table's memory.
func nodePair(node []uint32) pair {
	key, value := int(node[nodeSizes]&0xffff), int(node[nodeValue])-1
	data := nodeData(node, key+max(value, 0))
	p := pair{key: data[:key:key]}
	if value >= 0 {
		p.value = data[key:]
	}
	return p
}

// find returns the first node that doesn't come before (key, seq), 0 if there is none, and the last node
// before it on each level.
func (t *table) find(l *list, key []byte, seq uint32, before *[maxHeight]uint32) (ref uint32) {
	last := uint32(0)
	for level := int(l.height.Load()) - 1; level >= 0; level-- {
		for {
			ref = atomic.LoadUint32(t.next(l, last, level))
			if ref == 0 || !t.precedes(ref, key, seq) {
				break
			}
			last = ref
		}
		before[level] = last
	}
	return ref
}

func (t *table) precedes(ref uint32, key []byte, seq uint32) bool {
	node := t.at(ref)
	order := bytes.Compare(nodeKey(node), key)
	return order < 0 || order == 0 && node[nodeSeq] > seq
}

// A layer is what one reader sees of a list: the transactions after floor up to at.
type layer struct {
	t         *table
	l         *list
	at, floor uint32
}

// get returns the value at key, nil for a tombstone, and whether the layer has either.
func (v *layer) get(key []byte) (value []byte, ok bool) {
	var before [maxHeight]uint32
	ref := v.t.find(v.l, key, v.at, &before)
	if ref == 0 {
		return nil, false
	}
	node := v.t.at(ref)
	if node[nodeSeq] <= v.floor || !bytes.Equal(nodeKey(node), key) {
		return nil, false
	}
	return nodePair(node).value, true
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
	ref uint32 // of key's node; only upwards
}

func (c *layerCursor) first() pair {
	var before [maxHeight]uint32
	if c.r.Down {
		return c.below(c.r.To)
	}
	return c.from(c.t.find(c.l, c.r.From, 1<<32-1, &before))
}

func (c *layerCursor) next() pair {
	if c.r.Down {
		return c.below(c.key)
	}
	ref := c.ref
	for ref != 0 && bytes.Equal(nodeKey(c.t.at(ref)), c.key) { // older values of the same key
		ref = atomic.LoadUint32(&c.t.at(ref)[nodeNext])
	}
	return c.from(ref)
}

// from returns the first visible pair from the node ref on.
func (c *layerCursor) from(ref uint32) pair {
	for ref != 0 {
		node := c.t.at(ref)
		if seq := node[nodeSeq]; seq > c.floor && seq <= c.at {
			c.ref = ref
			return c.within(nodePair(node))
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
		key := nodeKey(c.t.at(last))
		if value, ok := c.get(key); ok {
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
		t.find(l, bound, 1<<32-1, &before)
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
