package backup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func openDir(t *testing.T, dir string) Target { return must1(OpenTarget(dir))(t) }

// TestDirectoryFull: too little room is found before anything is written, and when it runs out on the way. Where nothing may be written,
// the error says what may be the cause.
func TestDirectoryFull(t *testing.T) {
	content := randomContent(6 << 20)
	t.Run("before", func(t *testing.T) {
		dir := t.TempDir()
		if err := unix.Mount("none", dir, "tmpfs", 0, "size=4m"); err != nil {
			t.Skip("no tmpfs can be mounted: ", err)
		}
		t.Cleanup(func() { unix.Unmount(dir, 0) })
		target := openDir(t, dir)
		small := bytes.NewReader(content[:1<<20])
		if err := target.Put(t.Context(), "a/small", small); err != nil {
			t.Fatal(err)
		}
		if err := target.Put(t.Context(), "a/large", failing{bytes.NewReader(content), 0, func() error { return errors.New("it was read") }}); !errors.Is(err, ErrNoSpace) {
			t.Errorf("too large: %v", err)
		}
		filled := failing{bytes.NewReader(content[:2<<20]), 1 << 20, func() error { // somebody else is faster
			os.WriteFile(filepath.Join(dir, "other"), content[:2<<20], 0o600) // as much of it as there is room for
			return nil
		}}
		if err := target.Put(t.Context(), "a/late", filled); !errors.Is(err, ErrNoSpace) {
			t.Errorf("filled on the way: %v", err)
		}
		onlyFiles(t, filepath.Join(dir, "a"), "small")
	})
	t.Run("read-only", func(t *testing.T) {
		dir := t.TempDir()
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
			t.Skip("no tmpfs can be mounted: ", err)
		}
		t.Cleanup(func() { unix.Unmount(dir, 0) })
		err := openDir(t, dir).Put(t.Context(), "a/b", bytes.NewReader(content[:10]))
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "ReadWritePaths") {
			t.Errorf("Put = %v", err)
		}
	})
	t.Run("on the way", func(t *testing.T) {
		dir := t.TempDir()
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_FSIZE, &limit) })
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 2 << 20, Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
		target := openDir(t, dir)
		if err := target.Put(t.Context(), "a/large", bytes.NewReader(content)); !errors.Is(err, ErrNoSpace) {
			t.Errorf("no more may be written: %v", err)
		}
		onlyFiles(t, filepath.Join(dir, "a"))
		if _, err := Create(t.Context(), dir, fullManifest(), inputs(string(content)), Encryption{Plain: true}); !errors.Is(err, ErrNoSpace) {
			t.Errorf("Create: %v", err)
		}
		onlyFiles(t, dir, "a")
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		b := bytesOf(t, create(t, fullManifest(), Encryption{Plain: true}, inputs(string(content))...))
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 2 << 20, Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
		parent := t.TempDir()
		if err := unpackBytes(t, b, Keys{}, filepath.Join(parent, "new")); !errors.Is(err, ErrNoSpace) {
			t.Errorf("Unpack: %v", err)
		}
		mustBeEmpty(t, parent)
	})
}

// onlyFiles fails unless a directory has just these files.
func onlyFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("in %s: %q, %v, want %q", dir, got, err, want)
	}
}

// TestDirectoryStale: what a process left that died is removed by the next put, what is being written is not.
func TestDirectoryStale(t *testing.T) {
	dir := t.TempDir()
	target := openDir(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".put-dead", ".put-alive", ".other"} {
		if err := os.WriteFile(filepath.Join(dir, "a", name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	alive := must1(os.Open(filepath.Join(dir, "a", ".put-alive")))(t)
	defer alive.Close()
	if err := unix.Flock(int(alive.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := target.Put(t.Context(), "a/b", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	onlyFiles(t, filepath.Join(dir, "a"), ".other", ".put-alive", "b")
	if got := names(t, target, ""); len(got) != 1 {
		t.Errorf("listed %q", got)
	}
	if info, err := os.Stat(filepath.Join(dir, "a", "b")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestDirectoryKinds: what isn't an ordinary file is none of ours, and a link leads nowhere out of the target.
func TestDirectoryKinds(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	target := openDir(t, dir)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "d"), 0o700), unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
		os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600),
		os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")), os.Symlink(outside, filepath.Join(dir, "out"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d", "pipe", "link"} {
		if _, err := target.Get(t.Context(), name); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get %s: %v", name, err)
		}
	}
	if _, err := target.Get(t.Context(), "out/secret"); err == nil {
		t.Error("a link led out of the target")
	}
	if err := target.Put(t.Context(), "out/new", strings.NewReader("x")); err == nil {
		t.Error("Put followed a link out of the target")
	}
	if got := names(t, target, ""); len(got) > 0 {
		t.Errorf("listed %q", got)
	}
}
