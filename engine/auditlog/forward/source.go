package forward

import "tuco/engine/auditlog"

// An Entry is one entry of the log.
type Entry struct {
	Seq  uint64
	Line []byte // as the log has it, with its newline; nil if it is no longer kept
	Leaf auditlog.Hash
}

// A Source is the log, and keeps cursors for sinks that can't tell how far they are. Its methods may be called by several
// goroutines.
type Source interface {
	// Origin names installation and restore epoch, see [auditlog.Origin].
	Origin() string
	// Len returns how many entries there are.
	Len() (uint64, error)
	// Entries returns entries in order from seq on, none if there is none: as many as have about most bytes, but at least one.
	Entries(seq uint64, most int) ([]Entry, error)
	// Cursor returns what was last set for a sink in this restore epoch; 0 if nothing was.
	Cursor(sink string) (seq uint64, err error)
	// SetCursor says durably that the entries before seq have arrived.
	SetCursor(sink string, seq uint64) error
}
