package kv

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// What the crash suite must find: each of these breaks one thing that durability rests on. A suite that
// finds nothing here proves nothing.
func TestCrashSuiteFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]crashRun{
		"acknowledged before the sync":                 {lie: without(evSync)},
		"names that are never synced":                  {lie: without(evSyncDir)},
		"a segment is used before its name is synced":  {lie: withoutRollSync},
		"log released before the file has its changes": {commitBolt: forgetsSome},
		"mark written before the data":                 {commitBolt: markFirst},
		"recovery stops one record early":              {spoil: withoutLastRecord},
		"recovery leaves the last segment out":         {spoil: withoutLastSegment},
		"recovery takes a torn record":                 {spoil: withTornRecord},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := blank(t)
			v := &verdict{}
			broken.groups, broken.random, broken.nested = 60, 3, 1<<30
			for seed := range uint64(8) {
				broken.seed = seed
				if broken.run(start, v); v.found() {
					t.Logf("found after %d images: %s", v.images.Load(), brief(v.violations[0]))
					return
				}
			}
			t.Errorf("the suite found nothing in %d images", v.images.Load())
		})
	}
}

// without is a disk that does nothing for one kind of step, once the log is there.
func without(kind eventKind) func([]event) []event {
	return func(journal []event) []event {
		first := slices.IndexFunc(journal, func(e event) bool { return e.kind == evBoltBegins })
		return append(slices.Clone(journal[:first]),
			slices.DeleteFunc(slices.Clone(journal[first:]), func(e event) bool { return e.kind == kind })...)
	}
}

// withoutRollSync leaves out the sync of a directory that follows the making of a segment, but for the first.
func withoutRollSync(journal []event) []event {
	first := slices.IndexFunc(journal, func(e event) bool { return e.kind == evSyncDir && e.name == simDir }) + 1
	made := false
	return append(slices.Clone(journal[:first]), slices.DeleteFunc(slices.Clone(journal[first:]), func(e event) bool {
		switch {
		case e.kind == evCreate, e.kind == evRename && !strings.Contains(e.to, sparePrefix):
			made = true
		case e.kind == evSyncDir && e.name == simDir && made:
			made = false
			return true
		}
		return false
	})...)
}

// forgetsSome rolls every third commit back, and says that it is done.
func forgetsSome(m *simMachine) func(*bolt.Tx) error {
	n := 0
	return func(tx *bolt.Tx) error {
		if n++; n%3 == 0 {
			return tx.Rollback()
		}
		return m.commit(tx)
	}
}

// markFirst writes the mark in a commit of its own, before what it speaks of.
func markFirst(m *simMachine) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		all, b := contentsOf(tx.Cursor(), tx.Bucket), tx.DB()
		if err := tx.Rollback(); err != nil {
			return err
		}
		for _, write := range []func(*boltStore) error{
			func(s *boltStore) error {
				inner, err := s.create(marks.Path)
				if err != nil {
					return err
				}
				return inner.Put(markKey, all[string(system)].inside["redo"].inside[string(markKey)].value)
			},
			func(s *boltStore) error { return all.putInto(s) },
		} {
			next, err := b.Begin(true)
			if err != nil {
				return err
			}
			if err := write(newBoltStore(next, new(homes), 0)); err != nil {
				_ = next.Rollback()
				return err
			}
			if err := m.commit(next); err != nil {
				return err
			}
		}
		return nil
	}
}

// contents are what a bucket holds: values, and buckets.
type contents map[string]branch

type branch struct {
	value  []byte
	inside contents
}

func contentsOf(c *bolt.Cursor, bucket func([]byte) *bolt.Bucket) contents {
	t := contents{}
	for key, value := c.First(); key != nil; key, value = c.Next() {
		if value != nil {
			t[string(key)] = branch{value: bytes.Clone(value)}
			continue
		}
		b := bucket(key)
		t[string(key)] = branch{inside: contentsOf(b.Cursor(), b.Bucket)}
	}
	return t
}

// putInto puts them in place of what is in the file.
func (t contents) putInto(s *boltStore) error {
	for _, name := range slices.Sorted(maps.Keys(contentsOf(s.tx.Cursor(), s.tx.Bucket))) {
		if err := s.drop(Path(name)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if err := t[name].inside.put(s, Path(name)); err != nil {
			return err
		}
	}
	return nil
}

func (t contents) put(s *boltStore, path Path) error {
	b, err := s.create(path)
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(t)) {
		if t[key].value == nil {
			err = t[key].inside.put(s, path.Join(key))
		} else {
			err = b.Put([]byte(key), t[key].value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// newest returns the newest segment of an image, and where its last record begins; nil if there is none.
func (im image) newest() (name string, s *segment, last int64) {
	l := newRedo(im.disk(), new(homes), "", 0, defaultSegmentBytes)
	if l.find() != nil {
		return "", nil, 0
	}
	for _, base := range slices.Backward(l.segments) {
		name := simDir + "/" + segmentName(base)
		if len(im.files[name]) < segmentHeader {
			continue
		}
		l.id = binary.BigEndian.Uint64(im.files[name][16:])
		s, err := l.read(base)
		if err != nil {
			continue
		}
		_ = s.each(0, func(at, _ Position, _ []changeSet) error { last = s.offset(at); return nil })
		return name, s, last
	}
	return "", nil, 0
}

// withFile returns the image with another file in place of one of its own; without it if data is nil.
func (im image) withFile(name string, data []byte) image {
	im.files = maps.Clone(im.files)
	if im.files[name] = data; data == nil {
		delete(im.files, name)
	}
	return im
}

func withoutLastRecord(im image) image {
	name, s, last := im.newest()
	if last == 0 {
		return im
	}
	data := bytes.Clone(s.data)
	clear(data[last:s.good])
	return im.withFile(name, data)
}

func withoutLastSegment(im image) image {
	name, s, last := im.newest()
	if s == nil || last == 0 || len(im.files) == 1 {
		return im
	}
	for unfinished := range im.files {
		if unfinished > name && !strings.Contains(unfinished, sparePrefix) {
			im = im.withFile(unfinished, nil)
		}
	}
	return im.withFile(name, nil)
}

// withTornRecord gives a torn record the checksum that it would need.
func withTornRecord(im image) image {
	name, s, _ := im.newest()
	if s == nil {
		return im
	}
	data := bytes.Clone(s.data)
	record := data[s.good:]
	if len(record) < recordHeader || binary.BigEndian.Uint64(record[8:]) != uint64(s.end()) {
		return im
	}
	size := recordHeader + int64(binary.BigEndian.Uint32(record))
	if size > int64(len(record)) {
		return im
	}
	binary.BigEndian.PutUint32(record[4:], s.log.checksum(record[:size]))
	return im.withFile(name, data)
}
