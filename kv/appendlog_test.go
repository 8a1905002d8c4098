package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

var lines = Log{Path: AppendOnlyRoot.Join("lines+")}

// appendN appends n records that say which they are.
func (l Log) appendN(tx *Tx, n int) {
	for range n {
		l.Append(tx, fmt.Appendf(nil, "%s %d", l.Path, l.Len(tx)))
	}
}

// numbersOf are those of the records with numbers from from to to.
func (l Log) numbersOf(tx *Tx, from, to uint64) (numbers []uint64) {
	for n := range l.Scan(tx, from, to) {
		numbers = append(numbers, n)
	}
	return numbers
}

func numbersFrom(from, to uint64) (numbers []uint64) {
	for ; from < to; from++ {
		numbers = append(numbers, from)
	}
	return numbers
}

func TestLogKeepsRecords(t *testing.T) {
	db := newTest(t)
	l := lines.In(db)
	want := [][]byte{[]byte("first"), {}, []byte(long(64 << 10)), []byte(long(1 << 20)), []byte("last")}
	check := func(tx *Tx) {
		t.Helper()
		equal(t, "First, Len", []uint64{l.First(tx), l.Len(tx)}, []uint64{0, uint64(len(want))})
		var got [][]byte
		for n, data := range l.Scan(tx, 0, math.MaxUint64) {
			one, ok := l.Get(tx, n)
			if n != uint64(len(got)) || !ok || !bytes.Equal(one, data) {
				t.Errorf("Scan gives %d: %q, Get says %q, %v", n, brief(data), brief(one), ok)
			}
			got = append(got, data)
		}
		equal(t, "records", got, want)
		if data, ok := l.Get(tx, uint64(len(want))); ok {
			t.Errorf("Get of the next number = %q", data)
		}
	}
	do(t, db, func(tx *Tx) {
		equal(t, "First, Len, in the beginning", []uint64{l.First(tx), l.Len(tx)}, []uint64{0, 0})
		for i, data := range want {
			if n := l.Append(tx, data); n != uint64(i) {
				t.Errorf("Append = %d, want %d", n, i)
			}
		}
		check(tx)
	})
	view := func() { look(t, db, func(tx *Tx) bool { check(tx); return true }) }
	view()
	settle(t, db)
	view()
	db = openTest(t, crash(t, db), Options{})
	l = lines.In(db)
	view()
	look(t, db, func(tx *Tx) bool { // what was read is the reader's
		data, _ := l.Get(tx, 0)
		clear(data)
		for _, data := range l.Scan(tx, 0, 1) {
			clear(data)
		}
		check(tx)
		return true
	})
}

func TestLogScans(t *testing.T) {
	db := newTest(t)
	l := lines.In(db)
	do(t, db, func(tx *Tx) { l.appendN(tx, 300) })
	settle(t, db)
	do(t, db, func(tx *Tx) { l.appendN(tx, 300); l.DropSegment(tx, 100, 0) })
	look(t, db, func(tx *Tx) bool {
		for _, r := range [][4]uint64{
			{0, math.MaxUint64, 100, 600}, {0, 600, 100, 600}, {100, 101, 100, 101}, {250, 350, 250, 350}, {599, 601, 599, 600},
			{0, 100, 0, 0}, {600, 700, 0, 0}, {300, 300, 0, 0}, {300, 200, 0, 0},
		} {
			equal(t, fmt.Sprintf("from %d to %d", r[0], r[1]), l.numbersOf(tx, r[0], r[1]), numbersFrom(r[2], r[3]))
		}
		return true
	})
	do(t, db, func(tx *Tx) { // the loop may append, drop, and end
		var got []uint64
		for n := range l.Scan(tx, 100, math.MaxUint64) {
			if got = append(got, n); n == 100 {
				l.DropSegment(tx, 100, 1)
			}
			if len(got) < 20 {
				l.appendN(tx, 1)
			}
			if n == 618 {
				break
			}
		}
		equal(t, "of a loop that drops and appends", got, append(numbersFrom(100, 108), numbersFrom(200, 619)...))
	})
}

func TestDropSegment(t *testing.T) {
	db := newTest(t)
	l := lines.In(db)
	is := func(tx *Tx, first, end uint64) {
		t.Helper()
		equal(t, "First, Len", []uint64{l.First(tx), l.Len(tx)}, []uint64{first, end})
		equal(t, "numbers", l.numbersOf(tx, 0, math.MaxUint64), numbersFrom(first, end))
		for _, n := range []uint64{0, first - 1, first, end - 1, end} {
			if _, ok := l.Get(tx, n); ok != (n >= first && n < end) {
				t.Errorf("Get(%d) = %v, the records are those from %d to %d", n, ok, first, end)
			}
		}
	}
	drop := func(n uint64) { do(t, db, func(tx *Tx) { l.DropSegment(tx, 10, n); is(tx, 10*(n+1), l.Len(tx)) }) }
	do(t, db, func(tx *Tx) { l.appendN(tx, 11) })
	drop(0)
	do(t, db, func(tx *Tx) { is(tx, 10, 11); l.appendN(tx, 30); is(tx, 10, 41) })
	settle(t, db)
	drop(1)
	do(t, db, func(tx *Tx) { // what the transaction itself appended, too
		l.appendN(tx, 20)
		l.DropSegment(tx, 10, 2)
		l.DropSegment(tx, 5, 6)
		l.DropSegment(tx, 5, 7)
		l.DropSegment(tx, 20, 2)
		is(tx, 60, 61)
	})
	db = openTest(t, crash(t, db), Options{})
	l = lines.In(db)
	look(t, db, func(tx *Tx) bool { is(tx, 60, 61); return true })
	closeTest(t, db)
	db = openTest(t, db.Path(), Options{})
	l = lines.In(db)
	do(t, db, func(tx *Tx) { is(tx, 60, 61); l.appendN(tx, 1); is(tx, 60, 62) })
}

// Whoever tries to change what was appended, in whatever way, fails, and with him all that his transaction did.
func TestAppendedStays(t *testing.T) {
	t.Parallel()
	var (
		full                      = Log{Path: AppendOnlyRoot.Join("full+")} // one segment
		deep                      = Log{Path: AppendOnlyRoot.Join("inner").Join("deep+")}
		ordinary                  = bucketAt(AppendOnlyRoot.Join("ordinary"))
		elsewhere, empty, unnamed = Log{Path: "elsewhere/lines+"}, Log{Path: AppendOnlyRoot.Join("empty+")}, Log{Path: AppendOnlyRoot.Join("lines")}
		bucket                    = bucketAt(lines.Path)
		index                     = Index{Path: lines.Path}
		key                       = logKey
	)
	type attempt struct {
		what string
		fn   func(tx *Tx)
		want string // is in the error
	}
	const putOrDelete, dropped, noLog = "nothing can be put or deleted", "can't be dropped", "can't be an append-only one"
	for _, settled := range []bool{false, true} {
		db := newTest(t)
		do(t, db, func(tx *Tx) {
			lines.appendN(tx, 35)
			lines.DropSegment(tx, 10, 0)
			full.appendN(tx, 10)
			deep.appendN(tx, 3)
			ordinary.Put(tx, []byte("k"), note{})
		})
		if settled {
			settle(t, db)
		}
		before := allLogged(t, db)
		for _, tt := range []attempt{
			{"a put over a record", func(tx *Tx) { bucket.Put(tx, key(20), note{}) }, putOrDelete},
			{"a put of the same record", func(tx *Tx) { tx.put(tx.home(nil, lines.Path), key(20), logVersion, []byte(lines.Path+" 20")) }, putOrDelete},
			{"a put of a number that was dropped", func(tx *Tx) { bucket.Put(tx, key(5), note{}) }, putOrDelete},
			{"a put at the end", func(tx *Tx) { bucket.Put(tx, key(35), note{}) }, putOrDelete},
			{"a put behind the end", func(tx *Tx) { bucket.Put(tx, key(40), note{}) }, putOrDelete},
			{"a put of what is no number", func(tx *Tx) { bucket.Put(tx, []byte("k"), note{}) }, putOrDelete},
			{"a put into a new bucket", func(tx *Tx) { bucketAt(empty.Path).Put(tx, key(0), note{}) }, putOrDelete},
			{"a put into an append-only bucket in the wrong place", func(tx *Tx) { bucketAt(elsewhere.Path).Put(tx, key(0), note{}) }, putOrDelete},
			{"a put through a home", func(tx *Tx) { bucket.In(db).Put(tx, key(35), note{}) }, putOrDelete},
			{"a key of an index at the end", func(tx *Tx) { index.Put(tx, key(35)) }, putOrDelete},
			{"a key of an index over a record", func(tx *Tx) { index.Put(tx, key(20)) }, putOrDelete},
			{"a delete", func(tx *Tx) { bucket.Delete(tx, key(20)) }, putOrDelete},
			{"a delete of the first", func(tx *Tx) { bucket.Delete(tx, key(10)) }, putOrDelete},
			{"a delete of the last", func(tx *Tx) { bucket.Delete(tx, key(34)) }, putOrDelete},
			{"a delete of nothing", func(tx *Tx) { bucket.Delete(tx, key(99)) }, putOrDelete},
			{"a delete of what the transaction appended", func(tx *Tx) { bucket.Delete(tx, key(lines.Append(tx, nil))) }, putOrDelete},
			{"a delete of an index key", func(tx *Tx) { index.Delete(tx, key(20)) }, putOrDelete},
			{"a bucket inside", func(tx *Tx) { bucketAt(lines.Path.Join("x")).Put(tx, key(35), note{}) }, "there can be no record"},
			{"a bucket inside a new one", func(tx *Tx) { bucketAt(empty.Path.Join("x")).Put(tx, []byte("k"), note{}) }, "there can be no record"},
			{"an append-only bucket inside a new one", func(tx *Tx) { Log{Path: empty.Path.Join("x+")}.Append(tx, nil) }, "there can be no record"},
			{"a drop", func(tx *Tx) { tx.Drop(lines.Path) }, dropped},
			{"a drop of the bucket around it", func(tx *Tx) { tx.Drop(deep.Path.outer()) }, dropped},
			{"a drop of the outermost bucket", func(tx *Tx) { tx.Drop(AppendOnlyRoot) }, dropped},
			{"a drop of an ordinary bucket beside it", func(tx *Tx) { tx.Drop(ordinary.Path) }, dropped},
			{"a drop of nothing beside it", func(tx *Tx) { tx.Drop(AppendOnlyRoot.Join("absent")) }, dropped},
			{"a drop of what the transaction appended", func(tx *Tx) { empty.Append(tx, nil); tx.Drop(empty.Path) }, dropped},
			{"a drop, and all appended again", func(tx *Tx) { tx.Drop(full.Path); full.appendN(tx, 10) }, dropped},
			{"an append elsewhere", func(tx *Tx) { elsewhere.Append(tx, nil) }, noLog},
			{"an append under a wrong name", func(tx *Tx) { unnamed.Append(tx, nil) }, noLog},
			{"an append beside the outermost bucket", func(tx *Tx) { Log{Path: AppendOnlyRoot + "+"}.Append(tx, nil) }, noLog},
			{"an append of 16 MiB", func(tx *Tx) { lines.Append(tx, make([]byte, maxValueBytes)) }, "can't hold"},
			{"a segment of an ordinary bucket", func(tx *Tx) { Log{Path: ordinary.Path}.DropSegment(tx, 1, 0) }, noLog},
			{"a segment of an empty bucket", func(tx *Tx) { empty.DropSegment(tx, 10, 0) }, "none behind it"},
			{"a segment that is gone", func(tx *Tx) { lines.DropSegment(tx, 10, 0) }, "the first that is there is 10"},
			{"a segment that is not the first", func(tx *Tx) { lines.DropSegment(tx, 10, 2) }, "the first that is there is 10"},
			{"a segment that is not the first, in another size", func(tx *Tx) { lines.DropSegment(tx, 5, 1) }, "the first that is there is 10"},
			{"a segment that is gone in part", func(tx *Tx) { lines.DropSegment(tx, 20, 0) }, "the first that is there is 10"},
			{"an incomplete segment", func(tx *Tx) { lines.DropSegment(tx, 10, 1); lines.DropSegment(tx, 10, 2); lines.DropSegment(tx, 10, 3) }, "none behind it"},
			{"a segment with the last record", func(tx *Tx) { full.DropSegment(tx, 10, 0) }, "none behind it"},
			{"a segment with the last record that the transaction appended", func(tx *Tx) { lines.appendN(tx, 5); lines.DropSegment(tx, 30, 0) }, "the first that is there is 10"},
			{"a segment that is not there yet", func(tx *Tx) { lines.DropSegment(tx, 10, 7) }, "none behind it"},
			{"a segment of no records", func(tx *Tx) { lines.DropSegment(tx, 0, 0) }, "none behind it"},
			{"a segment of 2^63 records", func(tx *Tx) { full.DropSegment(tx, 1<<63, 2) }, "none behind it"},
			{"a segment of which the number is 2^64-1", func(tx *Tx) { full.DropSegment(tx, 1, math.MaxUint64) }, "none behind it"},
		} {
			got := runGroup(db,
				func(tx *Tx) error { notes.Put(tx, []byte("before"), note{Text: tt.what}); return nil },
				func(tx *Tx) error {
					notes.Put(tx, []byte("lost"), note{})
					deep.Append(tx, []byte("lost"))
					tt.fn(tx)
					deep.Append(tx, []byte("lost, too"))
					return nil
				},
				func(tx *Tx) error { notes.Put(tx, []byte("after"), note{Text: tt.what}); return nil },
			)
			if got[0].err != nil || got[1].err == nil || !strings.Contains(got[1].err.Error(), tt.want) || got[2].err != nil {
				t.Errorf("%s (settled: %v): the group ended in %+v, want only the second to fail: %q", tt.what, settled, got, tt.want)
			}
			equal(t, tt.what, all(t, db, notes), map[string]note{"before": {Text: tt.what}, "after": {Text: tt.what}})
			equal(t, tt.what, allLogged(t, db), before)
		}
		db = openTest(t, crash(t, db), Options{})
		equal(t, "after the crash", allLogged(t, db), before)
		do(t, db, func(tx *Tx) { // buckets beside it are ordinary ones
			ordinary.Put(tx, []byte("k"), note{Text: "again"})
			ordinary.Delete(tx, []byte("k"))
			bucketAt(AppendOnlyRoot+"x").Put(tx, []byte("k"), note{})
			tx.Drop(AppendOnlyRoot + "x")
		})
	}
}

// allLogged returns all records inside AppendOnlyRoot, as they are stored.
func allLogged(t *testing.T, db *DB) map[string]string {
	t.Helper()
	return look(t, db, func(tx *Tx) map[string]string {
		found := map[string]string{}
		var walk func(path Path)
		walk = func(path Path) {
			for key, value := range tx.scan(tx.home(nil, path), Range{}) {
				found[fmt.Sprintf("%s %x", path, key)] = fmt.Sprintf("%q", value)
			}
			for _, name := range tx.Children(path) {
				walk(path.Join(name))
			}
		}
		walk(AppendOnlyRoot)
		return found
	})
}

func TestReadOnlyTransactionsDoNotAppend(t *testing.T) {
	db := newTest(t)
	do(t, db, func(tx *Tx) { lines.appendN(tx, 3) })
	before := allLogged(t, db)
	for name, fn := range map[string]func(tx *Tx){
		"Append":      func(tx *Tx) { lines.Append(tx, nil) },
		"DropSegment": func(tx *Tx) { lines.DropSegment(tx, 1, 0) },
		"Delete":      func(tx *Tx) { bucketAt(lines.Path).Delete(tx, logKey(0)) },
		"Drop":        func(tx *Tx) { tx.Drop(lines.Path) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s in a View did not panic", name)
				}
			}()
			_, _ = View(db, func(tx *Tx) (int, error) { fn(tx); return 0, nil })
		}()
	}
	equal(t, "records", allLogged(t, db), before)
}

// However many append at a time, and although some of their transactions fail, the numbers have no gap, and each
// is the record's whose caller was told it.
func TestConcurrentAppends(t *testing.T) {
	t.Parallel()
	db := openTest(t, tempPath(t), Options{Overlay: 64 << 10})
	l := lines.In(db)
	const callers, each = 16, 100
	told := make([]map[uint64]string, callers)
	var wg sync.WaitGroup
	for c := range callers {
		told[c] = map[uint64]string{}
		wg.Go(func() {
			last := -1
			for i := range each {
				text := fmt.Sprintf("%d %d %s", c, i, long((c*i*37)%700))
				fails := (c+i)%5 == 0
				n, err := Update(db, func(tx *Tx) (uint64, error) {
					n := l.Append(tx, []byte(text))
					switch {
					case fails && i%2 == 0:
						return 0, errEnd
					case fails:
						bucketAt(l.Path).Delete(tx, logKey(n))
					}
					return n, nil
				})
				if (err != nil) != fails || err == nil && int(n) <= last {
					t.Errorf("Append = %d, %v, after %d; want it to fail: %v", n, err, last, fails)
				}
				if err == nil {
					told[c][n], last = text, int(n)
				}
			}
		})
	}
	wg.Wait()
	want := map[uint64]string{}
	for _, t := range told {
		maps.Copy(want, t)
	}
	equal(t, "how many numbers were told", len(want), callers*each*4/5)
	is := func() {
		t.Helper()
		look(t, db, func(tx *Tx) bool {
			equal(t, "Len", l.Len(tx), uint64(len(want)))
			got := map[uint64]string{}
			for n, data := range l.Scan(tx, 0, l.Len(tx)) {
				got[n] = string(data)
			}
			equal(t, "records", got, want)
			equal(t, "numbers", l.numbersOf(tx, 0, math.MaxUint64), numbersFrom(0, uint64(len(want))))
			return true
		})
	}
	is()
	settle(t, db)
	db = openTest(t, crash(t, db), Options{})
	l = lines.In(db)
	is()
}

// A logHistory is what was ever seen of an append-only bucket in the file, and what should be in it.
type logHistory struct {
	acknowledged []string // by number
	first        uint64   // of those that are not dropped

	seen      map[uint64]string // the stored bytes
	seenFirst uint64
}

const historySegment = 16

// look compares the file to what was there before. All that was acknowledged must be in it if it is settled.
func (h *logHistory) look(b *bolt.DB, settled bool) error {
	now := map[uint64]string{}
	first, next := uint64(0), uint64(0)
	err := b.View(func(tx *bolt.Tx) error {
		root := tx.Bucket([]byte(AppendOnlyRoot))
		if root == nil {
			return nil
		}
		return root.Bucket([]byte("lines+")).ForEach(func(key, value []byte) error {
			n := binary.BigEndian.Uint64(key)
			if len(now) == 0 {
				first, next = n, n
			}
			if len(key) != 8 || n != next {
				return fmt.Errorf("the key %x comes where %d should", key, next)
			}
			now[n] = string(value)
			next++
			return nil
		})
	})
	switch {
	case err != nil:
		return err
	case first%historySegment != 0 || first > h.first || first < h.seenFirst:
		return fmt.Errorf("the first is %d, and was %d; all before %d may be dropped", first, h.seenFirst, h.first)
	case next < h.seenFirst+uint64(len(h.seen)) || next > uint64(len(h.acknowledged)):
		return fmt.Errorf("the file ends at %d, and did at %d; %d were acknowledged", next, h.seenFirst+uint64(len(h.seen)), len(h.acknowledged))
	case settled && (first != h.first || next != uint64(len(h.acknowledged))):
		return fmt.Errorf("the file has all from %d to %d, want %d to %d", first, next, h.first, len(h.acknowledged))
	}
	for n, value := range now {
		if old, ok := h.seen[n]; ok && old != value {
			return fmt.Errorf("record %d was changed from %q to %q", n, brief(old), brief(value))
		}
		if want := string(seal(logKey(n), logVersion, []byte(h.acknowledged[n]))); value != want {
			return fmt.Errorf("record %d is %q, want %q", n, brief(value), brief(want))
		}
	}
	h.seen, h.seenFirst = now, first
	return nil
}

// lookClosed looks at the file while nobody has it open.
func (h *logHistory) lookClosed(path string) error {
	b, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	return errors.Join(h.look(b, true), b.Close())
}

// group runs some transactions together, each of which appends a few records; some fail, in one way or another.
func (h *logHistory) group(t *testing.T, rng *rand.Rand, db *DB) {
	t.Helper()
	fns := make([]func(*Tx) error, 1+rng.IntN(4))
	texts, numbers := make([][]string, len(fns)), make([][]uint64, len(fns))
	for i := range fns {
		for range rng.IntN(6) {
			size := []int{0, 20, 500, 500, 500, 3000, 20_000}[rng.IntN(7)]
			texts[i] = append(texts[i], fmt.Sprintf("%d %s", rng.Uint64(), long(size)))
		}
		end := rng.IntN(8)
		fns[i] = func(tx *Tx) error {
			numbers[i] = nil
			for _, text := range texts[i] {
				numbers[i] = append(numbers[i], lines.Append(tx, []byte(text)))
			}
			notes.Put(tx, number(rng.IntN(50)), note{Text: long(100)})
			switch end {
			case 0:
				return errEnd
			case 1:
				bucketAt(lines.Path).Put(tx, logKey(lines.First(tx)), note{})
			case 2:
				bucketAt(lines.Path).Delete(tx, logKey(lines.Len(tx)-1))
			case 3:
				tx.Drop(AppendOnlyRoot)
			}
			return nil
		}
	}
	type appended struct {
		first uint64
		texts []string
	}
	var all []appended
	for i, got := range runGroup(db, fns...) {
		if got.err == nil && len(texts[i]) > 0 {
			all = append(all, appended{numbers[i][0], texts[i]})
		}
	}
	slices.SortFunc(all, func(a, b appended) int { return int(a.first) - int(b.first) }) // the order in which they ran
	for _, a := range all {
		if a.first != uint64(len(h.acknowledged)) {
			t.Fatalf("a transaction began at %d, want %d", a.first, len(h.acknowledged))
		}
		h.acknowledged = append(h.acknowledged, a.texts...)
	}
}

// dropSegment drops the first segment, if it may be.
func (h *logHistory) dropSegment(t *testing.T, db *DB) {
	t.Helper()
	err := try(db, func(tx *Tx) error { lines.DropSegment(tx, historySegment, h.first/historySegment); return nil })
	if may := uint64(len(h.acknowledged)) > h.first+historySegment; may != (err == nil) {
		t.Fatalf("DropSegment of %d, with %d records = %v", h.first/historySegment, len(h.acknowledged), err)
	} else if may {
		h.first += historySegment
	}
}

// Once a record is in the file its bytes never change, whatever happens: nothing comes but behind the last one, and
// nothing goes but whole segments that were dropped. So it is for every look of bbolt itself at the file.
func TestAppendedBytesStayInTheFile(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 0))
		opt := Options{Overlay: 64 << 10, KeepLog: []int64{0, 20_000}[seed%2], ApplyAfter: time.Hour, segmentBytes: 32 << 10, partOps: 5}
		h := &logHistory{}
		db := openTest(t, tempPath(t), opt)
		for turn := range 400 {
			settled, what := false, "a group"
			var err error
			switch n := rng.IntN(100); {
			case n < 62:
				h.group(t, rng, db)
			case n < 78:
				what = "a drop"
				h.dropSegment(t, db)
			case n < 90:
				what, settled = "an apply", true
				settle(t, db)
			case n < 95:
				what = "a kill"
				db.abandon()
				db = openTest(t, db.Path(), opt)
			default:
				what, settled = "closing", true
				closeTest(t, db)
				err = h.lookClosed(db.Path())
				db = openTest(t, db.Path(), opt)
			}
			if err := errors.Join(err, h.look(db.bolt.Load().DB, settled)); err != nil {
				t.Fatalf("seed %d, turn %d, %s: %v", seed, turn, what, err)
			}
		}
		checkClean(t, db)
		look(t, db, func(tx *Tx) bool {
			equal(t, "First, Len", []uint64{lines.First(tx), lines.Len(tx)}, []uint64{h.first, uint64(len(h.acknowledged))})
			for n, data := range lines.Scan(tx, 0, math.MaxUint64) {
				if string(data) != h.acknowledged[n] {
					t.Errorf("record %d is %q, want %q", n, brief(data), brief(h.acknowledged[n]))
				}
			}
			return true
		})
		if h.first < 10*historySegment || len(h.acknowledged) < 500 {
			t.Errorf("seed %d: %d appended, the first %d dropped; this test wants more", seed, len(h.acknowledged), h.first)
		}
		closeTest(t, db)
	}
}

// Who changes the file by other means is found by those who read there, and by Check.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	path := tempPath(t)
	db := openTest(t, path, Options{})
	do(t, db, func(tx *Tx) { lines.appendN(tx, 40); lines.DropSegment(tx, 10, 0) })
	closeTest(t, db)
	get := func(n uint64) func(*Tx) { return func(tx *Tx) { lines.Get(tx, n) } }
	scan := func(from, to uint64) func(*Tx) { return func(tx *Tx) { lines.numbersOf(tx, from, to) } }
	for _, tt := range []struct {
		what   string
		change func(b *bolt.Bucket) error
		fault  string // that Check reports, at this key
		key    []byte
		found  []func(*Tx)
		passes []func(*Tx)
	}{
		{
			"a record is taken away", func(b *bolt.Bucket) error { return b.Delete(logKey(25)) }, "the one before it is missing", logKey(26),
			[]func(*Tx){get(25), scan(0, 40), scan(25, 26), scan(25, 30), scan(20, 26), func(tx *Tx) { lines.DropSegment(tx, 10, 1); lines.DropSegment(tx, 10, 2) }},
			[]func(*Tx){get(24), get(26), get(9), get(40), scan(0, 25), scan(26, 99), func(tx *Tx) { lines.DropSegment(tx, 10, 1) }},
		},
		{
			"a record has another's value", func(b *bolt.Bucket) error { return b.Put(logKey(25), bytes.Clone(b.Get(logKey(24)))) }, "wrong checksum", logKey(25),
			[]func(*Tx){get(25), scan(0, 40)},
			[]func(*Tx){get(24), scan(26, 40)},
		},
		{
			"a record of an unknown version", func(b *bolt.Bucket) error { return b.Put(logKey(25), seal(logKey(25), logVersion+1, nil)) }, "record version 2 is not known", logKey(25),
			[]func(*Tx){get(25), scan(0, 40)},
			[]func(*Tx){get(24)},
		},
		{
			"a longer key at the end", func(b *bolt.Bucket) error { k := append(logKey(39), 0); return b.Put(k, seal(k, logVersion, nil)) }, noNumber, append(logKey(39), 0),
			[]func(*Tx){scan(0, 40), func(tx *Tx) { lines.Len(tx) }, func(tx *Tx) { lines.Append(tx, nil) }},
			[]func(*Tx){get(39), scan(0, 39)},
		},
		{
			"a shorter key in the beginning", func(b *bolt.Bucket) error { k := make([]byte, 7); return b.Put(k, seal(k, logVersion, nil)) }, noNumber, make([]byte, 7),
			[]func(*Tx){func(tx *Tx) { lines.First(tx) }, func(tx *Tx) { lines.DropSegment(tx, 10, 1) }},
			[]func(*Tx){get(10), func(tx *Tx) { lines.Append(tx, nil) }},
		},
		{
			"a bucket inside", func(b *bolt.Bucket) error { _, err := b.CreateBucket(logKey(40)); return err }, "wrong size", logKey(40),
			nil, []func(*Tx){get(39)},
		},
	} {
		damaged := copyFile(t, path)
		b, err := bolt.Open(damaged, 0o600, boltOptions(0))
		if err != nil {
			t.Fatal(err)
		}
		err = b.Update(func(tx *bolt.Tx) error { return tt.change(tx.Bucket([]byte(AppendOnlyRoot)).Bucket([]byte("lines+"))) })
		if err := errors.Join(err, b.Close()); err != nil {
			t.Fatal(err)
		}
		db, err := Open(damaged, Options{})
		if err != nil {
			t.Fatalf("%s: Open = %v", tt.what, err)
		}
		defer db.abandon()
		faults, err := db.Check()
		if want := recordError(lines.Path, tt.key, tt.fault).Error(); err != nil || !slices.Equal(faults, []string{want}) {
			t.Errorf("%s: Check = %q, %v, want %q", tt.what, faults, err, want)
		}
		for i, fn := range tt.found {
			err := try(db, func(tx *Tx) error { fn(tx); return errEnd })
			if record := (*RecordError)(nil); !errors.As(err, &record) || record.Path != lines.Path {
				t.Errorf("%s, reader %d: got %v, want a RecordError", tt.what, i, err)
			}
		}
		for i, fn := range tt.passes {
			if err := try(db, func(tx *Tx) error { fn(tx); return errEnd }); err != errEnd {
				t.Errorf("%s, reader %d of what is beside it: got %v", tt.what, i, err)
			}
		}
	}
}
