package engine

import (
	"cmp"
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
	maxMisuses  = 100 // kinds in a minute; what comes beyond is counted together
)

func (m *misuses) add(u misuse) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.count == nil {
		m.count = map[misuse]int64{}
	}
	if _, known := m.count[u]; !known && len(m.count) >= maxMisuses {
		u = misuse{reason: "various"}
	}
	m.count[u]++
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
	for u, n := range m.count {
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
