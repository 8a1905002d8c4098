package engine

import (
	"sync"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// maxRefusals is how many refusals of one credential in a minute have an entry each. What comes beyond is counted, as misuse
// is: a program that asks again and again must not fill the log. Requests for access are bounded by the same number.
const maxRefusals = 60

// A pace counts what credentials do in the running minute.
type pace struct {
	mu     sync.Mutex
	minute int64
	count  map[string]int
}

// take counts one more, and tells whether it is within max.
func (p *pace) take(credential string, now time.Time, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if minute := now.Unix() / 60; p.count == nil || minute != p.minute {
		p.minute, p.count = minute, map[string]int{}
	}
	p.count[credential]++
	return p.count[credential] <= most
}

// pace refuses a key's changes of policy and agreements beyond maxRefusals in a minute: each is an entry that stays. What takes
// rights away is never refused.
func (d decider) pace(now time.Time) error {
	if !d.operator() && !d.e.changes.take(d.id, now, maxRefusals) {
		return tooOften(now)
	}
	return nil
}

func tooOften(now time.Time) *Error {
	return &Error{Kind: QuotaExceeded, Code: CodeRateLimit, Msg: "Rate limit exceeded", RetryAfter: now.Truncate(time.Minute).Add(time.Minute).Sub(now)}
}

// recordRefusal appends the entry of what was refused, unless there were too many in this minute.
func (e *Engine) recordRefusal(tx *kv.Tx, entry auditlog.Entry, refused *Error) error {
	code := refused.Code
	if refused.Kind == Unauthorized {
		code = "UNAUTHORIZED"
	}
	if !e.refusals.take(entry.Actor.ID, tx.Now, maxRefusals) {
		e.audit.misuses.add(misuse{workspace: WorkspaceID(entry.Workspace), environment: Environment(entry.Environment), credential: entry.Actor.ID, reason: "refused: " + code})
		return nil
	}
	entry.Outcome = auditlog.Denied
	if entry.Detail == nil {
		entry.Detail = map[string]string{}
	}
	entry.Detail["code"] = code
	return e.record(tx, entry)
}
