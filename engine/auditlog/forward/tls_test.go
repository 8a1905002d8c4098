package forward

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // PEM
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &authority{cert, key, writePEM(t, "CERTIFICATE", der)}
}

func writePEM(t testing.TB, kind string, der []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file.pem")
	must(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return name
}

// issue makes a certificate for an address, and the names of the files with it and its key.
func (a *authority) issue(t testing.TB, ip string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(ip)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &private.PublicKey, a.key)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	return writePEM(t, "CERTIFICATE", der), writePEM(t, "PRIVATE KEY", pkcs8)
}

// server returns what a server needs, and the parameters with which it is trusted.
func (a *authority) server(t testing.TB, ip string) (*tls.Config, string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(a.issue(t, ip))
	must(t, err)
	return &tls.Config{Certificates: []tls.Certificate{pair}}, "?" + url.Values{"ca": {a.file}}.Encode()
}

// TestTLS: who is not who was named is sent nothing.
func TestTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	cert, key := a.issue(t, "192.0.2.1")
	mine := "&" + url.Values{"cert": {cert}, "key": {key}}.Encode()
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	for _, tt := range []struct {
		name   string
		by     *authority
		ip     string
		change func(*tls.Config)
		query  string
		want   string // the error; empty for none
	}{
		{"as it should be", a, "127.0.0.1", nil, "", ""},
		{"TLS 1.2", a, "127.0.0.1", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "", ""},
		{"TLS 1.1", a, "127.0.0.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, "", "protocol version"},
		{"another authority", other, "127.0.0.1", nil, "", "unknown authority"},
		{"another host", a, "192.0.2.7", nil, "", "not 127.0.0.1"},
		{"a certificate is asked for", a, "127.0.0.1", func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, clients }, "", "certificate required"},
		{"a certificate is shown", a, "127.0.0.1", func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, clients }, mine, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, 10)
			p := &peer{t: t}
			p.conf, _ = tt.by.server(t, tt.ip)
			if tt.change != nil {
				tt.change(p.conf)
			}
			p.listen("127.0.0.1:0")
			pace := quick
			pace.look = time.Hour // so that it is noticed by itself
			f, _ := forwardTo(t, l, Options{pace: pace}, p.url()+"?"+url.Values{"ca": {a.file}}.Encode()+tt.query)
			if tt.want == "" {
				eventually(t, "all has arrived", func() bool { return p.arrived() == 10 })
				return
			}
			// A reset connection may swallow what the peer said, but not each time.
			eventually(t, "it fails: "+tt.want, func() bool {
				err := f.States()[0].Err
				return err != nil && strings.Contains(err.Error(), tt.want) && p.connections() > 1
			})
			if n := p.arrived(); n != 0 {
				t.Errorf("%d entries arrived", n)
			}
		})
	}
}

// TestCertificatesAreReadAnew: a renewed certificate needs no restart.
func TestCertificatesAreReadAnew(t *testing.T) {
	a, renewed := newAuthority(t), newAuthority(t)
	l := newLog(t, 10)
	p := &peer{t: t}
	p.conf, _ = renewed.server(t, "127.0.0.1")
	p.listen("127.0.0.1:0")
	f, _ := forwardTo(t, l, Options{}, p.url()+"?"+url.Values{"ca": {a.file}}.Encode())
	eventually(t, "it fails", func() bool { return f.States()[0].Err != nil })
	text, err := os.ReadFile(renewed.file)
	must(t, err)
	must(t, os.WriteFile(a.file, text, 0o600))
	eventually(t, "all has arrived", func() bool { return p.arrived() == 10 })
}
