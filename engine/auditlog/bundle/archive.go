package bundle

import (
	"bytes"
	"fmt"
	"io"
	"time"
)

// The archive is POSIX ustar with one way to write it: names and order are fixed, all files have the same mode, owner and
// time, and two blocks of zeros are the end.

const (
	blockBytes   = 512
	maxFileBytes = 1<<33 - 1 // eleven octal digits
)

// header returns the header of a file.
func header(name string, size int64, modified time.Time) []byte {
	h := make([]byte, blockBytes)
	copy(h[0:100], name)
	copy(h[100:], "0000644\x00")                             // mode
	copy(h[108:], "0000000\x00")                             // user
	copy(h[116:], "0000000\x00")                             // group
	copy(h[124:], fmt.Sprintf("%011o\x00", size))            // size
	copy(h[136:], fmt.Sprintf("%011o\x00", modified.Unix())) // time
	copy(h[148:], "        ")                                // checksum, as it counts
	copy(h[156:], "0")                                       // ordinary file
	copy(h[257:], "ustar\x0000")                             // format and its version
	copy(h[329:], "0000000\x00")                             // device
	copy(h[337:], "0000000\x00")                             // device
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// padding returns how many zeros follow a file.
func padding(size int64) int64 { return -size & (blockBytes - 1) }

var zeros [2 * blockBytes]byte

// An archiveWriter writes an archive. After a failure it writes nothing more.
type archiveWriter struct {
	w        io.Writer
	modified time.Time
	err      error
}

// file writes a file of this size.
func (a *archiveWriter) file(name string, size int64, content io.Reader) {
	a.write(header(name, size, a.modified))
	if a.err != nil {
		return
	}
	n, err := io.Copy(a.w, content)
	if a.err = err; err == nil && n != size {
		a.err = fmt.Errorf("writing %s: it has %d bytes, not %d", name, n, size)
	}
	a.write(zeros[:padding(size)])
}

func (a *archiveWriter) write(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
	}
}

func (a *archiveWriter) end() error {
	a.write(zeros[:])
	return a.err
}

// An archive reads an archive from its front.
type archive struct {
	r        io.ReaderAt
	size     int64 // of all
	at       int64
	modified time.Time
}

// next takes a file that must come next, and of which the size is known.
func (a *archive) next(name string, size int64) (*io.SectionReader, error) {
	if size < 0 || size > maxFileBytes || a.size-a.at < blockBytes+size+padding(size) {
		return nil, damaged("", "it ends before the end of %s", name)
	}
	if err := a.must(header(name, size, a.modified), "the header of "+name); err != nil {
		return nil, err
	}
	content := io.NewSectionReader(a.r, a.at, size)
	a.at += size
	return content, a.must(zeros[:padding(size)], "the zeros after "+name)
}

// must takes bytes that must come next.
func (a *archive) must(want []byte, what string) error {
	if len(want) == 0 {
		return nil
	}
	got := make([]byte, len(want))
	n, err := a.r.ReadAt(got, a.at)
	if n < len(want) && err != io.EOF {
		return err
	}
	if !bytes.Equal(got[:n], want) {
		return damaged("", "%s is not as it must be, at byte %d", what, a.at)
	}
	a.at += int64(n)
	return nil
}

// end takes the end of the archive.
func (a *archive) end() error {
	if err := a.must(zeros[:], "the end"); err != nil {
		return err
	}
	if a.at != a.size {
		return damaged("", "%d bytes come after its end", a.size-a.at)
	}
	return nil
}

// small takes a file that is kept in memory.
func (a *archive) small(name string, size int64) ([]byte, error) {
	if size > maxSmallBytes {
		return nil, damaged(name, "it has %d bytes, more than %d", size, maxSmallBytes)
	}
	section, err := a.next(name, size)
	if err != nil {
		return nil, err
	}
	content := make([]byte, size)
	n, err := section.ReadAt(content, 0)
	if int64(n) < size {
		return nil, err
	}
	return content, nil
}

const maxSmallBytes = 16 << 20

// sizeOf returns the size of the file that comes next as its header has it. Nothing is taken: [archive.next] compares.
func (a *archive) sizeOf() (size, modified int64, err error) {
	var h [blockBytes]byte
	if n, err := a.r.ReadAt(h[:], a.at); n < len(h) {
		if err == io.EOF {
			return 0, 0, damaged("", "it ends at byte %d, in a header", a.at+int64(n))
		}
		return 0, 0, err
	}
	return octal(h[124:135]), octal(h[136:147]), nil
}

// octal returns the number that the digits are, or -1.
func octal(digits []byte) (n int64) {
	for _, d := range digits {
		if d < '0' || d > '7' {
			return -1
		}
		n = n<<3 | int64(d-'0')
	}
	return n
}
