package bundle

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// TestSignedNonsense: not even who has the key can make a bundle that contradicts itself, or a second encoding of one.
func TestSignedNonsense(t *testing.T) {
	l, other := newLog(t, 30), newLog(t, 29)
	other.add(storyEntry(35))
	x := l.export(6, 30, 30)
	x.Pruned = []Pruned{{0, 10, exportTime, "retention"}}
	good := bundleOf(t, x)
	partly := bundleOf(t, l.export(6, 20, 30))
	workspace := bundleOf(t, l.exportWorkspace("656f00aa01", 0, 30, 30))
	whole := bundleOf(t, l.export(0, 30, 30))

	for _, tt := range []struct {
		about  string
		bundle []byte
		file   string // that is found
	}{
		{"lines of another log", signed(t, l, bundleOf(t, other.export(0, 30, 30)), with(checkpointFile, l.sign(30, l.key.signer))), linesFile},
		{"a range proof of another log", signed(t, l, partly, edited(rangeProofFile, func(b []byte) []byte {
			i := bytes.IndexByte(b, '\n') + 1
			b[i] = "AB"[b[i]%2]
			return b
		})), rangeProofFile},
		{"a range proof from another size", signed(t, l, partly, edited(rangeProofFile, replace("old 20", "old 19"))), rangeProofFile},
		{"proofs of another log", signed(t, l, workspace, with(proofsFile, proofsOf(t, l, other))), proofsFile},
		{"a proof too many", signed(t, l, workspace, edited(proofsFile, func(b []byte) []byte { return append(b, b...) })), proofsFile},
		{"a hash of a proof in another form", signed(t, l, workspace, edited(proofsFile, loosen)), proofsFile},
		{"a number of a proof in another form", signed(t, l, workspace, edited(proofsFile, replace("index 1\n", "index 01\n"))), proofsFile},
		{"an edge in capitals", signed(t, l, good, edited(edgeFile, bytes.ToUpper)), edgeFile},
		{"an edge without its last line end", signed(t, l, good, edited(edgeFile, func(b []byte) []byte { return b[:len(b)-1] })), edgeFile},
		{"another edge", signed(t, l, good, edited(edgeFile, func(b []byte) []byte { b[0] = '0' + (b[0]+1)%10; return b })), linesFile},
		{"a dropped line in capitals", signed(t, l, good, edited(linesFile, func(b []byte) []byte {
			i := bytes.Index(b, []byte(`"leaf":"`)) + 8
			return append(append(bytes.Clone(b[:i]), bytes.ToUpper(b[i:i+64])...), b[i+64:]...)
		})), linesFile},
		{"a dropped line with a zero", signed(t, l, good, edited(linesFile, replace(`"seq":6,`, `"seq":06,`))), linesFile},
		{"a row of the table", signed(t, l, whole, edited(csvFile, replace("T-5", "T-6"))), csvFile},
		{"a row too many", signed(t, l, whole, edited(csvFile, func(b []byte) []byte { return append(b, "x\r\n"...) })), csvFile},
		{"an event", signed(t, l, whole, edited(ocsfFile, replace("T-5", "T-6"))), ocsfFile},
		{"another event", signed(t, l, whole, edited(cefFile, replace("T-5", "T-6"))), cefFile},
		{"the page", signed(t, l, whole, edited(pageFile, replace("T-5", "T-6"))), pageFile},
		{"accounts in another form", signed(t, l, whole, edited(staffFile, func(b []byte) []byte { return append(b, '\n') })), staffFile},
		{"accounts in another order", signed(t, l, whole, edited(staffFile, replace(`"s1"`, `"s3"`))), staffFile},
		{"no list of accounts", signed(t, l, whole, with(staffFile, []byte("null\n"))), staffFile},
		{"a manifest in another form", signed(t, l, whole, edited(manifestFile, func(b []byte) []byte { return append(b, '\n') })), manifestFile},
		{"another first line", signed(t, l, whole, edited(manifestFile, replace(`"firstLine": "`, `"firstLine": "0`))), manifestFile},
		{"another count", signed(t, l, whole, edited(manifestFile, replace(`"entries": 30`, `"entries": 31`))), ""},
		{"another hash", signed(t, l, whole, edited(manifestFile, changeHash(t, whole, csvFile))), csvFile},
		{"another hash of the lines", signed(t, l, whole, edited(manifestFile, changeHash(t, whole, linesFile))), linesFile},
		{"another hash of a small file", signed(t, l, whole, edited(manifestFile, changeHash(t, whole, staffFile))), staffFile},
		{"another hash of the proofs", signed(t, l, workspace, edited(manifestFile, changeHash(t, workspace, proofsFile))), proofsFile},
		{"another format", signed(t, l, whole, edited(manifestFile, replace("bundle v1", "bundle v2"))), manifestFile},
		{"another time of the files", signed(t, l, whole, edited(manifestFile, replace("T16:00:00Z", "T16:00:01Z"))), manifestFile},
	} {
		_, err := verify(tt.bundle, nil, l.key)
		var damage *DamageError
		if !errors.As(err, &damage) || tt.file != "" && damage.File != tt.file {
			t.Errorf("%s: %v, want damage of %s", tt.about, err, tt.file)
		}
	}
}

// TestBrokenChain: Write refuses lines that do not follow each other, even if the tree is over just these; and so does Verify,
// given what a changed Write would have written.
func TestBrokenChain(t *testing.T) {
	l := brokenLog(t)
	whole := l.export(0, 30, 30)
	var damage *DamageError
	if _, err := Write(new(bytes.Buffer), whole); !errors.As(err, &damage) || damage.Seq != 17 {
		t.Errorf("written: %v", err)
	}
	o, err := newOrder(&Manifest{To: 30}, nil, l.checkpoint(30))
	must(t, err)
	for seq, line := range l.lines {
		var r record
		if reason := r.parse(line); reason != "" {
			t.Fatal(reason)
		}
		if err := o.add(&r, nil); (err != nil) != (seq == 17) {
			t.Errorf("line %d: %v", seq, err)
		}
		if seq == 17 {
			return
		}
	}
}

// brokenLog returns a log whose line 17 has not the hash of the line before.
func brokenLog(t testing.TB) *testLog {
	l := newLog(t, 17)
	l.head.Line[0] ^= 1
	for i := 17; i < 30; i++ {
		l.add(storyEntry(i))
	}
	return l
}

// TestSignatures: manifest and checkpoint are signed by the same keys.
func TestSignatures(t *testing.T) {
	l, next := newLog(t, 5), newKey(t, 2)
	x := l.export(0, 5, 5)
	x.Signers = []Signer{l.key.signer, next.signer}
	x.Checkpoint = l.sign(5, x.Signers...)
	b := bundleOf(t, x)
	text := signedText(fileIn(t, b, manifestFile))
	for about, signers := range map[string][]note.Signer{
		"one": {l.key.signer}, "the other": {next.signer}, "another order": {next.signer, l.key.signer},
	} {
		signature, err := note.Sign(&note.Note{Text: text}, signers...)
		must(t, err)
		if _, err := verify(rebuilt(t, b, map[string][]byte{signatureFile: signature}), nil, l.key, next); err == nil {
			t.Errorf("manifest signed by %s: accepted", about)
		}
	}
	twice := fileIn(t, b, signatureFile)
	twice = append(twice, twice[bytes.LastIndex(twice, []byte("— ")):]...)
	if _, err := verify(rebuilt(t, b, map[string][]byte{signatureFile: twice}), nil, l.key, next); err == nil {
		t.Error("one signature twice: accepted")
	}
	loose := bytes.Clone(fileIn(t, b, signatureFile))
	i := bytes.LastIndexByte(loose, '=')
	loose[i-1]++ // in bits that carry nothing
	if _, err := verify(rebuilt(t, b, map[string][]byte{signatureFile: loose}), nil, l.key, next); err == nil {
		t.Error("signature in another form: accepted")
	}
}

// A change is another content for a file of a bundle.
type change struct {
	file   string
	change func(content []byte) []byte
}

func with(file string, content []byte) change {
	return change{file, func([]byte) []byte { return content }}
}

func edited(file string, f func(content []byte) []byte) change { return change{file, f} }

func replace(old, new string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
}

// loosen changes the last bits of the first hash, which carry nothing in base64.
func loosen(b []byte) []byte {
	i := bytes.IndexByte(b, '=') // the end of the first hash
	for c := byte('A'); ; c++ {
		loose := bytes.Clone(b)
		loose[i-1] = c
		x, err1 := base64.StdEncoding.DecodeString(string(b[i-43 : i+1]))
		y, err2 := base64.StdEncoding.DecodeString(string(loose[i-43 : i+1]))
		if c != b[i-1] && err1 == nil && err2 == nil && bytes.Equal(x, y) {
			return loose
		}
	}
}

// changeHash changes the hash of a file in a manifest.
func changeHash(t *testing.T, bundle []byte, file string) func([]byte) []byte {
	hash := fileOf(file, fileIn(t, bundle, file)).SHA256
	b, err := hex.DecodeString(hash)
	must(t, err)
	b[0] ^= 1
	return replace(hash, hex.EncodeToString(b))
}

// proofsOf returns the proofs of workspace 656f00aa01's lines in another log, with the checkpoint of l.
func proofsOf(t *testing.T, l, other *testLog) []byte {
	b := bundleOf(t, other.exportWorkspace("656f00aa01", 0, 30, 30))
	return []byte(strings.ReplaceAll(string(fileIn(t, b, proofsFile)), string(other.sign(30, other.key.signer)), string(l.sign(30, l.key.signer))))
}

// signed returns a bundle with a change, which the key of l signed. Of the archive's headers only size and checksum change.
func signed(t *testing.T, l *testLog, bundle []byte, c change) []byte {
	t.Helper()
	files := map[string][]byte{}
	for _, f := range unpack(t, bundle) {
		files[f.name] = f.content
	}
	changed := c.change(bytes.Clone(files[c.file]))
	if bytes.Equal(changed, files[c.file]) {
		t.Fatalf("%s does not change", c.file)
	}
	if c.file != manifestFile {
		bundle = rebuilt(t, bundle, map[string][]byte{c.file: changed})
		changed = fileIn(t, bundle, manifestFile)
	}
	var b bytes.Buffer
	a := archiveWriter{w: &b, modified: exportTime}
	for _, f := range unpack(t, bundle) {
		switch f.name {
		case manifestFile:
			f.content = changed
		case signatureFile:
			f.content = signManifest(t, l, changed)
		}
		a.file(f.name, int64(len(f.content)), bytes.NewReader(f.content))
	}
	must(t, a.end())
	return b.Bytes()
}
