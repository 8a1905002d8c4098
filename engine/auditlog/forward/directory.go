package forward

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"tuco/engine/auditlog"
)

// perFile is how many entries a file has before there is another one.
const perFile = 10_000

// extensions of the files, by format.
var extensions = map[string]string{"jsonl": ".jsonl", "ocsf": ".ocsf.jsonl", "cef": ".cef", "csv": ".csv"}

// A directory holds files of entries, named by installation, restore epoch and the number of the first entry. How far it
// got is what they hold. What counts as written was synced, as were the names of the files.
type directory struct {
	path   string
	origin string
	src    Source
	enc    encoder
	most   uint64 // entries of a file

	next  uint64 // the next entry
	file  *os.File
	first uint64 // entry of file
	size  int64  // of file, as far as it is whole
	buf   []byte

	unsure     string // name of a file of which not all may be on the disk, although it can be read
	unsureFrom int64  // from this byte on
}

func newDirectory(s Sink, src Source, enc encoder) *directory {
	return &directory{path: s.dir, origin: src.Origin(), src: src, enc: enc, most: perFile}
}

// stem is what the names of the files begin with.
func (d *directory) stem() string {
	installation, epoch, _ := auditlog.ParseOrigin(d.origin) // the encoder has seen it
	return fmt.Sprintf("audit-%s-%d-", installation, epoch)
}

func (d *directory) name(first uint64) string {
	return filepath.Join(d.path, fmt.Sprintf("%s%016d%s", d.stem(), first, extensions[d.enc.format]))
}

// open finds the newest file and where it ends. What a crash left of an entry is cut off. Older files are not asked for: they
// may have been taken away.
func (d *directory) open(context.Context) (next uint64, err error) {
	firsts, err := d.files()
	if err != nil || len(firsts) == 0 {
		d.next = 0
		return 0, err
	}
	newest := firsts[len(firsts)-1]
	f, err := os.OpenFile(d.name(newest), os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	d.file, d.first = f, newest
	if d.unsure == f.Name() {
		if err := cut(f, d.unsureFrom); err != nil {
			return 0, err
		}
	}
	if d.next, d.size, err = d.check(f, newest); err != nil {
		return 0, err
	}
	if size, err := d.src.Len(); err != nil || d.next > size {
		return 0, errors.Join(err, fmt.Errorf("%q begins with entry %d, and the log has only %d: it is an older one", f.Name(), newest, size))
	}
	if d.next == newest && len(firsts) > 1 {
		if err := d.leadsTo(firsts[len(firsts)-2], newest); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(cut(f, d.size), f.Sync(), syncDir(d.path)); err != nil {
		return 0, err
	}
	d.unsure = ""
	return d.next, d.endFile()
}

// files returns the first entries of the files, in order.
func (d *directory) files() (firsts []uint64, err error) {
	all, err := os.ReadDir(d.path) // sorted, and the numbers have one length
	for _, f := range all {
		digits, ours := strings.CutPrefix(f.Name(), d.stem())
		digits, same := strings.CutSuffix(digits, extensions[d.enc.format])
		n, err := strconv.ParseUint(digits, 10, 64)
		if ours && same && err == nil && d.name(n) == filepath.Join(d.path, f.Name()) {
			firsts = append(firsts, n)
		}
	}
	return firsts, err
}

// leadsTo checks that a file ends with the entry before next.
func (d *directory) leadsTo(first, next uint64) error {
	f, err := os.Open(d.name(first))
	if err != nil {
		return err
	}
	defer f.Close()
	if end, _, err := d.check(f, first); err != nil || end != next {
		return errors.Join(err, fmt.Errorf("%q ends before entry %d, with which %q begins: move both away, and they are written again", f.Name(), next, d.name(next)))
	}
	return nil
}

func (d *directory) send(entries []Entry) error {
	for len(entries) > 0 {
		if d.file == nil {
			if err := d.create(); err != nil {
				return err
			}
		}
		n := min(uint64(len(entries)), d.first+d.most-d.next)
		if err := d.write(entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
		if err := d.endFile(); err != nil {
			return err
		}
	}
	return nil
}

// create begins a file with the next entry. After a crash here it is empty, or is not there.
func (d *directory) create() error {
	f, err := os.OpenFile(d.name(d.next), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	d.file, d.first, d.size = f, d.next, 0
	return syncDir(d.path)
}

// write appends entries. After a crash here the file ends somewhere in them.
func (d *directory) write(entries []Entry) (err error) {
	d.buf = d.buf[:0]
	if d.size == 0 {
		d.buf = append(d.buf, d.enc.head()...)
	}
	for _, e := range entries {
		if d.buf, err = d.enc.append(d.buf, e); err != nil {
			return err
		}
	}
	d.unsure, d.unsureFrom = d.file.Name(), d.size
	if _, err := d.file.WriteAt(d.buf, d.size); err != nil {
		return err
	}
	if err := errors.Join(d.file.Sync(), d.still()); err != nil {
		return err
	}
	d.unsure = ""
	d.size += int64(len(d.buf))
	d.next += uint64(len(entries))
	return nil
}

// still tells whether the file is where it was: what is written to one that was taken away is lost.
func (d *directory) still() error {
	open, err := d.file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(d.file.Name())
	if err == nil && !os.SameFile(open, there) {
		err = fmt.Errorf("%q was replaced", d.file.Name())
	}
	return err
}

// endFile closes a file that is full.
func (d *directory) endFile() error {
	if d.file == nil || d.next < d.first+d.most {
		return nil
	}
	f := d.file
	d.file = nil
	return f.Close()
}

func (d *directory) arrived() (uint64, error)   { return d.next, nil }
func (d *directory) broken() <-chan struct{}    { return nil }
func (d *directory) part(context.Context) error { return nil }

func (d *directory) close() {
	if d.file != nil {
		d.file.Close()
		d.file = nil
	}
}

// cut makes a file that is longer end at size.
func cut(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil || info.Size() <= size {
		return err
	}
	return f.Truncate(size)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
