package engine

import (
	"sync/atomic"
	"time"

	"tuco/kv"
)

// recent counts a workspace's write requests of this hour and the one before, for the question what
// READ_ONLY would refuse. It is a hint: a request at the turn of an hour may be counted in neither.
type recent struct {
	hour   atomic.Int64
	counts [2][32]atomic.Int64 // by hour's parity, then scope
}

func (r *recent) count(s Scope, now time.Time) {
	hour := now.Unix() / 3600
	if old := r.hour.Load(); old != hour && r.hour.CompareAndSwap(old, hour) {
		for i := range r.counts[hour%2] {
			r.counts[hour%2][i].Store(0)
		}
		if hour != old+1 {
			for i := range r.counts[old%2] {
				r.counts[old%2][i].Store(0)
			}
		}
	}
	r.counts[hour%2][s.index()].Add(1)
}

// RecentWrites is what READ_ONLY would have refused since a time, and would hold up now.
type RecentWrites struct {
	Since    time.Time
	Requests map[Scope]int64
	Waiting  int // messages not handed over yet; counted up to 10,000
}

// RecentWrites tells what READ_ONLY would mean for a workspace.
func (a Admin) RecentWrites(id WorkspaceID) (RecentWrites, error) {
	t, err := a.find(id)
	if err != nil {
		return RecentWrites{}, err
	}
	seen := RecentWrites{Since: a.e.opt.Now().Truncate(time.Hour).Add(-time.Hour), Requests: map[Scope]int64{}}
	now, last := a.e.opt.Now().Unix()/3600, t.recent.hour.Load()
	for i, scope := range AllScopes {
		var n int64
		if last >= now-1 {
			n = t.recent.counts[last%2][i].Load()
		}
		if last == now {
			n += t.recent.counts[(last+1)%2][i].Load()
		}
		if n > 0 {
			seen.Requests[scope] = n
		}
	}
	_, err = kv.View(a.e.db, func(tx *kv.Tx) (struct{}, error) {
		for _, env := range t.envs {
			for _, s := range []Status{Queued, Pending, Scheduled} {
				for range env.store.messageByStatus.Scan(tx, kv.Prefix([]byte{statusCodes[s]})) {
					if seen.Waiting++; seen.Waiting >= MaxLeads {
						return struct{}{}, nil
					}
				}
			}
		}
		return struct{}{}, nil
	})
	return seen, err
}
