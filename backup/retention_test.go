package backup

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tuco/kv"
)

func candidate(epoch uint64, position kv.Position, at time.Time, verified bool) Candidate {
	return Candidate{Name{Installation: "i", Epoch: epoch, Kind: Full, To: position, Time: at}, verified}
}

func logCandidate(epoch uint64, from, to kv.Position) Candidate {
	return Candidate{Name{Installation: "i", Epoch: epoch, Kind: Log, From: from, To: to}, false}
}

// TestKeep: three a day for forty days.
func TestKeep(t *testing.T) {
	var all []Candidate
	start := time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC) // a Sunday
	for i := range 120 {
		all = append(all, candidate(1, kv.Position(100*i), start.Add(time.Duration(i)*8*time.Hour), i == 50))
	}
	auckland, err := time.LoadLocation("Pacific/Auckland")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		keep Keep
		want string // of the 120, by number
	}{
		{Keep{Last: 2}, "50 118 119"},
		{Keep{Daily: 3}, "50 113 116 119"},
		{Keep{Weekly: 3}, "50 86 107 119"},
		{Keep{Monthly: 5}, "50 92 119"},
		{Keep{Last: 1, Daily: 2, Weekly: 2, Monthly: 2}, "50 92 107 116 119"},
		{Keep{Daily: 3, Zone: auckland}, "50 114 117 119"}, // there, 22:00 is the next morning
	} {
		drop := tt.keep.Drop(all)
		var kept []string
		for i, c := range all {
			if !slices.Contains(drop, c.Name) {
				kept = append(kept, fmt.Sprint(i))
			}
		}
		if got := strings.Join(kept, " "); got != tt.want {
			t.Errorf("%+v keeps %s, want %s", tt.keep, got, tt.want)
		}
	}
	if drop := (Keep{}).Drop(all); len(drop) > 0 {
		t.Errorf("without a rule, %d are dropped", len(drop))
	}
}

// TestKeepLogs: logs stay for as long as a full one stays that they continue.
func TestKeepLogs(t *testing.T) {
	day := func(n int) time.Time { return atNoon.AddDate(0, 0, n) }
	all := []Candidate{
		candidate(1, 100, day(0), false), logCandidate(1, 100, 200),
		candidate(3, 100, day(1), false), logCandidate(3, 90, 100), logCandidate(3, 100, 150), logCandidate(3, 150, 250), logCandidate(3, 250, 300),
		candidate(3, 200, day(2), false), logCandidate(2, 1, 2), logCandidate(4, 5, 6),
	}
	for keep, want := range map[Keep]string{
		{Last: 1}: "1/0-100 1/100-200 2/1-2 3/0-100 3/90-100 3/100-150",
		{Last: 2}: "1/0-100 1/100-200 2/1-2 3/90-100",
		{Last: 3}: "2/1-2 3/90-100",
	} {
		var got []string
		drop := keep.Drop(all)
		slices.SortFunc(drop, func(a, b Name) int {
			return int(a.Epoch*1e6+uint64(a.To)*1e3+uint64(a.From)) - int(b.Epoch*1e6+uint64(b.To)*1e3+uint64(b.From))
		})
		for _, n := range drop {
			got = append(got, fmt.Sprintf("%d/%d-%d", n.Epoch, n.From, n.To))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%+v drops %q, want %q", keep, got, want)
		}
	}
	if drop := (Keep{Last: 1}).Drop([]Candidate{logCandidate(1, 1, 2)}); len(drop) > 0 {
		t.Errorf("logs before there is a full one: %v", drop)
	}
}

// TestKeepProperty: the newest and the newest verified stay; each rule keeps what it says, and nothing else stays; dropping
// twice is dropping once; the order of the input, and what other installations have, change nothing.
func TestKeepProperty(t *testing.T) {
	zones := []*time.Location{nil, time.FixedZone("east", 13*3600), time.FixedZone("west", -11*3600)}
	rapid.Check(t, func(t *rapid.T) {
		var fulls []Candidate
		for i := range rapid.IntRange(0, 30).Draw(t, "fulls") {
			at := atNoon.Add(time.Duration(rapid.IntRange(0, 100*24).Draw(t, "hours")) * time.Hour)
			fulls = append(fulls, candidate(1, kv.Position(i+1), at, rapid.Bool().Draw(t, "verified")))
		}
		slices.SortFunc(fulls, func(a, b Candidate) int { return a.Time.Compare(b.Time) })
		for i := range fulls {
			fulls[i].To = kv.Position(10 * (i + 1))
		}
		small := rapid.IntRange(0, 6)
		keep := Keep{small.Draw(t, "last"), small.Draw(t, "daily"), small.Draw(t, "weekly"), small.Draw(t, "monthly"), rapid.SampledFrom(zones).Draw(t, "zone")}
		input := rapid.Permutation(append(slices.Clone(fulls), Candidate{Name: Name{Installation: "other", Kind: Full, To: 1, Time: atNoon}})).Draw(t, "order")
		drop := keep.Drop(input)

		want := map[kv.Position]bool{} // what stays, slowly
		zone := keep.Zone
		if zone == nil {
			zone = time.UTC
		}
		last := func(n int, period func(time.Time) string) {
			newest := map[string]kv.Position{}
			for i, f := range fulls {
				newest[period(f.Time.In(zone))+fmt.Sprint(map[bool]int{true: i}[period(f.Time) == ""])] = f.To
			}
			all := slices.Sorted(maps.Values(newest))
			for _, p := range all[max(0, len(all)-n):] {
				want[p] = true
			}
		}
		last(keep.Last, func(time.Time) string { return "" })
		last(keep.Daily, func(t time.Time) string { return t.Format("20060102") })
		last(keep.Weekly, func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprintf("%d/%d", y, w) })
		last(keep.Monthly, func(t time.Time) string { return t.Format("200601") })
		if len(want) == 0 && len(fulls) > 0 && keep.Last+keep.Daily+keep.Weekly+keep.Monthly == 0 {
			for _, f := range fulls {
				want[f.To] = true
			}
		}
		for _, f := range slices.Backward(fulls) {
			if f.Verified {
				want[f.To] = true
				break
			}
		}
		var rest []Candidate
		for _, f := range fulls {
			dropped := slices.Contains(drop, f.Name)
			if dropped == want[f.To] {
				t.Fatalf("%+v: position %d of %s: dropped %v", keep, f.To, f.Time, dropped)
			}
			if !dropped {
				rest = append(rest, f)
			}
		}
		if len(drop)+len(rest) != len(fulls) {
			t.Fatalf("%+v drops %v", keep, drop)
		}
		if again := keep.Drop(rest); len(again) > 0 {
			t.Fatalf("%+v drops %v of what it kept", keep, again)
		}
	})
}
