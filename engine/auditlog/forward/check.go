package forward

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"tuco/engine/auditlog/bundle"
)

// maxRow is more than a line of the log has in any format, and more than is written at a time.
const maxRow = 4 * batchBytes

// check compares a file with the log. It returns the entry that comes after those in it, and where they end. What is behind
// that is what a crash left of a write.
//
// Errors: the file is not one of this log, or it was changed.
func (d *directory) check(f *os.File, first uint64) (next uint64, size int64, err error) {
	rows := rows{r: bufio.NewReaderSize(io.NewSectionReader(f, 0, 1<<62), batchBytes), quoted: d.enc.format == bundle.CSV}
	bad := func(why string) error {
		return fmt.Errorf("%q is not continued, nor changed: at entry %d %s", f.Name(), next, why)
	}
	next = first
	if head := d.enc.head(); head != "" {
		row, err := rows.next()
		switch {
		case unexpected(err) != nil:
			return next, 0, err
		case err == nil && string(row) == head:
			size = int64(len(row))
		case errors.Is(err, io.EOF) || torn(d.enc.format, append(row, rows.rest()...), err):
			return next, 0, nil
		default:
			return next, 0, bad("it has another head")
		}
	}
	var entries []Entry
	for {
		row, err := rows.next()
		if errors.Is(err, io.EOF) {
			return next, size, nil
		}
		if unexpected(err) != nil {
			return next, size, err
		}
		if err == nil && len(entries) == 0 {
			if entries, err = d.src.Entries(next, batchBytes); err != nil {
				return next, size, err
			}
		}
		switch {
		case err == nil && len(entries) > 0 && next < first+d.most && d.same(row, entries[0]):
			next, size, entries = next+1, size+int64(len(row)), entries[1:]
		case torn(d.enc.format, append(row, rows.rest()...), err):
			return next, size, nil
		case err == nil && len(entries) == 0:
			return next, size, bad("it goes on, but the log does not: the log is an older one")
		default:
			return next, size, bad("it is not what the log has: the file was changed, or is of another log")
		}
	}
}

// same tells whether a row is that of an entry. JSON is compared byte by byte, as long as the log has the line; other formats
// may have been written by another version of the program, so their number and leaf hash count.
func (d *directory) same(row []byte, e Entry) bool {
	want, err := d.enc.append(d.buf[:0], e)
	d.buf = want
	if equal := err == nil && bytes.Equal(row, want); equal || d.enc.format == JSONL && e.Line != nil {
		return equal
	}
	seq, leaf, ok := place(d.enc.format, row)
	return ok && bytes.IndexByte(row, 0) < 0 && seq == e.Seq && leaf == hex.EncodeToString(e.Leaf[:])
}

// torn tells whether what a file ends with can be what a crash left of a write: a row without its end, or blocks that were not
// written. err is that of reading the first row of it.
func torn(format string, end []byte, err error) bool {
	if len(end) > maxRow {
		return false
	}
	if bytes.IndexByte(end, 0) >= 0 {
		return true
	}
	begun := 0
	for line := range bytes.Lines(end) {
		if _, _, ok := place(format, line); ok {
			begun++
		}
	}
	return errors.Is(err, errUnended) && begun <= 1
}

var errUnended = errors.New("it has no end")

// unexpected leaves out what is no error of the disk.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, errUnended) || errors.Is(err, bufio.ErrTooLong) {
		return nil
	}
	return err
}

// rows are the rows of a file, each with its line end.
type rows struct {
	r      *bufio.Reader
	quoted bool // a row goes on in the next line while a quote is open
}

// next returns the next row.
//
// Errors: [io.EOF] at the end; errUnended, with what there is, if the file ends in a row; [bufio.ErrTooLong].
func (r rows) next() (row []byte, err error) {
	for {
		part, err := r.r.ReadSlice('\n')
		row = append(row, part...)
		switch {
		case len(row) > maxRow:
			return row, bufio.ErrTooLong
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(row) == 0:
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			return row, errUnended
		case err != nil:
			return row, err
		case !r.quoted || bytes.Count(row, []byte{'"'})%2 == 0:
			return row, nil
		}
	}
}

// rest returns what follows, or of too much of it enough to tell that.
func (r rows) rest() []byte {
	rest, err := io.ReadAll(io.LimitReader(r.r, maxRow+1))
	if err != nil {
		return make([]byte, maxRow+1)
	}
	return rest
}
