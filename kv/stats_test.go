package kv

import (
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func total(counts []int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// TestCommitHistograms: every commit is in the histograms once, by what it took.
func TestCommitHistograms(t *testing.T) {
	t.Parallel()
	db := newTest(t)
	before := db.Stats()
	put(t, db, "x", "a")
	release := holdWriter(db)
	const together, nothing = 9, 4 // which change nothing, and don't count
	done := make(chan error, together)
	for i := range together {
		go func() {
			done <- try(db, func(tx *Tx) error {
				if i >= nothing {
					notes.Put(tx, number(i), note{N: 1})
				}
				return nil
			})
		}()
	}
	waitQueued(db, together)
	equal(t, "transactions that wait", db.Stats().Queued, int64(together))
	release()
	for range together {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if err := try(db, func(*Tx) error { return nil }); err != nil { // nothing is logged of it
		t.Fatal(err)
	}
	settle(t, db)
	after := db.Stats()
	sizes := slices.Clone(after.CommitSizes.Counts)
	for i := range sizes {
		sizes[i] -= before.CommitSizes.Counts[i]
	}
	if sizes[0] != 1 || sizes[3] != 1 || total(sizes) != 2 { // of 1, and of 5 to 8
		t.Errorf("commits by their transactions %v: %v", after.CommitSizes.Bounds, sizes)
	}
	equal(t, "the sum of the sizes", after.CommitSizes.Sum, after.Transactions)
	equal(t, "syncs", total(after.Syncs.Counts), after.Commits)
	if total(after.Parts.Counts) < after.Applies || after.Applies == 0 || after.Parts.Sum <= 0 {
		t.Errorf("%d moves took %v parts and %d ns", after.Applies, after.Parts.Counts, after.Parts.Sum)
	}
}

func TestHistogramBounds(t *testing.T) {
	var h histogram
	bounds := []int64{10, 20}
	for _, v := range []int64{0, 10, 11, 20, 21, 1000} {
		h.observe(bounds, v)
	}
	if got := h.read(bounds); !slices.Equal(got.Counts, []int64{2, 2, 2}) || got.Sum != 1062 {
		t.Errorf("0, 10, 11, 20, 21 and 1000 within 10 and 20: %+v", got)
	}
}

// TestOldestRead: what keeps pages from being used again is seen, and is gone when it ends.
func TestOldestRead(t *testing.T) {
	t.Parallel()
	db := newTest(t)
	put(t, db, "x", "a")
	settle(t, db)
	equal(t, "the age when nobody reads", db.Stats().OldestRead, time.Duration(0))
	began, end, ended := make(chan bool), make(chan bool), make(chan error, 1)
	go func() {
		_, err := View(db, func(*Tx) (int, error) {
			close(began)
			<-end
			return 0, nil
		})
		ended <- err
	}()
	<-began
	put(t, db, "y", "a")
	settle(t, db) // the view has the version before
	first := db.Stats().OldestRead
	put(t, db, "z", "a")
	settle(t, db)
	if now := db.Stats().OldestRead; first <= 0 || now <= first {
		t.Errorf("the age while a view runs: %v, and later %v", first, now)
	}
	close(end)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	equal(t, "the age after the view", db.Stats().OldestRead, time.Duration(0))
}

// TestCopyIsARead: a copy that is made slowly is a long read.
func TestCopyIsARead(t *testing.T) {
	t.Parallel()
	db := newTest(t)
	put(t, db, long(2*steadyBytes), "a")
	settle(t, db)
	copied := make(chan error, 1)
	go func() {
		r, err := db.CopyTo(t.Context(), filepath.Join(t.TempDir(), "copy"), 10*steadyBytes)
		if err == nil {
			r.Close()
		}
		copied <- err
	}()
	seen := false
	for {
		select {
		case err := <-copied:
			if err != nil || !seen {
				t.Errorf("%v; the copy was seen as a read: %v", err, seen)
			}
			equal(t, "the age after the copy", db.Stats().OldestRead, time.Duration(0))
			return
		default:
			seen = seen || db.Stats().OldestRead > 0
		}
	}
}
