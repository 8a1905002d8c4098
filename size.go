package main

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// size is a number of bytes, with a unit such as GiB.
type size int64

func (s *size) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a size such as 256MiB", text)
	}
	*s = size(n)
	return nil
}

func (s size) String() string { return humanize.IBytes(uint64(s)) }
