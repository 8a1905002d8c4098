package quota

import (
	"sort"
	"sync/atomic"
	"time"
)

// A Rate admits at most n events in any interval of a given length, wherever that begins. It remembers
// the times of the last n admissions, so it refuses exactly when n of them are too recent. All
// methods may be called from any goroutine, and none waits for another.
//
// The slots are a ring, filled in turn, so the slot whose turn it is holds the oldest time, unless a
// caller was held up. Invariant: a slot is filled again only with a time at least per after the one in
// it. So no interval of length per, its end not included, has more than one admission of each slot, in
// whatever order the callers come.
type Rate struct {
	per  time.Duration
	turn atomic.Uint64 // how many times a slot was filled; may be one behind
	// slots hold a time, and in the lowest bit whether they were filled an odd number of times. The
	// bit tells whether the slot was filled in this turn already, by one who has yet to advance turn.
	// A slot never holds the same value twice, so that exchanging it is safe.
	slots []atomic.Int64
}

// never is so early that its slot is free at any now, and leaves room for the lowest bit.
const never = -1 << 61

// NewRate returns a Rate of n events, 1 or more, in any interval of length per, more than 0. It
// takes 8 bytes an event and remembers no event before.
func NewRate(n int, per time.Duration) *Rate {
	if n < 1 || per <= 0 {
		panic("quota: a rate needs at least one event in a positive interval")
	}
	r := &Rate{per: per, slots: make([]atomic.Int64, n)}
	for i := range r.slots {
		r.slots[i].Store(never << 1)
	}
	return r
}

// Take admits one event at now, a reading of a monotonic clock between 0 and 70 years, or refuses
// it. A refusal counts for nothing. remaining is how many more would be admitted at now. reset is how
// long after now one more than that would be: when the oldest event that counts stops counting.
//
// A caller that was held up after reading the clock is judged by its reading, and its event may
// count for as much longer as it was held up.
func (r *Rate) Take(now time.Duration) (ok bool, remaining int, reset time.Duration) {
	for {
		turn := r.turn.Load()
		slot := r.slot(turn)
		old := slot.Load()
		switch {
		case r.turn.Load() != turn: // old may be of a later turn
		case r.filled(turn, old):
			r.turn.CompareAndSwap(turn, turn+1)
		case now-at(old) < r.per:
			return false, 0, at(old) + r.per - now
		case slot.CompareAndSwap(old, r.fill(turn, now)):
			r.turn.CompareAndSwap(turn, turn+1)
			remaining, reset = r.left(turn+1, now)
			return true, remaining, reset
		}
	}
}

// Used returns how many admissions count at now. It looks at every slot, and may miss those of the moment.
func (r *Rate) Used(now time.Duration) (n int) {
	for i := range r.slots {
		if now-at(r.slots[i].Load()) < r.per {
			n++
		}
	}
	return n
}

func (r *Rate) slot(turn uint64) *atomic.Int64 {
	return &r.slots[turn%uint64(len(r.slots))]
}

// parity is the lowest bit of a slot before it is filled in turn.
func (r *Rate) parity(turn uint64) int64 {
	return int64(turn / uint64(len(r.slots)) & 1)
}

func (r *Rate) filled(turn uint64, value int64) bool {
	return value&1 != r.parity(turn)
}

// fill returns what to fill the slot with in turn.
func (r *Rate) fill(turn uint64, now time.Duration) int64 {
	return int64(now)<<1 | (1 - r.parity(turn))
}

// left counts the slots that are free at now, and tells how long the first of the others will take.
// It looks in the order of their turns, in which the last was filled just now.
func (r *Rate) left(turn uint64, now time.Duration) (free int, reset time.Duration) {
	free = sort.Search(len(r.slots)-1, func(i int) bool {
		return now-at(r.slot(turn+uint64(i)).Load()) < r.per
	})
	return free, at(r.slot(turn+uint64(free)).Load()) + r.per - now
}

// at returns the time in the value of a slot.
func at(value int64) time.Duration { return time.Duration(value >> 1) }
