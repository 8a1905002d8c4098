package backup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tuco/kv"
)

// writeDir makes dir with what write puts into a directory beside it, which then takes dir's name. dir must not exist or be empty.
//
// Errors: [ErrExists], [ErrNoSpace], those of write.
func writeDir(dir string, write func(partial *os.Root) error) (err error) {
	dir = filepath.Clean(dir)
	if err := mustBeFree(dir); err != nil {
		return err
	}
	path := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".unpacking")
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	held, err := os.Open(path)
	if err != nil {
		return err
	}
	defer held.Close() // after everything: it holds the lock
	if mine, err := lock(held, path, os.Lstat); err != nil || !mine {
		return errors.Join(err, fmt.Errorf("%w: another process is writing %s", ErrExists, path))
	}
	defer func() {
		if err != nil {
			err = errors.Join(noSpace(err), os.RemoveAll(path))
		}
	}()
	partial, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer partial.Close()
	if err := empty(partial); err != nil {
		return err
	}
	if err := write(partial); err != nil {
		return err
	}
	if err := errors.Join(held.Sync(), mustBeFree(dir)); err != nil {
		return err
	}
	if err := os.Rename(path, dir); err != nil { // fails if something is in dir by now
		return err
	}
	path = dir // is removed again if its name may not last
	return kv.SyncDir(filepath.Dir(dir))
}

// mustBeFree refuses a directory with something in it, and anything else that has its name.
func mustBeFree(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.ENOTDIR), err == nil && len(entries) > 0:
		return fmt.Errorf("%s: %w", dir, ErrExists)
	}
	return err
}

// empty removes what a process left that died.
func empty(dir *os.Root) error {
	entries, err := fs.ReadDir(dir.FS(), ".")
	for _, e := range entries {
		err = errors.Join(err, dir.RemoveAll(e.Name()))
	}
	return err
}

// createIn makes a file that is durable when done has returned nil; its name is so when the directory was synced.
// No more than pace bytes a second are written; 0 is any.
func createIn(ctx context.Context, dir *os.Root, name string, pace int64) (w io.Writer, done func() error, err error) {
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, nil, err
	}
	return &kv.SteadyWriter{Context: ctx, File: f, Pace: pace}, func() error { return errors.Join(f.Sync(), f.Close()) }, nil
}

// lock takes the lock of a file that is about to be made or removed, unless another process has it, or path leads elsewhere by
// now. Closing f ends it, as does the end of the process.
func lock(f *os.File, path string, lstat func(string) (fs.FileInfo, error)) (mine bool, err error) {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, nil
		}
		return false, os.NewSyscallError("flock", err)
	}
	have, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(have, there), err
}

func randomID() string {
	id := make([]byte, 8)
	rand.Read(id) // never fails: the program ends instead
	return hex.EncodeToString(id)
}
