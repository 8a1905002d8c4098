package auditlog

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// naiveRoot is the definition of RFC 6962, section 2.1.
func naiveRoot(leaves []Hash) Hash {
	switch len(leaves) {
	case 0:
		return emptyRoot
	case 1:
		return leaves[0]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	return tlog.NodeHash(naiveRoot(leaves[:k]), naiveRoot(leaves[k:]))
}

// The root is the same however it is computed, for every size.
func TestRoot(t *testing.T) {
	if got := fmt.Sprintf("%x", emptyRoot[:4]); got != "e3b0c442" {
		t.Errorf("the empty root begins with %s", got)
	}
	var hashes Hashes
	var leaves []Hash
	var tree Range
	for n := uint64(0); n <= 600; n++ {
		want := naiveRoot(leaves)
		root, err := Root(n, hashes)
		theirs, err2 := tlog.TreeHash(int64(n), hashes)
		edge, err3 := Edge(n, hashes)
		if err := errors.Join(err, err2, err3); err != nil {
			t.Fatal(err)
		}
		again, err := RangeFrom(n, edge)
		must(t, err)
		if root != want || theirs != want || tree.Root() != want || again.Root() != want || tree.Size() != n {
			t.Fatalf("size %d: %v, %v, %v, %v of %d, want %v", n, root, theirs, tree.Root(), again.Root(), tree.Size(), want)
		}
		line := fmt.Appendf(nil, "line %d\n", n)
		kept, err := Append(n, line, hashes)
		must(t, err)
		hashes = append(hashes, kept...)
		if int64(len(hashes)) != tlog.StoredHashCount(int64(n)+1) || kept[0] != LeafHash(line) {
			t.Fatalf("size %d: %d hashes, %v first", n+1, len(hashes), kept[0])
		}
		leaves = append(leaves, kept[0])
		tree.Append(kept[0])
		if again.Append(kept[0]); again.Root() != tree.Root() {
			t.Fatalf("size %d: the range from %d has another root", n+1, n)
		}
	}
}

func TestTreeBounds(t *testing.T) {
	hashes := newLog(t, 5).hashes
	for about, err := range map[string]error{
		"append after 2^53-1":   second(Append(MaxNumber, nil, hashes)),
		"root of 2^53":          second(Root(MaxNumber+1, hashes)),
		"root of 2^64-1":        second(Root(1<<64-1, hashes)),
		"edge of 2^64-1":        second(Edge(1<<64-1, hashes)),
		"range from 2^64-1":     second(RangeFrom(1<<64-1, nil)),
		"root of more than is":  second(Root(6, hashes)),
		"append after a gap":    second(Append(7, nil, hashes)),
		"edge of more than is":  second(Edge(6, hashes)),
		"negative index":        second(hashes.ReadHashes([]int64{-1})),
		"edge with one missing": second(RangeFrom(7, hashes[:2])),
		"edge with one more":    second(RangeFrom(0, hashes[:1])),
	} {
		if err == nil {
			t.Errorf("%s: not refused", about)
		}
	}
}

func second[T any](_ T, err error) error { return err }
