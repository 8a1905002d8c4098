package quota

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// insist reserves n, trying again while the counter is busy. If it stays so it ends the goroutine.
func insist(t *testing.T, c *Counter, day Label, n Sums) (Unit, Verdict) {
	for range 1 << 21 {
		u, v := c.Reserve(day, n)
		if v != Busy {
			return u, v
		}
		runtime.Gosched()
	}
	t.Errorf("busy for ever: %+v of %v", c.Usage(), c.Limits())
	runtime.Goexit()
	panic("not reached")
}

// inParallel runs work on many goroutines and waits for all.
func inParallel(goroutines int, work func(g int)) {
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() { work(g) })
	}
	wg.Wait()
}

// When all is quiet, exactly the smaller of limit and demand was granted, also if days passed meanwhile.
func TestExactlyMinOfLimitAndDemand(t *testing.T) {
	const goroutines, each = 16, 300
	const demand = goroutines * each
	one := Sums{1, 1}
	for _, tt := range []struct {
		about  string
		days   []Label
		limits Sums
		want   int64
	}{
		{"demand below both", []Label{nov28}, Sums{demand + 1, demand + 1}, demand},
		{"demand is the limit", []Label{nov28}, Sums{demand, demand}, demand},
		{"day limit", []Label{nov28}, Sums{demand / 3, demand}, demand / 3},
		{"month limit", []Label{nov28}, Sums{demand, demand / 7}, demand / 7},
		{"month limit over three days", []Label{nov28, nov29, nov30}, Sums{demand, demand / 2}, demand / 2},
		{"day limit on three days", []Label{nov28, nov29, nov30}, Sums{50, demand}, 150},
		{"month limit in two months", []Label{nov30, dec1}, Sums{demand, 99}, 198},
	} {
		for range 5 {
			c := NewCounter(true, tt.days[0], Sums{}, tt.limits)
			var granted atomic.Int64
			inParallel(goroutines, func(int) {
				for i := range each {
					day := tt.days[i*len(tt.days)/each]
					u, v := insist(t, c, day, one)
					if len(tt.days) == 1 && i%3 == 0 { // the first try fails
						u.Release()
						u, v = insist(t, c, day, one)
					}
					if v == Granted {
						u.Commit()
						granted.Add(1)
					}
				}
			})
			if got, u := granted.Load(), c.Usage(); got != tt.want || u.Reserved != (Sums{}) {
				t.Errorf("%s: granted %d of %d, want %d; then %+v", tt.about, got, demand, tt.want, u)
			}
		}
	}
}

// A tally counts by day, from outside, what was certainly in use at some moment.
type tally struct {
	mu   sync.Mutex
	days map[Label]int64
}

// add adds n and returns the sums of the day and of its month.
func (y *tally) add(day Label, n int64) Sums {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.days[day] += n
	sums := Sums{First: y.days[day]}
	for other, n := range y.days {
		if other.Month() == day.Month() {
			sums.Second += n
		}
	}
	return sums
}

// Everything at once while days pass: no limit is ever exceeded, as the counter shows it and as its
// users know it, and the totals at the end are exact.
func TestNeverAboveLimit(t *testing.T) {
	const goroutines, each = 12, 1500
	days := []Label{nov28, nov29, nov30, dec1, dec2}
	limits := Sums{20, 45}
	for range 4 {
		c := NewCounter(true, nov28, Sums{}, limits)
		held := tally{days: map[Label]int64{}}
		check := func(day Label, s Sums, who string) {
			if allow(limits, Sums{}, s) != Granted {
				t.Errorf("%s: %v in use on %v, above %v", who, s, day, limits)
			}
		}
		var done atomic.Bool
		var sampler sync.WaitGroup
		sampler.Go(func() {
			for !done.Load() {
				u := c.Usage()
				check(u.Day, u.Committed.plus(u.Reserved), "the counter")
				runtime.Gosched()
			}
		})
		inParallel(goroutines, func(g int) {
			var last []Unit
			for i := range each {
				u, v := c.Reserve(days[i*len(days)/each], Sums{1, 1})
				if v != Granted {
					runtime.Gosched()
				} else {
					check(u.Day(), held.add(u.Day(), 1), "its users")
					last = append(last, u)
				}
				if len(last) > g%4 {
					u, last = last[0], last[1:]
					settle(c, u, &held, i)
				}
				if i%100 == g {
					c.SetLimits(Sums{limits.First - int64(g%3), limits.Second})
				}
			}
			for i, u := range last {
				settle(c, u, &held, i)
			}
		})
		done.Store(true)
		sampler.Wait()
		day := c.Day()
		if got, want := c.Usage(), (Usage{day, held.add(day, 0), Sums{}}); got != want {
			t.Errorf("at the end %+v, want %+v", got, want)
		}
	}
}

// settle commits u, releases it, or commits and refunds it. The tally forgets it before the counter does.
func settle(c *Counter, u Unit, held *tally, i int) {
	switch i % 3 {
	case 0:
		u.Commit()
	case 1:
		held.add(u.Day(), -1)
		u.Release()
	default:
		u.Commit()
		held.add(u.Day(), -1)
		c.Refund(u.Day(), Sums{1, 1})
	}
}

// What is shown as used is never less than what is, and what is shown as committed never more.
func TestUsageNeverTooSmall(t *testing.T) {
	c := NewCounter(true, nov28, Sums{}, Sums{Unlimited, Unlimited})
	var granted, committing atomic.Int64
	var done atomic.Bool
	var sampler sync.WaitGroup
	sampler.Go(func() {
		for !done.Load() {
			least := granted.Load()
			u := c.Usage()
			if used := u.Committed.Second + u.Reserved.Second; used < least {
				t.Errorf("%d shown as used, but there were %d before", used, least)
			}
			if most := committing.Load(); u.Committed.Second > most {
				t.Errorf("%d shown as committed, but there were only %d afterwards", u.Committed.Second, most)
			}
		}
	})
	inParallel(4, func(int) {
		for i := range 5000 {
			u, _ := c.Reserve(nov28+Label(i/2000), Sums{1, 1})
			granted.Add(1)
			committing.Add(1)
			u.Commit()
		}
	})
	done.Store(true)
	sampler.Wait()
	checkUsage(t, c, Usage{nov30, c.Usage().Committed, Sums{}})
	if got := c.Usage().Committed.Second; got != 20000 {
		t.Errorf("%d committed in the month, want 20000", got)
	}
}

// Committed is raised after used and lowered before it. A reader that looks at them in the same order,
// while they only rise or only fall, never finds committed above.
func TestCommittedNeverAboveUsed(t *testing.T) {
	c := NewCounter(true, nov28, Sums{}, Sums{Unlimited, Unlimited})
	one := Sums{1, 1}
	for _, tt := range []struct {
		about         string
		first, second int
		change        func()
	}{
		{"rising", committed, used, func() { c.Charge(nov28, one); u, _ := c.Reserve(nov28, one); u.Commit() }},
		{"falling", used, committed, func() { c.Refund(nov28, one) }},
	} {
		var done atomic.Bool
		var sampler sync.WaitGroup
		sampler.Go(func() {
			for !done.Load() {
				p := c.live()
				var sums [2]Sums
				sums[tt.first] = unpack(p.sums[tt.first].Load())
				sums[tt.second] = unpack(p.sums[tt.second].Load())
				if sums[committed].First > sums[used].First {
					t.Errorf("%s: %v committed of %v used", tt.about, sums[committed], sums[used])
				}
			}
		})
		inParallel(2, func(int) {
			for range 50_000 {
				tt.change()
			}
		})
		done.Store(true)
		sampler.Wait()
	}
}

// Each call of SetLimits takes effect at most once, so the limits never return to those of an earlier call.
func TestEachLimitsTakeEffectOnce(t *testing.T) {
	for range 3000 {
		c := NewCounter(true, nov28, Sums{}, Sums{})
		first := c.live()
		inParallel(2, func(g int) { c.SetLimits(Sums{1, int64(g)}) })
		changes := 0
		for p := first; p != c.live(); p = p.next.Load() {
			changes++
		}
		if changes > 2 {
			t.Fatalf("2 calls made %d changes", changes)
		}
	}
}
