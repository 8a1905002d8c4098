package bundle

import (
	"golang.org/x/mod/sumdb/tlog"

	"tuco/engine/auditlog"
)

// checkShape checks that a bundle has the files that its range asks for, and no others.
func checkShape(m *Manifest, c auditlog.Checkpoint) error {
	whole := m.Workspace == ""
	_, hasEdge := m.file(edgeFile)
	_, hasProof := m.file(rangeProofFile)
	switch {
	case m.Origin != c.Origin:
		return damaged(manifestFile, "its origin is not that of the checkpoint")
	case m.To > c.Size:
		return damaged(manifestFile, "its range ends at %d, behind the checkpoint of size %d", m.To, c.Size)
	case hasEdge != (whole && m.From > 0):
		return damaged(edgeFile, "it is there just if lines of the whole installation don't begin with the first")
	case hasProof != (whole && m.To < c.Size):
		return damaged(rangeProofFile, "it is there just if lines of the whole installation end before the checkpoint")
	}
	return nil
}

// checkRoot checks that the lines that led to tree are the first of the checkpoint.
func checkRoot(tree *auditlog.Range, c auditlog.Checkpoint, signed, rangeProof []byte) error {
	to := auditlog.Checkpoint{Origin: c.Origin, Size: tree.Size(), Root: tree.Root()}
	if to.Size == c.Size {
		if to.Root != c.Root {
			return damaged(linesFile, "the root of the lines is not that of the checkpoint: a line is not as it was")
		}
		return nil
	}
	size, hashes, err := readConsistency(rangeProofFile, rangeProof, signed)
	if err != nil {
		return err
	}
	if size != to.Size || auditlog.CheckConsistent(to, c, hashes) != nil {
		return damaged(rangeProofFile, "it does not lead from the lines to the checkpoint: one of the two is not as it was")
	}
	return nil
}

// An anchor is a checkpoint from outside that the log must continue.
type anchor struct {
	auditlog.Checkpoint
	given bool
	met   bool // it was compared
}

// pass compares the anchor with the tree of the lines so far, if it is of this size.
func (a *anchor) pass(tree *auditlog.Range, c auditlog.Checkpoint) error {
	if !a.given || a.Size != tree.Size() {
		return nil
	}
	same := auditlog.Checkpoint{Origin: c.Origin, Size: tree.Size(), Root: tree.Root()}
	return a.check(same, nil)
}

// check compares the anchor with a checkpoint to which hashes lead.
func (a *anchor) check(c auditlog.Checkpoint, hashes tlog.TreeProof) error {
	if err := auditlog.CheckConsistent(a.Checkpoint, c, hashes); err != nil {
		return damaged("", "the log does not continue the checkpoint given from outside: %v", err)
	}
	a.met = true
	return nil
}
