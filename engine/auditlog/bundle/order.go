package bundle

import (
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"tuco/engine/auditlog"
)

// An order checks that lines are those of a range of the log, or of one workspace in it, one after the other. It counts them
// in the manifest that it was made with.
type order struct {
	manifest *Manifest
	next     uint64 // the least seq of the next line
	first    auditlog.Hash
	last     auditlog.Hash // of the last line that has a body

	// of the whole installation
	chain *auditlog.Chain // nil after lines without a body
	tree  *auditlog.Range

	// of one workspace
	workspace  *auditlog.WorkspaceChain // nil before the first line
	missing    uint64                   // lines of the workspace that are no longer kept
	start      uint64                   // number of the first line in the workspace
	lastSeq    uint64                   // seq of the last line
	checkpoint auditlog.Checkpoint
}

// newOrder returns the order of an export whose counts are still zero.
//
// Errors: [auditlog.ErrMalformed] for the edge.
func newOrder(m *Manifest, edge []auditlog.Hash, c auditlog.Checkpoint) (*order, error) {
	o := &order{manifest: m, next: m.From, checkpoint: c}
	if m.Workspace != "" {
		return o, nil
	}
	var err error
	o.tree, err = auditlog.RangeFrom(m.From, edge)
	return o, err
}

// add takes the next line. For one workspace, proof are the hashes that lead from it to the root.
//
// Errors: [*DamageError].
func (o *order) add(r *record, proof tlog.RecordProof) error {
	if r.seq < o.next || r.seq >= o.manifest.To {
		return o.badLine(fmt.Sprintf("found number %d", r.seq))
	}
	var err error
	if o.manifest.Workspace == "" {
		err = o.addToLog(r)
	} else {
		err = o.addToWorkspace(r, proof)
	}
	if err != nil {
		return err
	}
	o.count(r)
	o.next = r.seq + 1
	return nil
}

func (o *order) addToLog(r *record) error {
	switch pruned := o.manifest.pruned(r.seq, r.seq+1) > 0; {
	case r.seq != o.next:
		return damagedAt(o.next, linesFile, "found number %d", r.seq)
	case pruned != r.dropped:
		return damagedAt(r.seq, linesFile, "a line is without a body just where the manifest names a pruned range")
	}
	o.tree.Append(r.leaf)
	if r.dropped {
		o.chain = nil
		return nil
	}
	if o.chain == nil {
		o.chain = auditlog.ChainFrom(r.seq)
	}
	return atLine(r.seq, o.chain.Add(&r.entry, r.line))
}

func (o *order) addToWorkspace(r *record, proof tlog.RecordProof) error {
	if r.dropped {
		return damagedAt(r.seq, linesFile, "a line of one workspace must have a body")
	}
	if err := o.followWorkspace(r); err != nil {
		return err
	}
	if err := atLine(r.seq, o.workspace.Add(&r.entry, r.line)); err != nil {
		return err
	}
	o.lastSeq = r.seq
	err := tlog.CheckRecord(proof, int64(o.checkpoint.Size), o.checkpoint.Root, int64(r.seq), r.leaf)
	if err != nil {
		return damagedAt(r.seq, proofsFile, "the proof does not lead from the line to the root of the checkpoint")
	}
	return nil
}

// followWorkspace lets the chain go on behind lines that are no longer kept.
func (o *order) followWorkspace(r *record) error {
	first := o.workspace == nil
	expected := uint64(0)
	if !first {
		expected = o.workspace.Head().Seq
	}
	number := r.entry.WsSeq
	switch pruned := o.manifest.pruned(o.next, r.seq); {
	case first && o.manifest.From > 0:
		o.start = number
	case number <= expected || number-expected > pruned:
		if first {
			o.workspace = auditlog.NewWorkspaceChain(o.manifest.Workspace)
		}
		return nil // the chain itself judges
	default:
		o.missing += number - expected
	}
	o.workspace = auditlog.WorkspaceChainFrom(o.manifest.Workspace, number)
	return nil
}

// atLine returns an error of a chain as damage of the line with seq.
func atLine(seq uint64, err error) error {
	var bad *auditlog.BadEntryError
	if errors.As(err, &bad) {
		return damagedAt(seq, linesFile, "%s", bad.Reason)
	}
	return err
}

// badLine returns that what should be the next line is none. Of one workspace, nobody knows the number of that.
func (o *order) badLine(reason string) error {
	if o.manifest.Workspace != "" {
		return damaged(linesFile, "after %d lines: %s", o.manifest.Entries, reason)
	}
	return damagedAt(o.next, linesFile, "%s", reason)
}

func (o *order) count(r *record) {
	if r.dropped {
		o.manifest.Dropped++
		return
	}
	if o.manifest.Entries++; o.manifest.Entries == 1 {
		o.first = r.line
	}
	o.last = r.line
}

// end checks that no line is missing at the end, and completes the manifest's counts. What of a workspace comes after its last
// line can't be told here.
func (o *order) end() error {
	if o.manifest.Workspace == "" && o.next != o.manifest.To {
		return damagedAt(o.next, linesFile, "the line is missing")
	}
	if o.manifest.Entries > 0 {
		o.manifest.FirstLine = hex.EncodeToString(o.first[:])
		o.manifest.LastLine = hex.EncodeToString(o.last[:])
	}
	return nil
}
