package auditlog

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

// A line can be proven in each log that holds it, and only as the line that it is.
func TestProof(t *testing.T) {
	key := newKey(t, installation, 1)
	log := newLog(t, 600)
	check := func(seq, size int) {
		signed := log.sign(t, size, key)
		proof, err := Prove(uint64(seq), log.hashes, signed)
		must(t, err)
		line, other := log.lines[seq], log.lines[(seq+1)%600]
		if c, err := VerifyProof(proof, line, key.verifier); err != nil || c != log.checkpoint(t, size) {
			t.Errorf("line %d of %d: got %v, %v", seq, size, c, err)
		}
		if err := torchwood.VerifyProof(policy(Origin(installation, 0), key), LeafHash(line), proof); err != nil {
			t.Errorf("line %d of %d: another reader says %v", seq, size, err)
		}
		if _, err := VerifyProof(proof, other, key.verifier); !errors.Is(err, ErrNotProven) {
			t.Errorf("line %d of %d as proof of the next: %v", seq, size, err)
		}
		if _, err := Prove(uint64(size), log.hashes, signed); !errors.Is(err, ErrInvalid) {
			t.Errorf("line %d of %d: got %v, want a refusal", size, size, err)
		}
	}
	for size := 1; size <= 40; size++ {
		for seq := range size {
			check(seq, size)
		}
	}
	for _, size := range []int{255, 256, 257, 511, 512, 513, 600} {
		for _, seq := range []int{0, 1, 127, 128, size / 2, size - 2, size - 1} {
			check(seq, size)
		}
	}
}

func TestProofIsStrict(t *testing.T) {
	key := newKey(t, installation, 1)
	log := newLog(t, 30)
	signed := log.sign(t, 30, key)
	good, err := Prove(9, log.hashes, signed)
	must(t, err)
	accepts := func(proof []byte) error { return second(VerifyProof(proof, log.lines[9], key.verifier)) }
	everyByteCounts(t, good, accepts)
	everyByteCounts(t, log.lines[9], func(line []byte) error { return second(VerifyProof(good, line, key.verifier)) })

	hash := strings.Split(string(good), "\n")[2]
	for _, tt := range []struct{ about, old, new string }{
		{"extra data", "index", "extra AAAA\nindex"},
		{"leading zero", "index 9", "index 09"},
		{"plus sign", "index 9", "index +9"},
		{"another place", "index 9", "index 8"},
		{"too large an index", "index 9", "index 9223372036854775807"},
		{"other version", "@v1", "@v2"},
		{"a hash less", hash + "\n", ""},
		{"a hash more", hash + "\n", hash + "\n" + hash + "\n"},
		{"hash with other bits at its end", hash[42:], string(hash[42]+1) + "="},
		{"carriage return", hash + "\n", hash + "\r\n"},
		{"blank line more", "\n\ntuco", "\n\n\ntuco"},
		{"no blank line", "\n\ntuco", "\ntuco"},
	} {
		if proof := strings.Replace(string(good), tt.old, tt.new, 1); proof == string(good) || accepts([]byte(proof)) == nil {
			t.Errorf("%s: not refused", tt.about)
		}
	}
	large := slices.Concat([]byte("c2sp.org/tlog-proof@v1\nindex 9\n"), bytes.Repeat([]byte(hash+"\n"), 1000), good)
	if err := accepts(large); !errors.Is(err, ErrMalformed) {
		t.Errorf("large: %v", err)
	}
	// A proof is bound to its checkpoint, and its checkpoint to the key.
	if old, err := Prove(9, log.hashes, log.sign(t, 29, key)); err != nil || accepts(old) != nil {
		t.Errorf("smaller log: %v", err)
	}
	other := log.sign(t, 30, newKey(t, installation, 2))
	if err := accepts(bytes.Replace(good, signed, other, 1)); !errors.Is(err, ErrNotProven) {
		t.Errorf("another key: %v", err)
	}
}

// A line that stands at another place than it says is not accepted there, though the tree holds it.
func TestProofOfMisplacedLine(t *testing.T) {
	key := newKey(t, installation, 1)
	lines := newLog(t, 4).lines
	lines[1], lines[2] = lines[2], lines[1]
	var log testLog
	for i, line := range lines {
		kept, err := Append(uint64(i), line, log.hashes)
		must(t, err)
		log.hashes = append(log.hashes, kept...)
	}
	signed := log.sign(t, 4, key)
	for i, want := range []error{nil, ErrNotProven, ErrNotProven, nil} {
		proof, err := Prove(uint64(i), log.hashes, signed)
		must(t, err)
		if _, err := VerifyProof(proof, lines[i], key.verifier); !errors.Is(err, want) {
			t.Errorf("line at %d: got %v, want %v", i, err, want)
		}
	}
}

// No proof is made that wouldn't hold.
func TestProveRefuses(t *testing.T) {
	key := newKey(t, installation, 1)
	log, more := newLog(t, 10), newLog(t, 11)
	e := leastEntry()
	log.add(t, e) // where more has another line
	signed := more.sign(t, 11, key)
	for about, err := range map[string]error{
		"line of another log":   second(Prove(3, log.hashes, signed)),
		"another log":           second(ProveConsistency(3, log.hashes, signed)),
		"from a larger size":    second(ProveConsistency(12, more.hashes, signed)),
		"not a checkpoint":      second(Prove(3, log.hashes, []byte("x\n\n"))),
		"not even a note":       second(Prove(3, log.hashes, nil)),
		"hashes aren't there":   second(Prove(3, log.hashes[:5], signed)),
		"line that isn't there": second(Prove(11, more.hashes, signed)),
	} {
		if err == nil {
			t.Errorf("%s: not refused", about)
		}
	}
}

func TestConsistency(t *testing.T) {
	key := newKey(t, installation, 1)
	log := newLog(t, 600)
	check := func(old, size int) {
		signed := log.sign(t, size, key)
		proof, err := ProveConsistency(uint64(old), log.hashes, signed)
		must(t, err)
		before := log.checkpoint(t, old)
		if c, err := VerifyConsistency(proof, before, key.verifier); err != nil || c != log.checkpoint(t, size) {
			t.Errorf("from %d to %d: got %v, %v", old, size, c, err)
		}
		wrong := before
		wrong.Root[7]++
		if _, err := VerifyConsistency(proof, wrong, key.verifier); !errors.Is(err, ErrNotProven) {
			t.Errorf("from %d to %d, another root: %v", old, size, err)
		}
		if _, err := VerifyConsistency(proof, log.checkpoint(t, old+1), key.verifier); !errors.Is(err, ErrNotProven) {
			t.Errorf("from %d to %d as from %d: %v", old, size, old+1, err)
		}
	}
	for size := range 41 {
		for old := range size + 1 {
			check(old, size)
		}
	}
	for _, size := range []int{255, 256, 257, 512, 599} {
		for _, old := range []int{0, 1, 128, 255, size / 2, size - 1, size} {
			check(min(old, size), size)
		}
	}
}

func TestConsistencyIsStrict(t *testing.T) {
	key := newKey(t, installation, 1)
	log := newLog(t, 30)
	good, err := ProveConsistency(11, log.hashes, log.sign(t, 30, key))
	must(t, err)
	old := log.checkpoint(t, 11)
	accepts := func(proof []byte) error { return second(VerifyConsistency(proof, old, key.verifier)) }
	everyByteCounts(t, good, accepts)
	hash := strings.Split(string(good), "\n")[1]
	for _, tt := range []struct{ about, old, new string }{
		{"leading zero", "old 11", "old 011"},
		{"plus sign", "old 11", "old +11"},
		{"a hash more", hash + "\n", hash + "\n" + hash + "\n"},
		{"hash with other bits at its end", hash[42:], string(hash[42]+1) + "="},
	} {
		if proof := strings.Replace(string(good), tt.old, tt.new, 1); proof == string(good) || accepts([]byte(proof)) == nil {
			t.Errorf("%s: not refused", tt.about)
		}
	}
}

func TestCheckConsistent(t *testing.T) {
	log := newLog(t, 10)
	at := func(size int, name string, epoch uint64) Checkpoint {
		c := log.checkpoint(t, size)
		c.Origin = Origin(name, epoch)
		return c
	}
	proof, err := tlog.ProveTree(10, 6, log.hashes)
	must(t, err)
	another := at(0, "a", 0)
	another.Root[0]++
	huge := at(10, "a", 0)
	huge.Size = 1<<63 - 1
	for _, tt := range []struct {
		about    string
		old, new Checkpoint
		proof    tlog.TreeProof
		want     error
	}{
		{"more lines", at(6, "a", 0), at(10, "a", 0), proof, nil},
		{"after a restore", at(6, "a", 0), at(10, "a", 3), proof, nil},
		{"the same", at(6, "a", 0), at(6, "a", 0), nil, nil},
		{"from nothing", at(0, "a", 0), at(6, "a", 0), nil, nil},
		{"nothing yet", at(0, "a", 0), at(0, "a", 0), nil, nil},
		{"another installation", at(6, "a", 0), at(10, "b", 0), proof, ErrNotProven},
		{"an earlier epoch", at(6, "a", 1), at(10, "a", 0), proof, ErrNotProven},
		{"less lines", at(10, "a", 0), at(6, "a", 0), proof, ErrNotProven},
		{"no proof", at(6, "a", 0), at(10, "a", 0), nil, ErrNotProven},
		{"proof for another size", at(5, "a", 0), at(10, "a", 0), proof, ErrNotProven},
		{"the same with a proof", at(6, "a", 0), at(6, "a", 0), proof, ErrNotProven},
		{"from nothing with a proof", at(0, "a", 0), at(6, "a", 0), proof, ErrNotProven},
		{"nothing with another root before", another, at(6, "a", 0), nil, ErrNotProven},
		{"nothing with another root after", at(0, "a", 0), another, nil, ErrNotProven},
		{"of a size that no log has", at(6, "a", 0), huge, proof, ErrNotProven},
		{"no origins", Checkpoint{}, Checkpoint{}, nil, ErrNotProven},
	} {
		if err := CheckConsistent(tt.old, tt.new, tt.proof); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.about, err, tt.want)
		}
	}
}

// Only one text, up to its signatures, proves that a line is in the log of a checkpoint, and one that the log continues
// another.
func FuzzProof(f *testing.F) {
	key := newKey(f, installation, 1)
	log := newLog(f, 30)
	const seq = 9
	signed := log.sign(f, 30, key)
	proof, err := Prove(seq, log.hashes, signed)
	must(f, err)
	consistent, err := ProveConsistency(seq, log.hashes, signed)
	must(f, err)
	old := log.checkpoint(f, seq)
	f.Add(proof)
	f.Add(consistent)
	f.Add(bytes.TrimSuffix(proof, signed))
	f.Add(bytes.TrimSuffix(consistent, signed))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, text := range [][]byte{data, append(bytes.Clone(data), signed...)} {
			_, err := VerifyProof(text, log.lines[seq], key.verifier)
			if err == nil && !bytes.HasPrefix(text, unsigned(proof)) {
				t.Errorf("%q proves what %q does", text, proof)
			}
			_, err = VerifyConsistency(text, old, key.verifier)
			if err == nil && !bytes.HasPrefix(text, unsigned(consistent)) {
				t.Errorf("%q proves what %q does", text, consistent)
			}
		}
	})
}

// unsigned returns a proof without the signature of its checkpoint.
func unsigned(proof []byte) []byte { return proof[:bytes.LastIndex(proof, []byte("— "))] }
