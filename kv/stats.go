package kv

import "sync/atomic"

type stats struct {
	commits, transactions atomic.Int64
}

func (s *stats) committed(group []*request) {
	s.commits.Add(1)
	for _, r := range group {
		if r.err == nil && r.panicked == nil {
			s.transactions.Add(1)
		}
	}
}

// Stats are counted from the opening on.
type Stats struct {
	Commits      int64 // made durable
	Transactions int64 // committed in them
	FileBytes    int64 // in use, or free inside the file
	FreePages    int64 // of 4096 bytes, inside the file
}

// Stats returns what was counted so far.
func (db *DB) Stats() Stats {
	return Stats{
		Commits:      db.stats.commits.Load(),
		Transactions: db.stats.transactions.Load(),
		FileBytes:    db.fileBytes(),
		FreePages:    int64(db.bolt.Stats().FreePageN),
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
