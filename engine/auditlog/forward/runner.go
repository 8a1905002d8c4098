package forward

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// batchBytes is about how much of the log is in memory for each sink.
const batchBytes = 256 << 10

// A destination takes entries. It is used by one goroutine.
type destination interface {
	// open returns with which entry to go on.
	open(ctx context.Context) (next uint64, err error)
	// send takes entries that follow the ones before.
	send(entries []Entry) error
	// arrived returns before which entry all are known to have arrived, and counts on it from now on.
	arrived() (next uint64, err error)
	// broken is closed when nothing can be sent any more; arrived tells why. Nil if that shows in sending only.
	broken() <-chan struct{}
	// part ends in good order: what was sent gets there.
	part(ctx context.Context) error
	// close gives back what open took; also after an open that failed.
	close()
}

// A runner brings the log to a destination.
type runner struct {
	src  Source
	to   destination
	pace pace
	log  zerolog.Logger
	name string

	mu      sync.Mutex
	next    uint64    // before this one all are known to have arrived
	mark    uint64    // how many entries there were at some time, of which some have not arrived yet, or had not by then
	marked  time.Time // that time
	failure error
}

// run sends until draining ends and all there was by then is sent, or until life ends.
func (r *runner) run(draining, life context.Context) {
	wait := r.pace.retry
	for {
		worked, err := r.session(draining, life)
		if err == nil || draining.Err() != nil {
			return
		}
		r.failed(err)
		if worked {
			wait = r.pace.retry
		}
		select {
		case <-draining.Done(): // once more
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
		wait = min(2*wait, r.pace.longest)
	}
}

// session sends until an error, which it returns, or until draining. It says whether it ever worked.
func (r *runner) session(draining, life context.Context) (worked bool, err error) {
	defer r.to.close()
	begun := time.Now()
	next, err := r.to.open(life)
	if err != nil {
		return false, err
	}
	first := next
	for {
		last := draining.Err() != nil // asked before it is read what there is
		entries, err := r.src.Entries(next, batchBytes)
		if err == nil && len(entries) > 0 {
			err = r.to.send(entries)
			next += uint64(len(entries))
		}
		if err != nil {
			return worked, err
		}
		arrived, err := r.to.arrived()
		if err != nil {
			return worked, err
		}
		if arrived > first || time.Since(begun) >= r.pace.settle {
			worked = true
			r.works()
		}
		if err := r.progress(arrived); err != nil || life.Err() != nil {
			return worked, errors.Join(err, life.Err())
		}
		if len(entries) > 0 {
			continue
		}
		if last {
			return worked, r.to.part(life)
		}
		select {
		case <-draining.Done():
		case <-r.to.broken():
		case <-time.After(r.pace.look):
		}
	}
}

func (r *runner) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		r.log.Warn().Err(err).Msg("the audit log is not forwarded; it is tried again")
	}
	r.failure = err
}

func (r *runner) works() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		r.log.Info().Msg("the audit log is forwarded again")
	}
	r.failure = nil
}

// progress notes how far it got.
func (r *runner) progress(next uint64) error {
	size, err := r.src.Len()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = next
	r.look(size)
	return nil
}

// look puts a new mark when all before the old one have arrived.
func (r *runner) look(size uint64) {
	if r.marked.IsZero() || r.next >= r.mark {
		r.mark, r.marked = size, time.Now()
	}
}

func (r *runner) state(size uint64) State {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look(size)
	return State{
		Sink: r.name, Behind: size - min(size, r.next), Late: r.next < r.mark && time.Since(r.marked) > r.pace.late, Err: r.failure,
	}
}
