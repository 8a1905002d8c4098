package keeper

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tuco/backup"
	"tuco/engine"
	"tuco/engine/auditlog"
)

// A RestorePlan says what a restore would do.
type RestorePlan struct {
	Installation string
	Epoch        uint64
	Full         backup.Entry // that it begins with
	Logs         int          // objects with changes after it
	Beyond       int          // and with still later ones that nothing leads to: an object before them is missing
	State        time.Time    // the moment that it leads to, as far as names and manifests tell
	Records      map[string]int64
	Entries      uint64               // of the backup's audit log, at least
	Exact        bool                 // that many and no more
	Anchor       *auditlog.Checkpoint // the newest that an anchor has; nil: none can be reached
	Missing      []string             // anchors that can't be reached, and why
	KeysLost     bool
	Bytes        int64 // to read

	source source
}

// An Outlook is what manifests tell of how the anchors stand to the backup, before anything of it is unpacked.
type Outlook int

const (
	NoAnchor   Outlook = iota // none can be reached
	Agrees                    // they have seen no more than the backup holds
	Ahead                     // they have seen more: a restore is refused without a reason
	MaybeAhead                // they have seen more than the manifests tell of for certain: unpacking shows it
	OfOldEpoch                // they are of a time before an earlier restore, and prove nothing of what came after that
)

// Anchors tells how the anchors stand to the backup.
func (p *RestorePlan) Anchors() Outlook {
	if p.Anchor == nil {
		return NoAnchor
	}
	_, epoch, err := auditlog.ParseOrigin(p.Anchor.Origin)
	switch {
	case err == nil && epoch < p.Epoch:
		return OfOldEpoch
	case !engine.RunsAhead(p.Anchor, p.Epoch, p.Entries):
		return Agrees
	case err == nil && epoch == p.Epoch && !p.Exact:
		return MaybeAhead
	}
	return Ahead
}

// A source is where a restore takes what from.
type source struct {
	data   backup.Plan // customer data
	newest backup.Plan // all else
	beyond int         // objects with later changes that nothing leads to
}

// choose finds what leads furthest, or what begins with a backup that is named.
func choose(c backup.Catalogue, installation, wanted string) (s source, err error) {
	var found []backup.Series
	for _, series := range c.Series {
		if installation == "" || series.Installation == installation {
			found = append(found, series)
		}
	}
	if len(found) == 0 {
		return s, fmt.Errorf("%w: there is no full backup in the target, or none of the installation", backup.ErrNotFound)
	}
	if found[0].Installation != found[len(found)-1].Installation {
		return s, fmt.Errorf("%w: the target holds backups of several installations, %s and %s among them: name one (--installation)", backup.ErrInvalid,
			found[0].Installation, found[len(found)-1].Installation)
	}
	if wanted != "" {
		for _, series := range found {
			for _, full := range series.Fulls {
				if full.String() == wanted || filepath.Base(full.String()) == wanted {
					s.newest = backup.Plan{Full: full}
					s.data = s.newest
					return s, nil
				}
			}
		}
		return s, fmt.Errorf("%w: there is no full backup %q in the target", backup.ErrNotFound, wanted)
	}
	for _, series := range slices.Backward(found) { // the newest epoch that has a full backup
		if s.newest, err = series.Newest(); err == nil {
			s.data, s.beyond = s.newest, len(series.Beyond(s.newest))
			return s, nil
		}
	}
	return s, err
}

// toMoment makes s lead to an earlier moment with its customer data.
func (s *source) toMoment(ctx context.Context, target backup.Target, c backup.Catalogue, at time.Time) error {
	manifest := func(n backup.Name) (m backup.Manifest, err error) {
		err = withObject(ctx, target, n.String(), func(r *backup.Reader) error { m = r.Manifest; return nil })
		return m, err
	}
	var err error
	for _, series := range slices.Backward(c.Series) {
		if series.Installation != s.newest.Full.Installation || len(series.Fulls) == 0 || series.Fulls[0].Time.After(at) {
			continue
		}
		if s.data, err = series.AtTime(at, manifest); err != nil {
			return err
		}
		return nil
	}
	return fmt.Errorf("%w: the oldest one is of a later time than %s", backup.ErrNotCovered, at.Format(time.RFC3339))
}

// PlanRestore says what a restore would do. It changes nothing.
func PlanRestore(ctx context.Context, opt RestoreOptions) (p RestorePlan, err error) {
	if _, err := os.Lstat(opt.Dir); err == nil {
		return p, fmt.Errorf("%w: %q: a backup is restored into a new directory only", backup.ErrExists, opt.Dir)
	}
	list, err := opt.Target.List(ctx, "")
	if err != nil {
		return p, err
	}
	catalogue := backup.NewCatalogue(list)
	if p.source, err = choose(catalogue, opt.Installation, opt.Backup); err != nil {
		return p, err
	}
	if !opt.To.IsZero() {
		if err := p.source.toMoment(ctx, opt.Target, catalogue, opt.To); err != nil {
			return p, err
		}
	}
	newest := p.source.newest
	p.Installation, p.Epoch, p.Full, p.Logs, p.KeysLost = newest.Full.Installation, newest.Full.Epoch, newest.Full, len(newest.Logs), opt.KeyFile == nil
	p.Beyond = p.source.beyond
	last := newest.Full
	p.Bytes = last.Size
	for _, e := range newest.Logs {
		last = e
		p.Bytes += e.Size
	}
	err = withObject(ctx, opt.Target, newest.Full.String(), func(r *backup.Reader) error {
		p.Records = r.Manifest.Records
		p.take(&r.Manifest)
		return nil
	})
	if err == nil && last != newest.Full {
		err = withObject(ctx, opt.Target, last.String(), func(r *backup.Reader) error { p.take(&r.Manifest); return nil })
	}
	if err != nil {
		return p, err
	}
	if !opt.To.IsZero() && opt.To.Before(p.State) {
		p.State = opt.To
	}
	p.Anchor, p.Missing = engine.NewestAnchor(opt.Anchors, p.Installation)
	return p, nil
}

// take notes what a manifest says. That of a log may leave out how many entries there are at its end, and then tells at most how
// many there are at least.
func (p *RestorePlan) take(m *backup.Manifest) {
	p.State = m.LastTime
	n, exact := m.Records[entriesRecord]
	if p.Exact = exact; exact {
		p.Entries = uint64(n)
	} else if c, err := auditlog.UnsignedCheckpoint([]byte(m.Checkpoint)); err == nil {
		p.Entries = c.Size
	}
}
