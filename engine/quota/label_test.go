package quota

import (
	"testing"
	"time"
	_ "time/tzdata" // the zones are the same wherever the tests run

	"pgregory.net/rapid"
)

func zone(t interface{ Fatal(...any) }, name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestLabel(t *testing.T) {
	for _, tt := range []struct {
		at    string
		zone  string
		want  Label
		month int32
		text  string
	}{
		{"2026-11-23T23:59:59Z", "UTC", 20261123, 202611, "2026-11-23"},
		{"2026-11-23T23:59:59Z", "Europe/Berlin", 20261124, 202611, "2026-11-24"},
		{"2026-12-01T04:59:59Z", "America/New_York", 20261130, 202611, "2026-11-30"},
		{"2028-02-29T12:00:00Z", "UTC", 20280229, 202802, "2028-02-29"},
		{"0987-01-02T12:00:00Z", "UTC", 9870102, 98701, "0987-01-02"},
	} {
		at, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		got := DayOf(at, zone(t, tt.zone))
		if got != tt.want || got.Month() != tt.month || got.String() != tt.text {
			t.Errorf("%s in %s: got %d, %d, %q, want %d, %d, %q",
				tt.at, tt.zone, got, got.Month(), got, tt.want, tt.month, tt.text)
		}
	}
	if got := Label(0).String(); got != "none" {
		t.Errorf("zero label: got %q, want none", got)
	}
}

func TestDayBounds(t *testing.T) {
	for _, tt := range []struct {
		about      string
		zone       string
		day        Label
		start, end string // in UTC
	}{
		{"an ordinary day", "UTC", 20261123, "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"},
		{"23 hours", "Europe/Berlin", 20260329, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"25 hours", "Europe/Berlin", 20261025, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"22 hours", "Antarctica/Troll", 20260329, "2026-03-29T00:00:00Z", "2026-03-29T22:00:00Z"},
		{"26 hours", "Antarctica/Troll", 20261025, "2026-10-24T22:00:00Z", "2026-10-26T00:00:00Z"},
		{"begins at 01:00", "America/Sao_Paulo", 20181104, "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"},
		{"ends before such a day", "America/Sao_Paulo", 20181103, "2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z"},
		{"has 23:00 twice", "America/Sao_Paulo", 20180217, "2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z"},
		{"begins at 01:00", "Africa/Cairo", 20260424, "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"},
		{"has 23:00 twice", "Africa/Cairo", 20261029, "2026-10-28T21:00:00Z", "2026-10-29T22:00:00Z"},
		{"the day before a skipped one", "Pacific/Apia", 20111229, "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},
		{"skipped: no time at all", "Pacific/Apia", 20111230, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z"},
		{"the day after a skipped one", "Pacific/Apia", 20111231, "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
		{"shown for a minute, then the day before again", "America/St_Johns", 20101107, "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"},
		{"leap day", "UTC", 20280229, "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"},
		{"the day before none", "UTC", 20270228, "2027-02-28T00:00:00Z", "2027-03-01T00:00:00Z"},
		{"the last of a year", "Asia/Kolkata", 20261231, "2026-12-30T18:30:00Z", "2026-12-31T18:30:00Z"},
	} {
		loc := zone(t, tt.zone)
		start, end := tt.day.Start(loc).Format(time.RFC3339), tt.day.End(loc).Format(time.RFC3339)
		if start != tt.start || end != tt.end {
			t.Errorf("%v in %s (%s): got %s to %s, want %s to %s", tt.day, tt.zone, tt.about, start, end, tt.start, tt.end)
		}
	}
}

func TestMonthEnd(t *testing.T) {
	for _, tt := range []struct {
		zone string
		day  Label
		want string
	}{
		{"UTC", 20261123, "2026-12-01T00:00:00Z"},
		{"UTC", 20261231, "2027-01-01T00:00:00Z"},
		{"UTC", 20280201, "2028-03-01T00:00:00Z"},
		{"America/New_York", 20261031, "2026-11-01T04:00:00Z"},
		{"Pacific/Apia", 20111201, "2011-12-31T10:00:00Z"},
	} {
		if got := tt.day.MonthEnd(zone(t, tt.zone)).Format(time.RFC3339); got != tt.want {
			t.Errorf("month of %v in %s ends %s, want %s", tt.day, tt.zone, got, tt.want)
		}
	}
}

// The start is the first instant of the day, in every zone with odd days, on any day since 1970.
func TestStartIsFirstInstant(t *testing.T) {
	zones := []string{
		"UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "America/Sao_Paulo", "Africa/Cairo",
		"Antarctica/Troll", "Pacific/Apia", "Pacific/Kiritimati", "Pacific/Kwajalein", "Asia/Kathmandu", "Australia/Lord_Howe",
	}
	rapid.Check(t, func(t *rapid.T) {
		loc := zone(t, rapid.SampledFrom(zones).Draw(t, "zone"))
		noon := time.Date(1970, 1, 1+rapid.IntRange(0, 365*100).Draw(t, "day"), 12, 0, 0, 0, time.UTC)
		day := DayOf(noon, time.UTC)
		start, end := day.Start(loc), day.End(loc)
		if got := DayOf(start, loc); got < day {
			t.Fatalf("%v starts at %v, which is still %v", day, start, got)
		}
		for before := time.Nanosecond; before < 40*time.Hour; before = before*2 + time.Minute {
			if got := DayOf(start.Add(-before), loc); got >= day {
				t.Fatalf("%v starts at %v, but %v before it is %v", day, start, before, got)
			}
		}
		if next := DayOf(noon.AddDate(0, 0, 1), time.UTC); !end.Equal(next.Start(loc)) {
			t.Fatalf("%v ends at %v, but %v starts at %v", day, end, next, next.Start(loc))
		}
	})
}
