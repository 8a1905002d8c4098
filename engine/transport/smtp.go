package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

const (
	maxIdle    = 30 * time.Second // how long a connection is kept for the next message
	maxPerConn = 100              // messages on one connection

	// answerPatience times the timeout is what the answer to the content may take: to give up there leaves the outcome
	// unknown, and servers look for spam in that time (RFC 5321, 4.5.3.2.6, asks for ten minutes).
	answerPatience = 10
)

// smtpTransport sends e-mail through one server.
type smtpTransport struct {
	smtpSettings
	dialAddr string
	tls      *tls.Config
	now      func() time.Time
	fetcher  *fetcher

	mu sync.Mutex
	// Under mu:
	idle   *session // nil if none
	expiry *time.Timer
	closed bool
}

func newSMTP(settings smtpSettings, opt Options) (*smtpTransport, error) {
	t := &smtpTransport{
		smtpSettings: settings,
		dialAddr:     net.JoinHostPort(settings.host, settings.port),
		tls:          &tls.Config{ServerName: settings.host, MinVersion: tls.VersionTLS12},
		now:          opt.Now,
		fetcher:      newFetcher(opt.AllowFetch),
	}
	if t.now == nil {
		t.now = time.Now
	}
	if t.helo == "" {
		t.helo, _ = os.Hostname()
	}
	if t.helo == "" {
		t.helo = "localhost"
	}
	if t.caFile != "" {
		roots, err := rootsWith(t.caFile)
		if err != nil {
			return nil, fmt.Errorf("transport URL: parameter ca: %w", err)
		}
		t.tls.RootCAs = roots
	}
	return t, nil
}

// rootsWith are the system's root certificates and those in file.
func rootsWith(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no PEM certificate in %s", file)
	}
	return roots, nil
}

func (t *smtpTransport) Send(ctx context.Context, m Message, handOver func() error) (Result, error) {
	env, err := t.compose(ctx, m)
	var final finalError
	if errors.As(err, &final) {
		return Result{Outcome: Failed, Detail: string(final)}, nil
	}
	if err != nil {
		return Result{}, err
	}

	handedOver := false
	once := func() error {
		handedOver = true
		return handOver()
	}
	if s := t.takeIdle(); s != nil {
		res, err := t.deliver(ctx, s, env, once)
		if handedOver || !errors.Is(err, ErrUnreachable) {
			return res, err
		}
		// The server has given up on the idle connection. Nothing was handed over, so a new one is no second attempt.
	}
	s, err := t.connect(ctx)
	if err != nil {
		return Result{}, err
	}
	return t.deliver(ctx, s, env, once)
}

// Reconcile can't tell: SMTP has no way to ask a server about a message that it may have taken.
func (t *smtpTransport) Reconcile(context.Context, Message) (Result, error) {
	return Result{}, ErrCannotTell
}

// Check opens a connection of its own: an idle one would only tell that the server was there before.
func (t *smtpTransport) Check(ctx context.Context) error {
	s, err := t.connect(ctx)
	if err != nil {
		return err
	}
	s.close()
	return nil
}

func (t *smtpTransport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	if s := t.takeIdle(); s != nil {
		s.close()
	}
	return nil
}

// takeIdle hands the idle connection, if there is one, over to the caller.
func (t *smtpTransport) takeIdle() *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.idle
	if s != nil {
		t.expiry.Stop()
		t.idle = nil
	}
	return s
}

// release keeps s for the next message, or closes it. One connection is enough: a line paces its messages.
func (t *smtpTransport) release(s *session) {
	t.mu.Lock()
	keep := s.clean && s.messages < maxPerConn && t.idle == nil && !t.closed
	if keep {
		t.idle = s
		t.expiry = time.AfterFunc(maxIdle, func() { t.expire(s) })
	}
	t.mu.Unlock()
	if !keep {
		s.close()
	}
}

// expire closes s if it is still idle.
func (t *smtpTransport) expire(s *session) {
	t.mu.Lock()
	expired := t.idle == s
	if expired {
		t.idle = nil
	}
	t.mu.Unlock()
	if expired {
		s.close()
	}
}

// connect opens a connection that is ready for mail. All its errors mean that nothing was sent.
func (t *smtpTransport) connect(ctx context.Context) (*session, error) {
	dialer := net.Dialer{Timeout: t.timeout}
	conn, err := dialer.DialContext(ctx, "tcp", t.dialAddr)
	if err != nil {
		return nil, unreachable(ctx, "connecting", err)
	}
	s := &session{conn: &limitedConn{Conn: conn}}
	defer s.watch(ctx)()
	for _, step := range []struct {
		name string
		do   func(*session) error
	}{
		{"greeting", t.greet}, {"EHLO", t.hello}, {"STARTTLS", t.encrypt}, {"AUTH", t.authenticate},
	} {
		err := s.arm(ctx, t.timeout)
		if err == nil {
			err = step.do(s)
		}
		if err != nil {
			s.close()
			return nil, unreachable(ctx, step.name, err)
		}
	}
	s.clean = true
	return s, nil
}

func (t *smtpTransport) greet(s *session) (err error) {
	conn := s.conn
	if t.implicitTLS {
		conn = tls.Client(conn, t.tls)
	}
	s.client, err = smtp.NewClient(conn, t.host)
	return err
}

func (t *smtpTransport) hello(s *session) error { return s.client.Hello(t.helo) }

// encrypt verifies the server's certificate in every mode: where STARTTLS is offered, it has to be right.
func (t *smtpTransport) encrypt(s *session) error {
	if t.startTLS == "none" {
		return nil
	}
	if offered, _ := s.client.Extension("STARTTLS"); offered {
		return s.client.StartTLS(t.tls.Clone())
	}
	if t.startTLS == "required" {
		return errors.New("the server doesn't offer it")
	}
	return nil
}

func (t *smtpTransport) authenticate(s *session) error {
	if t.user == "" {
		return nil
	}
	if _, encrypted := s.client.TLSConnectionState(); !encrypted && !t.insecureAuth && !isLoopback(t.host) {
		return errors.New("the connection is not encrypted, so the password was not sent")
	}
	_, offered := s.client.Extension("AUTH")
	mechanisms := strings.Fields(strings.ToUpper(offered))
	switch {
	case slices.Contains(mechanisms, "PLAIN"):
		return s.client.Auth(smtp.PlainAuth("", t.user, t.password, t.host, true))
	case slices.Contains(mechanisms, "LOGIN"):
		return s.client.Auth(smtp.LoginAuth(t.user, t.password, t.host, true))
	case slices.Contains(mechanisms, "CRAM-MD5"):
		return s.client.Auth(smtp.CRAMMD5Auth(t.user, t.password))
	}
	return errors.New("the server offers none of PLAIN, LOGIN and CRAM-MD5")
}

// deliver runs one mail transaction on s, and releases s.
func (t *smtpTransport) deliver(ctx context.Context, s *session, env envelope, handOver func() error) (Result, error) {
	stop := s.watch(ctx)
	defer func() {
		if !stop() {
			s.clean = false // the context's end may have cut its deadline
		}
		t.release(s)
	}()
	if offered, _ := s.client.Extension("SMTPUTF8"); env.utf8 && !offered {
		return Result{Outcome: Failed, Detail: "the mail server takes only ASCII addresses"}, nil
	}
	s.client.SkipSMTPUTF8(!env.utf8)

	used := s.messages > 0
	s.messages++
	s.clean = false
	// If the process dies in any of these steps, the server has no message: it must drop a transaction whose connection
	// ends before the line with the single dot (RFC 5321, 4.1.1.10).
	for _, step := range []struct {
		name string
		skip bool
		do   func() error
	}{
		{"RSET", !used, s.client.Reset},
		{"MAIL", false, func() error { return s.client.Mail("<" + env.from + ">") }},
		{"RCPT", false, func() error { return s.client.Rcpt("<" + env.to + ">") }},
		{"DATA", false, s.data},
	} {
		if step.skip {
			continue
		}
		err := s.arm(ctx, t.timeout)
		if err == nil {
			err = step.do()
		}
		if err != nil {
			return s.refused(ctx, step.name, err)
		}
	}
	if err := s.write(ctx, env.content, t.timeout); err != nil {
		return Result{}, unreachable(ctx, "sending the content", err)
	}
	if err := handOver(); err != nil {
		return Result{}, err
	}
	// From here on, after a crash, the caller's record says "handed over", and the server may have the message.
	if err := s.arm(ctx, answerPatience*t.timeout); err != nil {
		return Result{}, unreachable(ctx, "sending the content", err)
	}
	return s.finish(ctx, env)
}
