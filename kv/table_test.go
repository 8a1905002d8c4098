package kv

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// An entry is what one transaction made of a key, in a table's own numbers.
type entry struct {
	seq   uint32
	value []byte // nil for a tombstone
}

// mapTable is a table as a map: by bucket, by key, oldest first; and what was dropped.
type mapTable struct {
	keys  map[Path]map[string][]entry
	drops []drop
}

// add does what insert does.
func (v *mapTable) add(c *changeSet, seq uint64) uint64 {
	if len(c.dropped) > 0 {
		seq++
		for _, path := range c.dropped {
			v.drops = append(v.drops, drop{path, uint32(seq)})
		}
	}
	seq++
	c.each(func(o *op) {
		path := o.home.path
		if v.keys[path] == nil {
			v.keys[path] = map[string][]entry{}
		}
		v.keys[path][string(o.key)] = append(v.keys[path][string(o.key)], entry{uint32(seq), o.value})
	})
	return seq
}

// seen returns what a reader at at sees of r, in its order: tombstones, too, but nothing from before a drop.
func (v *mapTable) seen(path Path, at uint32, r Range) (pairs []pair) {
	floor := uint32(0)
	for _, d := range v.drops {
		if d.seq <= at && within(path, d.path) {
			floor = d.seq
		}
	}
	for _, key := range slices.Sorted(maps.Keys(v.keys[path])) {
		newest := entry{}
		for _, one := range v.keys[path][key] {
			if one.seq > floor && one.seq <= at {
				newest = one
			}
		}
		if newest.seq > 0 && r.holds([]byte(key)) {
			pairs = append(pairs, pair{[]byte(key), newest.value})
		}
	}
	if r.Down {
		slices.Reverse(pairs)
	}
	return pairs
}

// layerAt is what a reader at at sees of a bucket, nil if there is nothing of it.
func layerAt(t *table, h *home, at uint32) *layer {
	floor, l := t.droppedAt(h.path, at), t.list(h)
	if l == nil || at <= floor {
		return nil
	}
	return &layer{t, l, at, floor}
}

func walkLayer(v *layer, r Range) (pairs []pair) {
	c := &layerCursor{layer: v, r: r}
	for p := c.first(); p.key != nil; p = c.next() {
		pairs = append(pairs, p)
	}
	return pairs
}

func samePairs(a, b []pair) bool {
	return slices.EqualFunc(a, b, func(a, b pair) bool {
		return bytes.Equal(a.key, b.key) && bytes.Equal(a.value, b.value) && (a.value == nil) == (b.value == nil)
	})
}

var (
	tableKey    = rapid.Map(rapid.IntRange(0, 30), func(i int) []byte { return fmt.Appendf(nil, "k%d", i) })
	tableBound  = rapid.OneOf(rapid.Just([]byte(nil)), tableKey, rapid.Just([]byte("a")), rapid.Just([]byte("z")))
	tableHomes  = new(homes)
	tableChange = rapid.Custom(func(t *rapid.T) *changeSet {
		c := &changeSet{}
		if rapid.IntRange(0, 5).Draw(t, "drops") == 0 {
			c.drop(anyOuter.Draw(t, "dropped"))
		}
		for range rapid.IntRange(1, 6).Draw(t, "ops") {
			o := op{home: tableHomes.home(anyPath.Draw(t, "path")), key: tableKey.Draw(t, "key")}
			if rapid.IntRange(0, 3).Draw(t, "kind") > 0 {
				o.value = []byte(long(rapid.SampledFrom([]int{0, 1, 50, 5000}).Draw(t, "size")))
			}
			c.set(o)
		}
		return c
	})
)

// tableNumber is the last table's: all tables of the test share their homes.
var tableNumber atomic.Uint64

func TestTableAgreesWithAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.Uint64Range(0, 1<<40).Draw(t, "base")
		tab, want, seq := newTable(tableNumber.Add(1), base), &mapTable{keys: map[Path]map[string][]entry{}}, base
		for _, c := range rapid.SliceOfN(tableChange, 1, 60).Draw(t, "changes") {
			next := tab.insert(c, seq)
			if other := base + want.add(c, seq-base); other != next {
				t.Fatalf("insert returned %d after %d, want %d", next, seq, other)
			}
			seq = next
		}
		for range 30 {
			path := anyPath.Draw(t, "path")
			at := tab.seen(rapid.Uint64Range(base, seq+1).Draw(t, "at"))
			r := Range{tableBound.Draw(t, "from"), tableBound.Draw(t, "to"), rapid.Bool().Draw(t, "down")}
			pairs := want.seen(path, at, r)
			v := layerAt(tab, tableHomes.home(path), at)
			if v == nil {
				if len(pairs) > 0 {
					t.Fatalf("bucket %q at %d: nothing, want %d pairs", path, at, len(pairs))
				}
				continue
			}
			if got := walkLayer(v, r); !samePairs(got, pairs) {
				t.Fatalf("bucket %q at %d, %q to %q, down %v:\n got %q\nwant %q", path, at, r.From, r.To, r.Down, got, pairs)
			}
			if any := len(want.seen(path, at, Range{})) > 0; v.any() != any {
				t.Fatalf("bucket %q at %d: any() = %v, want %v", path, at, v.any(), any)
			}
			key := tableKey.Draw(t, "key")
			value, ok := v.get(key)
			one := want.seen(path, at, Range{From: key, To: append(bytes.Clone(key), 0)})
			if ok != (len(one) > 0) || ok && !samePairs([]pair{{key, value}}, one) {
				t.Fatalf("bucket %q at %d: get(%q) = %.20q, %v, want %q", path, at, key, value, ok, one)
			}
		}
	})
}

// Each transaction puts its number at one key in two buckets. A reader sees the same in both, in either direction,
// whatever is added meanwhile.
func TestTableIsReadWhileItGrows(t *testing.T) {
	t.Parallel()
	const transactions, keys = 20_000, 300
	tab, all := newTable(1, 0), new(homes)
	leftHome, rightHome := all.home("left"), all.home("right")
	var visible atomic.Uint64
	var readers sync.WaitGroup
	done := make(chan struct{})
	read := func(at uint32) error {
		left, right := layerAt(tab, leftHome, at), layerAt(tab, rightHome, at)
		if left == nil || right == nil {
			return nil
		}
		a, b := walkLayer(left, Range{}), walkLayer(right, Range{Down: true})
		slices.Reverse(b)
		if !samePairs(a, b) {
			return fmt.Errorf("at %d: the buckets hold\n%q\n%q", at, a, b)
		}
		if !slices.IsSortedFunc(a, func(a, b pair) int { return bytes.Compare(a.key, b.key) }) {
			return fmt.Errorf("at %d: the keys are not in order: %q", at, a)
		}
		for _, p := range a {
			if v, ok := right.get(p.key); !ok || !bytes.Equal(v, p.value) {
				return fmt.Errorf("at %d: get(%q) = %q, want %q", at, p.key, v, p.value)
			}
		}
		return nil
	}
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := read(tab.seen(visible.Load())); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	seq := uint64(0)
	for i := range transactions {
		c := &changeSet{}
		if i%1000 == 999 {
			c.drop("left")
			c.drop("right")
		}
		key := fmt.Appendf(nil, "%d", rng.IntN(keys))
		value := fmt.Appendf(nil, "%d", i)
		if rng.IntN(4) == 0 {
			value = nil
		}
		c.set(op{leftHome, key, value})
		c.set(op{rightHome, key, value})
		seq = tab.insert(c, seq)
		visible.Store(seq)
	}
	close(done)
	readers.Wait()
}

// Each transaction takes from one bucket what it gives to the other, or drops both and shares out anew. Whoever
// reads meanwhile finds the same sum, wherever the changes lie just then: in memory, on their way, or in the file.
func TestReadersSeeOneStateWhileTablesMove(t *testing.T) {
	t.Parallel()
	const sum, keys, transactions = 1000, 8, 1500
	opt := Options{Overlay: 2 << 10, ApplyAfter: time.Hour, segmentBytes: 4 << 10, partOps: 1}
	_, db := bootTest(t, blank(t), opt)
	left, right := bucketAt("left"), bucketAt("outer/right")
	share := func(tx *Tx) {
		for i := range keys {
			left.Put(tx, number(i), note{N: sum / keys})
			right.Put(tx, number(i), note{})
		}
	}
	do(t, db, share)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := readSum(db, sum, 2*keys, left, right); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range transactions {
		do(t, db, func(tx *Tx) {
			if i%50 == 49 {
				tx.Drop("left")
				tx.Drop("outer")
				share(tx)
				return
			}
			from, to := number(rng.IntN(keys)), number(rng.IntN(keys))
			a, _ := left.Get(tx, from)
			b, _ := right.Get(tx, to)
			n := rng.Int64N(100) - 50
			a.N, b.N = a.N-n, b.N+n
			left.Put(tx, from, a)
			right.Put(tx, to, b)
		})
	}
	close(done)
	wg.Wait()
	if applies := db.Stats().Applies; applies < transactions/100 {
		t.Errorf("%d tables were moved into the file, this test wants more", applies)
	}
	checkAndClose(t, db)
}

func readSum(db *DB, sum int64, records int, buckets ...Bucket[note]) error {
	_, err := View(db, func(tx *Tx) (int, error) {
		got, n := int64(0), 0
		for _, b := range buckets {
			for _, v := range b.Scan(tx, Range{}) {
				got += v.N
				n++
			}
			for range b.Scan(tx, Range{Down: true}) {
				n--
			}
			n += len(keysOf(tx, b.Path, Range{}))
		}
		if got != sum || n != records {
			return 0, fmt.Errorf("a reader found a sum of %d in %d records, want %d in %d", got, n, sum, records)
		}
		return 0, nil
	})
	return err
}
