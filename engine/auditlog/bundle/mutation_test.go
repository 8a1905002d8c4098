package bundle

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"tuco/engine/auditlog"
)

// mutations is how many changes TestMutations makes to each bundle.
var mutations = 2000

// TestMutations: whatever is changed in a bundle, it is found.
func TestMutations(t *testing.T) {
	l := newLog(t, 60)
	dropped := withConsistency(l.export(0, 60, 60), l, 20)
	dropped.Pruned = []Pruned{{0, 16, exportTime, "retention"}}
	rotated := l.export(12, 40, 60)
	next := newKey(t, 2)
	rotation, err := auditlog.SignRotation(l.key.skey, next.skey)
	must(t, err)
	rotated.Rotations, rotated.Signers = [][]byte{rotation}, []note.Signer{l.key.signer, next.signer}
	rotated.Checkpoint = l.sign(60, rotated.Signers...)
	rotated.RangeProof, err = auditlog.ProveConsistency(40, l.hashes, rotated.Checkpoint)
	must(t, err)

	outside := l.checkpoint(60)
	for name, x := range map[string]*Export{
		"dropped": dropped, "rotated": rotated, "workspace": l.exportWorkspace("656f00aa01", 0, 60, 60),
	} {
		t.Run(name, func(t *testing.T) {
			bundle := bundleOf(t, x)
			if _, err := verify(bundle, &outside, l.key); err != nil {
				t.Fatal(err)
			}
			for seed := range mutations {
				rnd := rand.New(rand.NewPCG(uint64(seed), 7))
				kind := mutators[seed%len(mutators)]
				changed := kind.mutate(rnd, bytes.Clone(bundle))
				if bytes.Equal(changed, bundle) {
					continue
				}
				_, err := verify(changed, &outside, l.key)
				var damage *DamageError
				if !errors.As(err, &damage) {
					t.Errorf("%s, seed %d: %v", kind.name, seed, err)
				}
			}
		})
	}
}

var mutators = []struct {
	name   string
	mutate func(rnd *rand.Rand, b []byte) []byte
}{
	{"a bit flipped", func(rnd *rand.Rand, b []byte) []byte {
		b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		return b
	}},
	{"a byte changed", func(rnd *rand.Rand, b []byte) []byte {
		b[rnd.IntN(len(b))] = byte(rnd.IntN(256))
		return b
	}},
	{"a digit changed", func(rnd *rand.Rand, b []byte) []byte {
		for i := rnd.IntN(len(b)); ; i = (i + 1) % len(b) {
			if '0' <= b[i] && b[i] <= '9' {
				b[i] = '0' + byte(rnd.IntN(10))
				return b
			}
		}
	}},
	{"bytes removed", func(rnd *rand.Rand, b []byte) []byte {
		i := rnd.IntN(len(b))
		return slices.Delete(b, i, min(len(b), i+1+rnd.IntN(600)))
	}},
	{"a block removed", func(rnd *rand.Rand, b []byte) []byte {
		i := blockBytes * rnd.IntN(len(b)/blockBytes)
		return slices.Delete(b, i, i+blockBytes)
	}},
	{"bytes inserted", func(rnd *rand.Rand, b []byte) []byte {
		return slices.Insert(b, rnd.IntN(len(b)), make([]byte, 1+rnd.IntN(600))...)
	}},
	{"a block doubled", func(rnd *rand.Rand, b []byte) []byte {
		i := blockBytes * rnd.IntN(len(b)/blockBytes)
		return slices.Insert(b, i, bytes.Clone(b[i:i+blockBytes])...)
	}},
	{"blocks swapped", func(rnd *rand.Rand, b []byte) []byte {
		i, j := blockBytes*rnd.IntN(len(b)/blockBytes), blockBytes*rnd.IntN(len(b)/blockBytes)
		block := bytes.Clone(b[i : i+blockBytes])
		copy(b[i:], b[j:j+blockBytes])
		copy(b[j:], block)
		return b
	}},
	{"lines swapped", swapLines},
	{"files swapped", swapFiles},
	{"cut off", func(rnd *rand.Rand, b []byte) []byte { return b[:rnd.IntN(len(b))] }},
	{"appended", func(rnd *rand.Rand, b []byte) []byte { return append(b, make([]byte, 1+rnd.IntN(10240))...) }},
}

// swapLines swaps two lines anywhere, which are next to each other half of the time.
func swapLines(rnd *rand.Rand, b []byte) []byte {
	lines := bytes.SplitAfter(b, []byte("\n"))
	i, j := rnd.IntN(len(lines)-1), rnd.IntN(len(lines))
	if rnd.IntN(2) == 0 {
		j = i + 1
	}
	lines[i], lines[j] = lines[j], lines[i]
	return bytes.Join(lines, nil)
}

// swapFiles swaps two files with their headers.
func swapFiles(rnd *rand.Rand, b []byte) []byte {
	var files [][]byte
	for rest := b; len(rest) > 2*blockBytes; {
		size := octal(rest[124:135])
		n := blockBytes + size + padding(size)
		files, rest = append(files, rest[:n]), rest[n:]
	}
	i, j := rnd.IntN(len(files)), rnd.IntN(len(files))
	files[i], files[j] = files[j], files[i]
	return append(bytes.Join(files, nil), zeros[:]...)
}

// TestFirstBadLine: the error names the line, where one can be named.
func TestFirstBadLine(t *testing.T) {
	l := newLog(t, 60)
	bundle := bundleOf(t, l.export(0, 60, 60))
	lines := bytes.SplitAfter(bundle, []byte("\n"))
	first := slices.IndexFunc(lines, func(line []byte) bool { return bytes.HasSuffix(line, l.lines[1]) })
	change := func(seq int, change func(line []byte) []byte) []byte {
		changed := slices.Clone(lines)
		changed[first-1+seq] = change(bytes.Clone(changed[first-1+seq]))
		return bytes.Join(changed, nil)
	}
	for _, tt := range []struct {
		about  string
		bundle []byte
		want   uint64
	}{
		{"a digit", change(17, func(line []byte) []byte { return bytes.Replace(line, []byte(`"r-17"`), []byte(`"r-18"`), 1) }), 17},
		{"a brace", change(17, func(line []byte) []byte { return bytes.Replace(line, []byte(`{`), []byte(`[`), 1) }), 17},
		{"the hash of the line before", change(18, func(line []byte) []byte {
			i := bytes.Index(line, []byte(`"prev":"`)) + 10
			line[i] = '0' + (line[i]+1)%10
			return line
		}), 18},
		{"two lines", func() []byte {
			changed := slices.Clone(lines)
			changed[first-1+20], changed[first-1+21] = changed[first-1+21], changed[first-1+20]
			return bytes.Join(changed, nil)
		}(), 20},
	} {
		_, err := verify(tt.bundle, nil, l.key)
		var damage *DamageError
		if !errors.As(err, &damage) || !damage.HasSeq || damage.Seq != tt.want {
			t.Errorf("%s: %v, want line %d", tt.about, err, tt.want)
		}
	}
}

// TestForgeries: who has everything but the key can't make a bundle that differs.
func TestForgeries(t *testing.T) {
	l := newLog(t, 40)
	own, stolen := newKey(t, 9), l.key
	for about, forge := range map[string]func() (log *testLog, x *Export){
		"a line changed, and all that follows from it": func() (*testLog, *Export) {
			forged := newLog(t, 17)
			e := storyEntry(17)
			e.Records, e.Ticket = 1, "T-6"
			forged.add(e)
			for i := 18; i < 40; i++ {
				forged.add(storyEntry(i))
			}
			return forged, forged.export(0, 40, 40)
		},
		"a line left out, and all that follows from it": func() (*testLog, *Export) {
			forged := newLog(t, 17)
			for i := 18; i < 40; i++ {
				forged.add(storyEntry(i))
			}
			return forged, forged.export(0, 39, 39)
		},
		"the last lines cut off": func() (*testLog, *Export) { return l, l.export(0, 30, 30) },
		"another staff account": func() (*testLog, *Export) {
			x := l.export(0, 40, 40)
			x.Staff[0].Role = "none"
			return l, x
		},
		"a line dropped that is kept": func() (*testLog, *Export) {
			x := l.export(0, 40, 40)
			x.Pruned = []Pruned{{3, 4, exportTime, "retention"}}
			return l, x
		},
		"another time": func() (*testLog, *Export) {
			x := l.export(0, 40, 40)
			x.Time = x.Time.AddDate(0, 1, 0)
			return l, x
		},
	} {
		log, x := forge()
		size := int(x.To)
		genuine := l.sign(min(size, 40), stolen.signer) // which everyone may have
		signature := fileIn(t, bundleOf(t, l.export(0, 40, 40)), signatureFile)
		log.key = own
		x.Signers, x.Checkpoint = []Signer{own.signer}, log.sign(size, own.signer)
		forged := bundleOf(t, x)
		for what, bundle := range map[string][]byte{
			"own key":                            forged,
			"genuine checkpoint":                 rebuilt(t, forged, map[string][]byte{checkpointFile: genuine}),
			"genuine checkpoint and a signature": rebuilt(t, forged, map[string][]byte{checkpointFile: genuine, signatureFile: signature}),
		} {
			if _, err := verify(bundle, nil, stolen); err == nil {
				t.Errorf("%s, %s: accepted", about, what)
			}
		}
	}
}

// TestKeyHolder: who has the key can write another history, but not one that continues a checkpoint from outside.
func TestKeyHolder(t *testing.T) {
	l := newLog(t, 40)
	forged := newLog(t, 17)
	for i := 18; i < 41; i++ {
		forged.add(storyEntry(i))
	}
	bundle := bundleOf(t, forged.export(0, 40, 40))
	if _, err := verify(bundle, nil, l.key); err != nil {
		t.Errorf("without a checkpoint: %v", err)
	}
	for _, size := range []int{18, 30, 40} {
		outside := l.checkpoint(size)
		if _, err := verify(bundle, &outside, l.key); err == nil {
			t.Errorf("with the checkpoint of size %d: accepted", size)
		}
	}
}

// rebuilt returns a bundle with some files replaced, and a manifest with their hashes.
func rebuilt(t testing.TB, bundle []byte, replaced map[string][]byte) []byte {
	t.Helper()
	files := unpack(t, bundle)
	m, err := parseManifest(files[0].content)
	must(t, err)
	for i := range files {
		if content, ok := replaced[files[i].name]; ok {
			files[i].content = content
		}
		for j := range m.Files {
			if m.Files[j].Name == files[i].name {
				m.Files[j] = fileOf(files[i].name, files[i].content)
			}
		}
	}
	files[0].content, err = encodeJSON(m)
	must(t, err)
	var b bytes.Buffer
	a := archiveWriter{w: &b, modified: m.Time}
	for _, f := range files {
		a.file(f.name, int64(len(f.content)), bytes.NewReader(f.content))
	}
	must(t, a.end())
	return b.Bytes()
}
