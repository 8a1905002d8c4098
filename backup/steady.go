package backup

import (
	"os"

	"golang.org/x/sys/unix"
)

// steadyBytes is how much a steady file takes before it waits for the disk.
const steadyBytes = 1 << 20

// A steady file lets the disk follow what is written: else the sync at its end would have much to do at once, and those of others,
// the database's log among them, would wait for it.
type steady struct {
	file    *os.File
	written int64
	synced  int64
}

func (s *steady) Write(p []byte) (n int, err error) {
	n, err = s.file.Write(p)
	if s.written += int64(n); s.written-s.synced >= steadyBytes {
		const flags = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
		_ = unix.SyncFileRange(int(s.file.Fd()), s.synced, s.written-s.synced, flags) // a hint
		s.synced = s.written
	}
	return n, err
}
