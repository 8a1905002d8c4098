package quota

import "sync/atomic"

// Each period holds two words. What is reserved is the difference, so committing changes one word only
// and what is used never seems less than it is.
const (
	used      = iota // reserved + committed: the word that the limits bound
	committed        // raised after used, lowered before it: never above it
)

// A period is the time in which a counter's day and limits stay the same. It ends in steps that any
// goroutine may take, so that nobody waits for the one that began:
//
//  1. next is set, once. Whoever sets it has chosen the day and limits that follow.
//  2. Each word is sealed, which fixes the sums in it. With the second the change takes effect.
//  3. Each word of next is opened, once, with what carries over from the sealed one.
//
// A change that finds its word sealed goes on to the same word of next, less what does not carry
// over. So each change is made in exactly one period, and is either carried over with the sum or
// made after it. Periods point forward only: the older ones live as long as some unit refers to them.
type period struct {
	day     Label
	monthly bool
	limits  Sums
	sums    [2]atomic.Uint64 // by used and committed
	next    atomic.Pointer[period]
	_       [16]byte // fills the cache line, so that busy counters don't slow each other down
}

// part returns the part of n, taken under label day, that p counts.
func (p *period) part(day Label, n Sums) Sums {
	switch {
	case day == p.day:
		return n
	case p.monthly && day < p.day && day.Month() == p.day.Month():
		return Sums{Second: n.Second}
	}
	return Sums{}
}

// follow proposes the period after p. It returns false if another is there already.
func (p *period) follow(day Label, limits Sums) bool {
	return p.next.CompareAndSwap(nil, &period{day: day, monthly: p.monthly, limits: limits})
}

// successor returns the period after p, which there must be, with its words open. All who come here
// see the same sealed sums, so it doesn't matter who opens it.
func (p *period) successor() *period {
	next := p.next.Load()
	var last [2]Sums
	for i := range p.sums {
		last[i] = unpack(p.sums[i].Or(sealed))
	}
	for i := range next.sums {
		next.sums[i].CompareAndSwap(0, pack(next.part(p.day, last[i])))
	}
	return next
}

// reserve takes n if the limits allow it. If p is over it decides nothing.
func (p *period) reserve(n Sums) (v Verdict, decided bool) {
	for {
		word := p.sums[used].Load()
		if word&sealed != 0 {
			return 0, false
		}
		sums := unpack(word)
		if allow(p.limits, sums, n) != Granted {
			return p.refusal(n), true
		}
		if p.sums[used].CompareAndSwap(word, pack(sums.plus(n))) {
			return Granted, true
		}
	}
}

// refusal tells whether what is committed leaves no room for n, or only what is in flight. If p has
// been sealed meanwhile, the answer was true until then.
func (p *period) refusal(n Sums) Verdict {
	v := allow(p.limits, unpack(p.sums[committed].Load()), n)
	if v == Granted {
		return Busy
	}
	return v
}

// add adds n, whose amounts may be negative, to a word of p or, once that is sealed, of the first later
// period that is open. A sum stays within 0 and Unlimited. It returns where it was added, and how much.
func (p *period) add(which int, n Sums) Unit {
	for n != (Sums{}) {
		word := p.sums[which].Load()
		if word&sealed != 0 {
			next := p.successor()
			n = next.part(p.day, n)
			p = next
			continue
		}
		sums := unpack(word)
		fit := sums.fit(n)
		if p.sums[which].CompareAndSwap(word, pack(sums.plus(fit))) {
			return Unit{p, fit}
		}
	}
	return Unit{p: p}
}
