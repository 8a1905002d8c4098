package auditlog

import (
	"bytes"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// The proofs are texts: a head, hashes one a line, a blank line, and a signed checkpoint.

const maxProofBytes = maxNoteBytes + 4<<10

// Prove returns the proof that the line with seq is in the log of a signed checkpoint, as a C2SP tlog-proof without extra
// data. It computes the root from r first, so what it returns holds if the signature does.
//
// Errors: [ErrInvalid] if there is no such line, [ErrMalformed] for the checkpoint, [ErrNotProven] if r has another root.
func Prove(seq uint64, r tlog.HashReader, signed []byte) ([]byte, error) {
	c, err := checkpointOf(r, signed)
	if err != nil {
		return nil, err
	}
	if seq >= c.Size {
		return nil, invalid("line %d of a log of size %d", seq, c.Size)
	}
	hashes, err := tlog.ProveRecord(int64(c.Size), int64(seq), r)
	if err != nil {
		return nil, err
	}
	return torchwood.FormatProof(int64(seq), hashes, signed), nil
}

// checkpointOf returns the checkpoint of a signed note if r has its root.
func checkpointOf(r tlog.HashReader, signed []byte) (Checkpoint, error) {
	c, err := UnsignedCheckpoint(signed)
	if err != nil {
		return Checkpoint{}, err
	}
	root, err := Root(c.Size, r)
	if err != nil {
		return Checkpoint{}, err
	}
	if root != c.Root {
		return Checkpoint{}, notProven("checkpoint of size %d: its root is not that of the stored hashes", c.Size)
	}
	return c, nil
}

// VerifyProof checks that a proof shows that line is in a log whose checkpoint one of the verifiers signed, at the place
// that the line itself names. It returns the checkpoint.
//
// Errors: [ErrMalformed], [ErrNotProven].
func VerifyProof(proof, line []byte, verifiers ...note.Verifier) (Checkpoint, error) {
	e, err := ParseLine(line)
	if err != nil {
		return Checkpoint{}, err
	}
	seq, hashes, signed, err := splitProof(proof, "c2sp.org/tlog-proof@v1\nindex ")
	if err != nil {
		return Checkpoint{}, err
	}
	if !bytes.Equal(torchwood.FormatProof(int64(seq), hashes, signed), proof) {
		return Checkpoint{}, malformed("proof: not the one encoding of it")
	}
	c, err := OpenCheckpoint(signed, verifiers...)
	switch {
	case err != nil:
		return Checkpoint{}, err
	case seq != e.Seq:
		return Checkpoint{}, notProven("proof of line %d for line %d", seq, e.Seq)
	}
	if err := tlog.CheckRecord(hashes, int64(c.Size), c.Root, int64(seq), LeafHash(line)); err != nil {
		return Checkpoint{}, notProven("line %d is not in the log of size %d: %w", seq, c.Size, err)
	}
	return c, nil
}

// splitProof takes a proof apart. What it accepts need not be canonical.
func splitProof(proof []byte, head string) (number uint64, hashes []Hash, signed []byte, err error) {
	if len(proof) > maxProofBytes {
		return 0, nil, nil, malformed("proof: it has %d bytes, more than %d", len(proof), maxProofBytes)
	}
	rest, found := strings.CutPrefix(string(proof), head)
	if !found {
		return 0, nil, nil, malformed("proof: it doesn't begin with %q", head)
	}
	digits, rest, _ := strings.Cut(rest, "\n")
	number, err = strconv.ParseUint(digits, 10, 64)
	if err != nil || number > maxSize {
		return 0, nil, nil, malformed("proof: number %q", digits)
	}
	for {
		line, after, found := strings.Cut(rest, "\n")
		rest = after
		if line == "" && found {
			return number, hashes, []byte(rest), nil
		}
		h, err := tlog.ParseHash(line)
		if err != nil || !found {
			return 0, nil, nil, malformed("proof: hash %q", line)
		}
		hashes = append(hashes, h)
	}
}
