package backup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
)

// TestS3ServerKilled: the server dies in the middle of a put, of which nothing is to be seen when it is back; the next one
// succeeds, and once a day has gone by, what the first one sent is removed.
func TestS3ServerKilled(t *testing.T) {
	s := startS3(t)
	b := s.target("/p")
	name := Name{Installation: "x", Epoch: 1, Kind: Log, From: 1, To: 2}.String()
	content := randomContent(40 << 20)
	err := b.Put(t.Context(), name, failing{bytes.NewReader(content), 30 << 20, func() error { s.kill(); return nil }})
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("the server was killed: %v", err)
	}
	s.start()
	if got := names(t, b, ""); len(got) > 0 {
		t.Errorf("there is %q", got)
	}
	if n := s.uploads(b); n != 1 {
		t.Fatalf("%d unfinished uploads, want that of the put", n)
	}
	if err := b.Put(t.Context(), name, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(get(t, b, name), content) {
		t.Error("another content came back")
	}
	if n := s.uploads(b); n != 1 {
		t.Errorf("%d unfinished uploads: a young one may be somebody's", n)
	}
	b.now = func() time.Time { return time.Now().Add(25 * time.Hour) }
	next := Name{Installation: "x", Epoch: 1, Kind: Log, From: 2, To: 3}.String()
	if err := b.Put(t.Context(), next, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if n := s.uploads(b); n != 0 {
		t.Errorf("%d unfinished uploads after a day", n)
	}
}

func (s *s3Server) uploads(b *bucket) (n int) {
	s.t.Helper()
	for u := range b.client.ListIncompleteUploads(s.t.Context(), b.name, "", true) {
		if u.Err != nil {
			s.t.Fatal(u.Err)
		}
		n++
	}
	return n
}

// TestS3ForeignUploads: uploads of others in the bucket are left alone, however old.
func TestS3ForeignUploads(t *testing.T) {
	s := startS3(t)
	b := s.target("")
	b.now = func() time.Time { return time.Now().Add(1000 * time.Hour) }
	core := minio.Core{Client: b.client}
	if _, err := core.NewMultipartUpload(t.Context(), b.name, "x/0000000001/other.bin", minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), Name{Installation: "x", Epoch: 1, Kind: Log, From: 2, To: 3}.String(), strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if n := s.uploads(b); n != 1 {
		t.Errorf("%d unfinished uploads, want the foreign one", n)
	}
}

// TestS3Compare: what is stored is compared by the service's checksum if it has one, and byte by byte if not.
func TestS3Compare(t *testing.T) {
	s := startS3(t)
	b := s.target("")
	content := randomContent(17 << 20)
	if err := b.Put(t.Context(), "a", bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	for _, withoutChecksums := range []bool{false, true} {
		if withoutChecksums { // as with a server that knows none
			if err := filepath.WalkDir(s.sidecar, func(path string, _ os.DirEntry, err error) error {
				if err == nil && strings.Contains(strings.ToLower(filepath.Base(path)), "checksum") {
					err = os.RemoveAll(path)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		other := bytes.Clone(content)
		other[len(other)-1] ^= 1
		if equal, err := b.has(t.Context(), "a", bytes.NewReader(content)); !equal || err != nil {
			t.Errorf("without checksums %v: the same: %v, %v", withoutChecksums, equal, err)
		}
		if equal, err := b.has(t.Context(), "a", bytes.NewReader(other)); equal || err != nil {
			t.Errorf("without checksums %v: another: %v, %v", withoutChecksums, equal, err)
		}
	}
}

// A changing content has another last byte each time that its end is read.
type changing struct{ *bytes.Reader }

func (c changing) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Reader.ReadAt(p, off)
	if n > 0 && off+int64(n) == c.Size() {
		changed := append([]byte(nil), p[:n]...)
		changed[n-1] ^= 1
		all := make([]byte, c.Size())
		c.Reader.ReadAt(all, 0)
		copy(all[off:], changed)
		c.Reader.Reset(all)
	}
	return n, err
}

// TestS3Verified: what is stored is compared after it was sent; another content is deleted again.
func TestS3Verified(t *testing.T) {
	b := startS3(t).target("")
	if err := b.Put(t.Context(), "a", changing{bytes.NewReader(randomContent(17 << 20))}); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if got := names(t, b, ""); len(got) > 0 {
		t.Errorf("there is %q", got)
	}
}

// TestS3Credentials: they come from the environment or from files, a wrong one is refused in words that don't show it, and
// without any nothing is asked.
func TestS3Credentials(t *testing.T) {
	s := startS3(t)
	dir := t.TempDir()
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "none"))
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if _, err := OpenTarget(s.location("")); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "AWS_SECRET_ACCESS_KEY_FILE") {
		t.Errorf("without credentials: %v", err)
	}
	for name, text := range map[string]string{"AWS_ACCESS_KEY_ID_FILE": testAccess, "AWS_SECRET_ACCESS_KEY_FILE": testSecret} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, filepath.Join(dir, name))
	}
	if err := s.target("").Put(t.Context(), "a", strings.NewReader("x")); err != nil {
		t.Errorf("from files: %v", err)
	}
	const wrong = "wrong-secret-that-no-error-shows"
	t.Setenv("AWS_ACCESS_KEY_ID", testAccess)
	t.Setenv("AWS_SECRET_ACCESS_KEY", wrong)
	err := s.target("").Put(t.Context(), "b", strings.NewReader("x"))
	if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), wrong) || strings.Contains(err.Error(), testSecret) {
		t.Errorf("with a wrong secret: %v", err)
	}
}

// TestOpenTarget: bad locations are refused in words that show nothing of what may be secret.
func TestOpenTarget(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", testAccess)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	for location, want := range map[string]string{
		"":                                  "empty",
		"https://key:hush@host/bucket":      "must be a directory",
		"s3://":                             "bucket",
		"s3://B":                            "bucket",
		"s3://key:hush@bucket/x":            "credentials don't belong",
		"s3://bucket:hush/x":                "",
		"s3://bucket/../hush":               "prefix",
		"s3://bucket/hush hush":             "prefix",
		"s3://bucket?hush=1":                "parameter",
		"s3://bucket?secret_key=hush":       "parameter",
		"s3://bucket?endpoint=https://hush": "endpoint must be HOST",
		"s3://bucket?endpoint=hush:0":       "endpoint must be HOST",
		"s3://bucket?endpoint=":             "endpoint must be HOST",
		"s3://bucket?insecure=hush":         "insecure must be 1",
		"s3://bucket?region=hush_":          "region must be",
		"s3://bucket?region=a&region=hush":  "region must be",
		"s3://bucket#hush":                  "#",
		"s3://bucket?%zz=hush":              "parameters",
	} {
		_, err := OpenTarget(location)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v, want %q", location, err, want)
		}
	}
	for _, location := range []string{"dir", "/a/dir", "s3://bucket?endpoint=h", "s3://bucket/?endpoint=h:9000", "s3://my.bucket/a/b/?endpoint=[::1]:9000&insecure=1", "s3://bucket?region=eu-central-1"} {
		if _, err := OpenTarget(location); err != nil {
			t.Errorf("%q: %v", location, err)
		}
	}
}
