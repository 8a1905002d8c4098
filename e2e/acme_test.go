package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
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

// freePort is a port that nobody listens on just now.
func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// background runs a program until the test ends.
func background(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() //nolint:errcheck // it was killed
		if t.Failed() {
			t.Logf("%s said:\n%s", name, said.Bytes()[max(0, said.Len()-4000):])
		}
	})
}

// An authority is a running ACME server that issues for any name under which it reaches a port of this machine.
type authority struct{ directory, ca, roots string }

// openAuthority starts Pebble, the ACME server that Let's Encrypt tests clients with.
func openAuthority(t *testing.T, port int) authority {
	t.Helper()
	for _, name := range []string{"pebble", "pebble-challtestsrv"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("there is no %s here: go install github.com/letsencrypt/pebble/v2/cmd/...@v2.10.1", name)
		}
	}
	dir := t.TempDir()
	cert, key, config := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "config.json")
	writeCertificate(t, cert, key, 24*time.Hour)
	api, management, names := freePort(t), freePort(t), freePort(t)
	text, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprintf("127.0.0.1:%d", api), "managementListenAddress": fmt.Sprintf("127.0.0.1:%d", management),
		"certificate": cert, "privateKey": key, "tlsPort": port, "httpPort": freePort(t),
		"profiles": map[string]any{"default": map[string]any{"description": "x", "validityPeriod": 7776000}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, nil, "pebble-challtestsrv", "-dnsserver", fmt.Sprintf("127.0.0.1:%d", names), "-defaultIPv6", "", "-management", fmt.Sprintf("127.0.0.1:%d", freePort(t)),
		"-doh", "", "-http01", "", "-https01", "", "-tlsalpn01", "")
	background(t, []string{"PEBBLE_VA_NOSLEEP=1"}, "pebble", "-config", config, "-dnsserver", fmt.Sprintf("127.0.0.1:%d", names))
	a := authority{directory: fmt.Sprintf("https://127.0.0.1:%d/dir", api), ca: cert, roots: fmt.Sprintf("https://127.0.0.1:%d/roots/0", management)}
	eventually(t, "the authority answers", func() bool {
		return a.root(t) != nil
	})
	return a
}

// root is the certificate that the authority signs under, nil if it does not answer yet.
func (a authority) root(t *testing.T) *x509.CertPool {
	t.Helper()
	insecure := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // it is this test's
	got, err := call(insecure, http.MethodGet, a.roots, "", nil)
	if err != nil || got.status != http.StatusOK {
		return nil
	}
	block, _ := pem.Decode(got.body)
	if block == nil {
		t.Fatalf("no certificate: %s", got.body)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(got.body)
	return pool
}

// TestACME has a certificate issued by a real ACME server, over TLS-ALPN-01, and uses the one that is kept at the next start.
func TestACME(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	a := openAuthority(t, port)
	dir := filepath.Join(t.TempDir(), "d")
	flags := []string{
		"--listen", fmt.Sprintf("127.0.0.1:%d", port), "--acme-domain", "tuco.example.test", "--acme-email", "ops@example.test",
		"--acme-directory", a.directory, "--acme-ca", a.ca,
	}
	begin := func() *server {
		cmd := exec.Command(binary, append([]string{"serve", "--data", dir, "--reserve", "1MiB"}, flags...)...)
		return launch(t, dir, cmd)
	}
	s := begin()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: a.root(t), ServerName: "tuco.example.test"},
	}}
	secure := strings.Replace(s.url, "http:", "https:", 1)
	eventually(t, "the certificate is there", func() bool {
		got, err := call(c, http.MethodGet, secure+"/livez", "", nil)
		return err == nil && got.status == http.StatusOK
	})
	if got := asked(t, c, secure+"/readyz"); got != `{"status":"ready","warnings":[]}` {
		t.Errorf("readyz: %s", got)
	}
	other := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "other.example.test"}}} // it must fail before
	if _, err := call(other, http.MethodGet, secure+"/livez", "", nil); err == nil {
		t.Error("a name that nobody asked a certificate for is served")
	}
	info, err := os.Stat(filepath.Join(dir, "acme"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory of the keys: %v, %v", info, err)
	}
	serial := func() string {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(s.url, "http://"), &tls.Config{RootCAs: a.root(t), ServerName: "tuco.example.test"})
		if err != nil {
			return err.Error()
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	if code := s.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	s = begin()
	eventually(t, "the one that is kept is served", func() bool { return serial() == before })
}

// TestACMEFails: an authority that can't be reached is told in the log and in /readyz, and does not end the server.
func TestACMEFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "d")
	s := serve(t, dir, "--listen", "unix:"+filepath.Join(t.TempDir(), "s"), "--acme-domain", "tuco.example.test", "--acme-directory", fmt.Sprintf("https://127.0.0.1:%d/dir", freePort(t)))
	eventually(t, "it was told", func() bool { return strings.Contains(s.logged(), `no certificate for \"tuco.example.test\" by ACME`) })
	var p struct{ Warnings []string }
	s.tuco(&struct{}{}, "log-level")
	if err := s.try(&p, "doctor"); err == nil {
		t.Error("doctor finds no error")
	}
}
