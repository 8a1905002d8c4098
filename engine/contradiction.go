package engine

import (
	"cmp"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// CodeContradicted: the log contradicts a checkpoint that its own key signed.
const CodeContradicted = "LOG_CONTRADICTED"

// A contradictedError says how the log contradicts a checkpoint that one of its keys signed. Nobody else can bring it about: one
// whose signature is not right is no checkpoint at all.
type contradictedError struct {
	checkpoint auditlog.Checkpoint
	reason     string
}

func (e *contradictedError) Error() string { return e.reason }

// contradictions are what was found since the log began: they stay, since nothing makes them untrue.
type contradictions struct {
	First time.Time `json:"first"`
	Entry uint64    `json:"entry"` // of the first
	Count int64     `json:"count"`
}

var (
	auditContradictions   = kv.Bucket[contradictions]{Path: systemPath.Join("audit.contradicted"), Codec: kv.JSON[contradictions](1)}
	auditContradictionKey = []byte("log")
)

// presented are the checkpoints that were found to be contradicted since the opening.
type presented struct {
	mu    sync.Mutex
	known map[auditlog.Checkpoint]bool
	all   atomic.Pointer[contradictions] // nil if there never was one
}

// maxContradictions bounds how many checkpoints are recorded from one opening to the next: a log that was rewritten contradicts each that
// was signed before. What comes beyond is answered alike.
const maxContradictions = 100

// loadContradictions is part of the opening.
func (e *Engine) loadContradictions() error {
	_, err := kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
		if all, ok := auditContradictions.Get(tx, auditContradictionKey); ok {
			e.audit.presented.all.Store(&all)
		}
		return struct{}{}, nil
	})
	return err
}

// contradicted tells everybody that the log contradicts a checkpoint that somebody presents: the log of the server, [Engine.Warnings], an
// entry for each checkpoint, and who presents it. The log goes on, and is signed: its next checkpoint and the one that was presented
// are the proof.
func (e *Engine) contradicted(signed []byte, c *contradictedError, by exporter) error {
	p := &e.audit.presented
	p.mu.Lock()
	defer p.mu.Unlock()
	told := &Error{Kind: Conflict, Code: CodeContradicted, Err: c, Msg: "The log contradicts this checkpoint, which its own key signed: " + c.reason +
		". Keep the checkpoint, and take the log's newest one now: the two together are the proof"}
	if p.known[c.checkpoint] || len(p.known) >= maxContradictions {
		return told
	}
	all, err := kv.UpdateCritical(e.db, func(tx *kv.Tx) (contradictions, error) {
		if err := by.still(tx); err != nil {
			return contradictions{}, err
		}
		entry := by.entry
		entry.Event, entry.Outcome = "audit.contradicted", auditlog.Failed
		entry.Detail = map[string]string{
			"origin": c.checkpoint.Origin, "size": strconv.FormatUint(c.checkpoint.Size, 10), "root": c.checkpoint.Root.String(), "reason": c.reason,
		}
		all, _ := auditContradictions.Get(tx, auditContradictionKey)
		if all.Count++; all.Count == 1 {
			all.First, all.Entry = tx.Now, auditNodes.Len(tx)
		}
		auditContradictions.Put(tx, auditContradictionKey, all)
		return all, e.record(tx, entry)
	})
	if isKind(err, Unauthorized) {
		return err
	}
	log := e.log.Error().Str("reason", c.reason).Str("by", cmp.Or(by.entry.Credential, string(by.entry.Actor.Kind)))
	if len(signed) <= 4<<10 { // else it has signatures of others
		log = log.Bytes("checkpoint", signed)
	}
	log.AnErr("record", err).Msg("THE AUDIT LOG CONTRADICTS A CHECKPOINT THAT ITS OWN KEY SIGNED: it was rewritten or cut off, or its key is in other hands")
	if err != nil { // it is recorded when it is presented again
		return told
	}
	if p.known == nil {
		p.known = map[auditlog.Checkpoint]bool{}
	}
	p.known[c.checkpoint] = true
	p.all.Store(&all)
	return told
}

// Contradictions counts the checkpoints that this log's key signed and that it contradicts, as far as they were presented.
func (e *Engine) Contradictions() int64 {
	if all := e.audit.presented.all.Load(); all != nil {
		return all.Count
	}
	return 0
}

// contradictionWarning tells of them; empty if there are none.
func (e *Engine) contradictionWarning() string {
	all := e.audit.presented.all.Load()
	if all == nil {
		return ""
	}
	return fmt.Sprintf("The audit log contradicts a checkpoint that its own key signed, presented on %s (entry %d; %d in all): it was rewritten or cut off, or its key is in other hands. "+
		"Copy the data directory, the keys and every anchor before anything else, and follow \"When the log contradicts a checkpoint\" in docs/audit.md.",
		all.First.Format(time.DateOnly), all.Entry, all.Count)
}
