package kv

import "bytes"

type pair struct {
	key   []byte
	value []byte // lies in memory that stands still while the function runs
}

// A cursor walks a range in its direction. A nil key is the end.
type cursor interface {
	first() pair
	next() pair
}

// merge walks all cursors at once; where several have a key, the first of them wins. A pair with a nil
// value is left out.
func merge(all []cursor, down bool, n int) []pair {
	heads := make([]pair, len(all))
	for i, c := range all {
		heads[i] = c.first()
	}
	pairs := make([]pair, 0, n)
	for len(pairs) < n {
		best := pair{}
		for _, p := range heads {
			if compare(p.key, best.key, down) < 0 {
				best = p
			}
		}
		if best.key == nil {
			break
		}
		for i, c := range all {
			if bytes.Equal(heads[i].key, best.key) {
				heads[i] = c.next()
			}
		}
		if best.value != nil {
			pairs = append(pairs, pair{bytes.Clone(best.key), best.value})
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
