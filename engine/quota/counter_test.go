package quota

import (
	"sync/atomic"
	"testing"
)

const (
	nov28 Label = 20261128
	nov29 Label = 20261129
	nov30 Label = 20261130
	dec1  Label = 20261201
	dec2  Label = 20261202
)

// mustReserve reserves n, which has to be granted.
func mustReserve(t testing.TB, c *Counter, day Label, n Sums) Unit {
	t.Helper()
	u, v := c.Reserve(day, n)
	if v != Granted {
		t.Fatalf("Reserve(%v, %v) = %v with %+v of %v, want granted", day, n, v, c.Usage(), c.Limits())
	}
	return u
}

func checkUsage(t testing.TB, c *Counter, want Usage) {
	t.Helper()
	if got := c.Usage(); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
}

func TestVerdict(t *testing.T) {
	one := Sums{1, 1}
	for _, tt := range []struct {
		about                          string
		limits, committed, inFlight, n Sums
		want                           Verdict
	}{
		{"room in both", Sums{2, 2}, one, Sums{}, one, Granted},
		{"the last of both", Sums{2, 2}, Sums{}, one, one, Granted},
		{"day spent", Sums{1, 9}, one, Sums{}, one, FirstSpent},
		{"month spent", Sums{9, 1}, one, Sums{}, one, SecondSpent},
		{"both spent: the day is named", one, one, Sums{}, one, FirstSpent},
		{"day in flight", Sums{1, 9}, Sums{}, one, one, Busy},
		{"month in flight", Sums{9, 1}, Sums{}, one, one, Busy},
		{"day in flight but month spent is final", Sums{2, 1}, one, Sums{1, 0}, one, SecondSpent},
		{"part committed, part in flight", Sums{2, 9}, one, one, one, Busy},
		{"more than a limit at once", Sums{9, 9}, Sums{}, Sums{}, Sums{10, 1}, FirstSpent},
		{"more than fits in flight and never fits", Sums{3, 9}, one, one, Sums{3, 1}, FirstSpent},
		{"nothing of a spent day", Sums{1, 9}, one, Sums{}, Sums{0, 1}, Granted},
		{"nothing of a spent month", Sums{9, 1}, one, Sums{}, Sums{1, 0}, Granted},
		{"nothing at all, above the limits", Sums{}, one, Sums{}, Sums{}, Granted},
		{"limit below use", one, Sums{5, 5}, Sums{}, one, FirstSpent},
		{"limit 0", Sums{0, 9}, Sums{}, Sums{}, one, FirstSpent},
		{"unlimited", Sums{Unlimited, Unlimited}, Sums{1e9, 1e9}, one, Sums{1e9, 1e9}, Granted},
		{"the last unit a counter can hold", Sums{Unlimited, Unlimited}, Sums{Unlimited - 1, 0}, Sums{}, one, Granted},
		{"more than a counter can hold", Sums{Unlimited, Unlimited}, Sums{Unlimited, 0}, Sums{}, one, FirstSpent},
		{"more than a counter can ever hold", Sums{Unlimited, Unlimited}, Sums{}, Sums{}, Sums{1 << 62, 0}, FirstSpent},
	} {
		c := NewCounter(true, nov28, tt.committed, Sums{Unlimited, Unlimited})
		mustReserve(t, c, nov28, tt.inFlight)
		c.SetLimits(tt.limits)
		u, got := c.Reserve(nov28, tt.n)
		if got != tt.want {
			t.Errorf("%s: Reserve(%v) of %v with %v committed and %v in flight: got %v, want %v",
				tt.about, tt.n, tt.limits, tt.committed, tt.inFlight, got, tt.want)
		}
		if got != Granted {
			u.Release() // does nothing
			checkUsage(t, c, Usage{nov28, tt.committed, tt.inFlight})
		}
	}
}

// One unit is reserved and one is committed under nov29, then a day comes and something happens to the unit.
func TestUnitAcrossDays(t *testing.T) {
	commit, release, keep := Unit.Commit, Unit.Release, func(Unit) {}
	for _, tt := range []struct {
		about   string
		monthly bool
		day     Label
		settle  func(Unit)
		want    Usage
	}{
		{"commit on its day", true, nov29, commit, Usage{nov29, Sums{2, 2}, Sums{}}},
		{"release on its day", true, nov29, release, Usage{nov29, Sums{1, 1}, Sums{}}},
		{"the month goes on", true, nov30, keep, Usage{nov30, Sums{0, 1}, Sums{0, 1}}},
		{"commit in its month", true, nov30, commit, Usage{nov30, Sums{0, 2}, Sums{}}},
		{"release in its month", true, nov30, release, Usage{nov30, Sums{0, 1}, Sums{}}},
		{"the month is over", true, dec1, keep, Usage{Day: dec1}},
		{"commit after its month", true, dec1, commit, Usage{Day: dec1}},
		{"release after its month", true, dec1, release, Usage{Day: dec1}},
		{"not monthly: the day is over", false, nov30, keep, Usage{Day: nov30}},
		{"not monthly: commit after its day", false, nov30, commit, Usage{Day: nov30}},
		{"not monthly: release after its day", false, nov30, release, Usage{Day: nov30}},
	} {
		t.Run(tt.about, func(t *testing.T) {
			c := NewCounter(tt.monthly, nov28, Sums{}, Sums{5, 5})
			mustReserve(t, c, nov29, Sums{1, 1}).Commit()
			u := mustReserve(t, c, nov29, Sums{1, 1})
			mustReserve(t, c, tt.day, Sums{})
			tt.settle(u)
			checkUsage(t, c, tt.want)
			if u.Day() != nov29 {
				t.Errorf("the unit moved to %v", u.Day())
			}
		})
	}
}

func TestLabelNeverGoesBack(t *testing.T) {
	c := NewCounter(true, nov29, Sums{}, Sums{5, 5})
	u := mustReserve(t, c, nov28, Sums{1, 1})
	if u.Day() != nov29 || c.Day() != nov29 {
		t.Errorf("unit of %v from a counter at %v, want both at %v", u.Day(), c.Day(), nov29)
	}
	if got := (Unit{}).Day(); got != 0 {
		t.Errorf("no unit has label %v, want none", got)
	}
}

func TestRefund(t *testing.T) {
	for _, tt := range []struct {
		about     string
		monthly   bool
		day       Label // of the refund's unit; the counter is at nov30
		n, want   Sums
		committed Sums
	}{
		{"its day is open", true, nov30, Sums{1, 1}, Sums{1, 1}, Sums{2, 4}},
		{"its month is open", true, nov29, Sums{1, 1}, Sums{0, 1}, Sums{3, 4}},
		{"its month is over", true, 20261031, Sums{1, 1}, Sums{}, Sums{3, 5}},
		{"the same month of last year", true, 20251130, Sums{1, 1}, Sums{}, Sums{3, 5}},
		{"not monthly: its day is open", false, nov30, Sums{1, 1}, Sums{1, 1}, Sums{2, 4}},
		{"not monthly: its day is over", false, nov29, Sums{1, 1}, Sums{}, Sums{3, 5}},
		{"a day that has not come", true, dec1, Sums{1, 1}, Sums{}, Sums{3, 5}},
		{"no label", true, 0, Sums{1, 1}, Sums{}, Sums{3, 5}},
		{"more than is committed", true, nov30, Sums{4, 4}, Sums{3, 4}, Sums{0, 1}},
	} {
		c := NewCounter(tt.monthly, nov30, Sums{3, 5}, Sums{9, 9})
		mustReserve(t, c, nov30, Sums{1, 1})
		if got := c.Refund(tt.day, tt.n); got != tt.want {
			t.Errorf("%s: Refund(%v, %v) = %v, want %v", tt.about, tt.day, tt.n, got, tt.want)
		}
		checkUsage(t, c, Usage{nov30, tt.committed, Sums{1, 1}})
	}
}

func TestCharge(t *testing.T) {
	for _, tt := range []struct {
		about string
		day   Label // the counter is at nov29
		n     Sums
		want  Usage
	}{
		{"this day", nov29, Sums{7, 7}, Usage{nov29, Sums{10, 12}, Sums{}}},
		{"an earlier day of the month", nov28, Sums{7, 7}, Usage{nov29, Sums{3, 12}, Sums{}}},
		{"an earlier month", 20261031, Sums{7, 7}, Usage{nov29, Sums{3, 5}, Sums{}}},
		{"a later day opens it", nov30, Sums{7, 7}, Usage{nov30, Sums{7, 12}, Sums{}}},
		{"a later month opens it", dec1, Sums{7, 7}, Usage{dec1, Sums{7, 7}, Sums{}}},
		{"more than a counter can hold", nov29, Sums{1 << 62, 1}, Usage{nov29, Sums{Unlimited, 6}, Sums{}}},
	} {
		t.Run(tt.about, func(t *testing.T) {
			c := NewCounter(true, nov29, Sums{3, 5}, Sums{4, 6})
			c.Charge(tt.day, tt.n)
			checkUsage(t, c, tt.want)
		})
	}
}

func TestSetLimits(t *testing.T) {
	c := NewCounter(true, nov28, Sums{}, Sums{5, 5})
	u := mustReserve(t, c, nov28, Sums{3, 3})
	c.SetLimits(Sums{2, 9})
	if _, v := c.Reserve(nov28, Sums{1, 1}); v != Busy {
		t.Errorf("below what is in flight: got %v, want busy", v)
	}
	u.Commit()
	if _, v := c.Reserve(nov28, Sums{1, 1}); v != FirstSpent {
		t.Errorf("below what is committed: got %v, want first spent", v)
	}
	c.Refund(nov28, Sums{2, 2})
	mustReserve(t, c, nov28, Sums{1, 1})
	c.SetLimits(Sums{-1, 1 << 40})
	if got, want := c.Limits(), (Sums{0, Unlimited}); got != want {
		t.Errorf("limits that do not fit became %v, want %v", got, want)
	}
	checkUsage(t, c, Usage{nov28, Sums{1, 1}, Sums{1, 1}})
}

func TestNegativeAmountPanics(t *testing.T) {
	c := NewCounter(true, nov28, Sums{}, Sums{5, 5})
	for name, call := range map[string]func(){
		"Reserve": func() { c.Reserve(nov28, Sums{-1, 0}) },
		"Charge":  func() { c.Charge(nov28, Sums{0, -1}) },
		"Refund":  func() { c.Refund(nov28, Sums{-1, 0}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s took a negative amount", name)
				}
			}()
			call()
		}()
	}
	checkUsage(t, c, Usage{Day: nov28})
}

func TestWarmPathAllocatesNothing(t *testing.T) {
	c := NewCounter(true, nov28, Sums{}, Sums{Unlimited, Unlimited})
	spent := NewCounter(true, nov28, Sums{}, Sums{})
	for name, op := range map[string]func(){
		"commit":  func() { u, _ := c.Reserve(nov28, Sums{1, 1}); u.Commit() },
		"release": func() { u, _ := c.Reserve(nov28, Sums{1, 1}); u.Release() },
		"refusal": func() { spent.Reserve(nov28, Sums{1, 1}) },
		"usage":   func() { c.Usage() },
	} {
		if got := testing.AllocsPerRun(1000, op); got != 0 {
			t.Errorf("%s: %v allocations, want 0", name, got)
		}
	}
}

func BenchmarkReserveCommit(b *testing.B) {
	newCounter := func() *Counter { return NewCounter(true, nov28, Sums{}, Sums{Unlimited, Unlimited}) }
	cycle := func(c *Counter) {
		u, _ := c.Reserve(nov28, Sums{1, 1})
		u.Commit()
	}
	b.Run("one counter", func(b *testing.B) {
		c := newCounter()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				cycle(c)
			}
		})
	})
	b.Run("1024 counters", func(b *testing.B) {
		var counters [1024]*Counter
		for i := range counters {
			counters[i] = newCounter()
		}
		var goroutines atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for i := 341 * goroutines.Add(1); pb.Next(); i++ {
				cycle(counters[i%int64(len(counters))])
			}
		})
	})
	b.Run("refusal", func(b *testing.B) {
		c := NewCounter(true, nov28, Sums{}, Sums{})
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				c.Reserve(nov28, Sums{1, 1})
			}
		})
	})
}
