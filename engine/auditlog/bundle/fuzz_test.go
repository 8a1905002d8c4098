package bundle

import (
	"bytes"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// Both need -fuzzminimizetime 10x: as goroutines make the coverage vary, much is taken for new, and would be made smaller.

// FuzzVerify: no input makes Verify panic, and it accepts nothing but what Write has made.
func FuzzVerify(f *testing.F) {
	l := newLog(f, 12)
	known := map[string]bool{}
	for _, x := range []*Export{
		l.export(0, 12, 12), l.export(3, 6, 12), l.exportWorkspace("656f00aa01", 0, 12, 12), withConsistency(l.export(0, 2, 2), l, 1),
	} {
		b := bundleOf(f, x)
		known[string(b)] = true
		f.Add(b)
	}
	verifiers := []note.Verifier{l.key.verifier}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := Verify(bytes.NewReader(b), int64(len(b)), verifiers, nil, nil)
		if err == nil && !known[string(b)] {
			t.Errorf("accepted what Write has not made")
		}
	})
}

// FuzzFiles has a file replaced, and the manifest made to fit and signed, so that what reads the file is reached. A proof from
// another checkpoint may be good, as none is given.
func FuzzFiles(f *testing.F) {
	l := newLog(f, 12)
	b := bundleOf(f, withConsistency(l.exportWorkspace("656f00aa01", 0, 12, 12), l, 5))
	for i, file := range unpack(f, b) {
		f.Add(uint8(i), file.content)
	}
	f.Fuzz(func(t *testing.T, i uint8, content []byte) {
		files := unpack(t, b)
		name := files[int(i)%len(files)].name
		forged := rebuilt(t, b, map[string][]byte{name: content})
		if name != signatureFile {
			forged = rebuilt(t, forged, map[string][]byte{signatureFile: signManifest(t, l, fileIn(t, forged, manifestFile))})
		}
		if _, err := verify(forged, nil, l.key); err == nil && !bytes.Equal(forged, b) && name != consistencyFile {
			t.Errorf("accepted with another %s: %q", name, content)
		}
	})
}
