package backup

import (
	"errors"
	"fmt"
)

// Kinds of failure, for errors.Is.
var (
	// ErrDamaged: the bytes are not those that were written. The message says where.
	ErrDamaged = errors.New("damaged")
	// ErrNewer: a newer version of the program wrote it.
	ErrNewer = errors.New("written by a newer version")
	// ErrKey: no key that was given opens it. The message names those that do.
	ErrKey = errors.New("cannot be decrypted")
	// ErrInvalid: what the caller asks for makes no sense. Nothing was done.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: the target has no object of this name.
	ErrNotFound = errors.New("not found")
	// ErrExists: there is something already, and it was left alone.
	ErrExists = errors.New("exists already")
	// ErrNoSpace: there is too little room. Nothing half is left.
	ErrNoSpace = errors.New("not enough space")
	// ErrUnavailable: the target can't be reached, or refuses. Another try may succeed.
	ErrUnavailable = errors.New("unavailable")
	// ErrNotCovered: no backup leads to what is to be restored.
	ErrNotCovered = errors.New("not covered by any backup")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}
