package engine

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"tuco/engine/auditlog"
)

// A forger has what the append-only buckets of the log hold, and writes them anew with checksums that are right.
type forger struct {
	t             testing.TB
	lines, nodes  [][]byte
	places        map[WorkspaceID][][]byte
	first, second WorkspaceID
}

func sealed1(key, data []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Update(crc32.Update(0, table, key), table, []byte{1}), table, data)
	return append(binary.BigEndian.AppendUint32([]byte{1}, sum), data...)
}

// forge returns the database as change leaves it, written with bbolt itself.
func (a *attacked) forge(change func(f *forger)) []byte {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), "forged.db")
	if err := os.WriteFile(path, a.db, 0o600); err != nil {
		a.t.Fatal(err)
	}
	b, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		a.t.Fatal(err)
	}
	err = b.Update(func(tx *bolt.Tx) error {
		in := tx.Bucket([]byte("append-only")).Bucket([]byte("audit"))
		f := &forger{t: a.t, places: map[WorkspaceID][][]byte{}, lines: records(in, "lines+"), nodes: records(in, "nodes+")}
		for id := range a.own {
			f.places[id] = records(in, string(id)+"+")
			if f.second == "" || id > f.second {
				f.first, f.second = f.second, id
			} else {
				f.first = id
			}
		}
		change(f)
		if err := rewrite(in, "lines+", f.lines); err != nil {
			return err
		}
		if err := rewrite(in, "nodes+", f.nodes); err != nil {
			return err
		}
		for id, places := range f.places {
			if err := rewrite(in, string(id)+"+", places); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		a.t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		a.t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		a.t.Fatal(err)
	}
	return data
}

func records(in *bolt.Bucket, name string) (all [][]byte) {
	_ = in.Bucket([]byte(name)).ForEach(func(_, value []byte) error {
		all = append(all, bytes.Clone(value[5:]))
		return nil
	})
	return all
}

// rewrite stores records under the numbers that they have in the list; a nil one is left out.
func rewrite(in *bolt.Bucket, name string, all [][]byte) error {
	if err := in.DeleteBucket([]byte(name)); err != nil {
		return err
	}
	b, err := in.CreateBucket([]byte(name))
	for i, data := range all {
		if key := binary.BigEndian.AppendUint64(nil, uint64(i)); data != nil && err == nil {
			err = b.Put(key, sealed1(key, data))
		}
	}
	return err
}

// follow makes everything anew that follows from the entries: numbers, chains, hashes, tree and places.
func (f *forger) follow(entries []auditlog.Entry) {
	var log auditlog.Head
	own := map[string]auditlog.Head{}
	var tree auditlog.Hashes
	f.lines, f.nodes = nil, nil
	for id := range f.places {
		f.places[id] = nil
	}
	for i := range entries {
		e := &entries[i]
		line, next, workspace, err := auditlog.Seal(e, log, own[e.Workspace])
		if err != nil {
			f.t.Fatal(err)
		}
		completed, err := auditlog.Append(log.Seq, line, tree)
		if err != nil {
			f.t.Fatal(err)
		}
		tree = append(tree, completed...)
		f.lines, f.nodes = append(f.lines, line), append(f.nodes, newAuditNode(auditlog.LineHash(line), completed))
		if w := WorkspaceID(e.Workspace); w != "" {
			f.places[w] = append(f.places[w], auditPlace(log.Seq))
		}
		log, own[e.Workspace] = next, workspace
	}
}

func (f *forger) entries() (all []auditlog.Entry) {
	for _, line := range f.lines {
		e, err := auditlog.ParseLine(line)
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// reword changes what a line says, and keeps its length.
func reword(line []byte) []byte {
	return bytes.Replace(line, []byte(`"ticket":"T-1"`), []byte(`"ticket":"T-2"`), 1)
}

func swap(all [][]byte, i, j int) { all[i], all[j] = all[j], all[i] }

// cut leaves out the records from i on that are not before j.
func without(all [][]byte, i, j int) [][]byte { return slices.Delete(slices.Clone(all), i, j) }

// TestForgedLog: whoever writes to the buckets of the log is found, also if everything that follows from the change was made
// anew; with the anchor, and without it.
func TestForgedLog(t *testing.T) {
	a := newAttacked(t)
	dir := filepath.Join(t.TempDir(), "data")
	n := int(a.outside.Size)
	read := strings.Count(string(a.lines[:bytes.Index(a.lines, []byte(`"event":"staff.read"`))]), "\n") // the first look
	if finder, err := a.inTime(dir, a.forge(func(*forger) {}), a.opt.Anchors...); finder != "" || err != nil {
		t.Fatalf("written as it was: %s, %v", finder, err)
	}
	for _, tt := range []struct {
		name   string
		change func(f *forger)
	}{
		{"a line reworded", func(f *forger) { f.lines[read] = reword(f.lines[read]) }},
		{"the last look reworded", func(f *forger) { f.lines[n-1] = reword(f.lines[n-1]) }},
		{"a line deleted", func(f *forger) { f.lines[50] = nil }},
		{"a line deleted, and those behind it moved up", func(f *forger) { f.lines = without(f.lines, 50, 51) }},
		{"the first line deleted", func(f *forger) { f.lines[0] = nil }},
		{"the first lines deleted", func(f *forger) { clear(f.lines[:40]) }},
		{"the last line deleted", func(f *forger) { f.lines = f.lines[:n-1] }},
		{"the last lines deleted", func(f *forger) { f.lines = f.lines[:n-30] }},
		{"a line inserted", func(f *forger) { f.lines = slices.Insert(f.lines, 50, f.lines[49]) }},
		{"a line appended", func(f *forger) { f.lines = append(f.lines, f.lines[n-1]) }},
		{"two lines swapped", func(f *forger) { swap(f.lines, 50, 51) }},
		{"all lines deleted", func(f *forger) { f.lines = nil }},
		{"a hash changed", func(f *forger) { f.nodes[50][3] ^= 1 }},
		{"the hash of a leaf changed", func(f *forger) { f.nodes[50][35] ^= 1 }},
		{"a hash of the tree changed", func(f *forger) { f.nodes[63][len(f.nodes[63])-1] ^= 1 }},
		{"the last hash changed", func(f *forger) { f.nodes[n-1][0] ^= 1 }},
		{"a node deleted", func(f *forger) { f.nodes[50] = nil }},
		{"the last nodes deleted", func(f *forger) { f.nodes = f.nodes[:n-1] }},
		{"a node inserted", func(f *forger) { f.nodes = slices.Insert(f.nodes, 50, f.nodes[49]) }},
		{"a node cut", func(f *forger) { f.nodes[51] = f.nodes[51][:32] }},
		{"two nodes swapped", func(f *forger) { swap(f.nodes, 50, 52) }},
		{"a place changed", func(f *forger) { f.places[f.first][3] = f.places[f.first][4] }},
		{"a place deleted", func(f *forger) { f.places[f.first][3] = nil }},
		{"a place deleted, and those behind it moved up", func(f *forger) { f.places[f.first] = without(f.places[f.first], 3, 4) }},
		{"the last place deleted", func(f *forger) { f.places[f.first] = f.places[f.first][:len(f.places[f.first])-1] }},
		{"the last places deleted", func(f *forger) { f.places[f.first] = f.places[f.first][:10] }},
		{"all places deleted", func(f *forger) { f.places[f.first] = nil }},
		{"a place inserted", func(f *forger) { f.places[f.first] = append(f.places[f.first], f.places[f.second][5]) }},
		{"two places swapped", func(f *forger) { swap(f.places[f.first], 3, 4) }},
		{"the places of two workspaces swapped", func(f *forger) {
			f.places[f.first], f.places[f.second] = f.places[f.second], f.places[f.first]
		}},
		{"the end cut off everywhere", func(f *forger) { f.follow(f.entries()[:n-30]) }},
		{"the last entry cut off everywhere", func(f *forger) { f.follow(f.entries()[:n-1]) }},
		{"an entry reworded, and all that follows", func(f *forger) {
			all := f.entries()
			all[read].Records++
			f.follow(all)
		}},
		{"an entry left out, and all that follows", func(f *forger) { f.follow(slices.Delete(f.entries(), read, read+1)) }},
		{"an entry inserted, and all that follows", func(f *forger) {
			all := f.entries()
			f.follow(slices.Insert(all, read, all[read]))
		}},
		{"two entries swapped, and all that follows", func(f *forger) {
			all := f.entries()
			all[read], all[read+1] = all[read+1], all[read]
			f.follow(all)
		}},
		{"an entry given to another workspace, and all that follows", func(f *forger) {
			all := f.entries()
			other := f.first
			if all[read].Workspace == string(other) {
				other = f.second
			}
			all[read].Workspace = string(other)
			f.follow(all)
		}},
		{"the lines alone rewritten", func(f *forger) {
			nodes, places := f.nodes, map[WorkspaceID][][]byte{f.first: f.places[f.first], f.second: f.places[f.second]}
			all := f.entries()
			all[read].Records++
			f.follow(all)
			f.nodes = nodes
			for id := range places {
				f.places[id] = places[id]
			}
		}},
		{"another log", func(f *forger) { f.follow(f.entries()[:1]) }},
	} {
		db := a.forge(tt.change)
		variants := map[string][]string{"with the anchor": a.opt.Anchors, "without": nil}
		if raceEnabled {
			delete(variants, "with the anchor")
		}
		for with, anchors := range variants {
			finder, err := a.inTime(dir, db, anchors...)
			if finder == "" {
				t.Errorf("%s, %s: nobody finds it: %v", tt.name, with, err)
				continue
			}
			if finder == "opening" && !saysWhat(err) {
				t.Errorf("%s, %s: the operator is not told what to do: %v", tt.name, with, err)
			}
			t.Logf("%s, %s: %s: %v", tt.name, with, finder, err)
		}
	}
}
