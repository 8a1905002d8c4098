package notice

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"tuco/engine"
)

// TestRestsUntilTheLogGrows drives the schedule step by step: a webhook whose checkpoint is due rests while the log does
// not grow, and no growth is missed, also not one that came while it was looked at.
func TestRestsUntilTheLogGrows(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	eng, err := engine.Open(engine.Options{
		Dir: filepath.Join(t.TempDir(), "data"), Now: func() time.Time { return now }, AllowFetch: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := eng.Admin().CreateWorkspace("First", "", "")
	try(err)
	operator, err := eng.Admin().In(w.ID, engine.Production)
	try(err)
	_, secret, err := eng.CreateKey(operator, engine.NewKey{Name: "owner", Role: engine.RoleOwner})
	try(err)
	owner, err := eng.Authenticate(secret, netip.Addr{})
	try(err)
	_, _, err = eng.SetWebhook(owner, srv.URL)
	try(err)

	d, err := newDeliverer(eng, Options{Render: func(*engine.Notice) ([]byte, error) { return []byte("{}"), nil }})
	try(err)
	defer d.Stop(0)
	grow := func() { t.Helper(); try(eng.Admin().AcceptClock()) }
	attempted := func(what string, want Outcome) {
		t.Helper()
		select {
		case r := <-d.done:
			if r.outcome != want {
				t.Fatalf("%s: %+v, want %q", what, r, want)
			}
			d.finish(r)
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: no attempt", what)
		}
	}
	rests := func(what string, want int) {
		t.Helper()
		if len(d.parked) != want || len(d.lanes[checkpoints].queue) != 1-want {
			t.Fatalf("%s: %d rest, %d have a time", what, len(d.parked), len(d.lanes[checkpoints].queue))
		}
	}
	hour := func() { now = now.Add(time.Hour); d.begin() }
	rests("at first", 0)
	hour()
	attempted("after an hour", Delivered)
	hour()
	attempted("without growth", "")
	rests("without growth", 1)
	grow()
	d.look()
	rests("when it grows", 0)
	d.begin()
	attempted("when it has grown", Delivered)
	hour()
	r := <-d.done // it saw no growth
	grow()
	d.look()
	d.finish(r)
	rests("when it grew meanwhile", 0)
	d.begin()
	attempted("when it grew meanwhile", Delivered)
	hour()
	r = <-d.done // the same
	_, err = eng.SetAccessPolicy(owner, engine.Policy{Mode: engine.PolicyNotify})
	try(err)
	d.look()
	d.finish(r)
	d.begin()
	attempted("when an entry came meanwhile", Delivered)
}
