package notice_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"tuco/engine"
	"tuco/engine/notice"
	"tuco/httpapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	noon     = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	home     = netip.MustParseAddr("192.0.2.7")
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
)

// rig is an engine and, while it runs, a deliverer. Its clock stands still until the test moves it.
type rig struct {
	t     *testing.T
	eng   *engine.Engine
	d     *notice.Deliverer
	opt   engine.Options
	with  notice.Options
	seen  chan notice.Outcome // of every attempt
	staff engine.StaffCaller

	mu     sync.Mutex
	now    time.Time
	logged strings.Builder
}

func newRig(t *testing.T, change ...func(*engine.Options)) *rig {
	t.Helper()
	r := &rig{t: t, now: noon, seen: make(chan notice.Outcome, 10_000)}
	r.opt = engine.Options{Dir: filepath.Join(t.TempDir(), "data"), AllowFetch: loopback, Now: func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.now
	}}
	for _, f := range change {
		f(&r.opt)
	}
	r.with = notice.Options{Render: httpapi.NoticeBody, Observe: func(o notice.Outcome) { r.seen <- o }, Log: zerolog.New(r)}
	r.open()
	t.Cleanup(func() {
		r.stop()
		if faults, err := r.eng.Check(); err != nil || len(faults) > 0 {
			t.Errorf("check: %q, %v", faults, err)
		}
		if err := r.eng.Close(); err != nil {
			t.Error(err)
		}
	})
	none := int64(0)
	must[engine.Plan](t)(r.eng.Admin().SetPlan("test", engine.PlanChange{RequestsPerMinute: &none}))
	_, token, err := r.eng.Admin().AddStaff(engine.NewStaff{Name: "Sam Marker", Email: "sam@marker.example", Employer: "Vendor", Country: "DE", Role: "support"})
	if err != nil {
		t.Fatal(err)
	}
	r.staff = must[engine.StaffCaller](t)(r.eng.AuthenticateStaff(token, home))
	return r
}

// Write takes the log.
func (r *rig) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.logged.Write(p)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (r *rig) open()  { r.t.Helper(); r.eng = must[*engine.Engine](r.t)(engine.Open(r.opt)) }
func (r *rig) start() { r.t.Helper(); r.d = must[*notice.Deliverer](r.t)(notice.Start(r.eng, r.with)) }

func (r *rig) stop() {
	if r.d != nil {
		r.d.Stop(10 * time.Second)
		r.d = nil
	}
}

// reopen closes the engine and opens it again.
func (r *rig) reopen() {
	r.t.Helper()
	r.stop()
	if err := r.eng.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

// snapshot copies the data directory as it is: what a process that is killed now leaves.
func (r *rig) snapshot() (dir string) {
	r.t.Helper()
	dir = r.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(r.opt.Dir)); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, engine.DatabaseName), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return dir
}

// skip lets time pass, and nobody hears of it.
func (r *rig) skip(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// pass lets time pass; that is an entry of the log, which no workspace has.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	r.skip(d)
	if err := r.eng.Admin().AcceptClock(); err != nil {
		r.t.Fatal(err)
	}
}

// expect waits for what becomes of the next attempts.
func (r *rig) expect(want ...notice.Outcome) {
	r.t.Helper()
	for _, o := range want {
		select {
		case got := <-r.seen:
			if got != o {
				r.t.Fatalf("an attempt ended as %s, want %s", got, o)
			}
		case <-time.After(20 * time.Second):
			r.t.Fatalf("waited in vain for %s", o)
		}
	}
}

// quiet fails the test if there was an attempt that nobody expected. Nothing runs after it.
func (r *rig) quiet() {
	r.t.Helper()
	r.stop()
	select {
	case o := <-r.seen:
		r.t.Errorf("an attempt that nobody expected: %s", o)
	default:
	}
}

// customer is a workspace with its owner's key.
type customer struct {
	r   *rig
	id  engine.WorkspaceID
	key string
}

// who asks with the key, of the engine that is open.
func (c customer) who() engine.Caller {
	c.r.t.Helper()
	return must[engine.Caller](c.r.t)(c.r.eng.Authenticate(c.key, home))
}

func (r *rig) customer(name string) customer {
	r.t.Helper()
	w := must[engine.Workspace](r.t)(r.eng.Admin().CreateWorkspace(name, "test", ""))
	op := must[engine.Caller](r.t)(r.eng.Admin().In(w.ID, engine.Production))
	_, secret, err := r.eng.CreateKey(op, engine.NewKey{Name: "owner", Role: engine.RoleOwner})
	if err != nil {
		r.t.Fatal(err)
	}
	return customer{r, w.ID, secret}
}

// set sets the webhook and returns its secret.
func (c customer) set(url string) string {
	c.r.t.Helper()
	_, secret, err := c.r.eng.SetWebhook(c.who(), url)
	if err != nil {
		c.r.t.Fatal(err)
	}
	return secret
}

func (c customer) webhook() engine.Webhook {
	c.r.t.Helper()
	return must[engine.Webhook](c.r.t)(c.r.eng.Webhook(c.who()))
}

// asked makes one entry that is told: a request for access.
func (c customer) asked() engine.AccessRequest {
	c.r.t.Helper()
	r := must[engine.AccessRequest](c.r.t)(c.r.eng.RequestAccess(c.r.staff, engine.NewAccess{
		Workspace: c.id, Environment: engine.Production, Scopes: []engine.Scope{engine.LeadsRead}, ReasonType: "incident",
		Reason: "Ana Marker says that nothing arrives", Ticket: "T-1", Duration: time.Hour,
	}))
	return r
}

// refused makes one entry that is told: a look that was not granted.
func (c customer) refused() {
	c.r.t.Helper()
	_, err := c.r.eng.StaffRead(c.r.staff, engine.StaffQuery{Workspace: c.id, Environment: engine.Staging, Kind: engine.KindLeads, Limit: 10})
	if e := (*engine.Error)(nil); !errors.As(err, &e) || e.Kind != engine.Forbidden {
		c.r.t.Errorf("a look that was not granted: %v", err)
	}
}

// decided makes two: a request, and its denial.
func (c customer) decided() {
	c.r.t.Helper()
	r := c.asked()
	must[engine.AccessRequest](c.r.t)(c.r.eng.DenyAccess(c.who(), string(r.ID), "Bo Marker says no"))
}

// told are the events of the workspace that a customer is told of, as the log has them, with their own numbers.
func (c customer) told() (all []string) {
	c.r.t.Helper()
	for before := uint64(0); ; {
		page, next, err := c.r.eng.AuditLog(c.who(), before, 100)
		if err != nil {
			c.r.t.Fatal(err)
		}
		for _, s := range page {
			if name, _, _ := strings.Cut(s.Entry.Event, "."); slices.Contains([]string{"access", "staff", "policy", "agreement", "key"}, name) {
				all = append(all, fmt.Sprint(s.Entry.WsSeq, " ", s.Entry.Event))
			}
		}
		if before = next; next == 0 {
			slices.Reverse(all)
			return slices.DeleteFunc(all, func(e string) bool { return e == "1 key.created" }) // the owner key, before there was a webhook
		}
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		case <-look.C:
		}
	}
}
