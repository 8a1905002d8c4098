package listen

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair is a certificate for 127.0.0.1 that signed itself, in PEM.
type pair struct {
	cert, key []byte
	leaf      *x509.Certificate
}

func newPair(t *testing.T, from, to time.Time) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: to, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), leaf}
}

const day = 24 * time.Hour

// certFiles are certificate and key on the disk.
type certFiles struct {
	t         *testing.T
	cert, key string
}

func newFiles(t *testing.T) certFiles {
	dir := t.TempDir()
	return certFiles{t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
}

func (f certFiles) write(name string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		f.t.Fatal(err)
	}
}

func (f certFiles) put(p pair) {
	f.write(f.cert, p.cert)
	f.write(f.key, p.key)
}

// TestRefresh: what is served after each step, and what is said of it, once.
func TestRefresh(t *testing.T) {
	now := time.Now()
	first, second := newPair(t, now.Add(-day), now.Add(60*day)), newPair(t, now.Add(-day), now.Add(90*day))
	expired := newPair(t, now.Add(-9*day), now.Add(-day))
	on := newFiles(t)
	on.put(first)
	files, err := LoadFiles(on.cert, on.key)
	if err != nil {
		t.Fatal(err)
	}
	look := func(what string, now bool, want pair, refused string) {
		t.Helper()
		_, err := files.Refresh(now)
		if refused == "" && err != nil || refused != "" && (err == nil || !strings.Contains(err.Error(), refused)) {
			t.Errorf("%s: said %v, want %q", what, err, refused)
		}
		if !files.Leaf().Equal(want.leaf) {
			t.Errorf("%s: another certificate is served than should be", what)
		}
	}
	look("nothing changed", false, first, "")
	on.put(second)
	look("they may still be changing", false, first, "")
	look("they rest", false, second, "")
	on.write(on.cert, first.cert)
	look("only one is there yet", false, second, "")
	on.write(on.key, first.key)
	look("now the other", false, second, "")
	look("they rest again", false, first, "")
	on.write(on.key, second.key)
	look("it does not fit, first look", false, first, "")
	look("it does not fit", false, first, "does not match")
	look("it still does not fit, which was said", false, first, "")
	look("it still does not fit, and the operator asks", true, first, "does not match")
	on.write(on.cert, []byte("garbage"))
	look("garbage", true, first, "reading the TLS certificate")
	if err := os.Remove(on.cert); err != nil {
		t.Fatal(err)
	}
	look("missing, first look", false, first, "")
	look("missing", false, first, "no such file")
	look("missing, which was said", false, first, "")
	on.put(expired)
	look("expired", true, first, "has expired")
	on.put(second)
	look("the operator asks", true, second, "")
}

func TestLoadFilesRefuses(t *testing.T) {
	now := time.Now()
	a, b := newPair(t, now, now.Add(day)), newPair(t, now, now.Add(day))
	on := newFiles(t)
	for what, with := range map[string]pair{"a key of another": {a.cert, b.key, nil}, "no key": {a.cert, nil, nil}, "no certificate": {nil, a.key, nil}} {
		on.put(with)
		if _, err := LoadFiles(on.cert, on.key); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

func TestExpiresSoon(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		what     string
		of, left time.Duration
		want     bool
	}{
		{"90 days, 22 left", 90 * day, 22 * day, false},
		{"90 days, 20 left", 90 * day, 20 * day, true},
		{"a year, 22 left", 365 * day, 22 * day, false},
		{"a year, 20 left", 365 * day, 20 * day, true},
		{"6 days, 2 left", 6 * day, 2 * day, false},
		{"6 days, one left", 6 * day, day, true},
		{"expired", 90 * day, -day, true},
	} {
		end := now.Add(tt.left)
		if got := ExpiresSoon(&x509.Certificate{NotBefore: end.Add(-tt.of), NotAfter: end}, now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
	}
}

// TestTLS: over one listener, TLS is spoken with the newest certificate, and plain HTTP gets a helpful answer.
func TestTLS(t *testing.T) {
	now := time.Now()
	first, second := newPair(t, now.Add(-day), now.Add(day)), newPair(t, now.Add(-day), now.Add(2*day))
	on := newFiles(t)
	on.put(first)
	files, err := LoadFiles(on.cert, on.key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := Open([]string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")}, files.Config())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })} //nolint:errcheck // a test
	served := make(chan error, 1)
	go func() { served <- server.Serve(handshaking{ln}) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-served; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	ask := func(trusted pair, most uint16) error {
		roots := x509.NewCertPool()
		roots.AddCert(trusted.leaf)
		client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MaxVersion: most}}}
		resp, err := client.Get("https://" + ln.Addr().String())
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := ask(first, 0); err != nil {
		t.Error(err)
	}
	if err := ask(second, 0); err == nil {
		t.Error("a certificate that is not there yet is trusted")
	}
	if err := ask(first, tls.VersionTLS12); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
	if err := ask(first, tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	on.put(second)
	if _, err := files.Refresh(true); err != nil {
		t.Fatal(err)
	}
	if err := ask(second, 0); err != nil {
		t.Errorf("after the change: %v", err)
	}

	for _, begin := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, begin+" / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 100_000)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 400 ") || !strings.HasSuffix(string(got), plainAnswer) {
			t.Errorf("%s in plain HTTP: %q, %v", begin, got, err)
		}
		c.Close()
	}
	// What is neither gets no answer in HTTP.
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "SSH-2.0-nobody\r\n") //nolint:errcheck // the read tells
	if got, _ := io.ReadAll(c); strings.Contains(string(got), "HTTP") {
		t.Errorf("a client that speaks SSH got %q", got)
	}
	// The unix socket is plain.
	plain := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", strings.TrimPrefix(ln.Addresses()[1], UnixPrefix))
	}}}
	resp, err := plain.Get("http://socket")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// handshaking makes the handshake where fasthttp makes it: before anything is read.
type handshaking struct{ net.Listener }

func (l handshaking) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tc, ok := c.(*tlsConn); ok {
		return &lateHandshake{tlsConn: tc}, err
	}
	return c, err
}

type lateHandshake struct {
	*tlsConn
	made bool
}

func (c *lateHandshake) Read(p []byte) (int, error) {
	if !c.made {
		c.made = true
		if err := c.Handshake(); err != nil {
			return 0, err
		}
	}
	return c.tlsConn.Read(p)
}
