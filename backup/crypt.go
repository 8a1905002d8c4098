package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
)

// Encryption says what is needed to read what is written. Exactly one of the fields is set: nothing is plain unless it is asked for.
type Encryption struct {
	Recipients []string // public age keys: age1… or age1pq1…
	Passphrase string
	Plain      bool
}

// scryptWorkFactor is log2 of the rounds for a passphrase, age's default. No more is accepted: a made-up file could ask for
// hours and gigabytes.
const scryptWorkFactor = 18

// recipients returns what age encrypts to; none if plain.
//
// Errors: [ErrInvalid], without what was given: it might be a private key.
func (e Encryption) recipients() (EncryptionKind, []age.Recipient, error) {
	set := 0
	for _, given := range []bool{len(e.Recipients) > 0, e.Passphrase != "", e.Plain} {
		if given {
			set++
		}
	}
	if set != 1 {
		return "", nil, invalid("say one of recipients, a passphrase, or that there is to be no encryption")
	}
	switch {
	case e.Plain:
		return None, nil, nil
	case e.Passphrase != "":
		r, err := age.NewScryptRecipient(e.Passphrase)
		if err != nil {
			return "", nil, invalid("passphrase: %w", err)
		}
		r.SetWorkFactor(scryptWorkFactor)
		return Passphrase, []age.Recipient{r}, nil
	}
	if len(e.Recipients) > maxRecipients {
		return "", nil, invalid("%d recipients, at most %d are possible", len(e.Recipients), maxRecipients)
	}
	parsed, err := age.ParseRecipients(strings.NewReader(strings.Join(e.Recipients, "\n")))
	if err != nil || len(parsed) != len(e.Recipients) {
		return "", nil, invalid("recipients must be public age keys, which begin with age1")
	}
	return Recipients, parsed, nil
}

// Check returns the [ErrInvalid] that writing with e would end with, or nil.
func (e Encryption) Check() error {
	_, _, err := e.recipients()
	return err
}

// CheckKeys returns the [ErrKey] that reading with k what was written with e would end with, or nil. No keys at all are none to check.
func (e Encryption) CheckKeys(k Keys) error {
	kind, to, err := e.recipients()
	if err != nil || k.None() {
		return err
	}
	var sealed bytes.Buffer
	w, err := encrypt(&sealed, to)
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		_, err = k.decrypt(&sealed, kind, e.Recipients)
	}
	return err
}

// encrypt returns a writer that encrypts to w. Its Close doesn't close w.
func encrypt(w io.Writer, to []age.Recipient) (io.WriteCloser, error) {
	if len(to) == 0 {
		return nopCloser{w}, nil
	}
	return age.Encrypt(w, to...)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// Keys open what was encrypted. What is plain needs none.
type Keys struct {
	Identities []age.Identity // see [ReadIdentities]
	Passphrase string
}

// None tells whether there is no key at all.
func (k Keys) None() bool { return len(k.Identities) == 0 && k.Passphrase == "" }

// decrypt returns a reader of what encrypt was given.
//
// Errors: [ErrKey], [ErrDamaged].
func (k Keys) decrypt(r io.Reader, kind EncryptionKind, recipients []string) (io.Reader, error) {
	identities := k.Identities
	switch {
	case kind == None:
		return r, nil
	case kind == Recipients && len(identities) == 0:
		return nil, fmt.Errorf("%w: an identity file is needed, the private key of %s", ErrKey, shorten(recipients))
	case kind == Passphrase && k.Passphrase == "":
		return nil, fmt.Errorf("%w: its passphrase is needed", ErrKey)
	case kind == Passphrase:
		id, err := age.NewScryptIdentity(k.Passphrase)
		if err != nil {
			return nil, invalid("passphrase: %w", err)
		}
		id.SetMaxWorkFactor(scryptWorkFactor)
		identities = []age.Identity{id}
	}
	plain, err := age.Decrypt(r, identities...)
	var wrong *age.NoIdentityMatchError
	switch {
	case err == nil:
		return plain, nil
	case !errors.As(err, &wrong):
		return nil, damaged("the encryption: %w", err)
	case kind == Passphrase:
		return nil, fmt.Errorf("%w: the passphrase is not the one it was encrypted with", ErrKey)
	}
	return nil, fmt.Errorf("%w: none of the %d identities given is the private key of %s", ErrKey, len(identities), shorten(recipients))
}

// shorten lists public keys; those for after quantum computers have 2,000 letters.
func shorten(keys []string) string {
	if len(keys) == 0 {
		return "one of its recipients"
	}
	short := make([]string, len(keys))
	for i, key := range keys {
		if short[i] = key; len(key) > 80 {
			short[i] = key[:20] + "…" + key[len(key)-8:]
		}
	}
	return strings.Join(short, " or ")
}

// ReadIdentities reads a file of private age keys, one a line, as age-keygen writes it.
//
// Errors: those of the file; [ErrInvalid], which names the file, and nothing that is in it.
func ReadIdentities(path string) ([]age.Identity, error) {
	text, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	identities, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil { // age's own words might repeat a key
		return nil, invalid("%s: it must hold private age keys, one a line, which begin with AGE-SECRET-KEY-", path)
	}
	return identities, nil
}

// ReadPassphrase reads a file that holds a passphrase. One newline at its end does not belong to it.
//
// Errors: those of the file; [ErrInvalid], which names the file.
func ReadPassphrase(path string) (string, error) {
	text, err := readSecret(path)
	if err != nil {
		return "", err
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if strings.TrimSpace(text) == "" || strings.ContainsAny(text, "\n\x00") {
		return "", invalid("%s: it must hold a passphrase, in one line", path)
	}
	return text, nil
}

const maxSecretBytes = 1 << 20

func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSecretBytes {
		return "", invalid("%s: it is longer than %d bytes", path, maxSecretBytes)
	}
	return string(text), nil
}
