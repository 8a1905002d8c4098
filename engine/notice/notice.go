// Package notice tells customers of staff access: it posts what the audit log has of it, with the newest checkpoint, to the
// webhook of each workspace, signed as the Standard Webhooks specification says.
//
// It keeps nothing that matters in memory: what waits is the workspace's own chain in the log, and the place in it moves,
// durably, when the other side took a notice. After a crash the same may come again; nothing is left out.
package notice

import (
	"context"
	"crypto/x509"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tuco/engine"
)

// Options run a deliverer. Render is needed.
type Options struct {
	// Render makes the body of a notice.
	Render func(*engine.Notice) ([]byte, error)
	// Log gets one event when a webhook begins to fail, and one when it works again.
	Log zerolog.Logger
	// Observe hears what became of each attempt, for counting. It must not block.
	Observe func(Outcome)
	// Timeout bounds an attempt. 10 s if 0.
	Timeout time.Duration
	// Roots are the authorities to trust. The system's if nil.
	Roots *x509.CertPool
}

// An Outcome is what became of an attempt.
type Outcome string

// The outcomes.
const (
	Delivered   Outcome = "delivered"
	Refused     Outcome = "refused"     // any status but 2xx
	Gone        Outcome = "gone"        // 410
	TimedOut    Outcome = "timeout"     //
	Unreachable Outcome = "unreachable" // no connection, no TLS, or it broke
	Forbidden   Outcome = "forbidden"   // an address that a customer may not reach
	Failed      Outcome = "failed"      // here: it was delivered but not recorded, or could not be read
)

// Outcomes are all of them.
var Outcomes = []Outcome{Delivered, Refused, Gone, TimedOut, Unreachable, Forbidden, Failed}

// A Deliverer posts notices until it is stopped. One goroutine owns the schedule; each attempt is one of its own.
type Deliverer struct {
	queue  engine.Notices
	opt    Options
	now    func() time.Time // the engine's clock, by which its times are meant
	client clients

	stopping context.Context
	stop     context.CancelFunc
	posts    context.Context // outlives stopping, so that an attempt that began can end
	cutPosts context.CancelFunc
	running  sync.WaitGroup

	waiting atomic.Int64
	growth  growth
	done    chan result // has room for every attempt that runs

	// The schedule's.
	endpoints map[engine.WorkspaceID]*endpoint
	lanes     [lanes]lane
	parked    []*endpoint // would get a checkpoint when the log grows
	grown     uint64      // how often it was seen to grow
	placed    uint64      // how often an endpoint was put into a lane
}

// Start begins to deliver.
func Start(eng *engine.Engine, opt Options) (*Deliverer, error) {
	d, err := newDeliverer(eng, opt)
	if err != nil {
		d.Stop(0)
		return nil, err
	}
	d.running.Go(d.run)
	return d, nil
}

// newDeliverer makes one that knows every webhook, and delivers nothing yet.
func newDeliverer(eng *engine.Engine, opt Options) (*Deliverer, error) {
	if opt.Timeout == 0 {
		opt.Timeout = 10 * time.Second
	}
	if opt.Observe == nil {
		opt.Observe = func(Outcome) {}
	}
	transport := eng.TransportOptions()
	d := &Deliverer{
		queue: eng.Notices(), opt: opt, now: transport.Now, client: newClients(transport.AllowFetch, opt), endpoints: map[engine.WorkspaceID]*endpoint{},
		growth: growth{poke: make(chan struct{}, 1), marked: map[engine.WorkspaceID]bool{}},
	}
	slots := 0
	for i, n := range slotsOf {
		d.lanes[i].free = n
		slots += n
	}
	d.done = make(chan result, slots)
	d.stopping, d.stop = context.WithCancel(context.Background())
	d.posts, d.cutPosts = context.WithCancel(context.Background())
	d.queue.OnGrowth(d.growth.tell)
	all, err := d.queue.Workspaces()
	for _, w := range all {
		if err == nil {
			err = d.load(w)
		}
	}
	return d, err
}

// Stop begins no further attempt and waits for those that run, but not longer than patience: what was not answered by
// then is delivered again after the next start.
func (d *Deliverer) Stop(patience time.Duration) {
	d.queue.OnGrowth(nil)
	d.stop()
	cut := time.AfterFunc(patience, d.cutPosts)
	d.running.Wait()
	cut.Stop()
	d.cutPosts()
}

// Waiting is how many entries wait, of all workspaces.
func (d *Deliverer) Waiting() int64 { return d.waiting.Load() }

// growth is what was heard of the log's growth and not looked at yet.
type growth struct {
	poke chan struct{} // holds one; there is something to look at

	mu     sync.Mutex
	marked map[engine.WorkspaceID]bool
	any    bool
}

// tell hears of an entry, within its transaction.
func (g *growth) tell(w engine.WorkspaceID) {
	g.mu.Lock()
	g.any = true
	if w != "" {
		g.marked[w] = true
	}
	g.mu.Unlock()
	select {
	case g.poke <- struct{}{}:
	default:
	}
}

func (g *growth) take() (marked map[engine.WorkspaceID]bool, any bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	marked, any = g.marked, g.any
	g.marked, g.any = map[engine.WorkspaceID]bool{}, false
	return marked, any
}
