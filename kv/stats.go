package kv

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

type stats struct {
	commits, transactions, applies atomic.Int64
	commitSizes, parts             histogram
	reads                          reads
}

// The bounds of what is counted: transactions in a commit, and nanoseconds.
var (
	sizeBounds = []int64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048}
	timeBounds = nanoseconds(50*time.Microsecond, 100*time.Microsecond, 250*time.Microsecond, 500*time.Microsecond,
		time.Millisecond, 2500*time.Microsecond, 5*time.Millisecond, 10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond,
		100*time.Millisecond, 250*time.Millisecond, 500*time.Millisecond, time.Second, 2500*time.Millisecond, 10*time.Second)
)

func nanoseconds(all ...time.Duration) []int64 {
	bounds := make([]int64, len(all))
	for i, d := range all {
		bounds[i] = int64(d)
	}
	return bounds
}

// Stats are counted from the opening on.
type Stats struct {
	Commits      int64 // made durable in the redo log
	Transactions int64 // that changed something, committed in them
	Queued       int64 // transactions that wait for the writer now
	FileBytes    int64 // in use, or free inside the file
	FreePages    int64 // of 4096 bytes, inside the file
	MaxSize      int64 // of the file in bytes; 0 is no limit
	Applies      int64 // moves of what was committed from memory into the file
	OverlayBytes int64 // of memory: what is not in the file yet
	Overlay      int64 // bytes of it at which writers wait
	LogBytes     int64 // of the redo log
	Position     Position
	CommitSizes  Histogram     // transactions in a commit
	Syncs        Histogram     // nanoseconds that a sync of the redo log's data took
	Parts        Histogram     // nanoseconds that a part of a move into the file took
	OldestRead   time.Duration // for how long at least the longest read runs; see [reads]
}

// Stats returns what was counted so far. It waits for no writer.
func (db *DB) Stats() Stats {
	s := &db.stats
	size, _ := db.fileBytes()
	return Stats{
		Commits:      s.commits.Load(),
		Transactions: s.transactions.Load(),
		Queued:       int64(len(db.requests)),
		FileBytes:    size,
		FreePages:    int64(db.bolt.Load().Stats().FreePageN),
		MaxSize:      db.opt.MaxSize,
		Applies:      s.applies.Load(),
		OverlayBytes: db.pending(),
		Overlay:      db.opt.Overlay,
		LogBytes:     db.log.bytes(),
		Position:     Position(db.log.durable.Load()),
		CommitSizes:  s.commitSizes.read(sizeBounds),
		Syncs:        db.log.syncs.read(timeBounds),
		Parts:        s.parts.read(timeBounds),
		OldestRead:   s.reads.oldest(time.Now()),
	}
}

// reads are those that keep free pages of the file from being used again. A view does so from the moment on at which the
// file's next version came: what it cost to know when it began would fall on every view.
type reads struct {
	mu    sync.Mutex
	since map[any]time.Time // by version, or transaction of a copy
}

func (r *reads) begin(key any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since == nil {
		r.since = map[any]time.Time{}
	}
	r.since[key] = time.Now()
}

func (r *reads) end(key any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.since, key)
}

func (r *reads) oldest(now time.Time) (age time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, since := range r.since {
		age = max(age, now.Sub(since))
	}
	return age
}

// PageBytes is how large a page of the file is.
const PageBytes = pageBytes

// LogBytes is how much the redo log of a database that is not open takes.
func LogBytes(path string) (n int64) {
	entries, _ := os.ReadDir(path + redoSuffix)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}

// fileBytes is the file's size by its own count of pages, which is rounded up on the disk, and how much of that is free, or
// will be when the readers that are at work have ended.
func (db *DB) fileBytes() (size, free int64) {
	for {
		file := db.bolt.Load()
		tx, err := file.Begin(false)
		if err == nil {
			size = tx.Size()
			_ = tx.Rollback()
			s := file.Stats()
			return size, int64(s.FreePageN+s.PendingPageN) * pageBytes
		}
		if db.bolt.Load() == file { // else another has just taken its place
			return 0, 0
		}
	}
}
