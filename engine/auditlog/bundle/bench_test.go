package bundle

import (
	"bytes"
	"io"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"tuco/engine/auditlog"
)

const benchLines = 50_000

// benchLog returns a log of the usual entry, a read of two records.
func benchLog(b *testing.B) *testLog {
	l := newLog(b, 0)
	for range benchLines {
		l.add(storyEntry(6))
	}
	return l
}

// BenchmarkVerify is all of the checking, over the lines of a bundle.
func BenchmarkVerify(b *testing.B) {
	l := benchLog(b)
	bundle := bundleOf(b, l.export(0, benchLines, benchLines))
	verifiers := []note.Verifier{l.key.verifier}
	b.SetBytes(int64(len(bundle)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(bytes.NewReader(bundle), int64(len(bundle)), verifiers, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*benchLines/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkWrite(b *testing.B) {
	x := benchLog(b).export(0, benchLines, benchLines)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Write(io.Discard, x); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*benchLines/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkFormats is what each format costs per line.
func BenchmarkFormats(b *testing.B) {
	l := newLog(b, 0)
	l.add(storyEntry(6))
	var r record
	if reason := r.parse(l.lines[0]); reason != "" {
		b.Fatal(reason)
	}
	for _, f := range newDerivation(&Manifest{Product: "1.2.3", Origin: auditlog.Origin(installation, 0)}).formats {
		b.Run(f.file, func(b *testing.B) {
			var row []byte
			for b.Loop() {
				row = f.append(row[:0], &r)
			}
		})
	}
}
