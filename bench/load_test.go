package bench

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve starts a server and returns where it listens.
func serve(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func run(t *testing.T, l Load, a amount) *outcome {
	t.Helper()
	l.Path, l.Contacts, l.Tenants = DefaultPath, 10, []Tenant{{Key: "k", Messages: []string{"id"}}}
	g, err := connect(l)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	o, err := g.run(context.Background(), a, func(_, _ int64) {})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestAmount: exactly so many requests are made as were asked for, and each is counted.
func TestAmount(t *testing.T) {
	var asked atomic.Int64
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Write([]byte(`{"message":{"_id":"abc"}}`))
	})
	o := run(t, Load{Host: host, Mix: Mix{60, 30, 10}, Connections: 8}, amount{requests: 1000, keepIDs: 1000})
	if asked.Load() != 1000 || o.answered() != 1000 || len(o.refusals) > 0 {
		t.Errorf("asked %d times, counted %d answers and %v; want 1000", asked.Load(), o.answered(), o.refusals)
	}
	if n := o.answered(Send); int64(len(o.sent)) != n || o.sent[0].id != "abc" {
		t.Errorf("%d messages were sent, %d are remembered", n, len(o.sent))
	}
}

// TestRefusals: what is no success is counted apart, and so is a connection that broke; the load goes on.
func TestRefusals(t *testing.T) {
	var asked atomic.Int64
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) % 4 {
		case 0:
			panic(http.ErrAbortHandler)
		case 1:
			http.Error(w, "too many", http.StatusTooManyRequests)
		case 2:
			w.Header().Set("Connection", "close")
		}
	})
	o := run(t, Load{Host: host, Mix: only(Get), Connections: 1}, amount{requests: 400})
	if got := o.refusals[refusal{Get, 429}]; got != 100 || o.answered() != 200 || o.refusals[refusal{Get, 0}] != 100 {
		t.Errorf("counted %d answers and %v; want 200, 100 refusals and 100 connections that broke", o.answered(), o.refusals)
	}
	if text := o.examples[refusal{Get, 429}]; !strings.Contains(text, "too many") {
		t.Errorf("the example of a refusal is %q", text)
	}
}

// TestRate: latency counts from when a request was due, also when the one before it was late.
func TestRate(t *testing.T) {
	const pause = 300 * time.Millisecond
	var asked atomic.Int64
	host := serve(t, func(http.ResponseWriter, *http.Request) {
		if asked.Add(1) == 1 {
			time.Sleep(pause)
		}
	})
	o := run(t, Load{Host: host, Mix: only(Get), Connections: 1, Rate: 1000}, amount{requests: 400})
	if got := o.latency[Get].quantile(.5); got < pause/10 {
		t.Errorf("half of the requests took at most %v, though the first held up 300 of 400", got)
	}
	if o.took < 390*time.Millisecond {
		t.Errorf("400 requests at 1000 a second took %v", o.took)
	}
}

// TestInterrupt: a load ends at once, also while it waits for an answer.
func TestInterrupt(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // which never answers
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	g, err := connect(Load{Host: ln.Addr().String(), Mix: only(List), Tenants: []Tenant{{}}, Connections: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := g.run(ctx, amount{}, func(_, _ int64) {}); err == nil {
		t.Error("it ended without an error")
	}
}
