package engine

import (
	"errors"
	"sort"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// ProveEntry returns the proof that an entry is in the log of the newest checkpoint, as a C2SP tlog-proof with that
// checkpoint.
//
// Errors: [NotFound]; [Unavailable] with [CodeAuditUnavailable] while the log can't be relied on.
func (a Admin) ProveEntry(seq uint64) ([]byte, error) {
	return a.e.proveEntry(seq, func(tx *kv.Tx) (bool, error) { return seq < auditNodes.Len(tx), nil })
}

// ProveEntry is like [Admin.ProveEntry], for an entry of the caller's workspace. Of any other it tells nothing.
func (e *Engine) ProveEntry(who Caller, seq uint64) ([]byte, error) {
	if err := who.Require(AccessApprove); err != nil {
		return nil, err
	}
	return e.proveEntry(seq, func(tx *kv.Tx) (bool, error) { return auditHas(tx, who.Workspace(), seq) })
}

func (e *Engine) proveEntry(seq uint64, has func(tx *kv.Tx) (bool, error)) ([]byte, error) {
	found, err := kv.View(e.db, has)
	if err == nil && !found {
		err = Errorf(NotFound, "Entry not found")
	}
	if err != nil {
		return nil, storageError(err)
	}
	return e.proveNow(func(tx *kv.Tx, signed []byte) ([]byte, error) { return auditlog.Prove(seq, auditHashes{tx}, signed) })
}

// ProveConsistency returns the proof that the log continues the one that had from entries, with the newest checkpoint.
//
// Errors: [Invalid] if it has fewer; [Unavailable] with [CodeAuditUnavailable] while the log can't be relied on.
func (e *Engine) ProveConsistency(from uint64) ([]byte, error) {
	proof, err := e.proveNow(func(tx *kv.Tx, signed []byte) ([]byte, error) {
		return auditlog.ProveConsistency(from, auditHashes{tx}, signed)
	})
	if errors.Is(err, auditlog.ErrInvalid) {
		err = Errorf(Invalid, "The log has fewer than %d entries", from)
	}
	return proof, err
}

// proveNow lets prove make a proof to the newest checkpoint.
func (e *Engine) proveNow(prove func(tx *kv.Tx, signed []byte) ([]byte, error)) ([]byte, error) {
	signed, err := e.Checkpoint()
	if err != nil {
		return nil, err
	}
	proof, err := kv.View(e.db, func(tx *kv.Tx) ([]byte, error) { return prove(tx, signed) })
	return proof, storageError(err)
}

// auditHas tells whether an entry is one of a workspace's.
func auditHas(tx *kv.Tx, w WorkspaceID, seq uint64) (found bool, err error) {
	_, found = sort.Find(int(auditOf(w).Len(tx)), func(own int) int {
		at, failed := auditSeq(tx, w, uint64(own))
		err = errors.Join(err, failed)
		switch {
		case seq < at:
			return -1
		case seq > at:
			return 1
		}
		return 0
	})
	return found, err
}
