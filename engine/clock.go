package engine

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// clock tells the time by which days are opened. It follows the wall clock back at once (labels never
// go back by themselves), and forward as fast as time really passes; but a jump forward is held, so
// that a wrong clock opens no new day. A held jump ends when the operator accepts it, when the program
// starts again, or when time has caught up.
type clock struct {
	now     func() time.Time
	elapsed func() time.Duration // since some instant, also while the machine slept

	changed func(ahead time.Duration, held bool) // hears of jumps; called under mu

	mu   sync.Mutex
	wall time.Time     // trusted reading
	at   time.Duration // elapsed at that reading
	held bool          // the wall clock is ahead of what is trusted
}

// tolerance is how far the wall clock may run ahead of the time that passed: corrections by NTP.
const tolerance = 2 * time.Minute

func (c *clock) start(now func() time.Time, changed func(ahead time.Duration, held bool)) {
	c.now, c.elapsed, c.changed = now, bootTime, changed
	c.wall, c.at = c.reading()
}

// reading is the wall clock's time beside the time that passed. The wall clock's monotonic part is cut
// off: with it, the difference of two readings would never show that the clock was set.
func (c *clock) reading() (wall time.Time, at time.Duration) { return c.now().Round(0), c.elapsed() }

// bootTime is the time since the machine started, including sleep, which time.Since leaves out.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// trusted returns the time by which days open, and whether the wall clock is ahead of it.
func (c *clock) trusted() (t time.Time, held bool) {
	wall, at := c.reading()
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := c.wall.Add(at - c.at)
	held = wall.Sub(passed) > tolerance
	if held != c.held || passed.Sub(wall) > tolerance {
		c.changed(wall.Sub(passed), held)
	}
	if c.held = held; held {
		return passed, true
	}
	c.wall, c.at = wall, at
	return wall, false
}

// accept makes the wall clock's reading the trusted one.
func (c *clock) accept() {
	wall, at := c.reading()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.at, c.held = wall, at, false
}

// AcceptClock makes the wall clock's time the one by which days open, after a jump.
func (a Admin) AcceptClock() {
	a.e.clock.accept()
	for _, t := range a.e.allTenants() {
		a.e.work.wakeAll(t)
	}
}

// ClockHeld tells whether the wall clock jumped ahead, so that no new day is opened until the
// operator accepts it.
func (e *Engine) ClockHeld() bool {
	_, held := e.clock.trusted()
	return held
}
