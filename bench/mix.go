package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An Op is what a request asks for.
type Op int

// The operations of a load.
const (
	Send Op = iota
	Get
	List
	opCount
)

var opNames = [opCount]string{"send", "get", "list"}

func (op Op) String() string { return opNames[op] }

// A Mix is how many of a hundred requests ask for each operation.
type Mix [opCount]int

// UnmarshalText reads a mix such as send=80,get=20. What is not named has none.
func (m *Mix) UnmarshalText(text []byte) error {
	var mix Mix
	sum := 0
	for part := range strings.SplitSeq(string(text), ",") {
		name, share, _ := strings.Cut(part, "=")
		op := slices.Index(opNames[:], name)
		n, err := strconv.ParseUint(share, 10, 8)
		if op < 0 || err != nil {
			return fmt.Errorf("%q is not a share such as send=80, get=15 or list=5", part)
		}
		if mix[op] != 0 {
			return fmt.Errorf("%s is named twice", name)
		}
		mix[op] = int(n)
		sum += int(n)
	}
	if sum != 100 {
		return fmt.Errorf("the shares of %q add up to %d; make it 100", text, sum)
	}
	*m = mix
	return nil
}

// String is the mix as [Mix.UnmarshalText] reads it.
func (m Mix) String() string {
	var parts []string
	for _, op := range m.ops() {
		parts = append(parts, fmt.Sprintf("%s=%d", op, m[op]))
	}
	return strings.Join(parts, ",")
}

// ops are the operations that the mix has.
func (m Mix) ops() (list []Op) {
	for op := range opCount {
		if m[op] > 0 {
			list = append(list, op)
		}
	}
	return list
}

// reads tells whether the mix needs messages that are there already.
func (m Mix) reads() bool { return m[Send] < 100 }

// pick returns the operation of a number from 0 to 99.
func (m Mix) pick(n int) Op {
	for op := range opCount - 1 {
		if n -= m[op]; n < 0 {
			return op
		}
	}
	return opCount - 1
}

// only is the mix of one operation.
func only(op Op) (m Mix) {
	m[op] = 100
	return m
}
