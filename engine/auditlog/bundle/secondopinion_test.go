package bundle

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// badBundles is how many bundles TestByHandAgrees damages.
var badBundles = 15

// How far who damages a bundle goes.
const (
	alone   = iota // the file alone
	fitted         // and its hash in the manifest
	withKey        // and the signature of that
	levels
)

// A damaged bundle is still an archive that is read.
type damagedBundle struct {
	about  string
	bundle []byte
}

// damageBundle changes one file of a bundle. With the key it changes only what comes from the log: of the other formats the
// commands by hand compare the numbers alone.
func damageBundle(t *testing.T, l *testLog, bundle []byte, dice *rand.Rand) damagedBundle {
	t.Helper()
	level, files := dice.IntN(levels), unpack(t, bundle)
	if level == withKey {
		files = slices.DeleteFunc(files, func(f unpacked) bool {
			return !slices.Contains([]string{linesFile, proofsFile, edgeFile, checkpointFile}, f.name)
		})
	}
	f := files[dice.IntN(len(files))]
	for f.name == manifestFile && level != alone || f.name == signatureFile && level != alone {
		level = alone
	}
	lines := bytes.SplitAfter(bytes.TrimSuffix(f.content, []byte("\n")), []byte("\n"))
	i, j := dice.IntN(len(lines)), dice.IntN(len(lines))
	var content []byte
	var how string
	switch dice.IntN(6) {
	case 0:
		content, how = bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil), "a line left out"
		if i < len(lines)-1 {
			content = append(content, '\n')
		}
	case 1:
		content, how = append(bytes.Join(slices.Insert(slices.Clone(lines), i, append(bytes.TrimSuffix(bytes.Clone(lines[i]), []byte("\n")), '\n')), nil), '\n'), "a line doubled"
	case 2:
		swapped := bytes.Split(bytes.TrimSuffix(f.content, []byte("\n")), []byte("\n"))
		swapped[i], swapped[j] = swapped[j], swapped[i]
		content, how = append(bytes.Join(swapped, []byte("\n")), '\n'), "two lines swapped"
	default:
		content, how = bytes.Clone(f.content), "a letter or digit changed"
		for n := 0; n < 1000; n++ {
			at := dice.IntN(len(content))
			if c := content[at]; '0' <= c && c < '9' || 'a' <= c && c < 'f' || 'A' <= c && c < 'F' {
				content[at]++
				break
			}
		}
	}
	d := damagedBundle{about: fmt.Sprintf("%s: %s, level %d", f.name, how, level)}
	switch level {
	case alone:
		d.bundle = repacked(t, bundle, f.name, content)
	default:
		d.bundle = rebuilt(t, bundle, map[string][]byte{f.name: content})
		if level == withKey {
			d.bundle = rebuilt(t, d.bundle, map[string][]byte{signatureFile: signManifest(t, l, fileIn(t, d.bundle, manifestFile))})
		}
	}
	return d
}

// repacked returns a bundle with one file replaced, and everything else as it was.
func repacked(t *testing.T, bundle []byte, name string, content []byte) []byte {
	t.Helper()
	m, err := parseManifest(fileIn(t, bundle, manifestFile))
	must(t, err)
	var b bytes.Buffer
	a := archiveWriter{w: &b, modified: m.Time}
	for _, f := range unpack(t, bundle) {
		if f.name == name {
			f.content = content
		}
		a.file(f.name, int64(len(f.content)), bytes.NewReader(f.content))
	}
	must(t, a.end())
	return b.Bytes()
}

// TestByHandAgrees: the commands of docs/verify-by-hand.md and bundle.Verify say the same of bundles that were damaged in many
// ways, also by who has the key.
func TestByHandAgrees(t *testing.T) {
	script := byHand(t)
	l := newLog(t, 9)
	outside := l.checkpoint(9)
	kinds := []struct {
		bundle  []byte
		outside bool
	}{
		{bundleOf(t, l.export(0, 9, 9)), true},
		{bundleOf(t, l.export(5, 9, 9)), true},
		{bundleOf(t, l.exportWorkspace("656f00aa02", 0, 9, 9)), true},
	}
	good, bad := 0, 0
	check := func(about string, bundle []byte) {
		t.Helper()
		_, err := verify(bundle, &outside, l.key)
		said, words := runByHand(t, script, bundle, l.key.vkey, l.sign(9, l.key.signer))
		if said != (err == nil) {
			t.Errorf("%s: Verify says %v; by hand it is accepted: %v\n%s", about, err, said, words)
		}
		if said {
			good++
		} else {
			bad++
		}
	}
	for i, k := range kinds {
		check(fmt.Sprint("bundle ", i, " as it was"), k.bundle)
	}
	for seed := range badBundles {
		dice := rand.New(rand.NewPCG(uint64(seed), 5))
		k := kinds[seed%len(kinds)]
		d := damageBundle(t, l, k.bundle, dice)
		if bytes.Equal(d.bundle, k.bundle) {
			continue
		}
		check(fmt.Sprintf("seed %d, %s", seed, d.about), d.bundle)
	}
	if good < len(kinds) || bad < badBundles/2 {
		t.Errorf("%d were accepted, %d refused", good, bad)
	}
	t.Logf("%d accepted, %d refused", good, bad)
}

// runByHand runs the commands in an empty directory.
func runByHand(t *testing.T, script string, bundle []byte, vkey string, outside []byte) (accepted bool, words string) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "bundle.tar"), bundle, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "key"), []byte(vkey+"\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "outside"), outside, 0o600))
	sh := exec.Command("sh", "-c", script)
	sh.Dir = dir
	output, err := sh.CombinedOutput()
	return err == nil && strings.Contains(string(output), "Everything that was checked is in order."), string(output)
}

// TestOtherProofs: golang.org/x/mod's own check of a record takes the proofs in a workspace's bundle, and none that was changed.
func TestOtherProofs(t *testing.T) {
	l := newLog(t, 60)
	const workspace = "656f00aa01"
	bundle := bundleOf(t, l.exportWorkspace(workspace, 0, 60, 60))
	if n, err := otherProofs(t, bundle); err != nil || n != 20 {
		t.Errorf("the proofs of %d lines are good: %v", n, err)
	}
	refused := 0
	for seed := range 120 {
		dice := rand.New(rand.NewPCG(uint64(seed), 6))
		name := []string{linesFile, proofsFile}[seed%2]
		content := bytes.Clone(fileIn(t, bundle, name))
		text := bytes.Split(content, []byte("\n")) // in content's memory
		for {                                      // a hash of a proof, or the number of a line in it; or anything of a line
			line := text[dice.IntN(len(text))]
			fixed := bytes.HasPrefix(line, []byte("c2sp")) || bytes.HasPrefix(line, []byte("tuco.local")) || bytes.HasPrefix(line, []byte("—")) || bytes.Equal(line, []byte("60"))
			if len(line) == 0 || fixed {
				continue
			}
			at := dice.IntN(len(line))
			if bytes.HasSuffix(line, []byte("=")) && at == len(line)-2 { // only some of its bits count
				continue
			}
			if c := line[at]; '0' <= c && c < '9' || 'a' <= c && c < 'z' {
				line[at]++
				break
			}
		}
		damaged := rebuilt(t, bundle, map[string][]byte{name: content})
		damaged = rebuilt(t, damaged, map[string][]byte{signatureFile: signManifest(t, l, fileIn(t, damaged, manifestFile))})
		_, ours := verify(damaged, nil, l.key)
		if _, theirs := otherProofs(t, damaged); theirs == nil || ours == nil {
			t.Errorf("seed %d, %s: x/mod says %v, we say %v", seed, name, theirs, ours)
		} else {
			refused++
		}
	}
	if refused < 100 {
		t.Errorf("%d of 120 were refused", refused)
	}
}

// otherProofs checks the proofs in a bundle with nothing of ours, and returns of how many lines they are.
func otherProofs(t *testing.T, bundle []byte) (n int, err error) {
	t.Helper()
	checkpoint := strings.Split(string(fileIn(t, bundle, checkpointFile)), "\n")[:3]
	size, err := strconv.ParseInt(checkpoint[1], 10, 64)
	must(t, err)
	root, err := tlog.ParseHash(checkpoint[2])
	must(t, err)
	lines := strings.SplitAfter(string(fileIn(t, bundle, linesFile)), "\n")
	proofs := strings.Split(string(fileIn(t, bundle, proofsFile)), "c2sp.org/tlog-proof@v1\n")[1:]
	if len(lines)-1 != len(proofs) {
		return 0, fmt.Errorf("%d lines, %d proofs", len(lines)-1, len(proofs))
	}
	for i, text := range proofs {
		head, own, _ := strings.Cut(text, "\n\n")
		if !strings.HasPrefix(own, strings.Join(checkpoint, "\n")+"\n\n") {
			return n, fmt.Errorf("proof %d is of another checkpoint", i)
		}
		parts := strings.Split(head, "\n")
		index, err := strconv.ParseInt(strings.TrimPrefix(parts[0], "index "), 10, 64)
		if err != nil {
			return n, err
		}
		var proof tlog.RecordProof
		for _, part := range parts[1:] {
			hash, err := tlog.ParseHash(part)
			if err != nil {
				return n, err
			}
			proof = append(proof, hash)
		}
		if err := tlog.CheckRecord(proof, size, root, index, tlog.RecordHash([]byte(lines[i]))); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
