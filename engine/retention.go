package engine

import (
	"strconv"
	"time"

	"tuco/engine/auditlog"
	"tuco/engine/auditlog/bundle"
	"tuco/kv"
)

const (
	// MinAuditRetention is the shortest time for which the bodies of audit entries can be kept.
	MinAuditRetention = day

	dropEvery = time.Hour
	dropMost  = 64 // segments in one transaction
)

// auditDropped is what was dropped of the log: the lines before To.
type auditDropped struct {
	To   uint64    `json:"to"`
	Time time.Time `json:"time"` // of the newest drop
}

var (
	auditDrops   = kv.Bucket[auditDropped]{Path: systemPath.Join("audit.dropped"), Codec: kv.JSON[auditDropped](1)}
	auditDropKey = []byte("lines")
)

// dropAudit drops the bodies of entries that nobody asks to keep any more, oldest first, by whole segments of
// [auditlog.SegmentSize], and records that: of how many it was. Their hashes stay, so the log still proves itself. What
// no checkpoint has yet is kept.
func (e *Engine) dropAudit() (entries uint64, err error) {
	e.audit.mu.Lock()
	proven := uint64(0)
	if e.audit.signed != nil {
		proven = e.audit.proven.Size()
	}
	e.audit.mu.Unlock()
	first, end, err := e.droppable(proven)
	if err != nil || first == end {
		return 0, err
	}
	return kv.UpdateCritical(e.db, func(tx *kv.Tx) (uint64, error) {
		for n := first; n < end; n++ {
			auditLines.DropSegment(tx, auditlog.SegmentSize, n)
		}
		from, to := first*auditlog.SegmentSize, end*auditlog.SegmentSize
		auditDrops.Put(tx, auditDropKey, auditDropped{to, tx.Now})
		return to - from, e.record(tx, auditlog.Entry{Event: "audit.dropped", Actor: systemActor, Records: int64(to - from), Detail: map[string]string{
			"from": strconv.FormatUint(from, 10), "to": strconv.FormatUint(to, 10), "retention": e.opt.AuditRetention.String(),
		}})
	})
}

// droppable returns the first segment that is there, and the first one that is to be kept.
func (e *Engine) droppable(proven uint64) (first, end uint64, err error) {
	_, err = kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
		from := auditLines.First(tx)
		first = from / auditlog.SegmentSize
		end = first
		now, _ := e.clock.trusted()
		k := keeper{tx: tx, at: now, retention: e.opt.AuditRetention, now: map[WorkspaceID]time.Duration{}}
		for seq, line := range auditLines.Scan(tx, from, min(proven, from+dropMost*auditlog.SegmentSize)) {
			entry, err := auditlog.ParseLine(line)
			if err != nil {
				return struct{}{}, &auditlog.BadEntryError{Seq: seq, Reason: err.Error()}
			}
			if k.keeps(&entry) {
				break
			}
			end = (seq + 1) / auditlog.SegmentSize
		}
		return struct{}{}, nil
	})
	return first, end, err
}

// longAgo is how old the newest entry can be at an opening before the clock is doubted: then nothing is dropped until the
// operator accepts it.
const longAgo = 60 * day

// lastEntry is when the newest entry was made; zero if there is none.
func (e *Engine) lastEntry() (at time.Time) {
	_, _ = kv.View(e.db, func(tx *kv.Tx) (struct{}, error) { // what can't be read is found elsewhere
		if n := auditNodes.Len(tx); n > 0 {
			line, _ := auditLines.Get(tx, n-1)
			if entry, err := auditlog.ParseLine(line); err == nil {
				at = entry.Time
			}
		}
		return struct{}{}, nil
	})
	return at
}

// A keeper knows how long entries are kept.
type keeper struct {
	tx        *kv.Tx
	at        time.Time // by the clock that is trusted
	retention time.Duration
	now       map[WorkspaceID]time.Duration // what the agreements of today ask for
}

// keeps tells whether the entry is to be kept: the operator's retention, an agreement of its workspace when it was made, or one
// of today asks for it.
func (k *keeper) keeps(entry *auditlog.Entry) bool {
	age, w := k.at.Sub(entry.Time), WorkspaceID(entry.Workspace)
	if age < k.retention || w == "" {
		return age < k.retention
	}
	today, ok := k.now[w]
	if !ok {
		today = effective(k.tx, w, k.tx.Now).Retention
		k.now[w] = today
	}
	return age < max(today, effective(k.tx, w, entry.Time).Retention)
}

// prunedLines says in a bundle which lines are no longer kept.
func prunedLines(tx *kv.Tx) []bundle.Pruned {
	d, ok := auditDrops.Get(tx, auditDropKey)
	if !ok {
		return nil
	}
	return []bundle.Pruned{{From: 0, To: d.To, Time: d.Time, Reason: "retention"}}
}

// retire drops old bodies, if it is time to look.
func (e *Engine) retire() error {
	now, held := e.clock.trusted()
	if e.opt.AuditRetention <= 0 || now.Before(e.audit.nextDrop) || held || e.audit.longAgo.Load() || !e.audit.exporting.TryLock() {
		return nil // at the next look, or when the operator has accepted the clock
	}
	defer e.audit.exporting.Unlock()
	n, err := e.dropAudit()
	if err != nil {
		return storageError(err)
	}
	if n > 0 {
		e.log.Info().Uint64("entries", n).Msg("bodies of old audit entries dropped")
		return nil // there may be more
	}
	e.audit.nextDrop = now.Add(dropEvery)
	return nil
}
