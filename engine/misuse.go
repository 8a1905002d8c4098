package engine

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"tuco/engine/auditlog"
)

// A misuse is one way in which a credential was used wrongly. What nobody knows the owner of has no workspace.
type misuse struct {
	event       string // empty: key.misused
	workspace   WorkspaceID
	environment Environment
	credential  string // id
	reason      string
}

// misuses count what was refused since it was recorded last: an entry for each attempt would let anybody flood the log.
type misuses struct {
	mu    sync.Mutex
	count map[misuse]int64
	since time.Time
}

const (
	misuseEvery = time.Minute
	maxMisuses  = 100    // entries a minute, beside one for each event that sums up the rest
	maxCounted  = 10_000 // kinds that are told apart in memory; what comes beyond is of the rest
)

func (m *misuses) add(u misuse) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.count == nil {
		m.count = map[misuse]int64{}
	}
	if _, known := m.count[u]; !known && len(m.count) >= maxCounted {
		u = u.rest()
	}
	m.count[u]++
}

// rest is the kind under which are counted together those that have no entry of their own.
func (u misuse) rest() misuse { return misuse{event: u.event, reason: "various"} }

// summed keeps the kinds that have an entry of their own, and sums up the others: first what each workspace has most of, then the
// second of each, and so on. So nobody who misuses many credentials of one workspace hides what is done to another.
func summed(count map[misuse]int64) map[misuse]int64 {
	if len(count) <= maxMisuses {
		return count
	}
	kinds := slices.SortedFunc(maps.Keys(count), func(a, b misuse) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a.credential, b.credential), cmp.Compare(a.reason, b.reason))
	})
	rank, seen := map[misuse]int{}, map[WorkspaceID]int{}
	for _, u := range kinds {
		rank[u] = seen[u.workspace]
		seen[u.workspace]++
	}
	slices.SortStableFunc(kinds, func(a, b misuse) int { return cmp.Compare(rank[a], rank[b]) })
	kept := map[misuse]int64{}
	for i, u := range kinds {
		n := count[u]
		if i >= maxMisuses {
			u = u.rest()
		}
		kept[u] += n
	}
	return kept
}

// take returns an entry for each kind, at most once a minute.
func (m *misuses) take(now time.Time) []auditlog.Entry {
	m.mu.Lock()
	early := now.Sub(m.since) >= 0 && now.Sub(m.since) < misuseEvery
	if !early && len(m.count) > 0 {
		m.since = now
	}
	m.mu.Unlock()
	if early {
		return nil
	}
	return m.takeAll()
}

func (m *misuses) takeAll() (all []auditlog.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for u, n := range summed(m.count) {
		entry := auditlog.Entry{
			Event: "key.misused", Outcome: auditlog.Denied, Actor: systemActor, Workspace: string(u.workspace),
			Environment: string(u.environment), Credential: u.credential, Records: n, Detail: map[string]string{"reason": u.reason},
		}
		if u.event != "" {
			entry.Event, entry.Outcome, entry.Actor = u.event, auditlog.Done, keyActor(u.credential)
			entry.Records, entry.Detail["reads"] = 0, strconv.FormatInt(n, 10)
		}
		all = append(all, entry)
	}
	slices.SortFunc(all, func(a, b auditlog.Entry) int {
		return cmp.Or(cmp.Compare(a.Workspace, b.Workspace), cmp.Compare(a.Credential, b.Credential), cmp.Compare(a.Event, b.Event), cmp.Compare(a.Detail["reason"], b.Detail["reason"]))
	})
	m.count = nil
	return all
}
