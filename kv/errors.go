package kv

import (
	"bytes"
	"errors"
	"fmt"
)

// What can go wrong, apart from what a transaction's own function returns.
var (
	// ErrUnknown: the commit failed after its first byte may have been written. Whether the changes
	// are durable is not known before the file is opened again; the database takes no more writes.
	ErrUnknown = errors.New("the outcome of the write is not known")
	// ErrStopped: the database takes no more writes, because it is closed or because an earlier
	// commit ended in ErrUnknown. Nothing of this transaction happened.
	ErrStopped = errors.New("the database takes no more writes")
	// ErrNoRoom: the file is at its largest size, or the disk's free space is down to the reserve.
	// Nothing of this transaction happened.
	ErrNoRoom = errors.New("no room left for data")
	// ErrDamaged: the file, or a record in it, is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrForeign: the file is not a database of this program.
	ErrForeign = errors.New("not a database of this program")
	// ErrNewer: the file was written by a newer version of this program.
	ErrNewer = errors.New("written by a newer version of this program")
	// ErrOlder: the file was written by an older version of this program, and no way was given to bring it up to date.
	ErrOlder = errors.New("written by an older version of this program")
	// ErrGone: the redo log doesn't hold the changes any more.
	ErrGone = errors.New("the redo log has no changes from so long ago")
	// ErrBusy: a copy of the file or a compaction is under way.
	ErrBusy = errors.New("a backup, a check or a compaction is under way")
	// ErrOverrun: what was written during a compaction filled most of the overlay before it was done. Nothing was changed.
	ErrOverrun = errors.New("writes came faster than the file could be compacted")
	// ErrLocked: another process holds the file.
	ErrLocked = errors.New("in use by another process")
	// ErrNetworkFS: the directory lies on a network file system, where locks can't be relied on.
	ErrNetworkFS = errors.New("on a network file system")
)

// A RecordError says which record is damaged. It matches [ErrDamaged].
type RecordError struct {
	Path Path
	Key  []byte
	Why  string
}

func recordError(path Path, key []byte, why string) error {
	return &RecordError{path, bytes.Clone(key), why}
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("record %x in bucket %q is damaged: %s", e.Key, string(e.Path), e.Why)
}

func (e *RecordError) Unwrap() error { return ErrDamaged }
