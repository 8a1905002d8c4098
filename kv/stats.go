package kv

import (
	"os"
	"sync/atomic"
)

type stats struct {
	commits, transactions, applies atomic.Int64
}

// Stats are counted from the opening on.
type Stats struct {
	Commits      int64 // made durable in the redo log
	Transactions int64 // that changed something, committed in them
	FileBytes    int64 // in use, or free inside the file
	FreePages    int64 // of 4096 bytes, inside the file
	Applies      int64 // moves of what was committed from memory into the file
	OverlayBytes int64 // of memory: what is not in the file yet
	LogBytes     int64 // of the redo log
	Position     Position
}

// Stats returns what was counted so far.
func (db *DB) Stats() Stats {
	size, _ := db.fileBytes()
	return Stats{
		Commits:      db.stats.commits.Load(),
		Transactions: db.stats.transactions.Load(),
		FileBytes:    size,
		FreePages:    int64(db.bolt.Load().Stats().FreePageN),
		Applies:      db.stats.applies.Load(),
		OverlayBytes: db.pending(),
		LogBytes:     db.log.bytes(),
		Position:     Position(db.log.durable.Load()),
	}
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
