package engine

import (
	"errors"
	"io"
	"iter"
	"time"

	"tuco/engine/auditlog"
	"tuco/engine/auditlog/bundle"
	"tuco/kv"
)

// An AuditRange says what of the audit log to export. Zero is all.
type AuditRange struct {
	Workspace WorkspaceID // its entries alone, from the first on
	From, To  time.Time   // entries from the first that is not before From, to the first that is not before To
	Earlier   []byte      // a signed checkpoint of before; the bundle proves that the log continues it
}

// auditChunk is how many lines are read at a time: a long export must not keep the file from being used again.
const auditChunk = 1000

// export writes a bundle. That it was made is itself an entry, the last one of a bundle that has no end: so a workspace's
// bundle proves that nothing of its part is missing up to there.
func (e *Engine) export(w io.Writer, version string, r AuditRange, by exporter) (bundle.Manifest, error) {
	e.audit.exporting.RLock() // no body is dropped between the manifest and the lines
	defer e.audit.exporting.RUnlock()
	x, err := e.auditExport(version, r, by)
	if err != nil {
		return bundle.Manifest{}, exportError(err)
	}
	m, err := bundle.Write(&roomWriter{e: e, w: w}, x)
	return m, exportError(err)
}

func (e *Engine) auditExport(version string, r AuditRange, by exporter) (*bundle.Export, error) {
	if err := e.checkAuditRange(r); err != nil {
		if c := (*contradictedError)(nil); errors.As(err, &c) {
			err = e.contradicted(r.Earlier, c, by)
		}
		return nil, err
	}
	if err := e.AuditTrouble(); err != nil {
		return nil, auditDistrusted(err)
	}
	if err := e.roomForFiles(); err != nil {
		return nil, err
	}
	if r.Workspace != "" { // others have all lines, and compare them themselves
		if err := e.reviewAudit(reviewAll); err != nil {
			return nil, err
		}
	}
	seq, err := kv.UpdateCritical(e.db, func(tx *kv.Tx) (uint64, error) {
		if err := by.still(tx); err != nil {
			return 0, err
		}
		return auditNodes.Len(tx), e.record(tx, r.entry(by.entry))
	})
	if err != nil {
		return nil, err
	}
	signed, signer, err := e.checkpointAt(seq + 1)
	if err != nil {
		return nil, err
	}
	state := e.audit.state.Load()
	from, to, err := e.auditSeqs(r, seq+1)
	if err != nil {
		return nil, err
	}
	x := &bundle.Export{
		Product: version, Time: e.opt.Now(), Workspace: string(r.Workspace), From: from, To: to, Checkpoint: signed,
		Signers: []bundle.Signer{signer}, Rotations: state.Rotations, TempDir: e.opt.Dir,
	}
	_, err = kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
		if r.Workspace == "" {
			x.Staff = staffReview(tx)
		}
		x.Pruned = prunedLines(tx)
		return struct{}{}, proveRange(tx, x, seq+1, r, state)
	})
	if r.Workspace != "" {
		x.Lines = e.workspaceLines(r.Workspace, seq+1, signed)
	} else {
		x.Lines = e.auditRange(x.From, x.To)
	}
	return x, err
}

// staffReview lists the staff accounts, for those who review who may ask for access.
func staffReview(tx *kv.Tx) (all []bundle.Staff) {
	for _, s := range staffAccounts.Scan(tx, kv.Range{}) {
		b := bundle.Staff{ID: string(s.ID), Employer: s.Employer, Country: s.Country, Role: s.Role, Created: s.Created}
		if s.Disabled {
			b.Disabled = s.Updated // or before: it may have been changed since
		}
		all = append(all, b)
	}
	return all
}

// proveRange adds what proves the range.
func proveRange(tx *kv.Tx, x *bundle.Export, size uint64, r AuditRange, state *auditState) (err error) {
	hashes := auditHashes{tx}
	if r.Earlier != nil {
		old, err := state.openEarlier(tx, r.Earlier)
		if err != nil {
			return err
		}
		if x.Consistency, err = auditlog.ProveConsistency(old.Size, hashes, x.Checkpoint); err != nil {
			return err
		}
	}
	if r.Workspace != "" {
		return nil
	}
	if x.From > 0 {
		if x.Edge, err = auditlog.Edge(x.From, hashes); err != nil {
			return err
		}
	}
	if x.To < size {
		x.RangeProof, err = auditlog.ProveConsistency(x.To, hashes, x.Checkpoint)
	}
	return err
}

func (e *Engine) checkAuditRange(r AuditRange) error {
	switch {
	case r.Workspace != "" && (!r.From.IsZero() || !r.To.IsZero()):
		return Errorf(Invalid, "A workspace's entries are exported from the first on: leave out the times")
	case !r.To.IsZero() && r.To.Before(r.From):
		return Errorf(Invalid, "The export ends before it begins")
	}
	_, err := kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
		if w := r.Workspace; w != "" && (!isSystemID(string(w), "org") || auditOf(w).Len(tx) == 0) {
			return struct{}{}, Errorf(NotFound, "There is no entry of a workspace %q", string(w))
		}
		if r.Earlier == nil {
			return struct{}{}, nil
		}
		_, err := e.audit.state.Load().openEarlier(tx, r.Earlier)
		return struct{}{}, err
	})
	return err
}

// openEarlier opens a checkpoint of before, which the log must continue.
//
// Errors: [Invalid] with [CodeWrongCheckpoint]; [*contradictedError].
func (s *auditState) openEarlier(tx *kv.Tx, signed []byte) (old auditlog.Checkpoint, err error) {
	verifiers, err := s.verifiers()
	if err != nil {
		return old, err
	}
	if old, err = auditlog.OpenCheckpoint(signed, verifiers...); err != nil {
		return old, Errorf(Invalid, "The earlier checkpoint is not one of this log: %v", err).With(CodeWrongCheckpoint)
	}
	lost, err := s.judge(tx, &old)
	if lost {
		err = Errorf(Invalid, "The earlier checkpoint is of entries that were lost when a backup was restored, which the log says: take another one").With(CodeWrongCheckpoint)
	}
	if reason := disagreement(""); errors.As(err, &reason) {
		err = &contradictedError{old, string(reason)}
	}
	return old, err
}

// entry is that of the export, by whom from says.
func (r AuditRange) entry(from auditlog.Entry) auditlog.Entry {
	e := from
	e.Event, e.Workspace, e.Detail = "audit.exported", string(r.Workspace), map[string]string{}
	for name, t := range map[string]time.Time{"from": r.From, "to": r.To} {
		if !t.IsZero() {
			e.Detail[name] = t.UTC().Format(time.RFC3339)
		}
	}
	if r.Earlier != nil {
		e.Detail["earlier"] = auditlog.LineHash(r.Earlier).String()
	}
	return e
}

// auditSeqs returns the numbers that the times of a range come to. Times don't only grow, since a clock can be set back: so
// nothing less than all entries up to the end of the range tells. They are read some at a time.
func (e *Engine) auditSeqs(r AuditRange, size uint64) (from, to uint64, err error) {
	from, to = size, size
	begun := r.From.IsZero()
	if begun {
		from = 0
	}
	for next := uint64(0); next < size && (!begun || !r.To.IsZero()); next += auditChunk {
		_, err := kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
			for seq, line := range auditLines.Scan(tx, next, min(size, next+auditChunk)) {
				entry, err := auditlog.ParseLine(line)
				switch {
				case err != nil:
					return struct{}{}, &auditlog.BadEntryError{Seq: seq, Reason: err.Error()}
				case !begun && !entry.Time.Before(r.From):
					begun, from = true, seq
				}
				if begun && !r.To.IsZero() && !entry.Time.Before(r.To) {
					to, size = seq, seq // the end
					return struct{}{}, nil
				}
			}
			return struct{}{}, nil
		})
		if err != nil {
			return 0, 0, err
		}
	}
	return from, to, nil
}

// auditRange yields the lines with the numbers from from to to.
func (e *Engine) auditRange(from, to uint64) iter.Seq2[bundle.Line, error] {
	return inChunks(e, from, to, func(tx *kv.Tx, from, to uint64) (lines []bundle.Line, err error) {
		for seq := from; seq < to && err == nil; seq++ {
			var line bundle.Line
			line, err = auditLine(tx, seq)
			lines = append(lines, line)
		}
		return lines, err
	})
}

// workspaceLines yields a workspace's lines below size, each with its proof.
func (e *Engine) workspaceLines(w WorkspaceID, size uint64, signed []byte) iter.Seq2[bundle.Line, error] {
	end, err := kv.View(e.db, func(tx *kv.Tx) (uint64, error) { return auditOf(w).Len(tx), nil })
	if err != nil {
		return func(yield func(bundle.Line, error) bool) { yield(bundle.Line{}, err) }
	}
	return inChunks(e, 0, end, func(tx *kv.Tx, from, to uint64) (lines []bundle.Line, err error) {
		for own := from; own < to; own++ {
			seq, err := auditSeq(tx, w, own)
			if err != nil || seq >= size {
				return lines, err
			}
			line, err := auditLine(tx, seq)
			if err == nil && line.Text == nil {
				continue // the manifest says so
			}
			if err == nil {
				line.Proof, err = auditlog.Prove(seq, auditHashes{tx}, signed)
			}
			if err != nil {
				return lines, err
			}
			lines = append(lines, line)
		}
		return lines, nil
	})
}

// inChunks yields what read returns of a range, a chunk of it in each transaction. What is read of the log never changes.
func inChunks(e *Engine, from, to uint64, read func(tx *kv.Tx, from, to uint64) ([]bundle.Line, error)) iter.Seq2[bundle.Line, error] {
	return func(yield func(bundle.Line, error) bool) {
		for ; from < to; from += auditChunk {
			err := e.roomForFiles()
			var lines []bundle.Line
			if err == nil {
				lines, err = kv.View(e.db, func(tx *kv.Tx) ([]bundle.Line, error) { return read(tx, from, min(to, from+auditChunk)) })
			}
			for _, line := range lines {
				if err == nil && !yield(line, nil) {
					return
				}
			}
			if err != nil {
				yield(bundle.Line{}, err)
				return
			}
		}
	}
}

// auditLine returns a line, or what is left of one that is no longer kept.
func auditLine(tx *kv.Tx, seq uint64) (bundle.Line, error) {
	if line, ok := auditLines.Get(tx, seq); ok {
		return bundle.Line{Text: line}, nil
	}
	leaf, err := auditHash(tx, seq, 1)
	return bundle.Line{Seq: seq, Leaf: leaf}, err
}
