package kv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The machine stops at each step of a compaction: what is acknowledged is there, also what was written beside it, and the next
// start leaves no second file. Before the directory is synced, the name may lead to either file.
func TestCompactIsCutShort(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		step string
		lost bool // the rename
	}{{"copied", false}, {"synced", false}, {"renamed", false}, {"renamed", true}, {"exchanged", false}} {
		t.Run(fmt.Sprintf("%s, rename lost %v", tt.step, tt.lost), func(t *testing.T) {
			t.Parallel()
			path, image := tempPath(t), tempPath(t)
			old := filepath.Join(filepath.Dir(path), "old")
			var want model
			var db *DB
			db = openTest(t, path, Options{onCompact: func(step string) {
				if step == "copied" {
					want.note(t, db, "k", "beside it")
					if err := os.Link(path, old); err != nil {
						t.Error(err)
					}
				}
				if step != tt.step {
					return
				}
				want.note(t, db, "l", "at the step")
				from, temp := path, path+compactSuffix
				if tt.lost {
					from, temp = old, path
				}
				imageOf(t, from, temp, path+redoSuffix, image)
			}})
			want = hollow(t, db)
			compact(t, db)
			found := openTest(t, image, Options{})
			holds(t, "after it", found, want)
			checkClean(t, found)
			noStale(t, image)
			compact(t, found)
			holds(t, "compacted again", found, want)
		})
	}
}

// imageOf copies a file, another beside it if it is there, and a log.
func imageOf(t *testing.T, file, temp, log, to string) {
	t.Helper()
	for from, to := range map[string]string{file: to, temp: to + compactSuffix} {
		data, err := os.ReadFile(from)
		if errors.Is(err, os.ErrNotExist) && from == temp {
			continue
		}
		if err == nil {
			err = os.WriteFile(to, data, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if err := os.CopyFS(to+redoSuffix, os.DirFS(log)); err != nil {
		t.Error(err)
	}
}

// brokenNames is a disk on which a rename, or the sync of a directory, fails.
type brokenNames struct {
	osDisk
	renameErr, syncErr error
}

func (d *brokenNames) rename(from, to string) error {
	if d.renameErr != nil {
		return d.renameErr
	}
	return d.osDisk.rename(from, to)
}

func (d *brokenNames) syncDir(dir string) error {
	if d.syncErr != nil {
		return d.syncErr
	}
	return d.osDisk.syncDir(dir)
}

func TestCompactWithoutRename(t *testing.T) {
	t.Parallel()
	path, d := tempPath(t), &brokenNames{}
	db, err := open(path, Options{}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer checkAndClose(t, db)
	want := hollow(t, db)
	d.renameErr = unix.EIO
	if _, err := db.Compact(context.Background(), 0, nil); !errors.Is(err, unix.EIO) {
		t.Errorf("Compact = %v", err)
	}
	d.renameErr = nil
	noStale(t, path)
	want.note(t, db, "k", "goes on")
	compact(t, db)
	holds(t, "compacted at last", db, want)
}

// Whether the rename is durable is not known: nothing more is written, and either file is whole.
func TestCompactWithoutSync(t *testing.T) {
	t.Parallel()
	path, d := tempPath(t), &brokenNames{}
	db, err := open(path, Options{}, d)
	if err != nil {
		t.Fatal(err)
	}
	want := hollow(t, db)
	d.syncErr = unix.EIO
	if _, err := db.Compact(context.Background(), 0, nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("Compact = %v, want %v", err, ErrUnknown)
	}
	if err := try(db, func(tx *Tx) error { notes.Put(tx, []byte("k"), note{}); return nil }); !errors.Is(err, ErrStopped) {
		t.Errorf("a write after it: %v, want %v", err, ErrStopped)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	holds(t, "opened again", openTest(t, path, Options{}), want)
}

func TestCompactWithoutRoom(t *testing.T) {
	t.Parallel()
	path := tempPath(t)
	closeTest(t, openTest(t, path, Options{}))
	db, err := Open(path, Options{Reserve: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	defer checkAndClose(t, db)
	if _, err := db.Compact(context.Background(), 0, nil); !errors.Is(err, ErrNoRoom) {
		t.Errorf("Compact = %v, want %v", err, ErrNoRoom)
	}
	noStale(t, path)
}

func TestCompactGivesUp(t *testing.T) {
	t.Parallel()
	var db *DB
	var want model
	db = openTest(t, tempPath(t), Options{Overlay: 1 << 20, onCompact: func(step string) {
		for n := 0; step == "copied" && db.pending() < 900<<10; n++ {
			want.note(t, db, fmt.Sprint(n), long(10_000))
		}
	}})
	want = hollow(t, db)
	size := fileSize(t, db.path)
	if _, err := db.Compact(context.Background(), 0, nil); !errors.Is(err, ErrOverrun) {
		t.Errorf("Compact = %v, want %v", err, ErrOverrun)
	}
	noStale(t, db.path)
	settle(t, db)
	holds(t, "after it gave up", db, want)
	if now := fileSize(t, db.path); now < size {
		t.Errorf("the file has %d bytes, had %d", now, size)
	}
}

// A damaged file stays as it is.
func TestCompactDamaged(t *testing.T) {
	t.Parallel()
	path := tempPath(t)
	db := openTest(t, path, Options{})
	const text = "a text that nobody else has"
	put(t, db, text, "k")
	closeTest(t, db)
	data, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(data), text) {
		t.Fatalf("%v, or the text is not in the file", err)
	}
	spoiled := []byte(strings.ReplaceAll(string(data), text, "A"+text[1:]))
	if err := os.WriteFile(path, spoiled, 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	defer db.abandon()
	if _, err := db.Compact(context.Background(), 0, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("Compact = %v, want %v", err, ErrDamaged)
	}
	noStale(t, path)
}

// One at a time; a copy waits for a compaction, and a compaction does not begin beside a copy.
func TestCompactExcludes(t *testing.T) {
	t.Parallel()
	var db *DB
	copied := make(chan error, 1)
	target := tempPath(t)
	db = openTest(t, tempPath(t), Options{onCompact: func(step string) {
		if step != "copied" {
			return
		}
		if _, err := db.Compact(context.Background(), 0, nil); !errors.Is(err, ErrBusy) {
			t.Errorf("a second one: %v, want %v", err, ErrBusy)
		}
		go func() {
			r, err := db.CopyTo(t.Context(), target, 0)
			if err == nil {
				r.Close()
			}
			copied <- err
		}()
	}})
	want := hollow(t, db)
	compact(t, db)
	if err := <-copied; err != nil {
		t.Errorf("the copy: %v", err)
	}
	holds(t, "the copy", openTest(t, target, Options{}), want)
	db.copying.RLock()
	defer db.copying.RUnlock()
	if _, err := db.Compact(context.Background(), 0, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("during a copy: %v, want %v", err, ErrBusy)
	}
}

func TestCloseEndsACompaction(t *testing.T) {
	t.Parallel()
	var db *DB
	closed := make(chan error, 1)
	path := tempPath(t)
	db = openTest(t, path, Options{onCompact: func(step string) {
		if step != "copied" {
			return
		}
		go func() { closed <- db.Close() }()
		<-db.done
	}})
	want := hollow(t, db)
	if _, err := db.Compact(context.Background(), 0, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("Compact = %v, want %v", err, ErrStopped)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close = %v", err)
	}
	noStale(t, path)
	holds(t, "opened again", openTest(t, path, Options{}), want)
}

// A process that commits and compacts all the time is killed at random moments.
func TestKilledCompacting(t *testing.T) {
	t.Parallel()
	path := tempPath(t)
	last := make([]int64, writers)
	compactions := 0
	for round := range killRounds {
		p := startHelper(t, "compact", path)
		kill := time.AfterFunc(20*time.Millisecond+rand.N(300*time.Millisecond), func() { _ = p.cmd.Process.Kill() })
		for {
			line, err := p.output.ReadString('\n')
			if err != nil {
				break
			}
			var writer int
			var number int64
			switch _, err := fmt.Sscan(line, &writer, &number); {
			case line == "compacted\n":
				compactions++
			case err != nil:
				t.Fatalf("the process says %q", line)
			default:
				last[writer] = max(last[writer], number)
			}
		}
		kill.Stop()
		_ = p.cmd.Wait()
		db, err := Open(path, Options{})
		if err != nil {
			t.Fatalf("round %d: Open = %v", round, err)
		}
		noStale(t, path)
		checkClean(t, db)
		checkAcknowledged(t, db, last)
		db.abandon()
	}
	if compactions < killRounds/2 {
		t.Errorf("%d compactions in %d rounds; this test wants more", compactions, killRounds)
	}
	t.Logf("%d rounds, %d compactions", killRounds, compactions)
}

// helpCompact commits as helpCommit does, and compacts.
func helpCompact(path string) {
	db, err := Open(path, Options{Overlay: 2 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		os.Exit(1) // the parent died
	}()
	for w := range writers {
		go func() {
			for {
				n, err := Update(db, func(tx *Tx) (int64, error) { return writeNext(tx, w), nil })
				if err != nil {
					fmt.Println(err)
					return
				}
				_, _ = os.Stdout.Write(fmt.Appendf(nil, "%d %d\n", w, n))
			}
		}()
	}
	for {
		switch _, err := db.Compact(context.Background(), 0, nil); {
		case err == nil:
			_, _ = os.Stdout.WriteString("compacted\n")
		case !errors.Is(err, ErrOverrun):
			fmt.Println(err)
			return
		}
	}
}

// What is committed beside a compaction waits for its end in the overlay: moved into the old file it would be lost.
func TestApplierRestsBesideACompaction(t *testing.T) {
	t.Parallel()
	var db *DB
	var want model
	frozen := func() int { return len(db.state.Load().frozen) }
	db = openTest(t, tempPath(t), Options{onCompact: func(step string) {
		switch step {
		case "copied":
			want.note(t, db, "k", "beside it")
			done := make(chan struct{})
			db.freezing <- done
			<-done
			for deadline := time.Now().Add(200 * time.Millisecond); frozen() > 0 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond) // the time that the applier would need
			}
		case "exchanged":
			if frozen() != 1 {
				t.Errorf("%d tables wait for the applier, want 1", frozen())
			}
		}
	}})
	want = hollow(t, db)
	compact(t, db)
	holds(t, "after it", db, want)
	settle(t, db)
	holds(t, "settled", db, want)
}
