package quota

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const second = time.Second

func TestRate(t *testing.T) {
	type take struct {
		now       time.Duration
		ok        bool
		remaining int
		reset     time.Duration
	}
	for _, tt := range []struct {
		about string
		n     int
		takes []take
	}{
		{"one a minute", 1, []take{
			{0, true, 0, 60 * second},
			{0, false, 0, 60 * second},
			{60*second - 1, false, 0, 1},
			{60 * second, true, 0, 60 * second},
			{61 * second, false, 0, 59 * second},
		}},
		{"a refusal counts for nothing", 2, []take{
			{10 * second, true, 1, 60 * second},
			{20 * second, true, 0, 50 * second},
			{30 * second, false, 0, 40 * second},
			{69 * second, false, 0, 1 * second},
			{70 * second, true, 0, 10 * second},
			{79 * second, false, 0, 1 * second},
			{80 * second, true, 0, 50 * second},
		}},
		{"all come back after a rest", 3, []take{
			{0, true, 2, 60 * second},
			{1 * second, true, 1, 59 * second},
			{2 * second, true, 0, 58 * second},
			{3 * second, false, 0, 57 * second},
			{100 * second, true, 2, 60 * second},
		}},
		{"no double burst around a full minute", 2, []take{
			{59 * second, true, 1, 60 * second},
			{59 * second, true, 0, 60 * second},
			{61 * second, false, 0, 58 * second},
			{118 * second, false, 0, 1 * second},
			{119 * second, true, 1, 60 * second},
		}},
		{"a caller held up since second 5", 2, []take{
			{10 * second, true, 1, 60 * second},
			{5 * second, true, 0, 65 * second},
			{69 * second, false, 0, 1 * second},
			{70 * second, true, 1, 60 * second},
			{66 * second, true, 0, 64 * second}, // at 10, 5, 70 and 66
			{126 * second, false, 0, 4 * second},
		}},
	} {
		r := NewRate(tt.n, time.Minute)
		for _, want := range tt.takes {
			got := take{now: want.now}
			got.ok, got.remaining, got.reset = r.Take(want.now)
			if got != want {
				t.Errorf("%s: got %+v, want %+v", tt.about, got, want)
			}
		}
	}
}

func TestRateNeedsEvents(t *testing.T) {
	for _, args := range [][2]int{{0, 1}, {-1, 1}, {1, 0}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("NewRate(%d, %d) did not panic", args[0], args[1])
				}
			}()
			NewRate(args[0], time.Duration(args[1]))
		}()
	}
}

// Random readings that do not go back, against a list of all admissions.
func TestRateAgreesWithList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, per := rapid.IntRange(1, 9).Draw(t, "n"), time.Duration(rapid.IntRange(1, 50).Draw(t, "per"))
		r := NewRate(n, per)
		var admitted []time.Duration
		var now time.Duration
		for range rapid.IntRange(1, 100).Draw(t, "calls") {
			now += time.Duration(rapid.IntRange(0, 12).Draw(t, "later"))
			recent := slices.DeleteFunc(slices.Clone(admitted), func(at time.Duration) bool { return now-at >= per })
			ok, remaining, reset := r.Take(now)
			if want := len(recent) < n; ok != want {
				t.Fatalf("at %d: got %v, want %v after %v", now, ok, want, recent)
			}
			if ok {
				admitted, recent = append(admitted, now), append(recent, now)
			}
			if remaining != n-len(recent) || reset != recent[0]+per-now {
				t.Fatalf("at %d: %d remain, next in %d; want %d, %d", now, remaining, reset, n-len(recent), recent[0]+per-now)
			}
			if used := r.Used(now); used != len(recent) {
				t.Fatalf("at %d: %d used, want %d", now, used, len(recent))
			}
		}
	})
}

// Many goroutines with a clock that they all push on: no interval has more than n admissions.
func TestRateNeverAboveInAnyInterval(t *testing.T) {
	const goroutines, each = 8, 3000
	for _, n := range []int{1, 2, 3, 7, 64} {
		const per = 100
		r := NewRate(n, per)
		var clock atomic.Int64
		admitted := make([][]time.Duration, goroutines)
		inParallel(goroutines, func(g int) {
			for i := range each {
				now := time.Duration(clock.Add(int64(i+g) % 4))
				if i%16 == g {
					runtime.Gosched() // and so come late
				}
				if ok, _, _ := r.Take(now); ok {
					admitted[g] = append(admitted[g], now)
				}
			}
		})
		all := slices.Concat(admitted...)
		slices.Sort(all)
		for i := n; i < len(all); i++ {
			if all[i]-all[i-n] < per {
				t.Fatalf("%d at a time: %d admissions from %d to %d", n, n+1, all[i-n], all[i])
			}
		}
		if len(all) < n {
			t.Errorf("%d at a time: only %d admissions", n, len(all))
		}
	}
}

// At one instant exactly n are admitted, whoever asks, and again exactly n when the interval is over.
func TestRateAdmitsExactlyN(t *testing.T) {
	const goroutines, per = 8, 100
	for _, n := range []int{1, 2, 7, 100} {
		r := NewRate(n, per)
		for round := range 50 {
			var admitted atomic.Int64
			inParallel(goroutines, func(int) {
				for range n {
					if ok, _, _ := r.Take(time.Duration(round * per)); ok {
						admitted.Add(1)
					}
				}
			})
			if got := admitted.Load(); got != int64(n) {
				t.Fatalf("round %d: admitted %d, want %d", round, got, n)
			}
		}
	}
}

// A goroutine may stop after filling a slot and before it says so. Others go on as if it had.
func TestRateFilledButTurnNotAdvanced(t *testing.T) {
	r := NewRate(2, 100)
	for now := range time.Duration(1000) {
		ok, _, _ := r.Take(now)
		if ok {
			r.turn.Add(^uint64(0))
		}
		if want := now%100 < 2; ok != want {
			t.Errorf("at %d: got %v, want %v", now, ok, want)
		}
	}
}

func TestRateAllocatesNothing(t *testing.T) {
	r := NewRate(60, time.Minute)
	var now time.Duration
	if got := testing.AllocsPerRun(1000, func() { now += time.Second / 2; r.Take(now) }); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

func BenchmarkRateTake(b *testing.B) {
	b.Run("admitted", func(b *testing.B) {
		r := NewRate(600, 600)
		var clock atomic.Int64
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r.Take(time.Duration(clock.Add(1)))
			}
		})
	})
	b.Run("refused", func(b *testing.B) {
		r := NewRate(600, time.Hour)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r.Take(0)
			}
		})
	})
}
