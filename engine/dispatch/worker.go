package dispatch

import (
	"sync"
	"time"

	"tuco/engine"
	"tuco/engine/transport"
)

// A worker does one thing at a time: it releases what is due in a queue, or sends for a line.
type worker struct {
	d    *Dispatcher
	key  workerKey
	poke chan struct{} // holds one; there is something to look at
	step func() (again engine.Look)

	mu    sync.Mutex
	timer *time.Timer
	at    time.Time // when the timer fires; zero if it is not set
	rests bool      // until at, whatever message comes

	// Of a line's worker. Only run and the sends that it waits for use them.
	transport transport.Transport
	opened    engine.Line // the line as it was when transport was opened
	busy      sync.Map    // message id → being sent
	failures  int         // in a row, of the line
}

func newWorker(d *Dispatcher, key workerKey) *worker {
	w := &worker{d: d, key: key, poke: make(chan struct{}, 1)}
	w.step = w.release
	if !key.line.IsZero() {
		w.step = w.send
	}
	return w
}

// wakeAt lets the worker look again at t, or now if t is over.
func (w *worker) wakeAt(t time.Time) {
	wait := t.Sub(w.d.now())
	if t.IsZero() || wait <= 0 {
		select {
		case w.poke <- struct{}{}:
		default:
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.at.IsZero() && !t.Before(w.at) {
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	// The wall clock may be set while we wait: look at least once a minute.
	w.at, w.rests = t, false
	w.timer = time.AfterFunc(min(wait, time.Minute), func() {
		w.mu.Lock()
		w.at, w.rests = time.Time{}, false
		w.mu.Unlock()
		w.wakeAt(time.Time{})
	})
}

// rest lets the worker look again at t, and at no message before.
func (w *worker) rest(t time.Time) {
	w.wakeAt(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rests = !w.at.IsZero()
}

func (w *worker) resting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rests
}

func (w *worker) run() {
	defer w.d.running.Done()
	defer w.close()
	for {
		select {
		case <-w.d.stopping.Done():
			return
		case <-w.poke:
		}
		w.mu.Lock()
		w.rests = false // from here on a message that comes is one that step may not have seen
		w.mu.Unlock()
		if again := w.step(); again.Firm {
			w.rest(again.At)
		} else if !again.At.IsZero() {
			w.wakeAt(again.At)
		} else if w.key.queue.Gone(w.key.line) {
			w.d.forget(w)
			return
		}
	}
}

func (w *worker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.transport != nil {
		w.transport.Close()
	}
}

// pause is how long a worker waits after the store refused it.
const pause = 5 * time.Second

// release moves what is due to its line.
func (w *worker) release() (again engine.Look) {
	next, err := w.key.queue.Release()
	if err != nil {
		w.d.opt.Log.Error().Err(err).Str("workspace", string(w.key.queue.Workspace())).Msg("due messages not released")
		return w.after(pause)
	}
	return engine.Look{At: next}
}

func (w *worker) after(d time.Duration) engine.Look { return engine.Look{At: w.d.now().Add(d)} }
