package kv

import "sync/atomic"

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
	return Stats{
		Commits:      db.stats.commits.Load(),
		Transactions: db.stats.transactions.Load(),
		FileBytes:    db.fileBytes(),
		FreePages:    int64(db.bolt.Stats().FreePageN),
		Applies:      db.stats.applies.Load(),
		OverlayBytes: db.pending(),
		LogBytes:     db.log.bytes(),
		Position:     Position(db.log.durable.Load()),
	}
}

// fileBytes is the file's size by its own count of pages; on the disk it is rounded up.
func (db *DB) fileBytes() int64 {
	tx, err := db.bolt.Begin(false)
	if err != nil {
		return 0
	}
	defer tx.Rollback()
	return tx.Size()
}
