package auditlog

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// maxNoteBytes bounds a signed note. There is room for witnesses that sign with ML-DSA.
const maxNoteBytes = 64 << 10

// openNote returns a note that a known key signed. Lines of other keys are allowed, as other verifiers may know those. All
// signatures must be in the one encoding that they have, and no key may have two.
//
// Errors: [ErrMalformed], [ErrNotProven].
func openNote(signed []byte, verifiers ...note.Verifier) (*note.Note, error) {
	if len(signed) > maxNoteBytes {
		return nil, malformed("note: it has %d bytes, more than %d", len(signed), maxNoteBytes)
	}
	n, err := note.Open(signed, note.VerifierList(verifiers...))
	var unknown *note.UnverifiedNoteError
	var wrong *note.InvalidSignatureError
	switch {
	case errors.As(err, &unknown):
		return nil, notProven("none of the keys that are known signed it: %w", err)
	case errors.As(err, &wrong):
		return nil, notProven("%w", err)
	case err != nil:
		return nil, malformed("note: it is not a text, an empty line and signatures")
	}
	return n, checkSignatures(signed[len(n.Text)+1:])
}

// checkSignatures checks the signature lines of a note that package note could read.
func checkSignatures(lines []byte) error {
	seen := map[string]bool{}
	for line := range bytes.Lines(lines) {
		name, b64, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(string(line), "\n"), "— "), " ")
		signature, err := base64.StdEncoding.Strict().DecodeString(b64)
		if err != nil || len(signature) < 4 {
			return malformed("note: a signature is not in the one encoding of it")
		}
		key := name + " " + string(signature[:4])
		if seen[key] {
			return malformed("note: two signatures of one key")
		}
		seen[key] = true
	}
	return nil
}
