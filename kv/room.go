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
}

// Low tells whether only critical transactions are still taken.
func (r Room) Low() bool { return r.left() < r.Reserve }

// floor is what even critical transactions leave: enough for one more commit of ordinary size.
const floor = 1 << 20

func (r Room) left() int64 {
	// Pages that are free inside the file are not counted as used, so they are room too.
	if r.MaxSize > 0 {
		return min(r.Free, r.MaxSize-growBytes-r.Used)
	}
	return r.Free
}

// allows tells whether changes that put so many bytes may be written. In a page that was split they
// take up to twice their size. What they rewrite of other pages is left to reserve and floor.
func (r Room) allows(critical bool, bytes int64) error {
	keep := r.Reserve
	if critical {
		keep = min(floor, r.Reserve)
	}
	if keep == 0 || r.left()-2*bytes >= keep {
		return nil
	}
	return fmt.Errorf("%w: %d bytes left, %d of them in reserve", ErrNoRoom, r.left(), r.Reserve)
}

// Room measures how much space is left.
func (db *DB) Room() Room {
	room := Room{MaxSize: db.opt.MaxSize, Reserve: db.opt.Reserve, Free: 1<<63 - 1}
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(db.path), &fs); err == nil {
		room.Free = int64(fs.Bavail) * fs.Frsize
	}
	if s := db.bolt.Stats(); room.MaxSize > 0 {
		room.Used = db.fileBytes() - int64(s.FreePageN+s.PendingPageN)*pageBytes
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
