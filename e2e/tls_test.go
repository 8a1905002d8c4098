package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writeCertificate puts a certificate for 127.0.0.1 that signed itself into two files.
func writeCertificate(t *testing.T, cert, key string, left time.Duration) *x509.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(left - 365*24*time.Hour), NotAfter: time.Now().Add(left),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	data, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: data}} {
		if err := os.WriteFile(name+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// served is the certificate that a server shows to a new connection.
func served(t *testing.T, s *server) *x509.Certificate {
	t.Helper()
	c, err := tls.Dial("tcp", strings.TrimPrefix(s.url, "https://"), &tls.Config{InsecureSkipVerify: true}) // the test compares it
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

func asked(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	a, err := call(c, http.MethodGet, url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(a.body)
}

// TestTLS: the certificate changes while the server runs, by itself and on SIGHUP; a broken one is refused, which shows.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	const day = 24 * time.Hour
	first := writeCertificate(t, cert, key, 20*day)
	s := serve(t, filepath.Join(dir, "d"), "--tls-cert", cert, "--tls-key", key)
	plain := s.url
	s.url = strings.Replace(s.url, "http:", "https:", 1)
	roots := x509.NewCertPool()
	roots.AddCert(first)
	c := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	if got := asked(t, c, s.url+"/readyz"); !strings.Contains(got, "The TLS certificate expires on "+first.NotAfter.UTC().Format(time.DateOnly)) {
		t.Errorf("with 20 days left: %s", got)
	}
	a, err := call(fresh, http.MethodGet, plain+"/readyz", "", nil)
	if err != nil || a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "https://") {
		t.Errorf("plain HTTP: %v, %d %s", err, a.status, a.body)
	}
	if out, err := exec.Command(binary, "healthcheck", "--url", s.url+"/livez").CombinedOutput(); err != nil {
		t.Errorf("the health check of a container: %v: %s", err, out)
	}
	who := newTenant(s)
	newLine(s, who, "--type", "imessage", "--phone", "+12025550100")
	if id, a, err := send(c, s.url, who.key, map[string]any{"message": "x", "recipientPhone": "+12025550111"}); id == "" {
		t.Errorf("over TLS: %v, %d %s", err, a.status, a.body)
	}

	second := writeCertificate(t, cert, key, 22*day)
	eventually(t, "the new certificate is seen", func() bool { return served(t, s).Equal(second) })
	// The connection from before goes on.
	if got := asked(t, c, s.url+"/readyz"); got != `{"status":"ready","warnings":[]}` {
		t.Errorf("with 22 days left: %s", got)
	}
	if got := asked(t, c, s.url+"/metrics"); !strings.Contains(got, "tuco_tls_certificate_expiry_timestamp_seconds ") {
		t.Error("no gauge")
	}

	if err := os.WriteFile(cert, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the broken one is refused", func() bool {
		return strings.Contains(s.logged(), `"message":"no new TLS certificate; what there was goes on"`)
	})
	if !served(t, s).Equal(second) {
		t.Error("the old certificate is gone")
	}
	if got := asked(t, c, s.url+"/readyz"); !strings.Contains(got, "There is no new TLS certificate") {
		t.Errorf("with a broken file: %s", got)
	}
	third := writeCertificate(t, cert, key, 100*day)
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the third is used", func() bool { return served(t, s).Equal(third) })
	eventually(t, "the warning goes", func() bool { return !strings.Contains(asked(t, c, s.url+"/readyz"), "TLS") })
	if n := strings.Count(s.logged(), "no new TLS certificate"); n != 1 {
		t.Errorf("the broken file was told %d times", n)
	}
	if code := s.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

// TestHangupWithoutTLS: SIGHUP ends nothing.
func TestHangupWithoutTLS(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir())
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it was heard", func() bool { return strings.Contains(s.logged(), "SIGHUP") })
	if got := asked(t, fresh, s.url+"/livez"); got != `{"status":"ok"}` {
		t.Error(got)
	}
}

// TestUnixSocket: requests over a unix socket beside TCP; the socket goes with the server.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "http.sock")
	s := serve(t, filepath.Join(dir, "d"), "--listen", "unix:"+path)
	over := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	for _, got := range []string{asked(t, over, "http://socket/livez"), asked(t, fresh, s.url+"/livez")} {
		if got != `{"status":"ok"}` {
			t.Error(got)
		}
	}
	if code := s.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}
