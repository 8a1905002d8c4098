package e2e

import (
	"bytes"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// A mailbox is a mail server that keeps what it takes.
type mailbox struct {
	addr string
	slow time.Duration // how long the answer to the content takes, at most
	mute chan struct{} // if not nil, it answers to no content until this is closed

	mu  sync.Mutex
	got map[string][]mail1 // by the id in Message-ID
}

// mail1 is one delivery.
type mail1 struct {
	from, to string
	parsed   *mail.Message
	body     string
}

// openMailbox starts a mail server on addr; a free port if it is empty.
func openMailbox(t testing.TB, addr string, slow time.Duration) *mailbox {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	box := &mailbox{addr: ln.Addr().String(), slow: slow, got: map[string][]mail1{}}
	srv := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) { return &session{box: box}, nil }))
	srv.Domain = "mail.test"
	srv.ErrorLog = log.New(io.Discard, "", 0) // clients are killed all the time
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(ln) //nolint:errcheck // it ends when it is closed
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return box
}

// url is the address of a transport that uses the mailbox.
func (b *mailbox) url() string { return "smtp://" + b.addr + "?starttls=none" }

// deliveries counts how often each message arrived.
func (b *mailbox) deliveries() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts := make(map[string]int, len(b.got))
	for id, list := range b.got {
		counts[id] = len(list)
	}
	return counts
}

func (b *mailbox) find(id string) []mail1 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.got[id]
}

// session is one client's.
type session struct {
	box      *mailbox
	from, to string
}

func (s *session) Mail(from string, _ *gosmtp.MailOptions) error { s.from = from; return nil }
func (s *session) Rcpt(to string, _ *gosmtp.RcptOptions) error   { s.to = to; return nil }
func (s *session) Reset()                                        { s.from, s.to = "", "" }
func (s *session) Logout() error                                 { return nil }

// Data takes a message when its last line has come; what ends before that is no message.
func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	parsed, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(parsed.Body)
	if err != nil {
		return err
	}
	id, _, _ := strings.Cut(strings.Trim(parsed.Header.Get("Message-ID"), "<>"), "@")
	s.box.mu.Lock()
	s.box.got[id] = append(s.box.got[id], mail1{s.from, s.to, parsed, string(body)})
	s.box.mu.Unlock()
	if s.box.slow > 0 {
		<-time.After(rand.N(s.box.slow)) // a server at work: in this time nobody knows whether the message was taken
	}
	if s.box.mute != nil {
		<-s.box.mute
	}
	return nil
}
