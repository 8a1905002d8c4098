package kv

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestBucketKeepsRecords(t *testing.T) {
	db := newTest(t)
	put(t, db, "first", "a", "b")
	put(t, db, "second", "b", "c")
	do(t, db, func(tx *Tx) { notes.Delete(tx, []byte("c")); notes.Delete(tx, []byte("absent")) })

	for _, tt := range []struct {
		key, text string
		ok        bool
	}{
		{"a", "first", true}, {"b", "second", true}, {"c", "", false}, {"absent", "", false}, {"", "", false},
	} {
		look(t, db, func(tx *Tx) bool {
			got, ok := notes.Get(tx, []byte(tt.key))
			if got.Text != tt.text || ok != tt.ok {
				t.Errorf("Get(%q) = %+v, %v, want %q, %v", tt.key, got, ok, tt.text, tt.ok)
			}
			if has := notes.Has(tx, []byte(tt.key)); has != tt.ok {
				t.Errorf("Has(%q) = %v, want %v", tt.key, has, tt.ok)
			}
			return true
		})
	}
}

func TestRecordsThatCannotBeStoredFailTheTransaction(t *testing.T) {
	t.Parallel()
	db := newTest(t)
	noCodec := Bucket[note]{Path: "notes", Codec: Codec[note]{Encode: func([]byte, note) ([]byte, error) { return nil, errors.New("no words") }}}
	for name, fn := range map[string]func(tx *Tx){
		"an empty key":            func(tx *Tx) { notes.Put(tx, nil, note{}) },
		"a key of 1025 bytes":     func(tx *Tx) { notes.Put(tx, []byte(long(1025)), note{}) },
		"a value above 16 MiB":    func(tx *Tx) { notes.Put(tx, []byte("k"), note{Text: long(16 << 20)}) },
		"an index key too long":   func(tx *Tx) { Index{Path: "index"}.Put(tx, []byte(long(1025))) },
		"no encoding":             func(tx *Tx) { noCodec.Put(tx, []byte("k"), note{}) },
		"a bucket without a name": func(tx *Tx) { bucketAt("").Put(tx, []byte("k"), note{}) },
		"a record named like a bucket": func(tx *Tx) {
			bucketAt("outer/k").Put(tx, []byte("k"), note{})
			bucketAt("outer").Put(tx, []byte("k"), note{})
		},
	} {
		got := runGroup(db,
			func(tx *Tx) error { notes.Put(tx, []byte("before"), note{Text: name}); return nil },
			func(tx *Tx) error { notes.Put(tx, []byte("lost"), note{}); fn(tx); return nil },
			func(tx *Tx) error { notes.Put(tx, []byte("after"), note{Text: name}); return nil },
		)
		if got[0].err != nil || got[1].err == nil || got[2].err != nil {
			t.Errorf("%s: the group ended in %+v, want only the second to fail", name, got)
		}
		equal(t, name, all(t, db, notes), map[string]note{"before": {Text: name}, "after": {Text: name}})
	}
}

func TestLargestKeyAndValueAreStored(t *testing.T) {
	t.Parallel()
	db := newTest(t)
	key, v := []byte(long(maxKeyBytes)), note{Text: long(maxValueBytes - 100)}
	do(t, db, func(tx *Tx) { notes.Put(tx, key, v) })
	equal(t, "the largest record", all(t, db, notes), map[string]note{string(key): v})
}

func TestRanges(t *testing.T) {
	db := newTest(t)
	keys := []string{"\x00", "a", "a\x00", "a\xff", "a\xff\xff", "b", "ba", "c", "\xff", "\xff\xff", "\xff\xffz"}
	put(t, db, "", keys...)
	do(t, db, func(tx *Tx) {
		for _, key := range keys {
			Index{Path: "index"}.Put(tx, []byte(key))
		}
	})
	a := Prefix([]byte("a"))
	for _, tt := range []struct {
		name string
		r    Range
		want []string
	}{
		{"everything", Range{}, keys},
		{"from a key that is there: with it", Range{From: []byte("b")}, keys[5:]},
		{"from a key that is not there: after it", Range{From: []byte("bb")}, keys[7:]},
		{"to a key that is there: without it", Range{To: []byte("b")}, keys[:5]},
		{"to a key that is not there: up to it", Range{To: []byte("bb")}, keys[:7]},
		{"from and to", Range{From: []byte("a"), To: []byte("b")}, keys[1:5]},
		{"from after to", Range{From: []byte("c"), To: []byte("b")}, nil},
		{"from equal to to", Range{From: []byte("b"), To: []byte("b")}, nil},
		{"to the empty key", Range{To: []byte{}}, nil},
		{"between two neighbours", Range{From: []byte("bb"), To: []byte("bc")}, nil},
		{"past the last key", Range{From: []byte("\xff\xffzz")}, nil},
		{"the prefix a", a, keys[1:5]},
		{"the prefix a, in two parts", Prefix([]byte("a"), []byte("\xff")), keys[3:5]},
		{"the empty prefix", Prefix(), keys},
		{"the prefix a 0xff, whose successor is b", Prefix([]byte("a\xff")), keys[3:5]},
		{"the prefix 0xff, which has no successor", Prefix([]byte("\xff")), keys[8:]},
		{"the prefix 0xff 0xff", Prefix([]byte("\xff\xff")), keys[9:]},
		{"a prefix that no key has", Prefix([]byte("x")), nil},
		{"before a key of the prefix", a.Before([]byte("a\xff")), keys[1:3]},
		{"before a key behind the prefix: not more than the prefix", a.Before([]byte("c")), keys[1:5]},
		{"before a key in front of the prefix", a.Before([]byte("\x00")), nil},
		{"before no key", a.Before(nil), keys[1:5]},
		{"before a key, of everything", Range{}.Before([]byte("b")), keys[:5]},
	} {
		down := slices.Clone(tt.want)
		slices.Reverse(down)
		look(t, db, func(tx *Tx) bool {
			equal(t, tt.name, keysOf(tx, "notes", tt.r), tt.want)
			equal(t, tt.name+", descending", keysOf(tx, "notes", tt.r.Descending()), down)
			var index []string
			for key := range (Index{Path: "index"}).Scan(tx, tt.r) {
				index = append(index, string(key))
			}
			equal(t, tt.name+", of an index", index, tt.want)
			equal(t, tt.name+", any", Index{Path: "index"}.Any(tx, tt.r), tt.want != nil)
			return true
		})
	}
}

func TestScanOfMoreThanAChunk(t *testing.T) {
	db := newTest(t)
	for _, n := range []int{7, 8, 9, 8 + chunk - 1, 8 + chunk, 8 + chunk + 1, 3000} {
		path := Path(fmt.Sprintf("n%d", n))
		var want []string
		do(t, db, func(tx *Tx) {
			for i := range n {
				bucketAt(path).Put(tx, number(i), note{N: int64(i)})
			}
		})
		for i := range n {
			want = append(want, string(number(i)))
		}
		look(t, db, func(tx *Tx) bool {
			equal(t, fmt.Sprintf("%d records", n), keysOf(tx, path, Range{}), want)
			slices.Reverse(want)
			equal(t, fmt.Sprintf("%d records, descending", n), keysOf(tx, path, Range{Down: true}), want)
			return true
		})
	}
}

func TestScanEndsWhereItsLoopEnds(t *testing.T) {
	db := newTest(t)
	put(t, db, "", "a", "b", "c")
	look(t, db, func(tx *Tx) bool {
		var got []string
		for key := range notes.Scan(tx, Range{}) {
			if got = append(got, string(key)); len(got) == 2 {
				break
			}
		}
		equal(t, "two keys", got, []string{"a", "b"})
		return true
	})
}

func TestScanWhosLoopChangesTheBucket(t *testing.T) {
	const n = 1000
	for _, tt := range []struct {
		name   string
		change func(tx *Tx, i int)
		want   func(i int) bool // is record i there afterwards
	}{
		{"deletes each record", func(tx *Tx, i int) { notes.Delete(tx, number(i)) }, func(int) bool { return false }},
		{"deletes every other record", func(tx *Tx, i int) {
			if i%2 == 0 {
				notes.Delete(tx, number(i))
			}
		}, func(i int) bool { return i%2 == 1 }},
		{"puts each record again", func(tx *Tx, i int) { notes.Put(tx, number(i), note{N: int64(i)}) }, func(int) bool { return true }},
		{"deletes its neighbours", func(tx *Tx, i int) {
			if i%3 == 0 {
				notes.Delete(tx, number(i-1))
				notes.Delete(tx, number(i+1))
			}
		}, func(i int) bool { return i%3 == 0 }},
	} {
		for _, down := range []bool{false, true} {
			db := newTest(t)
			do(t, db, func(tx *Tx) {
				for i := range n {
					notes.Put(tx, number(i), note{N: int64(i)})
				}
			})
			do(t, db, func(tx *Tx) {
				last := []byte(nil)
				for key, v := range notes.Scan(tx, Range{Down: down}) {
					if last != nil && (bytes.Compare(last, key) < 0) == down {
						t.Errorf("%s: %q came after %q", tt.name, key, last)
					}
					last = key
					tt.change(tx, int(v.N))
				}
			})
			got := all(t, db, notes)
			for i := range n {
				if _, ok := got[string(number(i))]; ok != tt.want(i) {
					t.Fatalf("a loop (down=%v) that %s: record %d is there: %v, want %v", down, tt.name, i, ok, tt.want(i))
				}
			}
			closeTest(t, db)
		}
	}
}

func TestIndexKeepsKeys(t *testing.T) {
	path := tempPath(t)
	index := Index{Path: "index"}
	db := openTest(t, path, Options{})
	do(t, db, func(tx *Tx) {
		for i := range 500 {
			index.Put(tx, number(i))
		}
		index.Delete(tx, number(7))
	})
	do(t, db, func(tx *Tx) { index.Delete(tx, number(8)); index.Delete(tx, number(7)) })
	closeTest(t, db)

	db = openTest(t, path, Options{})
	look(t, db, func(tx *Tx) bool {
		for i := range 501 {
			if got, want := index.Has(tx, number(i)), i != 7 && i != 8 && i != 500; got != want {
				t.Errorf("Has(%d) = %v, want %v", i, got, want)
			}
		}
		return true
	})
}

// Whatever comes first, in whichever transaction, and wherever it lies: memory or file.
func TestABucketHoldsRecordsOrBuckets(t *testing.T) {
	k := []byte("k")
	for _, paths := range [][2]Path{{"outer", "outer/m"}, {"outer", "outer/m/deep"}, {"outer/m", "outer"}, {"outer/m/deep", "outer"}} {
		first, second := bucketAt(paths[0]), bucketAt(paths[1])
		for _, settled := range []bool{false, true} {
			db := newTest(t)
			do(t, db, func(tx *Tx) { first.Put(tx, k, note{}) })
			if settled {
				settle(t, db)
			}
			if err := try(db, func(tx *Tx) error { second.Put(tx, k, note{}); return nil }); err == nil {
				t.Errorf("a record in %q after one in %q was taken", paths[1], paths[0])
			}
			do(t, db, func(tx *Tx) {
				tx.Drop("outer")
				second.Put(tx, k, note{})
			})
			equal(t, "what came after the drop", all(t, db, second), map[string]note{"k": {}})
		}
		db := newTest(t)
		if err := try(db, func(tx *Tx) error { first.Put(tx, k, note{}); second.Put(tx, k, note{}); return nil }); err == nil {
			t.Errorf("records in %q and %q were taken", paths[0], paths[1])
		}
	}
}
