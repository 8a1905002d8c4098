package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// A model is what the database should hold: by bucket, by key, the text of the record.
type model map[Path]map[string]string

func (m model) clone() model {
	c := model{}
	for path, records := range m {
		c[path] = maps.Clone(records)
	}
	return c
}

func (m model) put(path Path, key, text string) {
	if m[path] == nil {
		m[path] = map[string]string{}
	}
	if path.packed() { // only the key counts
		text = ""
	}
	m[path][key] = text
}

// putAll puts the keys of a packed bucket.
func (m model) putAll(path Path, keys []string) {
	for _, key := range keys {
		m.put(path, key, "")
	}
}

func (m model) drop(path Path) {
	maps.DeleteFunc(m, func(p Path, _ map[string]string) bool { return within(p, path) })
}

// records leaves out the buckets that hold none.
func (m model) records() model {
	c := m.clone()
	maps.DeleteFunc(c, func(_ Path, records map[string]string) bool { return len(records) == 0 })
	return c
}

func (m model) children(path Path) []string {
	var names []string
	for p, records := range m {
		if name, ok := path.child(p); ok && len(records) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (m model) keys(path Path, r Range) (keys []string) {
	for key := range m[path] {
		if r.holds([]byte(key)) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if r.Down {
		slices.Reverse(keys)
	}
	return keys
}

// logEnds returns the first number that is in an append-only bucket, and the next one.
func (m model) logEnds(path Path) (first, end uint64) {
	keys := m.keys(path, Range{})
	if len(keys) == 0 {
		return 0, 0
	}
	first = binary.BigEndian.Uint64([]byte(keys[0]))
	return first, first + uint64(len(keys))
}

// stepSegment is how many records the steps take away from an append-only bucket, if there are more.
const stepSegment = 4

// A step is one call of a transaction's function; what it reads is told as text.
type step struct {
	kind      string
	path      Path
	key, text string
	from, to  int // of a bulk change
	r         Range
}

func (o step) String() string {
	return fmt.Sprintf("%s %s %q %d-%d %q-%q down=%v", o.kind, o.path, o.key, o.from, o.to, o.r.From, o.r.To, o.r.Down)
}

func (o step) onModel(m model) string {
	switch o.kind {
	case "put":
		m.put(o.path, o.key, o.text)
	case "delete":
		delete(m[o.path], o.key)
	case "drop":
		m.drop(o.path)
	case "put many":
		for i := o.from; i < o.to; i++ {
			m.put(o.path, string(number(i)), o.text)
		}
	case "delete many":
		for i := o.from; i < o.to; i++ {
			delete(m[o.path], string(number(i)))
		}
	case "append":
		_, n := m.logEnds(o.path)
		m.put(o.path, string(logKey(n)), o.text)
		return fmt.Sprint(n)
	case "drop segment":
		first, end := m.logEnds(o.path)
		for n := first; end > first+stepSegment && n < first+stepSegment; n++ {
			delete(m[o.path], string(logKey(n)))
		}
		return fmt.Sprint(first, end)
	case "get":
		text, ok := m[o.path][o.key]
		return fmt.Sprint(text, ok)
	case "children":
		return fmt.Sprint(m.children(o.path))
	case "scan":
		return fmt.Sprint(m.keys(o.path, o.r))
	}
	return ""
}

func (o step) onTx(tx *Tx) string {
	b := bucketAt(o.path)
	switch o.kind {
	case "put":
		putText(tx, o.path, []byte(o.key), o.text)
	case "delete":
		b.Delete(tx, []byte(o.key))
	case "drop":
		tx.Drop(o.path)
	case "put many":
		for i := o.from; i < o.to; i++ {
			putText(tx, o.path, number(i), o.text)
		}
	case "delete many":
		for i := o.from; i < o.to; i++ {
			b.Delete(tx, number(i))
		}
	case "append":
		return fmt.Sprint(Log{Path: o.path}.Append(tx, []byte(o.text)))
	case "drop segment":
		l := Log{Path: o.path}
		first, end := l.First(tx), l.Len(tx)
		if end > first+stepSegment {
			l.DropSegment(tx, stepSegment, first/stepSegment)
		}
		return fmt.Sprint(first, end)
	case "get":
		if o.path.packed() {
			return fmt.Sprint("", Index{Path: o.path}.Has(tx, []byte(o.key)))
		}
		v, ok := b.Get(tx, []byte(o.key))
		return fmt.Sprint(v.Text, ok)
	case "children":
		return fmt.Sprint(tx.Children(o.path))
	case "scan":
		return fmt.Sprint(keysOf(tx, o.path, o.r))
	}
	return ""
}

// putText puts a note, or only its key where there is no room for more.
func putText(tx *Tx, path Path, key []byte, text string) {
	if path.packed() {
		Index{Path: path}.Put(tx, key)
	} else {
		bucketAt(path).Put(tx, key, note{Text: text})
	}
}

// A member is a transaction of a group: its operations, and how its function ends.
type member struct {
	ops []step
	end string
}

var errEnd = errors.New("refused")

func (m member) run(tx *Tx, told *[]string) error {
	*told = nil
	for _, o := range m.ops {
		*told = append(*told, o.onTx(tx))
	}
	switch m.end {
	case "fails":
		return errEnd
	case "panics":
		panic(m.end)
	}
	return nil
}

var (
	anyPath  = rapid.SampledFrom([]Path{"a/x", "a/k~", "a/z/deep", "ab", "b"})
	anyOuter = rapid.OneOf(anyPath, rapid.SampledFrom([]Path{"a", "a/z"}))
	anyRead  = rapid.OneOf(anyOuter, rapid.SampledFrom([]Path{AppendOnlyRoot, lines.Path}))
	anyKey   = rapid.OneOf(
		rapid.SampledFrom([]string{"\x00", "k", "k\x00", "k\xff", "\xff", "\xff\xff"}),
		rapid.Map(rapid.IntRange(0, 1500), func(i int) string { return string(number(i)) }),
	)
	anyText  = rapid.Map(rapid.SampledFrom([]int{0, 1, 30, 300, 5000, 20000}), func(n int) string { return long(n) })
	anyBound = rapid.OneOf(rapid.Just([]byte(nil)), rapid.Map(anyKey, func(key string) []byte { return []byte(key) }))
	anyOp    = rapid.Custom(func(t *rapid.T) step {
		o := step{
			kind: rapid.SampledFrom([]string{"put", "put", "delete", "put many", "delete many", "drop", "append", "append", "drop segment", "get", "children", "scan", "scan"}).Draw(t, "kind"),
			path: anyPath.Draw(t, "path"),
		}
		switch o.kind {
		case "drop":
			o.path = anyOuter.Draw(t, "path")
		case "children", "scan":
			o.path = anyRead.Draw(t, "path")
		case "append", "drop segment":
			o.path = lines.Path
		}
		switch o.kind {
		case "append":
			o.text = anyText.Draw(t, "text")
		case "put":
			o.text = anyText.Draw(t, "text")
			fallthrough
		case "get", "delete":
			o.key = anyKey.Draw(t, "key")
		case "put many", "delete many":
			o.text = long(rapid.IntRange(0, 60).Draw(t, "length"))
			o.from = rapid.IntRange(0, 1000).Draw(t, "from")
			o.to = o.from + rapid.IntRange(1, 500).Draw(t, "count")
		case "scan":
			o.r = Range{anyBound.Draw(t, "from"), anyBound.Draw(t, "to"), rapid.Bool().Draw(t, "down")}
		}
		return o
	})
	anyMember = rapid.Custom(func(t *rapid.T) member {
		return member{
			rapid.SliceOfN(anyOp, 1, 6).Draw(t, "ops"),
			rapid.SampledFrom([]string{"succeeds", "succeeds", "succeeds", "fails", "panics"}).Draw(t, "end"),
		}
	})
)

func TestRandomOperationsAgreeWithAMap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := 0
	rapid.Check(t, func(rt *rapid.T) {
		files++
		m := &machine{path: filepath.Join(dir, fmt.Sprint(files)), want: model{}}
		m.open(rt)
		defer func() { m.db.abandon(); os.Remove(m.path); os.RemoveAll(m.path + "-redo") }()
		rt.Repeat(map[string]func(*rapid.T){
			"group":           m.group,
			"group, again":    m.group,
			"failing group":   m.failingCommit,
			"close and open":  m.reopen,
			"crash and open":  m.crash,
			"":                m.compare,
			"check the pages": m.check,
			"settle":          m.settle,
			"compact":         m.compact,
		})
	})
}

type machine struct {
	path string
	db   *DB
	disk *failingDisk
	want model
}

func (m *machine) open(t *rapid.T) {
	m.disk = &failingDisk{}
	db, err := open(m.path, Options{Overlay: 64 << 10}, m.disk) // so small that much is moved into the file meanwhile
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	db.bolt.Load().StrictMode = true // each commit is checked
	m.db = db
}

// group runs up to five transactions as one group, and compares what they read.
func (m *machine) group(t *rapid.T) {
	members := rapid.SliceOfN(anyMember, 1, 5).Draw(t, "members")
	want, told, outcomes := m.run(members)
	for i, mem := range members {
		state := m.want.clone()
		for j, o := range mem.ops {
			if say := o.onModel(state); say != told[i][j] {
				t.Fatalf("member %d, %s: got %s, want %s", i, o, brief(told[i][j]), brief(say))
			}
		}
		if outcomes[i] != want[i] {
			t.Fatalf("member %d ended in %+v, want %+v", i, outcomes[i], want[i])
		}
		if mem.end == "succeeds" {
			m.want = state
		}
	}
}

func (m *machine) run(members []member) (want []outcome, told [][]string, got []outcome) {
	told = make([][]string, len(members))
	fns := make([]func(*Tx) error, len(members))
	for i, mem := range members {
		fns[i] = func(tx *Tx) error { return mem.run(tx, &told[i]) }
		want = append(want, map[string]outcome{"succeeds": {}, "fails": {err: errEnd}, "panics": {panicked: "panics"}}[mem.end])
	}
	return want, told, runGroup(m.db, fns...)
}

// failingCommit lets a commit fail without writing; then only a new opening helps.
func (m *machine) failingCommit(t *rapid.T) {
	members := rapid.SliceOfN(anyMember, 1, 3).Draw(t, "members")
	m.disk.fail(onWrite)
	m.run(members)
	m.crash(t)
}

func (m *machine) reopen(t *rapid.T) {
	if err := m.db.Close(); err != nil {
		t.Fatalf("Close = %v", err)
	}
	m.open(t)
}

func (m *machine) crash(t *rapid.T) {
	m.db.abandon()
	m.open(t)
}

func (m *machine) check(t *rapid.T) {
	if faults, err := m.db.Check(); err != nil || len(faults) > 0 {
		t.Fatalf("Check = %q, %v", faults, err)
	}
}

func (m *machine) compact(t *rapid.T) {
	if _, err := m.db.Compact(context.Background(), 0, nil); err != nil {
		t.Fatalf("Compact = %v", err)
	}
	m.db.bolt.Load().StrictMode = true
}

func (m *machine) settle(t *rapid.T) {
	if err := m.db.settle(); err != nil {
		t.Fatalf("settle = %v", err)
	}
}

func (m *machine) compare(t *rapid.T) {
	got := model{}
	_, err := View(m.db, func(tx *Tx) (int, error) {
		for _, path := range []Path{"a", "a/x", "a/k~", "a/z", "a/z/deep", "ab", "b", AppendOnlyRoot, lines.Path} {
			switch {
			case path.packed():
				got.putAll(path, keysOf(tx, path, Range{}))
			case path.appendOnly():
				for n, data := range (Log{Path: path}).Scan(tx, 0, math.MaxUint64) {
					got.put(path, string(logKey(n)), string(data))
				}
			default:
				for key, v := range bucketAt(path).Scan(tx, Range{}) {
					got.put(path, string(key), v.Text)
				}
			}
			equal(t, "children of "+string(path), tx.Children(path), m.want.children(path))
		}
		return 0, nil
	})
	if err != nil {
		t.Fatalf("View = %v", err)
	}
	equal(t, "the database", got.records(), m.want.records())
}

// Each transaction writes its operations down under the next number; so the database itself tells in
// which order they took effect, and that order must explain every record.
func TestConcurrentTransactionsTakeEffectOneAfterTheOther(t *testing.T) {
	path := tempPath(t)
	db := openTest(t, path, Options{})
	const callers, each, keys = 16, 40, 20
	journal, values := bucketAt("journal"), bucketAt("values")
	for round := range 2 {
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for i := range each {
					fails := (c+i)%5 == 0
					err := try(db, func(tx *Tx) error {
						next := 1
						for key := range journal.Scan(tx, Range{Down: true}) {
							last, _ := strconv.Atoi(string(key))
							next = last + 1
							break
						}
						key := number((c*7 + i*3) % keys)
						v, _ := values.Get(tx, key)
						v.N = 3*v.N + int64(c)
						values.Put(tx, key, v)
						journal.Put(tx, number(next), note{Text: string(key), N: int64(c)})
						if fails {
							return errEnd
						}
						return nil
					})
					if (err != nil) != fails {
						t.Errorf("Update = %v, want it to fail: %v", err, fails)
					}
				}
			})
		}
		wg.Wait()
		replay := map[string]note{}
		n := 0
		for _, entry := range sorted(all(t, db, journal)) {
			n++
			replay[entry.Text] = note{N: 3*replay[entry.Text].N + entry.N}
		}
		equal(t, "number of transactions", n, (round+1)*callers*each*4/5)
		equal(t, "values", all(t, db, values), replay)
		closeTest(t, db)
		db = openTest(t, path, Options{})
	}
}

func sorted(records map[string]note) (values []note) {
	for _, key := range slices.Sorted(maps.Keys(records)) {
		values = append(values, records[key])
	}
	return values
}
