package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"tuco/kv"
)

// windowBytes bounds what a reader keeps of what it unpacked, and so its memory.
const windowBytes = 4 << 20

const bufferBytes = 1 << 20

// An Object is a whole backup object on this machine, ready to be stored. It is a [Content]; several goroutines may read it.
type Object struct {
	Manifest Manifest
	header   []byte
	payload  *os.File // without a name
}

// Create makes an object of these files. Its payload is kept in a file in dir that has no name: nothing is left of it after
// Close, or when the process dies. The fields of m that describe the payload are filled in. Memory is bounded, at some 20 MB.
//
// Errors: [ErrInvalid], [ErrNoSpace], those of the inputs and of the context.
func Create(ctx context.Context, dir string, m Manifest, inputs []Input, enc Encryption) (*Object, error) {
	if err := m.check(); err != nil {
		return nil, invalid("manifest: %w", err)
	}
	kind, to, err := enc.recipients()
	if err != nil {
		return nil, err
	}
	m.Encryption, m.Recipients = kind, enc.Recipients
	f, err := os.CreateTemp(dir, ".payload-*")
	if err != nil {
		return nil, err
	}
	o := &Object{payload: f}
	err = os.Remove(f.Name())
	if err == nil {
		sum := sha256.New()
		size := &counter{}
		buffered := bufio.NewWriterSize(io.MultiWriter(&kv.SteadyWriter{Context: ctx, File: f}, sum, size), bufferBytes)
		var encrypted io.WriteCloser
		if encrypted, err = encrypt(buffered, to); err == nil {
			m.Files, err = compress(ctx, encrypted, inputs)
			err = errors.Join(err, encrypted.Close(), buffered.Flush())
			m.Payload = Digest{size.n, hex.EncodeToString(sum.Sum(nil))}
		}
	}
	if err == nil {
		if err = m.checkFilled(); err != nil {
			err = invalid("manifest: %w", err)
		}
	}
	if err == nil {
		o.Manifest = m
		o.header, err = encodeHeader(objectFormat, m)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a backup object in %s: %w", dir, noSpace(err)), f.Close())
	}
	return o, nil
}

func compress(ctx context.Context, w io.Writer, inputs []Input) ([]File, error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(windowBytes), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	files, err := writeTar(ctx, z, inputs)
	return files, errors.Join(err, z.Close())
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// Size is that of the whole object in bytes.
func (o *Object) Size() int64 { return int64(len(o.header)) + o.Manifest.Payload.Size }

// ReadAt reads the object as it is stored.
func (o *Object) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, invalid("offset %d", off)
	}
	if off < int64(len(o.header)) {
		n = copy(p, o.header[off:])
	}
	if n == len(p) {
		return n, nil
	}
	more, err := o.payload.ReadAt(p[n:], off+int64(n)-int64(len(o.header)))
	return n + more, err
}

// Close frees the disk space of the payload.
func (o *Object) Close() error { return o.payload.Close() }

// noSpace makes errors of a full disk, a quota or a limit of file size [ErrNoSpace].
func noSpace(err error) error {
	for _, full := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		if errors.Is(err, full) {
			return fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
	}
	return err
}
