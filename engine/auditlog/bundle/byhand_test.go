package bundle

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// byHand returns the commands of docs/verify-by-hand.md as they stand there.
func byHand(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"sh", "tar", "jq", "sha256sum", "awk", "openssl", "base64", "od", "paste", "diff"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the commands need %s, which this machine does not have", tool)
		}
	}
	text, err := os.ReadFile("../../../docs/verify-by-hand.md")
	must(t, err)
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		script.WriteString(block[1])
	}
	return script.String()
}

// TestByHand: the commands accept what is in order, and nothing else.
func TestByHand(t *testing.T) {
	script := byHand(t)
	l := newLog(t, 21)
	good := l.export(0, 21, 21)
	good.Pruned = []Pruned{{0, 3, exportTime, "retention"}, {8, 9, exportTime, "retention"}}
	bundle := bundleOf(t, good)
	forged := newLog(t, 20)
	forged.add(storyEntry(30))
	rewritten := newLog(t, 11)
	rewritten.add(storyEntry(30))
	foreign := newLog(t, 21)
	foreign.key = newKey(t, 2)
	outside := l.sign(21, l.key.signer)
	entries := fileIn(t, bundle, linesFile)
	brokenChain := bytes.Join(bytes.SplitAfter(entries, []byte("\n"))[:20], nil)

	for _, tt := range []struct {
		about   string
		bundle  []byte
		outside []byte
		want    string // of what is said, if all is in order
	}{
		{"with dropped lines", bundle, outside, "The lines are those of the checkpoint."},
		{"from before, passed through", bundle, l.sign(12, l.key.signer), "The log continues the checkpoint that was kept, of size 12."},
		{"from before the first line", bundleOf(t, l.export(5, 21, 21)), l.sign(5, l.key.signer), "The log continues the checkpoint that was kept, of size 5."},
		{"from before, not passed through", bundleOf(t, l.export(5, 21, 21)), l.sign(4, l.key.signer), ""},
		{"from before, of another log", bundle, rewritten.sign(12, l.key.signer), ""},
		{"empty", bundleOf(t, newLog(t, 0).export(0, 0, 0)), nil, "The lines are those of the checkpoint."},
		{"not from the beginning", bundleOf(t, l.export(5, 21, 21)), nil, "The lines are those of the checkpoint."},
		{"not to the end", bundleOf(t, l.export(5, 15, 21)), nil, "The lines end before the checkpoint"},
		{"one workspace", bundleOf(t, l.exportWorkspace("656f00aa01", 0, 21, 21)), nil, "All lines are in the log"},
		{"one workspace at the end", bundleOf(t, l.exportWorkspace("656f00aa02", 0, 21, 21)), nil, "comes after it"},
		{"a bit of a line flipped", flipped(bundle, []byte("r-17")), nil, ""},
		{"a bit of the checkpoint flipped", flipped(bundle, fileIn(t, bundle, checkpointFile)[30:]), nil, ""},
		{"a line removed and the hashes made to fit", rebuilt(t, bundle, map[string][]byte{linesFile: brokenChain}), nil, ""},
		{"another key", bundleOf(t, foreign.export(0, 21, 21)), nil, ""},
		{"written anew with the key", bundleOf(t, forged.export(0, 21, 21)), outside, ""},
		{"the lines of another log, signed", resigned(t, l, bundleOf(t, forged.export(0, 21, 21))), nil, ""},
		{"the proofs of another log, signed", resigned(t, l, bundleOf(t, forged.exportWorkspace("656f00aa01", 0, 21, 21))), nil, ""},
	} {
		if tt.about == "one workspace at the end" && l.head.Seq%3 != 0 {
			t.Fatal("the last line is not of this workspace")
		}
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "bundle.tar"), tt.bundle, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, "key"), []byte(l.key.vkey+"\n"), 0o600))
		if tt.outside != nil {
			must(t, os.WriteFile(filepath.Join(dir, "outside"), tt.outside, 0o600))
		}
		sh := exec.Command("sh", "-c", script)
		sh.Dir = dir
		output, err := sh.CombinedOutput()
		said := strings.Contains(string(output), "Everything that was checked is in order.")
		if (err == nil) != (tt.want != "") || said != (tt.want != "") || !strings.Contains(string(output), tt.want) {
			t.Errorf("%s: %v, want %q in:\n%s", tt.about, err, tt.want, output)
		}
	}
}

// flipped returns a bundle with a bit flipped where what begins.
func flipped(bundle, what []byte) []byte {
	b := bytes.Clone(bundle)
	b[bytes.Index(b, what)+3] ^= 1
	return b
}

// resigned returns a bundle with the checkpoint of l, and a manifest that the key of l signed.
func resigned(t *testing.T, l *testLog, bundle []byte) []byte {
	t.Helper()
	b := rebuilt(t, bundle, map[string][]byte{checkpointFile: l.sign(21, l.key.signer)})
	manifest := fileIn(t, b, manifestFile)
	return rebuilt(t, b, map[string][]byte{signatureFile: signManifest(t, l, manifest)})
}
