package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tuco/engine/auditlog"
	"tuco/engine/auditlog/forward"
	"tuco/engine/transport"
	"tuco/kv"
)

// Schema is the version of what this program stores. Since 2 there is a redo log, which an older program
// would not read, and records have a shorter encoding; those of 1 stay as they are until they are changed.
// Messages by lead and by address are packed, and there is a record of each person.
const Schema = 2

var migrations = []func(tx *kv.Tx) error{
	toSchema2,
}

// Options open an engine. Only Dir is needed.
type Options struct {
	// Dir is the data directory. It is made, readable by its owner only, if it is absent.
	Dir string
	// KeysDir holds the pepper and the master key. Dir/keys if empty.
	KeysDir string
	// MaxSize is the largest size of the database in bytes. 0 is no limit.
	MaxSize int64
	// Reserve is how many bytes are kept for what must be possible on a full disk.
	Reserve int64
	// Overlay bounds the memory, in bytes, of what is durable in the redo log but not in the database yet.
	// [kv.Options] says what if 0.
	Overlay int64
	// KeepLog is how many bytes of the redo log are kept over a stop for whoever ships it. See [kv.Options].
	KeepLog int64
	// Anchors are where the newest checkpoint of the audit log is kept outside the database; Dir/anchor if there are none.
	Anchors []string
	// AuditRetention is how long the bodies of audit entries are kept at least, [MinAuditRetention] or more; 0 is for ever.
	AuditRetention time.Duration
	// AccessAnswer is how long a request for staff access waits for its answer; [DefaultAccessAnswer] if 0.
	AccessAnswer time.Duration
	// StagingTransports lets staging lines use real transports, as production does.
	StagingTransports bool
	// AllowFetch are networks from which attachments may be fetched, and in which webhooks may lie, although they are private.
	AllowFetch []netip.Prefix
	// NoUpgradeCopy brings a database of an older schema up to date without a copy of what it was.
	NoUpgradeCopy bool
	// AllowNetworkFS opens a database on a network file system.
	AllowNetworkFS bool
	// Now reads the clock. time.Now if nil.
	Now func() time.Time
	// Log gets one event per outcome. Nothing if it is the zero value.
	Log zerolog.Logger
}

// An Engine is the open domain. Its methods may be called by several goroutines.
type Engine struct {
	db       *kv.DB
	opt      Options
	log      zerolog.Logger
	clock    clock
	secrets  *secrets
	keys     *keyCache
	tags     tags
	work     workHook
	audit    audit
	notices  noticeHook
	refusals pace // by actor
	requests pace // for access, by staff
	changes  pace // of policy, agreements and webhooks, by key
	waiting  waitingCount
	room     atomic.Int64 // the newest verdict on the disk's room: see StorageLow

	caring sync.Mutex // held by a check or a compaction

	forwarder atomic.Pointer[forward.Forwarder] // nil if the audit log is forwarded to nobody

	importing sync.Mutex // held by the one import of a workspace

	mu      sync.RWMutex // guards tenants
	tenants map[WorkspaceID]*tenant
}

// DatabaseName is the database's file name in the data directory.
const DatabaseName = "tuco.db"

// Open opens the data directory, makes it if it is absent, and rebuilds every counter from the stored
// totals. It compares them with the messages themselves only as far as these are few, so that it takes no
// longer when there are millions; [Engine.Check] compares all.
//
// Errors: those of [kv.Open], and a missing key file, named.
func Open(opt Options) (*Engine, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.KeysDir == "" {
		opt.KeysDir = filepath.Join(opt.Dir, "keys")
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := notLost(opt.Dir, opt.KeysDir); err != nil {
		return nil, err
	}
	db, err := kv.Open(filepath.Join(opt.Dir, DatabaseName), kv.Options{
		Now: opt.Now, MaxSize: opt.MaxSize, Reserve: opt.Reserve, Overlay: opt.Overlay, KeepLog: opt.KeepLog, Schema: Schema, Migrations: migrations, BeforeMigration: opt.beforeUpgrade, AllowNetworkFS: opt.AllowNetworkFS,
	})
	if err != nil {
		return nil, err
	}
	removeStale(opt.Dir)
	e := &Engine{db: db, opt: opt, log: opt.Log, tenants: map[WorkspaceID]*tenant{}}
	e.clock.start(opt.Now, e.clockChanged)
	e.measureRoom(e.clock.ticks())
	if err := e.load(); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

// notLost refuses a directory without a database where there are the keys of one: a service that is started again by itself
// would begin anew, empty, in the place of what was lost.
func notLost(dir, keys string) error {
	path := filepath.Join(dir, DatabaseName)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	entries, err := os.ReadDir(keys)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !slices.ContainsFunc(entries, func(f fs.DirEntry) bool { return strings.HasPrefix(f.Name(), auditKeyKind+"-") }) {
		return nil
	}
	return fmt.Errorf("there is no database %q, but %q has the keys of an installation: its database is gone, or elsewhere. "+
		"Restore a backup to a new directory ('tuco backup restore'); to begin anew, move the keys away", path, keys)
}

func (e *Engine) load() (err error) {
	if e.secrets, err = openSecrets(e.db, e.opt.KeysDir); err != nil {
		return fmt.Errorf("opening the keys in %q: %w", e.opt.KeysDir, err)
	}
	if e.keys, err = newKeyCache(); err != nil {
		return err
	}
	if err := e.openAudit(); err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	if err := e.loadWebhooks(); err != nil {
		return err
	}
	if err := e.dropImports(); err != nil {
		return fmt.Errorf("deleting what an import left behind: %w", err)
	}
	return e.loadTenants()
}

// Close writes what is kept in memory for a while and closes the database. Nothing may be called after it.
func (e *Engine) Close() error {
	err := errors.Join(e.FlushKeyUse(), e.StopAudit())
	if errors.Is(err, kv.ErrNoRoom) || errors.Is(err, kv.ErrStopped) {
		err = nil // the newest uses are lost, as after a crash
	}
	return errors.Join(err, e.close())
}

func (e *Engine) close() error {
	if e.keys != nil {
		e.keys.cache.Close()
	}
	return e.db.Close()
}

// Failed is closed when a commit's outcome is not known: the process should end, and recover at its next start.
func (e *Engine) Failed() <-chan struct{} { return e.db.Failed() }

// Recovery tells what the opening found in the redo log.
func (e *Engine) Recovery() kv.Recovery { return e.db.Recovery() }

// Stats are the store's counts.
func (e *Engine) Stats() kv.Stats { return e.db.Stats() }

// clockChanged logs that the clock was set, or that a day may open again.
func (e *Engine) clockChanged(ahead time.Duration, held bool) {
	e.audit.pending.add(auditlog.Entry{Event: "clock.jumped", Actor: systemActor, Detail: map[string]string{
		"ahead": ahead.String(), "held": strconv.FormatBool(held),
	}})
	switch {
	case held:
		e.log.Warn().Dur("ahead", ahead).Msg("the clock jumped ahead; no new day is opened until it is accepted or time has caught up")
	case ahead < -tolerance:
		e.log.Warn().Dur("back", -ahead).Msg("the clock was set back; days that were opened stay open")
	default:
		e.log.Info().Msg("time has caught up with the clock; days open by it again")
	}
}

// TransportOptions are the limits that the operator sets to what transports may reach.
func (e *Engine) TransportOptions() transport.Options {
	return transport.Options{Now: e.opt.Now, AllowFetch: e.opt.AllowFetch}
}

// tenant returns a workspace's state, nil if there is no such workspace.
func (e *Engine) tenant(id WorkspaceID) *tenant {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.tenants[id]
}

func (e *Engine) allTenants() []*tenant {
	e.mu.RLock()
	defer e.mu.RUnlock()
	all := make([]*tenant, 0, len(e.tenants))
	for _, t := range e.tenants {
		all = append(all, t)
	}
	return all
}
