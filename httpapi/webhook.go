package httpapi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tuco/engine"
	"tuco/engine/notice"
	"tuco/strictjson"
)

// The webhook by which a customer is told of staff access.

type webhookObject struct {
	URL         string  `json:"url"`
	Since       date    `json:"since" description:"when the URL was set; what was before is not told"`
	DeliveredTo int64   `json:"deliveredTo" description:"what has a smaller wsSeq is delivered, or needs no notice"`
	Waiting     int64   `json:"waiting" description:"entries that are not delivered yet, of the next 10,000 of the workspace"`
	DeliveredAt *date   `json:"deliveredAt" description:"last success"`
	FailedAt    *date   `json:"failedAt" description:"last failure"`
	LastError   *string `json:"lastError" description:"of that"`
	Failures    int     `json:"failures" description:"in a row, up to now"`
	NextAttempt *date   `json:"nextAttempt" description:"null unless the last one failed"`
	Gone        bool    `json:"gone" description:"it answered 410: nothing is sent until it is set again"`
	OldSecret   *date   `json:"oldSecretUntil" description:"until then the secret before the last rotation signs, too"`
}

func newWebhookObject(h *engine.Webhook) webhookObject {
	return webhookObject{
		URL: h.URL, Since: date(h.Since), DeliveredTo: int64(h.Place), Waiting: h.Waiting, DeliveredAt: newDate(h.Delivered), FailedAt: newDate(h.Failed),
		LastError: nullable(h.Error), Failures: h.Failures, NextAttempt: newDate(h.Next), Gone: h.Gone, OldSecret: newDate(h.OldSecret),
	}
}

type webhookResponse struct {
	Webhook webhookObject `json:"webhook"`
}

// showWebhook serves GET /api/staff-access/webhook.
func (s *Server) showWebhook(c *call, _ nothing) (reply, error) {
	h, err := s.eng.Webhook(c.who)
	if err != nil {
		return reply{}, err
	}
	return ok(webhookResponse{newWebhookObject(&h)})
}

type setWebhookRequest struct {
	inWorkspace
	URL string `json:"url" description:"https; http only within networks that the operator allows"`
}

// webhookSecretResponse has a secret once.
type webhookSecretResponse struct {
	Webhook webhookObject `json:"webhook"`
	Secret  *string       `json:"secret" description:"signs the notices, as the Standard Webhooks specification says; null: the one that it has"`
	Warning *string       `json:"warning"`
}

func webhookReply(h engine.Webhook, secret string, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	answer := webhookSecretResponse{Webhook: newWebhookObject(&h), Secret: nullable(secret)}
	if secret != "" {
		answer.Warning = nullable(secretWarning)
	}
	return ok(answer)
}

// setWebhook serves PUT /api/staff-access/webhook.
func (s *Server) setWebhook(c *call, in setWebhookRequest) (reply, error) {
	return webhookReply(s.eng.SetWebhook(c.who, in.URL))
}

type rotateWebhookRequest struct {
	inWorkspace
	Overlap string `json:"overlap,omitzero" description:"how long the old secret signs beside the new one, such as 1h; 24h by default"`
}

// rotateWebhook serves POST /api/staff-access/webhook/rotate.
func (s *Server) rotateWebhook(c *call, in rotateWebhookRequest) (reply, error) {
	overlap, err := time.ParseDuration(or(in.Overlap, engine.DefaultWebhookOverlap.String()))
	if err != nil {
		return reply{}, engine.Errorf(engine.Invalid, "overlap must be a duration such as 24h")
	}
	return webhookReply(s.eng.RotateWebhook(c.who, overlap))
}

// removeWebhook serves DELETE /api/staff-access/webhook.
func (s *Server) removeWebhook(c *call, _ nothing) (reply, error) {
	if err := s.eng.RemoveWebhook(c.who); err != nil {
		return reply{}, err
	}
	return ok(successResponse{true})
}

// noticeBody is what is posted to a webhook.
type noticeBody struct {
	Type        string        `json:"type"`
	WorkspaceID string        `json:"workspaceId"`
	Entries     []entryObject `json:"entries"`
	Checkpoint  *string       `json:"checkpoint"` // null while the log can't be relied on
}

// NoticeBody is what is posted to a webhook: the entries as GET /api/staff-access/log has them, but the oldest first.
func NoticeBody(n *engine.Notice) ([]byte, error) {
	body := noticeBody{Type: "staff-access", WorkspaceID: string(n.Workspace), Entries: make([]entryObject, len(n.Entries)), Checkpoint: nullable(string(n.Checkpoint))}
	for i, e := range n.Entries {
		var err error
		if body.Entries[i], err = newEntryObject(e.Seq, e.Entry); err != nil {
			return nil, err
		}
	}
	return strictjson.Marshal(&body)
}

// NoticeCounter counts what became of attempts to deliver to webhooks.
func NoticeCounter(r *prometheus.Registry) func(notice.Outcome) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tuco_webhook_deliveries_total", Help: "Attempts to deliver to a webhook by outcome."}, []string{"outcome"})
	r.MustRegister(c)
	for _, o := range notice.Outcomes {
		c.WithLabelValues(string(o))
	}
	return func(o notice.Outcome) { c.WithLabelValues(string(o)).Inc() }
}

// NoticeGauge shows how many entries wait to be delivered to webhooks.
func NoticeGauge(r *prometheus.Registry, waiting func() int64) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tuco_webhook_waiting_entries", Help: "Entries of the audit log that wait to be delivered to webhooks."},
		func() float64 { return float64(waiting()) }))
}
