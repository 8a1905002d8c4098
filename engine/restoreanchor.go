package engine

import (
	"errors"
	"fmt"
	"strconv"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// A disagreement says in which way the log is not one that a checkpoint was made of.
type disagreement string

func (d disagreement) Error() string { return string(d) }

// RunsAhead tells by numbers alone whether a checkpoint is of more than the first size entries of a log that is in a restore epoch.
func RunsAhead(c *auditlog.Checkpoint, epoch, size uint64) bool {
	_, of, err := auditlog.ParseOrigin(c.Origin)
	return err != nil || of > epoch || of == epoch && c.Size > size
}

// judge tells whether the log begins with what a checkpoint is of; lost says that it need not: the end of that was lost when a
// backup was restored, which the log says. It fails with a [disagreement], or because the log can't be read.
func (s *auditState) judge(tx *kv.Tx, c *auditlog.Checkpoint) (lost bool, err error) {
	size := auditNodes.Len(tx)
	installation, epoch, err := auditlog.ParseOrigin(c.Origin)
	switch {
	case err != nil:
		return false, disagreement(err.Error())
	case installation != s.Installation:
		return false, disagreement(fmt.Sprintf("it is that of another installation, %q", installation))
	case epoch > s.Epoch:
		return false, disagreement(fmt.Sprintf("it is of restore epoch %d, and the log of %d", epoch, s.Epoch))
	case epoch < s.Epoch && c.Size > s.kept(epoch):
		return true, nil
	case RunsAhead(c, s.Epoch, size):
		return false, disagreement(fmt.Sprintf("the log has %d entries, and had %d: its end was cut off, or an older copy of the database was put in its place", size, c.Size))
	}
	root, err := auditlog.Root(c.Size, auditHashes{tx})
	if err == nil && root != c.Root {
		err = disagreement(fmt.Sprintf("the first %d entries are not those that the log had", c.Size))
	}
	return false, err
}

// newerCheckpoint tells whether a is of more than b: of a later restore epoch, or of more entries in the same one.
func newerCheckpoint(a, b *auditlog.Checkpoint) bool {
	_, epoch, err := auditlog.ParseOrigin(b.Origin)
	return err != nil || RunsAhead(a, epoch, b.Size)
}

// NewestAnchor reads the anchors at paths, in any of the forms of [Options.Anchors], and returns the newest checkpoint of an installation;
// nil if none has one. missing says in words which could not be had.
func NewestAnchor(paths []string, installation string) (newest *auditlog.Checkpoint, missing []string) {
	for _, path := range paths {
		signed, err := anchor(path).read(installation)
		if err == nil && signed == nil {
			err = errors.New("there is none")
		}
		var c auditlog.Checkpoint
		if err == nil {
			c, err = auditlog.UnsignedCheckpoint(signed)
		}
		if err == nil {
			var of string
			if of, _, err = auditlog.ParseOrigin(c.Origin); err == nil && of != installation {
				err = fmt.Errorf("it is that of another installation, %q", of)
			}
		}
		switch {
		case err != nil:
			missing = append(missing, fmt.Sprintf("the anchor %q: %v", path, err))
		case newest == nil || newerCheckpoint(&c, newest):
			newest = &c
		}
	}
	return newest, missing
}

// A Standing is how an anchor stands to the audit log of a backup.
type Standing struct {
	Anchor  *auditlog.Checkpoint // the newest that there is; nil if none can be reached
	Entries uint64               // that the log has
	Ahead   bool                 // the anchor has seen more, or another log
	// Proves says that no revocation is lost: the anchor is of the log, in its epoch, and what takes rights away is answered
	// after the anchors have it.
	Proves bool
}

// Whole tells that the anchor has seen all of the log, and nothing after it.
func (s *Standing) Whole() bool { return s.Proves && s.Anchor.Size == s.Entries }

// Compare opens the database that was unpacked at path, brings all of its log into the file, and tells how an anchor stands to its
// audit log; nil is none. rewind is why one that is ahead is accepted.
//
// Errors: [*RewindError] for one that is ahead without a reason; those of [kv.Open].
func Compare(path string, a *auditlog.Checkpoint, rewind string) (s Standing, err error) {
	db, err := kv.Open(path, kv.Options{Schema: Schema})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	s, err = kv.View(db, func(tx *kv.Tx) (Standing, error) {
		s := Standing{Anchor: a, Entries: auditNodes.Len(tx)}
		if a == nil {
			return s, nil
		}
		state, _ := auditStates.Get(tx, auditStateKey)
		lost, err := state.judge(tx, a)
		if differs := disagreement(""); errors.As(err, &differs) {
			s.Ahead, err = true, nil
		} else if err == nil && !lost {
			_, epoch, _ := auditlog.ParseOrigin(a.Origin) // judge has read it
			s.Proves = epoch == state.Epoch
		}
		return s, err
	})
	if err == nil && s.Ahead && rewind == "" {
		err = &RewindError{s.Entries, a.Size}
	}
	return s, err
}

// RewindError is returned by [Compare] for a log that an anchor is ahead of.
type RewindError struct{ Size, Anchored uint64 } // the numbers of entries

// Error says it.
func (e *RewindError) Error() string {
	if e.Anchored <= e.Size {
		return "the backup's audit log is not the one that an anchor has seen: that has " + strconv.FormatUint(e.Anchored, 10) + " entries which the backup's does not begin with"
	}
	return "the backup's audit log has " + strconv.FormatUint(e.Size, 10) + " entries, and an anchor has seen " + strconv.FormatUint(e.Anchored, 10) +
		": what was recorded after the backup would be lost"
}
