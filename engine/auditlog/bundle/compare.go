package bundle

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// A comparison reads a file that is made again, and compares.
type comparison struct {
	file File
	r    *bufio.Reader
	hash hash.Hash
	done int64
}

func newComparison(f File, r io.Reader) *comparison {
	c := &comparison{file: f, hash: sha256.New()}
	c.r = bufio.NewReaderSize(io.TeeReader(r, c.hash), 256<<10)
	return c
}

// next compares what comes next. It returns false if that is not want, and an error if it can't be read.
func (c *comparison) next(want []byte) (bool, error) {
	for len(want) > 0 {
		n := min(len(want), c.r.Size())
		got, err := c.r.Peek(n)
		if err != nil && err != io.EOF {
			return false, err
		}
		if !bytes.Equal(got, want[:n]) {
			return false, nil
		}
		c.r.Discard(n)
		c.done += int64(n)
		want = want[n:]
	}
	return true, nil
}

// end checks that nothing is left, and that the hash of all is that of the manifest.
func (c *comparison) end() error {
	if c.done != c.file.Size {
		return damaged(c.file.Name, "%d bytes follow what comes from the lines", c.file.Size-c.done)
	}
	return checkHash(c.file, c.hash)
}

func checkHash(f File, h hash.Hash) error {
	if hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
		return damaged(f.Name, "its SHA-256 is not that of the manifest")
	}
	return nil
}
