package engine

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
)

// rawEdits is how many changes TestRawEdits makes.
var rawEdits = 120

const rawPage = 4096

// TestRawEdits: whatever is done to the bytes of the database, somebody finds it, or the log is shown as it was. Nothing
// panics, and nothing hangs.
func TestRawEdits(t *testing.T) {
	a := newAttacked(t)
	dir := filepath.Join(t.TempDir(), "data")
	if finder, err := a.inTime(dir, a.db, a.opt.Anchors...); finder != "" || err != nil {
		t.Fatalf("unchanged: %s, %v", finder, err)
	}
	found, harmless := map[string]int{}, 0
	edits := rawEdits
	if raceEnabled {
		edits = min(edits, 3*len(rawEditors))
	}
	for seed := range edits {
		edit := rawEditors[seed%len(rawEditors)]
		dice := rand.New(rand.NewPCG(uint64(seed), 11))
		db := edit.change(dice, a, bytes.Clone(a.db))
		if bytes.Equal(db, a.db) {
			harmless++
			continue
		}
		anchors := a.opt.Anchors
		if dice.IntN(2) == 0 { // whoever has the database may have the anchor, too
			anchors = nil
		}
		finder, err := a.inTime(dir, db, anchors...)
		switch {
		case finder == "" && err != nil:
			t.Errorf("%s, seed %d: %v", edit.name, seed, err)
		case finder == "opening" && !saysWhat(err):
			t.Errorf("%s, seed %d: the operator is not told what to do: %v", edit.name, seed, err)
		case finder == "":
			harmless++
		default:
			found[finder]++
		}
	}
	t.Logf("%d edits, found by %v; %d changed nothing that is shown", edits, found, harmless)
}

var rawEditors = []struct {
	name   string
	change func(dice *rand.Rand, a *attacked, db []byte) []byte
}{
	{"a bit flipped", func(dice *rand.Rand, _ *attacked, db []byte) []byte {
		page(dice, db)[dice.IntN(rawPage)] ^= 1 << dice.IntN(8)
		return db
	}},
	{"bytes changed", func(dice *rand.Rand, _ *attacked, db []byte) []byte {
		p := page(dice, db)
		for range 1 + dice.IntN(20) {
			p[dice.IntN(rawPage)] = byte(dice.IntN(256))
		}
		return db
	}},
	{"a number in the head of a page changed", func(dice *rand.Rand, _ *attacked, db []byte) []byte {
		page(dice, db)[dice.IntN(64)] = byte(dice.IntN(256))
		return db
	}},
	{"a page zeroed", func(dice *rand.Rand, _ *attacked, db []byte) []byte {
		clear(page(dice, db))
		return db
	}},
	{"two pages swapped", func(dice *rand.Rand, _ *attacked, db []byte) []byte {
		p, q := page(dice, db), page(dice, db)
		was := bytes.Clone(p)
		copy(p, q)
		copy(q, was)
		return db
	}},
	{"two pages swapped, with their numbers", func(dice *rand.Rand, _ *attacked, db []byte) []byte {
		p, q := page(dice, db)[8:], page(dice, db)[8:] // the number stays in its place
		was := bytes.Clone(p)
		copy(p, q)
		copy(q, was)
		return db
	}},
	{"a page copied over another", func(dice *rand.Rand, _ *attacked, db []byte) []byte {
		copy(page(dice, db)[8:], page(dice, db)[8:])
		return db
	}},
	{"a page of an older copy put back", func(dice *rand.Rand, a *attacked, db []byte) []byte {
		i := rawPage * dice.IntN(min(len(db), len(a.older))/rawPage)
		copy(db[i:], a.older[i:i+rawPage])
		return db
	}},
	{"pages of an older copy put back", func(dice *rand.Rand, a *attacked, db []byte) []byte {
		pages := min(len(db), len(a.older)) / rawPage
		i := dice.IntN(pages)
		copy(db[rawPage*i:], a.older[rawPage*i:rawPage*min(pages, i+1+dice.IntN(20))])
		return db
	}},
	{"the end cut off", func(dice *rand.Rand, _ *attacked, db []byte) []byte { return db[:dice.IntN(len(db))] }},
	{"pages cut off at the end", func(dice *rand.Rand, _ *attacked, db []byte) []byte {
		return db[:rawPage*dice.IntN(len(db)/rawPage)]
	}},
	{"a word of a line changed", func(dice *rand.Rand, _ *attacked, db []byte) []byte {
		var at []int
		for i := 0; ; i++ {
			next := bytes.Index(db[i:], []byte(`"outcome":"`))
			if next < 0 {
				break
			}
			i += next
			at = append(at, i)
		}
		db[at[dice.IntN(len(at))]-2-dice.IntN(200)] ^= 1
		return db
	}},
}

// page is one that is in use; every other time one that has lines of the log.
func page(dice *rand.Rand, db []byte) []byte {
	for {
		i := rawPage * dice.IntN(len(db)/rawPage)
		p := db[i : i+rawPage]
		if slices.Max(p) > 0 && (dice.IntN(2) == 0 || bytes.Contains(p, []byte(`"prev":"`))) {
			return p
		}
	}
}
