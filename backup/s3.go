package backup

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// A bucket is a target whose objects are those of an S3-compatible service. A large one is sent in parts, which nobody sees
// before all are there.
type bucket struct {
	client *minio.Client
	name   string
	prefix string // ends with / unless it is empty
	now    func() time.Time
}

// abandonedAfter is how old parts are of which it is clear that nobody will add to them. There is no lock to go by.
const abandonedAfter = 24 * time.Hour

// maxTries bounds how often one request is sent; the pauses between them add up to some seconds.
const maxTries = 4

// failed says what was done, and which kind of failure it is.
func (b *bucket) failed(doing, name string, err error) error {
	if err == nil {
		return nil
	}
	where := fmt.Sprintf("%s %s in s3://%s", doing, b.prefix+name, b.name)
	response := minio.ToErrorResponse(err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrExists), errors.Is(err, ErrDamaged):
		return fmt.Errorf("%s: %w", where, err)
	case response.Code == minio.NoSuchKey:
		return fmt.Errorf("%s: %w", where, ErrNotFound)
	case response.StatusCode == http.StatusInsufficientStorage, slices.Contains([]string{"XMinioStorageFull", "QuotaExceeded"}, response.Code):
		return fmt.Errorf("%s: %w: %w", where, ErrNoSpace, err)
	}
	return fmt.Errorf("%s: %w: %w", where, ErrUnavailable, err)
}

func (b *bucket) Put(ctx context.Context, name string, content Content) error {
	if err := checkName(name); err != nil {
		return err
	}
	return b.failed("storing", name, b.put(ctx, name, content))
}

func (b *bucket) put(ctx context.Context, name string, content Content) error {
	switch equal, err := b.has(ctx, name, content); {
	case err == nil && !equal:
		return ErrExists
	case err == nil:
		return nil
	case minio.ToErrorResponse(err).Code != minio.NoSuchKey:
		return err
	}
	if err := b.removeAbandoned(ctx, path.Dir(b.prefix+name)+"/"); err != nil {
		return err
	}
	// The service checks the MD5 of each part, which every one can: others know no newer checksums.
	_, err := b.client.PutObject(ctx, b.name, b.prefix+name, io.NewSectionReader(content, 0, content.Size()), content.Size(),
		minio.PutObjectOptions{ContentType: "application/octet-stream", SendContentMd5: true})
	if err != nil {
		return err
	}
	equal, err := b.has(ctx, name, content)
	if err == nil && !equal {
		err = errors.Join(damaged("what is stored is not what was sent; it is deleted"),
			b.client.RemoveObject(ctx, b.name, b.prefix+name, minio.RemoveObjectOptions{}))
	}
	return err
}

// has reports whether what is stored under a name is content: by the service's checksum of the whole where it has one, else by
// reading it.
func (b *bucket) has(ctx context.Context, name string, content Content) (bool, error) {
	info, err := b.client.StatObject(ctx, b.name, b.prefix+name, minio.StatObjectOptions{Checksum: true})
	if err != nil || info.Size != content.Size() {
		return false, err
	}
	if sum := info.ChecksumCRC64NVME; sum != "" { // always of the whole, even if it came in parts
		crc := minio.ChecksumCRC64NVME.Hasher()
		if _, err := io.Copy(crc, reader{ctx, io.NewSectionReader(content, 0, content.Size())}); err != nil {
			return false, err
		}
		return sum == base64.StdEncoding.EncodeToString(crc.Sum(nil)), nil
	}
	stored, err := b.get(ctx, name)
	if err != nil {
		return false, err
	}
	defer stored.Close()
	return same(ctx, stored, content)
}

// removeAbandoned ends uploads of objects in dir that were begun long ago and have not become one.
func (b *bucket) removeAbandoned(ctx context.Context, dir string) error {
	ctx, cancel := context.WithCancel(ctx) // ends the listing's goroutine, too
	defer cancel()
	core := minio.Core{Client: b.client}
	for upload := range b.client.ListIncompleteUploads(ctx, b.name, dir, true) {
		if upload.Err != nil {
			return upload.Err
		}
		if b.now().Sub(upload.Initiated) < abandonedAfter || !b.ours(upload.Key) {
			continue
		}
		err := core.AbortMultipartUpload(ctx, b.name, upload.Key, upload.UploadID)
		if err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchUpload {
			return err
		}
	}
	return nil
}

// ours reports whether a key is that of a backup object.
func (b *bucket) ours(key string) bool {
	name, ok := strings.CutPrefix(key, b.prefix)
	if ok {
		_, ok = ParseName(name)
	}
	return ok
}

func (b *bucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	object, err := b.get(ctx, name)
	if err != nil {
		return nil, b.failed("opening", name, err)
	}
	return &stored{object, func(err error) error { return b.failed("reading", name, err) }}, nil
}

func (b *bucket) get(ctx context.Context, name string) (*minio.Object, error) {
	object, err := b.client.GetObject(ctx, b.name, b.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	if _, err := object.Stat(); err != nil { // the first that asks the service
		return nil, cmp.Or(err, object.Close())
	}
	return object, nil
}

// A stored object is being read from the service.
type stored struct {
	*minio.Object
	failed func(error) error
}

func (s *stored) Read(p []byte) (int, error) {
	n, err := s.Object.Read(p)
	if err != nil && err != io.EOF {
		err = s.failed(err)
	}
	return n, err
}

func (b *bucket) List(ctx context.Context, prefix string) ([]Stored, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all []Stored
	for o := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, b.failed("listing", prefix, o.Err)
		}
		if name := strings.TrimPrefix(o.Key, b.prefix); checkName(name) == nil {
			all = append(all, Stored{name, o.Size})
		}
	}
	if err := ctx.Err(); err != nil { // the listing may just end then
		return nil, b.failed("listing", prefix, err)
	}
	slices.SortFunc(all, func(a, b Stored) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func (b *bucket) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	err := b.client.RemoveObject(ctx, b.name, b.prefix+name, minio.RemoveObjectOptions{})
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		err = nil
	}
	return b.failed("deleting", name, err)
}
