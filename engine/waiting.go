package engine

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"tuco/kv"
)

// Waiting is how many messages of all workspaces stand where they do not end.
type Waiting struct {
	ByStatus map[Status]int64 // of [WaitingStatuses]
	// Due are those whose time has come and which are not with their line yet, where the workspace takes writes. A few of the
	// newest are always there while messages come.
	Due       int64
	OldestDue time.Duration // for how long the oldest of them has been due
}

// WaitingStatuses are those of messages that wait, are being sent, or whose outcome nobody knows.
var WaitingStatuses = []Status{Queued, Pending, Scheduled, Sending, Uncertain}

// A waitingCount keeps what was counted last.
type waitingCount struct {
	counting sync.Mutex
	known    atomic.Pointer[knownWaiting]
	atOnce   int64 // countAtOnce if 0
}

// A knownWaiting is what was counted, and up to when, in ticks, it is not counted again.
type knownWaiting struct {
	Waiting
	until time.Duration
}

const (
	// countAtOnce bounds how long one transaction counts: pages that become free meanwhile are used again only after it.
	countAtOnce = 20_000
	// countShare is how many times as long as counting takes the result is kept.
	countShare = 20
)

// Waiting counts what waits, which takes the longer the more it is. So the answer may be [countShare] times as old as counting
// takes, and whoever asks meanwhile gets the one before; ok is false if there is none yet.
func (e *Engine) Waiting() (w Waiting, ok bool, err error) {
	c := &e.waiting
	known, began := c.known.Load(), e.clock.ticks()
	if known != nil && began < known.until {
		return known.Waiting, true, nil
	}
	if !c.counting.TryLock() {
		if known == nil {
			return Waiting{}, false, nil
		}
		return known.Waiting, true, nil
	}
	defer c.counting.Unlock()
	if w, err = e.countWaiting(); err != nil {
		return Waiting{}, false, storageError(err)
	}
	ended := e.clock.ticks()
	c.known.Store(&knownWaiting{w, ended + countShare*(ended-began)})
	return w, true, nil
}

func (e *Engine) countWaiting() (w Waiting, err error) {
	w.ByStatus = map[Status]int64{}
	now := e.opt.Now().UTC()
	for _, q := range e.Queues() {
		s := &q.env.store
		for _, status := range WaitingStatuses {
			n, _, err := e.count(s.messageByStatus, kv.Prefix([]byte{statusCodes[status]}))
			if err != nil {
				return w, err
			}
			w.ByStatus[status] += n
		}
		if !q.Open() {
			continue
		}
		n, first, err := e.count(s.due, kv.Range{To: appendTime(nil, now)})
		if err != nil {
			return w, err
		}
		if n > 0 {
			w.Due += n
			w.OldestDue = max(w.OldestDue, now.Sub(keyTime(first)))
		}
	}
	return w, nil
}

// count counts the keys of a range, some at a time, and returns the first of them.
func (e *Engine) count(index kv.Index, r kv.Range) (n int64, first []byte, err error) {
	type part struct {
		n           int64
		first, last []byte
	}
	most := cmp.Or(e.waiting.atOnce, countAtOnce)
	for {
		p, err := kv.View(e.db, func(tx *kv.Tx) (p part, err error) {
			for key := range index.Scan(tx, r) {
				if p.n++; p.n == 1 {
					p.first = key
				}
				if p.n == most {
					p.last = key
					break
				}
			}
			return p, nil
		})
		if err != nil {
			return 0, nil, err
		}
		if n == 0 {
			first = p.first
		}
		if n += p.n; p.last == nil {
			return n, first, nil
		}
		r.From = append(p.last, 0)
	}
}
