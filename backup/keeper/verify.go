package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tuco/backup"
	"tuco/engine"
)

// Verify restores the newest backup with all that was shipped since into a scratch directory, and looks at every record of
// it. Without keys it compares the digests of every object instead.
func (k *Keeper) Verify(ctx context.Context) (Verification, error) {
	k.full.Lock()
	defer k.full.Unlock()
	v, err := k.verify(ctx)
	if errors.Is(err, context.Canceled) && k.ctx.Err() != nil {
		return v, err // the server stops: nothing was found out
	}
	if err == nil && len(v.Faults) > 0 {
		err = fmt.Errorf("%w: %s", backup.ErrDamaged, v.Faults[0])
	}
	s := k.state()
	known := s.Due
	s.Due = errors.Is(err, backup.ErrUnavailable) || errors.Is(err, backup.ErrNoSpace)
	switch {
	case err == nil:
		s.Verified, s.VerifiedAt, s.Error = v.Name, k.opt.Now().UTC(), ""
		k.opt.Log.Info().Str("name", v.Name).Dur("took", v.Took).Msg("backup verified")
	case s.Due:
		if s.Error = err.Error(); !known {
			k.opt.Log.Warn().Err(err).Msg("the newest backup could not be verified; it is tried again")
		}
	default:
		s.Error = err.Error()
		k.opt.Log.Error().Err(err).Msg("the newest backup can't be restored")
	}
	k.remember(s)
	k.note(func(st *Status) {
		st.VerifiedAt, st.VerifyError, st.VerifyDue = s.VerifiedAt, s.Error, s.Due
		if err != nil {
			st.VerifyFailures++
		}
	})
	return v, err
}

func (k *Keeper) verify(ctx context.Context) (v Verification, err error) {
	if err := room(k.opt); err != nil {
		return v, err
	}
	installation, _ := k.opt.Engine.Installation()
	return gently(func() (Verification, error) { return verify(ctx, k.opt, installation) })
}

// A Verification is what was found.
type Verification struct {
	Name    string      // of the object; of changes that no backup leads to, where they lie
	Kind    backup.Kind // Full, with what follows it; Log: changes that no backup leads to; Workspace
	Logs    int         // that continue the full one; of Kind Log: how many there are
	Depth   string      // DepthRecords, or less
	State   time.Time   // the newest moment that can be restored
	Records map[string]int64
	Entries uint64   // of the audit log
	Faults  []string // in words; none if all is well
	Gone    bool     // it was deleted while it was looked at
	Took    time.Duration
}

// What a verification looked at.
const (
	DepthRecords = "records" // everything was restored and read
	DepthFiles   = "files"   // unpacked and compared
	DepthDigests = "digests" // compared as it is stored
)

// verify is [Keeper.Verify] of the newest backup of one installation.
func verify(ctx context.Context, opt Options, installation string) (v Verification, err error) {
	list, err := opt.Target.List(ctx, "")
	if err != nil {
		return v, err
	}
	source, err := choose(backup.NewCatalogue(list), installation, "")
	if err != nil {
		return v, err
	}
	u := &unpacker{target: opt.Target, keys: opt.Keys, progress: func(string) {}, pace: opt.Pace}
	v, err = u.verify(ctx, source.newest, opt.Dir)
	if err == nil && v.Depth == DepthDigests && !opt.Keys.None() {
		err = fmt.Errorf("%s: %w: none of the keys that were given opens it", v.Name, backup.ErrKey)
	}
	return v, err
}

// verify puts together what plan names in a scratch directory inside dir, and looks at every record of it.
func (u *unpacker) verify(ctx context.Context, plan backup.Plan, dir string) (v Verification, err error) {
	began := time.Now()
	defer func() { v.Took = time.Since(began) }()
	v.Name, v.Kind, v.Logs, v.Depth = plan.Full.String(), backup.Full, len(plan.Logs), DepthRecords
	if dir, err = os.MkdirTemp(dir, tempPrefix); err != nil {
		return v, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the next start does it
	got, err := u.unpack(ctx, plan, filepath.Join(dir, "state"), time.Time{})
	if errors.Is(err, backup.ErrKey) {
		v.Depth = DepthDigests
		return v, u.checkDigests(ctx, plan)
	}
	if err != nil {
		return v, err
	}
	var checkpoint []byte // none if the log did not agree with an anchor when the backup was made
	if got.checkpoint != "" {
		checkpoint = []byte(got.checkpoint)
	}
	report, err := engine.CheckFile(filepath.Join(dir, "state", engine.DatabaseName), checkpoint)
	v.State, v.Records, v.Entries, v.Faults = got.newest.Time, report.Records, report.Entries, report.Faults
	for kind, n := range got.records {
		if err == nil && report.Records[kind] != n {
			v.Faults = append(v.Faults, fmt.Sprintf("it holds %d %s, and its manifest says %d", report.Records[kind], kind, n))
		}
	}
	return v, err
}

// checkDigests reads every object of a plan, and compares it with its manifest.
func (u *unpacker) checkDigests(ctx context.Context, plan backup.Plan) error {
	for _, e := range slices.Concat([]backup.Entry{plan.Full}, plan.Logs) {
		u.progress(e.String())
		if err := withObject(ctx, u.target, e.String(), func(r *backup.Reader) error { return r.Check(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// withObject opens an object, whose manifest must be of its name.
func withObject(ctx context.Context, target backup.Target, name string, fn func(*backup.Reader) error) error {
	in, err := target.Get(ctx, name)
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := backup.Open(in, engine.Schema)
	if err == nil && r.Manifest.ObjectName() != name {
		err = fmt.Errorf("%w: it is the object %q", backup.ErrDamaged, r.Manifest.ObjectName())
	}
	if err == nil {
		err = fn(r)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
