package kv

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Options open a database. The zero value works.
type Options struct {
	// Now reads the clock. time.Now if nil.
	Now func() time.Time
	// MaxSize is the largest size of the file in bytes, some megabytes at least. It grows by one at a
	// time, so that the last one holds no data. The redo log is not counted. 0 is no limit.
	MaxSize int64
	// Reserve is how many bytes of the disk, and of MaxSize, only [UpdateCritical] may use. It should
	// be several times what one group of transactions rewrites.
	Reserve int64
	// Overlay bounds the memory, in bytes, of changes that are durable in the redo log but not in the file
	// yet. The log is bounded by about the same. When it is reached, writers wait. 128 MiB if 0.
	Overlay int64
	// ApplyAfter is how long changes may wait for more before they are moved into the file. 30 s if 0.
	ApplyAfter time.Duration
	// KeepLog is how many bytes of the redo log are kept for [DB.Changes] although the file holds them.
	KeepLog int64
	// Schema is the version of what the caller stores. A file of an older one is migrated.
	Schema int
	// Migrations[i] brings a file from version i+1 to i+2. Each runs in a transaction of its own.
	Migrations []func(tx *Tx) error
	// BeforeMigration is called before anything of a file of an older schema is migrated, which it can copy as it is into a
	// directory that is not there yet. If it fails, nothing is migrated. It may be nil.
	BeforeMigration func(old Old) error
	// AllowNetworkFS opens the file even on a network file system.
	AllowNetworkFS bool

	// For tests.
	segmentBytes int64                // at which a segment of the log ends
	partOps      int                  // that one bbolt transaction of the applier takes, or more
	commitBolt   func(*bolt.Tx) error // stands in for bbolt's: it may fail before or after its writes
	onCompact    func(step string)    // is told what a compaction has just done
}

const (
	defaultOverlay    = 128 << 20
	defaultApplyAfter = 30 * time.Second
)

// A DB is an open database. Its methods may be called by several goroutines.
type DB struct {
	bolt     atomic.Pointer[storeFile]
	log      *redo
	disk     disk // the log's
	opt      Options
	path     string
	ids      ids
	homes    homes
	requests chan *request
	batches  chan *batch        // from the writer, to be made durable
	finished chan *batch        // and back
	freezing chan chan struct{} // asks the writer to freeze its table
	done     chan struct{}      // closed when the writer has ended
	stats    stats
	recovery Recovery
	begun    Position // the end of the last table that the file may have a part of

	// The writer's.
	given      uint64 // the number of the last transaction, which need not be durable yet
	inFlight   bool   // a batch is being made durable
	spareBatch *batch
	spare      spare

	state   atomic.Pointer[state]
	visible atomic.Uint64         // the number of the last durable transaction
	dropped atomic.Uint64         // the number of the last one that dropped a bucket
	stuck   atomic.Pointer[error] // why the applier can't go on, for now
	awaited atomic.Int32          // how many wait for the applier

	filing  sync.Mutex   // held by who writes to the file, or puts another in its place
	placing sync.Mutex   // held while the file at path is not the open one
	copying sync.RWMutex // held while the file is copied; for writing by a compaction
	shown   uint64       // the number of the last version of the file; the applier's
	over    atomic.Bool  // the file is closed

	changing    sync.Mutex // guards changes of state, and stopping
	changed     *sync.Cond
	stopping    bool
	stopApplier chan struct{}
	applierDone chan struct{}

	closing sync.RWMutex // held for reading while a request is being queued
	closed  bool

	failure atomic.Pointer[error] // why no more writes are taken
	failed  chan struct{}         // closed when failure is set
}

// A Recovery is what an opening found in the redo log.
type Recovery struct {
	Transactions int64         // that were not in the file yet
	Bytes        int64         // that they put
	Took         time.Duration // the whole opening
}

// Open opens the database at path, and makes it if there is none: durably, or not at all.
//
// Errors: [ErrLocked], [ErrDamaged], [ErrForeign], [ErrNewer], [ErrNetworkFS].
func Open(path string, opt Options) (*DB, error) {
	return open(path, opt, osDisk{})
}

func open(path string, opt Options, d disk) (*DB, error) {
	began := time.Now()
	if opt.Now == nil {
		opt.Now = time.Now
	}
	opt.Schema = cmp.Or(opt.Schema, 1)
	opt.Overlay = cmp.Or(opt.Overlay, defaultOverlay)
	opt.ApplyAfter = cmp.Or(opt.ApplyAfter, defaultApplyAfter)
	opt.segmentBytes = cmp.Or(opt.segmentBytes, defaultSegmentBytes)
	opt.partOps = cmp.Or(opt.partOps, defaultPartOps)
	if opt.commitBolt == nil {
		opt.commitBolt = (*bolt.Tx).Commit
	}
	if err := checkFileSystem(filepath.Dir(path), opt.AllowNetworkFS); err != nil {
		return nil, err
	}
	if err := create(path, opt); err != nil {
		return nil, fmt.Errorf("creating %q: %w", path, err)
	}
	file, err := openBolt(path)
	if err != nil {
		return nil, fmt.Errorf("opening %q: %w", path, err)
	}
	_ = os.Remove(path + compactSuffix) // left by a process that died; a compaction removes it, too
	db := &DB{
		disk: d, opt: opt, path: path,
		requests:    make(chan *request, maxGroup),
		batches:     make(chan *batch),
		finished:    make(chan *batch, 1),
		freezing:    make(chan chan struct{}),
		done:        make(chan struct{}),
		failed:      make(chan struct{}),
		stopApplier: make(chan struct{}),
		applierDone: make(chan struct{}),
	}
	db.bolt.Store(file)
	db.changed = sync.NewCond(&db.changing)
	db.state.Store(&state{active: newTable(1, 0)})
	if err := db.prepare(); err != nil {
		if db.log != nil {
			db.log.close()
		}
		db.closeBolt()
		return nil, fmt.Errorf("opening %q: %w", path, err)
	}
	if err := db.beforeMigration(); err != nil {
		db.log.close()
		db.closeBolt()
		return nil, fmt.Errorf("opening %q: %w", path, err)
	}
	go db.write()
	go db.finishAll()
	go db.applyAll()
	if err := db.migrate(); err != nil {
		db.abandon()
		return nil, fmt.Errorf("opening %q: %w", path, err)
	}
	db.recovery.Took = time.Since(began)
	return db, nil
}

// prepare makes sure that what is in the file is on the disk, is ours, and is of this version, and reads
// what the log has beyond it.
func (db *DB) prepare() error {
	if err := syncFile(db.path); err != nil {
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // the header may be what is damaged
	if err := db.showFile(); err != nil {
		return err
	}
	if _, err := View(db, db.schema); err != nil {
		return err
	}
	return db.openLog()
}

// openLog recovers the log if the file was not closed, else begins a new one.
func (db *DB) openLog() error {
	type told struct{ mark, begun mark }
	file, err := View(db, func(tx *Tx) (t told, err error) {
		t.mark, _ = marks.Get(tx, markKey)
		t.begun, _ = marks.Get(tx, begunKey)
		return t, nil
	})
	if err != nil {
		return err
	}
	m := file.mark
	db.begun = file.begun.Applied
	if m.Log == 0 { // made before there was a log
		m.Log = rand.Uint64() | 1
	}
	db.log = newRedo(db.disk, &db.homes, db.path, m.Log, db.opt.segmentBytes)
	if m.Open {
		return db.log.recover(m.Applied, db.opt.KeepLog, db.reapply)
	}
	if err := db.log.clear(m.Applied, db.opt.KeepLog); err != nil {
		return err
	}
	if err := db.log.begin(m.Applied); err != nil {
		return fmt.Errorf("beginning the redo log: %w", err)
	}
	// The log is there before the file says so.
	return db.writePart(func(s *boltStore) error { return putMark(s, markKey, mark{m.Log, m.Applied, true}) })
}

// reapply brings a group's transactions back from the log into memory. What exceeds its bounds is moved
// into the file at once; but nothing that ends within a table of which the file has a part.
func (db *DB) reapply(group []changeSet, end Position) error {
	t, seq := db.state.Load().active, db.given
	for i := range group {
		seq = db.insert(t, &group[i], seq)
		db.recovery.Bytes += group[i].bytes
	}
	db.recovery.Transactions += int64(len(group))
	db.given = seq
	db.visible.Store(seq)
	t.end = end
	if t.size.Load() < db.opt.Overlay/2 || end < db.begun {
		return nil
	}
	db.freeze()
	s := db.state.Load()
	if len(s.frozen) < 2 {
		return nil
	}
	oldest := s.frozen[len(s.frozen)-1]
	switch err := db.moveIn(oldest); {
	case err == nil:
		db.applied(oldest)
	case !diskFull(err): // then it stays in memory, so that at least it can be read
		return err
	}
	return nil
}

// Path returns the file's path.
func (db *DB) Path() string { return db.path }

// Lost tells whether the file was removed or moved away, or another one lies in its place: what is written to it then, no opening of
// [DB.Path] finds.
func (db *DB) Lost() bool {
	db.placing.Lock()
	defer db.placing.Unlock()
	there, err := os.Stat(db.path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	open, err := db.bolt.Load().file.Stat()
	return err == nil && !os.SameFile(open, there)
}

// Recovery tells what the opening found in the redo log.
func (db *DB) Recovery() Recovery { return db.recovery }

// Failed is closed when the database takes no more writes because a commit's outcome is not known.
// The process should then end: opening the file again tells what is in it.
func (db *DB) Failed() <-chan struct{} { return db.failed }

// Close waits for the writes that were begun, moves everything into the file, so that there is no log any
// more, and closes it. Later writes end in [ErrStopped].
func (db *DB) Close() error {
	if !db.stop() {
		return nil
	}
	err := db.saveIDs()
	if err == nil {
		err = db.writerSettles()
	}
	db.endApplier()
	switch {
	case db.failure.Load() != nil:
		err = nil // the next opening recovers; this process writes nothing more
	case errors.Is(err, ErrNoRoom), diskFull(err):
		err = nil // as after a crash: the log keeps what is not in the file
	case err == nil:
		if err = db.endLog(); diskFull(err) {
			err = nil
		}
	}
	return errors.Join(err, db.log.close(), db.closeBolt())
}

// closeBolt ends reading, waits until the last reader has ended, and closes the file.
func (db *DB) closeBolt() error {
	db.filing.Lock()
	defer db.filing.Unlock()
	db.over.Store(true)
	db.hideFile()
	return db.bolt.Load().Close()
}

// insert adds a transaction's changes to a table, and returns its number.
func (db *DB) insert(t *table, c *changeSet, before uint64) (seq uint64) {
	seq = t.insert(c, before)
	if len(c.dropped) > 0 {
		db.dropped.Store(seq)
		db.homes.each(func(h *home) { h.records = false }) // whoever puts one looks again
	}
	return seq
}

// endLog says in the file that it needs no log, and removes that.
func (db *DB) endLog() error {
	m := mark{db.log.id, db.log.at, false}
	if err := db.writePart(func(s *boltStore) error { return putMark(s, markKey, m) }); err != nil {
		return err
	}
	return db.log.end(db.opt.KeepLog)
}

func (db *DB) abandon() {
	db.stop()
	db.endApplier()
	db.log.close()
	db.closeBolt()
}

// stop ends the writer once it has served what is queued. It reports false if it had been stopped before.
func (db *DB) stop() bool {
	db.closing.Lock()
	if db.closed {
		db.closing.Unlock()
		return false
	}
	db.closed = true
	close(db.requests)
	db.closing.Unlock()
	<-db.done
	return true
}

// endApplier ends the applier once it has moved the table that it is at.
func (db *DB) endApplier() {
	db.changing.Lock()
	if !db.stopping {
		db.stopping = true
		close(db.stopApplier)
		db.changed.Broadcast()
	}
	db.changing.Unlock()
	<-db.applierDone
}
