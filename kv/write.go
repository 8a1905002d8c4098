package kv

import (
	"errors"
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// maxGroup bounds how many transactions are committed together, and how many wait.
const maxGroup = 4096

// A request is a transaction that waits for the writer. Its fields are the writer's until done is closed.
type request struct {
	fn       func(*Tx) error
	critical bool
	err      error
	panicked any
	done     chan struct{}
}

// Update runs fn as the only writer and returns its result once the writes are durable. If fn
// fails, or with [ErrNoRoom] or [ErrStopped], nothing happened. With [ErrUnknown] the outcome is not
// known, and db takes no more writes. The result is zero then. fn must not begin another transaction.
func Update[T any](db *DB, fn func(tx *Tx) (T, error)) (T, error) {
	return update(db, fn, false)
}

// UpdateCritical is Update for what must still be possible when the disk is nearly full: it may use
// the reserve.
func UpdateCritical[T any](db *DB, fn func(tx *Tx) (T, error)) (T, error) {
	return update(db, fn, true)
}

func update[T any](db *DB, fn func(tx *Tx) (T, error), critical bool) (T, error) {
	var result, zero T
	err := db.submit(&request{critical: critical, done: make(chan struct{}), fn: func(tx *Tx) (err error) {
		result, err = fn(tx)
		return err
	}})
	if err != nil {
		return zero, err
	}
	return result, nil
}

// View runs fn on the newest committed state. It waits for no writer, and no writer for it; but fn
// must be short and must not talk to a peer, since the file grows while it runs.
func View[T any](db *DB, fn func(tx *Tx) (T, error)) (T, error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a page that can't be read fails fn, not the process
	var result, zero T
	err := db.bolt.View(func(b *bolt.Tx) error {
		tx := &Tx{Now: db.opt.Now().UTC(), db: db, store: newBoltStore(b)}
		return tx.run(func(tx *Tx) (err error) {
			result, err = fn(tx)
			return err
		})
	})
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		err = fmt.Errorf("%w: it is closed", ErrStopped)
	}
	if err != nil {
		return zero, err
	}
	return result, nil
}

// run calls fn and returns why the transaction must not take effect. A failure of the transaction
// itself, such as a damaged record, comes before what fn made of it.
func (tx *Tx) run(fn func(*Tx) error) error {
	err := fn(tx)
	if tx.err != nil {
		return tx.err
	}
	return err
}

// Barrier returns when every transaction that was waiting when it was called has been decided.
func (db *DB) Barrier() error {
	return db.submit(&request{critical: true, done: make(chan struct{}), fn: func(*Tx) error { return nil }})
}

func (db *DB) submit(r *request) error {
	db.closing.RLock()
	if db.closed {
		db.closing.RUnlock()
		return ErrStopped
	}
	db.requests <- r
	db.closing.RUnlock()
	<-r.done
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.err
}

// write is the writer: it takes everything that waits, commits it together and wakes it.
func (db *DB) write() {
	defer close(db.done)
	debug.SetPanicOnFault(true)
	for first := range db.requests {
		group := db.waiting([]*request{first})
		db.serve(group)
		for _, r := range group {
			close(r.done)
		}
	}
}

func (db *DB) waiting(group []*request) []*request {
	for len(group) < maxGroup {
		select {
		case r, ok := <-db.requests:
			if !ok {
				return group
			}
			group = append(group, r)
		default:
			return group
		}
	}
	return group
}

// serve decides every request of group. A group that is refused is halved until those that can't be
// are alone, so that they take none of the others with them.
func (db *DB) serve(group []*request) {
	refused := db.commit(group)
	switch {
	case refused == nil:
	case len(group) == 1:
		group[0].err = refused
	default:
		db.serve(group[:len(group)/2])
		db.serve(group[len(group)/2:])
	}
}

// commit runs the group in one bbolt transaction and sets each request's err. If it returns an error,
// nothing happened, and the group may be run again: bbolt checks MaxSize before it writes its first
// byte. Any other failure of its commit may have come after the new meta page had reached the disk.
func (db *DB) commit(group []*request) (refused error) {
	if db.failure.Load() != nil {
		setAll(group, ErrStopped)
		return nil
	}
	b, err := db.bolt.Begin(true)
	if err != nil {
		setAll(group, fmt.Errorf("%w: %w", ErrStopped, err))
		return nil
	}
	store := newBoltStore(b)
	all, refused := db.runAll(store, group)
	if refused == nil {
		refused = store.apply(all)
	}
	if refused != nil || all.empty() {
		_ = b.Rollback() // nothing was written
		return refused
	}
	switch err := db.commitBolt(b); {
	case err == nil:
		db.stats.committed(group)
	case errors.Is(err, berrors.ErrMaxSizeReached):
		return fmt.Errorf("%w: the file is at its largest size", ErrNoRoom)
	default:
		db.fail(group, err)
	}
	return nil
}

// runAll runs the requests one after the other, each seeing the changes of the ones before it, and
// returns the changes of all that succeeded. It refuses if those that fit one by one don't together.
func (db *DB) runAll(store *boltStore, group []*request) (all changeSet, refused error) {
	room, now := db.Room(), db.opt.Now().UTC()
	all = newChangeSet()
	for _, r := range group {
		tx := &Tx{Now: now, db: db, store: store, writable: true, earlier: all, own: newChangeSet()}
		if r.err = r.run(tx); r.err != nil || r.panicked != nil || tx.own.empty() {
			continue
		}
		if r.err = room.allows(r.critical, tx.own.bytes); r.err != nil {
			continue
		}
		if refused = room.allows(r.critical, all.bytes+tx.own.bytes); refused != nil {
			return all, refused
		}
		all.add(tx.own)
	}
	return all, nil
}

func (r *request) run(tx *Tx) (err error) {
	defer func() { r.panicked = recover() }()
	return tx.run(r.fn)
}

// fail records that the outcome of a commit is unknown and ends all writing. Functions that failed
// changed nothing, but may have decided that on changes whose outcome is unknown.
func (db *DB) fail(group []*request, cause error) {
	unknown := fmt.Errorf("%w: %w", ErrUnknown, cause)
	for _, r := range group {
		if r.err == nil {
			r.err = unknown
		} else {
			r.err = ErrStopped
		}
	}
	db.failure.Store(&unknown)
	close(db.failed)
}

func setAll(group []*request, err error) {
	for _, r := range group {
		r.err, r.panicked = err, nil
	}
}
