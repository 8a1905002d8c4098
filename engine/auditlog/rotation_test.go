package auditlog

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// Who trusts the first key is led to the third by two statements.
func TestRotation(t *testing.T) {
	keys := []testKey{newKey(t, installation, 1), newKey(t, installation, 2), newKey(t, installation, 3)}
	trusted := []note.Verifier{keys[0].verifier}
	for i := range 2 {
		signed, err := SignRotation(keys[i].skey, keys[i+1].skey)
		must(t, err)
		r, err := OpenRotation(signed, trusted...)
		if want := (Rotation{keys[i].vkey, keys[i+1].vkey}); err != nil || r != want {
			t.Fatalf("got %v, %v, want %v", r, err, want)
		}
		v, err := ParseVerifier(r.New)
		must(t, err)
		trusted = append(trusted, v)
	}
	log := newLog(t, 3)
	_, err := OpenCheckpoint(log.sign(t, 3, keys[2]), trusted...)
	must(t, err)
}

func TestOpenRotationRefuses(t *testing.T) {
	a, b, c := newKey(t, installation, 1), newKey(t, installation, 2), newKey(t, installation, 3)
	other := newKey(t, "other", 4)
	text := Rotation{a.vkey, b.vkey}.text()
	open := func(signed []byte) error { return second(OpenRotation(signed, a.verifier)) }
	good, err := SignRotation(a.skey, b.skey)
	must(t, err)
	everyByteCounts(t, good, open)
	for _, tt := range []struct {
		about   string
		text    string
		signers []testKey
		want    error
	}{
		{"as it should be", text, []testKey{a, b}, nil},
		{"only the old key signed", text, []testKey{a}, ErrMalformed},
		{"only the new key signed", text, []testKey{b}, ErrNotProven},
		{"in the other order", text, []testKey{b, a}, ErrMalformed},
		{"a third signed too", text, []testKey{a, b, c}, ErrMalformed},
		{"a third signed instead", text, []testKey{a, c}, ErrMalformed},
		{"the old key isn't known", Rotation{c.vkey, b.vkey}.text(), []testKey{c, b}, ErrNotProven},
		{"the known key is the new one", Rotation{c.vkey, a.vkey}.text(), []testKey{c, a}, ErrNotProven},
		{"one key", Rotation{a.vkey, a.vkey}.text(), []testKey{a}, ErrMalformed},
		{"another log's key", Rotation{a.vkey, other.vkey}.text(), []testKey{a, other}, ErrMalformed},
		{"line more", text + "x\n", []testKey{a, b}, ErrMalformed},
		{"line less", strings.Join(strings.SplitAfter(text, "\n")[:2], ""), []testKey{a, b}, ErrMalformed},
		{"other version", strings.Replace(text, "v1", "v2", 1), []testKey{a, b}, ErrMalformed},
		{"space", strings.Replace(text, "old ", "old  ", 1), []testKey{a, b}, ErrMalformed},
		{"upper-case key id", strings.Replace(text, strings.SplitN(b.vkey, "+", 3)[1],
			strings.ToUpper(strings.SplitN(b.vkey, "+", 3)[1]), 1), []testKey{a, b}, ErrMalformed},
		{"not a key", Rotation{a.vkey, "x"}.text(), []testKey{a, b}, ErrMalformed},
		{"a checkpoint", newLog(t, 3).checkpoint(t, 3).text(), []testKey{a, b}, ErrMalformed},
	} {
		if err := open(signText(t, tt.text, tt.signers...)); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.about, err, tt.want)
		}
	}
	if _, err := OpenCheckpoint(good, a.verifier); !errors.Is(err, ErrMalformed) {
		t.Errorf("rotation as a checkpoint: %v", err)
	}
}

func TestSignRotationRefuses(t *testing.T) {
	a, b, other := newKey(t, installation, 1), newKey(t, installation, 2), newKey(t, "other", 3)
	for _, tt := range []struct{ about, old, new string }{
		{"one key", a.skey, a.skey},
		{"two logs", a.skey, other.skey},
		{"no old key", "", b.skey},
		{"no new key", a.skey, ""},
		{"verifier key", a.skey, b.vkey},
	} {
		if _, err := SignRotation(tt.old, tt.new); err == nil {
			t.Errorf("%s: not refused", tt.about)
		}
	}
}
