package keeper

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tuco/backup"
	"tuco/engine"
	"tuco/kv"
)

// An unpacker puts databases together from a target.
type unpacker struct {
	target   backup.Target
	keys     backup.Keys
	progress func(what string)
	pace     int64 // bytes a second that are written at most; 0 is any
}

// unpacked is a database that was put together, as after a crash.
type unpacked struct {
	records    map[string]int64 // how many the manifest of the newest object tells of, of the kinds that it tells of
	newest     moment           // what it has
	closed     bool             // nothing came after
	checkpoint string           // the newest that was in the objects
}

// unpack puts together what plan names in dir, which is made: up to a moment, or all of it if that is zero.
func (u *unpacker) unpack(ctx context.Context, plan backup.Plan, dir string, until time.Time) (got unpacked, err error) {
	u.progress(plan.Full.String())
	err = withObject(ctx, u.target, plan.Full.String(), func(r *backup.Reader) error {
		m := &r.Manifest
		got.records, got.newest, got.checkpoint = m.Records, moment{Time: m.LastTime, At: m.To}, m.Checkpoint
		r.Pace = u.pace
		return r.Unpack(ctx, u.keys, dir)
	})
	if err != nil {
		return got, err
	}
	if err := moveSegments(dir); err != nil {
		return got, err
	}
	w, err := kv.ExtendLog(filepath.Join(dir, engine.DatabaseName))
	if err != nil {
		return got, err
	}
	for _, e := range plan.Logs {
		if err = u.extend(ctx, w, e, dir, until, &got); err != nil {
			break
		}
	}
	if closing := w.Close(); err == nil {
		err = closing
	}
	return got, err
}

func (u *unpacker) extend(ctx context.Context, w *kv.LogWriter, e backup.Entry, dir string, until time.Time, got *unpacked) error {
	u.progress(e.String())
	part := filepath.Join(dir, "log")
	defer os.RemoveAll(part) //nolint:errcheck // it is unpacked anew
	return withObject(ctx, u.target, e.String(), func(r *backup.Reader) error {
		if r.Manifest.To <= w.Position() && (until.IsZero() || !r.Manifest.LastTime.After(until)) {
			return nil // it is there already
		}
		r.Pace = u.pace
		if err := r.Unpack(ctx, u.keys, part); err != nil {
			return err
		}
		newest, closed, err := extend(w, part, until)
		if err != nil {
			return err
		}
		got.closed, got.records = closed, r.Manifest.Records
		if newest.At > got.newest.At {
			got.newest = newest
		}
		if until.IsZero() && r.Manifest.Checkpoint != "" {
			got.checkpoint = r.Manifest.Checkpoint
		}
		return nil
	})
}

// moveSegments puts the files of the log where the database looks for them.
func moveSegments(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, redoDir), 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".redo") {
			err = os.Rename(filepath.Join(dir, e.Name()), filepath.Join(dir, redoDir, e.Name()))
		} else if e.Name() != engine.DatabaseName {
			err = fmt.Errorf("%w: it holds a file %q", backup.ErrDamaged, e.Name())
		}
		if err != nil {
			return err
		}
	}
	return kv.SyncDir(filepath.Join(dir, redoDir))
}
