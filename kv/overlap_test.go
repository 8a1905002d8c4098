package kv

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// A heldDisk is the machine's; but while it holds, each sync of the log waits until it is told how to end.
type heldDisk struct {
	osDisk
	holds atomic.Bool
	syncs chan chan error
}

func (d *heldDisk) open(path string, create bool) (logFile, error) {
	f, err := d.osDisk.open(path, create)
	return heldFile{f, d}, err
}

type heldFile struct {
	logFile
	disk *heldDisk
}

func (f heldFile) sync() error {
	if f.disk.holds.Load() {
		end := make(chan error)
		f.disk.syncs <- end
		if err := <-end; err != nil {
			return err
		}
	}
	return f.logFile.sync()
}

// While a group is synced the next is decided on what it changed; but nobody is told anything that rests on the first
// before that is durable, and if it fails the second is not written.
func TestGroupsOverlap(t *testing.T) {
	refused := errors.New("refused")
	for _, test := range []struct {
		name                       string
		end                        error
		first, write, look, refuse error
	}{
		{name: "the sync is done", refuse: refused},
		{name: "the sync fails", end: errDisk, first: ErrUnknown, write: ErrStopped, look: ErrStopped, refuse: ErrStopped},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &heldDisk{syncs: make(chan chan error)}
			path := tempPath(t)
			db, err := open(path, Options{}, d)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			put(t, db, "old", "k")
			d.holds.Store(true)

			var ended atomic.Bool // the first sync
			var decided, told sync.WaitGroup
			submit := func(what string, want error, fn func(tx *Tx) error) {
				told.Go(func() {
					if err := try(db, fn); !errors.Is(err, want) {
						t.Errorf("%s ended in %v, want %v", what, err, want)
					}
					if !ended.Load() {
						t.Errorf("%s was told before the first group was durable", what)
					}
				})
			}
			runs := make(chan struct{})
			submit("the first", test.first, func(tx *Tx) error {
				notes.Put(tx, []byte("k"), note{Text: "new"})
				close(runs)
				waitQueued(db, 3)
				return nil
			})
			<-runs
			decided.Add(3)
			seen := func(tx *Tx) error {
				defer decided.Done()
				if n, _ := notes.Get(tx, []byte("k")); n.Text != "new" {
					return fmt.Errorf("the second group sees %q", n.Text)
				}
				return nil
			}
			submit("a write", test.write, func(tx *Tx) error { notes.Put(tx, []byte("l"), note{Text: "new"}); return seen(tx) })
			submit("a look", test.look, seen)
			submit("a refusal", test.refuse, func(tx *Tx) error { return errors.Join(seen(tx), refused) })

			end := <-d.syncs
			decided.Wait() // while the first sync lasts
			if got := all(t, db, notes)["k"]; got.Text != "old" {
				t.Errorf("a reader sees %q before it is durable", got.Text)
			}
			d.holds.Store(false)
			ended.Store(true)
			end <- test.end
			told.Wait()
			closeTest(t, db)
			db = openTest(t, path, Options{})
			_, written := all(t, db, notes)["l"]
			equal(t, "the second group is written", written, test.end == nil)
		})
	}
}
