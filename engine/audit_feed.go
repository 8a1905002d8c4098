package engine

import (
	"fmt"

	"tuco/engine/auditlog"
	"tuco/engine/auditlog/forward"
	"tuco/kv"
)

// An auditCursor is how far a sink is that can't tell it itself.
type auditCursor struct {
	Next uint64 `json:"next"`
}

// auditCursors are by sink and restore epoch: a log that was put in place of another is sent from its beginning.
var auditCursors = kv.Bucket[auditCursor]{Path: systemPath.Join("audit.cursors"), Codec: kv.JSON[auditCursor](1)}

// An auditFeed is the audit log for those to whom it is forwarded.
type auditFeed struct {
	e      *Engine
	origin string
}

// ForwardAudit begins to forward the audit log. It must be stopped before the engine is closed. [Engine.Warnings] tells of
// its sinks from here on.
func (e *Engine) ForwardAudit(sinks []forward.Sink, opt forward.Options) (*forward.Forwarder, error) {
	state := e.audit.state.Load()
	f, err := forward.Start(auditFeed{e, auditlog.Origin(state.Installation, state.Epoch)}, sinks, opt)
	if err == nil {
		e.forwarder.Store(f)
	}
	return f, err
}

// Origin names installation and restore epoch.
func (f auditFeed) Origin() string { return f.origin }

// Len returns how many entries there are.
func (f auditFeed) Len() (uint64, error) {
	return kv.View(f.e.db, func(tx *kv.Tx) (uint64, error) { return auditNodes.Len(tx), nil })
}

// Entries returns entries from seq on, and compares each with the tree.
func (f auditFeed) Entries(seq uint64, most int) ([]forward.Entry, error) {
	return kv.View(f.e.db, func(tx *kv.Tx) (all []forward.Entry, err error) {
		size := min(auditNodes.Len(tx), seq+auditChunk)
		for bytes := 0; seq < size && bytes < most; seq++ {
			entry := forward.Entry{Seq: seq}
			if entry.Leaf, err = auditHash(tx, seq, 1); err != nil {
				return nil, err
			}
			if line, ok := auditLines.Get(tx, seq); ok {
				if auditlog.LeafHash(line) != entry.Leaf {
					return nil, fmt.Errorf("%w: line %d of the audit log is not the one of its tree", kv.ErrDamaged, seq)
				}
				entry.Line = line
				bytes += len(line)
			}
			all = append(all, entry)
		}
		return all, nil
	})
}

func (f auditFeed) cursorKey(sink string) []byte { return []byte(f.origin + " " + sink) }

// Cursor returns what was last set for a sink.
func (f auditFeed) Cursor(sink string) (uint64, error) {
	return kv.View(f.e.db, func(tx *kv.Tx) (uint64, error) {
		c, _ := auditCursors.Get(tx, f.cursorKey(sink))
		return c.Next, nil
	})
}

// SetCursor stores how far a sink is.
func (f auditFeed) SetCursor(sink string, seq uint64) error {
	_, err := kv.Update(f.e.db, func(tx *kv.Tx) (struct{}, error) {
		auditCursors.Put(tx, f.cursorKey(sink), auditCursor{seq})
		return struct{}{}, nil
	})
	return err
}

// forwardWarnings tells of sinks that the audit log does not get to.
func (e *Engine) forwardWarnings() (warnings []string) {
	f := e.forwarder.Load()
	if f == nil {
		return nil
	}
	for _, s := range f.States() {
		switch {
		case s.Err != nil:
			warnings = append(warnings, fmt.Sprintf("The audit log is not forwarded to %s, which is %d entries behind: %v.", s.Sink, s.Behind, s.Err))
		case s.Late:
			warnings = append(warnings, fmt.Sprintf("The audit log's copy at %s is %d entries behind, for more than a minute.", s.Sink, s.Behind))
		}
	}
	return warnings
}
