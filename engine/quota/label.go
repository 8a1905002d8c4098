package quota

import (
	"fmt"
	"time"
)

// A Label is a calendar day written YYYYMMDD, such as 20261123; zero is none. Labels compare as
// numbers. A unit keeps the label it was taken under, and nobody works it out again.
type Label int32

// DayOf returns the day that clocks in loc show at t. Near a change of the clocks it can fall back
// by a day (St. John's used to go from 00:01 to 23:01), so keep the largest label seen; a [Counter] does.
func DayOf(t time.Time, loc *time.Location) Label {
	y, m, d := t.In(loc).Date()
	return Label(y*10000 + int(m)*100 + d)
}

// Month returns the month of l, written YYYYMM.
func (l Label) Month() int32 { return int32(l) / 100 }

// String returns l as in 2026-11-23, or "none".
func (l Label) String() string {
	if l == 0 {
		return "none"
	}
	y, m, d := l.date()
	return fmt.Sprintf("%04d-%02d-%02d", y, m, d)
}

// Start returns the first instant, in UTC, at which clocks in loc show day l or a later one. That is
// not always midnight, and on a day that loc skipped it is the start of the day after. l is not zero.
func (l Label) Start(loc *time.Location) time.Time {
	y, m, d := l.date()
	return dayStart(y, m, d, loc)
}

// End returns the first instant after day l: the start of the next calendar day, in UTC. l is not zero.
func (l Label) End(loc *time.Location) time.Time {
	y, m, d := l.date()
	return dayStart(y, m, d+1, loc)
}

// MonthEnd returns the first instant after the month of l: the start of the next month, in UTC.
// l is not zero.
func (l Label) MonthEnd(loc *time.Location) time.Time {
	y, m, _ := l.date()
	return dayStart(y, m+1, 1, loc)
}

func (l Label) date() (y int, m time.Month, d int) {
	return int(l) / 10000, time.Month(l / 100 % 100), int(l) % 100
}

// dayStart looks for midnight in one stretch of constant offset after the other, beginning before the
// day can have started anywhere. time.Date doesn't do: of a midnight that does not exist it may make
// an instant of the day before.
func dayStart(y int, m time.Month, d int, loc *time.Location) time.Time {
	midnight := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	stretch := midnight.Add(-48 * time.Hour).In(loc)
	for {
		_, offset := stretch.Zone()
		start := midnight.Add(-time.Duration(offset) * time.Second)
		if start.Before(stretch) {
			start = stretch
		}
		_, end := stretch.ZoneBounds()
		if end.IsZero() || start.Before(end) {
			return start.UTC()
		}
		stretch = end
	}
}
