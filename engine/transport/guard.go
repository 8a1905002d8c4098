package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// A Guard says which addresses may be reached at a URL that a customer chose, so that it doesn't become a look into the
// operator's network. What counts is the address that is about to be dialled, after DNS; hence the check sits in the
// dialer's Control hook, where neither a name nor a rebinding gets past it.
type Guard struct {
	// Allow lists address ranges that may be reached although they are not public. The metadata addresses of clouds stay
	// refused.
	Allow []netip.Prefix
	// OnlyAllow refuses public addresses, too.
	OnlyAllow bool
}

// ErrForbiddenAddress is why a guarded client did not connect. It doesn't name the address: the person who reads it may
// be the one who probes the network.
var ErrForbiddenAddress = errors.New("its address may not be reached from here")

// MayReach tells whether a connection to addr may be made.
func (g Guard) MayReach(addr netip.Addr) bool {
	if !mayFetchFrom(addr, g.Allow) {
		return false
	}
	return !g.OnlyAllow || contains(g.Allow, addr.WithZone("").Unmap())
}

// Client returns a client whose connections all pass the guard. It uses no proxy, keeps neither connections nor cookies
// and follows no redirect. timeout is for a whole exchange, from the look-up to the body's last byte. roots are the
// authorities to trust; the system's if nil.
func (g Guard) Client(timeout time.Duration, roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: timeout, Control: g.control}
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would dial in our place, past control
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: roots},
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// control sees each resolved address right before it is dialled.
func (g Guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !g.MayReach(ap.Addr()) {
		return ErrForbiddenAddress
	}
	return nil
}
