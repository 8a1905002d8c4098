package kv

import (
	"bytes"
	"errors"
	"testing"
)

func TestSealedValueIsReadBack(t *testing.T) {
	for _, tt := range []struct {
		key, data string
		version   byte
	}{
		{"k", "data", 1}, {"k", "", 0}, {"\x00", "\x00", 255}, {"a longer key", long(5000), 7},
	} {
		value := seal([]byte(tt.key), tt.version, []byte(tt.data))
		version, data, err := unseal("path", []byte(tt.key), value)
		if version != tt.version || string(data) != tt.data || err != nil {
			t.Errorf("unseal(seal(%q, %d, %q)) = %d, %q, %v", tt.key, tt.version, tt.data, version, data, err)
		}
		if _, _, err := unseal("path", []byte(tt.key+"x"), value); !errors.Is(err, ErrDamaged) {
			t.Errorf("the value of %q, read at another key: %v, want %v", tt.key, err, ErrDamaged)
		}
		for n := range min(len(value), 20) {
			if _, _, err := unseal("path", []byte(tt.key), value[:n]); !errors.Is(err, ErrDamaged) {
				t.Errorf("the value of %q, cut to %d bytes: %v, want %v", tt.key, n, err, ErrDamaged)
			}
		}
	}
}

func TestUnknownVersionIsADamagedRecord(t *testing.T) {
	db := newTest(t)
	put(t, db, "of version 1", "k")
	for _, codec := range []Codec[note]{JSON[note](0), JSON[note](2)} {
		_, err := View(db, func(tx *Tx) (note, error) {
			v, ok := Bucket[note]{Path: "notes", Codec: codec}.Get(tx, []byte("k"))
			if ok || v != (note{}) {
				t.Errorf("Get with version %d = %+v, %v, want nothing", codec.Version, v, ok)
			}
			return v, nil
		})
		var record *RecordError
		if !errors.As(err, &record) || string(record.Key) != "k" || record.Path != "notes" {
			t.Errorf("Get with version %d = %v, want a RecordError", codec.Version, err)
		}
	}
}

func TestRecordThatIsNoJSON(t *testing.T) {
	db := newTest(t)
	words := Bucket[string]{Path: "notes", Codec: Codec[string]{
		Version: 1,
		Encode:  func(to []byte, v string) ([]byte, error) { return append(to, v...), nil },
	}}
	do(t, db, func(tx *Tx) { words.Put(tx, []byte("k"), "no json") })
	_, err := View(db, func(tx *Tx) (note, error) { v, _ := notes.Get(tx, []byte("k")); return v, nil })
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("Get = %v, want %v", err, ErrDamaged)
	}
}

// FuzzUnseal: what is accepted is what seal writes.
func FuzzUnseal(f *testing.F) {
	f.Add([]byte("k"), seal([]byte("k"), 1, []byte("data")))
	f.Add([]byte("k"), seal([]byte("k"), 0, nil))
	f.Add([]byte("k"), []byte{1, 2, 3})
	f.Add([]byte(""), []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		version, data, err := unseal("path", key, value)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("unseal(%q, %x) = %v, want %v", key, value, err, ErrDamaged)
			}
			value = seal(key, 1, value) // whatever it is, it can be stored
			if _, _, err := unseal("path", key, value); err != nil {
				t.Errorf("unseal(seal(%q)) = %v", key, err)
			}
			return
		}
		if again := seal(key, version, data); !bytes.Equal(again, value) {
			t.Errorf("unseal(%q, %x) is sealed again as %x", key, value, again)
		}
	})
}
