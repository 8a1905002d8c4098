package backup

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"

	"tuco/kv"
)

// A Catalogue is what a target holds, by its listing alone.
type Catalogue struct {
	Series  []Series // in order of installation and epoch
	Exports []Export // of workspaces, in order of their names
}

// A Series is what belongs together: the objects of one restore epoch of one installation. Positions of different series have
// nothing to do with each other.
type Series struct {
	Installation string
	Epoch        uint64
	Fulls        []Entry // oldest first
	Logs         []Entry // in order of From, then of To
}

// An Entry is an object in a target.
type Entry struct {
	Name
	Size int64 // in bytes
}

// A Plan is what to restore: Full, then the logs in their order. The first log may begin before Full ends, and each one before
// the one before it ends: a position that is there already is skipped.
type Plan struct {
	Full Entry
	Logs []Entry
}

// To is the last position that the objects of the plan hold.
func (p Plan) To() kv.Position {
	if n := len(p.Logs); n > 0 {
		return p.Logs[n-1].To
	}
	return p.Full.To
}

// NewCatalogue sorts a listing. What isn't an object's name is left out.
func NewCatalogue(list []Stored) Catalogue {
	type key struct {
		installation string
		epoch        uint64
	}
	by := map[key]*Series{}
	var c Catalogue
	for _, o := range list {
		n, ok := ParseName(o.Name)
		if !ok {
			if e, ok := parseExport(o); ok {
				c.Exports = append(c.Exports, e)
			}
			continue
		}
		k := key{n.Installation, n.Epoch}
		if by[k] == nil {
			by[k] = &Series{Installation: n.Installation, Epoch: n.Epoch}
		}
		if s := by[k]; n.Kind == Full {
			s.Fulls = append(s.Fulls, Entry{n, o.Size})
		} else {
			s.Logs = append(s.Logs, Entry{n, o.Size})
		}
	}
	for _, s := range by {
		byName := func(a, b Entry) int { return cmp.Compare(a.String(), b.String()) }
		slices.SortFunc(s.Fulls, byName)
		slices.SortFunc(s.Logs, byName)
		c.Series = append(c.Series, *s)
	}
	slices.SortFunc(c.Exports, func(a, b Export) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(c.Series, func(a, b Series) int {
		return cmp.Or(cmp.Compare(a.Installation, b.Installation), cmp.Compare(a.Epoch, b.Epoch))
	})
	return c
}

// Chain returns the logs that continue a full object without a gap, as few as lead as far as any do.
func (s *Series) Chain(full Entry) (chain []Entry) {
	end := full.To
	for i := 0; i < len(s.Logs); {
		best := Entry{}
		for ; i < len(s.Logs) && s.Logs[i].From <= end; i++ {
			if s.Logs[i].To > best.To {
				best = s.Logs[i]
			}
		}
		if best.To <= end {
			break
		}
		chain, end = append(chain, best), best.To
	}
	return chain
}

// Parts splits a series: each full object with the logs that lead from it to the next one, the last one with all that lead on; and
// the logs that are in no part: older than all, beside others, or behind a gap.
func (s *Series) Parts() (parts []Plan, rest []Entry) {
	used := map[Name]bool{}
	for i, full := range s.Fulls {
		chain := s.Chain(full)
		if i+1 < len(s.Fulls) {
			chain = chain[:sort.Search(len(chain), func(j int) bool { return chain[j].From >= s.Fulls[i+1].To })]
		}
		for _, log := range chain {
			used[log.Name] = true
		}
		parts = append(parts, Plan{full, chain})
	}
	for _, log := range s.Logs {
		if !used[log.Name] {
			rest = append(rest, log)
		}
	}
	return parts, rest
}

// Beyond returns the logs of what is later than a plan leads to, if it leads as far as any does: one before them is missing.
func (s *Series) Beyond(p Plan) (rest []Entry) {
	for _, l := range s.Logs {
		if l.To > p.To() {
			rest = append(rest, l)
		}
	}
	return rest
}

// Newest returns what leads furthest.
//
// Errors: [ErrNotCovered] if there is no full object.
func (s *Series) Newest() (best Plan, err error) {
	if len(s.Fulls) == 0 {
		return Plan{}, fmt.Errorf("%w: there is no full one of installation %s, epoch %d", ErrNotCovered, s.Installation, s.Epoch)
	}
	full := s.Fulls[len(s.Fulls)-1] // an older one that led further would lead past this one
	return Plan{full, s.Chain(full)}, nil
}

// AtPosition returns what is needed to restore everything up to and with a position, and as little beyond it as there can be.
//
// Errors: [ErrNotCovered].
func (s *Series) AtPosition(at kv.Position) (Plan, error) {
	for _, full := range slices.Backward(s.Fulls) {
		if full.To > at {
			continue
		}
		chain := s.Chain(full)
		n := sort.Search(len(chain), func(i int) bool { return chain[i].To >= at })
		switch {
		case full.To == at:
			return Plan{full, nil}, nil
		case n < len(chain):
			return Plan{full, chain[:n+1]}, nil
		}
		return Plan{}, fmt.Errorf("%w: position %d; the last before it is %d", ErrNotCovered, at, Plan{full, chain}.To())
	}
	return Plan{}, fmt.Errorf("%w: position %d is before the oldest full one", ErrNotCovered, at)
}

// AtTime returns what is needed to restore everything that was committed up to and with a time. The last log may hold later
// commits, too. manifest reads that of an object; of the logs only a few are asked for.
//
// Errors: [ErrNotCovered], also with a plan, that leads as far as possible, if later commits are in the target and some before
// them are not; those of manifest.
func (s *Series) AtTime(at time.Time, manifest func(Name) (Manifest, error)) (Plan, error) {
	for _, full := range slices.Backward(s.Fulls) {
		if full.Time.After(at) {
			continue
		}
		m, err := manifest(full.Name)
		if err != nil {
			return Plan{}, err
		}
		if m.Time.After(at) { // within the second
			continue
		}
		plan := Plan{full, s.Chain(full)}
		n := sort.Search(len(plan.Logs), func(i int) bool {
			if err != nil {
				return true
			}
			m, err = manifest(plan.Logs[i].Name)
			return m.LastTime.After(at)
		})
		if err != nil {
			return Plan{}, err
		}
		if n == len(plan.Logs) {
			return plan, s.mustBeLast(plan.To())
		}
		if m, err = manifest(plan.Logs[n].Name); err != nil {
			return Plan{}, err
		}
		if !m.FirstTime.After(at) {
			n++
		}
		plan.Logs = plan.Logs[:n]
		return plan, nil
	}
	return Plan{}, fmt.Errorf("%w: %s is before the oldest full one", ErrNotCovered, at.UTC().Format(time.RFC3339))
}

// mustBeLast refuses an end after which there is more: what lies between is missing.
func (s *Series) mustBeLast(end kv.Position) error {
	last := end
	for _, all := range [][]Entry{s.Fulls, s.Logs} {
		for _, e := range all {
			last = max(last, e.To)
		}
	}
	if last > end {
		return fmt.Errorf("%w: what follows position %d is missing, though there are later objects", ErrNotCovered, end)
	}
	return nil
}
