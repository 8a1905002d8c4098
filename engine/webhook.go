package engine

import (
	"encoding/base64"
	"encoding/hex"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// The codes of webhooks.
const (
	CodeInvalidURL = "INVALID_URL"
	CodeNoWebhook  = "NO_WEBHOOK" // none is set
)

// webhook is where a customer is told of staff access to the workspace. What waits for it is the workspace's own chain in
// the audit log; here is how far that was delivered.
type webhook struct {
	ID      string          `json:"id"`     // of this URL: another one begins at the end of the log
	Change  uint64          `json:"change"` // moves when it is set: it is tried anew
	Host    string          `json:"host"`
	URL     sealed          `json:"url"`     // its path may hold a secret
	Secrets []webhookSecret `json:"secrets"` // the newest first; the one before it, while it lives
	Since   time.Time       `json:"since"`   // the URL was set

	Place     uint64    `json:"place"`    // own number of the first entry that may not have been delivered
	Anchored  uint64    `json:"anchored"` // size of the newest checkpoint that was delivered
	Delivered time.Time `json:"delivered,omitzero"`

	Failed   time.Time `json:"failed,omitzero"` // of the last failure, also when it was delivered since
	Error    string    `json:"error,omitzero"`
	Failures int       `json:"failures,omitzero"` // in a row
	Again    time.Time `json:"again,omitzero"`    // the next attempt
	Cut      uint64    `json:"cut,omitzero"`      // where the entries that failed end: they are tried again as they were
	Gone     bool      `json:"gone,omitzero"`     // it answered 410: it waits until it is set again

	Ends time.Time `json:"ends,omitzero"` // its workspace was deleted: it is tried until then at most
}

type webhookSecret struct {
	Sealed sealed    `json:"sealed"`
	Until  time.Time `json:"until,omitzero"`
}

var webhooks = kv.Bucket[webhook]{Path: systemPath.Join("access.webhooks"), Codec: kv.JSON[webhook](1)} // by workspace

const (
	webhookSecretPrefix = "whsec_" // of the Standard Webhooks specification
	webhookSecretBytes  = 32
	// DefaultWebhookOverlap is how long the secret before a rotation still signs, if nothing is said.
	DefaultWebhookOverlap = day
	// webhookCounted bounds how many entries are looked at to tell how many wait.
	webhookCounted = 10_000
)

// A Webhook is what the customer sees of it.
type Webhook struct {
	URL       string
	Since     time.Time
	Place     uint64    // own number: what lies before it is delivered, or needs no notice
	Waiting   int64     // entries, of the next 10,000 of the workspace
	Delivered time.Time // last success; zero: none yet
	Failed    time.Time // last failure; zero: none yet
	Error     string    // of that
	Failures  int       // in a row, up to now
	Next      time.Time // attempt; zero unless it waits for another one
	Gone      bool      // it answered 410: nothing is sent until it is set again
	OldSecret time.Time // until then the secret before the newest signs, too
}

// Webhook returns the webhook of the caller's workspace.
//
// Errors: [NotFound] if there is none.
func (e *Engine) Webhook(who Caller) (Webhook, error) {
	if err := who.Require(AccessApprove); err != nil {
		return Webhook{}, err
	}
	return e.showWebhook(who.Workspace())
}

func noWebhook() *Error {
	return Errorf(NotFound, "This workspace has no webhook").With(CodeNoWebhook)
}

func (e *Engine) showWebhook(w WorkspaceID) (Webhook, error) {
	return kv.View(e.db, func(tx *kv.Tx) (shown Webhook, err error) {
		h, url, err := e.webhookOf(tx, w)
		if err != nil {
			return shown, err
		}
		shown = Webhook{
			URL: url, Since: h.Since, Place: h.Place, Delivered: h.Delivered, Failed: h.Failed, Error: h.Error, Failures: h.Failures, Gone: h.Gone,
		}
		if h.Failures > 0 && !h.Gone {
			shown.Next = h.Again
		}
		if len(h.Secrets) > 1 && tx.Now.Before(h.Secrets[1].Until) {
			shown.OldSecret = h.Secrets[1].Until
		}
		shown.Waiting, err = countNotices(tx, w, h.Place, min(auditOf(w).Len(tx), h.Place+webhookCounted))
		return shown, err
	})
}

// What seals of a webhook are for.
func webhookURLOf(w WorkspaceID) string    { return "webhook url " + string(w) }
func webhookSecretOf(w WorkspaceID) string { return "webhook secret " + string(w) }

// SetWebhook makes rawURL where notices of the caller's workspace go, from what happens now on, and returns the new secret
// that signs them. Set to the URL that it has, it keeps secret and place, secret is empty, and it is tried anew. It works
// in READ_ONLY too.
//
// Errors: [Invalid] with [CodeInvalidURL].
func (e *Engine) SetWebhook(who Caller, rawURL string) (shown Webhook, secret string, err error) {
	if err := who.Require(AccessApprove); err != nil {
		return Webhook{}, "", err
	}
	u, err := checkWebhookURL(rawURL, e.opt.AllowFetch)
	if err != nil {
		return Webhook{}, "", err
	}
	d := who.decider()
	_, err = kv.Update(e.db, func(tx *kv.Tx) (struct{}, error) {
		if err := d.mayChange(tx); err != nil {
			return struct{}{}, err
		}
		h, old, _ := e.webhookOf(tx, d.workspace) // a URL that can't be opened any more is another one
		entry := d.webhookEntry("webhook.set", u.Host)
		entry.Detail["secret"], secret = "kept", ""
		if old != u.String() {
			entry.Detail["secret"], secret = "new", newWebhookSecret()
			h = webhook{
				ID: hex.EncodeToString(randomBytes(8)), Change: h.Change, Host: u.Host, URL: e.secrets.seal(u.String(), webhookURLOf(d.workspace)),
				Secrets: []webhookSecret{{Sealed: e.secrets.seal(secret, webhookSecretOf(d.workspace))}}, Since: tx.Now,
			}
		}
		h.Change++
		h.Gone, h.Failures, h.Again = false, 0, time.Time{}
		e.notices.add(d.workspace)
		if err := e.record(tx, entry); err != nil {
			return struct{}{}, err
		}
		if secret != "" {
			h.Place = auditOf(d.workspace).Len(tx)
		}
		webhooks.Put(tx, []byte(d.workspace), h)
		return struct{}{}, nil
	})
	if err != nil {
		return Webhook{}, "", storageError(err)
	}
	shown, err = e.showWebhook(d.workspace)
	return shown, secret, err
}

// RotateWebhook gives the webhook of the caller's workspace a new secret and returns it. For overlap the one before signs
// beside it; any earlier one is over.
//
// Errors: [NotFound], [Invalid].
func (e *Engine) RotateWebhook(who Caller, overlap time.Duration) (shown Webhook, secret string, err error) {
	if err := who.Require(AccessApprove); err != nil {
		return Webhook{}, "", err
	}
	if err := checkOverlap(overlap); err != nil {
		return Webhook{}, "", err
	}
	d := who.decider()
	_, err = kv.Update(e.db, func(tx *kv.Tx) (struct{}, error) {
		h, err := d.webhook(tx)
		if err != nil {
			return struct{}{}, err
		}
		secret = newWebhookSecret()
		before := h.Secrets[0]
		h.Secrets = []webhookSecret{{Sealed: e.secrets.seal(secret, webhookSecretOf(d.workspace))}}
		if overlap > 0 {
			before.Until = tx.Now.Add(overlap)
			h.Secrets = append(h.Secrets, before)
		}
		webhooks.Put(tx, []byte(d.workspace), h)
		entry := d.webhookEntry("webhook.rotated", h.Host)
		entry.Detail["overlap"] = overlap.String()
		return struct{}{}, e.record(tx, entry)
	})
	if err != nil {
		return Webhook{}, "", storageError(err)
	}
	shown, err = e.showWebhook(d.workspace)
	return shown, secret, err
}

// RemoveWebhook ends the notices of the caller's workspace. One that is under way may still arrive.
//
// Errors: [NotFound].
func (e *Engine) RemoveWebhook(who Caller) error {
	if err := who.Require(AccessApprove); err != nil {
		return err
	}
	d := who.decider()
	_, err := kv.Update(e.db, func(tx *kv.Tx) (struct{}, error) {
		h, err := d.webhook(tx)
		if err != nil {
			return struct{}{}, err
		}
		webhooks.Delete(tx, []byte(d.workspace))
		return struct{}{}, e.record(tx, d.webhookEntry("webhook.removed", h.Host))
	})
	return storageError(err)
}

// endWebhook lets the webhook of a workspace that is deleted be tried for another day.
func endWebhook(tx *kv.Tx, w WorkspaceID) {
	if h, ok := webhooks.Get(tx, []byte(w)); ok {
		h.Ends = tx.Now.Add(day)
		webhooks.Put(tx, []byte(w), h)
	}
}

// webhookOf returns a workspace's webhook and its URL.
func (e *Engine) webhookOf(tx *kv.Tx, w WorkspaceID) (h webhook, url string, err error) {
	h, ok := webhooks.Get(tx, []byte(w))
	if !ok {
		return h, "", noWebhook()
	}
	url, err = e.secrets.open(h.URL, webhookURLOf(w))
	return h, url, err
}

// mayChange refuses who may no longer change the webhook, or does it too often.
func (d decider) mayChange(tx *kv.Tx) error {
	if err := d.still(tx); err != nil {
		return err
	}
	return d.pace(tx.Now)
}

// webhook returns that of the workspace, if d may change it.
func (d decider) webhook(tx *kv.Tx) (webhook, error) {
	if err := d.mayChange(tx); err != nil {
		return webhook{}, err
	}
	h, ok := webhooks.Get(tx, []byte(d.workspace))
	if !ok {
		return h, noWebhook()
	}
	return h, nil
}

// webhookEntry begins an entry about the webhook. Of its URL it has the host only.
func (d decider) webhookEntry(event, host string) auditlog.Entry {
	entry := d.entry(event)
	entry.Kind, entry.Detail = "webhook", map[string]string{"host": host}
	return entry
}

func newWebhookSecret() string {
	return webhookSecretPrefix + base64.StdEncoding.EncodeToString(randomBytes(webhookSecretBytes))
}
