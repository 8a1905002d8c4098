package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// A compaction copies the file, bucket by bucket, into a new one that has no free pages, compares the two, and puts the new one
// in the place of the old one by renaming it. The applier rests meanwhile, so the file does not change; commits go on into the
// log and the overlay. The new file holds the same mark as the old one, so whichever of the two a crash leaves under the name,
// the log goes on where it ends.

// compactSuffix names the new file until it is renamed. Only the process that holds the old one's lock uses it.
const compactSuffix = ".compact"

// compactSlack is how much of the disk a compaction leaves beside the reserve.
const compactSlack = 16 << 20

// compactPart is how many bytes one transaction of a compaction takes, or a little more.
const compactPart = 1 << 20

// A Compaction is what a compaction made of the file.
type Compaction struct {
	Before, After int64 // bytes on the disk
	Took          time.Duration
}

// CompactNeeds returns how many bytes of the disk must be free for a compaction, and how many are.
func (db *DB) CompactNeeds() (needs, free int64) {
	size, unused := db.fileBytes()
	live := size - unused
	return live + live/64 + compactSlack + db.opt.Reserve, db.Room().Free
}

// Compact gives what is free inside the file back to the disk. Reads go on meanwhile, and writes until they fill three quarters
// of [Options.Overlay]: then it gives up, and nothing was changed. Only while the files are exchanged, for a rename and a sync,
// nothing is moved from the overlay; commits wait for it not even then.
//
// It copies and compares no more than pace bytes a second, unless the overlay fills faster than that would take; 0 is any.
//
// Progress, unless it is nil, is told how many of about how many bytes were copied and compared. It is called often.
//
// Errors: [ErrBusy], [ErrNoRoom], [ErrOverrun], [ErrStopped], [ErrDamaged] if the file is, that of ctx; with all of these nothing
// happened.
// [ErrUnknown] if nobody knows which file a power cut would leave; each of them is whole, and db takes no more writes.
func (db *DB) Compact(ctx context.Context, pace int64, progress func(done, total int64)) (c Compaction, err error) {
	if !db.copying.TryLock() {
		return c, ErrBusy
	}
	defer db.copying.Unlock()
	began := time.Now()
	if err := db.settle(); err != nil {
		return c, err
	}
	old, err := db.exchange(&compactor{ctx: ctx, db: db, pace: pace, lookedAt: began, progress: progress}, &c)
	if err != nil {
		return c, fmt.Errorf("compacting %q: %w", db.path, err)
	}
	if old != nil {
		err = old.Close() // when its last reader has ended
	}
	c.Took = time.Since(began)
	return c, err
}

// exchange puts a compacted file in the place of the one that is open, and returns that; nil if the new one would be no smaller.
func (db *DB) exchange(p *compactor, c *Compaction) (*storeFile, error) {
	db.filing.Lock()
	defer db.filing.Unlock()
	if db.over.Load() {
		return nil, ErrStopped
	}
	old, temp := db.bolt.Load(), db.path+compactSuffix
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if needs, free := db.CompactNeeds(); free < needs {
		return nil, fmt.Errorf("%w: it needs %d free bytes on the disk, of which %d are kept in reserve, and there are %d", ErrNoRoom, needs, db.opt.Reserve, free)
	}
	next, err := p.pack(old, temp)
	if err == nil {
		db.compactStep("synced")
		c.Before, c.After = onDisk(old.file), onDisk(next.file)
		if c.After >= c.Before {
			c.After = c.Before
			return nil, errors.Join(next.Close(), os.Remove(temp))
		}
		db.placing.Lock()
		defer db.placing.Unlock()
		if err = db.disk.rename(temp, db.path); err != nil {
			err = errors.Join(err, next.Close())
		}
	}
	if err != nil {
		_ = os.Remove(temp)
		if diskFull(err) {
			err = fmt.Errorf("%w: %w", ErrNoRoom, err)
		}
		return nil, err
	}
	db.compactStep("renamed")
	if err := db.disk.syncDir(filepath.Dir(db.path)); err != nil {
		db.fail(fmt.Errorf("exchanging the file for a compacted one: %w", err))
		_ = next.Close()
		return nil, *db.failure.Load()
	}
	db.homes.dropped.Store(db.shown + 1) // no bucket is where it was
	db.bolt.Store(next)
	if err := db.showFile(); err != nil {
		db.fail(fmt.Errorf("showing the compacted file: %w", err))
		_ = old.Close()
		return nil, *db.failure.Load()
	}
	db.compactStep("exchanged")
	return old, nil
}

func (db *DB) compactStep(step string) {
	if db.opt.onCompact != nil {
		db.opt.onCompact(step)
	}
}

func onDisk(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// A compactor makes a compacted file.
type compactor struct {
	ctx      context.Context // only as long as the one call
	db       *DB
	pace     int64 // bytes a second; 0: any
	progress func(done, total int64)
	done     int64 // bytes of keys and values that were copied or compared
	total    int64 // about
	looked   int64 // done when it last looked whether to go on
	lookedAt time.Time

	to    *bolt.DB
	tx    *bolt.Tx
	parts int   // transactions so far
	size  int64 // about how much this one takes
}

// pack copies what is in a file into a new one at path, and opens that when it is on the disk and holds the same.
func (p *compactor) pack(from *storeFile, path string) (next *storeFile, err error) {
	size, unused := p.db.fileBytes()
	p.total = 2 * (size - unused)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = damaged("%v", v)
		}
		if err != nil && next != nil {
			err = errors.Join(err, next.Close())
		}
	}()
	if err := withPages(from.file, checkTree); err != nil { // a wrong page could end the process
		return nil, err
	}
	tx, err := from.Begin(false)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() //nolint:errcheck // it only reads
	if err := p.fill(tx, path); err != nil {
		return nil, err
	}
	p.db.compactStep("copied")
	if err := syncFile(path); err != nil {
		return nil, err
	}
	if next, err = openBolt(path); err != nil {
		return nil, err
	}
	return next, p.compare(tx, next)
}

// fill makes the file at path.
func (p *compactor) fill(from *bolt.Tx, path string) (err error) {
	opt := boltOptions(0)
	opt.NoSync, opt.NoGrowSync = true, true // until all of it is there
	if p.to, err = bolt.Open(path, 0o600, opt); err != nil {
		return err
	}
	defer func() {
		if p.tx != nil {
			_ = p.tx.Rollback()
		}
		err = errors.Join(err, p.to.Close())
	}()
	if p.tx, err = p.to.Begin(true); err != nil {
		return err
	}
	if err := p.bucket(nil, from.Cursor().Bucket()); err != nil {
		return err
	}
	if err := p.commit(); err != nil {
		return err
	}
	return p.to.View(func(tx *bolt.Tx) error { // a page at the end that is free was perhaps never written
		if info, err := os.Stat(path); err != nil || info.Size() >= tx.Size() {
			return err
		}
		return os.Truncate(path, tx.Size())
	})
}

func (p *compactor) commit() error {
	tx := p.tx
	p.tx = nil
	return tx.Commit()
}

// at returns the bucket of this name in the new file.
func (p *compactor) at(names [][]byte, fill float64) *bolt.Bucket {
	b := p.tx.Cursor().Bucket()
	for _, name := range names {
		b = b.Bucket(name)
	}
	b.FillPercent = fill
	return b
}

// fillOf is how full the pages of a bucket's copy should be. A tenth is left where small records came in between others, so that
// the next ones do not split every page; not where they come at the end, nor for records that would not fit into that.
func fillOf(path Path, from *bolt.Bucket) float64 {
	if key, value := from.Cursor().First(); key == nil || value == nil || path.appendOnly() || path.packed() {
		return fillAtEnd
	}
	s := from.Stats()
	if s.LeafInuse > s.KeyN*pageBytes/10 || float64(s.LeafInuse) > fillWithin*float64(s.LeafAlloc) {
		return fillAtEnd
	}
	return fillWithin
}

// bucket copies what is in a bucket, in the order of its keys.
func (p *compactor) bucket(names [][]byte, from *bolt.Bucket) error {
	fill := fillOf(Path(bytes.Join(names, []byte("/"))), from)
	to, part := p.at(names, fill), p.parts
	c := from.Cursor()
	for key, value := c.First(); key != nil; key, value = c.Next() {
		if err := p.next(len(key) + len(value)); err != nil {
			return err
		}
		if part != p.parts {
			to, part = p.at(names, fill), p.parts
		}
		if value != nil {
			if err := to.Put(key, value); err != nil {
				return err
			}
			continue
		}
		inner, inside := from.Bucket(key), append(names[:len(names):len(names)], key)
		made, err := to.CreateBucket(key)
		if err == nil {
			err = made.SetSequence(inner.Sequence())
		}
		if err == nil {
			p.size += pageBytes
			err = p.bucket(inside, inner)
		}
		if err != nil {
			return err
		}
		if part == p.parts {
			continue
		}
		to, part = p.at(names, fill), p.parts
	}
	return nil
}

// next makes way for so many bytes more: it begins another transaction if this one is large.
func (p *compactor) next(bytes int) error {
	if p.size += int64(bytes); p.size > compactPart {
		if err := p.commit(); err != nil {
			return err
		}
		if f, err := os.OpenFile(p.to.Path(), os.O_RDWR, 0); err == nil { // so that no sync of the log waits for much of it
			_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
			f.Close()
		}
		tx, err := p.to.Begin(true)
		if err != nil {
			return err
		}
		p.tx, p.size = tx, 0
		p.parts++
	}
	return p.count(bytes)
}

// count tells of progress, and from time to time whether to go on.
func (p *compactor) count(bytes int) error {
	p.done += int64(bytes)
	since := p.done - p.looked
	if since < 1<<20 && p.looked > 0 {
		return nil
	}
	if p.progress != nil {
		p.progress(min(p.done, p.total), p.total)
	}
	p.rest(since)
	p.looked, p.lookedAt = p.done, time.Now()
	return errors.Join(p.ctx.Err(), p.db.mayCompact())
}

// rest waits until so many bytes may have been done since the last look. It does not when the overlay, of what it may fill meanwhile, has
// filled a larger part than was done of the work.
func (p *compactor) rest(bytes int64) {
	done, filled := float64(p.done)/float64(p.total), float64(p.db.pending())/float64(p.db.compactMost())
	if filled <= done {
		keepPace(p.ctx, bytes, p.pace, p.lookedAt)
	}
}

// compactMost is how many bytes of changes may wait in memory before a compaction gives up.
func (db *DB) compactMost() int64 { return db.opt.Overlay / 4 * 3 }

// mayCompact tells why a compaction must not go on.
func (db *DB) mayCompact() error {
	db.closing.RLock()
	closed := db.closed
	db.closing.RUnlock()
	if closed || db.failure.Load() != nil {
		return ErrStopped
	}
	room := db.Room()
	if room.Pending > db.compactMost() {
		return fmt.Errorf("%w: they fill three quarters of the overlay of %d bytes", ErrOverrun, db.opt.Overlay)
	}
	if room.Free < db.opt.Reserve+compactSlack/2 {
		return fmt.Errorf("%w: the disk has only %d free bytes left", ErrNoRoom, room.Free)
	}
	return nil
}
