package bundle

import (
	"errors"
	"fmt"
	"strings"

	"tuco/engine/auditlog"
)

// A DamageError says what in a bundle is not as it was written, as far as that can be told.
type DamageError struct {
	Seq    uint64 // of the first bad line, if HasSeq
	HasSeq bool
	File   string // in the archive; empty for the archive itself
	Reason string
}

func (e *DamageError) Error() string {
	var where []string
	if e.HasSeq {
		where = append(where, fmt.Sprintf("line %d", e.Seq))
	}
	if e.File != "" {
		where = append(where, e.File)
	}
	return "damaged bundle: " + strings.Join(append(where, e.Reason), ": ")
}

func damaged(file, format string, args ...any) error {
	return &DamageError{File: file, Reason: fmt.Sprintf(format, args...)}
}

func damagedAt(seq uint64, file, format string, args ...any) error {
	return &DamageError{Seq: seq, HasSeq: true, File: file, Reason: fmt.Sprintf(format, args...)}
}

// inFile returns an error of package auditlog as damage of a file. Others, such as those of reading, it returns as they are.
func inFile(file string, err error) error {
	if errors.Is(err, auditlog.ErrMalformed) || errors.Is(err, auditlog.ErrNotProven) {
		return damaged(file, "%v", err)
	}
	return err
}

// namesLine reports whether err tells the first bad line.
func namesLine(err error) bool {
	var damage *DamageError
	return errors.As(err, &damage) && damage.HasSeq
}
