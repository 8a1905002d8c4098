package engine

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// noticeHook is how the engine wakes who delivers notices.
type noticeHook struct {
	fn  atomic.Pointer[func(WorkspaceID)]
	has sync.Map // WorkspaceID → true: may have a webhook
}

func (h *noticeHook) add(w WorkspaceID) { h.has.Store(w, true) }

// tell says that the log grows. The workspace is named if it may have a webhook. It runs within the transaction.
func (h *noticeHook) tell(w WorkspaceID) {
	fn := h.fn.Load()
	if fn == nil {
		return
	}
	if _, ok := h.has.Load(w); !ok {
		w = ""
	}
	(*fn)(w)
}

// isNotice tells whether the customer is told of an event: of requests, decisions, ends of grants, and reads.
func isNotice(event string) bool {
	switch event {
	case "staff.read", "staff.refused", "policy.changed", "key.read", "key.created", "key.rotated", "key.changed", "key.revoked":
		return true
	}
	return strings.HasPrefix(event, "access.") || strings.HasPrefix(event, "agreement.")
}

// ownEntry returns an entry of a workspace by its own number, and the length of its line. Whether the customer is told of
// one whose body was dropped is not known any more: so it is.
func ownEntry(tx *kv.Tx, w WorkspaceID, own uint64) (s Sighting, bytes int, notice bool, err error) {
	seq, err := auditSeq(tx, w, own)
	if err != nil {
		return s, 0, false, err
	}
	s.Seq = seq
	line, ok := auditLines.Get(tx, seq)
	if !ok {
		return s, 0, true, nil
	}
	entry, err := auditlog.ParseLine(line)
	if err != nil {
		return s, 0, false, &auditlog.BadEntryError{Seq: seq, Reason: err.Error()}
	}
	s.Entry = &entry
	return s, len(line), isNotice(entry.Event), nil
}

// countNotices counts the entries that the customer is told of, from one own number to another.
func countNotices(tx *kv.Tx, w WorkspaceID, from, to uint64) (n int64, err error) {
	for own := from; own < to; own++ {
		_, _, notice, err := ownEntry(tx, w, own)
		if err != nil {
			return n, err
		}
		if notice {
			n++
		}
	}
	return n, nil
}

// Bounds of a notice.
const (
	maxNoticeEntries = 100
	maxNoticeBytes   = 128 << 10 // of lines; one more may be over it
)

// A cut is what of a workspace's chain goes into one notice.
type cut struct {
	entries     []Sighting
	first, last uint64 // own numbers
	bytes       int
	next        uint64 // own number at which the next cut begins
}

func (c *cut) full() bool { return len(c.entries) == maxNoticeEntries || c.bytes >= maxNoticeBytes }

// cutNotices reads what is to be told from an own number on, up to another or, if that is 0, to the end.
func (e *Engine) cutNotices(w WorkspaceID, from, to uint64) (c cut, err error) {
	end, err := kv.View(e.db, func(tx *kv.Tx) (uint64, error) { return auditOf(w).Len(tx), nil })
	if to == 0 || to > end {
		to = end
	}
	for c.next = from; c.next < to && !c.full() && err == nil; {
		_, err = kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
			return struct{}{}, c.read(tx, w, min(to, c.next+auditChunk))
		})
	}
	return c, err
}

func (c *cut) read(tx *kv.Tx, w WorkspaceID, to uint64) error {
	for ; c.next < to && !c.full(); c.next++ {
		s, bytes, notice, err := ownEntry(tx, w, c.next)
		if err != nil {
			return err
		}
		if !notice {
			continue
		}
		if len(c.entries) == 0 {
			c.first = c.next
		}
		c.entries, c.last, c.bytes = append(c.entries, s), c.next, c.bytes+bytes
	}
	return nil
}

// loadWebhooks finds the workspaces that have one.
func (e *Engine) loadWebhooks() error {
	_, err := kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
		for w := range webhooks.Scan(tx, kv.Range{}) {
			e.notices.add(WorkspaceID(w))
		}
		return struct{}{}, nil
	})
	return err
}

// noticeCheckpoint returns the newest checkpoint and its size; none while the log can't be relied on.
func (e *Engine) noticeCheckpoint() (signed []byte, size uint64, err error) {
	signed, err = e.Checkpoint()
	if e.AuditTrouble() != nil {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	c, err := auditlog.UnsignedCheckpoint(signed)
	if err != nil {
		return nil, 0, errors.Join(errors.New("the newest checkpoint can't be read"), err)
	}
	return signed, c.Size, nil
}
