package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	maxAttachmentBytes = 25 << 20
	fetchTimeout       = 30 * time.Second // for one attachment, from the look-up to its last byte
)

// forbiddenAddress says of an attachment what [ErrForbiddenAddress] says.
const forbiddenAddress = finalError("attachments may not be fetched from its address")

var (
	// metadata addresses hand out a cloud machine's credentials. Options.AllowFetch doesn't lift these.
	metadata = []netip.Addr{
		netip.MustParseAddr("169.254.169.254"), // most clouds
		netip.MustParseAddr("169.254.170.2"),   // AWS containers
		netip.MustParseAddr("168.63.129.16"),   // Azure
		netip.MustParseAddr("100.100.100.200"), // Alibaba
		netip.MustParseAddr("192.0.0.192"),     // Oracle
		netip.MustParseAddr("fd00:ec2::254"),   // AWS
		netip.MustParseAddr("fd20:ce::254"),    // Google
	}
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	global6    = netip.MustParsePrefix("2000::/3") // the only IPv6 space in public use
	notPublic4 = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3")
	notPublic6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20") // Teredo and 6to4 carry IPv4 addresses
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// mayFetchFrom tells whether addr is public or allowed.
func mayFetchFrom(addr netip.Addr, allow []netip.Prefix) bool {
	addr = addr.WithZone("").Unmap()
	embedded := addr
	if nat64.Contains(addr) {
		b := addr.As16()
		embedded = netip.AddrFrom4([4]byte(b[12:]))
	}
	for _, m := range metadata {
		if addr == m || embedded == m {
			return false
		}
	}
	if contains(allow, addr) {
		return true
	}
	if addr.Is4() {
		return !contains(notPublic4, addr)
	}
	return global6.Contains(addr) && !contains(notPublic6, addr)
}

func contains(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// passing4xx are the client errors that the same request may get past later.
var passing4xx = []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}

// fetcher gets attachments from URLs that customers chose.
type fetcher struct {
	Guard
	client *http.Client
}

func newFetcher(allow []netip.Prefix) *fetcher {
	g := Guard{Allow: allow}
	return &fetcher{g, g.Client(fetchTimeout, nil)}
}

// fetch returns the content behind rawURL and its media type, which may be empty. It fails with a finalError, a
// *TemporaryError or ctx's error; their details leave out the URL, which may hold a signature.
func (f *fetcher) fetch(ctx context.Context, rawURL string) (content []byte, mediaType string, err error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, "", finalError("its address is not an http or https URL")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, "", finalError("its address is not an http or https URL")
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, "", fetchFailed(ctx, err)
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
	case code/100 == 3:
		return nil, "", finalError(fmt.Sprintf("its server answered %d; redirects are not followed", code))
	case code/100 == 4 && !slices.Contains(passing4xx, code):
		return nil, "", finalError(fmt.Sprintf("its server answered %d", code))
	default:
		return nil, "", &TemporaryError{fmt.Sprintf("its server answered %d", code)}
	}
	content, err = io.ReadAll(io.LimitReader(resp.Body, maxAttachmentBytes+1))
	if err != nil {
		return nil, "", fetchFailed(ctx, err)
	}
	if len(content) > maxAttachmentBytes {
		return nil, "", finalError(fmt.Sprintf("it is larger than %d MiB", maxAttachmentBytes>>20))
	}
	mediaType, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if strings.HasPrefix(mediaType, "multipart/") || strings.HasPrefix(mediaType, "message/") {
		mediaType = "" // MIME forbids base64 on these
	}
	return content, mediaType, nil
}

// fetchFailed sorts what the HTTP client reports. Its own words name the URL and addresses, so only the innermost are kept.
func fetchFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrForbiddenAddress) {
		return forbiddenAddress
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &TemporaryError{"its server took too long"}
	}
	return &TemporaryError{"its server can't be reached"}
}
