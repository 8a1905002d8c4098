package quota

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A ledger is what a counter should agree with: every unit on its own, each sum counted anew.
type ledger struct {
	monthly bool
	day     Label
	limits  Sums
	units   []entry
}

type entry struct {
	label     Label
	n         Sums
	committed bool
	unit      Unit
}

// counts returns the part of n, taken under label, that counts now.
func (l *ledger) counts(label Label, n Sums) (part Sums) {
	if label == l.day {
		part.First = n.First
	}
	if label == l.day || l.monthly && label.Month() == l.day.Month() {
		part.Second = n.Second
	}
	return part
}

func (l *ledger) usage() Usage {
	u := Usage{Day: l.day}
	for _, e := range l.units {
		if e.committed {
			u.Committed = u.Committed.plus(l.counts(e.label, e.n))
		} else {
			u.Reserved = u.Reserved.plus(l.counts(e.label, e.n))
		}
	}
	return u
}

func (l *ledger) verdict(n Sums) Verdict {
	u := l.usage()
	over := func(n, have, limit int64) bool { return n > 0 && have+n > limit }
	all := u.Committed.plus(u.Reserved)
	switch {
	case over(n.First, u.Committed.First, l.limits.First):
		return FirstSpent
	case over(n.Second, u.Committed.Second, l.limits.Second):
		return SecondSpent
	case over(n.First, all.First, l.limits.First), over(n.Second, all.Second, l.limits.Second):
		return Busy
	}
	return Granted
}

// Random operations, one after the other, over the days around the end of a month.
func TestCounterAgreesWithLedger(t *testing.T) {
	days := []Label{nov28, nov29, nov30, dec1, dec2}
	amounts := rapid.Custom(func(t *rapid.T) Sums {
		return Sums{rapid.Int64Range(0, 4).Draw(t, "first"), rapid.Int64Range(0, 4).Draw(t, "second")}
	})
	limits := rapid.Custom(func(t *rapid.T) Sums {
		return Sums{rapid.Int64Range(0, 12).Draw(t, "day"), rapid.Int64Range(0, 24).Draw(t, "month")}
	})
	rapid.Check(t, func(t *rapid.T) {
		l := &ledger{monthly: rapid.Bool().Draw(t, "monthly"), day: nov28, limits: limits.Draw(t, "limits")}
		c := NewCounter(l.monthly, l.day, Sums{}, l.limits)
		// day draws the ledger's day mostly, and else any.
		day := func(t *rapid.T) Label {
			if rapid.IntRange(0, 9).Draw(t, "today") < 8 {
				return l.day
			}
			return rapid.SampledFrom(days).Draw(t, "day")
		}
		// take removes a random unit of one kind from the ledger.
		take := func(t *rapid.T, committed bool) entry {
			var at []int
			for i, e := range l.units {
				if e.committed == committed {
					at = append(at, i)
				}
			}
			if len(at) == 0 {
				t.Skip("no such unit")
			}
			i := rapid.SampledFrom(at).Draw(t, "unit")
			e := l.units[i]
			l.units = slices.Delete(l.units, i, i+1)
			return e
		}
		t.Repeat(map[string]func(*rapid.T){
			"reserve": func(t *rapid.T) {
				day, n := day(t), amounts.Draw(t, "n")
				l.day = max(l.day, day)
				want := l.verdict(n)
				u, got := c.Reserve(day, n)
				if got != want {
					t.Fatalf("Reserve(%v, %v) = %v, want %v", day, n, got, want)
				}
				if got == Granted {
					l.units = append(l.units, entry{label: l.day, n: n, unit: u})
				}
			},
			"commit": func(t *rapid.T) {
				e := take(t, false)
				e.unit.Commit()
				e.committed = true
				l.units = append(l.units, e)
			},
			"release": func(t *rapid.T) { take(t, false).unit.Release() },
			"refund": func(t *rapid.T) {
				e := take(t, true)
				if got, want := c.Refund(e.label, e.n), l.counts(e.label, e.n); got != want {
					t.Fatalf("Refund(%v, %v) = %v, want %v", e.label, e.n, got, want)
				}
			},
			"charge": func(t *rapid.T) {
				e := entry{label: day(t), n: amounts.Draw(t, "n"), committed: true}
				l.day = max(l.day, e.label)
				l.units = append(l.units, e)
				c.Charge(e.label, e.n)
			},
			"limits": func(t *rapid.T) {
				l.limits = limits.Draw(t, "limits")
				c.SetLimits(l.limits)
			},
			"": func(t *rapid.T) {
				if got, want := c.Usage(), l.usage(); got != want {
					t.Fatalf("usage %+v, want %+v", got, want)
				}
				if c.Limits() != l.limits || c.Day() != l.day {
					t.Fatalf("limits %v on %v, want %v on %v", c.Limits(), c.Day(), l.limits, l.day)
				}
			},
		})
	})
}
