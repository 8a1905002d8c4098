package kv

import (
	"cmp"
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A SteadyWriter lets the disk follow what is written to a file. Else the sync at its end would have much to do at once, and those
// of others, a database's log among them, would wait for it.
type SteadyWriter struct {
	Context context.Context // Write gives up when it ends
	File    *os.File
	Pace    int64 // bytes a second at most; 0 is any
	Forget  bool  // what is on the disk is taken out of memory

	began   time.Time
	written int64
	synced  int64
}

// steadyBytes is how much a SteadyWriter writes before it waits for the disk.
const steadyBytes = 1 << 20

// Write writes p.
func (w *SteadyWriter) Write(p []byte) (n int, err error) {
	if w.began.IsZero() {
		w.began = time.Now()
	}
	for len(p) > 0 && err == nil {
		var part int
		part, err = w.File.Write(p[:min(len(p), steadyBytes)])
		p = p[part:]
		n += part
		if w.written += int64(part); w.written-w.synced >= steadyBytes {
			err = cmp.Or(err, w.settle())
		}
	}
	return n, err
}

// settle waits for the disk, and then until the pace allows more.
func (w *SteadyWriter) settle() error {
	const flags = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	fd := int(w.File.Fd())
	_ = unix.SyncFileRange(fd, w.synced, w.written-w.synced, flags) // a hint
	if w.Forget {
		_ = unix.Fadvise(fd, w.synced, w.written-w.synced, unix.FADV_DONTNEED)
	}
	w.synced = w.written
	keepPace(w.Context, w.written, w.Pace, w.began)
	return w.Context.Err()
}

// keepPace waits until so many bytes, at pace bytes a second since began, are due, or ctx ends; a pace of 0 is any.
func keepPace(ctx context.Context, bytes, pace int64, began time.Time) {
	if pace <= 0 {
		return
	}
	due := time.Duration(float64(bytes) / float64(pace) * float64(time.Second))
	select {
	case <-ctx.Done():
	case <-time.After(due - time.Since(began)):
	}
}
