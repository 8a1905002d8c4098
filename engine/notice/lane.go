package notice

import (
	"container/heap"
	"time"

	"tuco/engine"
)

// An endpoint is a webhook while the program runs.
type endpoint struct {
	workspace engine.WorkspaceID
	state     engine.NoticeState
	waiting   int64  // entries to tell of, up to counted
	counted   uint64 // own number

	running bool
	lane    int
	due     time.Time // zero: now
	order   uint64    // of those that are due at the same time
	index   int       // in the lane's heap; -1 if in none
}

// The lanes. Each has attempts of its own, so that webhooks that hang hold up none that work, and a wave of checkpoints
// holds up no entries.
const (
	entries     = iota // there are entries, and the last attempt went well
	checkpoints        // a checkpoint alone becomes due
	failing
	lanes
)

var slotsOf = [lanes]int{32, 16, 16}

type lane struct {
	free  int // attempts that may begin
	queue dueQueue
}

// A dueQueue is a heap, the earliest first.
type dueQueue []*endpoint

func (q dueQueue) Len() int { return len(q) }

func (q dueQueue) Less(i, j int) bool {
	if c := q[i].due.Compare(q[j].due); c != 0 {
		return c < 0
	}
	return q[i].order < q[j].order
}

func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *dueQueue) Push(x any) {
	ep := x.(*endpoint)
	ep.index = len(*q)
	*q = append(*q, ep)
}

func (q *dueQueue) Pop() any {
	last := len(*q) - 1
	ep := (*q)[last]
	(*q)[last], *q = nil, (*q)[:last]
	ep.index = -1
	return ep
}

func (d *Deliverer) unplace(ep *endpoint) {
	if ep.index >= 0 {
		heap.Remove(&d.lanes[ep.lane].queue, ep.index)
	}
}

// isDue tells whether it is time. What lies further ahead than anything can be put was put by a clock that was set back.
func (ep *endpoint) isDue(now time.Time) bool {
	return !ep.due.After(now) || ep.due.After(now.Add(maxPause))
}

// place puts an endpoint that does not run where it waits.
func (d *Deliverer) place(ep *endpoint) {
	if ep.running {
		return
	}
	d.unplace(ep)
	now, s := d.now(), &ep.state
	switch {
	case s.Gone && s.Ends.IsZero():
		return
	case s.Failures > 0 && !s.Gone:
		ep.lane, ep.due = failing, notBeyond(s.Again, now, maxPause)
		if !s.Ends.IsZero() && s.Ends.Before(ep.due) {
			ep.due = s.Ends
		}
	case ep.waiting > 0 || !s.Ends.IsZero():
		ep.lane, ep.due = entries, time.Time{}
	default:
		ep.lane, ep.due = checkpoints, notBeyond(s.Last.Add(engine.NoticePause), now, engine.NoticePause)
	}
	d.placed++
	ep.order = d.placed
	heap.Push(&d.lanes[ep.lane].queue, ep)
}

// notBeyond is t, but no further ahead than most: else the clock was set back, and nobody waits for it to catch up.
func notBeyond(t, now time.Time, most time.Duration) time.Time {
	if latest := now.Add(most); t.After(latest) {
		return latest
	}
	return t
}
