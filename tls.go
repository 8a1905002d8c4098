package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tuco/httpapi"
	"tuco/listen"
)

// addresses are what --listen was given.
type addresses []string

func (a addresses) String() string { return strings.Join(a, ",") }

// tlsFlags say which certificates the server has.
type tlsFlags struct {
	TLSCert       string   `name:"tls-cert" help:"PEM file with the TLS certificate and its chain: then what comes over TCP must be HTTPS. It is read again when it changes." type:"path" placeholder:"FILE" and:"tls" xor:"certificate"`
	TLSKey        string   `name:"tls-key" help:"PEM file with the certificate's key." type:"path" placeholder:"FILE" and:"tls"`
	ACMEDomain    []string `name:"acme-domain" help:"Have a certificate for this name issued and renewed by ACME; may be given more than once. The authority must reach the server on port 443 (TLS-ALPN-01), and you accept its terms." placeholder:"NAME" xor:"certificate"`
	ACMEEmail     string   `name:"acme-email" help:"Where the authority writes to." placeholder:"ADDR"`
	ACMEDirectory string   `name:"acme-directory" help:"ACME directory of the authority; that of Let's Encrypt by default." placeholder:"URL"`
	ACMECA        string   `name:"acme-ca" help:"PEM file of further certificates that the ACME directory is verified with, for an authority of your own." type:"path" placeholder:"FILE"`
}

// acmeDir is where keys and certificates by ACME are kept, in the data directory.
const acmeDir = "acme"

// open reads the certificate, or makes an ACME client; nil without TLS.
func (f tlsFlags) open(dir string) (listen.Certificates, error) {
	switch {
	case f.TLSCert != "":
		return listen.LoadFiles(f.TLSCert, f.TLSKey)
	case len(f.ACMEDomain) > 0:
		return listen.NewACME(listen.ACMEOptions{
			Domains: f.ACMEDomain, Email: f.ACMEEmail, Directory: f.ACMEDirectory, CA: f.ACMECA, Cache: filepath.Join(dir, acmeDir),
		})
	case f.ACMEEmail != "" || f.ACMEDirectory != "" || f.ACMECA != "":
		return nil, &usageError{"--acme-email, --acme-directory and --acme-ca are of use with --acme-domain only"}
	}
	return nil, nil
}

// proxyFlags say whom the server believes that it asks for somebody else.
type proxyFlags struct {
	TrustedProxy []string `help:"Network of reverse proxies, or unix for whoever connects to a unix socket; may be given more than once. Only from them the client's address is taken from a field of the request." placeholder:"CIDR|unix"`
	ProxyHeader  string   `help:"The field that trusted proxies write: x-forwarded-for or forwarded. The other one is never read." enum:"x-forwarded-for,forwarded," default:"x-forwarded-for"`
}

func (f proxyFlags) proxies() (httpapi.TrustedProxies, error) {
	trusted, err := httpapi.ParseTrustedProxies(f.TrustedProxy)
	if err != nil {
		return trusted, fmt.Errorf("--trusted-proxy: %w", err)
	}
	trusted.Forwarded = f.ProxyHeader == "forwarded"
	return trusted, nil
}

// lookEvery is how long a changed certificate may go unseen, twice.
const lookEvery = 2 * time.Second

// certificateState is what became of the looks at the certificate.
type certificateState struct {
	looking sync.Mutex
	failed  atomic.Bool // the last look found one that can't be used
}

// refresh looks for a newer certificate; now if the operator asked for it.
func (s *server) refresh(now bool) {
	if s.certificates == nil {
		return
	}
	if !s.certificate.looking.TryLock() {
		return // a look by ACME takes its time
	}
	defer s.certificate.looking.Unlock()
	before := s.certificates.Leaf()
	tried, err := s.certificates.Refresh(now)
	if err != nil {
		s.log.Error().Err(err).Msg("no new TLS certificate; what there was goes on")
	}
	if tried {
		s.certificate.failed.Store(err != nil)
	}
	if leaf := s.certificates.Leaf(); leaf != nil && !leaf.Equal(before) {
		s.log.Info().Time("expires", leaf.NotAfter).Msg("another TLS certificate is in use")
	}
}

// warnings are what an operator should look at beside what the engine knows.
func (s *server) warnings() (list []string) {
	if s.backups != nil {
		list = s.backups.Warnings()
	}
	if s.certificates == nil {
		return list
	}
	if s.certificate.failed.Load() {
		list = append(list, "There is no new TLS certificate, though there should be: the log says why. What there was goes on.")
	}
	leaf, now := s.certificates.Leaf(), time.Now()
	switch {
	case leaf == nil:
		list = append(list, "There is no TLS certificate yet: HTTPS can't be served.")
	case now.After(leaf.NotAfter):
		list = append(list, fmt.Sprintf("The TLS certificate expired on %s: clients refuse it.", leaf.NotAfter.UTC().Format(time.DateOnly)))
	case listen.ExpiresSoon(leaf, now):
		list = append(list, fmt.Sprintf("The TLS certificate expires on %s: renew it.", leaf.NotAfter.UTC().Format(time.DateOnly)))
	}
	return list
}

// certificateGauge tells when the certificate expires.
func (s *server) certificateGauge() {
	if s.certificates == nil {
		return
	}
	s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tuco_tls_certificate_expiry_timestamp_seconds", Help: "When the TLS certificate expires, in Unix time; 0 while there is none.",
	}, func() float64 {
		if leaf := s.certificates.Leaf(); leaf != nil {
			return float64(leaf.NotAfter.Unix())
		}
		return 0
	}))
}
