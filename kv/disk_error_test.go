package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A badStep is one step of the log that fails, once.
type badStep struct {
	n    int // of those of its kinds, from 0 on
	how  string
	disk *simDisk
	hit  *event
	at   int // in the journal
	seen int
}

// The ways in which a step can fail.
var badWays = map[string]struct {
	kinds []eventKind
	fault fault
}{
	"EIO, not done":       {[]eventKind{evMakeDir, evCreate, evRename, evRemove, evSyncDir, evWrite, evSync}, fault{err: unix.EIO}},
	"EIO, done":           {[]eventKind{evMakeDir, evCreate, evRename, evRemove, evSyncDir, evWrite, evSync}, fault{unix.EIO, true}},
	"ENOSPC":              {[]eventKind{evMakeDir, evCreate, evRename, evWrite}, fault{err: unix.ENOSPC}},
	"EIO of what is read": {[]eventKind{evRead}, fault{err: unix.EIO}},
}

func (b *badStep) fault(e event) fault {
	way := badWays[b.how]
	if !slices.Contains(way.kinds, e.kind) {
		return fault{}
	}
	b.seen++
	if b.seen-1 != b.n {
		return fault{}
	}
	b.hit, b.at = &e, len(b.disk.journal)
	f := way.fault
	f.err = &fs.PathError{Op: eventNames[e.kind], Path: e.name, Err: f.err}
	return f
}

// happened returns the step that failed, nil before that.
func (b *badStep) happened() *event {
	b.disk.mu.Lock()
	defer b.disk.mu.Unlock()
	return b.hit
}

// forRoom tells whether the step makes room for records: then nothing of one was written when it failed.
func (b *badStep) forRoom() bool {
	e := b.happened()
	return e.kind == evCreate || e.kind == evRename && !strings.Contains(e.to, sparePrefix) ||
		e.kind == evWrite && (e.offset == 0 || string(e.data) == string(zeros[:len(e.data)]))
}

// Each step of the log fails once. Whatever was acknowledged stays; what was refused did not happen; if
// the outcome isn't known, nothing more is written, and an opening finds either. And so it is after a
// power cut behind the failure.
func TestEveryStepFailsOnce(t *testing.T) {
	t.Parallel()
	for how := range badWays {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			start := blank(t)
			v := &verdict{}
			steps := 0
			for seed := range uint64(badSeeds) {
				for n := 0; ; n += badStride {
					b := &badStep{n: n, how: how}
					err := b.run(start, seed, v)
					if err != nil {
						v.violation(fmt.Sprintf("seed %d, step %d, %s of %v: %v", seed, n, how, b.hit, err))
					}
					if b.hit == nil || v.found() {
						break
					}
					steps++
				}
			}
			for _, what := range v.violations {
				t.Error(what)
			}
			t.Logf("%d steps failed, %d images", steps, v.images.Load())
		})
	}
}

// How many workloads there are, and which of the steps fail: more in crash_long_test.go, fewer with the race detector.
var badSeeds, badStride = 2, 1

// run is a short workload that meets the bad step.
func (b *badStep) run(start image, seed uint64, v *verdict) error {
	r := &crashRun{seed: seed, random: 1, nested: 1 << 30}
	m, err := start.boot()
	if err != nil {
		return err
	}
	defer m.file.Close()
	b.disk = m.disk
	m.disk.faults = b.fault
	w := r.workload(m, rand.New(rand.NewPCG(seed, 100)), &world{model{}, map[Tag]ID{}})
	w.faulty = true
	if err := w.reopenAfter(b, nil); err != nil {
		return err
	}
	defer w.end()
	for range 20 {
		before := b.happened()
		if err := w.turn(); err != nil || before != b.happened() {
			if err := w.reopenAfter(b, err); err != nil {
				return err
			}
		}
	}
	w.end()
	if b.hit != nil {
		r.from, r.sample = b.at, 10
		rng := rand.New(rand.NewPCG(seed, uint64(b.n)))
		r.images(rng, start, m.disk.steps(), func(im image) bool {
			r.verify(im, rng, v, 0)
			return true
		})
	}
	return nil
}

// reopenAfter looks at what the step made of the database that is open, and opens it again if it must.
func (w *workload) reopenAfter(b *badStep, err error) error {
	if err != nil && b.happened() == nil {
		return err
	}
	if w.db != nil {
		if err := w.outcome(b); err != nil {
			return err
		}
		if w.db.failure.Load() == nil && !w.db.closed {
			return nil
		}
		w.db.abandon()
	}
	if err := w.open(); err != nil {
		if b.happened() == nil {
			return fmt.Errorf("opening: %w", err)
		}
		if err := w.open(); err != nil {
			return fmt.Errorf("opening once more: %w", err)
		}
	}
	worlds := []*world{w.world}
	if w.perhaps != nil {
		worlds = append(worlds, w.perhaps)
	}
	if w.world, err = w.matches(worlds); err != nil {
		return fmt.Errorf("after opening again: %w", err)
	}
	w.perhaps = nil
	w.allow(w.world)
	return nil
}

// outcome looks whether the failing step left the database as it should.
func (w *workload) outcome(b *badStep) error {
	failed := w.db.failure.Load() != nil
	switch {
	case failed && errors.Is(*w.db.failure.Load(), unix.ENOSPC) && b.forRoom():
		return fmt.Errorf("there was no room, which ended all writing: %w", *w.db.failure.Load())
	case w.db.closed: // Close, or the opening after it
		return nil
	}
	if _, err := w.matches([]*world{w.world}); err != nil {
		return fmt.Errorf("a view after the failure: %w", err)
	}
	err := try(w.db, func(*Tx) error { return nil })
	if failed && !errors.Is(err, ErrStopped) || !failed && err != nil {
		return fmt.Errorf("a transaction after the failure, which ended all writing: %v, ended in %w", failed, err)
	}
	return nil
}

// A disk on which nothing can grow refuses what comes; what was acknowledged stays, and when there is room
// again all goes on.
func TestLogOnAFullDisk(t *testing.T) {
	t.Parallel()
	start := blank(t)
	refused := 0
	for seed := range uint64(20) {
		r := &crashRun{seed: seed, random: 1, nested: 1 << 30}
		m, err := start.boot()
		if err != nil {
			t.Fatal(err)
		}
		defer m.file.Close()
		w := r.workload(m, rand.New(rand.NewPCG(seed, 200)), &world{model{}, map[Tag]ID{}})
		w.faulty = true
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			m.setFull(i%20 >= 10)
			before := w.world
			if err := w.group(); err != nil {
				t.Fatalf("seed %d: a group ended in %v", seed, err)
			}
			if i%20 >= 10 && w.world.records.same(before.records) {
				refused++
			}
			if _, err := w.matches([]*world{w.world}); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		m.setFull(false)
		w.faulty = false // now none may be refused
		for range 5 {
			if err := w.group(); err != nil {
				t.Fatalf("seed %d: when there was room again, a group ended in %v", seed, err)
			}
		}
		closeTest(t, w.db)
	}
	if refused < 20 {
		t.Errorf("%d groups were refused, this test wants more", refused)
	}
}

// setFull lets every step fail that needs room.
func (m *simMachine) setFull(full bool) {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.disk.faults = nil
	if full {
		m.disk.faults = func(e event) fault {
			file := m.disk.names[e.name]
			if e.kind == evCreate || e.kind == evWrite && (file == nil || e.offset+int64(len(e.data)) > int64(len(file.data))) {
				return fault{err: &fs.PathError{Op: "write", Path: e.name, Err: unix.ENOSPC}}
			}
			return fault{}
		}
	}
}
