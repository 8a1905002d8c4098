package backup

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// A Reader reads an object once, from its front: either [Reader.Check] or [Reader.Unpack] is called, once. It is not for
// several goroutines.
type Reader struct {
	Manifest Manifest
	Pace     int64 // bytes a second that Unpack writes at most; 0 is any
	r        *bufio.Reader
}

// Open reads the header of an object, whose files may have at most this schema. It takes what [Create] wrote and nothing
// else. It needs no key, and the rest of r need not be read.
//
// Errors: [ErrDamaged], [ErrNewer], those of r.
func Open(r io.Reader, maxSchema int) (*Reader, error) {
	b := &Reader{r: bufio.NewReaderSize(r, bufferBytes)}
	m := &b.Manifest
	if _, err := readHeader(b.r, objectFormat, m); err != nil {
		return nil, err
	}
	err := m.check()
	if err == nil {
		err = m.checkFilled()
	}
	if err != nil {
		return nil, damaged("the manifest: %w", err)
	}
	if m.Schema > maxSchema {
		return nil, fmt.Errorf("%w: its data has schema %d, this program reads up to %d", ErrNewer, m.Schema, maxSchema)
	}
	return b, nil
}

// Check reads the rest, and compares it with the manifest. It needs no key.
//
// Errors: [ErrDamaged], those of the reader and of the context.
func (b *Reader) Check(ctx context.Context) error {
	return b.payload(ctx).end()
}

// Verify is Check, and also unpacks everything, to nowhere, and compares it with the digests in the manifest.
//
// Errors: [ErrDamaged], [ErrKey], those of the reader and of the context.
func (b *Reader) Verify(ctx context.Context, keys Keys) error {
	return b.unpack(ctx, keys, func(File) (io.Writer, func() error, error) {
		return io.Discard, func() error { return nil }, nil
	})
}

// Unpack writes the files of the object into dir, which must not exist or be empty. Either all of them are there afterwards,
// durable, and as they were when the object was made, or dir is as it was. A process that dies leaves at most a directory
// beside it, .NAME.unpacking, which the next call removes.
//
// Errors: [ErrDamaged], [ErrKey], [ErrExists], [ErrNoSpace], those of the reader, of dir and of the context.
func (b *Reader) Unpack(ctx context.Context, keys Keys, dir string) error {
	return writeDir(dir, func(partial *os.Root) error {
		return b.unpack(ctx, keys, func(f File) (io.Writer, func() error, error) { return createIn(ctx, partial, f.Name, b.Pace) })
	})
}

func (b *Reader) unpack(ctx context.Context, keys Keys, create func(File) (io.Writer, func() error, error)) error {
	p := b.payload(ctx)
	err := func() error {
		plain, err := keys.decrypt(p, b.Manifest.Encryption, b.Manifest.Recipients)
		if err != nil {
			return err
		}
		z, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowBytes), zstd.WithDecoderLowmem(true))
		if err != nil {
			return err
		}
		defer z.Close()
		source := &decoder{z.IOReadCloser(), p}
		return readTar(ctx, source, b.Manifest.Files, create)
	}()
	if err != nil && (p.err != nil || errors.Is(err, ErrNoSpace)) {
		return cmp.Or(p.err, err) // the bytes could not be had, or not be written: nothing is said of them
	}
	// Whatever it was, bytes that are not those that were written come first: a wrong key may be none.
	if endErr := p.end(); endErr != nil {
		return endErr
	}
	return err
}

// A decoder's errors are damage, unless they are those of the payload's source.
type decoder struct {
	io.Reader
	source *payload
}

func (d *decoder) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err != nil && err != io.EOF && d.source.err == nil {
		err = damaged("the payload can't be decoded: %w", err)
	}
	return n, err
}

// A payload reads just the bytes that the manifest tells of, and hashes them.
type payload struct {
	r    io.Reader
	want Digest
	sum  hash.Hash
	n    int64
	err  error // of r, but for its end
}

func (b *Reader) payload(ctx context.Context) *payload {
	return &payload{r: reader{ctx, b.r}, want: b.Manifest.Payload, sum: sha256.New()}
}

func (p *payload) Read(buf []byte) (int, error) {
	if left := p.want.Size - p.n; left == 0 {
		return 0, io.EOF
	} else if int64(len(buf)) > left {
		buf = buf[:left]
	}
	n, err := p.r.Read(buf)
	p.n += int64(n)
	p.sum.Write(buf[:n])
	if err != nil && err != io.EOF {
		p.err = err
	}
	return n, err
}

// end reads what is left of the payload, and judges all of it.
func (p *payload) end() error {
	if _, err := io.Copy(io.Discard, p); err != nil {
		return err
	}
	if p.n < p.want.Size {
		return damaged("it ends after %d bytes of a payload of %d", p.n, p.want.Size)
	}
	if got := hex.EncodeToString(p.sum.Sum(nil)); got != p.want.SHA256 {
		return damaged("the payload does not have the SHA-256 in the manifest")
	}
	return mustEnd(p.r, "the payload")
}
