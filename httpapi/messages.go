package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"tuco/engine"
)

// sendRequest is the body of POST /api/messages.
type sendRequest struct {
	inWorkspace
	Message                 string        `json:"message,omitzero" description:"text; {{firstName}} and its like are filled from the lead when it is sent"`
	AttachmentURLs          []string      `json:"attachmentUrls,omitzero" description:"at most 2"`
	AttachmentNames         []string      `json:"attachmentNames,omitzero"`
	MessageType             string        `json:"messageType,omitzero" description:"imessage (default), sms or email"`
	RecipientPhone          string        `json:"recipientPhone,omitzero"`
	RecipientEmail          string        `json:"recipientEmail,omitzero"`
	RecipientName           string        `json:"recipientName,omitzero"`
	FromLineID              string        `json:"fromLineId,omitzero" description:"round-robin over the active lines without it"`
	LeadID                  string        `json:"leadId,omitzero"`
	AltPhone1               *string       `json:"altPhone1,omitzero"`
	AltPhone2               *string       `json:"altPhone2,omitzero"`
	AltPhone3               *string       `json:"altPhone3,omitzero"`
	AltEmail1               *string       `json:"altEmail1,omitzero"`
	AltEmail2               *string       `json:"altEmail2,omitzero"`
	AltEmail3               *string       `json:"altEmail3,omitzero"`
	ScheduledDate           string        `json:"scheduledDate,omitzero" description:"ISO 8601; a date that is over means now"`
	Timezone                string        `json:"timezone,omitzero" description:"IANA name"`
	SendWindowStart         string        `json:"sendWindowStart,omitzero" description:"HH:mm"`
	SendWindowEnd           string        `json:"sendWindowEnd,omitzero" description:"HH:mm"`
	AllowedDaysOfWeek       []int         `json:"allowedDaysOfWeek,omitzero" description:"0 (Sunday) to 6"`
	Settings                *sendSettings `json:"settings,omitzero"`
	SendFallbackSMSOnFailed bool          `json:"sendFallbackSmsOnFailed,omitzero"`
	ForceFallback           bool          `json:"forceFallback,omitzero"`
	BatchID                 string        `json:"batchId,omitzero"`
	CorrelationID           string        `json:"correlationId,omitzero"`
	ContactOwnerEmail       string        `json:"contactOwnerEmail,omitzero"`
	crmFields
}

// sendSettings stand in for the window's fields where the request has none.
type sendSettings struct {
	Timezone          string `json:"timezone,omitzero"`
	SendWindowStart   string `json:"sendWindowStart,omitzero"`
	SendWindowEnd     string `json:"sendWindowEnd,omitzero"`
	AllowedDaysOfWeek []int  `json:"allowedDaysOfWeek,omitzero"`
}

// crmFields link a record to the customer's other systems.
type crmFields struct {
	GHLContactID  string `json:"ghlContactId,omitzero"`
	GHLLocationID string `json:"ghlLocationId,omitzero"`
	HSContactID   string `json:"hsContactId,omitzero"`
	HSPortalID    string `json:"hsPortalId,omitzero"`
}

func (f crmFields) crm() engine.CRM {
	return engine.CRM{GHLContactID: f.GHLContactID, GHLLocationID: f.GHLLocationID, HSContactID: f.HSContactID, HSPortalID: f.HSPortalID}
}

// crmAnswer are the same in an answer, where what is missing is null.
type crmAnswer struct {
	GHLContactID  *string `json:"ghlContactId"`
	GHLLocationID *string `json:"ghlLocationId"`
	HSPortalID    *string `json:"hsPortalId"`
	HSContactID   *string `json:"hsContactId"`
}

func newCRMAnswer(c *engine.CRM) crmAnswer {
	return crmAnswer{given(&c.GHLContactID), given(&c.GHLLocationID), given(&c.HSPortalID), given(&c.HSContactID)}
}

// given returns s, nil if it is empty.
func given(s *string) *string {
	if *s == "" {
		return nil
	}
	return s
}

// nullable returns a pointer to a copy of s, nil if it is empty.
func nullable(s string) *string { return given(&s) }

// window is when the message may go. A start without an end in the settings is no window: it only says
// when a message goes that a limit put off.
func (r *sendRequest) window() engine.Window {
	w := engine.Window{Timezone: r.Timezone, Start: r.SendWindowStart, End: r.SendWindowEnd, Days: r.AllowedDaysOfWeek}
	s := r.Settings
	if s == nil {
		return w
	}
	w.Timezone = or(w.Timezone, s.Timezone)
	if len(w.Days) == 0 {
		w.Days = s.AllowedDaysOfWeek
	}
	if w.Start == "" && w.End == "" && s.SendWindowEnd == "" {
		w.Deferral = s.SendWindowStart
		return w
	}
	w.Start, w.End = or(w.Start, s.SendWindowStart), or(w.End, s.SendWindowEnd)
	return w
}

func (r *sendRequest) engine(correlation string) engine.SendRequest {
	return engine.SendRequest{
		Text: r.Message, Attachments: r.AttachmentURLs, AttachmentNames: r.AttachmentNames, Type: r.MessageType,
		Phone: r.RecipientPhone, Email: r.RecipientEmail, Name: r.RecipientName, Line: r.FromLineID, Lead: r.LeadID,
		AltPhones: [3]*string{r.AltPhone1, r.AltPhone2, r.AltPhone3}, AltEmails: [3]*string{r.AltEmail1, r.AltEmail2, r.AltEmail3},
		Scheduled: r.ScheduledDate, Window: r.window(), FallbackOnFailed: r.SendFallbackSMSOnFailed, ForceFallback: r.ForceFallback,
		BatchID: r.BatchID, CorrelationID: correlation, Owner: r.ContactOwnerEmail, CRM: r.crm(),
	}
}

// sendResponse is the answer to POST /api/messages.
type sendResponse struct {
	Success bool          `json:"success"`
	Status  string        `json:"status" enum:"sent,pending,scheduled,fallback,failed"`
	Message messageObject `json:"message"`
	LeadID  *string       `json:"leadId"`
	crmAnswer
	Reason        string `json:"reason,omitzero"`
	ScheduledDate date   `json:"scheduledDate,omitzero"`
}

// messageObject is a message in an answer.
type messageObject struct {
	ID                string        `json:"_id"`
	Message           string        `json:"message"`
	MessageType       string        `json:"messageType" enum:"imessage,sms,email"`
	Status            string        `json:"status" enum:"queued,pending,sending,sent,delivered,failed,fallback,scheduled,cancelled"`
	OutcomeUnknown    bool          `json:"outcomeUnknown,omitzero" description:"it was handed over, and nobody can tell whether it arrived; the status stays sending until the operator settles it"`
	Reason            string        `json:"reason,omitzero" description:"why it waits"`
	Direction         string        `json:"direction" enum:"sent"`
	FromLineID        *string       `json:"fromLineId"`
	FromLinePhone     *string       `json:"fromLinePhone"`
	FromLineEmail     *string       `json:"fromLineEmail"`
	RecipientPhone    *string       `json:"recipientPhone"`
	RecipientEmail    *string       `json:"recipientEmail"`
	RecipientName     *string       `json:"recipientName"`
	LeadID            *string       `json:"leadId"`
	WorkspaceID       string        `json:"workspaceId"`
	CreatedByUserID   *string       `json:"createdByUserId" description:"id of the API key that sent it"`
	CorrelationID     string        `json:"correlationId,omitzero"`
	ScheduledDate     date          `json:"scheduledDate,omitzero"`
	BatchID           *string       `json:"batchId"`
	Settings          *sendSettings `json:"settings,omitzero"`
	SentAt            date          `json:"sentAt,omitzero"`
	DeliveredAt       date          `json:"deliveredAt,omitzero"`
	ExternalMessageID *string       `json:"externalMessageId"`
	ErrorMessage      string        `json:"errorMessage,omitzero"`
	CheckedAddresses  []string      `json:"checkedAddresses,omitzero"`
	FallbackOnFailed  bool          `json:"sendFallbackSmsOnFailed"`
	crmAnswer
	ContactOwnerEmail *string  `json:"contactOwnerEmail"`
	AttachmentURLs    []string `json:"attachmentUrls,omitzero"`
	AttachmentNames   []string `json:"attachmentNames,omitzero"`
	CreatedAt         date     `json:"createdAt"`
	UpdatedAt         date     `json:"updatedAt"`
}

// newMessageObject makes an answer's message, which shares memory with v.
func newMessageObject(w engine.WorkspaceID, v *engine.MessageView) messageObject {
	m := &v.Message
	o := messageObject{
		ID: m.ID.String(), Message: m.Text, MessageType: string(m.Channel), Status: string(m.Status), Reason: m.Reason, Direction: "sent",
		FromLineID: nullable(m.Line.String()), FromLinePhone: given(&v.LinePhone), FromLineEmail: given(&v.LineEmail),
		RecipientName: given(&m.RecipientName), LeadID: nullable(m.Lead.String()), WorkspaceID: string(w),
		CreatedByUserID: given(&m.MadeBy), CorrelationID: m.CorrelationID, ScheduledDate: date(m.Scheduled), BatchID: given(&m.BatchID),
		SentAt: date(m.SentAt), DeliveredAt: date(m.DeliveredAt), ExternalMessageID: given(&m.ExternalID),
		ErrorMessage: m.Error, CheckedAddresses: m.Checked, crmAnswer: newCRMAnswer(&m.CRM), ContactOwnerEmail: given(&m.Owner),
		AttachmentURLs: m.Attachments, AttachmentNames: m.AttachmentNames, CreatedAt: date(m.Created), UpdatedAt: date(m.Updated),
	}
	if m.Status == engine.Uncertain {
		o.Status, o.OutcomeUnknown = string(engine.Sending), true
	}
	if to := &m.To[0]; (*to)[0] == '+' {
		o.RecipientPhone = to
	} else {
		o.RecipientEmail = to
	}
	if w := m.Window; w.Timezone != "" || w.Start != "" || w.End != "" || w.Deferral != "" || len(w.Days) > 0 {
		o.Settings = &sendSettings{w.Timezone, or(w.Start, w.Deferral), w.End, w.Days}
	}
	return o
}

// sendMessage serves POST /api/messages.
func (s *Server) sendMessage(c *call, req sendRequest) (reply, error) {
	if req.CorrelationID != "" && c.ctx.Get(headerCorrelationID) == "" {
		setID(c.ctx, wireCorrelationID, req.CorrelationID, "app_")
	}
	once, err := c.once(func(result any) reply { return newSendReply(c.who, &result.(*engine.SendResult).MessageView) })
	if err != nil {
		return reply{}, err
	}
	correlation := correlationID(c.ctx)
	log := func(e *zerolog.Event) *zerolog.Event {
		if e.Enabled() {
			e.Str("request", requestID(c.ctx)).Str("correlation", correlation).Str("workspace", string(c.who.Workspace()))
		}
		return e
	}
	log(s.log.Debug()).Msg("message.api.request")
	result, err := s.eng.Send(c.who, once, req.engine(correlation))
	setLimits(c.ctx, result.Limits)
	if denied, ok := errors.AsType[*engine.Error](err); ok && denied.Limit != nil {
		log(s.log.Info()).Str("limit", denied.Limit.Name).Msg("cap.reservation.denied")
	}
	if err != nil {
		return reply{}, err
	}
	if result.Replay != nil {
		return reply{stored: result.Replay}, nil
	}
	if req.LeadID != "" { // whose address the answer shows
		c.sees(result.To...)
	}
	log(s.log.Debug()).Stringer("message", result.Message.ID).Str("status", string(result.Message.Status)).Msg("message.api.create_message_returned")
	return newSendReply(c.who, &result.MessageView), nil
}

func newSendReply(who engine.Caller, m *engine.MessageView) reply {
	answer := &sendResponse{Success: true, Status: "pending", Message: newMessageObject(who.Workspace(), m), Reason: m.Reason}
	answer.LeadID, answer.crmAnswer = answer.Message.LeadID, answer.Message.crmAnswer
	if m.Status == engine.Scheduled {
		answer.Status, answer.ScheduledDate = "scheduled", date(m.Scheduled)
	}
	return reply{status: http.StatusCreated, body: answer}
}

type messageInput struct {
	ID string `path:"id" json:"-"`
}

type messageResponse struct {
	Message messageObject `json:"message"`
}

// getMessage serves GET /api/messages/{id}.
func (s *Server) getMessage(c *call, in messageInput) (reply, error) {
	v, err := s.eng.GetMessage(c.who, in.ID)
	if err != nil {
		return reply{}, err
	}
	c.seen.Object = v.ID.String()
	c.sees(v.To...)
	return ok(newMessageResponse(c.who.Workspace(), v))
}

func newMessageResponse(w engine.WorkspaceID, v engine.MessageView) *messageResponse {
	return &messageResponse{newMessageObject(w, &v)}
}

type messagesInput struct {
	Status   string `query:"status" json:"-" enum:"queued,pending,sending,sent,delivered,failed,fallback,scheduled,cancelled,unknown"`
	LineID   string `query:"lineId" json:"-"`
	LeadID   string `query:"leadId" json:"-"`
	BatchID  string `query:"batchId" json:"-"`
	DateFrom string `query:"dateFrom" json:"-" description:"ISO 8601, of creation, inclusive"`
	DateTo   string `query:"dateTo" json:"-" description:"ISO 8601, of creation, inclusive"`
	Cursor   string `query:"cursor" json:"-" description:"nextCursor of the page before"`
	Limit    int    `query:"limit" json:"-" minimum:"1" description:"50; at most 100"`
}

type messagesResponse struct {
	Messages   []messageObject `json:"messages"`
	NextCursor *string         `json:"nextCursor" description:"null on the last page"`
}

const (
	pageSize    = 50
	maxPageSize = 100
)

// listMessages serves GET /api/messages.
func (s *Server) listMessages(c *call, in messagesInput) (reply, error) {
	q := engine.MessageQuery{
		Status: engine.Status(in.Status), Line: in.LineID, Lead: in.LeadID, Batch: in.BatchID, Cursor: in.Cursor,
		Limit: min(or(in.Limit, pageSize), maxPageSize),
	}
	var err error
	if q.From, err = queryDate("dateFrom", in.DateFrom); err != nil {
		return reply{}, err
	}
	if q.To, err = queryDate("dateTo", in.DateTo); err != nil {
		return reply{}, err
	}
	if !q.To.IsZero() && q.To.Before(q.From) {
		return reply{}, engine.Errorf(engine.Invalid, "dateFrom must be <= dateTo")
	}
	page, err := s.eng.Messages(c.who, q)
	if err != nil {
		return reply{}, err
	}
	answer := messagesResponse{Messages: make([]messageObject, len(page.Messages)), NextCursor: nullable(page.Next)}
	for i := range page.Messages {
		answer.Messages[i] = newMessageObject(c.who.Workspace(), &page.Messages[i])
		c.sees(page.Messages[i].To...)
	}
	return ok(&answer)
}

func queryDate(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, ok := engine.ParseDate(text)
	if !ok {
		return t, engine.Errorf(engine.Invalid, "Invalid %s", name)
	}
	return t, nil
}

type cancelRequest struct {
	inWorkspace
	LeadID         string `json:"leadId,omitzero"`
	RecipientPhone string `json:"recipientPhone,omitzero"`
	RecipientEmail string `json:"recipientEmail,omitzero"`
}

type cancelResponse struct {
	Success              bool     `json:"success"`
	CancelledCount       int      `json:"cancelledCount"`
	JobsRemovedFromQueue int      `json:"jobsRemovedFromQueue"`
	LeadID               *string  `json:"leadId"`
	MessageIDs           []string `json:"messageIds"`
}

// cancelForLead serves POST /api/messages/cancel-for-lead.
func (s *Server) cancelForLead(c *call, req cancelRequest) (reply, error) {
	done, err := s.eng.CancelForLead(c.who, engine.CancelRequest{Lead: req.LeadID, Phone: req.RecipientPhone, Email: req.RecipientEmail})
	if err != nil {
		return reply{}, err
	}
	answer := cancelResponse{Success: true, CancelledCount: len(done.Messages), JobsRemovedFromQueue: done.Removed, LeadID: nullable(done.Lead.String()), MessageIDs: []string{}}
	if !done.Lead.IsZero() {
		c.sees() // that there is such a lead, and which
	}
	for _, id := range done.Messages {
		answer.MessageIDs = append(answer.MessageIDs, id.String())
	}
	return ok(answer)
}
