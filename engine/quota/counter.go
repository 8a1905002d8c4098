// Package quota counts what may be used per day and per month, and requests per minute. Counters are
// lock-free and live in memory. The durable record of what was used is kept elsewhere and decides:
// after a crash, counters are made from it again. What was reserved but not recorded is then free;
// what may have been recorded is charged. That errs towards selling too little, never too much.
package quota

import "sync/atomic"

// Unlimited is the limit that refuses nothing in practice. It is also the largest sum a counter can hold.
const Unlimited = 1<<31 - 1

// Sums are amounts of the two things that a [Counter] counts. First is per day; Second is per day too,
// or per month when the counter is monthly.
type Sums struct{ First, Second int64 }

// A Verdict is the answer to a request for units.
type Verdict uint8

const (
	// Granted means that all units asked for are reserved.
	Granted Verdict = iota
	// FirstSpent means that with what is committed, the units would exceed the first limit. No
	// reservation in flight can change that: only a refund, a higher limit or the next day.
	FirstSpent
	// SecondSpent is the same for the second limit.
	SecondSpent
	// Busy means that only reservations in flight are in the way: try again after they settle.
	Busy
)

// String returns the verdict in words.
func (v Verdict) String() string {
	return [...]string{"granted", "first spent", "second spent", "busy"}[v]
}

// A Counter counts units that are reserved or committed, against two limits. All methods may be called
// at any time from any goroutine, and none waits for another. The result is as if they had run one
// after the other; only Refund, Charge and Usage are two such steps each, and opening a day is one of
// its own. Reserve, Commit and Release allocate nothing while the day and the limits stay the same.
//
// Invariants: no reservation takes reserved + committed above the limit in force when it is granted.
// A unit counts in the day and month of its label and in no other. The label never goes back.
// When nothing is in flight, reserved is 0 and nothing was refused that fitted.
type Counter struct {
	current atomic.Pointer[period] // the live period, or one shortly before it: see live
}

// NewCounter returns a counter that stands at day, with committed already used, as the durable record
// has it for that day and, if monthly, for its month. Amounts below 0 count as 0, above [Unlimited] as
// Unlimited.
func NewCounter(monthly bool, day Label, committed, limits Sums) *Counter {
	p := &period{day: day, monthly: monthly, limits: limits.clamp()}
	for i := range p.sums {
		p.sums[i].Store(pack(committed.clamp()))
	}
	c := new(Counter)
	c.current.Store(p)
	return c
}

// Reserve takes n under label day, all of it or nothing: the unit is zero unless the verdict is
// [Granted]. A day later than the counter's own opens that day; an earlier one counts as the
// counter's own, as the unit's label tells. An amount of 0 is not refused, whatever its limit.
// It panics if an amount is negative.
//
// A unit that is never settled stays reserved until its day, or month, is over.
func (c *Counter) Reserve(day Label, n Sums) (Unit, Verdict) {
	n.check()
	for {
		p := c.at(day)
		v, decided := p.reserve(n)
		switch {
		case !decided: // p was sealed meanwhile
		case v == Granted:
			return Unit{p, n}, Granted
		default:
			return Unit{}, v
		}
	}
}

// Charge adds n, used under label day, to what is committed, without asking a limit: for outcomes that
// became known late, and for units moved here from another counter. It counts in the day and the month
// of its label only, and opens that day if it is later than the counter's own. What would take a sum
// above [Unlimited] is not counted. It panics if an amount is negative.
func (c *Counter) Charge(day Label, n Sums) {
	n.check()
	p := c.at(day)
	p.add(used, p.part(day, n)).Commit()
}

// Refund gives back n, committed under label day, and reports what it gave back: First if that day is
// still open, Second if its day, or month, is; never more than is committed. Until it returns, a
// refused Reserve may say [Busy]. It panics if an amount is negative.
func (c *Counter) Refund(day Label, n Sums) Sums {
	n.check()
	p := c.live()
	back := p.add(committed, p.part(day, n).negative())
	back.p.add(used, back.n)
	return back.n.negative()
}

// SetLimits sets both limits, for every decision after it. They may be below what is used; then nothing
// is granted until that changes. Limits below 0 count as 0, above Unlimited as Unlimited.
func (c *Counter) SetLimits(limits Sums) {
	limits = limits.clamp()
	for p := c.live(); p.limits != limits; p = c.live() {
		if p.follow(p.day, limits) {
			c.live()
			return
		}
	}
}

// Limits returns the limits in force.
func (c *Counter) Limits() Sums { return c.live().limits }

// Day returns the label that the counter stands at.
func (c *Counter) Day() Label { return c.live().day }

// Usage is what a counter holds under the label Day.
type Usage struct {
	Day                 Label
	Committed, Reserved Sums
}

// Usage returns what is used. Committed was exact at one moment of the call. Committed + Reserved was
// exact at another, or is too large by what was refunded between the two.
func (c *Counter) Usage() Usage {
	p := c.live()
	done := unpack(p.sums[committed].Load())
	all := unpack(p.sums[used].Load())
	return Usage{p.day, done, all.minus(done).clamp()}
}

// live returns the newest period, after finishing its opening.
func (c *Counter) live() *period {
	p := c.current.Load()
	for p.next.Load() != nil {
		next := p.successor()
		c.current.CompareAndSwap(p, next)
		p = next
	}
	return p
}

// at returns the live period, after opening one for day if that is later.
func (c *Counter) at(day Label) *period {
	p := c.live()
	for ; p.day < day; p = c.live() {
		p.follow(day, p.limits)
	}
	return p
}

// A Unit is a reservation: settle it with one call of Commit or Release. The zero Unit reserves
// nothing, and its methods do nothing. It may be settled on any goroutine and after its day has ended;
// the change then reaches the month if that still goes on.
type Unit struct {
	p *period
	n Sums
}

// Commit turns the reservation into use. Call it when the use is durable.
func (u Unit) Commit() {
	if u.p != nil {
		u.p.add(committed, u.n)
	}
}

// Release gives the reservation back. Call it only when it is certain that there was no use.
func (u Unit) Release() {
	if u.p != nil {
		u.p.add(used, u.n.negative())
	}
}

// Day returns the label that the unit was taken under, or zero.
func (u Unit) Day() Label {
	if u.p == nil {
		return 0
	}
	return u.p.day
}
