package engine

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// Notices are what customers are told of staff access, as who delivers it sees it. A workspace's own chain in the audit
// log is the queue, so nothing is stored twice and nothing can be missing: a webhook has a place in it, which moves when a
// cut of entries was taken.
type Notices struct{ e *Engine }

// Notices returns the queues of all workspaces.
func (e *Engine) Notices() Notices { return Notices{e} }

// OnGrowth makes fn hear that the audit log grows: by an entry of a workspace that may have a webhook, or of anything else,
// which is empty. Changes of the webhook itself are such entries. fn must not block, and hears of it before it is
// committed: see [Notices.Settle]. Nil ends it.
func (q Notices) OnGrowth(fn func(WorkspaceID)) {
	if fn == nil {
		q.e.notices.fn.Store(nil)
		return
	}
	q.e.notices.fn.Store(&fn)
}

// Settle returns when what fn of [Notices.OnGrowth] has heard of is committed, or came to nothing.
func (q Notices) Settle() error { return q.e.othersEnd() }

// NoticePause is how long nothing is delivered before the customer gets a checkpoint alone.
const NoticePause = time.Hour

// A NoticeState is how far a webhook is.
type NoticeState struct {
	ID       string    // of the URL
	Change   uint64    // moves when it was set: what failed before does not count
	Place    uint64    // own number of the first entry that may not have been delivered
	Last     time.Time // delivery, or when the URL was set
	Failures int       // in a row
	Again    time.Time // the next attempt, after a failure
	Cut      uint64    // where the entries that failed end
	Gone     bool      // nothing is to be sent
	Ends     time.Time // the workspace was deleted; zero if not
}

// Workspaces names the workspaces that have a webhook.
func (q Notices) Workspaces() ([]WorkspaceID, error) {
	return kv.View(q.e.db, func(tx *kv.Tx) (all []WorkspaceID, err error) {
		for w := range webhooks.Scan(tx, kv.Range{}) {
			all = append(all, WorkspaceID(w))
		}
		return all, nil
	})
}

// State returns how far a workspace's webhook is, and whether there is one.
func (q Notices) State(w WorkspaceID) (s NoticeState, ok bool, err error) {
	_, err = kv.View(q.e.db, func(tx *kv.Tx) (struct{}, error) {
		var h webhook
		if h, ok = webhooks.Get(tx, []byte(w)); ok {
			s = NoticeState{
				ID: h.ID, Change: h.Change, Place: h.Place, Last: h.last(), Failures: h.Failures, Again: h.Again, Cut: h.Cut, Gone: h.Gone, Ends: h.Ends,
			}
		}
		return struct{}{}, nil
	})
	return s, ok, err
}

// last is when anything was delivered, or could have been.
func (h *webhook) last() time.Time {
	if h.Delivered.After(h.Since) {
		return h.Delivered
	}
	return h.Since
}

// Count counts the entries to be told from an own number on, and returns where the chain ends.
func (q Notices) Count(w WorkspaceID, from uint64) (n int64, end uint64, err error) {
	end, err = kv.View(q.e.db, func(tx *kv.Tx) (uint64, error) { return auditOf(w).Len(tx), nil })
	for ; err == nil && from < end; from = min(end, from+auditChunk) {
		var some int64
		some, err = kv.View(q.e.db, func(tx *kv.Tx) (int64, error) { return countNotices(tx, w, from, min(end, from+auditChunk)) })
		n += some
	}
	return n, end, err
}

// A Notice is what goes to a customer at once.
type Notice struct {
	ID         string // the same for the same entries
	Workspace  WorkspaceID
	URL        string
	Entries    []Sighting // the oldest first; none if it is a checkpoint alone
	Checkpoint []byte     // the newest one, signed; nil while the log can't be relied on
	Next       uint64     // own number at which the next one begins

	webhook string // its ID
	change  uint64
	size    uint64 // of the checkpoint
	keys    [][]byte
}

// Next returns what is to be delivered now; not ok if there is nothing. Entries are told as far as to, which is where the
// ones of a failed attempt end; 0 is as far as they fit. A webhook whose workspace was deleted is removed when nothing
// waits any more, or a day is over.
func (q Notices) Next(w WorkspaceID, to uint64) (n Notice, ok bool, err error) {
	now := q.e.opt.Now()
	var grown uint64
	h, err := kv.View(q.e.db, func(tx *kv.Tx) (h webhook, err error) {
		grown = auditNodes.Len(tx)
		h, n.URL, err = q.e.webhookOf(tx, w)
		return h, err
	})
	if isKind(err, NotFound) || err == nil && h.Gone && h.Ends.IsZero() {
		return n, false, nil
	}
	if err != nil {
		return n, false, err
	}
	c, err := q.e.cutNotices(w, h.Place, to)
	if err != nil {
		return n, false, err
	}
	if !h.Ends.IsZero() && (len(c.entries) == 0 || h.Gone || !now.Before(h.Ends)) {
		return n, false, q.remove(w, h.ID, len(c.entries) == 0)
	}
	if len(c.entries) == 0 && (now.Before(h.last().Add(NoticePause)) || grown <= h.Anchored) {
		return n, false, nil
	}
	n.Workspace, n.Entries, n.Next, n.webhook, n.change = w, c.entries, c.next, h.ID, h.Change
	if n.Checkpoint, n.size, err = q.e.noticeCheckpoint(); err != nil {
		return n, false, err
	}
	n.ID = fmt.Sprintf("%s-%d-%d", w, c.first, c.last)
	if len(c.entries) == 0 {
		if n.Checkpoint == nil {
			return n, false, nil
		}
		n.ID = fmt.Sprintf("%s-checkpoint-%d", w, n.size)
	}
	n.keys, err = q.e.webhookKeys(w, &h, now)
	return n, err == nil, err
}

// webhookKeys returns what signs at t, the newest first.
func (e *Engine) webhookKeys(w WorkspaceID, h *webhook, t time.Time) (keys [][]byte, err error) {
	for i, s := range h.Secrets {
		if i > 0 && !t.Before(s.Until) {
			continue
		}
		text, err := e.secrets.open(s.Sealed, webhookSecretOf(w))
		if err != nil {
			return nil, err
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, webhookSecretPrefix))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Signature is the header of that name for a body that is sent at t, by the Standard Webhooks specification.
func (n *Notice) Signature(t time.Time, body []byte) string {
	var all []string
	for _, key := range n.keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.", n.ID, strconv.FormatInt(t.Unix(), 10))
		mac.Write(body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(all, " ")
}

// Delivered records, durably, that n was taken. If the webhook has another URL by now, that has its own place.
func (q Notices) Delivered(n Notice) error {
	_, err := kv.UpdateCritical(q.e.db, func(tx *kv.Tx) (struct{}, error) {
		if h, ok := webhooks.Get(tx, []byte(n.Workspace)); ok && h.ID == n.webhook {
			h.Place, h.Anchored = max(h.Place, n.Next), max(h.Anchored, n.size)
			h.Delivered, h.Failures, h.Again, h.Cut, h.Gone = tx.Now, 0, time.Time{}, 0, false
			webhooks.Put(tx, []byte(n.Workspace), h)
		}
		return struct{}{}, nil
	})
	return err
}

// A NoticeFailure is what became of a notice that was not taken.
type NoticeFailure struct {
	Detail string    // for the customer
	Again  time.Time // the next attempt
	Gone   bool      // there is to be none until the webhook is set again
}

// Failed records that n was not taken, unless the webhook was set again since.
func (q Notices) Failed(n Notice, f NoticeFailure) error {
	_, err := kv.Update(q.e.db, func(tx *kv.Tx) (struct{}, error) {
		h, ok := webhooks.Get(tx, []byte(n.Workspace))
		if !ok || h.ID != n.webhook || h.Change != n.change {
			return struct{}{}, nil
		}
		h.Failed, h.Error, h.Again, h.Gone = tx.Now, f.Detail, f.Again, f.Gone
		h.Failures++
		h.Cut = 0
		if len(n.Entries) > 0 {
			h.Cut = n.Next
		}
		webhooks.Put(tx, []byte(n.Workspace), h)
		return struct{}{}, nil
	})
	return err
}

// remove ends the webhook of a workspace that was deleted.
func (q Notices) remove(w WorkspaceID, id string, delivered bool) error {
	_, err := kv.UpdateCritical(q.e.db, func(tx *kv.Tx) (struct{}, error) {
		h, ok := webhooks.Get(tx, []byte(w))
		if !ok || h.ID != id {
			return struct{}{}, nil
		}
		webhooks.Delete(tx, []byte(w))
		return struct{}{}, q.e.record(tx, auditlog.Entry{Event: "webhook.removed", Actor: systemActor, Workspace: string(w), Kind: "webhook", Detail: map[string]string{
			"host": h.Host, "reason": string(EndedWorkspace), "delivered": strconv.FormatBool(delivered),
		}})
	})
	return err
}
