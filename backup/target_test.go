package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A world is a target with the way to take it away.
type world struct {
	target Target
	away   func()                        // afterwards nothing can reach it
	put    func(name string) (ok bool)   // a foreign object, of which the target knows nothing; false if there can be none
	exists func(name string) (here bool) // behind the target's back
}

func directoryWorld(t *testing.T) world {
	dir := filepath.Join(t.TempDir(), "backups")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return worldOf(t, must1(OpenTarget(dir))(t), dir, func() {
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
	})
}

func s3World(t *testing.T) world {
	s := startS3(t)
	return worldOf(t, s.target("/some/prefix"), filepath.Join(s.dir, "backups/some/prefix"), s.kill)
}

func worldOf(t *testing.T, target Target, dir string, away func()) world {
	return world{target, away, func(name string) bool {
		path := filepath.Join(dir, name)
		return os.MkdirAll(filepath.Dir(path), 0o755) == nil && os.WriteFile(path, []byte("foreign"), 0o644) == nil
	}, func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}}
}

func must1[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func randomContent(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func names(t testing.TB, target Target, prefix string) (names []string) {
	t.Helper()
	for _, s := range must1(target.List(t.Context(), prefix))(t) {
		names = append(names, s.Name)
	}
	return names
}

func get(t testing.TB, target Target, name string) []byte {
	t.Helper()
	r := must1(target.Get(t.Context(), name))(t)
	defer r.Close()
	return must1(io.ReadAll(r))(t)
}

// TestTargets: every kind of target does the same.
func TestTargets(t *testing.T) {
	for kind, newWorld := range map[string]func(*testing.T) world{"directory": directoryWorld, "s3": s3World} {
		t.Run(kind, func(t *testing.T) {
			for name, test := range map[string]func(*testing.T, world){
				"store": testStore, "list": testList, "names": testNames, "cut": testCut, "concurrent": testConcurrent, "away": testAway,
			} {
				t.Run(name, func(t *testing.T) { test(t, newWorld(t)) })
			}
		})
	}
}

// testStore: what is put comes back; a name keeps its content until it is deleted.
func testStore(t *testing.T, w world) {
	for _, n := range []int{0, 1, 100_000, 33<<20 + 1} { // the last one in parts
		name, content := fmt.Sprintf("a/b/size-%d.tuco", n), randomContent(n)
		if err := w.target.Put(t.Context(), name, bytes.NewReader(content)); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if got := get(t, w.target, name); !bytes.Equal(got, content) {
			t.Errorf("%d bytes came back as %d", n, len(got))
		}
		if list := must1(w.target.List(t.Context(), name))(t); len(list) != 1 || list[0] != (Stored{name, int64(n)}) {
			t.Errorf("listed as %v", list)
		}
		if err := w.target.Put(t.Context(), name, bytes.NewReader(content)); err != nil {
			t.Errorf("the same again: %v", err)
		}
		for _, other := range [][]byte{append(slices.Clone(content), 1), randomContent(n + 2)[2:]} {
			if bytes.Equal(other, content) {
				continue
			}
			if err := w.target.Put(t.Context(), name, bytes.NewReader(other)); !errors.Is(err, ErrExists) {
				t.Errorf("another content of %d bytes: %v", len(other), err)
			}
		}
		if got := get(t, w.target, name); !bytes.Equal(got, content) {
			t.Errorf("another content changed it")
		}
		for range 2 {
			if err := w.target.Delete(t.Context(), name); err != nil {
				t.Errorf("delete: %v", err)
			}
		}
		if _, err := w.target.Get(t.Context(), name); !errors.Is(err, ErrNotFound) {
			t.Errorf("deleted, but Get says %v", err)
		}
	}
}

// testList: names come in the order of their bytes; a prefix is one of the name's text; what isn't ours stays out of it, and stays.
func testList(t *testing.T, w world) {
	all := []string{"a-b/x", "a.b", "a/b", "a/b-c", "a/bc/d", "ab", "b"}
	for _, i := range rand.Perm(len(all)) {
		if err := w.target.Put(t.Context(), all[i], strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	if !w.put("lost+found/x") || !w.put(".hidden") || !w.put("a/.put-left/x") {
		t.Fatal("can't put foreign files")
	}
	for prefix, want := range map[string][]string{"": all, "a": all[:6], "a/": all[2:5], "a/b": all[2:5], "a/bc/": all[4:5], "c": nil, "a/b/c": nil} {
		if got := names(t, w.target, prefix); !slices.Equal(got, want) {
			t.Errorf("list %q: %q, want %q", prefix, got, want)
		}
	}
	for _, name := range all {
		if err := w.target.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if !w.exists("lost+found/x") || !w.exists(".hidden") {
		t.Error("a foreign file is gone")
	}
}

func testNames(t *testing.T, w world) {
	for _, name := range []string{"", "/", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".a", "a/.b", "a b", "ä", "a\x00", "a\nb", "-a", strings.Repeat("a", 513)} {
		_, getErr := w.target.Get(t.Context(), name)
		for method, err := range map[string]error{
			"Put": w.target.Put(t.Context(), name, strings.NewReader("x")), "Get": getErr, "Delete": w.target.Delete(t.Context(), name),
		} {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s %q: %v", method, name, err)
			}
		}
	}
}

// A failing content ends with an error behind some bytes.
type failing struct {
	*bytes.Reader
	after int64
	fail  func() error
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.after {
		if err := f.fail(); err != nil {
			return 0, err
		}
	}
	return f.Reader.ReadAt(p, off)
}

// testCut: a put that ends early leaves nothing to see.
func testCut(t *testing.T, w world) {
	broken := errors.New("the disk that it is read from broke")
	for _, n := range []int{1000, 40 << 20} {
		ctx, cancel := context.WithCancel(t.Context())
		content := randomContent(n)
		for what, tt := range map[string]struct {
			fail func() error
			want error
		}{
			"read error": {func() error { return broken }, broken},
			"canceled":   {func() error { cancel(); return nil }, context.Canceled},
		} {
			err := w.target.Put(ctx, "a/cut", failing{bytes.NewReader(content), int64(n) / 2, tt.fail})
			if !errors.Is(err, tt.want) && (what != "canceled" || err != nil) {
				t.Errorf("%d bytes, %s: %v", n, what, err)
			}
			if err == nil { // so small that it was all sent before
				if err := w.target.Delete(t.Context(), "a/cut"); err != nil {
					t.Error(err)
				}
			}
			if got := names(t, w.target, ""); len(got) > 0 {
				t.Errorf("%d bytes, %s: there is %q", n, what, got)
			}
			ctx, cancel = context.WithCancel(t.Context())
		}
		cancel()
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := w.target.Put(ctx, "a/whole", bytes.NewReader(randomContent(1<<20))); err != nil {
		t.Fatal(err)
	}
	r := must1(w.target.Get(ctx, "a/whole"))(t)
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("reading on after the context ended: %v", err)
	}
}

func testConcurrent(t *testing.T, w world) {
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			if err := w.target.Put(t.Context(), fmt.Sprintf("a/%02d", i), bytes.NewReader(randomContent(1000+i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := names(t, w.target, "a/"); len(got) != 16 {
		t.Errorf("there are %q", got)
	}
}

// testAway: a target that is away is an error each time: never an empty listing, never another place.
func testAway(t *testing.T, w world) {
	if err := w.target.Put(t.Context(), "a/b", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	w.away()
	_, getErr := w.target.Get(t.Context(), "a/b")
	_, listErr := w.target.List(t.Context(), "")
	for method, err := range map[string]error{
		"Put": w.target.Put(t.Context(), "a/c", strings.NewReader("x")), "Get": getErr, "List": listErr, "Delete": w.target.Delete(t.Context(), "a/b"),
	} {
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", method, err)
		}
	}
}
