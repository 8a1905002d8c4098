package backup

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tuco/kv"
)

// Keep says which full objects are kept: whatever one of the rules keeps. A rule of 0 keeps none; the zero value, which has no
// rule, keeps everything.
type Keep struct {
	Last    int            // the newest ones
	Daily   int            // the newest one of each of the last days that have any
	Weekly  int            // likewise, of ISO weeks
	Monthly int            // likewise
	Zone    *time.Location // whose days these are; UTC if nil
}

// A Candidate is an object about which [Keep.Drop] decides.
type Candidate struct {
	Name
	Verified bool // a full one that was restored or verified with success
}

// Check returns an [ErrInvalid], or nil.
func (k Keep) Check() error {
	if min(k.Last, k.Daily, k.Weekly, k.Monthly) < 0 {
		return invalid("how many backups are kept must not be negative")
	}
	return nil
}

// Drop returns what may be deleted of these objects, in the order of names; installations are judged each for itself. The newest
// full one always stays, and so does the newest that was verified. A log goes when no full one that stays is needed with it: it
// ends where the oldest of its epoch begins or before, or its epoch has none and a later one has. It depends on nothing else.
func (k Keep) Drop(all []Candidate) (drop []Name) {
	if k.Last <= 0 && k.Daily <= 0 && k.Weekly <= 0 && k.Monthly <= 0 {
		return nil
	}
	by := map[string][]Candidate{}
	for _, c := range all {
		by[c.Installation] = append(by[c.Installation], c)
	}
	for _, own := range by {
		drop = append(drop, k.dropOf(own)...)
	}
	slices.SortFunc(drop, func(a, b Name) int { return cmp.Compare(a.String(), b.String()) })
	return drop
}

// dropOf is Drop for one installation.
func (k Keep) dropOf(all []Candidate) (drop []Name) {
	var fulls []Candidate
	for _, c := range all {
		if c.Kind == Full {
			fulls = append(fulls, c)
		}
	}
	slices.SortFunc(fulls, func(a, b Candidate) int { return cmp.Compare(b.String(), a.String()) }) // newest first
	rules := k.rules()
	verified := false
	oldest := map[uint64]kv.Position{} // the first that stays, by epoch
	last := uint64(0)                  // epoch of the newest full one, if any stays
	for i, f := range fulls {
		keep := i == 0 || f.Verified && !verified
		verified = verified || f.Verified
		for r := range rules {
			keep = rules[r].takes(f.Time) || keep
		}
		if !keep {
			drop = append(drop, f.Name)
			continue
		}
		oldest[f.Epoch] = f.To
		last = max(last, f.Epoch)
	}
	for _, c := range all {
		if c.Kind != Log {
			continue
		}
		first, ok := oldest[c.Epoch]
		if ok && c.To <= first || !ok && c.Epoch < last {
			drop = append(drop, c.Name)
		}
	}
	return drop
}

// A rule keeps the first that it sees of each period, until it has kept so many.
type rule struct {
	left   int
	period func(time.Time) string
	seen   string
}

func (r *rule) takes(t time.Time) bool {
	period := r.period(t)
	if r.left <= 0 || period == r.seen {
		return false
	}
	r.left, r.seen = r.left-1, period
	return true
}

func (k Keep) rules() []rule {
	zone := k.Zone
	if zone == nil {
		zone = time.UTC
	}
	n := 0
	return []rule{
		{left: k.Last, period: func(time.Time) string { n++; return fmt.Sprint(n) }},
		{left: k.Daily, period: func(t time.Time) string { return t.In(zone).Format(time.DateOnly) }},
		{left: k.Weekly, period: func(t time.Time) string { year, week := t.In(zone).ISOWeek(); return fmt.Sprint(year, week) }},
		{left: k.Monthly, period: func(t time.Time) string { return t.In(zone).Format("2006-01") }},
	}
}
