package auditlog

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func TestOrigin(t *testing.T) {
	if got, want := Origin("7f3c9a", 12), "tuco.local/7f3c9a/12"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	name, epoch, err := ParseOrigin("tuco.local/7f3c9a/12")
	if name != "7f3c9a" || epoch != 12 || err != nil {
		t.Errorf("got %q, %d, %v", name, epoch, err)
	}
	for _, origin := range []string{"", "tuco.local", "tuco.local/", "tuco.local/a", "tuco.local/a/", "tuco.local//1",
		"tuco.local/a/01", "tuco.local/a/+1", "tuco.local/a/-1", "tuco.local/a/1/", "tuco.local/a/1/2", "tuco.local/A/1",
		"tuco.local/a b/1", "tuco.local/a+b/1", "tuco.local/a\n/1", "tuco.org/a/1", "https://tuco.local/a/1", "a/1",
		"tuco.local/a/9007199254740992", "tuco.local/" + strings.Repeat("a", 65) + "/1"} {
		if _, _, err := ParseOrigin(origin); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseOrigin(%q): got %v, want a refusal", origin, err)
		}
	}
}

// goldenCheckpoint is that of the empty log, signed with the key of which every byte of the seed is 1.
const goldenCheckpoint = `tuco.local/7f3c9a/0
0
47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=

— tuco.local/7f3c9a `

func TestCheckpoint(t *testing.T) {
	key := newKey(t, installation, 1)
	log := newLog(t, 300)
	for _, size := range []int{0, 1, 2, 255, 256, 300} {
		c := log.checkpoint(t, size)
		signed := log.sign(t, size, key)
		got, err := OpenCheckpoint(signed, key.verifier)
		if err != nil || got != c {
			t.Errorf("size %d: got %v, %v, want %v", size, got, err, c)
		}
		theirs, _, err := torchwood.VerifyCheckpoint(signed, policy(c.Origin, key))
		if err != nil || theirs.Origin != c.Origin || theirs.Tree != (tlog.Tree{N: int64(size), Hash: c.Root}) {
			t.Errorf("size %d: another reader got %v, %v, want %v", size, theirs, err, c)
		}
	}
	if signed := log.sign(t, 0, key); !strings.HasPrefix(string(signed), goldenCheckpoint) {
		t.Errorf("got %s, want %s…", signed, goldenCheckpoint)
	}
	everyByteCounts(t, log.sign(t, 300, key), func(signed []byte) error {
		return second(OpenCheckpoint(signed, key.verifier))
	})
}

// policy is how another reader asks for a key and an origin.
func policy(origin string, key testKey) torchwood.Policy {
	return torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(origin), torchwood.SingleVerifierPolicy(key.verifier))
}

// The signatures are right in all of these.
func TestOpenCheckpointIsStrict(t *testing.T) {
	key := newKey(t, installation, 1)
	text := newLog(t, 3).checkpoint(t, 3).text()
	_, err := OpenCheckpoint(signText(t, text, key), key.verifier)
	must(t, err)
	root := strings.Split(text, "\n")[2]
	for _, tt := range []struct{ about, old, new string }{
		{"leading zero", "\n3\n", "\n03\n"},
		{"plus sign", "\n3\n", "\n+3\n"},
		{"negative", "\n3\n", "\n-3\n"},
		{"space", "\n3\n", "\n3 \n"},
		{"no size", "\n3\n", "\n\n"},
		{"size above 2^53", "\n3\n", "\n9007199254740992\n"},
		{"size above 2^62", "\n3\n", "\n9223372036854775807\n"},
		{"size above 2^64", "\n3\n", "\n18446744073709551619\n"},
		{"extension line", root + "\n", root + "\nmore\n"},
		{"no root", root + "\n", ""},
		{"empty root", root, ""},
		{"short root", root, root[:40]},
		{"long root", root, root + "AAAA"},
		{"root without padding", "=", ""},
		{"root with other bits at its end", root[42:43] + "=", string(root[42]+1) + "="},
		{"root in the other alphabet", root, strings.Repeat("_", 42) + "8="},
		{"epoch with a leading zero", "/0\n", "/00\n"},
		{"no epoch", "/0\n", "\n"},
		{"origin of another log", installation, "other"},
		{"origin that is a URL", "tuco.local", "https://tuco.local"},
		{"line in front", "tuco.local", "\ntuco.local"},
	} {
		if strings.Count(text, tt.old) != 1 {
			t.Errorf("%s: %q is not once in the checkpoint", tt.about, tt.old)
		}
		signed := signText(t, strings.Replace(text, tt.old, tt.new, 1), key)
		c, err := OpenCheckpoint(signed, key.verifier)
		if err == nil || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNotProven) || c != (Checkpoint{}) {
			t.Errorf("%s: got %v, %v, want a refusal", tt.about, c, err)
		}
	}
}

func TestSignatures(t *testing.T) {
	key, next, other := newKey(t, installation, 1), newKey(t, installation, 2), newKey(t, "other", 1)
	log := newLog(t, 3)
	c := log.checkpoint(t, 3)
	alone, both := log.sign(t, 3, key), log.sign(t, 3, key, next)
	mixed := signText(t, c.text(), other, key)
	line := bytes.SplitAfter(alone, []byte("\n"))[4]
	last := len(alone) - len("x=\n") // digit before the padding
	for _, tt := range []struct {
		about     string
		signed    []byte
		verifiers []note.Verifier
		want      error
	}{
		{"the key", alone, []note.Verifier{key.verifier}, nil},
		{"both known", alone, []note.Verifier{key.verifier, next.verifier}, nil},
		{"overlap, old key", both, []note.Verifier{key.verifier}, nil},
		{"overlap, new key", both, []note.Verifier{next.verifier}, nil},
		{"overlap, both known", both, []note.Verifier{key.verifier, next.verifier}, nil},
		{"also signed by another log, which isn't known", mixed, []note.Verifier{key.verifier}, nil},
		{"also signed by another log, which is known", mixed, []note.Verifier{other.verifier, key.verifier}, nil},
		{"no verifier", alone, nil, ErrNotProven},
		{"another key", alone, []note.Verifier{next.verifier}, ErrNotProven},
		{"another log's key", mixed, []note.Verifier{other.verifier}, ErrNotProven},
		{"signature of another size", bytes.Replace(alone, []byte("\n3\n"), []byte("\n2\n"), 1),
			[]note.Verifier{key.verifier}, ErrNotProven},
		{"one of two is wrong", bytes.Replace(both, []byte("\n3\n"), []byte("\n2\n"), 1),
			[]note.Verifier{next.verifier}, ErrNotProven},
		{"signature twice", append(bytes.Clone(alone), line...), []note.Verifier{key.verifier}, ErrMalformed},
		{"no signature", []byte(c.text() + "\n"), []note.Verifier{key.verifier}, ErrMalformed},
		{"only the text", []byte(c.text()), []note.Verifier{key.verifier}, ErrMalformed},
		{"other bits at the end of a signature", slices.Concat(alone[:last], []byte{alone[last] + 1}, alone[last+1:]),
			[]note.Verifier{key.verifier}, ErrMalformed},
		{"carriage returns", bytes.ReplaceAll(alone, []byte("\n"), []byte("\r\n")), []note.Verifier{key.verifier}, ErrMalformed},
		{"hyphen for a dash", bytes.Replace(alone, []byte("—"), []byte("-"), 1), []note.Verifier{key.verifier}, ErrMalformed},
		{"large", slices.Concat(alone, bytes.Repeat([]byte("\n"), maxNoteBytes)),
			[]note.Verifier{key.verifier}, ErrMalformed},
	} {
		got, err := OpenCheckpoint(tt.signed, tt.verifiers...)
		if !errors.Is(err, tt.want) || err == nil && got != c {
			t.Errorf("%s: got %v, %v, want %v", tt.about, got, err, tt.want)
		}
	}
	for says, signed := range map[string][]byte{
		"not proven: none of the keys that are known signed it":          mixed,
		"malformed note: it is not a text, an empty line and signatures": []byte("x"),
	} {
		if _, err := OpenCheckpoint(signed, next.verifier); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

func TestSignCheckpointRefuses(t *testing.T) {
	key, other := newKey(t, installation, 1), newKey(t, "other", 1)
	good := newLog(t, 3).checkpoint(t, 3)
	for _, tt := range []struct {
		about   string
		c       Checkpoint
		signers []note.Signer
	}{
		{"no signer", good, nil},
		{"another log's key", good, []note.Signer{other.signer}},
		{"one key twice", good, []note.Signer{key.signer, key.signer}},
		{"no origin", Checkpoint{Size: 3, Root: good.Root}, []note.Signer{key.signer}},
		{"an origin of two lines", Checkpoint{good.Origin + "\n", 3, good.Root}, []note.Signer{key.signer}},
		{"size above 2^53", Checkpoint{good.Origin, MaxNumber + 1, good.Root}, []note.Signer{key.signer}},
	} {
		if _, err := SignCheckpoint(tt.c, tt.signers...); err == nil {
			t.Errorf("%s: not refused", tt.about)
		}
	}
}

func TestKeys(t *testing.T) {
	key := newKey(t, installation, 1)
	const want = "tuco.local/7f3c9a+"
	if !strings.HasPrefix(key.vkey, want) || !strings.HasPrefix(key.skey, "PRIVATE+KEY+"+want) {
		t.Errorf("got %s, want %s…", key.vkey, want)
	}
	if again, err := VerifierKey(key.skey); err != nil || again != key.vkey {
		t.Errorf("VerifierKey: got %q, %v, want %q", again, err, key.vkey)
	}
	for _, skey := range []string{"", key.vkey, key.skey[:len(key.skey)-4], key.skey + "A"} {
		if _, err := VerifierKey(skey); !errors.Is(err, ErrMalformed) || skey != "" && strings.Contains(err.Error(), skey) {
			t.Errorf("VerifierKey(%q): %v", skey, err)
		}
	}
	parts := strings.SplitN(key.vkey, "+", 3)
	for _, vkey := range []string{"", key.skey, key.vkey + "\n", " " + key.vkey, key.vkey[:len(key.vkey)-4],
		parts[0] + "+" + strings.ToUpper(parts[1]) + "+" + parts[2], parts[0] + "x+" + parts[1] + "+" + parts[2],
		parts[0] + "+" + parts[1] + "+" + parts[2][:10] + "\n" + parts[2][10:]} {
		if _, err := ParseVerifier(vkey); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseVerifier(%q): got %v, want a refusal", vkey, err)
		}
	}
	for _, name := range []string{"", "tuco.local/", "tuco.local/a/1", "tuco.local/a+b", "tuco.local/a b", "example.com/a"} {
		if _, _, err := NewSigner(bytes.NewReader(make([]byte, 32)), name); !errors.Is(err, ErrInvalid) {
			t.Errorf("NewSigner(%q): got %v, want a refusal", name, err)
		}
	}
}

// Whatever is accepted has the one text of its checkpoint, and another reader sees the same in it.
func FuzzOpenCheckpoint(f *testing.F) {
	key := newKey(f, installation, 1)
	log := newLog(f, 3)
	for size := range 4 {
		f.Add(log.sign(f, size, key))
		f.Add([]byte(log.checkpoint(f, size).text()))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		notes := [][]byte{data}
		if bytes.HasSuffix(data, []byte("\n")) {
			notes = append(notes, signText(t, string(data), key))
		}
		for _, signed := range notes {
			c, err := OpenCheckpoint(signed, key.verifier)
			if err != nil {
				continue
			}
			if !bytes.HasPrefix(signed, []byte(c.text()+"\n— ")) {
				t.Errorf("%q is the checkpoint %q", signed, c.text())
			}
			theirs, _, err := torchwood.VerifyCheckpoint(signed, policy(c.Origin, key))
			if err != nil || uint64(theirs.N) != c.Size || theirs.Hash != c.Root || theirs.Extension != "" {
				t.Errorf("another reader got %v, %v of %q", theirs, err, signed)
			}
		}
	})
}
