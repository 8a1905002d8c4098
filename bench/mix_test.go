package bench

import (
	"strings"
	"testing"
)

func TestMix(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Mix
	}{
		{"send=100", Mix{100, 0, 0}},
		{"get=100", Mix{0, 100, 0}},
		{"send=80,get=15,list=5", Mix{80, 15, 5}},
		{"list=5,send=95", Mix{95, 0, 5}},
		{"send=100,get=0,list=0", Mix{100, 0, 0}},
	} {
		var m Mix
		if err := m.UnmarshalText([]byte(tt.text)); err != nil || m != tt.want {
			t.Errorf("the mix %q is %v, %v, want %v", tt.text, m, err, tt.want)
		}
		var again Mix
		if err := again.UnmarshalText([]byte(m.String())); err != nil || again != m {
			t.Errorf("%q, written and read again, is %v, %v", tt.text, again, err)
		}
	}
}

func TestMixRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                 `"" is not a share`,
		"send":             `"send" is not a share`,
		"send=":            `"send=" is not a share`,
		"send=-1,get=101":  `"send=-1" is not a share`,
		"delete=100":       `"delete=100" is not a share`,
		"send=50,send=50":  "send is named twice",
		"send=50,get=40":   "add up to 90; make it 100",
		"send=200,get=100": "add up to 300; make it 100",
		"send=100,":        `"" is not a share`,
	} {
		m := only(List)
		if err := m.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the mix %q: got %v, want an error with %q", text, err, want)
		}
		if m != only(List) {
			t.Errorf("the mix %q was refused, and set to %v", text, m)
		}
	}
}

// TestPick: of a hundred numbers, each operation gets its share.
func TestPick(t *testing.T) {
	for _, m := range []Mix{{100, 0, 0}, {0, 100, 0}, {0, 0, 100}, {70, 20, 10}, {0, 99, 1}} {
		var got Mix
		for n := range 100 {
			got[m.pick(n)]++
		}
		if got != m {
			t.Errorf("of the mix %v come %v", m, got)
		}
	}
}
