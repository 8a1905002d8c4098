package kv

import (
	"bytes"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ids hands out ids and fails the test if one is not above all before it of its tag.
type idTest struct {
	t    *testing.T
	time *clock
	last map[Tag]ID
}

func newIDTest(t *testing.T) *idTest {
	return &idTest{t, newClock(), map[Tag]ID{}}
}

func (i *idTest) options() Options { return Options{Now: i.time.now} }

func (i *idTest) next(db *DB, tag Tag) ID {
	i.t.Helper()
	id, err := Update(db, func(tx *Tx) (ID, error) { return tx.NewID(tag), nil })
	if err != nil {
		i.t.Fatalf("NewID = %v", err)
	}
	i.check(tag, id)
	return id
}

func (i *idTest) check(tag Tag, id ID) {
	i.t.Helper()
	if last := i.last[tag]; bytes.Compare(last[:], id[:]) >= 0 {
		i.t.Errorf("id %s came after %s", id, last)
	}
	if id.Tag() != tag {
		i.t.Errorf("id %s has tag %x, want %x", id, id.Tag(), tag)
	}
	i.last[tag] = id
}

var tagA, tagB = Tag{1, 2, 3}, Tag{0xff, 0xff, 0xff}

func TestIDsOnlyIncrease(t *testing.T) {
	i := newIDTest(t)
	db := openTest(t, tempPath(t), i.options())
	for _, move := range []time.Duration{0, 0, time.Second, time.Second, -time.Hour, 0, time.Second, 59 * time.Minute, time.Hour, -24 * time.Hour, 48 * time.Hour} {
		i.time.move(move)
		for range 3 {
			i.next(db, tagA)
			i.next(db, tagB)
		}
		do(t, db, func(tx *Tx) { // several in one transaction
			for range 3 {
				i.check(tagA, tx.NewID(tagA))
			}
		})
	}
	if ahead := i.time.ahead(i.next(db, tagA)); ahead != 0 {
		t.Errorf("an id is %d seconds ahead of the clock, want 0", ahead)
	}
}

func TestIDsAfterARestart(t *testing.T) {
	for name, back := range map[string]time.Duration{"at once": 0, "a second later": time.Second, "an hour later": time.Hour, "with the clock an hour back": -time.Hour} {
		i := newIDTest(t)
		path := tempPath(t)
		db := openTest(t, path, i.options())
		i.next(db, tagA)
		closeTest(t, db)
		i.time.move(back)
		db = openTest(t, path, i.options())
		ahead := i.time.ahead(i.next(db, tagA))
		if back >= 0 && ahead > 1 {
			t.Errorf("%s: after a clean restart an id is %d seconds ahead of the clock, want at most 1", name, ahead)
		}
		i.next(db, tagB)
	}
}

func TestIDsAfterACrash(t *testing.T) {
	for name, back := range map[string]time.Duration{"at once": 0, "a minute later": time.Minute, "an hour later": time.Hour, "with the clock an hour back": -time.Hour} {
		i := newIDTest(t)
		db := openTest(t, tempPath(t), i.options())
		for range 100 { // the lease is renewed on the way
			i.time.move(time.Second)
			i.next(db, tagA)
		}
		path := crash(t, db)
		i.time.move(back)
		db = openTest(t, path, i.options())
		if ahead := i.time.ahead(i.next(db, tagA)); back >= 0 && ahead > 61 {
			t.Errorf("%s: after a crash an id is %d seconds ahead of the clock, want at most 61", name, ahead)
		}
	}
}

func TestIDsInACrashLoop(t *testing.T) {
	i := newIDTest(t)
	db := openTest(t, tempPath(t), i.options())
	for range 20 { // a second each
		i.next(db, tagA)
		db = openTest(t, crash(t, db), i.options())
		i.time.move(time.Second)
	}
	if ahead := i.time.ahead(i.next(db, tagA)); ahead > 61 {
		t.Errorf("after 20 crashes an id is %d seconds ahead of the clock, want at most 61", ahead)
	}
}

func TestIDsOfFailingTransactions(t *testing.T) {
	i := newIDTest(t)
	db := openTest(t, tempPath(t), i.options())
	for range 3 {
		i.time.move(2 * time.Minute) // so that a new lease is due, and lost
		_ = try(db, func(tx *Tx) error { i.check(tagA, tx.NewID(tagA)); return errEnd })
		got := runGroup(db,
			func(tx *Tx) error { i.check(tagA, tx.NewID(tagA)); return errEnd },
			func(tx *Tx) error { i.check(tagA, tx.NewID(tagA)); return nil },
			func(tx *Tx) error { tx.NewID(tagA); panic("a broken invariant") },
		)
		if got[1].err != nil {
			t.Errorf("NewID = %v", got[1].err)
		}
		db = openTest(t, crash(t, db), i.options())
		i.next(db, tagA)
	}
}

func TestFloorID(t *testing.T) {
	i := newIDTest(t)
	db := openTest(t, tempPath(t), i.options())
	before := i.next(db, tagA)
	i.time.move(time.Second)
	floor := FloorID(tagA, i.time.now())
	after := i.next(db, tagA)
	if bytes.Compare(before[:], floor[:]) >= 0 || bytes.Compare(floor[:], after[:]) >= 0 {
		t.Errorf("FloorID = %s, want it between %s and %s", floor, before, after)
	}
	for at, want := range map[time.Time]uint32{
		time.Unix(0, 0):                0,
		time.Unix(-5, 0):               0,
		time.Unix(7, 999):              7,
		time.Unix(math.MaxUint32, 0):   math.MaxUint32,
		time.Unix(math.MaxUint32+5, 0): math.MaxUint32,
	} {
		if got := FloorID(tagA, at); got != makeID(want, tagA, 0) {
			t.Errorf("FloorID(%v) = %s, want second %d", at, got, want)
		}
	}
}

func TestParseID(t *testing.T) {
	id := makeID(0x01020304, Tag{0xaa, 0xbb, 0xcc}, 0x05060708ff)
	const text = "01020304aabbcc05060708ff"
	if id.String() != text || !id.Time().Equal(time.Unix(0x01020304, 0)) {
		t.Errorf("an id is %s of %v, want %s", id, id.Time(), text)
	}
	for s, ok := range map[string]bool{
		text:                  true,
		strings.ToUpper(text): true,
		text[:23]:             false,
		text + "0":            false,
		"":                    false,
		text[:23] + "g":       false,
		" " + text[:23]:       false,
		text[:22] + "é":       false,
	} {
		got, gotOK := ParseID(s)
		if gotOK != ok || ok && got != id {
			t.Errorf("ParseID(%q) = %s, %v, want %v", s, got, gotOK, ok)
		}
	}
}

// FuzzParseID: what is an id is written again as it was read, in lower case.
func FuzzParseID(f *testing.F) {
	f.Add("01020304aabbcc05060708ff")
	f.Add("01020304AABBCC05060708FF")
	f.Add("not an id")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := ParseID(s); ok && id.String() != strings.ToLower(s) {
			t.Errorf("ParseID(%q) = %s", s, id)
		}
	})
}

func TestLeaseIsDurableBeforeItsIDs(t *testing.T) {
	i := newIDTest(t)
	db := openTest(t, tempPath(t), i.options())
	for range 5 {
		i.time.move(45 * time.Second)
		id := i.next(db, tagA)
		held := look(t, db, func(tx *Tx) lease { l, _ := leases.Get(tx, tagA[:]); return l })
		second := uint32(id.Time().Unix())
		if held.Second < second || held.Second > second+leaseSeconds {
			t.Errorf("with id %s the lease ends at %d, want it in [%d, %d]", id, held.Second, second, second+leaseSeconds)
		}
	}
}

func TestIDsAfterAnUnknownOutcome(t *testing.T) {
	for _, name := range failingSteps {
		i := newIDTest(t)
		db, d := openFailing(t, tempPath(t), i.options())
		i.next(db, tagA)
		i.time.move(2 * time.Minute)
		d.fail(name)
		err := try(db, func(tx *Tx) error { i.check(tagA, tx.NewID(tagA)); return nil })
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: Update = %v, want %v", name, err, ErrUnknown)
		}
		if name != onSync {
			i.last = map[Tag]ID{} // it was never there, so its number may come again
		}
		db = openTest(t, crash(t, db), i.options())
		i.next(db, tagA)
	}
}

// TestSkipIDs: ids begin above one that another database made, at once, after a clean stop and after a crash.
func TestSkipIDs(t *testing.T) {
	for _, used := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "db")
		now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		opt := Options{Now: func() time.Time { return now }}
		db, err := Open(path, opt)
		if err != nil {
			t.Fatal(err)
		}
		next := func() ID {
			id, err := Update(db, func(tx *Tx) (ID, error) { return tx.NewID(Tag{1}), nil })
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		if used {
			next()
		}
		other := makeID(uint32(now.Add(time.Hour).Unix()), Tag{1}, 1<<39)
		if _, err := Update(db, func(tx *Tx) (struct{}, error) { tx.SkipIDs(Tag{1}, other); return struct{}{}, nil }); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if id := next(); bytes.Compare(id[:], other[:]) <= 0 {
				t.Errorf("used before: %v; %s is not above %s", used, id, other)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if db, err = Open(path, opt); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
