package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// The applier moves what the log made durable into the file, a table at a time, in bbolt transactions of
// bounded size, and then releases the log. It may be cut short anywhere: the next opening reads the log
// from the last applied position on, and what is applied twice is the same as once.

const (
	// defaultPartOps bounds how many changes one bbolt transaction takes, and so its memory, and how long it needs the
	// processor; up to nine times as many if the file has many free pages, since each transaction writes their list.
	defaultPartOps = 5_000
	// maxRest bounds how long the applier pauses between two of them.
	maxRest = 100 * time.Millisecond
	// retryAfter is when the applier tries again on a disk that was full.
	retryAfter = time.Second
)

// marks tell how much of the log the file holds.
var (
	marks    = Bucket[mark]{Path: system.Join("redo"), Codec: JSON[mark](1)}
	markKey  = []byte("mark")
	begunKey = []byte("begun") // where the table ends that is being moved in, in several parts
)

// A mark is what the file says of its log.
type mark struct {
	Log     uint64   `json:"log"`     // id
	Applied Position `json:"applied"` // the file holds all that was logged before
	Open    bool     `json:"open"`    // the log may hold more
}

// applyAll is the applier: it runs until the database is stopped.
func (db *DB) applyAll() {
	defer close(db.applierDone)
	debug.SetPanicOnFault(true)
	for {
		t := db.nextFrozen()
		if t == nil {
			return
		}
		if err := db.moveIn(t); err != nil {
			if !db.retry(err) {
				return
			}
			continue
		}
		if err := db.log.release(t.end, db.opt.KeepLog); err != nil && !diskFull(err) { // else at the next release
			db.fail(fmt.Errorf("releasing a part of the redo log: %w", err))
			return
		}
		db.applied(t)
	}
}

// nextFrozen waits for the oldest table that is to be applied. It returns nil when there is nothing to do any more.
func (db *DB) nextFrozen() *table {
	db.changing.Lock()
	defer db.changing.Unlock()
	for !db.stopping && db.failure.Load() == nil {
		if frozen := db.state.Load().frozen; len(frozen) > 0 {
			return frozen[len(frozen)-1]
		}
		db.changed.Wait()
	}
	return nil
}

// retry tells whether to apply again after an error. If the disk is full nothing was changed; after any
// other error nobody knows what is in the file, and it must be opened anew.
func (db *DB) retry(err error) bool {
	if !diskFull(err) {
		db.fail(fmt.Errorf("moving changes from the redo log into the file: %w", err))
		return false
	}
	db.stuck.Store(&err)
	db.change(func(s state) state { return s })
	select {
	case <-time.After(retryAfter):
	case <-db.stopApplier:
	}
	return true
}

// diskFull tells whether err is a write that was refused for want of room.
func diskFull(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return (errors.As(err, &path) && path.Op != "sync" || errors.As(err, &link)) &&
		(errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT))
}

// applied takes a table that lies in the file out of the state.
func (db *DB) applied(t *table) {
	db.stuck.Store(nil)
	db.stats.applies.Add(1)
	db.change(func(s state) state {
		s.frozen = slices.DeleteFunc(slices.Clone(s.frozen), func(f *table) bool { return f == t })
		return s
	})
}

// change replaces the state and wakes whoever waits for that.
func (db *DB) change(fn func(state) state) {
	db.changing.Lock()
	defer db.changing.Unlock()
	next := fn(*db.state.Load())
	db.state.Store(&next)
	db.changed.Broadcast()
}

// freeze gives the table that was added to over to the applier and begins another. It is the writer's.
func (db *DB) freeze() {
	db.awaitLog() // what goes into the file is durable
	if db.failure.Load() != nil {
		return
	}
	if db.state.Load().active.size.Load() == 0 {
		return
	}
	db.change(func(s state) state {
		s.frozen = append([]*table{s.active}, s.frozen...)
		s.active = newTable(s.active.number+1, db.given)
		return s
	})
}

// await waits until done holds, or the applier can't go on.
func (db *DB) await(done func(*state) bool) error {
	db.awaited.Add(1)
	defer db.awaited.Add(-1)
	db.changing.Lock()
	defer db.changing.Unlock()
	for !done(db.state.Load()) {
		if err := db.failure.Load(); err != nil {
			return *err
		}
		if err := db.stuck.Load(); err != nil {
			return *err
		}
		if db.stopping {
			return ErrStopped
		}
		db.changed.Wait()
	}
	return nil
}

// makeWay waits while the tables are full: the writer must not run away from the applier. It returns why
// they stay full.
func (db *DB) makeWay() error {
	return db.await(func(s *state) bool { return len(s.frozen) == 0 || s.bytes() < db.opt.Overlay })
}

func (s *state) bytes() (n int64) {
	for i := range s.depth() {
		n += s.table(i).size.Load()
	}
	return n
}

// pending is how much of what is in the tables is not in the file yet.
func (db *DB) pending() int64 { return db.state.Load().bytes() }

// writerSettles moves everything that is committed into the file. It is the writer's.
func (db *DB) writerSettles() error {
	db.freeze()
	return db.await(func(s *state) bool { return len(s.frozen) == 0 })
}

// makeRoom moves everything that is committed into the file and gives back what the log took of the disk.
func (db *DB) makeRoom() error {
	if err := db.stuck.Load(); err != nil {
		return *err // one more frozen table would not help
	}
	if err := db.writerSettles(); err != nil {
		return err
	}
	return db.log.shrink(db.opt.KeepLog)
}

// settle moves everything that was committed before into the file.
func (db *DB) settle() error {
	done := make(chan struct{})
	select {
	case db.freezing <- done:
		<-done
	case <-db.done:
	}
	return db.await(func(s *state) bool { return len(s.frozen) == 0 })
}

// moveIn writes a table into the file, with the mark in its last part.
func (db *DB) moveIn(t *table) error {
	var lists []*list
	t.all(func(l *list) { lists = append(lists, l) })
	slices.SortFunc(lists, func(a, b *list) int { return strings.Compare(string(a.home.path), string(b.home.path)) })
	most := db.opt.partOps + min(db.bolt.Load().Stats().FreePageN/8, 8*db.opt.partOps)
	all := len(lists)
	for first, last := true, false; !last; first = false {
		began := time.Now()
		if err := db.writePart(func(s *boltStore) (err error) {
			if first {
				err = dropAll(s, t)
			}
			for ops := 0; err == nil && len(lists) > 0 && ops < most; lists = lists[1:] {
				var n int
				n, err = writeList(s, t, lists[0])
				ops += n
			}
			if last = len(lists) == 0; err == nil && last {
				err = putMark(s, markKey, mark{db.log.id, t.end, true})
			} else if err == nil && first {
				err = putMark(s, begunKey, mark{db.log.id, t.end, true})
			}
			return err
		}); err != nil {
			return err
		}
		took := time.Since(began)
		db.stats.parts.observe(timeBounds, int64(took))
		if !last {
			db.rest(took, 1-float64(len(lists))/float64(all))
		}
	}
	return nil
}

// rest lets the applier pause for as long as it took for a part, so that those who answer requests never wait long
// for the processor or the disk: unless the writer fills the next table faster than the share of this one that is
// moved, or somebody waits for the table.
func (db *DB) rest(took time.Duration, moved float64) {
	filled := float64(db.state.Load().active.size.Load()) / float64(db.opt.Overlay/2)
	if moved <= 2*filled || db.awaited.Load() > 0 {
		return
	}
	select {
	case <-time.After(min(took, maxRest)):
	case <-db.stopApplier:
	}
}

// writePart runs fn in a bbolt transaction and commits it.
func (db *DB) writePart(fn func(*boltStore) error) (err error) {
	db.filing.Lock()
	defer db.filing.Unlock()
	b, err := db.beginPart()
	if err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil { // a damaged page
			_ = b.Rollback()
			err = damaged("%v", p)
		}
		err = errors.Join(err, db.showFile())
	}()
	if err := fn(newBoltStore(b, &db.homes, db.shown+1)); err != nil {
		_ = b.Rollback()
		return err
	}
	return db.opt.commitBolt(b)
}

// beginPart begins the transaction of a part. For that moment there is no version of the file, so that what
// the commit before it made free is used again; for longer where the file may outgrow what is mapped of it:
// bbolt maps anew when nobody reads.
func (db *DB) beginPart() (*bolt.Tx, error) {
	db.hideFile()
	file := db.bolt.Load()
	b, err := file.Begin(true)
	if err != nil {
		return nil, errors.Join(err, db.showFile())
	}
	if most := b.Size() + 4*(db.opt.Overlay+maxTransactionBytes); most < file.mapped {
		if err := db.showFile(); err != nil {
			return nil, errors.Join(err, b.Rollback())
		}
	}
	return b, nil
}

// dropAll drops the outermost of the dropped buckets: bbolt loses pages when a bucket goes after one
// inside it in the same transaction.
func dropAll(s *boltStore, t *table) error {
	dropped := map[Path]bool{}
	for _, d := range t.dropped() {
		dropped[d.path] = true
	}
	for path := range dropped {
		outer := path.outer()
		for outer != "" && !dropped[outer] {
			outer = outer.outer()
		}
		if outer != "" {
			continue
		}
		if err := s.drop(path); err != nil {
			return err
		}
	}
	return nil
}

func putMark(s *boltStore, key []byte, m mark) error {
	b, err := s.create(marks.Path)
	if err != nil {
		return err
	}
	data, err := marks.Codec.Encode(nil, m)
	if err != nil {
		return err
	}
	return b.Put(key, seal(key, marks.Codec.Version, data))
}

// How full a page is left when it is split: where a bucket grows at its end nothing comes in between later,
// and elsewhere most keys still come in a row.
const (
	fillAtEnd  = 1
	fillWithin = 0.9
)

// writeList writes a bucket's newest changes and returns how many they were.
func writeList(s *boltStore, t *table, l *list) (n int, err error) {
	path := l.home.path
	all := layer{t, l, 1<<32 - 1, t.droppedAt(path, 1<<32-1)}
	c := &layerCursor{layer: &all}
	p := c.first()
	if p.key == nil { // all of it was dropped
		return 0, nil
	}
	b, err := s.create(path)
	if err != nil {
		return 0, err
	}
	if l.home.packed {
		return writePacked(b, path, c)
	}
	last, _ := b.Cursor().Last()
	end := bytes.Clone(last)
	atEnd := 0
	for ; p.key != nil; p = c.next() {
		n++
		if bytes.Compare(p.key, end) > 0 {
			atEnd++
		}
		if p.value == nil {
			err = b.Delete(p.key)
		} else {
			err = b.Put(p.key, p.value)
		}
		if err != nil {
			return n, fmt.Errorf("writing to bucket %q: %w", path, err)
		}
	}
	if b.FillPercent = fillWithin; 2*atEnd >= n {
		b.FillPercent = fillAtEnd
	}
	return n, nil
}
