package kv

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// A group of transactions that are committed together ends with maxGroup of them, or with the one that makes
// its record larger than maxRecordBytes. As many wait at most.
const (
	maxGroup       = 4096
	maxRecordBytes = 64 << 20
)

// A request is a transaction that waits for the writer. Its fields are the writer's until done is sent to.
type request struct {
	fn       func(*Tx) error
	critical bool
	err      error
	panicked any
	done     chan struct{}
}

var requests = sync.Pool{New: func() any { return &request{done: make(chan struct{}, 1)} }}

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
	err := db.submit(critical, func(tx *Tx) (err error) {
		result, err = fn(tx)
		return err
	})
	if err != nil {
		return zero, err
	}
	return result, nil
}

// View runs fn on the newest durable state. It waits for no writer, and no writer for it; but fn
// must be short and must not talk to a peer, since the file grows while it runs.
func View[T any](db *DB, fn func(tx *Tx) (T, error)) (T, error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a page that can't be read fails fn, not the process
	var result, zero T
	s, err := db.snapshot()
	if err != nil {
		return zero, err
	}
	defer s.close()
	tx := &Tx{Now: db.opt.Now().UTC(), db: db, under: s}
	defer tx.end()
	if err := tx.run(func(tx *Tx) (err error) {
		result, err = fn(tx)
		return err
	}); err != nil {
		return zero, err
	}
	return result, nil
}

// end makes who keeps the transaction and uses it find nothing.
func (tx *Tx) end() { tx.under = snapshot{} }

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
	return db.submit(true, func(*Tx) error { return nil })
}

func (db *DB) submit(critical bool, fn func(*Tx) error) error {
	db.closing.RLock()
	if db.closed {
		db.closing.RUnlock()
		return ErrStopped
	}
	r := requests.Get().(*request)
	r.critical, r.fn = critical, fn
	db.requests <- r
	db.closing.RUnlock()
	<-r.done
	err, panicked := r.err, r.panicked
	r.fn, r.err, r.panicked = nil, nil, nil
	requests.Put(r)
	if panicked != nil {
		panic(panicked)
	}
	return err
}

// write is the writer: it takes everything that waits and decides it together. While a group is made durable,
// it decides the next.
func (db *DB) write() {
	defer close(db.done)
	defer close(db.batches)
	defer db.awaitLog()
	debug.SetPanicOnFault(true)
	idle := time.NewTicker(db.opt.ApplyAfter)
	defer idle.Stop()
	group := make([]*request, 0, maxGroup)
	for {
		select {
		case r, ok := <-db.requests:
			if !ok {
				return
			}
			group = db.waiting(append(group[:0], r))
			db.serve(group)
			clear(group)
		case done := <-db.freezing:
			db.freeze()
			close(done)
		case <-idle.C:
			if len(db.state.Load().frozen) == 0 {
				db.freeze()
			}
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

// serve decides every request of group. Those for which there is no room are tried again when what is
// in memory lies in the file, which may need less than was reckoned.
func (db *DB) serve(group []*request) {
	for len(group) > 0 {
		pending := db.pending()
		refused, rest := db.commit(group)
		switch {
		case len(refused) == 0:
		case (pending > 0 || len(refused)+len(rest) < len(group)) && db.makeRoom() == nil:
			db.serve(refused)
		default:
			db.tell(refused)
		}
		group = rest
	}
}

// A batch is a group of requests that were decided one after the other, and the record that must be durable
// before they are told: it holds the changes of them all.
type batch struct {
	requests []*request
	record   record
	taken    int64  // transactions that changed something
	seq      uint64 // the number of the last one
}

// commit runs the requests one after the other, each seeing the changes of the ones before it, and hands them
// over to be made durable together. A change counts from the moment its record in the log is synced; until then
// only the writer's transactions see it, and those are told nothing before that. It returns the requests for which
// there is no room, and the rest, for which the record is long enough.
func (db *DB) commit(group []*request) (refused, rest []*request) {
	full := db.makeWay()
	if db.failure.Load() != nil {
		db.stopped(group)
		return nil, nil
	}
	room := db.Room() // before the snapshot: it looks into the file, too
	s, err := db.snapshot()
	if err != nil {
		db.awaitLog()
		setAll(group, fmt.Errorf("%w: %w", ErrStopped, err))
		db.tell(group)
		return nil, nil
	}
	defer s.close()
	s.at = 1<<64 - 1 // also what is not durable yet
	if db.log.rolls() {
		db.awaitLog()
	}
	if err := db.log.start(); err != nil {
		db.awaitLog()
		if setAll(group, db.refusal(err)); errors.Is(group[0].err, ErrNoRoom) {
			return group, nil
		}
		db.tell(group)
		return nil, nil
	}
	b := db.batch()
	t := &taker{db: db, table: s.state.active, room: room, full: full, seq: db.given}
	now := db.opt.Now().UTC()
	for i, r := range group {
		if t.bytes > maxRecordBytes {
			rest = group[i:]
			break
		}
		tx := &Tx{Now: now, db: db, under: s, writable: true, own: changeSet{few: db.spare.few[:0]}, memory: db.spare.memory, encoded: db.spare.encoded}
		noRoom := false
		if r.err = r.run(tx); r.err == nil && r.panicked == nil && !tx.own.empty() {
			r.err = t.take(r.critical, &tx.own)
			noRoom = errors.Is(r.err, ErrNoRoom)
		}
		if noRoom {
			refused = append(refused, r)
		} else {
			b.requests = append(b.requests, r)
		}
		db.spare.keep(tx)
		tx.end()
	}
	b.taken, b.seq, db.given = t.taken, t.seq, t.seq
	if db.failure.Load() == nil && !db.log.empty() {
		b.record = db.log.seal()
		t.table.end = db.log.at
	}
	if db.hand(b); db.failure.Load() != nil {
		db.stopped(refused)
		return nil, rest
	}
	if t.table.size.Load() >= db.opt.Overlay/2 || t.room.Low() { // it may be a deletion that makes room
		db.freeze()
	}
	return refused, rest
}

// batch returns an empty one.
func (db *DB) batch() *batch {
	if b := db.spareBatch; b != nil {
		db.spareBatch = nil
		return b
	}
	return new(batch)
}

// hand makes a batch durable after the one before it: at once if nobody waits, since to wake another goroutine
// takes its time; else while the writer goes on.
func (db *DB) hand(b *batch) {
	db.awaitLog()
	switch {
	case db.failure.Load() != nil: // of the log, or of the applier: of the batch nothing was written
		db.stopped(b.requests)
	case len(db.requests) == 0:
		db.finish(b)
		db.keep(b)
	default:
		db.inFlight = true
		db.batches <- b
	}
}

// awaitLog returns when all that the writer decided is durable, or failed. It is the writer's.
func (db *DB) awaitLog() {
	if db.inFlight {
		db.keep(<-db.finished)
		db.inFlight = false
	}
}

// keep takes a batch back, to be used again.
func (db *DB) keep(b *batch) {
	clear(b.requests)
	db.log.keep(b.record)
	*b = batch{requests: b.requests[:0]}
	db.spareBatch = b
}

// finishAll finishes what the writer hands over.
func (db *DB) finishAll() {
	for b := range db.batches {
		db.finish(b)
		db.finished <- b
	}
}

// finish makes a batch durable and tells its requests.
func (db *DB) finish(b *batch) {
	if len(b.record.data) > 0 {
		if err := db.log.write(b.record); err != nil {
			db.fail(err)
			db.unknown(b.requests)
		} else {
			db.visible.Store(b.seq)
			db.stats.commits.Add(1)
			db.stats.transactions.Add(b.taken)
			db.stats.commitSizes.observe(sizeBounds, b.taken)
		}
	}
	db.tell(b.requests)
}

// tell wakes those who wait for the requests.
func (db *DB) tell(group []*request) {
	for _, r := range group {
		r.done <- struct{}{}
	}
}

// stopped tells the requests that nothing is written any more.
func (db *DB) stopped(group []*request) {
	setAll(group, ErrStopped)
	db.tell(group)
}

// spare is memory that the writer's transactions use, one after the other.
type spare struct {
	few     []op
	memory  []byte // all of it
	encoded []byte
}

// keep takes back what a transaction used. Its changes have been copied by then.
func (s *spare) keep(tx *Tx) {
	if tx.own.many == nil && cap(tx.own.few) > 0 {
		clear(tx.own.few)
		s.few = tx.own.few
	}
	if s.memory == nil {
		s.memory = make([]byte, memoryPiece)
	}
	if cap(tx.encoded) <= maxFill { // else it was a large one
		s.encoded = tx.encoded
	}
}

func (r *request) run(tx *Tx) (err error) {
	defer func() { r.panicked = recover() }()
	return tx.run(r.fn)
}

// refusal is what callers are told when the log can't be written to.
func (db *DB) refusal(err error) error {
	switch {
	case errors.Is(err, ErrNoRoom), diskFull(err):
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	default:
		db.fail(err)
		return fmt.Errorf("%w: %w", ErrStopped, err)
	}
}

// A taker takes the changes of a group's transactions into the log and the table.
type taker struct {
	db    *DB
	table *table
	room  Room
	full  error  // why the tables, which are full, are not emptied
	bytes int64  // taken so far
	taken int64  // transactions
	seq   uint64 // the number of the last one
}

// take puts changes into the log's next record and, for the rest of the group, into the table. If it
// fails, nothing of them is in either.
func (t *taker) take(critical bool, c *changeSet) error {
	if t.full != nil {
		return fmt.Errorf("%w: %w", ErrNoRoom, t.full)
	}
	if err := t.room.allows(critical, t.bytes+c.bytes); err != nil {
		return err
	}
	if err := t.db.log.add(c); err != nil {
		return t.db.refusal(err)
	}
	t.bytes += c.bytes
	t.taken++
	t.seq = t.db.insert(t.table, c, t.seq)
	return nil
}

// fail ends all writing: what a commit or the applier did is not known. Opening the file again tells.
func (db *DB) fail(cause error) {
	unknown := fmt.Errorf("%w: %w", ErrUnknown, cause)
	if db.failure.CompareAndSwap(nil, &unknown) {
		close(db.failed)
		db.change(func(s state) state { return s }) // who waits for the applier
	}
}

// unknown sets the outcome of a group whose commit failed. Functions that failed changed nothing, but may
// have decided that on changes whose outcome is unknown.
func (db *DB) unknown(group []*request) {
	for _, r := range group {
		if r.err == nil {
			r.err = *db.failure.Load()
		} else {
			r.err = ErrStopped
		}
	}
}

func setAll(group []*request, err error) {
	for _, r := range group {
		r.err = err
	}
}
