package engine

import (
	"errors"
	"sync"

	"tuco/engine/auditlog"
)

// A review reads the lines that the log had at the opening, once: all that was done to the file until then shows in them. A
// bundle of a workspace would be sound without the last entries whose places somebody took away, and say that it is complete;
// only the lines of the whole log tell. What was appended since the opening has its place by the transaction that made it.
type review struct {
	mu    sync.Mutex
	next  uint64          // the first line that was not looked at
	end   uint64          // how many there were at the opening
	chain *auditlog.Chain // of those before next
}

const (
	reviewAll  = 1<<64 - 1
	reviewKeep = 10_000 // lines each time that the log is kept, so about as many a second
)

// beginReview is part of the opening.
func (e *Engine) beginReview() error {
	end, err := e.AuditEntries()
	e.audit.review.end = end
	return err
}

// reviewAudit goes on with the review by at most so many lines, some in each transaction. Who waits for its end gets it: in
// the life of a process it costs one reading of the log, whoever exports how often. A log with a line that is not right is
// not to be relied on.
//
// Errors: [Unavailable] with [CodeAuditUnavailable].
func (e *Engine) reviewAudit(most uint64) error {
	r := &e.audit.review
	r.mu.Lock()
	defer r.mu.Unlock()
	for most > 0 && r.next < r.end && e.audit.trouble.Load() == nil {
		begun := r.next
		faults, err := e.checkBy(func(c *checker) { r.look(c, begun+min(most, auditChunk)) })
		if err == nil && len(faults) > 0 {
			err = errors.New(faults[0])
		}
		if err != nil {
			e.audit.distrust(err)
			e.log.Error().Err(err).Msg("the audit log is damaged: staff access is refused")
			return auditDistrusted(err)
		}
		most -= min(most, r.next-begun)
	}
	return nil
}

// look goes on to the line to, or to the end.
func (r *review) look(c *checker, to uint64) {
	c.where = "audit log"
	if first := auditLines.First(c.tx); r.chain == nil || r.next < first { // those before it were dropped meanwhile
		r.next, r.chain = first, auditlog.ChainFrom(first)
	}
	to = min(max(to, r.next+1), r.end)
	for seq, line := range auditLines.Scan(c.tx, r.next, to) {
		if _, ok := c.auditLine(r.chain, seq, line); !ok {
			return
		}
	}
	if head := r.chain.Head().Seq; head < to {
		c.report("line %d is missing", head)
	}
	r.next = to
}
