package kv

import (
	"maps"
	"strings"

	"github.com/tidwall/btree"
)

// A changeSet is what transactions made of the committed state: first the dropped buckets go, with
// all in them, then changed comes.
type changeSet struct {
	dropped []Path
	changed map[Path]*changes // nil if the bucket was dropped after its changes
	bytes   int64             // of the keys and values that were put
}

// changes are one bucket's: by key, the new value, or nil for a tombstone.
type changes = btree.Map[string, []byte]

func newChangeSet() changeSet { return changeSet{changed: map[Path]*changes{}} }

func (s *changeSet) empty() bool { return len(s.changed) == 0 && len(s.dropped) == 0 }

// add puts later on top of s.
func (s *changeSet) add(later changeSet) {
	s.dropped = append(s.dropped, later.dropped...)
	maps.Copy(s.changed, later.changed)
	s.bytes += later.bytes
}

func (s *changeSet) drops(path Path) bool {
	for _, d := range s.dropped {
		if within(path, d) {
			return true
		}
	}
	return false
}

// outer returns the bucket that path is directly inside of, "" if there is none.
func (p Path) outer() Path {
	return p[:max(0, strings.LastIndexByte(string(p), '/'))]
}

func within(path, outer Path) bool {
	return path == outer || strings.HasPrefix(string(path), string(outer)+"/")
}
