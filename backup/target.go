package backup

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
)

// A Target keeps objects by name. Its methods may be called by several goroutines, and by several processes.
//
// A name is a path of at most 512 bytes: parts of A-Z, a-z, 0-9, -, _ and ., none of which begins with - or ., with / between
// them. What else lies in a target is not listed, and left alone.
//
// All methods fail with [ErrInvalid] for any other name, and with [ErrUnavailable] if the target can't be reached, isn't there,
// or refuses. No error repeats a credential.
type Target interface {
	// Put stores content. When it returns nil, the object is durable and has been compared with content; after a failure the
	// name has nothing, or all of content if that could not be confirmed. So it can be tried again: a name that has the
	// same content is left as it is, without an error. What earlier calls left behind when their process died is removed.
	//
	// Errors: [ErrExists] if the name has another content; [ErrNoSpace]; [ErrDamaged] if something else was stored.
	Put(ctx context.Context, name string, content Content) error
	// Get opens an object. The reader fails when ctx ends.
	//
	// Errors: [ErrNotFound].
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// List returns the objects whose name begins with prefix, in the order of the bytes of their names. It returns all of
	// them or an error.
	List(ctx context.Context, prefix string) ([]Stored, error)
	// Delete removes an object, durably. It is no error if there is none.
	Delete(ctx context.Context, name string) error
}

// Stored is an object in a target.
type Stored struct {
	Name string
	Size int64 // in bytes
}

// OpenTarget returns the target at location: a directory, or s3://BUCKET[/PREFIX][?endpoint=HOST[:PORT]&region=R&insecure=1]. A
// directory is not made. Nothing is reached for yet.
//
// Errors: [ErrInvalid].
func OpenTarget(location string) (Target, error) {
	scheme, _, hasScheme := strings.Cut(location, "://")
	switch {
	case location == "":
		return nil, invalid("the target is empty")
	case hasScheme && scheme == "s3":
		return openS3(location)
	case hasScheme: // the rest may hold a password
		return nil, invalid("the target must be a directory, or begin with s3://")
	}
	return openDirectory(location)
}

const maxNameBytes = 512

var objectName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$`)

func checkName(name string) error {
	if len(name) > maxNameBytes || !objectName.MatchString(name) {
		return invalid("object name %.80q", name)
	}
	return nil
}

// same reports whether r has all bytes of content and no more.
func same(ctx context.Context, r io.Reader, content Content) (bool, error) {
	want := io.NewSectionReader(content, 0, content.Size())
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := io.ReadFull(r, a)
		m, wantErr := io.ReadFull(want, b)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return false, err
		}
		if wantErr != nil && wantErr != io.EOF && wantErr != io.ErrUnexpectedEOF {
			return false, wantErr
		}
		if !bytes.Equal(a[:n], b[:m]) {
			return false, nil
		}
		if err != nil || wantErr != nil {
			return true, nil // both are at their end: as many bytes came
		}
	}
}
