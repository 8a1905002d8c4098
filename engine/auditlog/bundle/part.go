package bundle

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
)

// A part is a file of the archive before its size is known: a temporary file, or bytes in memory. After a failure, nothing
// more is written.
type part struct {
	content []byte
	file    *os.File
	w       *bufio.Writer
	hash    hash.Hash
	size    int64
	err     error
}

func newPart(dir string) *part {
	p := &part{hash: sha256.New()}
	if p.file, p.err = os.CreateTemp(dir, "bundle-*"); p.err == nil {
		p.w = bufio.NewWriterSize(io.MultiWriter(p.file, p.hash), 128<<10)
	}
	return p
}

func (p *part) write(b []byte) error {
	if p.err != nil {
		return p.err
	}
	p.size += int64(len(b))
	_, p.err = p.w.Write(b)
	return p.err
}

// end ends the writing, and returns what the manifest says of the part.
func (p *part) end(name string) (File, error) {
	if p.err == nil {
		p.err = p.w.Flush()
	}
	if p.err == nil && p.size > maxFileBytes {
		p.err = invalid("%s would have %d bytes, more than a file can have: export a smaller range", name, p.size)
	}
	if p.err == nil {
		_, p.err = p.file.Seek(0, io.SeekStart)
	}
	if p.err != nil {
		return File{}, fmt.Errorf("writing %s: %w", name, p.err)
	}
	return File{name, p.size, hex.EncodeToString(p.hash.Sum(nil))}, nil
}

func (p *part) reader() io.Reader {
	if p.file != nil {
		return p.file
	}
	return bytes.NewReader(p.content)
}

func (p *part) remove() {
	if p.file != nil {
		p.file.Close()
		os.Remove(p.file.Name())
	}
}
