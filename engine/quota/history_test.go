package quota

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// The steps that a history consists of. A call that is more than one step, as the comment on Counter
// says, is written down as several, which happen in their order at any moments of the call.
type (
	openStep    struct{ day Label }
	reserveStep struct {
		day Label
		n   Sums
	}
	reserved struct {
		verdict Verdict
		label   Label
	}
	settleStep struct {
		label     Label
		n         Sums
		committed bool // or else released
	}
	uncommitStep struct { // the first half of Refund; its answer is what was given back
		label Label
		n     Sums
	}
	freeStep struct { // the second half
		label Label
		n     Sums
	}
	forceStep struct { // the first half of Charge
		label Label
		n     Sums
	}
	forcedStep struct { // the second half
		label Label
		n     Sums
	}
	limitsStep    struct{ limits Sums }
	committedStep struct{} // the first half of Usage; its answer has no Reserved
	usedStep      struct { // the second half; its answer is the sum of both
		committed Sums
	}
)

// A tracker is the state of the sequential model.
type tracker struct {
	day                      Label
	limits, used, committed  Sums
	halfRefunds, halfCharges int
}

// opened returns the state after day has been opened, if it is later.
func (s tracker) opened(day Label) tracker {
	if day > s.day {
		s.used, s.committed = Sums{Second: s.used.Second}, Sums{Second: s.committed.Second}
		if day.Month() != s.day.Month() {
			s.used, s.committed = Sums{}, Sums{}
		}
		s.day = day
	}
	return s
}

// counts returns the part of n, taken under label, that counts now.
func (s tracker) counts(label Label, n Sums) Sums {
	l := ledger{monthly: true, day: s.day}
	return l.counts(label, n)
}

func (s tracker) verdict(n Sums) Verdict {
	if v := allow(s.limits, s.committed, n); v != Granted {
		return v
	}
	if allow(s.limits, s.used, n) != Granted {
		return Busy
	}
	return Granted
}

func step(state, in, out any) (bool, any) {
	s := state.(tracker)
	ok := true
	switch in := in.(type) {
	case openStep:
		s = s.opened(in.day)
	case reserveStep:
		s = s.opened(in.day)
		got := out.(reserved)
		ok = got.verdict == s.verdict(in.n)
		if got.verdict == Granted {
			ok = ok && got.label == s.day
			s.used = s.used.plus(in.n)
		}
	case settleStep:
		if in.committed {
			s.committed = s.committed.plus(s.counts(in.label, in.n))
		} else {
			s.used = s.used.minus(s.counts(in.label, in.n))
		}
	case uncommitStep:
		back := s.counts(in.label, in.n)
		ok = out.(Sums) == back
		s.committed = s.committed.minus(back)
		s.halfRefunds++
	case freeStep:
		ok = s.halfRefunds > 0
		s.used = s.used.minus(s.counts(in.label, in.n))
		s.halfRefunds--
	case forceStep:
		s = s.opened(in.label)
		s.used = s.used.plus(s.counts(in.label, in.n))
		s.halfCharges++
	case forcedStep:
		ok = s.halfCharges > 0
		s.committed = s.committed.plus(s.counts(in.label, in.n))
		s.halfCharges--
	case limitsStep:
		s.limits = in.limits
	case committedStep:
		ok = out.(Usage) == Usage{Day: s.day, Committed: s.committed}
	case usedStep:
		larger := Sums{max(s.used.First, in.committed.First), max(s.used.Second, in.committed.Second)}
		ok = out.(Sums) == larger
	}
	return ok, s
}

// A client does random calls and writes down their steps.
type client struct {
	id      int
	clock   *atomic.Int64
	history []porcupine.Operation
	counter *Counter
	random  *rand.Rand
	held    []Unit
	spent   []Unit // committed
}

// note writes down steps, as pairs of input and output, of a call that began at began and ends now.
func (cl *client) note(began int64, steps ...[2]any) {
	ended := cl.clock.Add(1)
	for _, s := range steps {
		cl.history = append(cl.history, porcupine.Operation{
			ClientId: cl.id, Input: s[0], Output: s[1], Call: began, Return: ended,
		})
	}
}

// pick removes a random unit from units, or returns the zero Unit.
func (cl *client) pick(units *[]Unit) Unit {
	if len(*units) == 0 {
		return Unit{}
	}
	i := cl.random.IntN(len(*units))
	u := (*units)[i]
	*units = append((*units)[:i:i], (*units)[i+1:]...)
	return u
}

func (cl *client) act() {
	c, r := cl.counter, cl.random
	n := Sums{r.Int64N(3), r.Int64N(3)}
	day := []Label{nov29, nov29, nov29, nov30, dec1}[r.IntN(5)]
	limits := Sums{r.Int64N(6), r.Int64N(8)}
	began := cl.clock.Add(1)
	switch r.IntN(10) {
	case 0, 1, 2:
		u, v := c.Reserve(day, n)
		cl.note(began, [2]any{openStep{day}}, [2]any{reserveStep{day, n}, reserved{v, u.Day()}})
		if v == Granted {
			cl.held = append(cl.held, u)
		}
	case 3, 4:
		u := cl.pick(&cl.held)
		u.Commit()
		cl.note(began, [2]any{settleStep{u.Day(), u.n, true}})
		cl.spent = append(cl.spent, u)
	case 5:
		u := cl.pick(&cl.held)
		u.Release()
		cl.note(began, [2]any{settleStep{u.Day(), u.n, false}})
	case 6:
		u := cl.pick(&cl.spent)
		back := c.Refund(u.Day(), u.n)
		cl.note(began, [2]any{uncommitStep{u.Day(), u.n}, back}, [2]any{freeStep{u.Day(), back}})
	case 7:
		c.Charge(day, n)
		cl.note(began, [2]any{openStep{day}}, [2]any{forceStep{day, n}}, [2]any{forcedStep{day, n}})
	case 8:
		c.SetLimits(limits)
		cl.note(began, [2]any{limitsStep{limits}})
	case 9:
		u := c.Usage()
		cl.note(began, [2]any{committedStep{}, Usage{Day: u.Day, Committed: u.Committed}},
			[2]any{usedStep{u.Committed}, u.Committed.plus(u.Reserved)})
	}
}

// Short concurrent histories, each of which has to have an order in which the model does the same.
func TestHistoriesAreLinearizable(t *testing.T) {
	const histories, clients, calls = 8000, 4, 6
	start := tracker{day: nov29, limits: Sums{3, 5}}
	model := porcupine.Model{Init: func() any { return start }, Step: step}
	for seed := range uint64(histories) {
		counter := NewCounter(true, start.day, Sums{}, start.limits)
		var clock atomic.Int64
		all := make([]client, clients)
		inParallel(clients, func(g int) {
			all[g] = client{id: g, clock: &clock, counter: counter, random: rand.New(rand.NewPCG(seed, uint64(g)))}
			for range calls {
				all[g].act()
			}
		})
		var history []porcupine.Operation
		for i := range all {
			history = append(history, all[i].history...)
		}
		if got := porcupine.CheckOperationsTimeout(model, history, 10*time.Second); got != porcupine.Ok {
			t.Fatalf("seed %d: %v; history:\n%s", seed, got, describe(history))
		}
	}
}

func describe(history []porcupine.Operation) string {
	var s strings.Builder
	for _, op := range history {
		fmt.Fprintf(&s, "client %d, %3d to %3d: %T%+v -> %+v\n", op.ClientId, op.Call, op.Return, op.Input, op.Input, op.Output)
	}
	return s.String()
}
