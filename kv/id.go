package kv

import (
	"encoding/binary"
	"encoding/hex"
	"time"
)

// A Tag is the part of an id that says who owns it.
type Tag [3]byte

// An ID is 4 bytes of seconds since 1970, 3 bytes of owner tag, and 5 bytes that increase. Ids of
// one tag only increase, also when the clock goes back; so they sort by time, and none is used twice.
type ID [12]byte

// String returns the 24 hex digits of id.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Tag returns the owner tag of id.
func (id ID) Tag() Tag { return Tag(id[4:7]) }

// Time returns when id was made, in whole seconds and never before an earlier id of its tag.
func (id ID) Time() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint32(id[:4])), 0).UTC()
}

// ParseID reads the 24 lower- or upper-case hex digits of an id.
func ParseID(s string) (id ID, ok bool) {
	if len(s) != 2*len(id) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err == nil
}

// FloorID returns the lowest id of tag that can have been made at t or later.
func FloorID(tag Tag, t time.Time) ID {
	return makeID(uint32(max(0, min(t.Unix(), 1<<32-1))), tag, 0)
}

func makeID(second uint32, tag Tag, n uint64) (id ID) {
	var wide [8]byte
	binary.BigEndian.PutUint64(wide[:], n)
	binary.BigEndian.PutUint32(id[:4], second)
	copy(id[4:7], tag[:])
	copy(id[7:], wide[3:])
	return id
}

// ids is the state of each tag that has made an id since the start. Owned by the writer.
type ids struct{ last map[Tag]*lastID }

type lastID struct {
	second uint32
	n      uint64
	held   lease
	read   Mark // when held was; 0 is never
}

// A lease says, durably, that no id of a tag has a second above it. It reaches a minute past the
// clock; so after a crash ids start at most 61 seconds ahead of it, a second more for each further
// crash within that minute, and never below an old one.
type lease struct {
	Second uint32 `json:"second"`
}

const leaseSeconds = 60

var leases = Bucket[lease]{Path: system.Join("ids"), Codec: JSON[lease](1)}

// NewID returns an id of tag that is higher than any before it.
func (tx *Tx) NewID(tag Tag) ID {
	tx.mustWrite()
	last := tx.db.ids.of(tag)
	if last.read == 0 || leases.ChangedSince(tx, last.read) {
		last.held, _ = leases.Get(tx, tag[:])
		last.read = tx.Mark()
		if tx.own.holdsRecords(tx.home(nil, leases.Path)) { // it may not come to that
			last.read = 0
		}
	}
	if last.second == 0 && last.held.Second > 0 { // the first use after a start: it begins above what was leased
		last.second = last.held.Second + 1
	}
	now := uint32(max(0, tx.Now.Unix()))
	if now > last.second {
		last.second, last.n = now, 0
	}
	last.n++
	if last.second > last.held.Second {
		leases.Put(tx, tag[:], lease{max(last.second, now+leaseSeconds)})
	}
	return makeID(last.second, tag, last.n)
}

// SkipIDs makes every later id of tag higher than id, which another database made.
func (tx *Tx) SkipIDs(tag Tag, id ID) {
	tx.mustWrite()
	second := binary.BigEndian.Uint32(id[:4])
	if held, _ := leases.Get(tx, tag[:]); second > held.Second {
		leases.Put(tx, tag[:], lease{second})
	}
	if last := tx.db.ids.last[tag]; last != nil && last.second <= second {
		last.second, last.n, last.read = second+1, 0, 0
	}
}

func (s *ids) of(tag Tag) *lastID {
	if s.last == nil {
		s.last = map[Tag]*lastID{}
	}
	if s.last[tag] == nil {
		s.last[tag] = &lastID{}
	}
	return s.last[tag]
}

// saveIDs cuts the leases to what was used, so that after a clean stop ids follow the clock again.
// It runs when the writer has ended.
func (db *DB) saveIDs() error {
	if len(db.ids.last) == 0 {
		return nil
	}
	r := &request{critical: true, done: make(chan struct{}, 1), fn: func(tx *Tx) error {
		for tag, last := range db.ids.last {
			leases.Put(tx, tag[:], lease{last.second})
		}
		return nil
	}}
	db.serve([]*request{r})
	return r.err
}
