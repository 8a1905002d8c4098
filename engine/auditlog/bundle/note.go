package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"tuco/engine/auditlog"
)

// signedText returns what is signed of a manifest. It can't be mistaken for a checkpoint, whose first line is an origin, nor
// for a rotation.
func signedText(manifest []byte) string {
	hash := sha256.Sum256(manifest)
	return Format + "\nsha256 " + hex.EncodeToString(hash[:]) + "\n"
}

// A trust is the keys that are believed: those given, and those that follow them by rotation.
type trust struct {
	verifiers []note.Verifier
	followed  []string // names of the keys that a rotation added
}

func newTrust(verifiers []note.Verifier) *trust {
	t := new(trust)
	for _, v := range verifiers {
		if !t.knows(v.Name(), v.KeyHash()) {
			t.verifiers = append(t.verifiers, v)
		}
	}
	return t
}

// follow reads the rotations in a file, oldest first. One whose old key is not believed adds nothing, but must be well formed.
func (t *trust) follow(file []byte) error {
	for len(file) > 0 {
		next := bytes.Index(file[1:], []byte("\n"+rotationHead)) + 2
		if next == 1 {
			next = len(file)
		}
		if err := t.followOne(file[:next]); err != nil {
			return inFile(rotationsFile, err)
		}
		file = file[next:]
	}
	return nil
}

const rotationHead = "tuco key rotation v1\n"

func (t *trust) followOne(signed []byte) error {
	r, err := auditlog.OpenRotation(signed, t.verifiers...)
	if errors.Is(err, auditlog.ErrNotProven) {
		return checkRotation(signed)
	}
	if err != nil {
		return err
	}
	v, err := auditlog.ParseVerifier(r.New)
	if err != nil {
		return err
	}
	if !t.knows(v.Name(), v.KeyHash()) {
		t.verifiers = append(t.verifiers, v)
		t.followed = append(t.followed, keyText(v.Name(), v.KeyHash()))
	}
	return nil
}

// checkRotation checks a rotation with the old key that it names itself.
func checkRotation(signed []byte) error {
	old, _, _ := strings.Cut(strings.TrimPrefix(string(signed), rotationHead+"old "), "\n")
	v, err := auditlog.ParseVerifier(old)
	if err != nil {
		return err
	}
	_, err = auditlog.OpenRotation(signed, v)
	return err
}

func (t *trust) knows(name string, hash uint32) bool {
	for _, v := range t.verifiers {
		if v.Name() == name && v.KeyHash() == hash {
			return true
		}
	}
	return false
}

// keyText returns how a note names a key.
func keyText(name string, hash uint32) string { return fmt.Sprintf("%s+%08x", name, hash) }

// openCheckpoint returns the checkpoint of a bundle if none but known keys signed it, and these keys.
func (t *trust) openCheckpoint(signed []byte) (auditlog.Checkpoint, []string, error) {
	c, err := auditlog.OpenCheckpoint(signed, t.verifiers...)
	var unknown *note.UnverifiedNoteError
	if errors.As(err, &unknown) {
		return c, nil, damaged(checkpointFile, "none of the keys that are known signed it")
	}
	if err != nil {
		return c, nil, inFile(checkpointFile, err)
	}
	keys, _, err := t.openSigned(checkpointFile, signed)
	return c, keys, err
}

// openSignature checks the signature of a manifest, which must be by the keys of the checkpoint.
func (t *trust) openSignature(signed, manifest []byte, keys []string) error {
	by, text, err := t.openSigned(signatureFile, signed)
	switch {
	case err != nil:
		return err
	case text != signedText(manifest):
		return damaged(manifestFile, "it is not the one that was signed")
	case strings.Join(by, " ") != strings.Join(keys, " "):
		return damaged(signatureFile, "signed by %v, and the checkpoint by %v", by, keys)
	}
	return nil
}

// openSigned opens a note in the one encoding of it that none but known keys signed. It returns the keys.
func (t *trust) openSigned(file string, signed []byte) (keys []string, text string, err error) {
	n, err := note.Open(signed, note.VerifierList(t.verifiers...))
	if err != nil {
		return nil, "", damaged(file, "%v", err)
	}
	if len(n.UnverifiedSigs) > 0 {
		s := n.UnverifiedSigs[0]
		return nil, "", damaged(file, "signed by a key that is not known, %s", keyText(s.Name, s.Hash))
	}
	again, err := note.Sign(&note.Note{Text: n.Text, Sigs: n.Sigs}) // which signs nothing, but writes a note
	if err != nil || !bytes.Equal(again, signed) {
		return nil, "", damaged(file, "not the one encoding of a note")
	}
	for _, s := range n.Sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return nil, "", damaged(file, "a signature is not in the one encoding of it")
		}
		keys = append(keys, keyText(s.Name, s.Hash))
	}
	return keys, n.Text, nil
}
