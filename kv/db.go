package kv

import (
	"errors"
	"fmt"
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
	// time, so that the last one holds no data. 0 is no limit.
	MaxSize int64
	// Reserve is how many bytes of the disk, and of MaxSize, only [UpdateCritical] may use. It should
	// be several times what one group of transactions rewrites: a full disk is an unknown outcome.
	Reserve int64
	// Schema is the version of what the caller stores. A file of an older one is migrated.
	Schema int
	// Migrations[i] brings a file from version i+1 to i+2. Each runs in a transaction of its own.
	Migrations []func(tx *Tx) error
	// AllowNetworkFS opens the file even on a network file system.
	AllowNetworkFS bool
}

// A DB is an open database. Its methods may be called by several goroutines.
type DB struct {
	bolt     *bolt.DB
	file     *os.File // bbolt's
	opt      Options
	path     string
	ids      ids
	requests chan *request
	done     chan struct{} // closed when the writer has ended
	stats    stats

	closing sync.RWMutex // held for reading while a request is being queued
	closed  bool

	commitBolt func(*bolt.Tx) error // a field so that tests can let a commit fail before or after its writes

	failure atomic.Pointer[error] // why no more writes are taken
	failed  chan struct{}         // closed when failure is set
}

// Open opens the database at path, and makes it if there is none: durably, or not at all.
//
// Errors: [ErrLocked], [ErrDamaged], [ErrForeign], [ErrNewer], [ErrNetworkFS].
func Open(path string, opt Options) (*DB, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Schema == 0 {
		opt.Schema = 1
	}
	if err := checkFileSystem(filepath.Dir(path), opt.AllowNetworkFS); err != nil {
		return nil, err
	}
	if err := create(path, opt); err != nil {
		return nil, fmt.Errorf("creating %q: %w", path, err)
	}
	b, file, err := openBolt(path)
	if err != nil {
		return nil, fmt.Errorf("opening %q: %w", path, err)
	}
	db := &DB{
		bolt: b, file: file, opt: opt, path: path,
		commitBolt: (*bolt.Tx).Commit,
		requests:   make(chan *request, maxGroup),
		done:       make(chan struct{}),
		failed:     make(chan struct{}),
	}
	go db.write()
	if err := db.prepare(); err != nil {
		db.abandon()
		return nil, fmt.Errorf("opening %q: %w", path, err)
	}
	return db, nil
}

// prepare makes sure that what is in the file is on the disk, is ours, and is of this version.
func (db *DB) prepare() error {
	if err := syncFile(db.path); err != nil {
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // the header may be what is damaged
	db.bolt.MaxSize, db.bolt.AllocSize = int(db.opt.MaxSize), growBytes
	return db.migrate()
}

// Path returns the file's path.
func (db *DB) Path() string { return db.path }

// Failed is closed when the database takes no more writes because a commit's outcome is not known.
// The process should then end: opening the file again tells what is in it.
func (db *DB) Failed() <-chan struct{} { return db.failed }

// Close waits for the writes that were begun and closes the file. Later writes end in [ErrStopped].
func (db *DB) Close() error {
	if !db.stop() {
		return nil
	}
	if db.failure.Load() != nil {
		return db.bolt.Close() // the next opening recovers; this process writes nothing more
	}
	err := db.saveIDs()
	if errors.Is(err, ErrNoRoom) {
		return db.bolt.Close() // as after a crash: the next opening reads the whole file
	}
	if err == nil {
		db.bolt.NoFreelistSync = false // so that the next opening need not read the whole file
		db.bolt.MaxSize = 0
		err = db.bolt.Update(func(*bolt.Tx) error { return nil })
	}
	return errors.Join(err, db.bolt.Close())
}

func (db *DB) abandon() {
	db.stop()
	db.bolt.Close()
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
