// Package dispatch sends what is due: it moves due messages to their lines, paces each line, hands
// messages to transports and records what became of them.
//
// It keeps nothing that matters in memory: what waits, and what was handed over, is in the store. After
// a crash, messages that were handed over are reconciled with their transport where it can tell, and
// are otherwise left as unknown for the operator; they are never sent again by a guess.
package dispatch

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"tuco/engine"
	"tuco/engine/transport"
)

// Options run a dispatcher. The zero value works.
type Options struct {
	// Log gets one event per outcome.
	Log zerolog.Logger
	// Parallel is how many messages a line without gaps sends at a time. 8 if 0.
	Parallel int
	// Observe hears of each outcome, for counting. It must not block.
	Observe func(engine.Status)
	// Patience is how long [Start] waits until what became of interrupted messages is decided. After a restore there can be hundreds
	// of thousands: the rest of them is decided while others are sent. 10 s if 0.
	Patience time.Duration
}

// A Dispatcher sends the messages of every queue until it is stopped.
type Dispatcher struct {
	eng *engine.Engine
	opt Options
	now func() time.Time // the engine's clock, by which its times are meant

	stopping context.Context
	stop     context.CancelFunc
	sends    context.Context // outlives stopping, so that a send that began can end
	cutSends context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	workers map[workerKey]*worker
	closed  bool
}

// workerKey names a worker: one for each queue, which releases what is due, and one for each line.
type workerKey struct {
	queue engine.Queue
	line  engine.LineID // zero: the queue's own
}

// Start begins to send.
func Start(eng *engine.Engine, opt Options) (*Dispatcher, error) {
	if opt.Parallel == 0 {
		opt.Parallel = 8
	}
	d := &Dispatcher{eng: eng, opt: opt, now: eng.TransportOptions().Now, workers: map[workerKey]*worker{}}
	d.stopping, d.stop = context.WithCancel(context.Background())
	d.sends, d.cutSends = context.WithCancel(context.Background())
	if err := d.recover(cmp.Or(opt.Patience, 10*time.Second)); err != nil {
		d.Stop(0)
		return nil, err
	}
	eng.OnWork(d.wake)
	for _, q := range eng.Queues() {
		waiting, err := q.Waiting()
		if err != nil {
			d.Stop(0)
			return nil, err
		}
		if waiting { // others get their workers when there is work
			d.wakeAll(q)
		}
	}
	return d, nil
}

// Stop begins no further send and waits for those that run, but not longer than patience: what was
// handed over and has no answer by then is found as interrupted at the next start.
func (d *Dispatcher) Stop(patience time.Duration) {
	d.eng.OnWork(func(engine.Work) {})
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.stop()
	cut := time.AfterFunc(patience, d.cutSends)
	d.running.Wait()
	cut.Stop()
	d.cutSends()
}

// recovering is how many messages are reconciled at a time: they become durable together. After a restore there can be many.
const recovering = 64

// recover decides what became of the messages that were handed over when the process ended last. It returns when that is done, or
// after patience; then the rest follows. What a stop or a failure leaves undecided the next start finds again.
func (d *Dispatcher) recover(patience time.Duration) error {
	type interrupted struct {
		queue engine.Queue
		jobs  []engine.Job
	}
	var found []interrupted // before anything is sent, so that it is none of these
	for _, q := range d.eng.Queues() {
		jobs, err := q.Interrupted()
		if err != nil {
			return err
		}
		found = append(found, interrupted{q, jobs})
	}
	done := make(chan error, 1)
	d.running.Go(func() {
		all := errgroup.Group{}
		all.SetLimit(recovering)
		for _, f := range found {
			for _, job := range f.jobs {
				all.Go(func() error {
					if d.stopping.Err() != nil {
						return nil
					}
					return d.recoverOne(f.queue, job)
				})
			}
		}
		err := all.Wait()
		if err != nil {
			d.opt.Log.Error().Err(err).Msg("interrupted sends could not all be reconciled; the next start tries again")
		}
		done <- err
	})
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case err := <-done:
		return err
	case <-timeout.C:
		d.opt.Log.Info().Msg("interrupted sends are still being reconciled")
		return nil
	}
}

func (d *Dispatcher) recoverOne(q engine.Queue, job engine.Job) (err error) {
	outcome, detail := d.reconcile(q, job)
	if outcome == nil {
		_, err = q.Lose(job.Message.ID, detail)
	} else {
		_, err = q.Finish(job.Message.ID, *outcome)
	}
	if err == nil {
		d.opt.Log.Warn().Stringer("message", job.Message.ID).Str("workspace", string(q.Workspace())).
			Bool("known", outcome != nil).Msg("interrupted send reconciled")
	}
	return err
}

// reconcile asks the transport what became of a message; nil if it can't tell.
func (d *Dispatcher) reconcile(q engine.Queue, job engine.Job) (*engine.Outcome, string) {
	const interrupted = "the process ended while it was being sent"
	t, err := d.open(q, job.Line)
	if err != nil {
		return nil, interrupted
	}
	defer t.Close()
	ctx, cancel := context.WithTimeout(d.sends, time.Minute)
	defer cancel()
	result, err := t.Reconcile(ctx, transportMessage(job))
	if err != nil {
		return nil, interrupted
	}
	outcome := outcomeOf(result)
	return &outcome, ""
}

func (d *Dispatcher) open(q engine.Queue, l engine.Line) (transport.Transport, error) {
	url, err := q.Transport(l)
	if err != nil {
		return nil, err
	}
	return transport.Open(url, d.eng.TransportOptions())
}

// wake is told of new work by the engine.
func (d *Dispatcher) wake(w engine.Work) {
	if !w.Line.IsZero() {
		line := d.worker(workerKey{w.Queue, w.Line})
		if !w.Message || !line.resting() {
			line.wakeAt(time.Time{})
		}
		return
	}
	d.worker(workerKey{queue: w.Queue}).wakeAt(w.At)
}

func (d *Dispatcher) wakeAll(q engine.Queue) {
	d.wake(engine.Work{Queue: q})
	for _, line := range q.LineIDs() {
		d.wake(engine.Work{Queue: q, Line: line})
	}
}

// forget drops the worker of a line or workspace that is gone.
func (d *Dispatcher) forget(w *worker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.workers, w.key)
}

// worker returns the worker of that name, and starts it if there is none.
func (d *Dispatcher) worker(key workerKey) *worker {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.workers[key]
	if w == nil {
		w = newWorker(d, key)
		d.workers[key] = w
		if !d.closed {
			d.running.Add(1)
			go w.run()
		}
	}
	return w
}
