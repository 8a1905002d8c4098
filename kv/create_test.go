package kv

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestNewFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	db := openTest(t, path, Options{})
	put(t, db, "", "k")
	if mode := mustStat(t, path).Mode(); mode != 0o600 {
		t.Errorf("the new file has mode %v, want 0600", mode)
	}
	checkOnlyFile(t, dir, "db")
	if got := db.Path(); got != path {
		t.Errorf("Path() = %q, want %q", got, path)
	}
	h := look(t, db, func(tx *Tx) header { h, _ := headers.Get(tx, headerKey); return h })
	if h.Program != program || h.Schema != 1 || time.Since(h.Created) > time.Minute {
		t.Errorf("the new file's header is %+v", h)
	}
}

func mustStat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func checkOnlyFile(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == name+"-redo" && e.IsDir() })
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("the directory holds %v, %v, want only %s and its log", entries, err, name)
	}
}

func TestCreatingWhereItCannotBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent", "db")
	if db, err := Open(path, Options{}); err == nil {
		db.abandon()
		t.Errorf("Open(%q) worked without the directory", path)
	}
	if os.Getuid() == 0 {
		return // may write everywhere
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if db, err := Open(filepath.Join(dir, "db"), Options{}); err == nil {
		db.abandon()
		t.Errorf("Open worked in a directory that can't be written to")
	}
}

func TestSecondOpeningIsLocked(t *testing.T) {
	t.Parallel()
	db := newTest(t)
	start := time.Now()
	_, err := Open(db.Path(), Options{})
	if !errors.Is(err, ErrLocked) {
		t.Errorf("the second Open = %v, want %v", err, ErrLocked)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the second Open took %v, want about one second", took)
	}
	put(t, db, "", "the first goes on")
}

func TestOpeningWaitsForTheProcessBefore(t *testing.T) {
	path := tempPath(t)
	first := openTest(t, path, Options{})
	opened := make(chan error)
	go func() {
		db, err := Open(path, Options{})
		if err == nil {
			err = db.Close()
		}
		opened <- err
	}()
	closeTest(t, first)
	if err := <-opened; err != nil {
		t.Errorf("Open, while the process before lets go, = %v", err)
	}
}

func TestGoroutinesThatCreateAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	type result struct {
		db  *DB
		err error
	}
	results := make(chan result)
	for range 4 {
		go func() {
			db, err := Open(path, Options{})
			results <- result{db, err}
		}()
	}
	var opened []*DB
	for range 4 {
		r := <-results
		if r.err == nil {
			opened = append(opened, r.db)
		} else if !errors.Is(r.err, ErrLocked) {
			t.Errorf("Open = %v, want none or %v", r.err, ErrLocked)
		}
	}
	if len(opened) != 1 {
		t.Fatalf("%d of 4 goroutines opened the file, want 1", len(opened))
	}
	checkOnlyFile(t, dir, "db")
	put(t, opened[0], "", "k")
	checkAndClose(t, opened[0])
}

func TestProcessesThatCreateAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	var processes []*process
	for range 3 {
		processes = append(processes, startHelper(t, "open", path))
	}
	count := map[string]int{}
	for _, p := range processes {
		count[p.line(t)]++
	}
	equal(t, "what the processes say", count, map[string]int{"opened": 1, "locked": 2})
	checkOnlyFile(t, dir, "db")
	for _, p := range processes {
		p.end(t)
	}
	db := openTest(t, path, Options{})
	equal(t, "records", all(t, db, notes), map[string]note{"k": {}})
}

// helpOpen opens the file, says how that went, and holds it until its input ends.
func helpOpen(path string) {
	db, err := Open(path, Options{})
	switch {
	case errors.Is(err, ErrLocked):
		fmt.Println("locked")
		return
	case err != nil:
		fmt.Println(err)
		return
	}
	if err := try(db, func(tx *Tx) error { notes.Put(tx, []byte("k"), note{}); return nil }); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("opened")
	_, _ = io.Copy(io.Discard, os.Stdin)
	db.Close()
}

// A process is this test binary as a helper. It ends at the latest with its input.
type process struct {
	cmd    *exec.Cmd
	input  io.Closer
	output *bufio.Reader
}

func startHelper(t *testing.T, helper, path string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KV_TEST_HELPER="+helper, "KV_TEST_PATH="+path)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, input, bufio.NewReader(output)}
	t.Cleanup(func() { p.input.Close(); _ = p.cmd.Wait() })
	return p
}

// line returns the next line of output without its end.
func (p *process) line(t *testing.T) string {
	t.Helper()
	line, err := p.output.ReadString('\n')
	if err != nil {
		t.Fatalf("the helper's output ended: %v", err)
	}
	return line[:len(line)-1]
}

func (p *process) end(t *testing.T) {
	t.Helper()
	p.input.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the helper ended: %v", err)
	}
}
