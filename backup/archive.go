package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// A Content is bytes that can be read more than once, by several goroutines: an [io.SectionReader] of a file, a
// [bytes.Reader], an [Object].
type Content interface {
	io.ReaderAt
	Size() int64 // in bytes
}

// An Input is a file that is to be in an object.
type Input struct {
	Name    string // 1 to 90 of A-Z, a-z, 0-9, _, - and ., not beginning with - or .
	Content Content
}

const blockBytes = 512

var zeros [2 * blockBytes]byte

// padding returns how many zeros follow a file in an archive.
func padding(size int64) int64 { return -size & (blockBytes - 1) }

// tarHeader returns the one header that a file has in an archive. So a reader has nothing to parse: it compares.
func tarHeader(name string, size int64) ([]byte, error) {
	var b bytes.Buffer
	format := tar.FormatUSTAR
	if size >= 1<<33 { // more than eleven octal digits
		format = tar.FormatGNU
	}
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: time.Unix(0, 0), Format: format,
	})
	return b.Bytes(), err
}

// writeTar writes the archive of inputs, and returns what it read of them.
func writeTar(ctx context.Context, w io.Writer, inputs []Input) (files []File, err error) {
	for _, in := range inputs {
		size := in.Content.Size()
		header, err := tarHeader(in.Name, size)
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", in.Name, err)
		}
		if _, err := w.Write(header); err != nil {
			return nil, err
		}
		sum := sha256.New()
		content := reader{ctx, io.NewSectionReader(in.Content, 0, size)}
		n, err := io.Copy(io.MultiWriter(w, sum), content)
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", in.Name, err)
		}
		if n != size {
			return nil, fmt.Errorf("file %s: it has %d bytes, not %d", in.Name, n, size)
		}
		if _, err := w.Write(zeros[:padding(size)]); err != nil {
			return nil, err
		}
		files = append(files, File{in.Name, Digest{size, hex.EncodeToString(sum.Sum(nil))}})
	}
	_, err = w.Write(zeros[:])
	return files, err
}

// readTar reads an archive of just these files up to its end, and gives the bytes of each to the writer that create
// returns for it. create is called in the order of files; done after the whole file was right.
func readTar(ctx context.Context, r io.Reader, files []File, create func(File) (w io.Writer, done func() error, err error)) error {
	r = reader{ctx, r}
	for _, f := range files {
		header, err := tarHeader(f.Name, f.Size)
		if err != nil {
			return damaged("file %s: %w", f.Name, err)
		}
		if err := must(r, header, "the archive's header of "+f.Name); err != nil {
			return err
		}
		w, done, err := create(f)
		if err != nil {
			return err
		}
		sum := sha256.New()
		n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(r, f.Size))
		if err == nil && n < f.Size {
			err = damaged("it ends in %s, at byte %d of %d", f.Name, n, f.Size)
		}
		if err == nil && hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
			err = damaged("%s does not have the SHA-256 in the manifest", f.Name)
		}
		if endErr := done(); err == nil { // done also closes what create opened
			err = endErr
		}
		if err != nil {
			return err
		}
		if err := must(r, zeros[:padding(f.Size)], "the padding after "+f.Name); err != nil {
			return err
		}
	}
	if err := must(r, zeros[:], "the archive's end"); err != nil {
		return err
	}
	return mustEnd(r, "the archive")
}

// must reads bytes that must come next.
func must(r io.Reader, want []byte, what string) error {
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err == io.EOF || err == io.ErrUnexpectedEOF {
		return damaged("it ends in %s, after %d bytes of it", what, n)
	} else if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return damaged("%s is not as it must be", what)
	}
	return nil
}

// mustEnd reports bytes that come after the end.
func mustEnd(r io.Reader, what string) error {
	switch n, err := io.ReadFull(r, make([]byte, 1)); {
	case n > 0:
		return damaged("something comes after the end of %s", what)
	case err != io.EOF:
		return err
	}
	return nil
}

// A reader ends with the error of its context when that is done.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
