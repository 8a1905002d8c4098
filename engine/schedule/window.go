// Package schedule says when a message may go: within a window of local time, on allowed days of the week, in any time zone.
// It is pure: it reads no clock and keeps no state but the zones it has loaded.
package schedule

import "time"

// Window is when sends are allowed: from Start (inclusive) to End (exclusive) on the allowed days, by the clock of Zone.
// The zero value is always open.
//
// Start after End runs over midnight and belongs to the day on which it starts: 22:00 to 06:00 on Fridays ends on Saturday
// at 06:00. Start equal to End is the whole calendar day, whatever they are.
//
// Once open a window stays open until it closes; on days on which the clock is put forward or back:
//
//   - A Start that is skipped opens at the first instant after the gap.
//   - An End that is skipped closes at that same instant. A window that lies within the gap does not open that day.
//   - A Start that comes twice opens at the first, an End that comes twice closes at the last.
//   - A day that is skipped whole has no window.
type Window struct {
	Zone       *time.Location // nil is UTC
	Start, End Clock
	Days       Weekdays
}

// Contains reports whether w is open at t.
func (w Window) Contains(t time.Time) bool { return w.Next(t).Equal(t) }

// searchDays is how far Next looks for an open day. A week is enough but for days that a zone has skipped.
const searchDays = 28

// Next returns t itself if w is open at t, else the next instant at which it opens, in UTC. It is zero if no day is ever
// allowed, which no set made by [ParseWeekdays] says.
func (w Window) Next(t time.Time) time.Time {
	l := local{w.Zone}
	today := l.day(t)
	// Zones have been put forward or back by up to a day, so a window of the day before yesterday can still be open,
	// and that of tomorrow can be open already. Both ends only grow with the day, so the first that is not over is next.
	for day := today - 2; day <= today+searchDays; day++ {
		if !w.Days.Has(weekday(day)) {
			continue
		}
		opens, closes := w.on(l, day)
		if !opens.Before(closes) || !t.Before(closes) {
			continue
		}
		if t.Before(opens) {
			return opens
		}
		return t
	}
	return time.Time{}
}

// on returns when the window of a day opens and closes. It is empty if opens is not before closes.
func (w Window) on(l local, day int64) (opens, closes time.Time) {
	midnight, next := day*daySeconds, (day+1)*daySeconds
	switch {
	case w.Start == w.End:
		return l.first(midnight), l.last(next)
	case w.Start < w.End:
		return l.first(midnight + w.Start.seconds()), l.last(midnight + w.End.seconds())
	case l.first(midnight).Equal(l.first(next)): // skipped whole
		return time.Time{}, time.Time{}
	default:
		return l.first(midnight + w.Start.seconds()), l.last(next + w.End.seconds())
	}
}

// NextAt returns the first instant at or after after at which the clock of zone reads c, in UTC. A day on which c is skipped
// counts with the first instant after the gap, a day that is skipped whole not at all; a time that comes twice counts twice.
// A nil zone is UTC.
func NextAt(after time.Time, c Clock, zone *time.Location) time.Time {
	l := local{zone}
	from := after.Unix() // in whole seconds, as everything in a zone is
	if after.Nanosecond() > 0 {
		from++
	}
	for t := from - 1; ; { // a second early, to see a gap that ends at from
		_, end, offset := l.bounds(t)
		wall := max(from, t) + offset
		at := wall + mod(c.seconds()-wall, daySeconds) - offset
		if at < end {
			return time.Unix(at, 0).UTC()
		}
		_, _, newOffset := l.bounds(end)
		skipped := at + offset // what the clock would have read
		midnight := skipped - mod(skipped, daySeconds)
		wholeDay := end+offset <= midnight && end+newOffset >= midnight+daySeconds
		if skipped < end+newOffset && !wholeDay {
			return time.Unix(end, 0).UTC()
		}
		t = end
	}
}
