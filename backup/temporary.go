package backup

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
)

const temporaryPrefix = ".put-"

// makeTemporary makes a file that is locked for as long as it is open, which tells it from one that is left over.
func makeTemporary(root *os.Root, dir string) (*os.File, string, error) {
	for {
		name := path.Join(dir, temporaryPrefix+randomID())
		f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, "", err
		}
		mine, err := lock(f, name, root.Lstat)
		if err != nil {
			return nil, "", errors.Join(err, f.Close(), root.Remove(name))
		}
		if mine {
			return f, name, nil
		}
		f.Close() // another call took it for one that is left over, and removes it
	}
}

// removeStale removes the temporary files in dir whose writers have died.
func removeStale(root *os.Root, dir string) error {
	entries, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), temporaryPrefix) || !e.Type().IsRegular() {
			continue
		}
		name := path.Join(dir, e.Name())
		f, err := root.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue // it is gone, or not ours
		}
		if mine, _ := lock(f, name, root.Lstat); mine {
			err = root.Remove(name)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
