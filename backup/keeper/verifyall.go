package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"tuco/backup"
)

// VerifyOptions say what is verified, and how. Progress and Found may be nil.
type VerifyOptions struct {
	Target       backup.Target
	Keys         backup.Keys // without them only digests are compared
	Dir          string      // of the scratch copies, one at a time
	Installation string      // this one alone; all if empty
	// Progress is told what is being looked at, and how many bytes of the target were read of how many.
	Progress func(what string, done, total int64)
	// Found is told of each verification when it is done.
	Found func(Verification)
}

// VerifyAll verifies all in a target: each full backup with what was shipped from it to the next one, changes that no backup
// leads to, and exports of workspaces. A fault in one keeps it from none of the others; they are in the order of their names.
//
// Errors: [backup.ErrNotFound] if there is nothing, [backup.ErrNoSpace] in Dir, those of the context and of listing the target. What was
// found until then is returned, too.
func VerifyAll(ctx context.Context, opt VerifyOptions) (all []Verification, err error) {
	list, err := opt.Target.List(ctx, "")
	if err != nil {
		return nil, err
	}
	tasks := tasksOf(backup.NewCatalogue(list), opt.Installation)
	if len(tasks) == 0 {
		return nil, fmt.Errorf("%w: there is no backup in the target", backup.ErrNotFound)
	}
	r := &reading{Target: opt.Target}
	for _, t := range tasks {
		r.total += t.bytes()
	}
	u := &unpacker{target: r, keys: opt.Keys, progress: func(what string) { r.what = what }}
	if opt.Progress != nil {
		r.tell = opt.Progress
	}
	for _, t := range tasks {
		v, err := t.verify(ctx, u, opt.Dir)
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, backup.ErrNoSpace):
			return all, err
		case errors.Is(err, backup.ErrNotFound) && t.deleted(ctx, opt.Target):
			v.Gone = true
		default:
			v.Faults = append(v.Faults, err.Error())
		}
		if all = append(all, v); opt.Found != nil {
			opt.Found(v)
		}
	}
	return all, nil
}

// A task is what one line of the result is about.
type task struct {
	name   string
	verify func(ctx context.Context, u *unpacker, dir string) (Verification, error)
	reads  []backup.Stored
}

func (t *task) bytes() (n int64) {
	for _, o := range t.reads {
		n += o.Size
	}
	return n
}

// deleted tells whether an object was taken out of the target since it was listed, as retention does.
func (t *task) deleted(ctx context.Context, target backup.Target) bool {
	list, err := target.List(ctx, "")
	return err == nil && slices.ContainsFunc(t.reads, func(o backup.Stored) bool {
		return !slices.ContainsFunc(list, func(there backup.Stored) bool { return there.Name == o.Name })
	})
}

func tasksOf(c backup.Catalogue, installation string) (all []task) {
	mine := func(of string) bool { return installation == "" || installation == of }
	for _, s := range c.Series {
		if !mine(s.Installation) {
			continue
		}
		parts, rest := s.Parts()
		for _, p := range parts {
			all = append(all, task{p.Full.String(), func(ctx context.Context, u *unpacker, dir string) (Verification, error) { return u.verify(ctx, p, dir) },
				stored(append([]backup.Entry{p.Full}, p.Logs...))})
		}
		if len(rest) > 0 {
			name := path.Dir(rest[0].String()) + "/log-*"
			all = append(all, task{name, func(ctx context.Context, u *unpacker, _ string) (Verification, error) {
				return u.verifyRest(ctx, name, &s, rest)
			}, stored(rest)})
		}
	}
	for _, e := range c.Exports {
		if mine(e.Installation) {
			all = append(all, task{e.Name, func(ctx context.Context, u *unpacker, _ string) (Verification, error) { return u.verifyExport(ctx, e) },
				[]backup.Stored{{Name: e.Name, Size: e.Size}}})
		}
	}
	slices.SortStableFunc(all, func(a, b task) int { return cmp.Compare(a.name, b.name) })
	return all
}

func stored(all []backup.Entry) (list []backup.Stored) {
	for _, e := range all {
		list = append(list, backup.Stored{Name: e.String(), Size: e.Size})
	}
	return list
}

// verifyRest looks at changes that no backup leads to. That there are some is a fault only if they are the newest.
func (u *unpacker) verifyRest(ctx context.Context, name string, s *backup.Series, rest []backup.Entry) (v Verification, err error) {
	began := time.Now()
	v = Verification{Name: name, Kind: backup.Log, Logs: len(rest), Depth: DepthFiles}
	for _, e := range rest {
		if err := u.verifyObject(ctx, e.String(), &v); err != nil {
			if ctx.Err() != nil || errors.Is(err, backup.ErrNotFound) {
				return v, err
			}
			v.Faults = append(v.Faults, err.Error())
		}
	}
	newest := slices.MaxFunc(rest, func(a, b backup.Entry) int { return cmp.Compare(a.To, b.To) })
	switch plan, err := s.Newest(); {
	case err != nil:
		v.Faults = append(v.Faults, "no full backup leads to them: they can't be restored")
	case newest.To > plan.To():
		v.Faults = append(v.Faults, fmt.Sprintf("the changes between position %d and these are missing: what was done after it can't be restored; make a full backup", plan.To()))
	}
	v.Took = time.Since(began)
	return v, nil
}

func (u *unpacker) verifyExport(ctx context.Context, e backup.Export) (v Verification, err error) {
	began := time.Now()
	v = Verification{Name: e.Name, Kind: backup.Workspace, State: e.Time, Depth: DepthFiles}
	err = u.verifyObject(ctx, e.Name, &v)
	v.Took = time.Since(began)
	return v, err
}

// verifyObject unpacks an object to nowhere, or compares its digest if no key opens it.
func (u *unpacker) verifyObject(ctx context.Context, name string, v *Verification) error {
	u.progress(name)
	return withObject(ctx, u.target, name, func(r *backup.Reader) error {
		if r.Manifest.Kind == backup.Workspace {
			v.Records = r.Manifest.Records
		}
		err := r.Verify(ctx, u.keys)
		if errors.Is(err, backup.ErrKey) { // the digest was compared
			v.Depth, err = DepthDigests, nil
		}
		return err
	})
}

// reading is a target that tells how much was read of it.
type reading struct {
	backup.Target
	what        string
	done, total int64
	tell        func(what string, done, total int64)
}

// Get opens an object.
func (r *reading) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	in, err := r.Target.Get(ctx, name)
	if err != nil || r.tell == nil {
		return in, err
	}
	return &readingObject{in, r}, nil
}

type readingObject struct {
	io.ReadCloser
	of *reading
}

func (o *readingObject) Read(p []byte) (n int, err error) {
	n, err = o.ReadCloser.Read(p)
	o.of.done += int64(n)
	o.of.tell(o.of.what, min(o.of.done, o.of.total), o.of.total)
	return n, err
}
