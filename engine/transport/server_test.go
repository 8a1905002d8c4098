package transport

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"mime"
	"net"
	"net/mail"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testUser     = "line@example.com"
	testPassword = "p/ss:w@rd?#%"
)

// received is one message that a mail server took.
type received struct {
	from, to string
	utf8     bool // MAIL had SMTPUTF8
	tls      bool
	user     string // who logged in
	raw      []byte
}

func (r received) parse(t *testing.T) *mail.Message {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(r.raw))
	if err != nil {
		t.Fatalf("the message doesn't parse: %v\n%s", err, r.raw)
	}
	return m
}

// header returns a decoded header field.
func (r received) header(t *testing.T, name string) string {
	t.Helper()
	s, err := new(mime.WordDecoder).DecodeHeader(r.parse(t).Header.Get(name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

// mailServer is a real SMTP server. Its settings must not change after start.
type mailServer struct {
	implicitTLS bool
	srv         *gosmtp.Server
	url         string // of a transport that may use it

	mu sync.Mutex
	// Under mu:
	inbox    []received
	sessions int
}

// startMailServer runs a server that wants TLS and a login, until the test ends.
func startMailServer(t *testing.T, s *mailServer) *mailServer {
	t.Helper()
	cert, caFile := testCertificate(t)
	tlsConfig := &tls.Config{Certificates: []tls.Certificate{cert}}
	s.srv = gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		if _, encrypted := c.TLSConnectionState(); encrypted { // a session before STARTTLS doesn't count
			s.mu.Lock()
			s.sessions++
			s.mu.Unlock()
		}
		return &mailSession{server: s, conn: c}, nil
	}))
	s.srv.Domain = "mail.test"
	s.srv.EnableSMTPUTF8 = true
	s.srv.ErrorLog = log.New(io.Discard, "", 0)
	scheme := "smtp"
	l := listen(t)
	addr := l.Addr().String()
	if s.implicitTLS {
		scheme, l = "smtps", tls.NewListener(l, tlsConfig)
	} else {
		s.srv.TLSConfig = tlsConfig
	}
	done := make(chan error, 1)
	go func() { done <- s.srv.Serve(l) }()
	t.Cleanup(func() {
		s.srv.Close()
		if err := <-done; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	s.url = (&url.URL{
		Scheme:   scheme,
		User:     url.UserPassword(testUser, testPassword),
		Host:     addr,
		RawQuery: url.Values{"ca": {caFile}, "helo": {"client.test"}}.Encode(),
	}).String()
	return s
}

// settled returns what arrived, after all connections to s have ended.
func (s *mailServer) settled(t *testing.T) []received {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.srv.Shutdown(ctx); err != nil && !errors.Is(err, gosmtp.ErrServerClosed) {
		t.Fatalf("a connection is still open: %v", err)
	}
	return s.arrived()
}

func (s *mailServer) arrived() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.inbox...)
}

type mailSession struct {
	server *mailServer
	conn   *gosmtp.Conn
	r      received
}

func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != testUser || password != testPassword {
			return gosmtp.ErrAuthFailed
		}
		s.r.user = user
		return nil
	}), nil
}

func (s *mailSession) Mail(from string, opts *gosmtp.MailOptions) error {
	if s.r.user == "" {
		return gosmtp.ErrAuthRequired
	}
	s.r.from, s.r.utf8 = from, opts.UTF8
	_, s.r.tls = s.conn.TLSConnectionState()
	return nil
}

func (s *mailSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "failed@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "No such user\nhere"}
	}
	s.r.to = to
	return nil
}

func (s *mailSession) Data(r io.Reader) (err error) {
	if s.r.raw, err = io.ReadAll(r); err != nil {
		return err
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.inbox = append(s.server.inbox, s.r)
	return nil
}

func (s *mailSession) Reset()        { s.r = received{user: s.r.user} }
func (s *mailSession) Logout() error { return nil }

// The actions that a script may give instead of a reply.
const (
	hangUp = "hang up"
	hang   = "hang" // say nothing until the client leaves
)

// script is a server that answers as the test says: by the command's first word, "greeting", or "." for the end of the
// content. What it doesn't list is answered well. It doesn't encrypt.
type script map[string]string

// heard collects what clients sent to a script.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) add(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.lines, "\n")
}

// start runs the script and returns its address.
func (s script) start(t *testing.T) (addr string, h *heard) {
	t.Helper()
	l := listen(t)
	h = new(heard)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				s.serve(textproto.NewConn(conn), h)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String(), h
}

func (s script) serve(c *textproto.Conn, h *heard) {
	if !s.answer(c, "greeting", "220 mail.test ready") {
		return
	}
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		h.add(line)
		verb := strings.ToUpper(strings.Fields(line + " ?")[0])
		fine := map[string]string{
			"EHLO": "250-mail.test\r\n250 8BITMIME", "DATA": "354 go ahead", "QUIT": "221 bye", "AUTH": "235 welcome",
		}[verb]
		if fine == "" {
			fine = "250 fine"
		}
		if !s.answer(c, verb, fine) {
			return
		}
		if verb == "DATA" && (s["DATA"] == "" || strings.HasPrefix(s["DATA"], "3")) {
			if _, err := c.ReadDotBytes(); err != nil {
				h.add("content cut off")
				return
			}
			h.add("content complete")
			if !s.answer(c, ".", "250 queued") {
				return
			}
		}
	}
}

// answer tells whether the conversation goes on.
func (s script) answer(c *textproto.Conn, at, fine string) bool {
	switch reply := s[at]; reply {
	case "":
		return c.PrintfLine("%s", fine) == nil
	case hangUp:
		return false
	case hang:
		io.Copy(io.Discard, c.R)
		return false
	default:
		if c.PrintfLine("%s", strings.TrimSuffix(reply, hangUp)) != nil {
			return false
		}
		return !strings.HasSuffix(reply, hangUp)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// testCertificate makes a certificate for 127.0.0.1 and a file with the authority that signed it.
func testCertificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	template := func(serial int64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			BasicConstraintsValid: true,
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	ca := template(1)
	ca.IsCA, ca.KeyUsage = true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	check(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	leaf := template(2)
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	check(err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	check(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o600))
	return tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: key}, file
}

func mustOpen(t *testing.T, rawURL string, opt Options) Transport {
	t.Helper()
	tr, err := Open(rawURL, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// testMessage is a message that any transport delivers; n makes its id.
func testMessage(n int) Message {
	return Message{
		ID:     fmt.Sprintf("%024x", n),
		Type:   "email",
		From:   From{Name: "Ann Ångström", Phone: "+12125550100", Email: "ann@sender.test"},
		To:     []string{"bob@example.com"},
		ToName: "Bob 🚀",
		Text:   "Hello",
	}
}

func ok() error { return nil }
