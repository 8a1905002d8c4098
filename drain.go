package main

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// drainListener is a listener whose Close cuts nobody off. The kernel completes connections before they
// are accepted, and resets those that still wait when the socket is closed, though their requests may be
// on the way. So Close first makes the socket deaf to new ones, and lets those that wait be accepted.
type drainListener struct {
	*net.TCPListener
	closing atomic.Bool
	empty   chan struct{} // closed when nothing waits any more
	once    sync.Once
}

// drainTime is how long those that wait have to be accepted.
const drainTime = 100 * time.Millisecond

func newDrainListener(ln net.Listener) *drainListener {
	return &drainListener{TCPListener: ln.(*net.TCPListener), empty: make(chan struct{})}
}

// Accept returns [net.ErrClosed] once the listener is closing and nobody waits.
func (l *drainListener) Accept() (net.Conn, error) {
	conn, err := l.TCPListener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) && l.closing.Load() {
		l.once.Do(func() { close(l.empty) })
		return nil, net.ErrClosed
	}
	return conn, err
}

// Close returns when those that waited are accepted, or nobody accepts them.
func (l *drainListener) Close() error {
	if !l.closing.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	// Where the kernel does not take the filter, connections that come in the last moment are reset.
	_ = l.deafen()
	if err := l.SetDeadline(time.Now().Add(drainTime)); err == nil {
		select {
		case <-l.empty:
		case <-time.After(10 * drainTime):
		}
	}
	return l.TCPListener.Close()
}

// deafen drops every packet that comes to the listening socket; connections that are open have their own.
func (l *drainListener) deafen() error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	dropAll := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &dropAll})
	})
	return errors.Join(err, failed)
}
