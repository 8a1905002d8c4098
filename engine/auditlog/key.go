package auditlog

import (
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// The names of a log. Its key keeps its name when an installation is restored; its origin doesn't, since what was signed
// before and after a restore need not fit together, and a log must never sign two checkpoints of one origin that don't.

// KeyName returns the name under which an installation's keys sign.
func KeyName(installation string) string { return "tuco.local/" + installation }

// Origin returns the first line of an installation's checkpoints in a restore epoch.
func Origin(installation string, epoch uint64) string {
	return KeyName(installation) + "/" + strconv.FormatUint(epoch, 10)
}

// ParseOrigin is the inverse of [Origin]. An installation is 1 to 64 of a-z, 0-9 and -.
//
// Errors: [ErrInvalid].
func ParseOrigin(origin string) (installation string, epoch uint64, err error) {
	rest, _ := strings.CutPrefix(origin, KeyName(""))
	installation, number, _ := strings.Cut(rest, "/")
	epoch, err = strconv.ParseUint(number, 10, 64)
	if err != nil || epoch > MaxNumber || !isInstallation(installation) || origin != Origin(installation, epoch) {
		return "", 0, invalid("origin %q", origin)
	}
	return installation, epoch, nil
}

func isInstallation(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// NewSigner makes a signing key with the [KeyName] name, from 32 bytes that it reads from rand. It returns the key, which is
// secret, and the verifier key, which isn't.
//
// Errors: [ErrInvalid] for a name that isn't a KeyName.
func NewSigner(rand io.Reader, name string) (skey, vkey string, err error) {
	if installation, ok := strings.CutPrefix(name, KeyName("")); !ok || !isInstallation(installation) {
		return "", "", invalid("key name %q", name)
	}
	return note.GenerateKey(rand, name)
}

// VerifierKey returns the verifier key of a signing key.
//
// Errors: [ErrMalformed], which doesn't show the key.
func VerifierKey(skey string) (vkey string, err error) {
	signer, err := note.NewSigner(skey)
	if err != nil {
		return "", malformed("signing key: %w", err)
	}
	seed, err := lastPart(skey, 5)
	if err != nil {
		return "", err
	}
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	return note.NewEd25519VerifierKey(signer.Name(), public)
}

// ParseVerifier returns the verifier of a verifier key, of which there is one encoding.
//
// Errors: [ErrMalformed].
func ParseVerifier(vkey string) (note.Verifier, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, malformed("verifier key: %w", err)
	}
	public, err := lastPart(vkey, 3)
	if err != nil {
		return nil, err
	}
	if again, err := note.NewEd25519VerifierKey(v.Name(), public); err != nil || again != vkey {
		return nil, malformed("verifier key: not the one encoding of it")
	}
	return v, nil
}

// lastPart decodes the last of the parts of a key without its first byte, which tells the algorithm. That part may have a +
// of its own.
func lastPart(key string, parts int) ([]byte, error) {
	split := strings.SplitN(key, "+", parts)
	b, err := base64.StdEncoding.DecodeString(split[len(split)-1])
	if err != nil || len(b) == 0 {
		return nil, malformed("key: not base64")
	}
	return b[1:], nil
}
