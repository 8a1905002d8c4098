package schedule

import (
	"math"
	"time"
)

const daySeconds = 24 * 60 * 60

// local answers questions about the clock of a zone. What it reads is counted in seconds from 1970-01-01 00:00 by that same
// clock ("wall seconds"), and a day is counted from that date, so calendar arithmetic is integer arithmetic.
type local struct {
	zone *time.Location // nil is UTC
}

// day returns the local date at t.
func (l local) day(t time.Time) int64 {
	_, _, offset := l.bounds(t.Unix())
	wall := t.Unix() + offset
	return (wall - mod(wall, daySeconds)) / daySeconds
}

// weekday returns the day of the week of a day. 1970-01-01 was a Thursday.
func weekday(day int64) time.Weekday {
	return time.Weekday(mod(day+int64(time.Thursday), 7))
}

// first returns the first instant at which the clock reads wall or later.
func (l local) first(wall int64) time.Time {
	// No zone is a whole day away from UTC, so the clock can't have got to wall a day before UTC does.
	for t := wall - daySeconds; ; {
		_, end, offset := l.bounds(t)
		if at := max(t, wall-offset); at < end {
			return time.Unix(at, 0).UTC()
		}
		t = end
	}
}

// last returns the instant from which on the clock reads wall or later for good.
func (l local) last(wall int64) time.Time {
	for t := wall + daySeconds; ; {
		start, end, offset := l.bounds(t)
		if at := min(end, wall-offset); at > start {
			return time.Unix(at, 0).UTC()
		}
		t = start - 1
	}
}

// bounds returns the stretch of time around t in which the offset from UTC does not change, and that offset, all in seconds.
func (l local) bounds(t int64) (start, end, offset int64) {
	zone := l.zone
	if zone == nil {
		zone = time.UTC
	}
	at := time.Unix(t, 0).In(zone)
	_, seconds := at.Zone()
	start, end = math.MinInt64, math.MaxInt64
	from, to := at.ZoneBounds()
	if !from.IsZero() {
		start = from.Unix()
	}
	if !to.IsZero() {
		end = to.Unix()
	}
	return start, end, int64(seconds)
}

// mod returns n modulo m, from 0 to m-1 also for a negative n.
func mod(n, m int64) int64 { return (n%m + m) % m }
