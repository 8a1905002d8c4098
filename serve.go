package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tuco/backup/keeper"
	"tuco/engine"
	"tuco/engine/auditlog/forward"
	"tuco/engine/dispatch"
	"tuco/engine/notice"
	"tuco/httpapi"
	"tuco/kv"
	"tuco/listen"
)

// serveFlags say how the server runs.
type serveFlags struct {
	Data   string    `help:"Data directory; made if absent." default:"./tuco-data" type:"path"`
	Listen addresses `help:"Address to listen on, or unix: and the path of a socket; may be given more than once. Sockets that systemd hands over come in place of all." default:"127.0.0.1:8420" placeholder:"ADDR"`
	tlsFlags
	proxyFlags
	Keys              string         `help:"Directory of the pepper, the master key and the signing key of the audit log; DATA/keys by default." type:"path" placeholder:"DIR"`
	MaxSize           size           `help:"Largest size of the database, such as 20GiB; unlimited by default." default:"0" placeholder:"SIZE"`
	Reserve           size           `help:"Space on the disk, and below max-size, that only revoking keys and its like may use; at it, workspaces become READ_ONLY." default:"256MiB" placeholder:"SIZE"`
	Overlay           size           `help:"Memory for what is in the redo log but not moved into the database yet; the log's size is bounded by about the same. When it is full, writers wait." default:"128MiB" placeholder:"SIZE"`
	StagingTransports bool           `help:"Let lines of staging use real transports."`
	AllowFetch        []netip.Prefix `help:"Private networks from which attachments may be fetched, and in which customers' webhooks may lie." placeholder:"CIDR"`
	Anchor            []string       `help:"Where the newest checkpoint of the audit log is kept outside the database: a file, a directory, or + and a file that is appended to. May be given more than once; DATA/anchor by default." sep:"none" placeholder:"PATH"`
	AuditRetention    time.Duration  `help:"How long the bodies of audit entries are kept at least, such as 26280h; for ever by default. Agreements can ask for longer." placeholder:"DURATION"`
	AuditForward      []string       `help:"Where the audit log is exported to while it grows: file:///DIR, syslog://HOST:PORT or syslog+tls://HOST:PORT, with ?format= and others; see docs/audit.md. May be given more than once." sep:"none" placeholder:"URL"`
	Backup            backupFlags    `embed:"" prefix:"backup-"`
	NoUpgradeCopy     bool           `help:"Bring a database of an older version up to date without keeping a copy of it."`
	AllowNetworkFs    bool           `help:"Open a database on a network file system, where locks can't be relied on."`
	Concurrency       int            `help:"Most connections at a time." default:"10000"`
	DrainTimeout      time.Duration  `help:"How long requests and sends that were begun may take after SIGTERM." default:"30s"`
	LogLevel          string         `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	LogFormat         string         `help:"json, or console for people." enum:"json,console" default:"json"`
}

type serveCommand struct{ serveFlags }

func (c *serveCommand) Run(ctx *kong.Context, out *output, s *settings) error {
	events, err := c.events(out)
	if err != nil {
		return err
	}
	signals, hangups, began := catchSignals(), catchHangups(), time.Now()
	notify("STATUS=Opening the data directory.")
	srv, err := start(c.serveFlags, events, s.effective(ctx))
	if err != nil {
		return advise(err)
	}
	srv.log.Info().Dur("took", time.Since(began)).Str("address", srv.Addr()).Strs("listen", srv.ln.Addresses()).Bool("tls", srv.certificates != nil).
		Str("data", c.Data).Str("version", version).Msg("serving")
	notify(daemon.SdNotifyReady + "\nSTATUS=Serving on " + strings.Join(srv.ln.Addresses(), ", "))
	return srv.wait(signals, hangups)
}

// advise adds what the operator can do about a data directory that does not open.
func advise(err error) error {
	for _, known := range []struct {
		is     error
		advice string
	}{
		{kv.ErrDamaged, "keep a copy of the data directory, and restore a backup into a new one"},
		{kv.ErrForeign, "it is left as it is; name another directory with --data"},
		{kv.ErrNoRoom, "free space on the disk, or change --reserve and --max-size"},
		{kv.ErrOlder, "start the server on it once, which brings it up to date"},
		{kv.ErrNewer, "run that version of tuco, or restore a backup that this one made"},
	} {
		if errors.Is(err, known.is) {
			return fmt.Errorf("%w; %s", err, known.advice)
		}
	}
	return err
}

// server is a running server.
type server struct {
	flags   serveFlags
	log     zerolog.Logger
	eng     *engine.Engine
	disp    *dispatch.Dispatcher
	notes   *notice.Deliverer
	forward *forward.Forwarder
	backups *keeper.Keeper // nil if there are none
	api     *httpapi.Server
	admin   *httpapi.AdminServer
	ln      *listen.Listener
	socket  net.Listener
	ended   chan error // of a listener that broke, or a database that is gone

	events       *eventLog
	settings     []setting
	began        time.Time
	registry     *prometheus.Registry
	certificates listen.Certificates // nil without TLS
	certificate  certificateState
	pinging      atomic.Bool

	flushing    atomic.Bool
	anchoring   atomic.Bool
	anchorFails atomic.Bool // and that was said
	lost        atomic.Bool // the database is not there any more
}

// start opens the data directory and begins to serve. When it returns without error, requests are answered.
// The settings are those that the support bundle shows.
func start(f serveFlags, events *eventLog, settings []setting) (*server, error) {
	s := &server{flags: f, events: events, log: events.logger(), settings: settings, began: time.Now(), ended: make(chan error, 3)}
	if err := s.start(); err != nil {
		s.abandon()
		return nil, err
	}
	debug.FreeOSMemory() // what the start left behind would stay while nothing happens
	go func() { s.ended <- s.api.Serve(s.ln) }()
	go func() { s.ended <- s.admin.Serve(s.socket) }()
	return s, nil
}

// processors is how many the runtime would use by itself.
var processors = runtime.GOMAXPROCS(0)

// workingMemory is what the server may use beside the overlay, in bytes.
const workingMemory = 128 << 20

// tune fits the runtime to a server that writes to its disk all the time. It trades memory for fewer collections, up
// to what the server may use: the overlay, and working memory beside it. And it uses one processor more than there
// are, since the log's sync holds one that does nothing meanwhile. GOGC, GOMEMLIMIT and GOMAXPROCS say otherwise.
func tune(overlay size) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(overlay) + workingMemory)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processors + 1)
	}
}

// start opens everything; nothing is served yet.
func (s *server) start() (err error) {
	f, log := s.flags, s.log
	sinks, err := forward.ParseAll(f.AuditForward)
	if err != nil {
		return fmt.Errorf("--audit-forward: %w", err)
	}
	tune(f.Overlay)
	if f.AuditRetention != 0 && f.AuditRetention < engine.MinAuditRetention {
		return &usageError{fmt.Sprintf("--audit-retention must be at least %s", engine.MinAuditRetention)}
	}
	if slices.Contains(f.Anchor, "") {
		return &usageError{"--anchor must name a place"}
	}
	if err := f.Backup.check(f.Data); err != nil {
		return err
	}
	proxies, err := f.proxies()
	if err != nil {
		return &usageError{err.Error()}
	}
	if s.certificates, err = f.open(f.Data); err != nil {
		return err
	}
	s.eng, err = engine.Open(engine.Options{
		Dir: f.Data, KeysDir: f.Keys, MaxSize: int64(f.MaxSize), Reserve: int64(f.Reserve), Overlay: int64(f.Overlay), StagingTransports: f.StagingTransports,
		AllowFetch: f.AllowFetch, AllowNetworkFS: f.AllowNetworkFs, NoUpgradeCopy: f.NoUpgradeCopy, Anchors: f.Anchor, AuditRetention: f.AuditRetention, KeepLog: f.Backup.keepLog(), Log: log,
	})
	if err != nil {
		return err
	}
	if err := s.eng.StartAudit(version); err != nil {
		return err
	}
	s.anchor() // before anything is served: a restore goes by it
	if err := keeper.RemoveTemporary(f.Data); err != nil {
		return err
	}
	if r := s.eng.Recovery(); r.Transactions > 0 {
		log.Info().Int64("transactions", r.Transactions).Int64("bytes", r.Bytes).Dur("took", r.Took).Msg("recovered from the redo log")
	}
	var config *tls.Config
	if s.certificates != nil {
		config = s.certificates.Config()
	}
	if s.ln, err = listen.Open(f.Listen, config); err != nil {
		return err
	}
	if s.socket, err = listenAdmin(f.Data); err != nil {
		return fmt.Errorf("opening the admin socket in %q: %w", f.Data, err)
	}
	registry := prometheus.NewRegistry()
	s.registry = registry
	s.certificateGauge()
	s.api, err = httpapi.New(httpapi.Options{
		Engine: s.eng, Version: version, Log: log, Concurrency: f.Concurrency, Registry: registry, TrustedProxies: proxies, Warnings: s.warnings,
	})
	if err != nil {
		return err
	}
	s.disp, err = dispatch.Start(s.eng, dispatch.Options{
		Log: log, Observe: httpapi.OutcomeCounter(registry),
	})
	if err != nil {
		return err
	}
	s.notes, err = notice.Start(s.eng, notice.Options{Render: httpapi.NoticeBody, Log: log, Observe: httpapi.NoticeCounter(registry)})
	if err != nil {
		return err
	}
	httpapi.NoticeGauge(registry, s.notes.Waiting)
	s.admin = httpapi.NewAdmin(s.eng, version, log)
	s.addCommands()
	if err := s.startBackups(); err != nil {
		return err
	}
	s.forward, err = s.eng.ForwardAudit(sinks, forward.Options{Product: version, Log: log})
	if err == nil {
		httpapi.ForwardGauges(registry, s.forward)
	}
	return err
}

// listenAdmin opens the admin socket. The database's lock is held, so a socket that is there is left
// over from a process that died.
func listenAdmin(dir string) (net.Listener, error) {
	path := filepath.Join(dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	short, done, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	old := syscall.Umask(0o177) // the socket must never be open to others, not even for a moment
	defer syscall.Umask(old)
	ln, err := net.Listen("unix", short)
	if err != nil {
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // its path won't be valid then
	return ln, nil
}

// Addr is the address that requests go to.
func (s *server) Addr() string { return s.ln.Addr().String() }

// flushEvery is how far the last uses of keys may be behind.
const flushEvery = 30 * time.Second

// anchorEvery is how far the audit log's anchors may be behind.
const anchorEvery = time.Second

// catchSignals is called before anything is made that a signal must not leave behind.
func catchSignals() <-chan os.Signal {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	return signals
}

// catchHangups lets SIGHUP mean a look at the certificate, with TLS or without.
func catchHangups() <-chan os.Signal {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups
}

// wait serves until a signal, or until something broke, and then stops.
func (s *server) wait(signals, hangups <-chan os.Signal) error {
	flush, anchor, look := time.NewTicker(flushEvery), time.NewTicker(anchorEvery), time.NewTicker(lookEvery)
	defer flush.Stop()
	defer anchor.Stop()
	defer look.Stop()
	ping, stopPing := watchdog()
	defer stopPing()
	go s.refresh(false) // a first certificate by ACME
	for {
		select {
		case sig := <-signals:
			s.log.Info().Str("signal", sig.String()).Msg("stopping; requests that were begun are answered")
			notify(daemon.SdNotifyStopping + "\nSTATUS=Answering the requests that were begun.")
			go func() {
				<-signals
				os.Exit(exitFailed) // asked twice
			}()
			return s.stop()
		case err := <-s.ended:
			return errors.Join(err, s.stop())
		case <-s.eng.Failed():
			s.log.Error().Msg("the outcome of a write is not known; ending, so that the next start finds out what is on the disk")
			return errors.Join(errors.New("the outcome of a write is not known; start again to recover"), s.stop())
		case <-flush.C:
			if s.flushing.CompareAndSwap(false, true) { // a long check holds up writes, but no signal
				go s.flush()
			}
		case <-anchor.C:
			if s.anchoring.CompareAndSwap(false, true) {
				go s.anchor()
			}
		case <-look.C:
			go s.refresh(false)
		case <-hangups:
			s.log.Info().Msg("looking at the TLS certificate, as SIGHUP asks")
			go s.refresh(true)
		case <-ping:
			if s.pinging.CompareAndSwap(false, true) {
				go s.ping()
			}
		}
	}
}

// lookForData ends the server when its database was removed, moved away or replaced: what is written to a file without a name is
// lost with the process, and nobody would be told.
func (s *server) lookForData() {
	if s.eng.DatabaseLost() && s.lost.CompareAndSwap(false, true) {
		s.log.Error().Str("data", s.flags.Data).Msg("the database was removed, moved away or replaced; ending, so that nothing is accepted that would be lost")
		s.ended <- fmt.Errorf("the database in %q was removed, moved away or replaced while it was used: put it back, or restore a backup", s.flags.Data)
	}
}

// anchor records what time has ended, and keeps the audit log's anchors up to date.
func (s *server) anchor() {
	defer s.anchoring.Store(false)
	s.lookForData()
	if err := errors.Join(s.eng.SweepAccess(), s.eng.KeepAudit()); err != nil && !errors.Is(err, kv.ErrStopped) && s.anchorFails.CompareAndSwap(false, true) {
		s.log.Error().Err(err).Msg("the audit log's anchors are not up to date; it is tried again each second")
	} else if err == nil {
		s.anchorFails.Store(false)
	}
}

func (s *server) flush() {
	defer s.flushing.Store(false)
	if err := s.eng.FlushKeyUse(); err != nil && !errors.Is(err, kv.ErrStopped) {
		s.log.Warn().Err(err).Msg("last uses of keys not written")
	}
}

// stop takes no new request, answers those that were begun, lets sends that were begun end, and closes.
func (s *server) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.flags.DrainTimeout)
	defer cancel()
	var sends sync.WaitGroup
	sends.Go(func() { s.disp.Stop(s.flags.DrainTimeout) })
	sends.Go(func() { s.notes.Stop(s.flags.DrainTimeout) })
	err := errors.Join(s.api.Shutdown(ctx), s.admin.Shutdown(ctx))
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("requests were still under way after %v and got no answer; see --drain-timeout", s.flags.DrainTimeout)
	}
	sends.Wait()
	err = errors.Join(err, s.stopAudit(ctx), s.stopBackups(ctx))
	// The socket goes before the lock: after it, the name may be another server's.
	err = errors.Join(err, os.Remove(filepath.Join(s.flags.Data, socketName)), s.eng.Close())
	if err == nil {
		s.log.Info().Msg("stopped")
	}
	return err
}

// stopAudit records the end, and lets it be forwarded. Where it can't be recorded, closing says so.
func (s *server) stopAudit(ctx context.Context) error {
	err := s.eng.StopAudit()
	s.forward.Stop(ctx)
	if errors.Is(err, kv.ErrNoRoom) || errors.Is(err, kv.ErrStopped) {
		return nil
	}
	return err
}

// abandon undoes a start that failed.
func (s *server) abandon() {
	if s.socket != nil {
		os.Remove(filepath.Join(s.flags.Data, socketName))
	}
	if s.ln != nil {
		s.ln.Close()
	}
	if s.socket != nil {
		s.socket.Close()
	}
	if s.disp != nil {
		s.disp.Stop(0)
	}
	if s.notes != nil {
		s.notes.Stop(0)
	}
	if s.backups != nil {
		s.backups.Stop()
	}
	if s.eng != nil {
		s.eng.Close()
	}
}
