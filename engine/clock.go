package engine

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tuco/engine/auditlog"
)

// clock tells the time by which days are opened. It follows the wall clock back at once (labels never
// go back by themselves), and forward as fast as time really passes; but a jump forward is held, so
// that a wrong clock opens no new day. A held jump ends when the operator accepts it, when the program
// starts again, or when time has caught up. No method takes a lock.
type clock struct {
	now     func() time.Time
	elapsed func() time.Duration // since some instant, also while the machine slept; a system call
	ticks   func() time.Duration // since some instant, perhaps without the time asleep; cheap

	changed func(ahead time.Duration, held bool) // hears of each jump once

	trust atomic.Pointer[reading]
}

// A reading is what the clocks showed together, the last time that it was news.
type reading struct {
	wall     time.Time
	at, tick time.Duration // elapsed and ticks
	held     bool          // the wall clock is ahead of what is trusted; the reading is the last from before
}

const (
	// tolerance is how far the wall clock may run ahead of the time that passed: corrections by NTP.
	tolerance = 2 * time.Minute
	// slack is how far clocks that are read one after the other differ without any of them being set.
	slack = time.Millisecond
)

func (c *clock) start(now func() time.Time, changed func(ahead time.Duration, held bool)) {
	began := time.Now()
	c.now, c.elapsed, c.changed = now, bootTime, changed
	c.ticks = func() time.Duration { return time.Since(began) }
	c.accept()
}

// read reads all clocks. The wall clock's monotonic part is cut off: with it, the difference of two
// readings would never show that the clock was set.
func (c *clock) read() *reading {
	return &reading{wall: c.now().Round(0), at: c.elapsed(), tick: c.ticks()}
}

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
	last := c.trust.Load()
	if !last.held {
		wall, tick := c.now().Round(0), c.ticks()
		if moved := wall.Sub(last.wall) - (tick - last.tick); -slack <= moved && moved <= slack {
			return wall, false
		}
	}
	return c.judge()
}

// judge looks at the time that passed, whenever the wall clock did anything but go on.
func (c *clock) judge() (t time.Time, held bool) {
	for {
		last := c.trust.Load()
		next := c.read()
		passed := last.wall.Add(next.at - last.at)
		ahead := next.wall.Sub(passed)
		if held = ahead > tolerance; held {
			if last.held {
				return passed, true
			}
			next = &reading{last.wall, last.at, last.tick, true}
		}
		if !c.trust.CompareAndSwap(last, next) {
			continue // another one judged meanwhile
		}
		if held != last.held || ahead < -tolerance {
			c.changed(ahead, held)
		}
		if held {
			return passed, true
		}
		return next.wall, false
	}
}

// accept makes the wall clock's reading the trusted one.
func (c *clock) accept() { c.trust.Store(c.read()) }

// AcceptClock makes the wall clock's time the one by which days open, after a jump.
func (a Admin) AcceptClock() error {
	if err := a.e.recordAlone(auditlog.Entry{Event: "clock.accepted", Actor: operatorActor}); err != nil {
		return err
	}
	a.e.clock.accept()
	a.e.audit.longAgo.Store(false)
	for _, t := range a.e.allTenants() {
		a.e.work.wakeAll(t)
	}
	return nil
}

// ClockHeld tells whether the wall clock jumped ahead, so that no new day is opened until the
// operator accepts it.
func (e *Engine) ClockHeld() bool {
	_, held := e.clock.trusted()
	return held
}
