package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

const packedPath = Path("packed")

// A keyBatch is what a write makes of keys: put, or else deleted.
type keyBatch map[string]bool

func (c keyBatch) write(b *bolt.Bucket) error {
	var l pairCursor
	for _, key := range slices.Sorted(maps.Keys(c)) {
		p := pair{key: []byte(key)}
		if c[key] {
			p.value = packedValue
		}
		l.pairs = append(l.pairs, p)
	}
	n, err := writePacked(b, packedPath, &l)
	if err == nil && n < len(c) {
		err = fmt.Errorf("writePacked() = %d, want %d or more", n, len(c))
	}
	return err
}

type pairCursor struct {
	pairs []pair
	i     int
}

func (c *pairCursor) first() pair {
	c.i = -1
	return c.next()
}

func (c *pairCursor) next() pair {
	if c.i++; c.i < len(c.pairs) {
		return c.pairs[c.i]
	}
	return pair{}
}

type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func openPacked(t fataler, path string) *bolt.DB {
	t.Helper()
	opt := boltOptions(0)
	opt.NoSync = true
	db, err := bolt.Open(path, 0o600, opt)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func newPacked(t testing.TB) *bolt.DB {
	t.Helper()
	db := openPacked(t, filepath.Join(t.TempDir(), "db"))
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// inPacked runs fn with the bucket, in a transaction that commits.
func inPacked(t fataler, db *bolt.DB, fn func(b *bolt.Bucket) error) {
	t.Helper()
	if err := db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(packedPath))
		if err != nil {
			return err
		}
		return fn(b)
	}); err != nil {
		t.Fatal(err)
	}
}

// viewPacked runs fn with the bucket, which must be without faults.
func viewPacked(t fataler, db *bolt.DB, fn func(b *bolt.Bucket)) {
	t.Helper()
	if err := db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(packedPath))
		fn(b)
		return checkPacked(b, packedPath)
	}); err != nil {
		t.Fatal(err)
	}
}

// readers are the ways to read a packed bucket.
var readers = map[string]func(*bolt.Bucket) packedEntries{
	"bolt": func(b *bolt.Bucket) packedEntries { return boltEntries{b.Cursor()} },
	"tree": func(b *bolt.Bucket) packedEntries { return &treeCursor{tree: packedTree(b)} },
}

// packedTree returns the bucket as it lies in the file.
func packedTree(b *bolt.Bucket) tree {
	data, err := os.ReadFile(b.Tx().DB().Path())
	if err != nil {
		panic(err)
	}
	root := tree{data: data, root: uint64(b.Tx().Cursor().Bucket().Root())}
	return root.inner([]byte(packedPath))
}

func packedKeys(in packedEntries, r Range) (keys []string) {
	c := &packedCursor{path: packedPath, in: in, r: r}
	for p := c.first(); p.key != nil; p = c.next() {
		if p.value == nil {
			panic("a key without a value")
		}
		keys = append(keys, string(p.key))
	}
	return keys
}

func packedRuns(b *bolt.Bucket) []runID {
	return (&packedCursor{path: packedPath, in: boltEntries{b.Cursor()}}).find(nil)
}

// comparePacked tells how the bucket differs from want.
func comparePacked(b *bolt.Bucket, want model, r Range) error {
	for name, in := range readers {
		if got, want := packedKeys(in(b), r), want.keys(packedPath, r); !slices.Equal(got, want) {
			return fmt.Errorf("%s: the keys of %q-%q, down %v, are %q, want %q", name, r.From, r.To, r.Down, got, want)
		}
	}
	return nil
}

func (m model) change(c keyBatch) {
	for key, put := range c {
		if put {
			m.put(packedPath, key, "")
		} else {
			delete(m[packedPath], key)
		}
	}
}

var (
	anyPackedKey = rapid.OneOf(
		anyKey,
		rapid.Map(rapid.IntRange(0, 300), func(i int) string { return string(number(i)) }),
		rapid.Map(rapid.IntRange(1, maxKeyBytes), long),
		rapid.Map(rapid.IntRange(0, 300), func(i int) string { return fmt.Sprintf("%030d", i*7919%1000) }),
	)
	anyPackedBound = rapid.OneOf(rapid.Just([]byte(nil)), rapid.Map(anyPackedKey, func(key string) []byte { return []byte(key) }))
	anyBatch       = rapid.OneOf(
		rapid.Map(rapid.MapOfN(anyPackedKey, rapid.Bool(), 0, 8), func(m map[string]bool) keyBatch { return m }),
		rapid.Custom(func(t *rapid.T) keyBatch {
			from, put := rapid.IntRange(0, 1000).Draw(t, "from"), rapid.Bool().Draw(t, "put")
			step := rapid.IntRange(1, 3).Draw(t, "step")
			c := keyBatch{}
			for i := range rapid.IntRange(1, 400).Draw(t, "count") {
				c[fmt.Sprintf("%030d", (from+step*i)%1000)] = put
			}
			return c
		}),
	)
)

// TestPackedModel does random operations on a packed bucket and on a map.
func TestPackedModel(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		f, err := os.CreateTemp(dir, "db-*")
		if err != nil {
			rt.Fatal(err)
		}
		_ = f.Close()
		db := openPacked(rt, f.Name())
		defer func() { _ = db.Close() }()
		inPacked(rt, db, func(*bolt.Bucket) error { return nil })
		m := model{}
		write := func(rt *rapid.T) {
			c := anyBatch.Draw(rt, "batch")
			times := rapid.IntRange(1, 2).Draw(rt, "times")
			inPacked(rt, db, func(b *bolt.Bucket) error {
				for range times {
					if err := c.write(b); err != nil {
						return err
					}
				}
				return nil
			})
			m.change(c)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"write": write,
			"again": write, // so that there is much to merge
			"scan": func(rt *rapid.T) {
				r := Range{anyPackedBound.Draw(rt, "from"), anyPackedBound.Draw(rt, "to"), rapid.Bool().Draw(rt, "down")}
				viewPacked(rt, db, func(b *bolt.Bucket) {
					if err := comparePacked(b, m, r); err != nil {
						rt.Fatal(err)
					}
				})
			},
			"prefix": func(rt *rapid.T) {
				key := anyPackedKey.Draw(rt, "key")
				r := Prefix([]byte(key[:rapid.IntRange(0, len(key)).Draw(rt, "length")]))
				r.Down = rapid.Bool().Draw(rt, "down")
				viewPacked(rt, db, func(b *bolt.Bucket) {
					if err := comparePacked(b, m, r); err != nil {
						rt.Fatal(err)
					}
				})
			},
			"has": func(rt *rapid.T) {
				key := anyPackedKey.Draw(rt, "key")
				viewPacked(rt, db, func(b *bolt.Bucket) {
					_, want := m[packedPath][key]
					for name, in := range readers {
						if got := packedHas(in(b), packedPath, []byte(key)); got != want {
							rt.Fatalf("%s: packedHas(%q) = %v, want %v", name, key, got, want)
						}
					}
				})
			},
			"reopen": func(rt *rapid.T) {
				if err := db.Close(); err != nil {
					rt.Fatal(err)
				}
				db = openPacked(rt, f.Name())
			},
		})
		viewPacked(rt, db, func(b *bolt.Bucket) {
			for _, down := range []bool{false, true} {
				if err := comparePacked(b, m, Range{Down: down}); err != nil {
					rt.Fatal(err)
				}
			}
		})
	})
}

// scattered returns the i-th of keys of 24 bytes that come in no order.
func scattered(i int) []byte {
	key := make([]byte, 24)
	binary.BigEndian.PutUint64(key, uint64(i/5)*0x9e3779b97f4a7c15) // five to a prefix
	binary.BigEndian.PutUint64(key[16:], uint64(i))
	return key
}

func scatteredBatch(from, to int, put bool) keyBatch {
	c := keyBatch{}
	for i := from; i < to; i++ {
		c[string(scattered(i))] = put
	}
	return c
}

func TestPackedForgetsDeletedKeys(t *testing.T) {
	entries := func(batches ...keyBatch) (n int) {
		db := newPacked(t)
		inPacked(t, db, func(b *bolt.Bucket) error {
			for _, c := range batches {
				if err := c.write(b); err != nil {
					return err
				}
			}
			return nil
		})
		viewPacked(t, db, func(b *bolt.Bucket) { n = b.Stats().KeyN })
		return n
	}
	few, fewDeleted, one := scatteredBatch(0, 100, true), scatteredBatch(0, 100, false), scatteredBatch(0, 1, false)
	put, deleted := scatteredBatch(0, 1000, true), scatteredBatch(0, 1000, false)
	for _, tt := range []struct {
		name    string
		batches []keyBatch
		empty   bool
	}{
		{"deleted before anything was put", []keyBatch{deleted}, true},
		{"a batch of nothing", []keyBatch{{}}, true},
		{"not merged yet", []keyBatch{few, fewDeleted, one}, false},
		{"merged", []keyBatch{few, fewDeleted, one, one}, true},
		{"merged above keys", []keyBatch{put, fewDeleted, one, one, one}, false},
		{"merged with them", []keyBatch{put, deleted, deleted, deleted}, true},
	} {
		if n := entries(tt.batches...); (n == 0) != tt.empty {
			t.Errorf("%s: %d blocks are left, want none: %v", tt.name, n, tt.empty)
		}
	}
}

func TestPackedTwice(t *testing.T) {
	batches := []keyBatch{scatteredBatch(0, 500, true), scatteredBatch(100, 300, false), {}, scatteredBatch(200, 250, true), scatteredBatch(0, 120, false)}
	m := model{}
	db := newPacked(t)
	for i, c := range batches {
		m.change(c)
		for range 2 {
			inPacked(t, db, c.write)
			viewPacked(t, db, func(b *bolt.Bucket) {
				if err := comparePacked(b, m, Range{}); err != nil {
					t.Fatalf("batch %d: %v", i, err)
				}
			})
		}
	}
}

func TestPackedRunsStayFew(t *testing.T) {
	db := newPacked(t)
	inPacked(t, db, func(b *bolt.Bucket) error {
		for i, below := 1, 1; i <= 1100; i++ {
			if err := scatteredBatch(i, i+3, i%10 != 0).write(b); err != nil {
				return err
			}
			levels := 1
			for below = packedFanIn; below <= i; below *= packedFanIn {
				levels++
			}
			if n := len(packedRuns(b)); n > levels*(packedFanIn-1) {
				return fmt.Errorf("%d runs after %d batches, want at most %d on %d levels", n, i, levels*(packedFanIn-1), levels)
			}
		}
		return nil
	})
	viewPacked(t, db, func(*bolt.Bucket) {})
}

// TestPackedSize holds that pages take at most a fifth more than the keys and their checksums.
func TestPackedSize(t *testing.T) {
	const batches, keys = 10_000, 8
	db := newPacked(t)
	for i := 0; i < batches; i += 100 {
		inPacked(t, db, func(b *bolt.Bucket) error {
			for j := i; j < i+100; j++ {
				if err := scatteredBatch(j*keys, (j+1)*keys, true).write(b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	viewPacked(t, db, func(b *bolt.Bucket) {
		s, want := b.Stats(), batches*keys*len(scattered(0))
		if got := s.LeafAlloc + s.BranchAlloc; got > want*6/5 {
			t.Errorf("%d pages with %d bytes for %d bytes of keys, want at most a fifth more", s.LeafPageN+s.BranchPageN, got, want)
		} else {
			t.Logf("%d bytes for %d bytes of keys", got, want)
		}
	})
}

func TestPackedLongKeys(t *testing.T) {
	lengths := []int{1, 990, 1000, 1001, maxKeyBytes, maxBlockBytes / 2, maxBlockBytes, maxBlockBytes + 1, 5000, 32_000}
	m := model{}
	db := newPacked(t)
	for _, n := range lengths {
		for _, end := range []string{"a", "b", "c"} {
			c := keyBatch{long(n) + end: true}
			inPacked(t, db, c.write)
			m.change(c)
		}
	}
	viewPacked(t, db, func(b *bolt.Bucket) {
		for _, r := range []Range{{}, {Down: true}, {From: []byte(long(1001))}, {To: []byte(long(5000)), Down: true}} {
			if err := comparePacked(b, m, r); err != nil {
				t.Fatal(err)
			}
		}
		for key := range m[packedPath] {
			if !packedHas(boltEntries{b.Cursor()}, packedPath, []byte(key)) || packedHas(boltEntries{b.Cursor()}, packedPath, []byte(key+"x")) {
				t.Errorf("packedHas() is wrong about a key of %d bytes", len(key))
			}
		}
	})
}

// TestPackedLargeRuns holds that runs of 4 MiB rest, and that smaller ones over them are merged all the same.
func TestPackedLargeRuns(t *testing.T) {
	const size, large, small = 1000, 5, 200
	wide := func(i int) string { return string(scattered(i)) + long(size-24) }
	m := model{}
	db := newPacked(t)
	write := func(c keyBatch) {
		inPacked(t, db, c.write)
		m.change(c)
	}
	per := 4<<20/size + 10
	for i := range large {
		c := keyBatch{}
		for j := i * per; j < (i+1)*per; j++ {
			c[wide(j)] = true
		}
		for j := (i - 1) * per; j < i*per; j += 2 {
			c[wide(j)] = false
		}
		write(c)
	}
	for i := range small {
		write(keyBatch{wide(4 * i): i%2 == 0, wide(-i - 1): true})
	}
	viewPacked(t, db, func(b *bolt.Bucket) {
		runs := packedRuns(b)
		if n := len(runs); n < large || n > large+restLevel*(packedFanIn-1) || runs[n-large].level() != restLevel {
			t.Errorf("there are the runs %x, want %d large ones and up to %d others", runs, large, restLevel*(packedFanIn-1))
		}
		if got, want := packedKeys(readers["tree"](b), Range{}), m.keys(packedPath, Range{}); !slices.Equal(got, want) {
			t.Errorf("a scan yields %d keys, want %d", len(got), len(want))
		}
	})
}

// caught returns the error that fn panics with.
func caught(fn func()) (err error) {
	defer func() { err, _ = recover().(error) }()
	fn()
	return nil
}

func TestPackedFlippedBytes(t *testing.T) {
	db := newPacked(t)
	inPacked(t, db, scatteredBatch(0, 1000, true).write)
	var entries []string
	viewPacked(t, db, func(b *bolt.Bucket) {
		_ = b.ForEach(func(entry, value []byte) error {
			entries = append(entries, string(entry))
			return nil
		})
	})
	flip := func(entry string, at int) {
		inPacked(t, db, func(b *bolt.Bucket) error {
			value := bytes.Clone(b.Get([]byte(entry)))
			value[at%len(value)] ^= 0x10
			return b.Put([]byte(entry), value)
		})
	}
	for _, entry := range []string{entries[0], entries[len(entries)/2], entries[len(entries)-1]} {
		for _, at := range []int{0, 1, valueHeader, valueHeader + 5, valueHeader + blockHeader, 500, 1800} {
			flip(entry, at)
			if err := db.View(func(tx *bolt.Tx) error {
				b := tx.Bucket([]byte(packedPath))
				in := readers["tree"](b)
				for what, err := range map[string]error{
					"checkPacked": checkPacked(b, packedPath),
					"packedHas":   caught(func() { packedHas(in, packedPath, []byte(entry[runIDBytes:])) }),
					"a scan":      caught(func() { packedKeys(in, Range{}) }),
					"a scan down": caught(func() { packedKeys(in, Range{Down: true}) }),
				} {
					if record := (*RecordError)(nil); !errors.As(err, &record) || !errors.Is(err, ErrDamaged) || string(record.Key) != entry {
						t.Errorf("byte %d of block %x is flipped: %s = %v, want a RecordError with its key", at, entry, what, err)
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			flip(entry, at)
		}
	}
	viewPacked(t, db, func(*bolt.Bucket) {})
}

// TestCheckPacked breaks what a checksum doesn't tell.
func TestCheckPacked(t *testing.T) {
	run := func(b *bolt.Bucket, n uint32, keys ...string) error {
		var p packer
		for _, key := range keys {
			p.add([]byte(key), false)
		}
		p.finish()
		return putRun(b, n, p.blocks)
	}
	// reseal changes the data of the second block of the first run.
	reseal := func(b *bolt.Bucket, change func(data []byte)) error {
		c := b.Cursor()
		c.First()
		entry, value := c.Next()
		data := bytes.Clone(value[valueHeader:])
		change(data)
		return b.Put(entry, seal(entry, packedVersion, data))
	}
	for _, tt := range []struct {
		name  string
		right bool
		fault func(b *bolt.Bucket) error
	}{
		{"nothing", true, func(b *bolt.Bucket) error { return nil }},
		{"an older run", true, func(b *bolt.Bucket) error { return run(b, 6, "a") }},
		{"a newer run", true, func(b *bolt.Bucket) error { return run(b, 8, "a") }},
		{"one of the same number", false, func(b *bolt.Bucket) error { return run(b, 7, "a") }},
		{"a wrong level", false, func(b *bolt.Bucket) error {
			entry := newRunID(1, 6).appendEntry(nil, []byte("a"))
			return b.Put(entry, seal(entry, packedVersion, []byte{0, 0, 0, 9, 0, 1, 0, 1, 'a'}))
		}},
		{"a level that is none", false, func(b *bolt.Bucket) error {
			entry := newRunID(packedLevels, 6).appendEntry(nil, []byte("a"))
			return b.Put(entry, seal(entry, packedVersion, []byte{0, 0, 0, 9, 0, 1, 0, 1, 'a'}))
		}},
		{"keys out of order", false, func(b *bolt.Bucket) error { return run(b, 1, "b", "a") }},
		{"a key twice", false, func(b *bolt.Bucket) error { return run(b, 1, "a", "a") }},
		{"a record", false, func(b *bolt.Bucket) error { return b.Put([]byte("key"), seal([]byte("key"), packedVersion, nil)) }},
		{"a bucket", false, func(b *bolt.Bucket) error { _, err := b.CreateBucket([]byte("inner")); return err }},
		{"a block is missing", false, func(b *bolt.Bucket) error {
			c := b.Cursor()
			c.First()
			c.Next()
			return c.Delete()
		}},
		{"the last block is missing", false, func(b *bolt.Bucket) error {
			c := b.Cursor()
			c.Last()
			return c.Delete()
		}},
		{"a block more", false, func(b *bolt.Bucket) error {
			entry := newRunID(0, 5).appendEntry(nil, []byte("zzz"))
			data := append(make([]byte, 4), 0, 1, 0, 3, 'z', 'z', 'z')
			return b.Put(entry, seal(entry, packedVersion, data))
		}},
		{"another version", false, func(b *bolt.Bucket) error {
			entry := newRunID(1, 1).appendEntry(nil, []byte("a"))
			return b.Put(entry, seal(entry, packedVersion+1, append([]byte{0, 0, 0, 9}, 0, 1, 0, 1, 'a')))
		}},
		{"an empty block", false, func(b *bolt.Bucket) error {
			entry := newRunID(1, 1).appendEntry(nil, nil)
			return b.Put(entry, seal(entry, packedVersion, []byte{0, 0, 0, 6, 0, 0}))
		}},
		{"another first key", false, func(b *bolt.Bucket) error {
			return reseal(b, func(data []byte) { data[blockHeader+2*int(binary.BigEndian.Uint16(data[4:]))+23]++ })
		}},
		{"a wrong count", false, func(b *bolt.Bucket) error { return reseal(b, func(data []byte) { data[4] = 0xff }) }},
		{"a wrong end", false, func(b *bolt.Bucket) error { return reseal(b, func(data []byte) { data[blockHeader] = 0x7f }) }},
		{"blocks that overlap", false, func(b *bolt.Bucket) error {
			return reseal(b, func(data []byte) { data[len(data)-24] = 0xff })
		}},
	} {
		db := newPacked(t)
		inPacked(t, db, func(b *bolt.Bucket) error {
			var p packer
			for _, key := range slices.Sorted(maps.Keys(scatteredBatch(0, 300, true))) {
				p.add([]byte(key), false)
			}
			p.finish()
			if err := putRun(b, 7, p.blocks); err != nil {
				return err
			}
			if err := tt.fault(b); err != nil {
				return err
			}
			err := checkPacked(b, packedPath)
			if right := err == nil; right != tt.right || !right && !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: checkPacked() = %v, want an error: %v", tt.name, err, !tt.right)
			}
			return nil
		})
	}
}

func TestPackedNumbersEnd(t *testing.T) {
	db := newPacked(t)
	inPacked(t, db, func(b *bolt.Bucket) error {
		var p packer
		p.add([]byte("a"), false)
		p.finish()
		if err := putRun(b, 1<<32-1, p.blocks); err != nil {
			return err
		}
		if err := (keyBatch{"b": true}).write(b); err == nil {
			t.Error("writePacked() after the last number = nil, want an error")
		}
		return nil
	})
}

// filledPacked returns a bucket with n scattered keys, written 10,000 at a time, as the applier would.
func filledPacked(tb testing.TB, n int) *bolt.DB {
	db := newPacked(tb)
	for i := 0; i < n; i += 10_000 {
		inPacked(tb, db, scatteredBatch(i, min(i+10_000, n), true).write)
	}
	return db
}

func BenchmarkPackedHas(b *testing.B) {
	for _, n := range []int{1, 10_000, 1_000_000} {
		db := filledPacked(b, n)
		for _, name := range []string{"tree", "tree, absent", "bolt"} {
			there := name != "tree, absent"
			b.Run(fmt.Sprintf("keys=%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				viewPackedQuick(b, db, func(bucket *bolt.Bucket) {
					in := packedReader(bucket, name)
					for b.Loop() {
						key := scattered(rand.IntN(n))
						if !there {
							key[23]++
							key[15]++
						}
						if packedHas(in(), packedPath, key) != there {
							b.Fatal(key)
						}
					}
					b.ReportMetric(float64(len(packedRuns(bucket))), "runs")
				})
			})
		}
	}
}

// packedReader returns what makes a new reader, as each transaction needs one.
func packedReader(b *bolt.Bucket, name string) func() packedEntries {
	if name == "bolt" {
		return func() packedEntries { return readers["bolt"](b) }
	}
	t := packedTree(b)
	return func() packedEntries { return &treeCursor{tree: t} }
}

// BenchmarkPackedScan scans a prefix of five keys.
func BenchmarkPackedScan(b *testing.B) {
	for _, n := range []int{1, 10_000, 1_000_000} {
		db := filledPacked(b, n)
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			viewPackedQuick(b, db, func(bucket *bolt.Bucket) {
				in := packedReader(bucket, "tree")
				for b.Loop() {
					key := scattered(rand.IntN(n))
					c := &packedCursor{path: packedPath, in: in(), r: Prefix(key[:8])}
					found := 0
					for p := c.first(); p.key != nil; p = c.next() {
						found++
					}
					if found != min(n, 5) {
						b.Fatal(found)
					}
				}
				b.ReportMetric(float64(len(packedRuns(bucket))), "runs")
			})
		})
	}
}

// BenchmarkPackedWrite writes 80 keys into a bucket of 10,000, and for comparison as records.
func BenchmarkPackedWrite(b *testing.B) {
	writers := map[string]func(c keyBatch, bucket *bolt.Bucket) error{
		"packed": keyBatch.write,
		"records": func(c keyBatch, bucket *bolt.Bucket) error {
			for _, key := range slices.Sorted(maps.Keys(c)) {
				if err := bucket.Put([]byte(key), seal([]byte(key), 0, nil)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	for _, kind := range []string{"packed", "records"} {
		b.Run(kind, func(b *testing.B) {
			write := writers[kind]
			db := newPacked(b)
			n := 0
			for ; n < 10_000; n += 80 {
				inPacked(b, db, func(bucket *bolt.Bucket) error { return write(scatteredBatch(n, n+80, true), bucket) })
			}
			b.ReportAllocs()
			before := db.Stats().TxStats
			for b.Loop() {
				inPacked(b, db, func(bucket *bolt.Bucket) error { return write(scatteredBatch(n, n+80, true), bucket) })
				n += 80
			}
			after := db.Stats().TxStats
			b.ReportMetric(float64(after.GetPageAlloc()-before.GetPageAlloc())/float64(b.N), "dirty-B/op")
		})
	}
}

func viewPackedQuick(t fataler, db *bolt.DB, fn func(b *bolt.Bucket)) {
	t.Helper()
	if err := db.View(func(tx *bolt.Tx) error { fn(tx.Bucket([]byte(packedPath))); return nil }); err != nil {
		t.Fatal(err)
	}
}

// changePages changes each leaf of a database that holds some text.
func changePages(t *testing.T, path, text string, change func(page []byte)) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 2 * pageBytes; at < len(data); at += pageBytes {
		if p := data[at : at+pageBytes]; bytes.Contains(p, []byte(text)) && layout.Uint16(p[8:]) == leafPage {
			change(p)
		}
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A block that rotted is told to who reads it; what else is written goes on, although merges would need it.
func TestDamagedBlockStopsNoWrite(t *testing.T) {
	path := tempPath(t)
	index := Index{Path: "packed~"}
	db := openTest(t, path, Options{})
	do(t, db, func(tx *Tx) { index.Put(tx, []byte("needle-0")) })
	settle(t, db)
	closeTest(t, db)
	changePages(t, path, "needle-0", func(page []byte) {
		page[bytes.LastIndex(page, []byte("needle-0"))] ^= 1 // in the block, behind the entry's key
	})
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for i := 1; i < 10; i++ {
		do(t, db, func(tx *Tx) { index.Put(tx, fmt.Appendf(nil, "needle-%d", i)) })
		settle(t, db)
	}
	if err := try(db, func(tx *Tx) error { index.Any(tx, Range{}); return nil }); !errors.Is(err, ErrDamaged) {
		t.Errorf("reading it = %v, want %v", err, ErrDamaged)
	}
	if faults, err := db.Check(); len(faults) == 0 || err != nil {
		t.Errorf("Check = %q, %v, want a fault", faults, err)
	}
}

// One part of the applier's work is bounded although every bucket in it has runs to merge.
func TestMergesCountInAPart(t *testing.T) {
	const buckets, each = 30, 40
	var writes []int64
	opt := Options{Overlay: 64 << 20, ApplyAfter: time.Hour, partOps: 100}
	opt.commitBolt = func(tx *bolt.Tx) error {
		err := tx.Commit()
		stats := tx.Stats()
		writes = append(writes, stats.GetWrite())
		return err
	}
	db := openTest(t, tempPath(t), opt)
	for round := range packedFanIn {
		writes = nil
		do(t, db, func(tx *Tx) {
			for b := range buckets {
				for i := range each {
					Index{Path: Path(fmt.Sprintf("%d~", b))}.Put(tx, fmt.Appendf(nil, "%d-%d", i, round))
				}
			}
		})
		settle(t, db)
	}
	// Without its merges a part takes three buckets, with them one: the last round is more parts than there are buckets.
	if len(writes) < buckets {
		t.Errorf("%d parts for %d buckets, each of which is merged", len(writes), buckets)
	}
}
