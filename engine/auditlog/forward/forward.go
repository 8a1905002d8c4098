package forward

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Options run a forwarder. The zero value works.
type Options struct {
	// Product is the version of the program, which some formats and syslog have.
	Product string
	// Log gets one event when a sink fails, and one when it works again.
	Log zerolog.Logger

	pace pace
}

// A pace says how long what takes.
type pace struct {
	look    time.Duration // how often the log is looked at
	settle  time.Duration // how long a connection must stay good before what it carried counts as arrived
	stall   time.Duration // how long a peer may take nothing
	retry   time.Duration // the wait after the first error; each one more doubles it
	longest time.Duration // wait
	dial    time.Duration // for connection and handshake
	part    time.Duration // for the peer to close after the last byte
	late    time.Duration // how far behind is worth a warning
}

var usualPace = pace{
	look: time.Second, settle: settle, stall: 30 * time.Second, retry: time.Second, longest: time.Minute,
	dial: 5 * time.Second, part: 3 * time.Second, late: time.Minute,
}

// A Forwarder sends the log to its sinks until it is stopped.
type Forwarder struct {
	src     Source
	runners []*runner
	running sync.WaitGroup
	drain   func() // what is there is sent, then the runners end
	cut     func() // they end
}

// Start begins to send. A sink that can't be reached is tried again and again, as is one whose files can't be continued.
//
// Errors: those of an origin that is none.
func Start(src Source, sinks []Sink, opt Options) (*Forwarder, error) {
	if opt.pace == (pace{}) {
		opt.pace = usualPace
	}
	f := &Forwarder{src: src}
	var draining, life context.Context
	draining, f.drain = context.WithCancel(context.Background())
	life, f.cut = context.WithCancel(context.Background())
	for _, s := range sinks {
		enc, err := newEncoder(s.format, opt.Product, src.Origin())
		if err != nil {
			return nil, err
		}
		r := &runner{src: src, pace: opt.pace, log: opt.Log.With().Str("sink", s.Name).Logger(), name: s.Name}
		if s.dir != "" {
			r.to = newDirectory(s, src, enc)
		} else {
			r.to = newSyslog(s, src, enc, opt.pace)
		}
		f.runners = append(f.runners, r)
	}
	for _, r := range f.runners {
		f.running.Go(func() { r.run(draining, life) })
	}
	return f, nil
}

// Stop sends what is there, as long as ctx lasts and no sink fails, and ends. A sink that does not even end when it is told
// to, such as a file system that hangs, is left behind.
func (f *Forwarder) Stop(ctx context.Context) {
	f.drain()
	ended := make(chan struct{})
	go func() {
		f.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	f.cut()
	select {
	case <-ended:
	case <-time.After(time.Second):
	}
}

// A State is how far a sink is.
type State struct {
	Sink   string // see [Sink.Name]
	Behind uint64 // how many entries are not known to have arrived
	Late   bool   // one of them waits for more than a minute
	Err    error  // why it fails; nil if it doesn't
}

// States returns the state of each sink, in the order in which they were given.
func (f *Forwarder) States() []State {
	size, err := f.src.Len()
	states := make([]State, len(f.runners))
	for i, r := range f.runners {
		states[i] = r.state(size)
		states[i].Err = errors.Join(states[i].Err, err)
	}
	return states
}
