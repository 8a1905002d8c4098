package backup

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

// FuzzHeader: what is accepted as a header is what is written for what it says, byte for byte. The fuzzer can't find SHA-256s,
// so the third line is made for it.
func FuzzHeader(f *testing.F) {
	for _, m := range []Manifest{fullManifest(), logManifest(3, 4)} {
		m.Files, m.Payload, m.Encryption = []File{{"a", digestOf(nil)}}, digestOf([]byte("x")), None
		h, err := encodeHeader(objectFormat, m)
		if err != nil {
			f.Fatal(err)
		}
		lines := bytes.SplitAfter(h, []byte("\n"))
		f.Add(string(lines[0]), string(lines[1]))
		for _, other := range [][2]string{ // the same, written in another way
			{`"schema":2`, `"schema": 2`}, {`"schema":2`, `"schema":2.0`}, {`"kind":"full"`, `"kind":"\u0066ull"`}, {`,"schema":2`, ""}, {`{"checkpoint"`, `{"a":1,"checkpoint"`},
		} {
			f.Add(string(lines[0]), strings.Replace(string(lines[1]), other[0], other[1], 1))
		}
	}
	f.Fuzz(func(t *testing.T, first, manifest string) {
		h := appendSum([]byte(first + manifest))
		for _, b := range [][]byte{h, []byte(first + manifest)} {
			var m Manifest
			size, err := readHeader(bufio.NewReader(bytes.NewReader(b)), objectFormat, &m)
			if err != nil {
				continue
			}
			again, err := encodeHeader(objectFormat, m)
			if err != nil || !bytes.Equal(again, b[:size]) {
				t.Errorf("accepted %q, which is written %q (%v)", b[:size], again, err)
			}
		}
	})
}
