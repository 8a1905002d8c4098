package schedule

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := LoadZone(name)
	if err != nil {
		t.Fatalf("LoadZone(%q): %v", name, err)
	}
	return z
}

func clock(t testing.TB, s string) Clock {
	t.Helper()
	c, err := ParseClock(s)
	if err != nil {
		t.Fatalf("ParseClock(%q): %v", s, err)
	}
	return c
}

// at reads a time written with its offset, so that a test says which of two equal clock readings it means.
func at(t testing.TB, s string) time.Time {
	t.Helper()
	when, err := time.Parse("2006-01-02 15:04 -07:00", s)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func days(t testing.TB, d ...int) Weekdays {
	t.Helper()
	w, err := ParseWeekdays(d)
	if err != nil {
		t.Fatalf("ParseWeekdays(%v): %v", d, err)
	}
	return w
}

func TestParseClock(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Clock
	}{{"00:00", 0}, {"09:00", 540}, {"23:59", 1439}} {
		if got, err := ParseClock(tt.in); err != nil || got != tt.want || got.String() != tt.in {
			t.Errorf("ParseClock(%q) = %v (%d), %v, want %d", tt.in, got, got, err, tt.want)
		}
	}
	for _, in := range []string{"", "9:00", "09:0", "24:00", "23:60", "0900", "09:00:00", " 9:00", "+9:00", "-1:00", "09.00", "09:00 ", "٠٩:٠٠", "0x:00", "99:99"} {
		if got, err := ParseClock(in); err == nil {
			t.Errorf("ParseClock(%q) = %v, want an error", in, got)
		}
	}
}

func TestParseWeekdays(t *testing.T) {
	weekend := days(t, 0, 6, 6)
	for d := time.Sunday; d <= time.Saturday; d++ {
		if got, want := weekend.Has(d), d == time.Sunday || d == time.Saturday; got != want {
			t.Errorf("weekend.Has(%v) = %v, want %v", d, got, want)
		}
		if !days(t).Has(d) || !everyDay.Has(d) {
			t.Errorf("no days, or all of them, leave out %v", d)
		}
	}
	for _, in := range [][]int{{-1}, {7}, {1, 2, 8}} {
		if got, err := ParseWeekdays(in); err == nil {
			t.Errorf("ParseWeekdays(%v) = %b, want an error", in, got)
		}
	}
	if got := (Window{Days: 1 << 7}).Next(time.Unix(0, 0)); !got.IsZero() {
		t.Errorf("a window without any day opens at %v, want never", got)
	}
}

func TestLoadZone(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/Argentina/ComodRivadavia", "Etc/GMT+5", "America/Port-au-Prince", "EST5EDT"} {
		first, again := zone(t, name), zone(t, name)
		if first.String() != name || first != again {
			t.Errorf("LoadZone(%q) = %v, then %v, want the same twice", name, first, again)
		}
	}
	for _, name := range []string{"", "Local", "localtime", "posixrules", "Factory", "Mars/Olympus", "right/UTC", "posix/UTC", "/etc/localtime", "../zoneinfo/UTC",
		"Europe//Berlin", "Europe/./Berlin", "Europe/Berlin/", "Europe", "Europe/Berlin\x00", "Europe/Ber lin", "+01:00", "tzdata.zi", strings.Repeat("A", 1<<20)} {
		if got, err := LoadZone(name); !errors.Is(err, ErrZone) {
			t.Errorf("LoadZone(%.40q) = %v, %v, want ErrZone", name, got, err)
		}
	}
}

// Each row says when a window is asked, and when it is open next: "now" if it is open already.
func TestWindow(t *testing.T) {
	type test struct {
		name, zone, start, end string
		days                   []int
		now, next              string
	}
	const now = "now"
	for _, tt := range []test{
		{"before it opens", "America/New_York", "09:00", "17:00", nil, "2026-04-13 08:59 -04:00", "2026-04-13 09:00 -04:00"},
		{"as it opens", "America/New_York", "09:00", "17:00", nil, "2026-04-13 09:00 -04:00", now},
		{"in its last minute", "America/New_York", "09:00", "17:00", nil, "2026-04-13 16:59 -04:00", now},
		{"as it closes", "America/New_York", "09:00", "17:00", nil, "2026-04-13 17:00 -04:00", "2026-04-14 09:00 -04:00"},
		{"until midnight", "America/New_York", "09:00", "00:00", nil, "2026-04-13 23:59 -04:00", now},
		{"on Friday after work, Mondays to Fridays", "America/New_York", "09:00", "17:00", []int{1, 2, 3, 4, 5}, "2026-04-17 17:00 -04:00", "2026-04-20 09:00 -04:00"},
		{"Mondays only, Monday evening", "America/New_York", "09:00", "17:00", []int{1}, "2026-04-13 20:00 -04:00", "2026-04-20 09:00 -04:00"},
		{"a quarter-hour zone", "Asia/Kathmandu", "09:00", "17:00", nil, "2026-04-13 00:00 +00:00", "2026-04-13 09:00 +05:45"},

		{"the whole day, Mondays, on Sunday", "Europe/Berlin", "09:00", "09:00", []int{1}, "2026-04-12 23:59 +02:00", "2026-04-13 00:00 +02:00"},
		{"the whole day, Mondays, on Monday", "Europe/Berlin", "09:00", "09:00", []int{1}, "2026-04-13 23:59 +02:00", now},
		{"the whole day, Mondays, on Tuesday", "Europe/Berlin", "09:00", "09:00", []int{1}, "2026-04-14 00:00 +02:00", "2026-04-20 00:00 +02:00"},
		{"the whole day, every day", "Europe/Berlin", "00:00", "00:00", nil, "2026-04-12 23:59 +02:00", now},

		{"overnight on Fridays, Friday evening", "Europe/Berlin", "22:00", "06:00", []int{5}, "2026-04-17 22:00 +02:00", now},
		{"overnight on Fridays, Saturday morning", "Europe/Berlin", "22:00", "06:00", []int{5}, "2026-04-18 05:59 +02:00", now},
		{"overnight on Fridays, Saturday at six", "Europe/Berlin", "22:00", "06:00", []int{5}, "2026-04-18 06:00 +02:00", "2026-04-24 22:00 +02:00"},
		{"overnight on Fridays, Friday morning", "Europe/Berlin", "22:00", "06:00", []int{5}, "2026-04-17 03:00 +02:00", "2026-04-17 22:00 +02:00"},

		// Berlin, 2026-03-29: 02:00 becomes 03:00.
		{"the start is skipped", "Europe/Berlin", "02:30", "05:00", nil, "2026-03-29 01:59 +01:00", "2026-03-29 03:00 +02:00"},
		{"the end is skipped, before the gap", "Europe/Berlin", "01:00", "02:30", nil, "2026-03-29 01:59 +01:00", now},
		{"the end is skipped, after the gap", "Europe/Berlin", "01:00", "02:30", nil, "2026-03-29 03:00 +02:00", "2026-03-30 01:00 +02:00"},
		{"both are skipped: closed all day", "Europe/Berlin", "02:15", "02:45", nil, "2026-03-29 00:00 +01:00", "2026-03-30 02:15 +02:00"},
		{"both are skipped, Sundays only", "Europe/Berlin", "02:15", "02:45", []int{0}, "2026-03-29 00:00 +01:00", "2026-04-05 02:15 +02:00"},
		// Berlin, 2026-10-25: 03:00 becomes 02:00.
		{"the start comes twice", "Europe/Berlin", "02:30", "05:00", nil, "2026-10-25 01:00 +02:00", "2026-10-25 02:30 +02:00"},
		{"the start comes twice, between the two", "Europe/Berlin", "02:30", "05:00", nil, "2026-10-25 02:10 +01:00", now},
		{"the end comes twice, after the first", "Europe/Berlin", "01:00", "02:30", nil, "2026-10-25 02:45 +02:00", now},
		{"the end comes twice, at the last", "Europe/Berlin", "01:00", "02:30", nil, "2026-10-25 02:30 +01:00", "2026-10-26 01:00 +01:00"},
		{"both come twice: one long window", "Europe/Berlin", "02:15", "02:45", nil, "2026-10-25 02:50 +02:00", now},

		// 2018-11-04 has no midnight in São Paulo: 00:00 becomes 01:00.
		{"a day without midnight, the day before", "America/Sao_Paulo", "00:00", "06:00", nil, "2018-11-03 23:59 -03:00", "2018-11-04 01:00 -02:00"},
		{"a whole day without midnight", "America/Sao_Paulo", "00:00", "00:00", []int{0}, "2018-11-03 23:59 -03:00", "2018-11-04 01:00 -02:00"},
		{"overnight into a day without midnight", "America/Sao_Paulo", "22:00", "00:30", nil, "2018-11-04 01:00 -02:00", "2018-11-04 22:00 -02:00"},
		// 2018-02-18 00:00 becomes 23:00 of the day before.
		{"a day with 23 o'clock twice", "America/Sao_Paulo", "09:00", "23:30", nil, "2018-02-17 23:45 -02:00", now},
		{"a day with 23 o'clock twice, at the last", "America/Sao_Paulo", "09:00", "23:30", nil, "2018-02-17 23:30 -03:00", "2018-02-18 09:00 -03:00"},

		// Apia skipped 2011-12-30, a Friday.
		{"a skipped day, by day", "Pacific/Apia", "09:00", "17:00", []int{5}, "2011-12-29 20:00 -10:00", "2012-01-06 09:00 +14:00"},
		{"a skipped day, overnight", "Pacific/Apia", "22:00", "06:00", []int{5}, "2011-12-29 20:00 -10:00", "2012-01-06 22:00 +14:00"},
		{"a skipped day, whole", "Pacific/Apia", "00:00", "00:00", []int{5}, "2011-12-29 20:00 -10:00", "2012-01-06 00:00 +14:00"},
		{"overnight into a skipped day", "Pacific/Apia", "22:00", "06:00", []int{4}, "2011-12-31 00:00 +14:00", "2012-01-05 22:00 +14:00"},
		// Troll goes two hours forward at 01:00, Lord Howe half an hour back at 02:00.
		{"a gap of two hours", "Antarctica/Troll", "02:30", "05:00", nil, "2026-03-29 00:59 +00:00", "2026-03-29 03:00 +02:00"},
		{"half an hour twice", "Australia/Lord_Howe", "01:00", "01:45", nil, "2026-04-05 01:44 +10:30", now},
	} {
		w := Window{zone(t, tt.zone), clock(t, tt.start), clock(t, tt.end), days(t, tt.days...)}
		asked := at(t, tt.now)
		want := asked
		if tt.next != now {
			want = at(t, tt.next)
		}
		if got := w.Next(asked); !got.Equal(want) {
			t.Errorf("%s: asked at %s, opens %s, want %s", tt.name, tt.now, got.In(w.Zone), want.In(w.Zone))
		}
		if got := w.Contains(asked); got != (tt.next == now) {
			t.Errorf("%s: open at %s: %v, want %v", tt.name, tt.now, got, tt.next == now)
		}
	}
}

func TestWindowCountsNanoseconds(t *testing.T) {
	w := Window{Start: clock(t, "09:00"), End: clock(t, "17:00")}
	closes := at(t, "2026-04-13 17:00 +00:00")
	if last := closes.Add(-1); !w.Contains(last) || w.Next(last) != last {
		t.Errorf("open at %v: %v, next %v, want that very time", last, w.Contains(last), w.Next(last))
	}
	if early := at(t, "2026-04-13 09:00 +00:00").Add(-1); w.Contains(early) {
		t.Errorf("open at %v, want closed", early)
	}
	if !(Window{}).Contains(time.Time{}) {
		t.Error("the zero window is closed, want always open")
	}
}

func TestNextAt(t *testing.T) {
	for _, tt := range []struct{ name, zone, after, clock, want string }{
		{"later that day", "America/New_York", "2026-04-13 08:00 -04:00", "09:00", "2026-04-13 09:00 -04:00"},
		{"at once", "America/New_York", "2026-04-13 09:00 -04:00", "09:00", "2026-04-13 09:00 -04:00"},
		{"the next day", "America/New_York", "2026-04-13 09:01 -04:00", "09:00", "2026-04-14 09:00 -04:00"},
		{"after the spent UTC day", "America/New_York", "2026-04-14 00:00 +00:00", "09:00", "2026-04-14 09:00 -04:00"},
		{"skipped", "Europe/Berlin", "2026-03-29 00:00 +01:00", "02:30", "2026-03-29 03:00 +02:00"},
		{"skipped, asked at the end of the gap", "Europe/Berlin", "2026-03-29 03:00 +02:00", "02:30", "2026-03-29 03:00 +02:00"},
		{"skipped, asked after the gap", "Europe/Berlin", "2026-03-29 03:01 +02:00", "02:30", "2026-03-30 02:30 +02:00"},
		{"first minute of a gap", "Europe/Berlin", "2026-03-29 00:00 +01:00", "02:00", "2026-03-29 03:00 +02:00"},
		{"first minute after a gap", "Europe/Berlin", "2026-03-29 00:00 +01:00", "03:00", "2026-03-29 03:00 +02:00"},
		{"twice, the first", "Europe/Berlin", "2026-10-25 00:00 +02:00", "02:30", "2026-10-25 02:30 +02:00"},
		{"twice, the second", "Europe/Berlin", "2026-10-25 02:31 +02:00", "02:30", "2026-10-25 02:30 +01:00"},
		{"no midnight", "America/Sao_Paulo", "2018-11-03 12:00 -03:00", "00:00", "2018-11-04 01:00 -02:00"},
		{"a skipped day", "Pacific/Apia", "2011-12-29 10:00 -10:00", "09:00", "2011-12-31 09:00 +14:00"},
	} {
		z := zone(t, tt.zone)
		if got, want := NextAt(at(t, tt.after), clock(t, tt.clock), z), at(t, tt.want); !got.Equal(want) {
			t.Errorf("%s: after %s, %s comes at %s, want %s", tt.name, tt.after, tt.clock, got.In(z), want.In(z))
		}
	}
	after := at(t, "2026-04-13 09:00 +00:00").Add(1)
	if got, want := NextAt(after, clock(t, "09:00"), nil), at(t, "2026-04-14 09:00 +00:00"); !got.Equal(want) {
		t.Errorf("a nanosecond after 09:00, 09:00 comes at %v, want %v", got, want)
	}
}

func BenchmarkContains(b *testing.B) {
	w := Window{zone(b, "America/New_York"), clock(b, "09:00"), clock(b, "17:00"), days(b, 1, 2, 3, 4, 5)}
	for name, now := range map[string]string{"open": "2026-04-13 10:00 -04:00", "closed": "2026-04-17 18:00 -04:00"} {
		b.Run(name, func(b *testing.B) {
			when := at(b, now)
			b.ReportAllocs()
			for b.Loop() {
				w.Contains(when)
			}
		})
	}
}
