package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"tuco/httpapi"
)

// Options say what to measure.
type Options struct {
	Workspaces  int
	Connections int
	Contacts    int           // of each workspace
	Messages    int64         // stored before the measurement
	Duration    time.Duration // of the measurement
	Warmup      time.Duration // before it
	Mix         Mix
	Rate        int  // requests per second; 0 is as fast as possible
	Deliver     bool // the lines that are made keep no gaps
	Crash       bool // end the server with SIGKILL under load, and measure its next start
	Ceilings    bool // measure what the machine could do at most, too

	// Data is a directory to keep; a temporary one without it. Beside a Host it is the one of the server that runs there.
	Data string
	// Host is where a server listens that runs already; without it one is started. Keys are those of its workspaces.
	Host string
	Keys []string
	// Path is where the messages are.
	Path string

	// SocketPath says where the admin socket of the server on a data directory is, until done is called.
	SocketPath func(dir string) (path string, done func(), err error)
	// Progress is told what is being done; it may be left out.
	Progress func(text string)
}

// Run measures and returns what it found. What it started and what it made for itself is gone when it returns.
func Run(ctx context.Context, opt Options) (r *Report, err error) {
	if opt.Progress == nil {
		opt.Progress = func(string) {}
	}
	b := &bench{opt: opt, dir: opt.Data, report: newReport(opt)}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, step := range []func(context.Context) error{b.open, b.store, b.idle, b.ceilings, b.measure, b.crash, b.stop, b.ceilings} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	b.report.compare()
	return b.report, nil
}

// bench is one run.
type bench struct {
	opt      Options
	dir      string // of the data; empty if that is not known
	own      bool   // the directory is temporary
	host     string
	server   *child  // nil if it was running already
	process  process // the server; 0 if that is not known
	contents contents
	report   *Report
}

// open finds or starts the server, and what it is asked about.
func (b *bench) open(ctx context.Context) (err error) {
	if b.opt.Host != "" {
		return b.openGiven()
	}
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "tuco-bench-"); err != nil {
			return err
		}
		b.own = true
	}
	if b.contents, err = claim(b.dir); err != nil {
		return err
	}
	if len(b.contents.Tenants) == 0 {
		b.contents.Deliver = b.opt.Deliver
	} else if b.contents.Deliver != b.opt.Deliver {
		return fmt.Errorf("the lines in %q were made by a run with another --deliver; say the same, or name another directory", b.dir)
	}
	if err := b.start(); err != nil {
		return err
	}
	b.report.Server.StartSeconds = seconds(b.server.started)
	b.opt.Progress("making workspaces")
	return b.administer(func(admin *httpapi.AdminClient) error {
		err := b.contents.makeTenants(ctx, admin, b.host, b.opt.Workspaces)
		return errors.Join(err, b.contents.save(b.dir))
	})
}

func (b *bench) start() (err error) {
	b.opt.Progress("starting the server")
	// Of the environment's settings those hold that are not said here, such as TUCO_MAX_SIZE: they may matter to the figures.
	b.server, err = startChild("serve", "--data", b.dir, "--keys", filepath.Join(b.dir, "keys"), "--listen", "127.0.0.1:0", "--log-level", "info", "--log-format", "json")
	if err == nil {
		b.host, b.process = b.server.host, b.server.process()
	}
	return err
}

func (b *bench) administer(fn func(*httpapi.AdminClient) error) error {
	path, done, err := b.opt.SocketPath(b.dir)
	if err != nil {
		return err
	}
	defer done()
	return fn(httpapi.NewAdminClient(path))
}

// openGiven takes a server that runs already.
func (b *bench) openGiven() error {
	b.host = b.opt.Host
	for _, key := range b.opt.Keys {
		b.contents.Tenants = append(b.contents.Tenants, Tenant{Key: key})
	}
	b.report.Load.Workspaces = len(b.opt.Keys)
	if b.dir == "" {
		return nil
	}
	path, done, err := b.opt.SocketPath(b.dir)
	if err != nil {
		return err
	}
	defer done()
	b.process, err = peer(path)
	return err
}

// fewMessages are there at least if the load reads.
const fewMessages = 1000

// store sends messages until there are as many as were asked for.
func (b *bench) store(ctx context.Context) error {
	missing := b.opt.Messages - b.contents.Messages
	if b.opt.Mix.reads() && !b.hasMessages() {
		missing = max(missing, fewMessages)
	}
	if missing <= 0 {
		return nil
	}
	l := b.load(only(Send))
	l.Connections, l.Rate = max(l.Connections, 256), 0
	sent, err := b.runLoad(ctx, l, amount{requests: missing, keepIDs: keptIDs}, func(done, perSecond int64) {
		b.opt.Progress(fmt.Sprintf("storing messages: %s of %s, %s a second", humanize.Comma(done), humanize.Comma(missing), humanize.Comma(perSecond)))
	})
	if err != nil {
		return err
	}
	if n := sent.answered(Send); n < missing {
		return fmt.Errorf("storing messages: only %d of %d were taken: %s", n, missing, sent.firstRefusal())
	}
	for _, m := range sent.sent {
		m.tenant.Messages = append(m.tenant.Messages, m.id)
	}
	b.report.Load.StoredPerSecond = whole(sent.perSecond())
	b.contents.Messages += missing
	if err := b.save(); err != nil {
		return err
	}
	return b.settle(ctx)
}

// keptIDs is about how many messages are remembered, to be read later.
const keptIDs = 100_000

func (b *bench) hasMessages() bool {
	for _, t := range b.tenants() {
		if len(t.Messages) > 0 {
			return true
		}
	}
	return false
}

func (b *bench) save() error {
	if b.server == nil {
		return nil
	}
	return b.contents.save(b.dir)
}

// tenants are those that the load asks for; an earlier run may have made more.
func (b *bench) tenants() []Tenant {
	if b.opt.Host != "" {
		return b.contents.Tenants
	}
	return b.contents.Tenants[:b.opt.Workspaces]
}

func (b *bench) load(m Mix) Load {
	return Load{
		Host: b.host, Path: b.opt.Path, Tenants: b.tenants(), Mix: m,
		Connections: b.opt.Connections, Contacts: b.opt.Contacts, Rate: b.opt.Rate,
	}
}

// runLoad opens connections, asks until the amount is reached, and closes them.
func (b *bench) runLoad(ctx context.Context, l Load, a amount, progress func(done, perSecond int64)) (*outcome, error) {
	g, err := connect(l)
	if err != nil {
		return nil, err
	}
	defer g.close()
	return g.run(ctx, a, progress)
}

// progress tells how fast something goes.
func (b *bench) progress(what string) func(done, perSecond int64) {
	return func(_, perSecond int64) {
		b.opt.Progress(fmt.Sprintf("%s: %s requests a second", what, humanize.Comma(perSecond)))
	}
}

// settle waits until what the server does behind its answers may be over.
func (b *bench) settle(ctx context.Context) error {
	b.opt.Progress("waiting for what goes on in the background")
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(b.opt.Duration, 5*time.Second)):
		return nil
	}
}

// idle looks at the server before the load.
func (b *bench) idle(context.Context) (err error) {
	b.report.Load.Messages = b.contents.Messages
	if b.process != 0 {
		b.report.Server.Idle, err = b.process.memory()
	}
	return err
}

// measure is what all the rest is for.
func (b *bench) measure(ctx context.Context) error {
	g, err := connect(b.load(b.opt.Mix))
	if err != nil {
		return err
	}
	defer g.close()
	warm, err := g.run(ctx, amount{time: max(b.opt.Warmup, time.Millisecond)}, b.progress("warming up"))
	if err != nil {
		return b.explain(err)
	}
	peak := b.process.watchMemory()
	defer peak()
	done, before, after, err := b.watched(ctx, g)
	if err != nil {
		return b.explain(err)
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	after.written, _ = deviceWritten(b.dir)
	b.report.measured(done, before, after)
	b.report.Server.Peak = peak()
	b.contents.Messages += warm.answered(Send) + done.answered(Send)
	return b.save()
}

// watched is the load itself, with what was used before and after it.
func (b *bench) watched(ctx context.Context, g *generator) (done *outcome, before, after usage, err error) {
	if before, err = b.usage(); err != nil {
		return
	}
	if done, err = g.run(ctx, amount{time: b.opt.Duration}, b.progress("measuring")); err != nil {
		return
	}
	after, err = b.usage()
	return
}

// explain adds to the failure of a load what the server said when it ended.
func (b *bench) explain(err error) error {
	if b.server == nil {
		return err
	}
	return errors.Join(err, b.server.alive())
}

func (b *bench) usage() (u usage, err error) {
	u.own, err = process(os.Getpid()).cpu()
	if err != nil {
		return u, err
	}
	if u.metrics, err = counters(b.host); err != nil && b.server != nil { // a given server may have none
		return u, err
	}
	u.cpu = time.Duration(u.metrics[metricCPU] * float64(time.Second))
	if b.dir != "" {
		u.written, u.device = deviceWritten(b.dir)
	}
	return u, nil
}

// crash ends the server in the middle of its work and starts it again.
func (b *bench) crash(ctx context.Context) error {
	if !b.opt.Crash {
		return nil
	}
	l := b.load(only(Send))
	sent, err := b.runLoad(ctx, l, amount{time: b.opt.Duration}, b.progress("loading, before a crash"))
	if err != nil {
		return b.explain(err)
	}
	b.contents.Messages += sent.answered(Send)
	b.server.crash()
	if err := errors.Join(b.save(), b.start()); err != nil {
		return err
	}
	b.report.Server.StartAfterCrashSeconds = seconds(b.server.started)
	return nil
}

func (b *bench) stop(context.Context) error {
	if b.server == nil {
		return nil
	}
	b.opt.Progress("stopping the server")
	return b.server.stop()
}

// close ends and removes what is still there.
func (b *bench) close() error {
	if b.own {
		if b.server != nil {
			b.server.crash()
		}
		return os.RemoveAll(b.dir)
	}
	return b.stop(context.Background())
}
