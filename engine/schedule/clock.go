package schedule

import (
	"errors"
	"fmt"
	"time"
)

// Clock is a wall-clock time of day, in minutes since midnight: 0 to 1439.
type Clock int

// ErrClock is what [ParseClock] returns for anything but HH:mm.
var ErrClock = errors.New("a time of day must be in HH:mm format, from 00:00 to 23:59")

// ParseClock reads HH:mm, from 00:00 to 23:59: five ASCII characters, no sign, no space, no 24:00.
func ParseClock(s string) (Clock, error) {
	if len(s) != 5 || s[2] != ':' {
		return 0, ErrClock
	}
	for _, i := range []int{0, 1, 3, 4} {
		if s[i] < '0' || s[i] > '9' {
			return 0, ErrClock
		}
	}
	hour, minute := int(s[0]-'0')*10+int(s[1]-'0'), int(s[3]-'0')*10+int(s[4]-'0')
	if hour > 23 || minute > 59 {
		return 0, ErrClock
	}
	return Clock(hour*60 + minute), nil
}

// String returns c as HH:mm, as [ParseClock] reads it.
func (c Clock) String() string { return fmt.Sprintf("%02d:%02d", int(c)/60, int(c)%60) }

// seconds returns the seconds from midnight to c.
func (c Clock) seconds() int64 { return int64(c) * 60 }

// Weekdays is a set of days of the week: bit 0 is Sunday, bit 6 Saturday. The zero value means every day.
type Weekdays uint8

// everyDay is the set that the zero value stands for, written out.
const everyDay Weekdays = 1<<7 - 1

// ParseWeekdays returns the set of the days, each from 0 (Sunday) to 6 (Saturday). No days means every day.
func ParseWeekdays(days []int) (Weekdays, error) {
	var w Weekdays
	for _, d := range days {
		if d < 0 || d > 6 {
			return 0, fmt.Errorf("%d is not a day of the week: 0 is Sunday, 6 is Saturday", d)
		}
		w |= 1 << d
	}
	return w, nil
}

// Has reports whether the set holds d.
func (w Weekdays) Has(d time.Weekday) bool {
	return w == 0 || w&everyDay&(1<<d) != 0
}
