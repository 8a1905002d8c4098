package transport

import (
	"net/netip"
	"testing"
)

// TestOnlyAllowed: with OnlyAllow, what is public is refused, too, and metadata addresses always.
func TestOnlyAllowed(t *testing.T) {
	g := Guard{Allow: prefixes("10.0.0.0/8", "fd00::/8", "169.254.0.0/16"), OnlyAllow: true}
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "fd12::1": true, "169.254.1.1": true,
		"93.184.216.34": false, "2606:2800:220:1::1": false, "127.0.0.1": false, "169.254.169.254": false, "fd00:ec2::254": false,
	} {
		if got := g.MayReach(netip.MustParseAddr(addr)); got != want {
			t.Errorf("MayReach(%s) = %v, want %v", addr, got, want)
		}
	}
}
