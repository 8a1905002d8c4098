package httpapi

import (
	"net/http"
	"time"

	"tuco/engine"
)

// lineObject is a line in an answer. The transport's secrets are never in it.
type lineObject struct {
	ID                         string      `json:"_id"`
	WorkspaceID                string      `json:"workspaceId"`
	FirstName                  string      `json:"firstName"`
	LastName                   string      `json:"lastName"`
	Phone                      *string     `json:"phone"`
	Email                      *string     `json:"email"`
	IsActive                   bool        `json:"isActive"`
	ProvisioningStatus         string      `json:"provisioningStatus" enum:"active"`
	LineType                   string      `json:"lineType" enum:"byon"`
	Channel                    string      `json:"channel" enum:"imessage,sms,email"`
	Transport                  string      `json:"transport" enum:"sandbox,smtp,none" description:"none: the line was imported, and waits for the operator to connect it"`
	DailyNewConversationsLimit *int64      `json:"dailyNewConversationsLimit" description:"null is unlimited"`
	DailyTotalMessagesLimit    *int64      `json:"dailyTotalMessagesLimit" description:"null is unlimited"`
	DeviceGapSeconds           float64     `json:"deviceGapSeconds"`
	ContactGapSeconds          float64     `json:"contactGapSeconds"`
	Usage                      lineUsage   `json:"usage"`
	HealthCheck                healthCheck `json:"healthCheck"`
	MadeBy                     string      `json:"madeBy"`
	CreatedAt                  date        `json:"createdAt"`
	UpdatedAt                  date        `json:"updatedAt"`
}

type lineUsage struct {
	Date                  string `json:"date" format:"date"`
	NewConversationsCount int64  `json:"newConversationsCount"`
	TotalMessagesCount    int64  `json:"totalMessagesCount"`
}

type healthCheck struct {
	Status        string `json:"status" enum:"healthy,down"`
	Detail        string `json:"detail,omitzero"`
	LastCheckedAt *date  `json:"lastCheckedAt"`
}

func newLineObject(w engine.WorkspaceID, l engine.LineReport) lineObject {
	health := healthCheck{"healthy", l.HealthDetail, newDate(l.HealthChecked)}
	if !l.Healthy {
		health.Status = "down"
	}
	return lineObject{
		ID: l.ID.String(), WorkspaceID: string(w), FirstName: l.FirstName, LastName: l.LastName, Phone: nullable(l.Phone), Email: nullable(l.Email),
		IsActive: l.Active, ProvisioningStatus: "active", LineType: "byon", Channel: string(l.Channel), Transport: l.Transport,
		DailyNewConversationsLimit: limited(l.DailyNew), DailyTotalMessagesLimit: limited(l.DailyMessages),
		DeviceGapSeconds: time.Duration(l.DeviceGap).Seconds(), ContactGapSeconds: time.Duration(l.ContactGap).Seconds(),
		Usage: lineUsage{l.Today.String(), l.NewToday, l.Messages}, HealthCheck: health, MadeBy: l.MadeBy,
		CreatedAt: date(l.Created), UpdatedAt: date(l.Updated),
	}
}

// limited is null for a line's limit of 0, which is none.
func limited(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

type linesResponse struct {
	Lines []lineObject `json:"lines"`
}

// listLines serves GET /api/lines/by-user.
func (s *Server) listLines(c *call, _ nothing) (reply, error) {
	all, err := s.eng.Lines(c.who)
	if err != nil {
		return reply{}, err
	}
	answer := linesResponse{[]lineObject{}}
	for _, l := range all {
		answer.Lines = append(answer.Lines, newLineObject(c.who.Workspace(), l))
		c.sees()
	}
	return ok(answer)
}

type spamReport struct {
	LineID              string  `json:"lineId"`
	LinePhone           *string `json:"linePhone"`
	LineType            string  `json:"lineType"`
	TotalSentLast24h    int64   `json:"totalSentLast24h"`
	FailedLast24h       int64   `json:"failedLast24h"`
	FailureRate         float64 `json:"failureRate" description:"per cent"`
	ConsecutiveFailures int64   `json:"consecutiveFailures"`
	SpamRisk            string  `json:"spamRisk" enum:"low,medium,high"`
	Recommendation      string  `json:"recommendation"`
}

type spamResponse struct {
	Lines []spamReport `json:"lines"`
}

// spamMonitor serves GET /api/lines/spam-monitor.
func (s *Server) spamMonitor(c *call, _ nothing) (reply, error) {
	all, err := s.eng.SpamMonitor(c.who)
	if err != nil {
		return reply{}, err
	}
	answer := spamResponse{[]spamReport{}}
	for _, l := range all {
		answer.Lines = append(answer.Lines, newSpamReport(l))
		c.sees()
	}
	return ok(answer)
}

func newSpamReport(l engine.SpamReport) spamReport {
	r := spamReport{
		LineID: l.ID.String(), LinePhone: nullable(l.Phone), LineType: "byon", TotalSentLast24h: l.Sent, FailedLast24h: l.Failed,
		ConsecutiveFailures: l.Consecutive, SpamRisk: "low", Recommendation: "Line is healthy.",
	}
	if l.Sent > 0 {
		r.FailureRate = float64(l.Failed*1000/l.Sent) / 10
	}
	switch failed := l.Failed * 100; {
	case failed > 15*l.Sent:
		r.SpamRisk, r.Recommendation = "high", "Pause campaigns on this line and wait 24-48 hours."
	case failed >= 5*l.Sent && failed > 0:
		r.SpamRisk, r.Recommendation = "medium", "Halve the volume of this line and watch it for 24 hours."
	}
	return r
}

// lineRequest is what can be said of a line. Nil leaves it, or the default in a new line.
type lineRequest struct {
	inWorkspace
	FirstName                  *string  `json:"firstName,omitzero"`
	LastName                   *string  `json:"lastName,omitzero"`
	Phone                      *string  `json:"phone,omitzero" description:"of a new line only"`
	Email                      *string  `json:"email,omitzero" description:"of a new line only"`
	IsActive                   *bool    `json:"isActive,omitzero" description:"false pauses the line"`
	DailyTotalMessagesLimit    *int64   `json:"dailyTotalMessagesLimit,omitzero" description:"0 is unlimited"`
	DailyNewConversationsLimit *int64   `json:"dailyNewConversationsLimit,omitzero" description:"0 is unlimited"`
	DeviceGapSeconds           *float64 `json:"deviceGapSeconds,omitzero"`
	ContactGapSeconds          *float64 `json:"contactGapSeconds,omitzero"`
	Transport                  *string  `json:"transport,omitzero" description:"sandbox: ; others are connected by the operator"`
}

func (r *lineRequest) change() (engine.LineChange, error) {
	device, err := gap("deviceGapSeconds", r.DeviceGapSeconds)
	if err != nil {
		return engine.LineChange{}, err
	}
	contact, err := gap("contactGapSeconds", r.ContactGapSeconds)
	return engine.LineChange{
		FirstName: r.FirstName, LastName: r.LastName, Phone: r.Phone, Email: r.Email, Active: r.IsActive, Transport: r.Transport,
		DailyMessages: r.DailyTotalMessagesLimit, DailyNew: r.DailyNewConversationsLimit, DeviceGap: device, ContactGap: contact,
	}, err
}

func gap(name string, n *float64) (*time.Duration, error) {
	if n == nil {
		return nil, nil
	}
	if *n < 0 || *n > 24*60*60 {
		return nil, engine.Errorf(engine.Invalid, "%s must be from 0 to 86400", name)
	}
	d := time.Duration(*n * float64(time.Second))
	return &d, nil
}

type createLineRequest struct {
	Channel string `json:"channel" enum:"imessage,sms,email"`
	lineRequest
}

type lineResponse struct {
	Line lineObject `json:"line"`
}

// createLine serves POST /api/lines.
func (s *Server) createLine(c *call, req createLineRequest) (reply, error) {
	change, err := req.change()
	if err != nil {
		return reply{}, err
	}
	l, err := s.eng.CreateLine(c.who, engine.Channel(req.Channel), change)
	if err != nil {
		return reply{}, err
	}
	return s.lineReply(c, http.StatusCreated, l)
}

type setLineRequest struct {
	ID string `path:"id" json:"-"`
	lineRequest
}

// setLine serves PATCH /api/lines/{id}.
func (s *Server) setLine(c *call, req setLineRequest) (reply, error) {
	change, err := req.change()
	if err != nil {
		return reply{}, err
	}
	l, err := s.eng.SetLine(c.who, req.ID, change)
	if err != nil {
		return reply{}, err
	}
	c.sees()
	return s.lineReply(c, http.StatusOK, l)
}

func (s *Server) lineReply(c *call, status int, l engine.Line) (reply, error) {
	return reply{status: status, body: lineResponse{newLineObject(c.who.Workspace(), s.eng.Report(c.who, l))}}, nil
}

// deleteLine serves DELETE /api/lines/{id}.
func (s *Server) deleteLine(c *call, in idInput) (reply, error) {
	if err := s.eng.DeleteLine(c.who, in.ID); err != nil {
		return reply{}, err
	}
	return ok(successResponse{true})
}
