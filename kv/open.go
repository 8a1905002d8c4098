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

// A storeFile is an open file of bbolt's.
type storeFile struct {
	*bolt.DB
	file   *os.File // bbolt closes it
	mapped int64    // how many bytes of address space it has
}

// openBolt opens an existing file.
func openBolt(path string) (f *storeFile, err error) {
	for _, mapped := range mapBytes {
		f, err = openMapped(path, mapped)
		if !errors.Is(err, unix.ENOMEM) { // a machine may refuse to map so much
			return f, err
		}
	}
	return nil, err
}

func openMapped(path string, mapped int) (f *storeFile, err error) {
	var file *os.File
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
	b, err := bolt.Open(path, 0o600, opt)
	if err != nil {
		return nil, err
	}
	b.AllocSize = growBytes
	return &storeFile{b, file, int64(mapped)}, nil
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
