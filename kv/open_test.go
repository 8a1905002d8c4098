package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

func TestForeignFiles(t *testing.T) {
	random := make([]byte, 20_000)
	for i := range random {
		random[i] = byte(rand.Int())
	}
	for _, tt := range []struct {
		name string
		data []byte
	}{
		{"an empty file", nil},
		{"one byte", []byte{1}},
		{"a short text", []byte("hello\n")},
		{"a long text", bytes.Repeat([]byte("All work and no play.\n"), 1000)},
		{"random bytes", random},
		{"zeros", make([]byte, 65536)},
		{"a bbolt file of another program", otherBolt(t, 4096, "theirs")},
		{"an empty bbolt file", otherBolt(t, 4096, "")},
		{"a bbolt file with a bucket of our name", otherBolt(t, 4096, "kv")},
		{"a bbolt file with larger pages", otherBolt(t, 16384, "theirs")},
	} {
		path := tempPath(t)
		if err := os.WriteFile(path, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time too: the first held no lock and changed nothing
			db, err := Open(path, Options{})
			if err == nil {
				db.abandon()
			}
			if !errors.Is(err, ErrForeign) {
				t.Errorf("Open of %s = %v, want %v", tt.name, err, ErrForeign)
			}
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, tt.data) {
			t.Errorf("Open changed %s", tt.name)
		}
		checkOnlyFile(t, filepath.Dir(path), "db")
	}
}

func otherBolt(t *testing.T, pageSize int, bucket string) []byte {
	t.Helper()
	path := tempPath(t)
	b, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: pageSize})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Update(func(tx *bolt.Tx) error {
		if bucket == "" {
			return nil
		}
		inner, err := tx.CreateBucket([]byte(bucket))
		if err != nil {
			return err
		}
		return inner.Put([]byte("header"), []byte("value"))
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestNoFileInItsPlace(t *testing.T) {
	dir := t.TempDir()
	if db, err := Open(dir, Options{}); err == nil {
		db.abandon()
		t.Errorf("Open of a directory worked")
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(fifo, Options{}); !errors.Is(err, ErrForeign) {
		t.Errorf("Open of a fifo = %v, want %v", err, ErrForeign)
	}
}

// A sample is a file with known content, as its process left it.
type sample struct {
	name    string
	data    []byte
	content model
	pages   int
}

// samples are a file that was closed, and one of a version without a redo log whose process died, so that
// it has no list of its free pages. There are some in both.
func samples(t testing.TB) []sample {
	t.Helper()
	db, err := Open(tempPath(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := db.Path()
	content := model{}
	for _, path := range []Path{"w/a", "w/b/deep", "single"} {
		do(t, db, func(tx *Tx) {
			for i := range 300 {
				bucketAt(path).Put(tx, number(i), note{Text: long(i)})
				content.put(path, string(number(i)), long(i))
			}
			tx.NewID(Tag{1})
		})
	}
	do(t, db, func(tx *Tx) {
		bucketAt("w/big").Put(tx, []byte("k"), note{Text: long(50_000)})
		content.put("w/big", "k", long(50_000))
		tx.Drop("single")
		content.drop("single")
		bucketAt("small").Put(tx, []byte("k"), note{Text: "inline"})
		content.put("small", "k", "inline")
	})
	read := func(name, path string) sample {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m, err := newestMeta(data)
		if err != nil {
			t.Fatal(err)
		}
		return sample{name, data[:m.pages*pageBytes], content, int(m.pages)} // behind them it is empty
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return []sample{read("a file without a list", withoutLog(t, path)), read("a closed file", path)}
}

// withoutLog returns the path of a copy as the version without a redo log left it when its process died.
func withoutLog(t testing.TB, path string) string {
	t.Helper()
	path = copyFile(t, path)
	b, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = b.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("kv")).DeleteBucket([]byte("redo")) })
	if err := errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// tryOpen opens a file with these bytes, and reports whether it opened. If then Check finds nothing
// either, everything can be read; and if the damage was of a kind that must be found, it is as it was.
func (s sample) tryOpen(t testing.TB, path string, data []byte, mustFind bool, what string) (opened bool) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(path + "-redo")
	db, err := Open(path, Options{})
	if err != nil {
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) {
			t.Errorf("%s, %s: Open = %v, want %v or %v", s.name, what, err, ErrDamaged, ErrForeign)
		}
		return false
	}
	defer db.abandon()
	faults, err := db.Check()
	if err != nil {
		t.Errorf("%s, %s: Check = %v", s.name, what, err)
	}
	if len(faults) > 0 {
		return true
	}
	got := look(t, db, func(tx *Tx) model {
		got := model{}
		for path := range s.content {
			for key, v := range bucketAt(path).Scan(tx, Range{}) {
				got.put(path, string(key), v.Text)
			}
		}
		return got
	})
	if mustFind && !reflect.DeepEqual(got.records(), s.content.records()) {
		t.Errorf("%s, %s: Open and Check found nothing, but the content is not what it was", s.name, what)
	}
	return true
}

func TestCutFiles(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		path := tempPath(t)
		lengths := []int{0, 1, 15, 16, 79, 80, 81, 500, 4095, 4097, 4111, 4112, 4175, 4176, 8191, 8193, 8300, 12287}
		for n := pageBytes; n <= len(s.data); n += pageBytes {
			lengths = append(lengths, n)
		}
		for _, n := range lengths {
			opened := s.tryOpen(t, path, s.data[:n], true, fmt.Sprintf("cut to %d of %d bytes", n, len(s.data)))
			if want := n == len(s.data); opened != want {
				t.Errorf("%s, cut to %d bytes of %d: opened: %v, want %v", s.name, n, len(s.data), opened, want)
			}
		}
	}
}

func TestOverwrittenMetaPages(t *testing.T) {
	for _, s := range samples(t) {
		path := tempPath(t)
		for _, pages := range [][]int{{0}, {1}, {0, 1}} {
			for _, with := range []byte{0x00, 0x5a, 0xff} {
				data := bytes.Clone(s.data)
				for _, page := range pages {
					copy(data[page*pageBytes:], bytes.Repeat([]byte{with}, pageBytes))
				}
				if s.tryOpen(t, path, data, true, fmt.Sprintf("pages %v overwritten with %#x", pages, with)) {
					t.Errorf("%s, pages %v overwritten with %#x: it opened", s.name, pages, with)
				}
			}
			data := bytes.Clone(s.data)
			for bit := range metaSize * 8 {
				flipBit := func() {
					for _, page := range pages {
						data[page*pageBytes+pageHeader+bit/8] ^= 1 << (bit % 8)
					}
				}
				flipBit()
				if m, err := newestMeta(data); err == nil {
					t.Errorf("%s, bit %d of pages %v flipped: %+v, want an error", s.name, bit, pages, m)
				}
				flipBit()
			}
		}
	}
}

func TestOverwrittenPages(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		path := tempPath(t)
		for page := 2; page < s.pages; page++ {
			for name, with := range map[string][]byte{
				"zeros":           make([]byte, pageBytes),
				"the page before": s.data[(page-1)*pageBytes : page*pageBytes],
			} {
				data := bytes.Clone(s.data)
				copy(data[page*pageBytes:], with)
				s.tryOpen(t, path, data, true, fmt.Sprintf("page %d overwritten with %s", page, name))
			}
		}
	}
}

func TestKeysInTheWrongOrder(t *testing.T) {
	for _, s := range samples(t) {
		first, second, other := []byte("000010"), []byte("000011"), []byte("swapit")
		data := bytes.ReplaceAll(s.data, first, other)
		data = bytes.ReplaceAll(data, second, first)
		data = bytes.ReplaceAll(data, other, second)
		if m, err := newestMeta(data); err != nil || !errors.Is(checkTree(data, m), ErrDamaged) {
			t.Errorf("%s: keys in the wrong order were not found", s.name)
		}
		path := tempPath(t)
		for range 2 { // the second time too: nothing holds the lock
			opened := s.tryOpen(t, path, data, true, "with two keys in the wrong order")
			if want := s.name == "a closed file"; opened != want {
				t.Errorf("%s, with two keys in the wrong order: opened: %v, want %v", s.name, opened, want)
			}
		}
	}
}

// FuzzOpen changes some bytes anywhere in a file: opening, checking and then reading it never ends the
// process. Not all such damage can be found: pages carry no checksum, so one may have lost its last
// record, or be an old version of itself.
func FuzzOpen(f *testing.F) {
	files := samples(f)
	f.Add(false, uint32(2), uint32(8), []byte{16})
	f.Add(true, uint32(3), uint32(16), []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(true, uint32(5), uint32(12), []byte{1})
	f.Add(false, uint32(4), uint32(24), []byte{0, 0, 0, 1})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, closed bool, page, at uint32, change []byte) {
		s := files[0]
		if closed {
			s = files[1]
		}
		data := bytes.Clone(s.data)
		for i, b := range change {
			data[(int(page)%s.pages*pageBytes+int(at%pageBytes)+i)%len(data)] ^= b
		}
		s.tryOpen(t, filepath.Join(dir, "db"), data, false, fmt.Sprintf("page %d from %d xor %x", page, at, change))
	})
}
