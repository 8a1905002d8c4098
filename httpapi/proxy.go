package httpapi

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"tuco/engine"
)

// TrustedProxies are the peers that are believed when they say for whom they ask. The zero value trusts nobody: the
// address of a request is that of its connection.
type TrustedProxies struct {
	// Networks are where they are.
	Networks []netip.Prefix
	// Unix trusts whoever connects over a unix socket.
	Unix bool
	// Forwarded reads the field Forwarded (RFC 7239) in place of X-Forwarded-For. Only one of the two is ever read: the
	// proxy writes one, and lets the other pass as the client sent it.
	Forwarded bool
}

// TrustUnix stands for unix sockets among networks.
const TrustUnix = "unix"

// ParseTrustedProxies reads networks in CIDR notation, single addresses, and [TrustUnix].
func ParseTrustedProxies(list []string) (p TrustedProxies, err error) {
	networks := slices.DeleteFunc(slices.Clone(list), func(text string) bool { return text == TrustUnix })
	p.Unix = len(networks) < len(list)
	if p.Networks, err = ParsePrefixes(networks); err != nil {
		return p, engine.Errorf(engine.Invalid, "%v, nor %q", err, TrustUnix)
	}
	return p, nil
}

func (p *TrustedProxies) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(p.Networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// clientAddr is where a request came from: the rightmost address that is no trusted proxy's, or the leftmost if all are. It
// is none if a proxy names none, or what it says can't be read: no allow list takes that, and no entry names a wrong one.
func (p *TrustedProxies) clientAddr(c *fiber.Ctx) netip.Addr {
	peer := c.Context().RemoteAddr()
	addr := ipOf(peer)
	if _, unix := peer.(*net.UnixAddr); !(unix && p.Unix) && !p.trusts(addr) {
		return addr
	}
	field, parse := fiber.HeaderXForwardedFor, parseNode
	if p.Forwarded {
		field, parse = fiber.HeaderForwarded, parseForwarded
	}
	lines := c.Request().Header.PeekAll(field)
	for _, line := range slices.Backward(lines) {
		for rest, more := string(line), true; more; {
			var element string
			rest, element, more = lastElement(rest)
			if element == "" {
				continue // a list may have empty elements
			}
			var ok bool
			if addr, ok = parse(element); !ok || !p.trusts(addr) {
				return addr
			}
		}
	}
	return addr
}

// lastElement cuts the last element off a list. It looks for it from the right, as far as the proxies wrote, so that
// nothing that the client put on the left, such as a quote without an end, changes what is found.
func lastElement(list string) (rest, element string, more bool) {
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case list[i] == '"':
			quoted = !quoted
		case list[i] == ',' && !quoted:
			return list[:i], strings.TrimSpace(list[i+1:]), true
		}
	}
	return "", strings.TrimSpace(list), false
}

// parseForwarded reads the for parameter of an element of Forwarded. An address in quotes has nothing in it that would be
// escaped.
func parseForwarded(element string) (addr netip.Addr, ok bool) {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if !strings.EqualFold(name, "for") {
			continue
		}
		if ok {
			return netip.Addr{}, false // twice
		}
		if inner, found := strings.CutPrefix(value, `"`); found {
			if value, found = strings.CutSuffix(inner, `"`); !found {
				return netip.Addr{}, false
			}
		}
		if addr, ok = parseNode(value); !ok {
			return netip.Addr{}, false
		}
	}
	return addr, ok
}

// parseNode reads an address that may have a port, an IPv6 address then, or always, in brackets.
func parseNode(text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		if inner, found := strings.CutPrefix(text, "["); found && strings.HasSuffix(inner, "]") {
			addr, err = netip.ParseAddr(strings.TrimSuffix(inner, "]"))
			if addr.Is4() {
				return netip.Addr{}, false
			}
		} else {
			var both netip.AddrPort
			both, err = netip.ParseAddrPort(text)
			addr = both.Addr()
		}
	}
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.WithZone("").Unmap(), true
}
