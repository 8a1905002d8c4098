package kv

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"
)

// killRounds is more in kill_long_test.go.
var killRounds = 20

// A process that commits is killed at random moments: while it makes or opens the file, and between
// any two of its system calls. What it acknowledged is there. (This does not test the disk: what was
// written stays in the kernel's memory.)
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	path := tempPath(t)
	last := make([]int64, writers) // acknowledged, by writer
	acknowledged := 0
	for round := range killRounds {
		n := killOnce(t, path, last)
		acknowledged += n
		db, err := Open(path, Options{})
		if err != nil {
			t.Fatalf("round %d: Open = %v", round, err)
		}
		checkClean(t, db)
		checkAcknowledged(t, db, last)
		if round%2 == 0 {
			closeTest(t, db)
		} else {
			db.abandon()
		}
	}
	if acknowledged < killRounds {
		t.Errorf("%d writes were acknowledged in %d rounds; this test wants more", acknowledged, killRounds)
	}
	t.Logf("%d rounds, %d acknowledged writes", killRounds, acknowledged)
}

// killOnce starts the process, kills it, and keeps what it acknowledged in last.
func killOnce(t *testing.T, path string, last []int64) (n int) {
	t.Helper()
	p := startHelper(t, "commit", path)
	kill := func() { _ = p.cmd.Process.Kill() }
	after := 1 << 30 // acknowledgements
	if rand.IntN(2) == 0 {
		after = 1 + rand.IntN(400)
	} else {
		defer time.AfterFunc(rand.N(300*time.Millisecond), kill).Stop()
	}
	for {
		line, err := p.output.ReadString('\n')
		if err != nil {
			break
		}
		var writer int
		var number int64
		if _, err := fmt.Sscan(line, &writer, &number); err != nil {
			t.Fatalf("the process says %q", line)
		}
		last[writer] = max(last[writer], number)
		if n++; n == after {
			kill()
		}
	}
	kill()
	_ = p.cmd.Wait()
	return n
}

const writers = 8

// checkAcknowledged: each writer's records are numbered from 1 without a gap, up to the last one that
// was acknowledged or the one after it, and what was written together with them agrees.
func checkAcknowledged(t *testing.T, db *DB, last []int64) {
	t.Helper()
	look(t, db, func(tx *Tx) bool {
		var logged [writers]int64
		for i, line := range lines.Scan(tx, 0, lines.Len(tx)) {
			var w int
			var n int64
			if _, err := fmt.Sscan(string(line), &w, &n); err != nil || n != logged[w]+1 {
				t.Errorf("line %d is %q, %v; %d lines of that writer come before it", i, line, err, logged[w])
			}
			logged[w] = n
		}
		for w := range writers {
			var n int64
			for key, v := range bucketAt(writerPath(w)).Scan(tx, Range{}) {
				if n++; string(key) != string(number(int(n))) || v.N != n {
					t.Errorf("writer %d: record %d is %q: %+v", w, n, key, v)
				}
			}
			total, _ := bucketAt("totals").Get(tx, number(w))
			if n < last[w] || n > last[w]+1 || total.N != n || logged[w] != n {
				t.Errorf("writer %d: %d records, total %d, %d lines; %d were acknowledged", w, n, total.N, logged[w], last[w])
			}
			last[w] = n
		}
		return true
	})
}

func writerPath(w int) Path { return Path("writers").Join(fmt.Sprint(w)) }

// helpCommit commits numbered records from several goroutines and says each one that was acknowledged.
func helpCommit(path string) {
	db, err := Open(path, Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1) // the parent died
	}()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for {
				n, err := Update(db, func(tx *Tx) (int64, error) { return writeNext(tx, w), nil })
				if err != nil {
					fmt.Println(err)
					return
				}
				_, _ = os.Stdout.Write(fmt.Appendf(nil, "%d %d\n", w, n))
			}
		})
	}
	wg.Wait()
}

func writeNext(tx *Tx, w int) int64 {
	totals := bucketAt("totals")
	total, _ := totals.Get(tx, number(w))
	total.N++
	totals.Put(tx, number(w), total)
	lines.Append(tx, fmt.Appendf(nil, "%d %d", w, total.N))
	bucketAt(writerPath(w)).Put(tx, number(int(total.N)), note{long(int(total.N * 37 % 900)), total.N})
	return total.N
}

// A process that is killed while it makes the file leaves none, or one that works.
func TestProcessKilledWhileItCreatesTheFile(t *testing.T) {
	t.Parallel()
	for range killRounds / 2 {
		path := tempPath(t)
		p := startHelper(t, "open", path)
		time.AfterFunc(rand.N(60*time.Millisecond), func() { _ = p.cmd.Process.Kill() })
		_ = p.cmd.Wait()
		db := openTest(t, path, Options{})
		put(t, db, "works", "k")
		closeTest(t, db)
	}
}
