package auditlog

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Checkpoint says what a log held at some moment: its first Size lines, and no others.
type Checkpoint struct {
	Origin string // see [Origin]
	Size   uint64
	Root   Hash
}

// text returns what is signed: a C2SP tlog-checkpoint without extension lines.
func (c Checkpoint) text() string { return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, c.Root) }

// SignCheckpoint returns c as a signed note. All signers must have the key name of c's origin: while one key follows
// another, both sign.
//
// Errors: [ErrInvalid].
func SignCheckpoint(c Checkpoint, signers ...note.Signer) ([]byte, error) {
	installation, _, err := ParseOrigin(c.Origin)
	if err != nil {
		return nil, err
	}
	if c.Size > maxSize || len(signers) == 0 {
		return nil, invalid("checkpoint of size %d and %d signers", c.Size, len(signers))
	}
	for _, s := range signers {
		if s.Name() != KeyName(installation) {
			return nil, invalid("key name %q for the origin %q", s.Name(), c.Origin)
		}
	}
	signed, err := note.Sign(&note.Note{Text: c.text()}, signers...)
	if err != nil {
		return nil, err
	}
	return signed, checkSignatures(signed[len(c.text())+1:]) // no key twice
}

// OpenCheckpoint returns the checkpoint in a signed note if one of the verifiers, which must be keys of logs, signed it and
// has the key name of its origin. One checkpoint has one text, and each signature one encoding. Signatures of keys that are
// not given are allowed and not checked, so what else is done with the note must not rest on them.
//
// Errors: [ErrMalformed], [ErrNotProven].
func OpenCheckpoint(signed []byte, verifiers ...note.Verifier) (Checkpoint, error) {
	n, err := openNote(signed, verifiers...)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	installation, _, _ := ParseOrigin(c.Origin)
	for _, signature := range n.Sigs {
		if signature.Name == KeyName(installation) {
			return c, nil
		}
	}
	return Checkpoint{}, notProven("checkpoint of %q: the key that signed it is another log's", c.Origin)
}

// parseCheckpoint is the inverse of text.
func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 {
		return Checkpoint{}, malformed("checkpoint: it doesn't have three lines")
	}
	if _, _, err := ParseOrigin(lines[0]); err != nil {
		return Checkpoint{}, malformed("checkpoint: %w", err)
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil || size > maxSize {
		return Checkpoint{}, malformed("checkpoint: size %q", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return Checkpoint{}, malformed("checkpoint: root %q", lines[2])
	}
	c := Checkpoint{lines[0], size, root}
	if c.text() != text {
		return Checkpoint{}, malformed("checkpoint: not the one encoding of it")
	}
	return c, nil
}

// UnsignedCheckpoint returns the checkpoint of a signed note without looking at its signatures. It is for who signed it.
//
// Errors: [ErrMalformed].
func UnsignedCheckpoint(signed []byte) (Checkpoint, error) {
	text, _, found := strings.Cut(string(signed), "\n\n")
	if !found {
		return Checkpoint{}, malformed("checkpoint: it has no signatures")
	}
	return parseCheckpoint(text + "\n")
}

// CheckConsistent checks that the log of new continues that of old: the same lines, then perhaps more. The log may have been
// restored in between, but not to an earlier epoch.
//
// Errors: [ErrNotProven].
func CheckConsistent(old, new Checkpoint, proof tlog.TreeProof) error {
	oldName, oldEpoch, err1 := ParseOrigin(old.Origin)
	newName, newEpoch, err2 := ParseOrigin(new.Origin)
	switch {
	case err1 != nil || err2 != nil || oldName != newName:
		return notProven("checkpoints of two logs, %q and %q", old.Origin, new.Origin)
	case newEpoch < oldEpoch:
		return notProven("epoch %d after %d", newEpoch, oldEpoch)
	case new.Size < old.Size || new.Size > maxSize:
		return notProven("size %d after %d", new.Size, old.Size)
	case old.Size == 0:
		return checkFromEmpty(old, new, proof)
	}
	if err := tlog.CheckTree(proof, int64(new.Size), new.Root, int64(old.Size), old.Root); err != nil {
		return notProven("size %d doesn't continue size %d: %w", new.Size, old.Size, err)
	}
	return nil
}

// checkFromEmpty is for an old log without lines, which every log continues without proof.
func checkFromEmpty(old, new Checkpoint, proof tlog.TreeProof) error {
	if old.Root != emptyRoot || new.Size == 0 && new.Root != emptyRoot || len(proof) != 0 {
		return notProven("size %d doesn't continue size 0", new.Size)
	}
	return nil
}
