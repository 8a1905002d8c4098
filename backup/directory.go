package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tuco/kv"
)

// A directory is a target whose objects are files. An object is written under a temporary name, which begins with a dot, synced,
// and renamed.
type directory struct{ path string }

const spareBytes = 1 << 20 // are left free on the disk

func openDirectory(path string) (Target, error) {
	abs, err := filepath.Abs(path) // it stays the same if the process moves
	if err != nil {
		return nil, invalid("directory %q: %w", path, err)
	}
	return directory{abs}, nil
}

// open opens the directory itself, which is never made: if a disk isn't mounted, its backups would go elsewhere.
func (d directory) open() (*os.Root, error) {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return nil, fmt.Errorf("the backup directory %w: %w", ErrUnavailable, err)
	}
	return root, nil
}

// failed says what was done, and which kind of failure it is.
func (d directory) failed(doing, name string, err error) error {
	full := noSpace(err)
	switch {
	case err == nil:
		return nil
	case errors.Is(full, ErrNoSpace), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, ErrExists), errors.Is(err, ErrNotFound), errors.Is(err, ErrUnavailable):
		return fmt.Errorf("%s %s in %s: %w", doing, name, d.path, full)
	}
	if errors.Is(err, unix.EROFS) {
		err = fmt.Errorf("%w, or a unit that may not write to it: see ReadWritePaths in systemd.exec(5)", err)
	}
	return fmt.Errorf("%s %s in %s: %w: %w", doing, name, d.path, ErrUnavailable, err)
}

func (d directory) Put(ctx context.Context, name string, content Content) error {
	if err := checkName(name); err != nil {
		return err
	}
	return d.failed("storing", name, d.put(ctx, name, content))
}

func (d directory) put(ctx context.Context, name string, content Content) error {
	root, err := d.open()
	if err != nil {
		return err
	}
	defer root.Close()
	dir := path.Dir(name)
	if err := root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := removeStale(root, dir); err != nil {
		return err
	}
	switch there, err := openFile(root, name); {
	case err == nil:
		defer there.Close()
		equal, err := same(ctx, there, content)
		if err == nil && !equal {
			err = ErrExists
		}
		return cmp.Or(err, syncUp(root, dir)) // whoever wrote it may have died before that
	case !errors.Is(err, ErrNotFound):
		return err
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(d.path, &disk); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	if free := int64(disk.Bavail) * disk.Frsize; free < content.Size()+spareBytes {
		return fmt.Errorf("%w: %d bytes are free, it needs %d", ErrNoSpace, free, content.Size()+spareBytes)
	}
	f, temporary, err := makeTemporary(root, dir)
	if err != nil {
		return err
	}
	defer f.Close() // after the name is another or gone: it holds the lock
	n, err := io.Copy(&kv.SteadyWriter{Context: ctx, File: f}, reader{ctx, io.NewSectionReader(content, 0, content.Size())})
	if err == nil && n != content.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err = cmp.Or(err, f.Sync()); err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temporary))
	}
	return syncUp(root, dir)
}

// syncUp makes the names in dir durable, and those of the directories above it.
func syncUp(root *os.Root, dir string) error {
	for ; ; dir = path.Dir(dir) {
		f, err := root.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil || dir == "." {
			return err
		}
	}
}

// openFile opens an ordinary file. It doesn't wait for the other end of a pipe.
func openFile(root *os.Root, name string) (*os.File, error) {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return root.Open(name)
}

func (d directory) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	root, err := d.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := openFile(root, name)
	if err != nil {
		return nil, d.failed("opening", name, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{reader{ctx, f}, f}, nil
}

func (d directory) List(ctx context.Context, prefix string) ([]Stored, error) {
	root, err := d.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var all []Stored
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case name != "." && checkName(name) != nil: // lost+found, and what is temporary
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case err != nil:
			if errors.Is(err, fs.ErrNotExist) && name != "." {
				return nil // removed since
			}
			return err
		case e.IsDir() && name != "." && !overlaps(name+"/", prefix):
			return fs.SkipDir
		case !e.Type().IsRegular() || !strings.HasPrefix(name, prefix):
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			all = append(all, Stored{name, info.Size()})
		}
		return err
	})
	if err != nil {
		return nil, d.failed("listing", prefix, err)
	}
	slices.SortFunc(all, func(a, b Stored) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// overlaps reports whether names that begin with a may also begin with b.
func overlaps(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

func (d directory) Delete(ctx context.Context, name string) error {
	if err := cmp.Or(checkName(name), ctx.Err()); err != nil {
		return err
	}
	root, err := d.open()
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil
	}
	if err == nil {
		err = root.Remove(name)
	}
	return d.failed("deleting", name, cmp.Or(err, syncUp(root, path.Dir(name))))
}
