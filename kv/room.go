package kv

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Room is how much space is left for data.
type Room struct {
	Used    int64 // bytes in the file that hold something
	MaxSize int64 // 0 is no limit
	Free    int64 // bytes free on the disk
	Reserve int64 // of both, kept for critical transactions
	Pending int64 // bytes that are in the redo log but not in the file yet
}

// Low tells whether only critical transactions are still taken, and perhaps very small ones.
func (r Room) Low() bool { return r.Reserve > 0 && r.left() < r.Reserve+2*small }

// Scarce tells whether less than half of the reserve is left, or of [scarce] if that is less.
func (r Room) Scarce() bool { return r.Reserve > 0 && r.left() < min(r.Reserve/2, scarce) }

// ForFiles is how many bytes other files beside the database may take of the disk. They leave a margin above the reserve, so that
// it is not they that end the writing.
func (r Room) ForFiles() int64 {
	if r.Reserve <= 0 {
		return r.Free
	}
	return r.Free - 2*r.Pending - r.Reserve - FilesMargin
}

// FilesMargin is what files beside the database leave of the disk above the reserve, in bytes.
const FilesMargin = 64 << 20

// scarce is as much as what must be possible on a full disk will ever need.
const scarce = 64 << 20

// small is how many bytes a transaction puts that is told from others by [Room.Low].
const small = 16 << 10

// floor is what even critical transactions leave: enough for one more commit of ordinary size.
const floor = 1 << 20

// gaps bounds how much of a file's largest size is kept for free pages that are too few in a row.
const gaps = 16 << 20

func (r Room) left() int64 {
	left := r.Free
	if r.MaxSize > 0 { // pages that are free inside the file are not counted as used, so they are room too
		left = min(left, r.MaxSize-growBytes-r.Used)
	}
	return left - 2*r.Pending
}

// allows tells whether changes that put so many bytes may be written. In a page that was split they
// take up to twice their size. What they rewrite of other pages is left to reserve and floor, and what
// only deletes to the log.
func (r Room) allows(critical bool, bytes int64) error {
	keep := r.Reserve
	if critical {
		keep = min(floor, r.Reserve)
	}
	if r.MaxSize > 0 { // large records leave gaps between them
		keep = max(keep, floor, min(r.MaxSize/8, gaps))
	}
	if keep == 0 || critical && bytes == 0 || r.left()-2*bytes >= keep {
		return nil
	}
	return fmt.Errorf("%w: %d bytes left, %d of them in reserve", ErrNoRoom, max(0, r.left()), r.Reserve)
}

// Room measures how much space is left.
func (db *DB) Room() Room {
	room := Room{MaxSize: db.opt.MaxSize, Reserve: db.opt.Reserve, Free: 1<<62 - 1, Pending: db.pending()}
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(db.path), &fs); err == nil {
		room.Free = int64(fs.Bavail) * fs.Frsize
	}
	if room.MaxSize > 0 {
		size, free := db.fileBytes()
		room.Used = size - free
	}
	return room
}

// checkFileSystem refuses network file systems: bbolt's lock and its memory map need a local one.
func checkFileSystem(dir string, allow bool) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("looking at %q: %w", dir, err)
	}
	name, network := map[int64]string{
		unix.NFS_SUPER_MAGIC:  "NFS",
		unix.SMB_SUPER_MAGIC:  "SMB",
		unix.CIFS_SUPER_MAGIC: "CIFS",
		unix.SMB2_SUPER_MAGIC: "SMB",
		unix.AFS_SUPER_MAGIC:  "AFS",
	}[fs.Type]
	if network && !allow {
		return fmt.Errorf("%w (%s): %q; use a local disk", ErrNetworkFS, name, dir)
	}
	return nil
}
