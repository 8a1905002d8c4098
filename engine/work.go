package engine

import (
	"sync/atomic"
	"time"
)

// Work tells the dispatcher that there may be something to do in a queue.
type Work struct {
	Queue   Queue
	Line    LineID    // has a message waiting; zero if none is meant
	At      time.Time // something is due then; zero is now
	Message bool      // it is one more message; else anything may have changed, also how long the line rests
}

// workHook is how the engine wakes the dispatcher.
type workHook struct{ fn atomic.Pointer[func(Work)] }

// OnWork makes fn hear of new work. It must not block. Work from before is found by asking each of [Engine.Queues].
func (e *Engine) OnWork(fn func(Work)) { e.work.fn.Store(&fn) }

func (h *workHook) tell(w Work) {
	if fn := h.fn.Load(); fn != nil {
		(*fn)(w)
	}
}

// wakeFor tells of a message that was just stored.
func (h *workHook) wakeFor(env *environment, m *Message) {
	w := Work{Queue: Queue{env}, At: m.Due, Message: true}
	if m.Place == inReady {
		w.Line = m.Line
	}
	h.tell(w)
}

// wakeAll tells that anything may have changed in a workspace.
func (h *workHook) wakeAll(t *tenant) {
	for _, env := range t.envs {
		h.tell(Work{Queue: Queue{env}})
		for _, l := range env.lines.Load().all {
			h.tell(Work{Queue: Queue{env}, Line: l.ID})
		}
	}
}

// Queues returns the queue of every environment.
func (e *Engine) Queues() []Queue {
	var all []Queue
	for _, t := range e.allTenants() {
		for _, env := range t.envs {
			all = append(all, Queue{env})
		}
	}
	return all
}
