package listen

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// A Listener takes connections from several listeners. Its methods may be called by several goroutines.
type Listener struct {
	all     []net.Listener
	taken   chan net.Conn
	failed  chan error
	closing chan struct{}
	done    chan struct{} // closed when nothing is taken any more
	begin   sync.Once
	end     sync.Once
	takers  sync.WaitGroup
	closed  error
}

func merge(all []net.Listener) *Listener {
	return &Listener{all: all, taken: make(chan net.Conn), failed: make(chan error, len(all)), closing: make(chan struct{}), done: make(chan struct{})}
}

// Accept returns the next connection. After Close it still returns those that were taken before.
func (l *Listener) Accept() (net.Conn, error) {
	l.begin.Do(l.start)
	select {
	case c := <-l.taken:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *Listener) start() {
	for _, ln := range l.all {
		l.takers.Go(func() { l.take(ln) })
	}
	go func() {
		l.takers.Wait()
		<-l.closing
		close(l.done)
	}()
}

// Most time between tries when the process or the machine has no file left for a connection.
const mostRest = time.Second

// take takes connections from ln. When there are too many open files it waits for some to be closed: that must not end
// the server.
func (l *Listener) take(ln net.Listener) {
	for rest := 5 * time.Millisecond; ; {
		c, err := ln.Accept()
		switch {
		case err == nil:
			rest = 5 * time.Millisecond
			l.taken <- c
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED):
			select {
			case <-time.After(rest):
				rest = min(2*rest, mostRest)
			case <-l.closing:
				return
			}
		case errors.Is(err, net.ErrClosed):
			return
		default:
			l.failed <- err
			return
		}
	}
}

// Close takes no more connections, and waits until those that were taken are handed out; so somebody must be accepting,
// or have never begun to.
func (l *Listener) Close() error {
	l.end.Do(func() {
		close(l.closing)
		l.closed = closeAll(l.all)
		l.begin.Do(func() { close(l.done) }) // nothing ever began
		<-l.done
	})
	return l.closed
}

// Addr is the first address.
func (l *Listener) Addr() net.Addr { return l.all[0].Addr() }

// Addresses are all of them, as they are given to [Open].
func (l *Listener) Addresses() (list []string) {
	for _, ln := range l.all {
		text := ln.Addr().String()
		if ln.Addr().Network() == "unix" {
			text = UnixPrefix + text
		}
		list = append(list, text)
	}
	return list
}
