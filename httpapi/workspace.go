package httpapi

import "tuco/engine"

type workspaceResponse struct {
	ID          string  `json:"id" required:"true"`
	Name        string  `json:"name" required:"true"`
	Environment string  `json:"environment" required:"true" enum:"development,staging,production"`
	Plan        string  `json:"plan" required:"true"`
	Timezone    string  `json:"timezone" required:"true" description:"of the plan's days"`
	State       string  `json:"state" required:"true" enum:"active,read_only"`
	Reason      *string `json:"reason" description:"why it is read_only"`
	Message     *string `json:"message" description:"the same for people"`
	Since       *date   `json:"since" format:"date-time"`
	CreatedAt   date    `json:"createdAt" required:"true" format:"date-time"`
}

// showWorkspace serves GET /api/workspace.
func (s *Server) showWorkspace(c *call, _ nothing) (reply, error) {
	w, err := s.eng.ShowWorkspace(c.who)
	if err != nil {
		return reply{}, err
	}
	answer := workspaceResponse{
		ID: string(w.ID), Name: w.Name, Environment: string(c.who.Environment()), Plan: w.Plan, Timezone: w.Timezone,
		State: "active", CreatedAt: date(w.Created),
	}
	if w.ReadOnly != "" {
		answer.State, answer.Since = "read_only", newDate(w.ReadOnlySince)
		answer.Reason, answer.Message = nullable(string(w.ReadOnly)), nullable(w.ReadOnly.Sentence())
	}
	return ok(answer)
}

// limitObject is where a limit stands.
type limitObject struct {
	Name      string  `json:"name" required:"true"`
	LineID    *string `json:"lineId" description:"of a line's limits"`
	Limit     *int64  `json:"limit" description:"null is unlimited"`
	Used      int64   `json:"used" required:"true"`
	Reserved  int64   `json:"reserved" required:"true" description:"asked for by requests that are not decided yet"`
	Remaining *int64  `json:"remaining"`
	ResetsAt  *date   `json:"resetsAt" format:"date-time"`
}

// newLimits puts limits into the form that the API and the operator's commands share.
func newLimits(states []engine.LimitState) []limitObject {
	limits := []limitObject{}
	for _, l := range states {
		o := limitObject{Name: l.Name, LineID: nullable(l.Line.String()), Used: l.Used, Reserved: l.Reserved, ResetsAt: newDate(l.ResetsAt)}
		if !l.Unlimited() {
			limit, remaining := l.Limit, l.Remaining()
			o.Limit, o.Remaining = &limit, &remaining
		}
		limits = append(limits, o)
	}
	return limits
}

type usageResponse struct {
	Environment string        `json:"environment" required:"true"`
	Limits      []limitObject `json:"limits" required:"true"`
}

// showUsage serves GET /api/usage.
func (s *Server) showUsage(c *call, _ nothing) (reply, error) {
	states, err := s.eng.Usage(c.who)
	if err != nil {
		return reply{}, err
	}
	return ok(usageResponse{string(c.who.Environment()), newLimits(states)})
}
