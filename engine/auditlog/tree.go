package auditlog

import (
	"fmt"
	"slices"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

// SegmentSize is how many lines are dropped together when they are no longer kept. Leaf hashes stay.
const SegmentSize = 256

// maxSize bounds the size of a tree before it reaches package tlog, which does not end for sizes above 2^62.
const maxSize = MaxNumber

// Append returns the hashes to keep for line, which comes after the first n, in order. They go to the stored index
// [tlog.StoredHashCount](n) and those after it: first the leaf's own hash, then those of the subtrees that it completes.
// It reads at most log n earlier ones from r.
func Append(n uint64, line []byte, r tlog.HashReader) ([]Hash, error) {
	if n >= maxSize {
		return nil, invalid("size of a tree: %d", n)
	}
	return tlog.StoredHashes(int64(n), line, r)
}

// Root returns the root of the tree of the first size lines.
func Root(size uint64, r tlog.HashReader) (Hash, error) {
	if size > maxSize {
		return Hash{}, invalid("size of a tree: %d", size)
	}
	return tlog.TreeHash(int64(size), r)
}

// Hashes are the stored hashes of a tree in memory, in the order of their index. It is a [tlog.HashReader].
type Hashes []Hash

// ReadHashes returns the hashes with the given indexes.
func (h Hashes) ReadHashes(indexes []int64) ([]Hash, error) {
	hashes := make([]Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 || index >= int64(len(h)) {
			return nil, fmt.Errorf("hash %d of %d is not stored", index, len(h))
		}
		hashes[i] = h[index]
	}
	return hashes, nil
}

// A Range computes the root of a tree from its leaf hashes in order. It keeps the hashes of the largest complete subtrees
// from left to right, which are at most log n. Its zero value is the empty tree.
type Range struct {
	size uint64
	edge []Hash
}

// RangeFrom returns the range of a tree of the given size, whose [Edge] is edge. Whether it is, its Root tells.
//
// Errors: [ErrMalformed] if a tree of this size has not that many hashes in its edge.
func RangeFrom(size uint64, edge []Hash) (*Range, error) {
	if size > maxSize || len(edge) != len(edgeIndexes(size)) {
		return nil, malformed("edge of a tree of size %d: it has %d hashes", size, len(edge))
	}
	return &Range{size, slices.Clone(edge)}, nil
}

// Edge returns the hashes from which the tree of the first size lines goes on.
func Edge(size uint64, r tlog.HashReader) ([]Hash, error) {
	if size > maxSize {
		return nil, invalid("size of a tree: %d", size)
	}
	return r.ReadHashes(edgeIndexes(size))
}

func edgeIndexes(size uint64) []int64 { return torchwood.RightEdge(int64(size)) }

// Append adds the next leaf.
func (r *Range) Append(leaf Hash) {
	r.edge = append(r.edge, leaf)
	for n := r.size; n&1 == 1; n >>= 1 { // a subtree of its size stands on the left
		last := len(r.edge) - 1
		r.edge[last-1] = tlog.NodeHash(r.edge[last-1], r.edge[last])
		r.edge = r.edge[:last]
	}
	r.size++
}

// Size returns how many leaves there are.
func (r *Range) Size() uint64 { return r.size }

// Root returns the root of the tree of all leaves so far.
func (r *Range) Root() Hash {
	if r.size == 0 {
		return emptyRoot
	}
	root := r.edge[len(r.edge)-1]
	for _, left := range slices.Backward(r.edge[:len(r.edge)-1]) {
		root = tlog.NodeHash(left, root)
	}
	return root
}

// emptyRoot is the root of the tree without leaves: the hash of nothing.
var emptyRoot = LineHash(nil)
