package httpapi

import "tuco/engine"

type workspaceResponse struct {
	ID          string  `json:"id"`
	Name        string  `json:"name"`
	Environment string  `json:"environment" enum:"development,staging,production"`
	Plan        string  `json:"plan"`
	Timezone    string  `json:"timezone" description:"of the plan's days"`
	State       string  `json:"state" enum:"active,read_only"`
	Reason      *string `json:"reason" description:"why it is read_only"`
	Message     *string `json:"message" description:"the same for people"`
	Since       *date   `json:"since"`
	CreatedAt   date    `json:"createdAt"`
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
	c.sees()
	return ok(answer)
}

// limitObject is where a limit stands.
type limitObject struct {
	Name      string  `json:"name"`
	LineID    *string `json:"lineId" description:"of a line's limits"`
	Limit     *int64  `json:"limit" description:"null is unlimited"`
	Used      int64   `json:"used"`
	Reserved  int64   `json:"reserved" description:"asked for by requests that are not decided yet"`
	Remaining *int64  `json:"remaining"`
	ResetsAt  *date   `json:"resetsAt"`
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
	Environment string        `json:"environment"`
	Limits      []limitObject `json:"limits"`
}

// showUsage serves GET /api/usage.
func (s *Server) showUsage(c *call, _ nothing) (reply, error) {
	states, err := s.eng.Usage(c.who)
	if err != nil {
		return reply{}, err
	}
	c.seen.Records = len(states)
	return ok(usageResponse{string(c.who.Environment()), newLimits(states)})
}
