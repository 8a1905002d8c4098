package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// create makes the file at path unless it exists. A power cut during bbolt's own initialisation
// would leave an unusable file; so it is made under another name and renamed when it is on the disk.
func create(path string, opt Options) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if err := temp.Close(); err != nil {
		return err
	}
	if err := initialise(temp.Name(), opt); err != nil {
		return err
	}
	// If another process was faster, its file stays and ours goes.
	err = unix.Renameat2(unix.AT_FDCWD, temp.Name(), unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("renaming the new file: %w", err)
	}
	return SyncDir(filepath.Dir(path))
}

func initialise(path string, opt Options) error {
	b, err := bolt.Open(path, 0o600, boltOptions(0))
	if err != nil {
		return err
	}
	err = b.Update(func(tx *bolt.Tx) error {
		inner, err := newBoltStore(tx, new(homes), 0).create(headers.Path)
		if err != nil {
			return err
		}
		data, err := headers.Codec.Encode(nil, header{program, opt.Schema, opt.Now().UTC()})
		if err != nil {
			return err
		}
		return inner.Put(headerKey, seal(headerKey, headers.Codec.Version, data))
	})
	if err = errors.Join(err, b.Close()); err != nil {
		return err
	}
	return syncFile(path)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// SyncDir makes the names in a directory durable: after a file in it was made or renamed.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
