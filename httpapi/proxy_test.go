package httpapi

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"

	"tuco/engine"
)

// TestTrustedProxies asks with a key that one client address may use, over a connection from 127.0.0.1.
func TestTrustedProxies(t *testing.T) {
	const xff, forwarded = "X-Forwarded-For", "Forwarded"
	type test struct {
		what   string
		trust  []string
		header http.Header
		want   string // the address that counts; empty is none
	}
	with := func(name string, lines ...string) http.Header { return http.Header{name: lines} }
	proxy := []string{"127.0.0.1"}
	chain := []string{"127.0.0.0/8", "10.0.0.0/8", "2001:db8:a::/48"}
	tests := []test{
		{"nobody is trusted", nil, with(xff, "192.0.2.7"), "127.0.0.1"},
		{"somebody else is trusted", []string{"10.0.0.0/8"}, with(xff, "192.0.2.7"), "127.0.0.1"},
		{"a unix socket is trusted, and this is none", []string{"unix"}, with(xff, "192.0.2.7"), "127.0.0.1"},
		{"a proxy", proxy, with(xff, "192.0.2.7"), "192.0.2.7"},
		{"a proxy that says nothing", proxy, nil, "127.0.0.1"},
		{"a proxy that says nothing in a field", proxy, with(xff, ""), "127.0.0.1"},
		{"what the client made up comes first", proxy, with(xff, "203.0.113.9, 192.0.2.7"), "192.0.2.7"},
		{"on a line of its own", proxy, with(xff, "203.0.113.9", "192.0.2.7"), "192.0.2.7"},
		{"the client claims to be a proxy", chain, with(xff, "203.0.113.9, 10.1.1.1, 192.0.2.7"), "192.0.2.7"},
		{"two proxies", chain, with(xff, "203.0.113.9, 192.0.2.7, 10.0.0.2"), "192.0.2.7"},
		{"two proxies, over IPv6", chain, with(xff, "2001:db8:b::7, 2001:db8:a::1"), "2001:db8:b::7"},
		{"a proxy that is IPv4 in IPv6", chain, with(xff, "192.0.2.7, ::ffff:10.0.0.2"), "192.0.2.7"},
		{"only proxies", chain, with(xff, "10.0.0.3, 10.0.0.2"), "10.0.0.3"},
		{"empty elements", proxy, with(xff, "192.0.2.7, ,"), "192.0.2.7"},
		{"IPv6", proxy, with(xff, "2001:db8::7"), "2001:db8::7"},
		{"IPv6 in brackets with a port", proxy, with(xff, "[2001:db8::7]:4711"), "2001:db8::7"},
		{"IPv4 with a port", proxy, with(xff, "192.0.2.7:4711"), "192.0.2.7"},
		{"IPv4 in IPv6", proxy, with(xff, "::ffff:192.0.2.7"), "192.0.2.7"},
		{"a zone is not compared", proxy, with(xff, "fe80::7%eth0"), "fe80::7"},
		{"garbage from the proxy", proxy, with(xff, "192.0.2.7, unknown"), ""},
		{"a host name", proxy, with(xff, "client.example"), ""},
		{"a number too large", proxy, with(xff, "192.0.2.777"), ""},
		{"garbage from the client", proxy, with(xff, `";garbage, 192.0.2.7`), "192.0.2.7"},
		{"another field than the one that is read", proxy, with(forwarded, "for=192.0.2.7"), "127.0.0.1"},

		{"Forwarded", proxy, with(forwarded, "for=192.0.2.7;proto=https;by=127.0.0.1"), "192.0.2.7"},
		{"Forwarded: the name's case", proxy, with(forwarded, "proto=https; FOR=192.0.2.7"), "192.0.2.7"},
		{"Forwarded: quoted IPv6", proxy, with(forwarded, `for="[2001:db8::7]:4711"`), "2001:db8::7"},
		{"Forwarded: two proxies", chain, with(forwarded, `for=203.0.113.9, for="[2001:db8::7]", for=10.0.0.2`), "2001:db8::7"},
		{"Forwarded: a comma in quotes", proxy, with(forwarded, `for=192.0.2.7;host="a,b"`), "192.0.2.7"},
		{"Forwarded: the client's quote has no end", proxy, with(forwarded, `for="203.0.113.9, for=192.0.2.7`), "192.0.2.7"},
		{"Forwarded: obfuscated", proxy, with(forwarded, `for=_hidden`), ""},
		{"Forwarded: unknown", proxy, with(forwarded, `for=unknown`), ""},
		{"Forwarded: twice in an element", proxy, with(forwarded, `for=203.0.113.9;for=192.0.2.7`), ""},
		{"Forwarded: no address", proxy, with(forwarded, `proto=https`), ""},
		{"Forwarded: half a quote", proxy, with(forwarded, `for="192.0.2.7`), ""},
	}
	readForwarded := false
	worlds := map[string]*world{} // one for each configuration
	for _, tt := range tests {
		if tt.what == "Forwarded" {
			readForwarded = true
		}
		trust, err := ParseTrustedProxies(tt.trust)
		if err != nil {
			t.Fatal(err)
		}
		trust.Forwarded = readForwarded
		config := fmt.Sprint(trust)
		if worlds[config] == nil {
			worlds[config] = newWorld(t, func(_ *engine.Options, o *Options) { o.TrustedProxies = trust })
		}
		w := worlds[config]
		t.Run(tt.what, func(t *testing.T) {
			ws := w.workspace("A")
			ask := func(key string) int { return w.askWith(key, tt.header) }
			_, only := ws.makeKey(engine.Production, engine.NewKey{Name: "from there", Allow: []netip.Prefix{hostPrefix(tt.want)}})
			if status, want := ask(only), http.StatusOK; tt.want != "" && status != want {
				t.Errorf("a key for %s got %d, want %d", tt.want, status, want)
			}
			for _, other := range []string{"127.0.0.1", "192.0.2.7", "203.0.113.9", "2001:db8::7", "10.1.1.1"} {
				if other == tt.want {
					continue
				}
				_, key := ws.makeKey(engine.Production, engine.NewKey{Name: "from elsewhere", Allow: []netip.Prefix{hostPrefix(other)}})
				if status := ask(key); status != http.StatusForbidden {
					t.Errorf("a key for %s got %d, want 403", other, status)
				}
			}
			// The same address is the one of the last use.
			k, free := ws.makeKey(engine.Production, engine.NewKey{Name: "from anywhere"})
			if status := ask(free); status != http.StatusOK {
				t.Fatalf("a key without an allow list got %d", status)
			}
			for _, have := range must[[]engine.Key](t)(w.eng.Keys(ws.in(engine.Production))) {
				if have.ID == k.ID && have.Secrets[0].LastAddr != tt.want {
					t.Errorf("last used from %q, want %q", have.Secrets[0].LastAddr, tt.want)
				}
			}
		})
	}
}

func hostPrefix(addr string) netip.Prefix {
	if addr == "" {
		addr = "198.51.100.1" // of nobody
	}
	a := netip.MustParseAddr(addr)
	return netip.PrefixFrom(a, a.BitLen())
}

func (w *world) askWith(key string, header http.Header) int {
	w.t.Helper()
	req, err := http.NewRequest(get, "http://"+w.addr+"/api/workspace", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for name, lines := range header {
		req.Header[name] = lines
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestTrustedUnixSocket: who connects over a unix socket has no address of its own.
func TestTrustedUnixSocket(t *testing.T) {
	for _, tt := range []struct {
		what  string
		trust []string
		want  int
	}{
		{"trusted", []string{TrustUnix}, http.StatusOK},
		{"not trusted", nil, http.StatusForbidden},
		{"others are trusted", []string{"0.0.0.0/0", "::/0"}, http.StatusForbidden},
	} {
		t.Run(tt.what, func(t *testing.T) {
			trust, err := ParseTrustedProxies(tt.trust)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, func(_ *engine.Options, o *Options) { o.TrustedProxies = trust })
			path := filepath.Join(t.TempDir(), "web.sock")
			ln, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			go w.srv.app.Server().Serve(ln) //nolint:errcheck // the world ends it
			dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			}
			w.client = &http.Client{Transport: &http.Transport{DialContext: dial}}
			_, key := w.workspace("A").makeKey(engine.Production, engine.NewKey{Name: "there", Allow: []netip.Prefix{hostPrefix("192.0.2.7")}})
			if got := w.askWith(key, http.Header{"X-Forwarded-For": {"192.0.2.7"}}); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestParseTrustedProxies(t *testing.T) {
	for _, text := range []string{"", "x", "10.0.0.0/33", "::1%lo", "10.0.0.1/8/8", "Unix"} {
		if _, err := ParseTrustedProxies([]string{text}); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
