package kv

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const (
	// pageBytes is the same on every machine, so that files can move.
	pageBytes = 4096
	// growBytes is by how much the file grows at a time.
	growBytes = 1 << 20
	// lockWait is how long the process before this one has to let go of the file.
	lockWait = time.Second
)

// mapBytes is how much address space is mapped at once, so that a growing file never waits for its readers
// to end: as much as the machine gives. It is no memory.
var mapBytes = []int{1 << 40, 64 << 30, 0}

// openBolt opens an existing file, and tells how much address space it has. The file that it returns is
// closed by bbolt.
func openBolt(path string) (b *bolt.DB, file *os.File, mapped int64, err error) {
	for _, mapped := range mapBytes {
		b, file, err = openMapped(path, mapped)
		if !errors.Is(err, unix.ENOMEM) { // a machine may refuse to map so much
			return b, file, int64(mapped), err
		}
	}
	return b, file, 0, err
}

func openMapped(path string, mapped int) (b *bolt.DB, file *os.File, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			_ = unix.Flock(int(file.Fd()), unix.LOCK_UN) // the mapping, which stays, would hold it
			file.Close()
			err = damaged("%v", p)
		}
	}()
	opt := boltOptions(mapped)
	opt.OpenFile = func(path string, _ int, _ os.FileMode) (*os.File, error) {
		if file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			return nil, err
		}
		if err = lock(file); err == nil {
			err = inspect(file)
		}
		if err != nil {
			file.Close()
		}
		return file, err
	}
	b, err = bolt.Open(path, 0o600, opt)
	return b, file, err
}

func boltOptions(mapped int) *bolt.Options {
	return &bolt.Options{
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mapped,
		PageSize:        pageBytes,
		NoSync:          noSync,
	}
}

// lock takes the lock that bbolt will ask for again, so that nobody else changes what is inspected.
func lock(f *os.File) error {
	for start := time.Now(); ; time.Sleep(lockWait / 20) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("locking the file: %w", err)
		case time.Since(start) > lockWait:
			return fmt.Errorf("%w: stop the other process, or use another data directory", ErrLocked)
		}
	}
}
