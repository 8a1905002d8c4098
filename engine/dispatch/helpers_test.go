package dispatch

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/mail"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"tuco/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// rig is an engine with one workspace and, while it runs, a dispatcher. Its clock stands still until the
// test moves it.
type rig struct {
	t    *testing.T
	eng  *engine.Engine
	d    *Dispatcher
	opt  engine.Options
	id   engine.WorkspaceID
	seen chan engine.Status // outcomes, in their order

	patience time.Duration // see Options

	mu  sync.Mutex
	now time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, now: noon, seen: make(chan engine.Status, 10_000)}
	r.opt = engine.Options{Dir: filepath.Join(t.TempDir(), "data"), Now: func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.now
	}}
	r.open()
	t.Cleanup(func() {
		r.stop(10 * time.Second)
		if faults, err := r.eng.Check(); err != nil || len(faults) > 0 {
			t.Errorf("check: %q, %v", faults, err)
		}
		if err := r.eng.Close(); err != nil {
			t.Error(err)
		}
	})
	unlimited := int64(0)
	if _, err := r.eng.Admin().SetPlan("test", engine.PlanChange{RequestsPerMinute: &unlimited}); err != nil {
		t.Fatal(err)
	}
	w, err := r.eng.Admin().CreateWorkspace("First", "test", "")
	if err != nil {
		t.Fatal(err)
	}
	r.id = w.ID
	return r
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.eng, err = engine.Open(r.opt); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.d, err = Start(r.eng, Options{Observe: func(s engine.Status) { r.seen <- s }, Patience: r.patience}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stop(patience time.Duration) {
	if r.d != nil {
		r.d.Stop(patience)
		r.d = nil
	}
}

// restart ends dispatcher and engine and begins both again.
func (r *rig) restart() {
	r.t.Helper()
	r.stop(10 * time.Second)
	if err := r.eng.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.open()
	r.start()
}

// pass lets time pass, and tells the dispatcher, whose own timers know nothing of this clock.
func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	r.now = r.now.Add(d)
	r.mu.Unlock()
	r.eng.Admin().AcceptClock()
}

func (r *rig) operator() engine.Caller {
	r.t.Helper()
	who, err := r.eng.Admin().In(r.id, engine.Production)
	if err != nil {
		r.t.Fatal(err)
	}
	return who
}

var counter struct {
	sync.Mutex
	n int
}

func number() int {
	counter.Lock()
	defer counter.Unlock()
	counter.n++
	return counter.n
}

func mailbox() string { return fmt.Sprintf("person%d@example.com", number()) }

// line makes an e-mail line without gaps. An empty URL makes a sandbox line.
func (r *rig) line(url string, gaps ...time.Duration) engine.Line {
	r.t.Helper()
	address := fmt.Sprintf("line%d@example.com", number())
	var none time.Duration
	change := engine.LineChange{Email: &address, DeviceGap: &none, ContactGap: &none}
	if len(gaps) == 2 {
		change.DeviceGap, change.ContactGap = &gaps[0], &gaps[1]
	}
	if url != "" {
		change.Transport = &url
	}
	l, err := r.eng.CreateLine(r.operator(), engine.Email, change)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

func (r *rig) setLine(l engine.Line, change engine.LineChange) {
	r.t.Helper()
	if _, err := r.eng.SetLine(r.operator(), l.ID.String(), change); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) send(req engine.SendRequest) engine.Message {
	r.t.Helper()
	req.Type = "email"
	if req.Text == "" {
		req.Text = "Hello"
	}
	if req.Email == "" {
		req.Email = mailbox()
	}
	result, err := r.eng.Send(r.operator(), nil, req)
	if err != nil {
		r.t.Fatal(err)
	}
	return result.Message
}

func (r *rig) get(id engine.MessageID) engine.Message {
	r.t.Helper()
	v, err := r.eng.GetMessage(r.operator(), id.String())
	if err != nil {
		r.t.Fatal(err)
	}
	return v.Message
}

// expect waits for the next outcomes, in any order.
func (r *rig) expect(want ...engine.Status) {
	r.t.Helper()
	got := map[engine.Status]int{}
	for range want {
		select {
		case s := <-r.seen:
			got[s]++
		case <-time.After(20 * time.Second):
			r.t.Fatalf("waited in vain for %q; got %v", want, got)
		}
	}
	for _, s := range want {
		got[s]--
	}
	for s, n := range got {
		if n != 0 {
			r.t.Fatalf("got %+d of %s, want %q", n, s, want)
		}
	}
}

// fence waits until the dispatcher has done what it had to do for the line: a message over it, to a
// person of its own, was sent.
func (r *rig) fence(line engine.Line) {
	r.t.Helper()
	m := r.send(engine.SendRequest{Line: line.ID.String()})
	eventually(r.t, "the fence is sent", func() bool { return r.get(m.ID).Status == engine.Sent || r.get(m.ID).Status == engine.Delivered })
}

// quiet fails the test if an outcome was seen that nobody expected.
func (r *rig) quiet() {
	r.t.Helper()
	select {
	case s := <-r.seen:
		r.t.Errorf("an outcome that nobody expected: %s", s)
	default:
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		case <-look.C:
		}
	}
}

// mailServer is a real SMTP server that does as it is told.
type mailServer struct {
	t    *testing.T
	addr string
	srv  *gosmtp.Server
	l    net.Listener
	done chan error

	mu    sync.Mutex
	rcpt  func() error // asked at each RCPT
	data  func() error // asked when the content has come
	inbox []*mail.Message
}

func newMailServer(t *testing.T) *mailServer {
	t.Helper()
	s := &mailServer{t: t}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.serve(l)
	t.Cleanup(s.stop)
	return s
}

func (s *mailServer) serve(l net.Listener) {
	s.srv = gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) { return &mailSession{s, c}, nil }))
	s.srv.Domain = "mail.test"
	s.srv.ErrorLog = log.New(io.Discard, "", 0)
	s.done = make(chan error, 1)
	srv, done := s.srv, s.done
	s.l = l
	go func() { done <- srv.Serve(l) }()
}

func (s *mailServer) stop() {
	if s.srv == nil {
		return
	}
	s.l.Close() // the server doesn't know of it before Serve has begun
	s.srv.Close()
	<-s.done
	s.srv = nil
}

// again serves at the same address as before.
func (s *mailServer) again() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.serve(l)
}

func (s *mailServer) url() string {
	return "smtp://" + s.addr + "?starttls=none&helo=client.test&timeout=10s"
}

func (s *mailServer) answer(rcpt, data func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rcpt, s.data = rcpt, data
}

// received returns the message ids that came, with how often each did.
func (s *mailServer) received() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := map[string]int{}
	for _, m := range s.inbox {
		ids[m.Header.Get("Message-ID")]++
	}
	return ids
}

func (s *mailServer) texts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, m := range s.inbox {
		body, _ := io.ReadAll(m.Body)
		all = append(all, strings.TrimSpace(string(body)))
	}
	return all
}

type mailSession struct {
	s *mailServer
	c *gosmtp.Conn
}

func (*mailSession) Reset()                                 {}
func (*mailSession) Logout() error                          { return nil }
func (*mailSession) Mail(string, *gosmtp.MailOptions) error { return nil }

func (m *mailSession) Rcpt(string, *gosmtp.RcptOptions) error {
	m.s.mu.Lock()
	ask := m.s.rcpt
	m.s.mu.Unlock()
	if ask != nil {
		return ask()
	}
	return nil
}

// errHangUp makes the server end the connection without an answer.
var errHangUp = errors.New("hang up")

func (m *mailSession) Data(r io.Reader) error {
	got, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(got.Body)
	if err != nil {
		return err
	}
	got.Body = strings.NewReader(string(body))
	m.s.mu.Lock()
	ask := m.s.data
	m.s.mu.Unlock()
	if ask != nil {
		err = ask()
	}
	if errors.Is(err, errHangUp) {
		m.c.Conn().Close()
	}
	if err == nil {
		m.s.mu.Lock()
		m.s.inbox = append(m.s.inbox, got)
		m.s.mu.Unlock()
	}
	return err
}

// notLikeThis is a refusal that looks as if the line could not log in.
func notLikeThis() error { return &gosmtp.SMTPError{Code: 530, Message: "not like this"} }

// later is a temporary refusal.
func later() error { return &gosmtp.SMTPError{Code: 451, Message: "later"} }
