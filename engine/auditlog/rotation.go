package auditlog

import (
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// A Rotation says that one key of a log follows another. Both have the same name.
type Rotation struct {
	Old string // verifier key
	New string // verifier key
}

// text returns what is signed. It can't be mistaken for a checkpoint, whose first line is an origin.
func (r Rotation) text() string {
	return fmt.Sprintf("tuco key rotation v1\nold %s\nnew %s\n", r.Old, r.New)
}

// SignRotation returns the statement that the second signing key follows the first, signed by both in this order: the old
// key vouches for the new one, and the new one shows that it exists and agrees.
//
// Errors: [ErrInvalid], [ErrMalformed]. Neither shows a key.
func SignRotation(oldKey, newKey string) ([]byte, error) {
	var r Rotation
	var err error
	if r.Old, err = VerifierKey(oldKey); err != nil {
		return nil, err
	}
	if r.New, err = VerifierKey(newKey); err != nil {
		return nil, err
	}
	before, err := note.NewSigner(oldKey)
	if err != nil {
		return nil, malformed("signing key: %w", err)
	}
	after, err := note.NewSigner(newKey)
	if err != nil {
		return nil, malformed("signing key: %w", err)
	}
	if r.Old == r.New || before.Name() != after.Name() {
		return nil, invalid("rotation: the keys must be two, of one name")
	}
	return note.Sign(&note.Note{Text: r.text()}, before, after)
}

// OpenRotation returns the rotation in a signed note, of which there is one encoding. Its old key must be one of the
// verifiers. From then on, the new key may be trusted as the old one was; for how long the old one is still, is not stated.
//
// Errors: [ErrMalformed], [ErrNotProven].
func OpenRotation(signed []byte, verifiers ...note.Verifier) (Rotation, error) {
	trusted, err := openNote(signed, verifiers...)
	if err != nil {
		return Rotation{}, err
	}
	r, before, after, err := parseRotation(trusted.Text)
	if err != nil {
		return Rotation{}, err
	}
	both, err := openNote(signed, before, after)
	if err != nil {
		return Rotation{}, err
	}
	if len(both.Sigs) != 2 || len(both.UnverifiedSigs) != 0 || both.Sigs[0].Hash != before.KeyHash() {
		return Rotation{}, malformed("rotation: it isn't signed by its old and its new key, in this order")
	}
	for _, s := range trusted.Sigs {
		if s.Hash == before.KeyHash() && s.Name == before.Name() {
			return r, nil
		}
	}
	return Rotation{}, notProven("rotation: its old key is not known")
}

// parseRotation is the inverse of text.
func parseRotation(text string) (r Rotation, before, after note.Verifier, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 {
		return r, nil, nil, malformed("rotation: it doesn't have three lines")
	}
	r.Old, _ = strings.CutPrefix(lines[1], "old ")
	r.New, _ = strings.CutPrefix(lines[2], "new ")
	if r.text() != text {
		return r, nil, nil, malformed("rotation: not the one encoding of it")
	}
	if before, err = ParseVerifier(r.Old); err != nil {
		return r, nil, nil, err
	}
	if after, err = ParseVerifier(r.New); err != nil {
		return r, nil, nil, err
	}
	if r.Old == r.New || before.Name() != after.Name() {
		return r, nil, nil, malformed("rotation: the keys must be two, of one name")
	}
	return r, before, after, nil
}
