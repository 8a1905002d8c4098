package bundle

import (
	"cmp"
	"iter"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"tuco/engine/auditlog"
)

// An Export is what the server knows of the lines to export.
type Export struct {
	Product   string    // version of the product
	Time      time.Time // of the export, cut to seconds
	Workspace string    // id; empty for the whole installation
	From, To  uint64    // the lines with these seq, To not included

	// Lines are the lines in order. For the whole installation all lines of the range; for a workspace, those of it.
	// What they hold is read before the next one is asked for.
	Lines iter.Seq2[Line, error]

	Checkpoint  []byte   // signed note, of To lines or more
	Signers     []Signer // the keys that signed the checkpoint, in the same order
	Consistency []byte   // see [auditlog.ProveConsistency]; from an earlier checkpoint to this one; nil without one

	// RangeProof is the proof of consistency from size To to the checkpoint. It is needed for the whole installation
	// if the checkpoint is of more than To lines, and must be nil otherwise.
	RangeProof []byte

	Edge      []auditlog.Hash // see [auditlog.Edge]; of From lines; for the whole installation only
	Rotations [][]byte        // see [auditlog.SignRotation]; oldest first
	Pruned    []Pruned        // in order
	Staff     []Staff         // in any order

	// TempDir is where the parts are kept until their sizes are known. They hold what the bundle does. Empty is the
	// system's.
	TempDir string
}

// A Signer signs notes.
type Signer = note.Signer

// A Line is one line of the log. It has either a Text, or a Leaf and a Seq.
type Line struct {
	Text  []byte        // with its newline; nil if it is no longer kept
	Seq   uint64        // where Text is nil
	Leaf  auditlog.Hash // where Text is nil
	Proof []byte        // see [auditlog.Prove]; from the line to the checkpoint; for one workspace only
}

// Pruned is a range of lines that are no longer kept.
type Pruned struct {
	From   uint64    `json:"from"`
	To     uint64    `json:"to"` // not included
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
}

// Staff is a staff account. Times are cut to seconds.
type Staff struct {
	ID       string    `json:"id"`
	Employer string    `json:"employer"`
	Country  string    `json:"country"`
	Role     string    `json:"role"`
	Created  time.Time `json:"created"`
	Disabled time.Time `json:"disabled,omitzero"` // zero if it isn't
}

// manifest returns the manifest of x as far as it is known before the lines are read.
func (x *Export) manifest(origin string) (*Manifest, error) {
	installation, _, err := auditlog.ParseOrigin(origin)
	if err != nil {
		return nil, err
	}
	m := &Manifest{
		Format: Format, Product: x.Product, Installation: installation, Origin: origin, Workspace: x.Workspace,
		From: x.From, To: x.To, Time: seconds(x.Time), Pruned: slices.Clone(x.Pruned),
	}
	for i := range m.Pruned {
		m.Pruned[i].Time = seconds(m.Pruned[i].Time)
	}
	return m, m.check()
}

// staff returns the accounts in the order of the file.
func (x *Export) staff() []Staff {
	staff := append([]Staff{}, x.Staff...)
	for i := range staff {
		staff[i].Created = seconds(staff[i].Created)
		if !staff[i].Disabled.IsZero() {
			staff[i].Disabled = seconds(staff[i].Disabled)
		}
	}
	slices.SortFunc(staff, func(a, b Staff) int { return cmp.Compare(a.ID, b.ID) })
	return staff
}

// checkStaff returns a reason why staff is not as a file holds it, or "".
func checkStaff(staff []Staff) string {
	for i, s := range staff {
		switch {
		case s.ID == "" || !isText(s.ID) || !isText(s.Employer) || !isText(s.Country) || !isText(s.Role):
			return "staff account: its fields must be short texts without control characters, and it must have an id"
		case i > 0 && staff[i-1].ID >= s.ID:
			return "staff accounts: not in the order of their ids"
		case !isTime(s.Created) || !s.Disabled.IsZero() && !isTime(s.Disabled):
			return "staff account: its times must be whole seconds, in UTC"
		}
	}
	return ""
}

func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// isTime reports whether t is in whole seconds and fits into the header of a file.
func isTime(t time.Time) bool {
	return t.Location() == time.UTC && t.Nanosecond() == 0 && 0 <= t.Unix() && t.Unix() < 1<<33
}

// isText reports whether s can stand in every format as it is.
func isText(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return len(s) <= auditlog.MaxTextBytes && utf8.ValidString(s)
}
