package bundle

import (
	"bytes"
	"testing"

	"tuco/engine/auditlog"
)

// TestMissingLines: of a workspace, as many lines may be missing as are no longer kept, and no more.
func TestMissingLines(t *testing.T) {
	l := newLog(t, 30) // of which every third line is of this workspace, from line 1 on
	for _, tt := range []struct {
		about  string
		pruned []Pruned
		left   int // the number of the line that is left out
		ok     bool
	}{
		{"the first", nil, 1, false},
		{"one in the middle", nil, 13, false},
		{"the first, which is no longer kept", []Pruned{{0, 2, exportTime, ""}}, 1, true},
		{"one in the middle that is no longer kept", []Pruned{{13, 14, exportTime, ""}}, 13, true},
		{"the second, after the first that is no longer kept", []Pruned{{1, 2, exportTime, ""}}, 4, false},
		{"two, of which one is no longer kept", []Pruned{{13, 14, exportTime, ""}}, 16, false},
	} {
		x := l.exportWorkspace("656f00aa01", 0, 30, 30)
		x.Pruned = tt.pruned
		all := x.Lines
		x.Lines = func(yield func(Line, error) bool) {
			for line := range all {
				if !bytes.Equal(line.Text, l.lines[tt.left]) && !yield(line, nil) {
					return
				}
			}
		}
		if _, err := Write(new(bytes.Buffer), x); (err == nil) != tt.ok {
			t.Errorf("without %s: %v, want ok %v", tt.about, err, tt.ok)
		}
	}
}

func TestShape(t *testing.T) {
	m := func(from, to uint64, workspace string, files ...string) *Manifest {
		m := &Manifest{Origin: auditlog.Origin(installation, 0), From: from, To: to, Workspace: workspace}
		for _, name := range files {
			m.Files = append(m.Files, File{Name: name})
		}
		return m
	}
	other := m(0, 9, "")
	other.Origin = auditlog.Origin(installation, 1)
	for _, tt := range []struct {
		about string
		m     *Manifest
		ok    bool
	}{
		{"all", m(0, 9, ""), true},
		{"another origin", other, false},
		{"behind the checkpoint", m(0, 10, ""), false},
		{"an edge of nothing", m(0, 9, "", edgeFile), false},
		{"no edge", m(1, 9, ""), false},
		{"a range proof of nothing", m(0, 9, "", rangeProofFile), false},
		{"no range proof", m(0, 8, ""), false},
		{"a part", m(1, 8, "", edgeFile, rangeProofFile), true},
		{"a workspace", m(1, 8, "w"), true},
		{"a workspace with an edge", m(1, 8, "w", edgeFile), false},
		{"a workspace with a range proof", m(1, 8, "w", rangeProofFile), false},
	} {
		err := checkShape(tt.m, auditlog.Checkpoint{Origin: auditlog.Origin(installation, 0), Size: 9})
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v, want ok %v", tt.about, err, tt.ok)
		}
	}
}
