package backup

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"tuco/kv"
)

// Kind says what an object holds.
type Kind string

const (
	Full      Kind = "full"      // everything up to a position
	Log       Kind = "log"       // the changes between two positions
	Workspace Kind = "workspace" // one workspace, for another installation
)

// EncryptionKind says what opens the payload of an object.
type EncryptionKind string

const (
	None       EncryptionKind = "none"
	Recipients EncryptionKind = "recipients" // age keys
	Passphrase EncryptionKind = "passphrase"
)

// maxNumber is the largest whole number that every reader of JSON keeps exact.
const maxNumber = 1<<53 - 1

const (
	maxFiles      = 1024
	maxRecipients = 32
)

// A Manifest says what an object holds. It can be read without a key. Its JSON has one encoding: that of RFC 8785.
type Manifest struct {
	Kind         Kind   `json:"kind"`
	ID           string `json:"id"`           // of this object: 1 to 64 of a-z, 0-9 and -, which it does not begin with
	Installation string `json:"installation"` // likewise
	Epoch        uint64 `json:"epoch"`        // restore epoch of the installation
	Workspace    string `json:"workspace,omitzero"`
	// Transports are the ids of lines whose transport has to be set again where a workspace is imported.
	Transports []string `json:"transports,omitzero"`

	Product string `json:"product"` // version of the program that wrote it
	Schema  int    `json:"schema"`  // of what is in the files; from 1

	Time time.Time `json:"time"` // when the snapshot was taken, or the log cut: UTC, in whole milliseconds

	// The object holds what was committed after From, up to and with To. A full one begins at 0.
	From kv.Position `json:"from"`
	To   kv.Position `json:"to"`

	// FirstTime is that of the first commit in a log object, LastTime the latest of any commit up to To. Both are
	// UTC, in whole milliseconds, and never less than those of earlier objects. A full one has no FirstTime.
	FirstTime time.Time `json:"firstTime,omitzero"`
	LastTime  time.Time `json:"lastTime,omitzero"`

	Records    map[string]int64 `json:"records"`             // how many there are of each kind
	Quota      jsontext.Value   `json:"quota,omitzero"`      // quota high-waters
	Checkpoint string           `json:"checkpoint,omitzero"` // of the audit log, a signed note

	// What follows is filled in by [Create].
	Files      []File         `json:"files"` // in the order of the payload
	Payload    Digest         `json:"payload"`
	Encryption EncryptionKind `json:"encryption"`
	Recipients []string       `json:"recipients,omitzero"` // public keys that the payload is encrypted to
}

// A File is one file in the payload.
type File struct {
	Name string `json:"name"`
	Digest
}

// A Digest is the size in bytes of some bytes, and their SHA-256 in hex.
type Digest struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

var (
	wordPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	filePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,89}$`) // fits into the header of any tar
)

// check returns the reason why no object has such a manifest, or nil. What Create fills in is for checkFilled.
func (m *Manifest) check() error {
	switch {
	case m.Kind != Full && m.Kind != Log && m.Kind != Workspace:
		return fmt.Errorf("kind %q", m.Kind)
	case !wordPattern.MatchString(m.ID):
		return fmt.Errorf("id %q", m.ID)
	case !wordPattern.MatchString(m.Installation):
		return fmt.Errorf("installation %q", m.Installation)
	case m.Epoch > maxEpoch:
		return fmt.Errorf("epoch %d", m.Epoch)
	case (m.Kind == Workspace) != (m.Workspace != "") || !isText(m.Workspace, 100):
		return fmt.Errorf("workspace %q in an object of kind %s", m.Workspace, m.Kind)
	case m.Kind != Workspace && len(m.Transports) > 0 || slices.ContainsFunc(m.Transports, func(id string) bool { return !wordPattern.MatchString(id) }):
		return fmt.Errorf("transports %q in an object of kind %s", m.Transports, m.Kind)
	case m.Product == "" || !isText(m.Product, 100):
		return fmt.Errorf("product %q", m.Product)
	case m.Schema < 1:
		return fmt.Errorf("schema %d", m.Schema)
	case m.Time.IsZero() || !isTime(m.Time):
		return fmt.Errorf("time %v", m.Time)
	case m.To > maxPosition || m.Kind == Log && m.From >= m.To || m.Kind != Log && m.From != 0:
		return fmt.Errorf("from position %d to %d, kind %s", m.From, m.To, m.Kind)
	case !isTime(m.FirstTime) || !isTime(m.LastTime) || m.LastTime.Before(m.FirstTime),
		m.FirstTime.IsZero() == (m.Kind == Log), m.Kind == Log && m.LastTime.IsZero():
		return fmt.Errorf("from time %v to %v, kind %s", m.FirstTime, m.LastTime, m.Kind)
	}
	for kind, n := range m.Records {
		if kind == "" || !isText(kind, 100) || n < 0 || n > maxNumber {
			return fmt.Errorf("%d records of kind %q", n, kind)
		}
	}
	return nil
}

func (m *Manifest) checkFilled() error {
	if err := checkFiles(m.Files); err != nil {
		return err
	}
	if err := m.Payload.check(); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	switch m.Encryption {
	case None, Recipients, Passphrase:
	default:
		return fmt.Errorf("encryption %q", m.Encryption)
	}
	if (m.Encryption == Recipients) != (len(m.Recipients) > 0) || len(m.Recipients) > maxRecipients {
		return fmt.Errorf("%d recipients with encryption %q", len(m.Recipients), m.Encryption)
	}
	return nil
}

func checkFiles(files []File) error {
	if len(files) == 0 || len(files) > maxFiles {
		return fmt.Errorf("%d files", len(files))
	}
	seen := map[string]bool{}
	var total int64
	for _, f := range files {
		if !filePattern.MatchString(f.Name) || seen[f.Name] {
			return fmt.Errorf("file name %q", f.Name)
		}
		if err := f.Digest.check(); err != nil {
			return fmt.Errorf("file %s: %w", f.Name, err)
		}
		if total += f.Size; total > maxNumber {
			return fmt.Errorf("files of more than %d bytes", int64(maxNumber))
		}
		seen[f.Name] = true
	}
	return nil
}

func (d Digest) check() error {
	if raw, err := hex.DecodeString(d.SHA256); err != nil || len(raw) != 32 || d.SHA256 != strings.ToLower(d.SHA256) {
		return fmt.Errorf("SHA-256 %q", d.SHA256)
	}
	if d.Size < 0 || d.Size > maxNumber {
		return fmt.Errorf("size %d", d.Size)
	}
	return nil
}

func isText(s string, maxBytes int) bool {
	return len(s) <= maxBytes && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// isTime reports whether t has one encoding that keeps all of it.
func isTime(t time.Time) bool {
	return t.IsZero() || t.Location() == time.UTC && t.Equal(t.Truncate(time.Millisecond)) && t.Year() >= 1970 && t.Year() <= 9999
}
