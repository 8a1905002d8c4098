package notice

import (
	"container/heap"
	"time"

	"tuco/engine"
)

// run is the schedule.
func (d *Deliverer) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(d.begin())
		select {
		case <-d.stopping.Done():
			return
		case <-d.growth.poke:
			d.look()
		case r := <-d.done:
			d.finish(r)
		case <-timer.C:
		}
	}
}

// look loads what was marked, and lets checkpoints become due.
func (d *Deliverer) look() {
	marked, grown := d.growth.take()
	if len(marked) == 0 && len(d.endpoints) == 0 {
		return // nobody has a webhook
	}
	if err := d.queue.Settle(); err != nil {
		return // the store has stopped, and the program will
	}
	for w := range marked {
		if err := d.load(w); err != nil {
			d.postpone(w, err)
		}
	}
	if grown {
		d.grown++
		for _, ep := range d.parked {
			if d.endpoints[ep.workspace] == ep && !ep.running && ep.index < 0 {
				d.place(ep)
			}
		}
		d.parked = nil
	}
}

// begin begins the attempts that are due, as far as the lanes have room, and returns when to look again.
func (d *Deliverer) begin() (wait time.Duration) {
	now := d.now()
	wait = time.Minute // the wall clock may be set while we wait
	for i := range d.lanes {
		l := &d.lanes[i]
		for l.free > 0 && len(l.queue) > 0 && l.queue[0].isDue(now) {
			ep := heap.Pop(&l.queue).(*endpoint)
			l.free--
			ep.running, ep.lane = true, i
			w, s, grown := ep.workspace, ep.state, d.grown
			d.running.Go(func() {
				r := d.attempt(w, s)
				r.endpoint, r.before, r.grown = ep, s, grown
				d.done <- r
			})
		}
		if l.free > 0 && len(l.queue) > 0 {
			wait = min(wait, l.queue[0].due.Sub(now))
		}
	}
	return wait
}

// A result is what became of an attempt.
type result struct {
	endpoint *endpoint
	before   engine.NoticeState // when it began
	grown    uint64             // the same
	outcome  Outcome
	none     bool          // there was nothing to deliver
	stored   bool          // what became of it is recorded
	notice   engine.Notice // without its entries
	told     int64         // how many it had
	again    time.Time     // if it failed
}

// finish takes an attempt's result.
func (d *Deliverer) finish(r result) {
	ep := r.endpoint
	d.lanes[ep.lane].free++
	ep.running = false
	if d.endpoints[ep.workspace] != ep {
		return
	}
	switch {
	case ep.state.ID != r.before.ID || ep.state.Change != r.before.Change: // it was set meanwhile
	case r.outcome == Delivered && r.notice.Next < ep.counted:
		d.count(ep, -r.told)
		ep.state.Failures = 0
	case r.outcome == Delivered: // it told of more than was counted
		ep.counted = r.notice.Next
		d.count(ep, -ep.waiting)
		ep.state.Failures = 0
	case r.none:
		ep.counted = ep.state.Place
		d.count(ep, -ep.waiting)
	case !r.stored:
		ep.state.Failures++
		ep.state.Again, ep.state.Cut = r.again, 0
		if r.told > 0 {
			ep.state.Cut = r.notice.Next
		}
	}
	if err := d.load(ep.workspace); err != nil {
		d.postpone(ep.workspace, err)
	} else if r.none && !ep.due.After(d.now()) {
		d.rest(ep, r.grown == d.grown)
	}
	d.say(ep, r)
}

// rest takes an endpoint that has nothing to deliver out of its lane until the log grows; unless it grew since it was
// looked at.
func (d *Deliverer) rest(ep *endpoint, still bool) {
	switch {
	case ep.index < 0 || !still:
	case ep.lane == checkpoints:
		d.unplace(ep)
		d.parked = append(d.parked, ep)
	default:
		ep.due = d.now().Add(time.Minute)
		heap.Fix(&d.lanes[ep.lane].queue, ep.index)
	}
}

// say logs that a webhook begins to fail, or works again. Its URL stays out of the log: it may hold a secret.
func (d *Deliverer) say(ep *endpoint, r result) {
	switch failed := r.before.Failures > 0; {
	case r.none || (r.outcome != Delivered) == failed && r.outcome != Gone:
	case r.outcome == Delivered:
		d.opt.Log.Info().Str("workspace", string(ep.workspace)).Msg("a webhook works again")
	default:
		d.opt.Log.Warn().Str("workspace", string(ep.workspace)).Str("outcome", string(r.outcome)).Msg("a webhook takes no notices; they wait")
	}
}

// load makes an endpoint what is stored of it, counts what came since it was counted last, and places it.
func (d *Deliverer) load(w engine.WorkspaceID) error {
	state, ok, err := d.queue.State(w)
	if err != nil {
		return err
	}
	ep := d.endpoints[w]
	if !ok {
		d.forget(ep)
		return nil
	}
	if ep == nil {
		ep = &endpoint{workspace: w, index: -1}
		d.endpoints[w] = ep
	}
	if ep.state.ID != state.ID {
		d.count(ep, -ep.waiting)
		ep.counted = state.Place
	}
	if ep.state.Failures > state.Failures && ep.state.Change == state.Change && ep.state.Place == state.Place {
		state.Failures, state.Again, state.Cut = ep.state.Failures, ep.state.Again, ep.state.Cut // it could not be recorded
	}
	ep.state = state
	n, end, err := d.queue.Count(w, ep.counted)
	if err != nil {
		return err
	}
	ep.counted = end
	d.count(ep, n)
	d.place(ep)
	return nil
}

func (d *Deliverer) count(ep *endpoint, n int64) {
	ep.waiting += n
	d.waiting.Add(n)
}

// forget drops the endpoint of a webhook that is no more.
func (d *Deliverer) forget(ep *endpoint) {
	if ep == nil {
		return
	}
	delete(d.endpoints, ep.workspace)
	d.count(ep, -ep.waiting)
	d.unplace(ep)
}

// postpone lets an endpoint whose state can't be read rest.
func (d *Deliverer) postpone(w engine.WorkspaceID, err error) {
	d.opt.Log.Error().Err(err).Str("workspace", string(w)).Msg("a webhook's state can't be read")
	if ep := d.endpoints[w]; ep != nil && !ep.running {
		ep.state.Failures++
		ep.state.Again = d.now().Add(pauseAfter(ep.state.Failures))
		d.place(ep)
	}
}
