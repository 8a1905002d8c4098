package kv

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

func TestViewDoesNotWaitForAWriter(t *testing.T) {
	db := newTest(t)
	put(t, db, "committed", "k")
	release := holdWriter(db)
	defer release()
	done := make(chan error, 1)
	go func() {
		got, err := View(db, func(tx *Tx) (note, error) { v, _ := notes.Get(tx, []byte("k")); return v, nil })
		if err == nil && got.Text != "committed" {
			err = fmt.Errorf("it saw %+v", got)
		}
		done <- err
	}()
	if err := within20s(done); err != nil {
		t.Errorf("a View while a writer is busy: %v", err)
	}
}

// A writer goes on while a view is open, however much the file grows; and the view sees its state.
func TestWriterDoesNotWaitForAView(t *testing.T) {
	t.Parallel()
	db := newTest(t)
	put(t, db, "old", "a", "b", "c")
	_, err := View(db, func(tx *Tx) (int, error) {
		for key, v := range notes.Scan(tx, Range{}) {
			done := make(chan error, 1)
			go func() {
				done <- try(db, func(tx *Tx) error {
					notes.Put(tx, key, note{Text: "new"})
					bucketAt("large").Put(tx, key, note{Text: long(5 << 20)})
					return nil
				})
			}()
			if err := within20s(done); err != nil {
				return 0, err
			}
			if v.Text != "old" {
				t.Errorf("the view saw %q at %q, want its own state", v.Text, key)
			}
		}
		return 0, nil
	})
	if err != nil {
		t.Errorf("a write while a View is open: %v", err)
	}
	equal(t, "afterwards", all(t, db, notes), map[string]note{"a": {Text: "new"}, "b": {Text: "new"}, "c": {Text: "new"}})
}

func TestScanWhileTheFileGrows(t *testing.T) {
	t.Parallel()
	db := newTest(t)
	const n = 2000
	do(t, db, func(tx *Tx) {
		for i := range n {
			notes.Put(tx, number(i), note{N: 1})
		}
	})
	writing := make(chan error, 1)
	go func() {
		var err error
		for round := int64(2); round < 30 && err == nil; round++ {
			err = try(db, func(tx *Tx) error {
				for i := range n {
					notes.Put(tx, number(i), note{long(int(round) * 20), round})
				}
				return nil
			})
		}
		writing <- err
	}()
	for {
		seen := look(t, db, func(tx *Tx) map[int64]int {
			seen := map[int64]int{}
			for _, v := range notes.Scan(tx, Range{}) {
				seen[v.N]++
			}
			return seen
		})
		if len(seen) != 1 {
			t.Fatalf("a view saw several states at once: %v", seen)
		}
		select {
		case err := <-writing:
			if err != nil {
				t.Errorf("Update = %v", err)
			}
			return
		default:
		}
	}
}

// A machine that refuses to map 64 GiB is none to refuse.
func TestLittleAddressSpace(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector needs much address space")
	}
	path := tempPath(t)
	p := startHelper(t, "map", path)
	if got := p.line(t); got != "grown" {
		t.Errorf("the process with little address space says: %s", got)
	}
	p.end(t)
	db := openTest(t, path, Options{})
	equal(t, "number of records", len(all(t, db, notes)), 20)
}

// helpMap grows a file with no more than 8 GiB of address space.
func helpMap(path string) {
	limit := unix.Rlimit{Cur: 8 << 30, Max: 8 << 30}
	if err := unix.Setrlimit(unix.RLIMIT_AS, &limit); err != nil {
		fmt.Println(err)
		return
	}
	db, err := Open(path, Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range 20 {
		if err := try(db, func(tx *Tx) error { notes.Put(tx, number(i), note{Text: long(2 << 20)}); return nil }); err != nil {
			fmt.Println(err)
			return
		}
	}
	if err := db.Close(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("grown")
}

func raceDetector() bool {
	info, err := buildinfo.ReadFile(os.Args[0])
	if err != nil {
		return true
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// Reads go on after the log has failed, also for who then waits for the version that a part is making.
func TestLogFailsWhileTheFileIsHidden(t *testing.T) {
	given := mapBytes
	mapBytes = []int{0} // then readers wait for each part
	defer func() { mapBytes = given }()
	inPart, goOn := make(chan struct{}), make(chan struct{})
	parts := 0
	db, err := Open(tempPath(t), Options{commitBolt: func(tx *bolt.Tx) error {
		if parts++; parts == 2 { // the first is the opening's
			close(inPart)
			<-goOn
		}
		return tx.Commit()
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	put(t, db, "x", "k")
	go func() { _ = db.settle() }()
	<-inPart
	db.fail(errDisk) // as when a sync of the log fails just now
	seen := make(chan error, 1)
	go func() {
		got, err := View(db, func(tx *Tx) (note, error) { v, _ := notes.Get(tx, []byte("k")); return v, nil })
		if err == nil && got.Text != "x" {
			err = fmt.Errorf("it saw %+v", got)
		}
		seen <- err
	}()
	for range 1000 {
		runtime.Gosched() // until it waits
	}
	close(goOn)
	if err := within20s(seen); err != nil {
		t.Errorf("a View that began in the part: %v", err)
	}
}

// If the file can't be mapped any more, nobody waits for its next version.
func TestFileIsLostWhileItIsHidden(t *testing.T) {
	given := mapBytes
	mapBytes = []int{0} // then readers wait for each part
	defer func() { mapBytes = given }()
	var db *DB
	inPart, lose := make(chan struct{}), make(chan struct{})
	first := true
	db, err := Open(tempPath(t), Options{commitBolt: func(tx *bolt.Tx) error {
		if first {
			first = false
			return tx.Commit()
		}
		close(inPart)
		<-lose
		_ = tx.Rollback()
		_ = db.bolt.Load().Close() // as good as without a mapping: no further transaction begins
		return errors.New("no address space")
	}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, "x", "k")
	go func() { _ = db.settle() }()
	<-inPart
	ended := make(chan error, 2)
	go func() {
		_, err := View(db, func(*Tx) (int, error) { return 0, nil })
		ended <- err
	}()
	go func() { ended <- try(db, func(tx *Tx) error { notes.Put(tx, []byte("k"), note{}); return nil }) }()
	close(lose)
	for range 2 {
		if err := <-ended; !errors.Is(err, ErrStopped) {
			t.Errorf("after that: %v, want %v", err, ErrStopped)
		}
	}
	_ = db.Close() // returns
}
