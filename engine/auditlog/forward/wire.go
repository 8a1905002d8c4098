package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A wire is a connection that counts, and that notices at once when the peer closes it.
type wire struct {
	tcp    *net.TCPConn
	conn   net.Conn // tcp, or TLS over it
	stall  time.Duration
	sent   atomic.Int64 // bytes that were written to tcp
	broken chan struct{}
	once   sync.Once
	err    error // why it broke; after broken is closed
	unhook func() bool
}

// dial connects to a sink. The wire breaks when ctx ends.
func dial(ctx context.Context, s Sink, p pace) (*wire, error) {
	connecting, cancel := context.WithTimeout(ctx, p.dial)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(connecting, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	w := &wire{tcp: conn.(*net.TCPConn), stall: p.stall, broken: make(chan struct{})}
	w.conn = counted{w.tcp, w}
	if s.tls != nil {
		if err := w.secure(connecting, s); err != nil {
			conn.Close()
			return nil, fmt.Errorf("TLS with %s: %w", s.address, err)
		}
	}
	w.unhook = context.AfterFunc(ctx, func() { w.fail(context.Cause(ctx)) })
	go w.listen()
	return w, nil
}

func (w *wire) secure(ctx context.Context, s Sink) error {
	config, err := s.tls.config(s.address)
	if err != nil {
		return err
	}
	conn := tls.Client(w.conn, config)
	w.conn = conn
	return conn.HandshakeContext(ctx)
}

// listen reads what no syslog server sends, so as to see the end of the connection.
func (w *wire) listen() {
	_, err := io.Copy(io.Discard, w.conn)
	if err == nil {
		err = errors.New("the server closed the connection")
	}
	w.fail(err)
}

// fail breaks the wire, and so ends a write that waits.
func (w *wire) fail(err error) {
	w.once.Do(func() {
		w.err = err
		w.tcp.Close()
		close(w.broken)
	})
}

// trouble returns why the wire broke; nil if it didn't.
func (w *wire) trouble() error {
	select {
	case <-w.broken:
		return w.err
	default:
		return nil
	}
}

// write sends data. If that fails, the peer may have said why, such as that it wants a certificate.
func (w *wire) write(data []byte) error {
	if _, err := w.conn.Write(data); err != nil {
		select {
		case <-w.broken:
		case <-time.After(lastWords):
		}
		w.fail(err)
		return w.trouble()
	}
	return nil
}

// acknowledged returns how many of the bytes that were sent the peer's TCP has.
func (w *wire) acknowledged() (n int64, err error) {
	sent := w.sent.Load() // before the queue is looked at: too few rather than too many
	raw, err := w.tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	var queued int
	failed := raw.Control(func(fd uintptr) { queued, err = unacknowledged(int(fd)) })
	return sent - int64(queued), errors.Join(failed, err)
}

// end says that no more comes, and waits until the peer has closed, too, or until the time is over.
func (w *wire) end(ctx context.Context) (err error) {
	if c, ok := w.conn.(*tls.Conn); ok {
		err = c.CloseWrite() // sends close_notify
	}
	err = errors.Join(err, w.tcp.CloseWrite())
	select {
	case <-w.broken:
	case <-ctx.Done():
	}
	return err
}

func (w *wire) close() {
	w.unhook()
	w.fail(os.ErrClosed)
}

// counted is a TCP connection whose writes are counted, and must go on.
type counted struct {
	*net.TCPConn
	w *wire
}

// lastWords is how long what the peer said may take to be read.
const lastWords = 100 * time.Millisecond

// piece is so much that it must go on within the stall time.
const piece = 16 << 10

func (c counted) Write(data []byte) (n int, err error) {
	for err == nil && n < len(data) {
		if err = c.SetWriteDeadline(time.Now().Add(c.w.stall)); err != nil {
			break
		}
		var m int
		m, err = c.TCPConn.Write(data[n:min(len(data), n+piece)])
		n += m
		c.w.sent.Add(int64(m))
	}
	return n, err
}
