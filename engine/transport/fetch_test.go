package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestMayFetchFrom(t *testing.T) {
	lan := prefixes("10.0.0.0/8", "fd00::/8", "169.254.0.0/16", "64:ff9b::/96", "168.63.129.16/32")
	type test struct {
		addr            string
		public, allowed bool // allowed: with the ranges of lan
	}
	always := func(a string) test { return test{a, true, true} }
	never := func(a string) test { return test{a, false, false} }
	inLAN := func(a string) test { return test{a, false, true} }
	for _, tt := range []test{
		always("93.184.216.34"), always("2606:2800:220:1::1"), always("::ffff:93.184.216.34"), always("172.32.0.1"), always("100.128.0.1"),
		inLAN("10.1.2.3"), inLAN("::ffff:10.1.2.3"), inLAN("fd12::1"), inLAN("169.254.1.1"), inLAN("64:ff9b::10.1.2.3"), inLAN("64:ff9b::93.184.216.34"),
		never("0.0.0.0"), never("127.0.0.1"), never("127.1.2.3"), never("::ffff:127.0.0.1"), never("192.168.1.1"), never("172.16.0.1"), never("172.31.255.255"),
		never("100.64.0.1"), never("100.127.255.255"), never("224.0.0.1"), never("240.0.0.1"), never("255.255.255.255"), never("192.0.2.1"), never("198.18.0.1"),
		never("::"), never("::1"), never("::7f00:1"), never("fe80::1"), never("fe80::1%eth0"), never("fec0::1"), never("ff02::1"), never("64:ff9b:1::1"),
		never("2002:7f00:1::"), never("2001::1"), never("2001:db8::1"), never("100::1"),
		never("169.254.169.254"), never("::ffff:169.254.169.254"), never("64:ff9b::169.254.169.254"), never("fd00:ec2::254"), never("168.63.129.16"),
	} {
		addr := netip.MustParseAddr(tt.addr)
		if got := mayFetchFrom(addr, nil); got != tt.public {
			t.Errorf("mayFetchFrom(%s) = %v, want %v", addr, got, tt.public)
		}
		if got := mayFetchFrom(addr, lan); got != tt.allowed {
			t.Errorf("mayFetchFrom(%s, lan) = %v, want %v", addr, got, tt.allowed)
		}
		err := newFetcher(nil).control("tcp", net.JoinHostPort(tt.addr, "80"), nil)
		if got := err == nil; got != tt.public {
			t.Errorf("control(%s) = %v", addr, err)
		}
	}
	if err := newFetcher(nil).control("tcp", "not resolved:80", nil); err == nil {
		t.Error("control takes what is no address")
	}
}

func TestFetch(t *testing.T) {
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/fine", http.StatusFound)
		case "/404":
			w.WriteHeader(http.StatusNotFound)
		case "/429":
			w.WriteHeader(http.StatusTooManyRequests)
		case "/500":
			w.WriteHeader(http.StatusInternalServerError)
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/cut":
			w.Header().Set("Content-Length", "10")
			w.Write([]byte("short"))
		case "/limit", "/large":
			block := make([]byte, 1<<20)
			for range maxAttachmentBytes / len(block) {
				w.Write(block)
			}
			if r.URL.Path == "/large" {
				w.Write(block[:1])
			}
		case "/mail":
			w.Header().Set("Content-Type", "message/rfc822")
		case "/hang":
			<-r.Context().Done()
		default:
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Write([]byte("fine"))
		}
	}))
	defer files.Close()
	port := files.URL[strings.LastIndex(files.URL, ":"):]
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1") // must not matter
	allowed := newFetcher(prefixes("127.0.0.0/8", "::1/128"))

	for _, tt := range []struct {
		f         *fetcher
		url       string
		final     string // of a final refusal
		temporary string
		bytes     int
		mediaType string
	}{
		{f: allowed, url: files.URL + "/fine", bytes: 4, mediaType: "text/plain"},
		{f: allowed, url: "http://localhost" + port + "/fine", bytes: 4, mediaType: "text/plain"},
		{f: allowed, url: files.URL + "/limit", bytes: maxAttachmentBytes, mediaType: "application/octet-stream"},
		{f: allowed, url: files.URL + "/mail"},
		{f: allowed, url: files.URL + "/large", final: "it is larger than 25 MiB"},
		{f: allowed, url: files.URL + "/redirect", final: "its server answered 302; redirects are not followed"},
		{f: allowed, url: files.URL + "/404", final: "its server answered 404"},
		{f: allowed, url: files.URL + "/429", temporary: "its server answered 429"},
		{f: allowed, url: files.URL + "/500", temporary: "its server answered 500"},
		{f: allowed, url: files.URL + "/204", temporary: "its server answered 204"},
		{f: allowed, url: files.URL + "/cut", temporary: "its server can't be reached"},
		{f: allowed, url: "http://127.0.0.1:1/", temporary: "its server can't be reached"},
		{f: newFetcher(nil), url: files.URL + "/fine", final: "attachments may not be fetched from its address"},
		{f: newFetcher(nil), url: "http://localhost" + port + "/fine", final: "attachments may not be fetched from its address"},
		{f: newFetcher(nil), url: "http://[::ffff:127.0.0.1]" + port + "/fine", final: "attachments may not be fetched from its address"},
		{f: allowed, url: "http://169.254.169.254/latest/meta-data", final: "attachments may not be fetched from its address"},
		{f: allowed, url: "file:///etc/passwd", final: "its address is not an http or https URL"},
		{f: allowed, url: "ftp://127.0.0.1/", final: "its address is not an http or https URL"},
		{f: allowed, url: "//127.0.0.1/", final: "its address is not an http or https URL"},
		{f: allowed, url: "http:///x", final: "its address is not an http or https URL"},
		{f: allowed, url: "http://a b/", final: "its address is not an http or https URL"},
		{f: allowed, url: "", final: "its address is not an http or https URL"},
	} {
		content, mediaType, err := tt.f.fetch(t.Context(), tt.url)
		var final finalError
		errors.As(err, &final)
		temporary := &TemporaryError{}
		errors.As(err, &temporary)
		if string(final) != tt.final || temporary.Detail != tt.temporary || len(content) != tt.bytes || mediaType != tt.mediaType {
			t.Errorf("fetch(%s) = %d bytes of %q, %v, want %+v", tt.url, len(content), mediaType, err, tt)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := allowed.fetch(ctx, files.URL+"/hang"); !errors.Is(err, context.Canceled) {
		t.Errorf("fetch in an ended context: %v", err)
	}
	allowed.client.Timeout = 1 // ns
	var temporary *TemporaryError
	if _, _, err := allowed.fetch(t.Context(), files.URL+"/hang"); !errors.As(err, &temporary) || temporary.Detail != "its server took too long" {
		t.Errorf("fetch from a slow server: %v", err)
	}
	if allowed.client.Transport.(*http.Transport).Proxy != nil {
		t.Error("fetches may go through a proxy")
	}
}
