package engine

import (
	"fmt"
	"testing"

	"tuco/kv"
)

// TestMemo: the same bytes are decoded once, others never taken for them, also when there were more than are kept.
func TestMemo(t *testing.T) {
	decoded := 0
	plain := kv.JSON[string](1)
	c := memoized(kv.Codec[string]{Version: 1, Encode: plain.Encode, Decode: func(v byte, data []byte) (string, error) { decoded++; return plain.Decode(v, data) }})
	for i := range 2*maxMemo + 5 {
		want := fmt.Sprint(i)
		data, err := c.Encode(nil, &want)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := c.Decode(1, data); err != nil || *got != want {
				t.Fatalf("decoded %v, %v; want %q", got, err, want)
			}
		}
		data[1] = 'x' // the memory is used again
	}
	if decoded != 2*maxMemo+5 {
		t.Errorf("decoded %d times", decoded)
	}
	if _, err := c.Decode(1, []byte("{")); err == nil {
		t.Error("damaged bytes are taken")
	}
}
