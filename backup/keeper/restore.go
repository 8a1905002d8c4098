package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"tuco/backup"
	"tuco/engine"
	"tuco/engine/auditlog"
	"tuco/kv"
)

// RestoreOptions say what to restore, and what for.
type RestoreOptions struct {
	Target       backup.Target
	Keys         backup.Keys
	Dir          string      // the new data directory: it must not be there
	Installation string      // empty: the only one in the target
	Backup       string      // id or name of a full backup; empty: what leads furthest
	To           time.Time   // customer data as of then; zero: the newest
	Anchors      []string    // paths of anchors of the audit log; see [engine.NewestAnchor]
	Rewind       string      // why it is right that an anchor is ahead
	KeyFile      io.Reader   // the exported key files; nil: they are lost
	KeyFileKeys  backup.Keys // open it
	Progress     func(what string)
	Now          func() time.Time
}

// Restore puts a new data directory together and makes it fit to be served. Until it returns without error there is nothing
// at its path; what it left beside it, the next restore to the same path removes.
//
// Errors: those of a damaged, cut, foreign or newer backup; [*engine.RewindError] without a reason to rewind.
func Restore(ctx context.Context, opt RestoreOptions, p RestorePlan) (done engine.Restored, err error) {
	if opt.Progress == nil {
		opt.Progress = func(string) {}
	}
	dir := opt.Dir + ".restoring"
	release, err := workIn(dir)
	if err != nil {
		return done, err
	}
	defer release()
	if opt.KeyFile != nil { // before hours are spent on the rest
		if err := backup.ImportKeys(opt.KeyFile, opt.KeyFileKeys, filepath.Join(dir, "keys")); err != nil {
			return done, fmt.Errorf("the exported keys: %w", err)
		}
	}
	r := restorer{opt: opt, plan: p, dir: dir, unpacker: unpacker{target: opt.Target, keys: opt.Keys, progress: opt.Progress}}
	if done, err = r.run(ctx); err != nil {
		return done, err
	}
	if err := os.Rename(filepath.Join(dir, "new"), opt.Dir); err != nil {
		return done, err
	}
	return done, kv.SyncDir(filepath.Dir(opt.Dir))
}

// workIn makes a directory to work in, empties it of what a process left that died, and keeps others out of it.
func workIn(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	held, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		held.Close()
		return nil, fmt.Errorf("%w: another restore works in %q: wait until it is done", backup.ErrExists, dir)
	}
	left, err := os.ReadDir(dir)
	for _, e := range left {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	release = func() {
		os.RemoveAll(dir) //nolint:errcheck // the next restore does it
		held.Close()
	}
	if err != nil {
		release()
	}
	return release, err
}

type restorer struct {
	unpacker
	opt  RestoreOptions
	plan RestorePlan
	dir  string
}

func (r *restorer) run(ctx context.Context) (done engine.Restored, err error) {
	path := filepath.Join(r.dir, "new")
	newest, standing, err := r.settled(ctx, r.plan.source.newest, path, time.Time{}, r.plan.Anchor)
	if err != nil {
		return done, err
	}
	// That it was stopped says nothing of a later start, of which nothing was shipped. An anchor does: each start is an entry.
	complete := newest.closed && r.opt.To.IsZero() && standing.Whole()
	state := newest.newest.Time
	if !r.opt.To.IsZero() {
		earlier := filepath.Join(r.dir, "earlier")
		got, _, err := r.settled(ctx, r.plan.source.data, earlier, r.opt.To, nil)
		if err != nil {
			return done, err
		}
		r.progress("customer data of " + got.newest.Time.Format(time.RFC3339))
		if err := kv.GraftFrom(filepath.Join(earlier, engine.DatabaseName), filepath.Join(path, engine.DatabaseName), engine.RestoreChoice); err != nil {
			return done, err
		}
		path, state = earlier, got.newest.Time
	}
	if err := r.putKeys(path); err != nil {
		return done, err
	}
	r.progress("finishing")
	done, err = engine.FinishRestore(engine.Options{Dir: path, Now: r.opt.Now}, engine.Restore{
		Backup: r.plan.Full.String(), State: state, Newest: newest.newest.Time, Complete: complete,
		Standing: standing, Rewind: r.opt.Rewind, NewLog: r.plan.KeysLost,
	})
	if err == nil && filepath.Base(path) != "new" {
		err = errors.Join(os.RemoveAll(filepath.Join(r.dir, "new")), os.Rename(path, filepath.Join(r.dir, "new")))
	}
	return done, err
}

// settled unpacks a plan, moves all of its log into the file, and tells how an anchor stands to it.
func (r *restorer) settled(ctx context.Context, plan backup.Plan, dir string, until time.Time, a *auditlog.Checkpoint) (got unpacked, s engine.Standing, err error) {
	if got, err = r.unpack(ctx, plan, dir, until); err != nil {
		return got, s, err
	}
	r.progress("opening " + filepath.Base(dir))
	s, err = engine.Compare(filepath.Join(dir, engine.DatabaseName), a, r.opt.Rewind)
	return got, s, err
}

// putKeys brings the key files back. Where they are lost, what they protect goes, too.
func (r *restorer) putKeys(path string) error {
	if r.opt.KeyFile != nil {
		if err := os.Rename(filepath.Join(r.dir, "keys"), filepath.Join(path, "keys")); err != nil {
			return err
		}
		return kv.SyncDir(path)
	}
	empty := filepath.Join(r.dir, "empty.db")
	db, err := kv.Open(empty, kv.Options{Schema: engine.Schema})
	if err == nil {
		err = db.Close()
	}
	if err == nil {
		err = kv.GraftFrom(filepath.Join(path, engine.DatabaseName), empty, engine.WithoutKeysChoice)
	}
	return err
}
