package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

const (
	quitTimeout    = time.Second
	maxDetailBytes = 500
	maxReplyBytes  = 1 << 20 // that the server may send before it is the client's turn again; no real one comes near, TLS handshake included
)

// limitedConn fails when the other side doesn't stop talking, which would otherwise fill the memory.
type limitedConn struct {
	net.Conn
	read int // since the last Write
}

func (c *limitedConn) Read(p []byte) (int, error) {
	if c.read > maxReplyBytes {
		return 0, errors.New("the server's answer is too long")
	}
	n, err := c.Conn.Read(p)
	c.read += n
	return n, err
}

func (c *limitedConn) Write(p []byte) (int, error) {
	c.read = 0
	return c.Conn.Write(p)
}

// session is one connection to the server, ready for mail. One goroutine has it at a time.
type session struct {
	conn     net.Conn // below TLS; for deadlines and for closing
	client   *smtp.Client
	content  *smtp.DataCloser // set from the answer to DATA on
	messages int              // transactions begun
	clean    bool             // the server has answered everything, and may be sent another command
}

// watch makes the end of ctx cut short whatever s waits for, until stop is called. Stop tells whether it came in time.
func (s *session) watch(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { s.conn.SetDeadline(time.Unix(1, 0)) })
}

// arm gives the next step a deadline. It looks at ctx only afterwards: should ctx end later still, then watch has the last word.
func (s *session) arm(ctx context.Context, timeout time.Duration) error {
	if err := s.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	return ctx.Err()
}

func (s *session) data() error {
	w, err := s.client.Data()
	if err == nil {
		s.content = w.(*smtp.DataCloser)
	}
	return err
}

// write sends all of the content but the final dot.
func (s *session) write(ctx context.Context, content []byte, timeout time.Duration) error {
	for chunk := range slices.Chunk(content, 64<<10) {
		if err := s.arm(ctx, timeout); err != nil {
			return err
		}
		if _, err := s.content.Write(chunk); err != nil {
			return err
		}
	}
	if err := s.arm(ctx, timeout); err != nil {
		return err
	}
	return s.client.Text.W.Flush() // so that trouble shows before the hand-over
}

// finish sends the dot and reads the answer. If the process dies in here, nobody can tell whether the message was sent.
func (s *session) finish(ctx context.Context, env envelope) (Result, error) {
	err := s.content.Close()
	var reply *textproto.Error
	answered := errors.As(err, &reply)
	switch {
	case err == nil, answered && reply.Code/100 == 2:
		s.clean = true
		return Result{Outcome: Sent, ExternalID: "<" + env.id + ">"}, nil
	case answered && reply.Code/100 == 4, answered && reply.Code/100 == 5:
		s.clean = reply.Code != 421
		return sortReply(reply)
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	return Result{}, fmt.Errorf("%w: no valid answer to the content: %w", ErrUnknown, err)
}

// close ends the connection. QUIT goes out only on a clean one: any command would end an open content with a dot first, and so
// send the message. For the same reason it is conn that is closed, with whatever the buffers above hold.
func (s *session) close() {
	if s.clean && s.conn.SetDeadline(time.Now().Add(quitTimeout)) == nil {
		_ = s.client.Quit() // courtesy; the server has answered all that matters
	}
	_ = s.conn.Close()
}

// refused sorts an error of a step before the content: nothing was sent, and what does the server's answer make of it?
func (s *session) refused(ctx context.Context, step string, err error) (Result, error) {
	var reply *textproto.Error
	if !errors.As(err, &reply) {
		return Result{}, unreachable(ctx, step, err)
	}
	// Nonsense, a closing server, one that wants a login, or a trouble with RSET: that is about the line, not the message.
	if c := reply.Code; c/100 != 4 && c/100 != 5 || c == 421 || slices.Contains(wantsAuth, c) || step == "RSET" {
		return Result{}, unreachable(ctx, step, err)
	}
	s.clean = true
	return sortReply(reply)
}

// wantsAuth are the answers by which a server refuses the client and not the message (RFC 4954, 6).
var wantsAuth = []int{530, 534, 535, 538}

// sortReply tells a refusal for good (5xx) from one for now (4xx).
func sortReply(reply *textproto.Error) (Result, error) {
	detail := oneLine(fmt.Sprintf("%d %s", reply.Code, reply.Msg), maxDetailBytes)
	if reply.Code/100 == 4 {
		return Result{}, &TemporaryError{detail}
	}
	return Result{Outcome: Failed, Detail: detail}, nil
}

// unreachable is the error for trouble with the connection or the login, in the named step. That a caller cancels says nothing
// about the line, so it is no ErrUnreachable.
func unreachable(ctx context.Context, step string, err error) error {
	switch cause := ctx.Err(); {
	case errors.Is(cause, context.Canceled):
		return fmt.Errorf("%s: %w", step, cause)
	case cause != nil:
		err = cause // rather than what its end did to the connection
	}
	return fmt.Errorf("%w: %s: %w", ErrUnreachable, step, err)
}
