package quota

import (
	"fmt"
	"testing"
)

// A goroutine that ends a period may stop for a while after any step. Whatever others do then has to
// come out as if it had not.
func TestPeriodEndedHalfWay(t *testing.T) {
	type next struct {
		about  string
		day    Label
		limits Sums
	}
	nexts := []next{
		{"new day", nov30, Sums{4, 6}},
		{"new month", dec1, Sums{4, 6}},
		{"new limits", nov29, Sums{9, 9}},
		{"limits below use", nov29, Sums{1, 1}},
	}
	steps := []string{"chosen", "used sealed", "both sealed", "used opened", "both opened"}
	halt := func(p *period, n next, after string) {
		for _, step := range steps {
			switch step {
			case "chosen":
				p.follow(n.day, n.limits)
			case "used sealed":
				p.sums[used].Or(sealed)
			case "both sealed":
				p.sums[committed].Or(sealed)
			case "used opened":
				q := p.next.Load()
				q.sums[used].Store(pack(q.part(p.day, unpack(p.sums[used].Load()))))
			case "both opened":
				p.successor()
			}
			if step == after {
				return
			}
		}
	}
	ops := map[string]func(*Counter, Unit) any{
		"look":               func(c *Counter, _ Unit) any { return c.Usage() },
		"commit":             func(c *Counter, u Unit) any { u.Commit(); return c.Usage() },
		"release":            func(c *Counter, u Unit) any { u.Release(); return c.Usage() },
		"reserve":            func(c *Counter, _ Unit) any { _, v := c.Reserve(nov29, Sums{1, 1}); return v },
		"reserve under next": func(c *Counter, _ Unit) any { _, v := c.Reserve(nov30, Sums{3, 1}); return v },
		"reserve too much":   func(c *Counter, _ Unit) any { _, v := c.Reserve(nov29, Sums{1, 4}); return v },
		"refund":             func(c *Counter, _ Unit) any { return c.Refund(nov29, Sums{1, 2}) },
		"charge":             func(c *Counter, _ Unit) any { c.Charge(nov29, Sums{2, 3}); return nil },
		"set limits":         func(c *Counter, _ Unit) any { c.SetLimits(Sums{3, 8}); return c.Limits() },
	}
	// run does op on a counter at nov29 with Sums{1, 1} in flight.
	run := func(n next, after string, op func(*Counter, Unit) any) string {
		c := NewCounter(true, nov29, Sums{1, 3}, Sums{4, 6})
		u := mustReserve(t, c, nov29, Sums{1, 1})
		halt(c.current.Load(), n, after)
		result := op(c, u)
		return fmt.Sprintf("%v, then %+v, limits %v", result, c.Usage(), c.Limits())
	}
	for _, n := range nexts {
		for name, op := range ops {
			want := run(n, "both opened", op)
			for _, after := range steps {
				if got := run(n, after, op); got != want {
					t.Errorf("%s, %s, then %s:\n got %s\nwant %s", n.about, after, name, got, want)
				}
			}
		}
	}
}

func TestOneSuccessorWins(t *testing.T) {
	p := NewCounter(true, nov28, Sums{}, Sums{1, 1}).live()
	if !p.follow(nov29, p.limits) || p.follow(nov30, p.limits) {
		t.Error("want the first proposal taken and the second not")
	}
	if got := p.successor().day; got != nov29 {
		t.Errorf("successor of %v, want %v", got, nov29)
	}
}
