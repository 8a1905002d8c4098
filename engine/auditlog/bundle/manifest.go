package bundle

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"tuco/engine/auditlog"
)

// Format names the format and its version. Between releases it changes with whatever makes other files of the same lines.
const Format = "tuco audit bundle v1"

// The files, in the order of the archive.
const (
	manifestFile    = "manifest.json"
	signatureFile   = "signature"
	checkpointFile  = "checkpoint"
	consistencyFile = "consistency"
	rangeProofFile  = "range-proof"
	edgeFile        = "edge"
	rotationsFile   = "rotations"
	staffFile       = "staff.json"
	linesFile       = "entries.jsonl"
	proofsFile      = "proofs"
	csvFile         = "entries.csv"
	ocsfFile        = "entries.ocsf.jsonl"
	cefFile         = "entries.cef"
	pageFile        = "report.html"
)

// fileOrder are the files that a manifest lists, and whether a bundle may be without them.
var fileOrder = []struct {
	name     string
	optional bool
}{
	{checkpointFile, false}, {consistencyFile, true}, {rangeProofFile, true}, {edgeFile, true}, {rotationsFile, true},
	{staffFile, false}, {linesFile, false}, {proofsFile, true}, {csvFile, false}, {ocsfFile, false}, {cefFile, false},
	{pageFile, false},
}

// A Manifest says what a bundle holds. Its JSON has one encoding.
type Manifest struct {
	Format       string    `json:"format"`
	Product      string    `json:"product"` // version
	Installation string    `json:"installation"`
	Origin       string    `json:"origin"`
	Workspace    string    `json:"workspace,omitempty"` // id; empty for the whole installation
	From         uint64    `json:"from"`
	To           uint64    `json:"to"`      // not included
	Entries      uint64    `json:"entries"` // lines that have a body
	Dropped      uint64    `json:"dropped"` // lines that have none
	Time         time.Time `json:"time"`
	FirstLine    string    `json:"firstLine,omitempty"` // hash of the first line that has a body
	LastLine     string    `json:"lastLine,omitempty"`
	Pruned       []Pruned  `json:"pruned,omitempty"`
	Files        []File    `json:"files"`
}

// A File is one file of a bundle.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// file returns the file with this name, or false.
func (m *Manifest) file(name string) (File, bool) {
	for _, f := range m.Files {
		if f.Name == name {
			return f, true
		}
	}
	return File{}, false
}

// pruned returns how many lines from seq from to seq to, not included, are no longer kept.
func (m *Manifest) pruned(from, to uint64) (n uint64) {
	first, _ := slices.BinarySearchFunc(m.Pruned, from+1, func(p Pruned, end uint64) int { return cmp.Compare(p.To, end) })
	for _, p := range m.Pruned[first:] {
		if p.From >= to {
			break
		}
		n += min(p.To, to) - max(p.From, from)
	}
	return n
}

// check returns an [auditlog.ErrInvalid] for what no export can have. Files are not looked at.
func (m *Manifest) check() error {
	installation, _, err := auditlog.ParseOrigin(m.Origin)
	switch {
	case err != nil || m.Installation != installation:
		return invalid("installation %q of origin %q", m.Installation, m.Origin)
	case !isText(m.Product) || m.Product == "" || !isText(m.Workspace):
		return invalid("product %q, workspace %q", m.Product, m.Workspace)
	case m.From > m.To || m.To > auditlog.MaxNumber:
		return invalid("range from %d to %d", m.From, m.To)
	case !isTime(m.Time):
		return invalid("time %v", m.Time)
	}
	end := uint64(0)
	for _, p := range m.Pruned {
		if p.From < end || p.From >= p.To || p.To > auditlog.MaxNumber || !isTime(p.Time) || !isText(p.Reason) {
			return invalid("pruned range from %d to %d", p.From, p.To)
		}
		end = p.To
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w export: %w", auditlog.ErrInvalid, fmt.Errorf(format, args...))
}

// checkFiles returns a reason why the list of files is none, or "".
func (m *Manifest) checkFiles() string {
	i := 0
	for _, o := range fileOrder {
		switch {
		case i < len(m.Files) && m.Files[i].Name == o.name:
			if m.Files[i].Size < 0 || m.Files[i].Size > maxFileBytes {
				return "size of " + o.name
			}
			i++
		case !o.optional:
			return "no file " + o.name
		}
	}
	if i < len(m.Files) {
		return fmt.Sprintf("file %q is unknown or in the wrong place", m.Files[i].Name)
	}
	if _, ok := m.file(proofsFile); ok != (m.Workspace != "") {
		return "proofs are for one workspace, and for that always"
	}
	return ""
}

// parseManifest is the inverse of encodeJSON for what [Manifest.check] and checkFiles accept.
func parseManifest(text []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := parseJSON(manifestFile, text, m); err != nil {
		return nil, err
	}
	if m.Format != Format {
		return nil, damaged(manifestFile, "format %q, not %q; it names version %q of tuco", m.Format, Format, m.Product)
	}
	if err := m.check(); err != nil {
		return nil, damaged(manifestFile, "%v", err)
	}
	if reason := m.checkFiles(); reason != "" {
		return nil, damaged(manifestFile, "%s", reason)
	}
	return m, nil
}

// encodeJSON returns the one encoding of v: indented by a space, with a newline at the end.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(v)
	return b.Bytes(), err
}

// parseJSON accepts what encodeJSON returns, and nothing else.
func parseJSON(file string, text []byte, v any) error {
	if err := json.Unmarshal(text, v); err != nil {
		return damaged(file, "%v", err)
	}
	again, err := encodeJSON(v)
	if err != nil {
		return damaged(file, "%v", err)
	}
	if !bytes.Equal(again, text) {
		return damaged(file, "not the one encoding of what it says")
	}
	return nil
}

func fileOf(name string, content []byte) File {
	hash := sha256.Sum256(content)
	return File{name, int64(len(content)), hex.EncodeToString(hash[:])}
}
