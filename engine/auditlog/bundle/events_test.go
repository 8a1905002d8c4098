package bundle

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"testing"

	"tuco/engine/auditlog"
)

// TestEventWriter: each line alone is what it is in a bundle, but that dropped ones have an event in every format.
func TestEventWriter(t *testing.T) {
	b := bundleOf(t, goldenExport(goldenLog(t)))
	origin := auditlog.Origin(installation, 0)
	for format, file := range map[string]string{CSV: csvFile, OCSF: ocsfFile, CEF: cefFile} {
		w, err := NewEventWriter(format, "1.2.3", origin)
		must(t, err)
		got, dropped := []byte(w.Head()), 0
		for line := range bytes.Lines(fileIn(t, b, linesFile)) {
			var r record
			if reason := r.parse(line); reason != "" {
				t.Fatal(reason)
			}
			if !r.dropped {
				got, err = w.Append(got, Line{Text: line})
				must(t, err)
				continue
			}
			event, err := w.Append(nil, Line{Seq: r.seq, Leaf: r.leaf})
			must(t, err)
			if n := bytes.Count(event, []byte("\n")); n != 1 || !bytes.Contains(event, []byte(hex.EncodeToString(r.leaf[:]))) {
				t.Errorf("%s of a dropped line: %s", format, event)
			}
			if format == CSV {
				got = append(got, event...)
			}
			dropped++
		}
		if want := fileIn(t, b, file); !bytes.Equal(got, want) || dropped == 0 {
			t.Errorf("%s: the lines, of which %d are dropped, are\n%s\nand in the bundle\n%s", format, dropped, got, want)
		}
		if _, err := w.Append(nil, Line{Text: []byte("{}\n")}); !errors.Is(err, auditlog.ErrMalformed) {
			t.Errorf("%s of no line: %v", format, err)
		}
	}
	if _, err := NewEventWriter("xml", "", origin); !errors.Is(err, auditlog.ErrInvalid) {
		t.Errorf("another format: %v", err)
	}
	if _, err := NewEventWriter(CSV, "", "nowhere"); !errors.Is(err, auditlog.ErrInvalid) {
		t.Errorf("another origin: %v", err)
	}
}

// TestEventsAreDocumented: whoever reads an entry finds its event in docs/audit.md.
func TestEventsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/audit.md")
	must(t, err)
	for name := range events {
		if !bytes.Contains(text, []byte("`"+name+"`")) {
			t.Errorf("docs/audit.md does not say what %s is", name)
		}
	}
}
