package kv

import (
	"errors"
	"fmt"
	"iter"
	"slices"
)

// A Commit is what transactions that were committed together changed, in the order in which that took effect.
type Commit struct {
	Changes []Change
	Next    Position // where the commit after this one begins
}

// A Change is one operation of a commit.
type Change struct {
	Path    Path
	Dropped bool // the bucket went with all that was in it; there is no key
	Key     []byte
	Value   []byte // as it is stored, with version and checksum; nil if the record was deleted
}

// Position is where the next commit will begin in the redo log.
func (db *DB) Position() Position { return Position(db.log.durable.Load()) }

// Changes yields the durable commits from the position from on, up to the newest one at the time of the
// call. The position is 0, or one that [Commit.Next] or [DB.Position] gave, in this or an earlier process.
// While the loop runs the log keeps what it still has to read.
//
// Error: [ErrGone] if the log does not reach back so far; see [Options.KeepLog].
func (db *DB) Changes(from Position) iter.Seq2[Commit, error] {
	return func(yield func(Commit, error) bool) {
		end := db.Position()
		if from > end { // of a later state, to which this one does not lead
			yield(Commit{}, fmt.Errorf("%w: position %d lies behind the newest change, at %d", ErrGone, from, end))
			return
		}
		pin := from
		segments, err := db.log.pin(&pin)
		defer db.log.unpin(&pin)
		at := end
		for i, base := range segments {
			if err != nil || base >= end || i > 0 && base != at {
				break
			}
			db.log.movePin(&pin, max(from, base))
			at, err = db.log.feed(base, from, end, yield)
		}
		if err == nil && at != end {
			err = damaged("the redo log has no valid record at position %d", at)
		}
		if err != nil && err != errEnough {
			yield(Commit{}, err)
		}
	}
}

// errEnough says that the loop over the changes has ended.
var errEnough = errors.New("no more changes are asked for")

// feed yields the commits of one segment from a position on, up to another. It returns where they end.
func (l *redo) feed(base, from, end Position, yield func(Commit, error) bool) (Position, error) {
	s, err := l.read(base)
	if err != nil {
		return 0, err
	}
	s.data = s.data[:min(int64(len(s.data)), s.offset(end))] // behind it the writer may be at work
	err = s.each(from, func(_, next Position, group []changeSet) error {
		if !yield(Commit{changesOf(group), next}, nil) {
			return errEnough
		}
		return nil
	})
	return s.end(), err
}

func changesOf(group []changeSet) (all []Change) {
	for i := range group {
		for _, path := range group[i].dropped {
			all = append(all, Change{Path: path, Dropped: true})
		}
		group[i].each(func(o *op) { all = append(all, Change{Path: o.home.path, Key: o.key, Value: o.value}) })
	}
	return all
}

// pin keeps what the log has from the position at on, and returns the segments with it.
func (l *redo) pin(at *Position) (segments []Position, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pins[at] = struct{}{}
	first, found := slices.BinarySearch(l.segments, *at)
	if !found {
		first--
	}
	if first < 0 {
		return nil, fmt.Errorf("%w: before position %d", ErrGone, *at)
	}
	return slices.Clone(l.segments[first:]), nil
}

func (l *redo) movePin(pin *Position, to Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*pin = to
}

func (l *redo) unpin(at *Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pins, at)
}
