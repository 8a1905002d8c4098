package schedule

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Instants around which the clocks of these zones were changed, and one quiet day each.
var changes = map[string][]string{
	"UTC":                 {"2026-01-01T00:00:00Z"},
	"Europe/Berlin":       {"2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"},
	"America/New_York":    {"2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z", "2040-11-04T06:00:00Z"},
	"America/St_Johns":    {"2009-03-08T03:31:00Z", "2009-11-01T02:31:00Z"}, // changed at 00:01
	"America/Nuuk":        {"2022-03-27T01:00:00Z", "2022-10-30T01:00:00Z"}, // changed at 22:00 and 23:00
	"Pacific/Apia":        {"2011-12-30T10:00:00Z", "2012-03-31T14:00:00Z"}, // skipped a day
	"Pacific/Kwajalein":   {"1993-08-21T12:00:00Z"},                         // skipped a day
	"America/Sao_Paulo":   {"2018-02-18T02:00:00Z", "2018-11-04T03:00:00Z"}, // changed at 00:00
	"Africa/Cairo":        {"2010-04-29T22:00:00Z", "2010-09-30T21:00:00Z"}, // changed at 00:00
	"Antarctica/Troll":    {"2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"}, // by two hours
	"Australia/Lord_Howe": {"2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z"}, // by half an hour
	"Asia/Kathmandu":      {"1985-12-31T18:30:00Z"},                         // by a quarter of an hour
}

// drawTime draws a zone and a whole minute within four days of a change of its clock.
func drawTime(t *rapid.T) (*time.Location, time.Time) {
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(changes))).Draw(t, "zone")
	change, err := time.Parse(time.RFC3339, rapid.SampledFrom(changes[name]).Draw(t, "change"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z, change.Add(time.Duration(rapid.IntRange(-4*24*60, 4*24*60).Draw(t, "minutes")) * time.Minute)
}

// drawClock favours the hours at which clocks are changed.
func drawClock(t *rapid.T, name string) Clock {
	return Clock(rapid.OneOf(rapid.IntRange(0, 4*60), rapid.IntRange(21*60, 24*60-1), rapid.IntRange(0, 24*60-1)).Draw(t, name))
}

// A calendar is what the clock of a zone reads, minute by minute, for some weeks. It knows no rule but the readings.
type calendar struct {
	from  time.Time
	reads []string // such as 2026-03-29T01:59
}

func newCalendar(z *time.Location, from time.Time, minutes int) calendar {
	c := calendar{from, make([]string, minutes)}
	for i := range c.reads {
		c.reads[i] = from.Add(time.Duration(i) * time.Minute).In(z).Format("2006-01-02T15:04")
	}
	return c
}

// open marks the minutes in which w is open, by the words of its comment.
func (c calendar) open(w Window) []bool {
	open := make([]bool, len(c.reads))
	dates := map[string]bool{}
	for _, r := range c.reads {
		dates[r[:10]] = true
	}
	for date := range dates {
		day, _ := time.Parse(time.DateOnly, date)
		if !w.Days.Has(day.Weekday()) {
			continue
		}
		start, end := date+"T"+w.Start.String(), date+"T"+w.End.String()
		next := day.AddDate(0, 0, 1).Format(time.DateOnly)
		switch {
		case w.Start == w.End:
			start, end = date+"T00:00", next+"T00:00"
		case w.Start > w.End:
			end = next + "T" + w.End.String()
		}
		opens, closes := len(c.reads), 0
		for i, r := range c.reads {
			if r >= start {
				opens = min(opens, i)
			}
			if r < end {
				closes = i + 1
			}
		}
		for i := opens; i < closes; i++ {
			open[i] = true
		}
	}
	return open
}

func TestWindowAgreesWithTheCalendar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z, asked := drawTime(t)
		w := Window{z, drawClock(t, "start"), drawClock(t, "end"), Weekdays(rapid.IntRange(0, 127).Draw(t, "days"))}
		const before, after = 3 * 24 * 60, 17 * 24 * 60 // the minutes of the calendar around asked
		c := newCalendar(z, asked.Add(-before*time.Minute), before+after)
		open := c.open(w)

		next := w.Next(asked)
		if next.Before(asked) {
			t.Fatalf("Next(%v) = %v, which is before", asked, next)
		}
		if !w.Contains(next) || !w.Next(next).Equal(next) {
			t.Fatalf("Next(%v) = %v, but it is not open then", asked, next.In(z))
		}
		for i := before; i < len(open); i++ {
			minute := c.from.Add(time.Duration(i) * time.Minute)
			if got := w.Contains(minute); got != open[i] {
				t.Fatalf("%+v is open at %s: %v, want %v", w, c.reads[i], got, open[i])
			}
			if !minute.Before(next) {
				break
			}
			if open[i] {
				t.Fatalf("Next(%v) = %v, but it opens at %s", asked, next.In(z), c.reads[i])
			}
		}
	})
}

func TestNextAtAgreesWithTheCalendar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z, after := drawTime(t)
		at := drawClock(t, "clock")
		got := NextAt(after, at, z)
		if got.Before(after) || !NextAt(got, at, z).Equal(got) {
			t.Fatalf("NextAt(%v, %v) = %v, want no earlier, and the same again", after, at, got)
		}

		// The first minute, from after on, that reads the time, or that ends a gap which holds it on a day that exists.
		c := newCalendar(z, after.Add(-24*60*time.Minute), 4*24*60)
		dates := map[string]bool{}
		for _, r := range c.reads {
			dates[r[:10]] = true
		}
		for i := 24 * 60; i < len(c.reads); i++ {
			hit := c.reads[i][11:] == at.String()
			for date := range dates {
				skipped := date + "T" + at.String()
				hit = hit || c.reads[i-1] < skipped && skipped < c.reads[i]
			}
			if hit {
				if want := c.from.Add(time.Duration(i) * time.Minute); !got.Equal(want) {
					t.Fatalf("NextAt(%v, %v) = %v, want %v", after, at, got.In(z), want.In(z))
				}
				return
			}
		}
		t.Fatalf("%v does not come in three days after %v", at, after)
	})
}
