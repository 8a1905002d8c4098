package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACMEOptions say where certificates come from.
type ACMEOptions struct {
	// Domains are the names to have certificates for. At least one.
	Domains []string
	// Email is where the authority writes to. May be empty.
	Email string
	// Directory is the authority's ACME directory; that of Let's Encrypt if empty.
	Directory string
	// CA is a PEM file of further certificates that the directory's own TLS is verified with. May be empty.
	CA string
	// Cache is the directory where keys and certificates are kept.
	Cache string
}

// ACME has certificates issued and renewed, by the challenge TLS-ALPN-01: the authority must reach this server on port 443
// under every domain. It asks for one only by itself, never because a client named a domain: authorities count failures.
type ACME struct {
	domains []string
	manager *autocert.Manager

	mu      sync.RWMutex // guards these
	current map[string]*tls.Certificate
	fails   int
	next    time.Time // no try before
}

// NewACME makes an ACME client. It asks for nothing yet: [ACME.Refresh] does.
func NewACME(opt ACMEOptions) (*ACME, error) {
	if err := os.MkdirAll(opt.Cache, 0o700); err != nil {
		return nil, err
	}
	a := &ACME{current: map[string]*tls.Certificate{}}
	for _, domain := range opt.Domains {
		a.domains = append(a.domains, canonical(domain))
	}
	client := &acme.Client{DirectoryURL: opt.Directory, UserAgent: "tuco"}
	if opt.CA != "" {
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(opt.CA)
		if err != nil {
			return nil, err
		}
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%q holds no certificate in PEM", opt.CA)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
		client.HTTPClient = &http.Client{Transport: transport, Timeout: time.Minute}
	}
	a.manager = &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(opt.Cache), Email: opt.Email, Client: client,
		HostPolicy: autocert.HostWhitelist(a.domains...),
	}
	return a, nil
}

func canonical(domain string) string { return strings.ToLower(strings.TrimSuffix(domain, ".")) }

// Config implements [Certificates].
func (a *ACME) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1", acme.ALPNProto}, GetCertificate: a.certificate}
}

func (a *ACME) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return a.manager.GetCertificate(hello)
	}
	domain := canonical(hello.ServerName)
	if domain == "" {
		domain = a.domains[0]
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	if c := a.current[domain]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("there is no certificate for %q", domain)
}

// Refresh implements [Certificates]: it takes what is kept or was renewed, and asks for what is missing. After a failure it
// rests for a minute, then longer and longer, up to six hours.
func (a *ACME) Refresh(now bool) (tried bool, err error) {
	a.mu.RLock()
	rest := !now && time.Now().Before(a.next)
	a.mu.RUnlock()
	if rest {
		return false, nil
	}
	for _, domain := range a.domains {
		found, failed := a.manager.GetCertificate(&tls.ClientHelloInfo{
			ServerName: domain, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, // of a client that knows ECDSA
		})
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("no certificate for %q by ACME: %w", domain, failed))
			continue
		}
		a.mu.Lock()
		a.current[domain] = found
		a.mu.Unlock()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fails++; err == nil {
		a.fails, a.next = 0, time.Now().Add(time.Minute)
	} else {
		a.next = time.Now().Add(min(6*time.Hour, time.Minute<<min(a.fails-1, 10)))
	}
	return true, err
}

// Leaf implements [Certificates].
func (a *ACME) Leaf() (first *x509.Certificate) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, c := range a.current {
		if first == nil || c.Leaf.NotAfter.Before(first.NotAfter) {
			first = c.Leaf
		}
	}
	return first
}
