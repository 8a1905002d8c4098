package auditlog

import (
	"errors"
	"fmt"
)

var (
	// ErrInvalid is wrapped by the error for what can't be written: an entry, an origin or a key that breaks a rule.
	ErrInvalid = errors.New("invalid")
	// ErrMalformed is wrapped by the error for bytes that aren't the one encoding of what they should be.
	ErrMalformed = errors.New("malformed")
	// ErrNotProven is wrapped by the error for what is well formed but doesn't hold: a signature by no known key,
	// or a proof that leads to another root.
	ErrNotProven = errors.New("not proven")
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w %w", ErrInvalid, fmt.Errorf(format, args...))
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w %w", ErrMalformed, fmt.Errorf(format, args...))
}

func notProven(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrNotProven, fmt.Errorf(format, args...))
}
