package engine

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sleepyClock is a testClock beside the ticks, which stand still while the machine sleeps.
type sleepyClock struct {
	testClock
	asleep time.Duration
}

func (c *sleepyClock) ticks() time.Duration { return c.elapsed() - c.asleep }

func (c *sleepyClock) sleep(d time.Duration) {
	c.pass(d)
	c.asleep += d
}

// start is a trusted clock by c, and what it says of jumps.
func (c *sleepyClock) start() (trusted *clock, news *[]bool) {
	trusted, news = new(clock), new([]bool)
	trusted.start(c.now, func(_ time.Duration, held bool) { *news = append(*news, held) })
	trusted.elapsed, trusted.ticks = c.elapsed, c.ticks
	trusted.accept()
	return trusted, news
}

// TestTrustedTime runs random changes of the clocks past the rule as it is written down: forward only as
// fast as time passes, within the tolerance of the reading before; back at once.
func TestTrustedTime(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		clock := &sleepyClock{testClock: testClock{wall: noon, past: time.Hour}}
		trusted, _ := clock.start()
		wall, past := clock.now(), clock.elapsed()
		seconds := func(from, to int) time.Duration {
			return time.Duration(rapid.IntRange(from, to).Draw(r, "seconds")) * time.Second
		}
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			switch rapid.IntRange(0, 4).Draw(r, "step") {
			case 0:
				clock.pass(seconds(0, 300))
			case 1:
				clock.set(clock.now().Add(seconds(-300, 300)))
			case 2:
				clock.sleep(seconds(0, 300))
			case 3:
				clock.pass(seconds(0, 300))
				clock.set(clock.now().Add(seconds(-5, 5)))
			case 4:
				trusted.accept()
				wall, past = clock.now(), clock.elapsed()
			}
			passed := wall.Add(clock.elapsed() - past)
			want, wantHeld := clock.now(), clock.now().Sub(passed) > tolerance
			if wantHeld {
				want = passed
			} else {
				wall, past = clock.now(), clock.elapsed()
			}
			if got, held := trusted.trusted(); !got.Equal(want) || held != wantHeld {
				r.Fatalf("the wall clock shows %s: trusted is %s, held %v; want %s, %v", clock.now(), got, held, want, wantHeld)
			}
		}
	})
}

// TestJumpsAreToldOnce: each jump is told once, whoever sees it first; sleep is none.
func TestJumpsAreToldOnce(t *testing.T) {
	clock := &sleepyClock{testClock: testClock{wall: noon, past: time.Hour}}
	trusted, news := clock.start()
	clock.sleep(48 * time.Hour)
	look := func() {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { trusted.trusted() })
		}
		all.Wait()
	}
	for _, step := range []struct {
		what string
		do   func()
		held []bool // told so far
	}{
		{"two days of sleep", func() {}, nil},
		{"a jump forward", func() { clock.set(clock.now().Add(time.Hour)) }, []bool{true}},
		{"half an hour later", func() { clock.pass(30 * time.Minute) }, []bool{true}},
		{"set right", func() { clock.set(clock.now().Add(-time.Hour)) }, []bool{true, false}},
		{"set back", func() { clock.set(clock.now().Add(-time.Hour)) }, []bool{true, false, false}},
		{"an hour later", func() { clock.pass(time.Hour) }, []bool{true, false, false}},
	} {
		step.do()
		look()
		if len(*news) != len(step.held) || len(*news) > 0 && (*news)[len(*news)-1] != step.held[len(step.held)-1] {
			t.Errorf("%s: told %v, want %v", step.what, *news, step.held)
		}
	}
}
