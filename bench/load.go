package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Load is who asks a server for what.
type Load struct {
	Host        string // host:port
	Path        string // of the messages
	Tenants     []Tenant
	Mix         Mix
	Connections int
	Contacts    int // of each tenant
	// Rate is how many requests a second are begun over all connections, whether or not the server keeps up. 0: each
	// connection begins the next request when it has the answer to the last.
	Rate int
}

// patience is how long a server may take to answer anything. Of a connection it is set anew only every so many requests,
// since that costs a little, and for all of them together.
const (
	patience   = 60 * time.Second
	renewEvery = 100
)

// A generator is a load with its connections.
type generator struct {
	Load
	workers []*worker
	known   []known // messages that can be read
	stop    atomic.Bool
	left    atomic.Int64   // requests that may still begin
	dues    chan time.Time // when requests are due, if the load has a rate
}

// known is a message that is there.
type known struct {
	tenant *Tenant
	id     string
}

// connect opens the connections of a load.
func connect(l Load) (*generator, error) {
	g := &generator{Load: l}
	for i := range l.Tenants {
		for _, id := range l.Tenants[i].Messages {
			g.known = append(g.known, known{&l.Tenants[i], id})
		}
	}
	if l.Mix[Get] > 0 && len(g.known) == 0 {
		return nil, errors.New("there is no message to read: store some first with --messages")
	}
	for i := range l.Connections {
		w := &worker{g: g, n: i}
		w.requests = requests{host: l.Host, path: l.Path, rng: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i)))}
		g.workers = append(g.workers, w)
		if err := w.dial(); err != nil {
			g.close()
			return nil, err
		}
	}
	return g, nil
}

func (g *generator) close() {
	for _, w := range g.workers {
		if w.conn.Conn != nil {
			w.conn.Close()
		}
	}
}

// amount is when a run ends: after a time, or after so many requests.
type amount struct {
	time     time.Duration
	requests int64
	keepIDs  int // of the messages that were sent, about so many are remembered
}

// run asks until the amount is reached, and waits for the answers to what was begun. Once a second it tells watch how many
// were answered, in all and since it last did.
func (g *generator) run(ctx context.Context, a amount, watch func(done, perSecond int64)) (*outcome, error) {
	if a.requests == 0 {
		a.requests = 1 << 62
	}
	if a.time == 0 {
		a.time = 1000 * time.Hour
	}
	g.stop.Store(false)
	g.left.Store(a.requests)
	defer context.AfterFunc(ctx, g.interrupt)()
	began := time.Now()
	timer := time.AfterFunc(a.time, func() { g.stop.Store(true) })
	defer timer.Stop()
	ended := make(chan struct{})
	var working, watching sync.WaitGroup
	if g.Rate > 0 {
		g.dues = make(chan time.Time, g.Rate)
		watching.Go(func() { g.pace(began) })
	}
	for _, w := range g.workers {
		w.prepare(a)
		working.Go(w.run)
	}
	watching.Go(func() { g.watch(ended, watch) })
	working.Wait()
	g.stop.Store(true) // also when the amount is reached
	close(ended)
	watching.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return g.outcome(time.Since(began))
}

// interrupt ends what is under way.
func (g *generator) interrupt() {
	g.stop.Store(true)
	for _, w := range g.workers {
		w.interrupt()
	}
}

func (g *generator) watch(ended <-chan struct{}, watch func(done, perSecond int64)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for before := int64(0); ; {
		select {
		case <-ended:
			return
		case <-tick.C:
			var done int64
			for _, w := range g.workers {
				done += w.done.Load()
			}
			watch(done, done-before)
			before = done
		}
	}
}

func (g *generator) outcome(took time.Duration) (*outcome, error) {
	all := newOutcome(g.Mix)
	all.took = took
	for _, w := range g.workers {
		if w.err != nil {
			return nil, w.err
		}
		all.merge(w.outcome)
	}
	return all, nil
}

// A worker is one connection with the requests that go over it.
type worker struct {
	g *generator
	n int
	requests
	outcome *outcome
	err     error
	done    atomic.Int64

	mu   sync.Mutex // guards the connection against interrupt
	conn conn

	keep int // of so many messages one is remembered
}

func (w *worker) dial() error {
	c, err := net.DialTimeout("tcp", w.g.Host, patience)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", w.g.Host, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn.Conn != nil {
		w.conn.Close()
	}
	w.conn.Conn = c
	return nil
}

func (w *worker) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn.SetDeadline(time.Now()) //nolint:errcheck // of a connection that is closed
}

func (w *worker) prepare(a amount) {
	w.outcome = newOutcome(w.g.Mix)
	w.done.Store(0)
	if a.keepIDs > 0 {
		w.keep = max(1, int(a.requests)/a.keepIDs)
	}
}

func (w *worker) run() {
	for !w.g.stop.Load() && w.g.left.Add(-1) >= 0 {
		began := time.Now()
		if w.g.Rate > 0 {
			due, ok := <-w.g.dues
			if !ok {
				return
			}
			began = due
		}
		op, tenant, request := w.next()
		a, err := w.conn.do(request)
		if err == nil {
			w.record(op, tenant, a, time.Since(began))
		} else if w.g.stop.Load() {
			return
		} else {
			w.outcome.refused(op, 0, []byte(err.Error()))
		}
		if err != nil || a.last {
			if w.err = w.dial(); w.err != nil {
				return
			}
		}
	}
}

// next makes the next request.
func (w *worker) next() (Op, *Tenant, []byte) {
	if w.done.Load()%renewEvery == 0 {
		w.conn.SetDeadline(time.Now().Add(renewEvery * patience)) //nolint:errcheck // then the request fails
	}
	op := w.g.Mix.pick(w.rng.IntN(100))
	tenant := &w.g.Tenants[w.rng.IntN(len(w.g.Tenants))]
	switch op {
	case Send:
		return op, tenant, w.send(tenant, w.g.Contacts)
	case Get:
		m := w.g.known[w.rng.IntN(len(w.g.known))]
		return op, m.tenant, w.get(m.tenant, m.id)
	default:
		return op, tenant, w.list(tenant)
	}
}

func (w *worker) record(op Op, t *Tenant, a answer, took time.Duration) {
	n := int(w.done.Add(1))
	if a.status/100 != 2 {
		w.outcome.refused(op, a.status, a.body)
		return
	}
	w.outcome.latency[op].add(took)
	if op == Send && w.keep > 0 && n%w.keep == 0 {
		w.outcome.sent = append(w.outcome.sent, known{t, messageID(a.body)})
	}
	if w.outcome.answers[op] == nil {
		w.outcome.answers[op] = bytes.Clone(a.body)
	}
}

// messageID finds the message's id in the answer to a send.
func messageID(body []byte) string {
	for _, name := range []string{`"_id":"`, `"id":"`} {
		if _, rest, ok := bytes.Cut(body, []byte(name)); ok {
			id, _, _ := bytes.Cut(rest, []byte(`"`))
			return string(id)
		}
	}
	return ""
}

// tick is how often requests fall due. To wake for each alone would take a good part of the machine that is measured.
const tick = time.Millisecond

// pace says when requests are due, for whichever connection is free next. What nobody takes in time waits, and is late.
func (g *generator) pace(began time.Time) {
	defer close(g.dues)
	due := func(n int64) time.Time { return began.Add(time.Duration(n) * time.Second / time.Duration(g.Rate)) }
	var n int64
	for next := began; !g.stop.Load(); next = next.Add(tick) {
		waitUntil(next)
		for free := true; free && !due(n).After(time.Now()); {
			select {
			case g.dues <- due(n):
				n++
			default:
				free = false // a whole second's requests wait already
			}
		}
	}
}

// waitUntil sleeps more exactly than time.Sleep, which may be a millisecond late.
func waitUntil(t time.Time) {
	for d := time.Until(t); d > 0; d = time.Until(t) {
		pause := unix.NsecToTimespec(int64(d))
		unix.Nanosleep(&pause, nil) //nolint:errcheck // a signal only makes it shorter
	}
}
