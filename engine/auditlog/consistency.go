package auditlog

import (
	"bytes"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const consistencyHead = "old "

// ProveConsistency returns the proof that the log of a signed checkpoint continues the one that had oldSize lines. Its form
// is that in which C2SP tlog-witness has a log send its checkpoints, so a witness takes it as it is.
//
// Errors: as those of [Prove].
func ProveConsistency(oldSize uint64, r tlog.HashReader, signed []byte) ([]byte, error) {
	c, err := checkpointOf(r, signed)
	if err != nil {
		return nil, err
	}
	if oldSize > c.Size {
		return nil, invalid("size %d after %d", c.Size, oldSize)
	}
	var hashes tlog.TreeProof
	if oldSize > 0 {
		if hashes, err = tlog.ProveTree(int64(c.Size), int64(oldSize), r); err != nil {
			return nil, err
		}
	}
	return formatConsistency(oldSize, hashes, signed), nil
}

func formatConsistency(oldSize uint64, hashes []Hash, signed []byte) []byte {
	text := fmt.Appendf(nil, "%s%d\n", consistencyHead, oldSize)
	for _, h := range hashes {
		text = fmt.Appendf(text, "%s\n", h)
	}
	text = append(text, '\n')
	return append(text, signed...)
}

// VerifyConsistency checks that a proof shows that a log, whose checkpoint one of the verifiers signed, continues that of
// old. It returns the new checkpoint.
//
// Errors: [ErrMalformed], [ErrNotProven].
func VerifyConsistency(proof []byte, old Checkpoint, verifiers ...note.Verifier) (Checkpoint, error) {
	oldSize, hashes, signed, err := splitProof(proof, consistencyHead)
	if err != nil {
		return Checkpoint{}, err
	}
	if !bytes.Equal(formatConsistency(oldSize, hashes, signed), proof) {
		return Checkpoint{}, malformed("proof: not the one encoding of it")
	}
	c, err := OpenCheckpoint(signed, verifiers...)
	switch {
	case err != nil:
		return Checkpoint{}, err
	case oldSize != old.Size:
		return Checkpoint{}, notProven("proof from size %d for a checkpoint of size %d", oldSize, old.Size)
	}
	if err := CheckConsistent(old, c, hashes); err != nil {
		return Checkpoint{}, err
	}
	return c, nil
}
