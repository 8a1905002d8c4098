package httpapi

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"tuco/engine"
)

// The customer's side of staff access: who asks to look into the workspace, who may, and who did. It works while the
// workspace is READ_ONLY: a decision about access changes no data of the customer's.

// accessObject is a request for access in an answer, to staff and to the customer alike.
type accessObject struct {
	ID               string              `json:"id"`
	Status           engine.AccessStatus `json:"status" enum:"pending,approved,denied,expired,withdrawn,revoked,ended"`
	WorkspaceID      string              `json:"workspaceId"`
	Environment      engine.Environment  `json:"environment" enum:"development,staging,production"`
	Scopes           []engine.Scope      `json:"scopes"`
	ReasonType       engine.ReasonType   `json:"reasonType" enum:"customer_initiated_support,service,review,legal_request,incident"`
	Reason           string              `json:"reason"`
	Ticket           string              `json:"ticket"`
	Duration         string              `json:"duration" description:"of the grant, such as 1h0m0s"`
	StartAt          *date               `json:"startAt" description:"asked for; null: at approval"`
	Unmasked         []string            `json:"unmasked" description:"names of fields that it asks to see"`
	Staff            staffObject         `json:"staff" description:"who asked, and what they were then"`
	CreatedAt        date                `json:"createdAt"`
	ExpiresAt        date                `json:"expiresAt" description:"unanswered until then, the request is no more"`
	ApproversNeeded  int                 `json:"approversNeeded" description:"0: the policy notify granted it"`
	Approvals        []approvalObject    `json:"approvals"`
	ApprovedAt       *date               `json:"approvedAt"`
	StartsAt         *date               `json:"startsAt" description:"of the grant"`
	EndsAt           *date               `json:"endsAt" description:"of the grant: the first moment without it"`
	ClosedAt         *date               `json:"closedAt" description:"when it was denied, revoked, withdrawn, or ended"`
	ClosedBy         *string             `json:"closedBy" description:"id of a key or of staff, or operator"`
	EndReason        *engine.EndReason   `json:"endReason" enum:"time,staff_disabled,policy_closed,workspace_deleted,agreement,restore"`
	Note             *string             `json:"note" description:"of who denied it"`
	ApprovedByPolicy bool                `json:"approvedByPolicy"`
}

type staffObject struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Email    string `json:"email"`
	Employer string `json:"employer"`
	Country  string `json:"country"`
	Role     string `json:"role"`
}

type approvalObject struct {
	By   string `json:"by" description:"id of a key, or operator"`
	Role string `json:"role"`
	At   date   `json:"at"`
}

func newAccessObject(r *engine.AccessRequest) accessObject {
	o := accessObject{
		ID: string(r.ID), Status: r.Status, WorkspaceID: string(r.Workspace), Environment: r.Environment, Scopes: r.Scopes,
		ReasonType: r.ReasonType, Reason: r.Reason, Ticket: r.Ticket, Duration: r.Duration.String(), StartAt: newDate(r.StartAt), Unmasked: r.Unmasked,
		Staff:     staffObject{string(r.Staff), r.StaffName, r.StaffEmail, r.Employer, r.Country, r.Role},
		CreatedAt: date(r.Created), ExpiresAt: date(r.Expires), ApproversNeeded: r.Approvers, Approvals: []approvalObject{},
		ApprovedAt: newDate(r.Approved), StartsAt: newDate(r.Starts), EndsAt: newDate(r.Ends), ClosedAt: newDate(r.Closed),
		ClosedBy: nullable(r.ClosedBy), Note: nullable(r.Note), ApprovedByPolicy: r.ByPolicy,
	}
	if r.EndReason != "" {
		o.EndReason = &r.EndReason
	}
	for _, a := range r.Approvals {
		o.Approvals = append(o.Approvals, approvalObject{a.By, a.Role, date(a.At)})
	}
	return o
}

// openedObject is what a request opens of one kind of record, or would open.
type openedObject struct {
	Kind     engine.RecordKind `json:"kind"`
	Excluded bool              `json:"excluded" description:"an agreement excludes it: nothing of it is opened"`
	Shown    []string          `json:"shown" description:"fields"`
	Unmasked []string          `json:"unmasked" description:"fields, beyond those"`
	Masked   []string          `json:"masked" description:"fields that stay masked"`
}

type accessPageResponse struct {
	Requests   []accessObject `json:"requests" description:"the newest first; with status there may be fewer than limit, or none, before the last page"`
	NextCursor *string        `json:"nextCursor" description:"null on the last page"`
}

func newAccessPage(p engine.AccessPage) accessPageResponse {
	answer := accessPageResponse{Requests: make([]accessObject, len(p.Requests)), NextCursor: nullable(p.Next)}
	for i := range p.Requests {
		answer.Requests[i] = newAccessObject(&p.Requests[i])
	}
	return answer
}

type accessPageInput struct {
	Status string `query:"status" json:"-" enum:"pending,approved,denied,expired,withdrawn,revoked,ended"`
	Cursor string `query:"cursor" json:"-" description:"nextCursor of the page before"`
	Limit  int    `query:"limit" json:"-" minimum:"1" description:"50; at most 100"`
}

func (in accessPageInput) query() (engine.AccessQuery, error) {
	q := engine.AccessQuery{Status: engine.AccessStatus(in.Status), Cursor: in.Cursor, Limit: min(or(in.Limit, pageSize), maxPageSize)}
	switch q.Status {
	case "", engine.AccessPending, engine.AccessApproved, engine.AccessDenied, engine.AccessExpired, engine.AccessWithdrawn, engine.AccessRevoked, engine.AccessEnded:
		return q, nil
	}
	return q, engine.Errorf(engine.Invalid, "Invalid status")
}

// listAccess serves GET /api/staff-access/requests.
func (s *Server) listAccess(c *call, in accessPageInput) (reply, error) {
	q, err := in.query()
	if err != nil {
		return reply{}, err
	}
	page, err := s.eng.AccessRequests(c.who, q)
	if err != nil {
		return reply{}, err
	}
	return ok(newAccessPage(page))
}

type accessInput struct {
	ID string `path:"id" json:"-" pattern:"access_[0-9a-f]{24}"`
}

type accessResponse struct {
	accessObject
	Opens []openedObject `json:"opens" description:"exactly what it opens, or would open, as the agreements are now"`
}

// getAccess serves GET /api/staff-access/requests/{id}.
func (s *Server) getAccess(c *call, in accessInput) (reply, error) {
	r, err := s.eng.AccessRequest(c.who, in.ID)
	if err != nil {
		return reply{}, err
	}
	opens, err := s.eng.AccessOpens(c.who, in.ID)
	if err != nil {
		return reply{}, err
	}
	return ok(newAccessResponse(&r, opens))
}

func newAccessResponse(r *engine.AccessRequest, opens []engine.Opening) accessResponse {
	answer := accessResponse{accessObject: newAccessObject(r), Opens: []openedObject{}}
	for _, o := range opens {
		answer.Opens = append(answer.Opens, openedObject(o))
	}
	return answer
}

type decideRequest struct {
	inWorkspace
	accessInput
}

// approveAccess serves POST /api/staff-access/requests/{id}/approve.
func (s *Server) approveAccess(c *call, in decideRequest) (reply, error) {
	return accessReply(s.eng.ApproveAccess(c.who, in.ID))
}

// revokeAccess serves POST /api/staff-access/requests/{id}/revoke.
func (s *Server) revokeAccess(c *call, in decideRequest) (reply, error) {
	return accessReply(s.eng.RevokeAccess(c.who, in.ID))
}

type denyRequest struct {
	decideRequest
	Note string `json:"note,omitzero" description:"for who asked; it is not in the audit log"`
}

// denyAccess serves POST /api/staff-access/requests/{id}/deny.
func (s *Server) denyAccess(c *call, in denyRequest) (reply, error) {
	return accessReply(s.eng.DenyAccess(c.who, in.ID, in.Note))
}

func accessReply(r engine.AccessRequest, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	return ok(newAccessObject(&r))
}

// policyResponse can be sent back as it is.
type policyResponse struct {
	Mode            engine.PolicyMode `json:"mode" enum:"closed,approval,notify"`
	OperatorDecides bool              `json:"operatorDecides" description:"the operator may approve, too"`
	UpdatedAt       *date             `json:"updatedAt" description:"null: it was never set"`
	UpdatedBy       *string           `json:"updatedBy" description:"id of a key"`
}

func policyReply(p engine.Policy, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	return ok(newPolicyResponse(p))
}

func newPolicyResponse(p engine.Policy) policyResponse {
	return policyResponse{p.Mode, p.OperatorDecides, newDate(p.Updated), nullable(p.UpdatedBy)}
}

// showPolicy serves GET /api/staff-access/policy.
func (s *Server) showPolicy(c *call, _ nothing) (reply, error) {
	return policyReply(s.eng.AccessPolicy(c.who))
}

type setPolicyRequest struct {
	inWorkspace
	Mode            string `json:"mode" enum:"closed,approval,notify" description:"closed ends every request and grant for good"`
	OperatorDecides bool   `json:"operatorDecides,omitzero" description:"false without it"`
}

// setPolicy serves PUT /api/staff-access/policy.
func (s *Server) setPolicy(c *call, in setPolicyRequest) (reply, error) {
	return policyReply(s.eng.SetAccessPolicy(c.who, engine.Policy{Mode: engine.PolicyMode(in.Mode), OperatorDecides: in.OperatorDecides}))
}

// controlsBody is what an agreement asks for. What is left out asks for nothing.
type controlsBody struct {
	MaxDuration    string      `json:"maxDuration,omitzero" description:"of a grant, such as 4h"`
	TwoApprovers   bool        `json:"twoApprovers,omitzero"`
	DifferentRoles bool        `json:"differentRoles,omitzero" description:"two approvers, whose keys have different roles"`
	AlwaysMasked   []string    `json:"alwaysMasked,omitzero" description:"names of fields, such as phone or messages.to"`
	NoEnvironments []string    `json:"noEnvironments,omitzero"`
	NoKinds        []string    `json:"noKinds,omitzero" description:"of record: workspace, usage, keys, leads, lists, lines, messages"`
	Employers      []string    `json:"employers,omitzero" description:"only staff of these"`
	Countries      []string    `json:"countries,omitzero" description:"only staff in these, as two letters"`
	Hours          *hoursInDay `json:"hours,omitzero" description:"only then"`
	Retention      string      `json:"retention,omitzero" description:"how long the bodies of the workspace's audit entries are kept at least, such as 8760h"`
}

// hoursInDay are a time of day: from From up to To.
type hoursInDay struct {
	From string `json:"from" description:"HH:MM"`
	To   string `json:"to" description:"HH:MM; before from: over midnight"`
	Zone string `json:"zone" description:"IANA name"`
}

func (b controlsBody) engine() (o engine.Controls, err error) {
	o = engine.Controls{
		TwoApprovers: b.TwoApprovers, DifferentRoles: b.DifferentRoles, AlwaysMasked: b.AlwaysMasked, Employers: b.Employers, Countries: b.Countries,
		NoEnvironments: retyped[engine.Environment](b.NoEnvironments), NoKinds: retyped[engine.RecordKind](b.NoKinds),
	}
	if b.Hours != nil {
		o.Hours = engine.Hours(*b.Hours)
		if o.Hours == (engine.Hours{}) { // it would stand for none
			return o, engine.Errorf(engine.Invalid, "hours: give from and to as HH:MM, and a time zone")
		}
	}
	if o.MaxDuration, err = control("maxDuration", b.MaxDuration); err != nil {
		return o, err
	}
	o.Retention, err = control("retention", b.Retention)
	return o, err
}

// control reads a duration that was given; one that asks for nothing is a mistake.
func control(name, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := parseDuration(name, text)
	if err == nil && d <= 0 {
		err = engine.Errorf(engine.Invalid, "%s must be more than 0", name)
	}
	return d, err
}

func parseDuration(name, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, engine.Errorf(engine.Invalid, "%s must be a duration such as 1h30m", name)
	}
	return d, nil
}

// retyped is a list of words of another type.
func retyped[To, From ~string](list []From) (to []To) {
	for _, w := range list {
		to = append(to, To(w))
	}
	return to
}

func newControlsBody(o engine.Controls) controlsBody {
	b := controlsBody{
		MaxDuration: durationText(o.MaxDuration), TwoApprovers: o.TwoApprovers, DifferentRoles: o.DifferentRoles, AlwaysMasked: o.AlwaysMasked,
		NoEnvironments: retyped[string](o.NoEnvironments), NoKinds: retyped[string](o.NoKinds), Employers: o.Employers, Countries: o.Countries,
		Retention: durationText(o.Retention),
	}
	if o.Hours != (engine.Hours{}) {
		hours := hoursInDay(o.Hours)
		b.Hours = &hours
	}
	return b
}

// durationText is empty for none.
func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

type agreementObject struct {
	ID          string               `json:"id"`
	WorkspaceID string               `json:"workspaceId"`
	Type        engine.AgreementType `json:"type" enum:"support,dpa"`
	Reference   string               `json:"reference"`
	From        date                 `json:"from"`
	To          *date                `json:"to" description:"the first moment without it"`
	Controls    controlsBody         `json:"controls"`
	AddedBy     string               `json:"addedBy" description:"id of a key, or operator"`
	AddedAt     date                 `json:"addedAt"`
	RemovedAt   *date                `json:"removedAt"`
	RemovedBy   *string              `json:"removedBy"`
}

func newAgreementObject(a *engine.Agreement) agreementObject {
	return agreementObject{
		ID: string(a.ID), WorkspaceID: string(a.Workspace), Type: a.Type, Reference: a.Reference, From: date(a.From), To: newDate(a.To),
		Controls: newControlsBody(a.Controls), AddedBy: a.AddedBy, AddedAt: date(a.Added), RemovedAt: newDate(a.Removed), RemovedBy: nullable(a.RemovedBy),
	}
}

type agreementsResponse struct {
	Agreements []agreementObject `json:"agreements" description:"the oldest first, also those that are over"`
}

// listAgreements serves GET /api/staff-access/agreements.
func (s *Server) listAgreements(c *call, _ nothing) (reply, error) {
	all, err := s.eng.Agreements(c.who)
	if err != nil {
		return reply{}, err
	}
	answer := agreementsResponse{make([]agreementObject, len(all))}
	for i := range all {
		answer.Agreements[i] = newAgreementObject(&all[i])
	}
	return ok(answer)
}

type addAgreementRequest struct {
	inWorkspace
	Type      string         `json:"type" enum:"support,dpa"`
	Reference string         `json:"reference" description:"1 to 100 letters, digits and -_./#:"`
	From      string         `json:"from,omitzero" description:"ISO 8601; now without it"`
	To        string         `json:"to,omitzero" description:"ISO 8601; without end if left out"`
	Controls  wantedControls `json:"controls,omitzero"`
}

// wantedControls are the controls that a request names. One that is not known is refused, unlike other members that are not
// known: if it were passed over, the agreement would ask for less than was meant.
type wantedControls struct {
	controlsBody
	Other map[string]jsontext.Value `json:",embed"`
}

func (w wantedControls) engine() (engine.Controls, error) {
	if len(w.Other) > 0 {
		return engine.Controls{}, engine.Errorf(engine.Invalid, "controls: there is no control %q", slices.Min(slices.Collect(maps.Keys(w.Other))))
	}
	return w.controlsBody.engine()
}

// addAgreement serves POST /api/staff-access/agreements.
func (s *Server) addAgreement(c *call, in addAgreementRequest) (reply, error) {
	a := engine.Agreement{Type: engine.AgreementType(in.Type), Reference: in.Reference}
	var err error
	if a.From, err = queryDate("from", in.From); err != nil {
		return reply{}, err
	}
	if a.To, err = queryDate("to", in.To); err != nil {
		return reply{}, err
	}
	if a.Controls, err = in.Controls.engine(); err != nil {
		return reply{}, err
	}
	if a, err = s.eng.AddAgreement(c.who, a); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, body: newAgreementObject(&a)}, nil
}

type agreementInput struct {
	ID string `path:"id" json:"-" pattern:"agreement_[0-9a-f]{24}"`
}

// removeAgreement serves DELETE /api/staff-access/agreements/{id}.
func (s *Server) removeAgreement(c *call, in agreementInput) (reply, error) {
	a, err := s.eng.RemoveAgreement(c.who, in.ID)
	if err != nil {
		return reply{}, err
	}
	return ok(newAgreementObject(&a))
}

// controlsResponse is what holds now, the strictest of policy and agreements.
type controlsResponse struct {
	Mode            engine.PolicyMode `json:"mode" enum:"closed,approval,notify"`
	OperatorDecides bool              `json:"operatorDecides"`
	MaxDuration     string            `json:"maxDuration"`
	TwoApprovers    bool              `json:"twoApprovers"`
	DifferentRoles  bool              `json:"differentRoles"`
	AlwaysMasked    []string          `json:"alwaysMasked"`
	NoEnvironments  []string          `json:"noEnvironments"`
	NoKinds         []string          `json:"noKinds"`
	Employers       *[]string         `json:"employers" description:"null is any, empty is none"`
	Countries       *[]string         `json:"countries" description:"null is any, empty is none"`
	Hours           []hoursInDay      `json:"hours" description:"within each of these; any time if empty"`
	Retention       *string           `json:"retention" description:"null: no agreement asks for one"`
	Sources         []controlSource   `json:"sources" description:"where each control comes from; one that is not here is the program's default"`
}

type controlSource struct {
	Control     string  `json:"control" description:"its name here"`
	Value       string  `json:"value" description:"what this source asks for"`
	Source      string  `json:"source" enum:"policy,agreement,default"`
	AgreementID *string `json:"agreementId"`
	Type        *string `json:"type" enum:"support,dpa"`
	Reference   *string `json:"reference"`
}

// showControls serves GET /api/staff-access/controls.
func (s *Server) showControls(c *call, _ nothing) (reply, error) {
	p, err := s.eng.AccessPolicy(c.who)
	if err != nil {
		return reply{}, err
	}
	o, err := s.eng.EffectiveControls(c.who)
	if err != nil {
		return reply{}, err
	}
	return ok(newControlsResponse(p, &o))
}

func newControlsResponse(p engine.Policy, o *engine.EffectiveControls) *controlsResponse {
	answer := &controlsResponse{
		Mode: p.Mode, OperatorDecides: p.OperatorDecides, MaxDuration: o.MaxDuration.String(), TwoApprovers: o.TwoApprovers, DifferentRoles: o.DifferentRoles,
		AlwaysMasked: o.AlwaysMasked, NoEnvironments: retyped[string](o.NoEnvironments), NoKinds: retyped[string](o.NoKinds), Hours: []hoursInDay{},
		Retention: nullable(durationText(o.Retention)), Sources: policySources(p),
	}
	if o.Employers != nil {
		answer.Employers = &o.Employers
	}
	if o.Countries != nil {
		answer.Countries = &o.Countries
	}
	for _, h := range o.Hours {
		answer.Hours = append(answer.Hours, hoursInDay(h))
	}
	bounded := false
	for _, f := range o.Sources {
		bounded = bounded || f.Control == "maxDuration"
		answer.Sources = append(answer.Sources, controlSource{
			f.Control, f.Value, "agreement", nullable(string(f.Agreement)), nullable(string(f.Type)), nullable(f.Reference),
		})
	}
	if !bounded {
		answer.Sources = append(answer.Sources, controlSource{Control: "maxDuration", Value: answer.MaxDuration, Source: "default"})
	}
	return answer
}

func policySources(p engine.Policy) []controlSource {
	source, decides := "policy", "false"
	if p.Updated.IsZero() {
		source = "default"
	}
	if p.OperatorDecides {
		decides = "true"
	}
	return []controlSource{{Control: "mode", Value: string(p.Mode), Source: source}, {Control: "operatorDecides", Value: decides, Source: source}}
}

type whoSawInput struct {
	Phone string `query:"phone" json:"-" description:"of the person; this or email"`
	Email string `query:"email" json:"-" description:"of the person; this or phone"`
}

type entriesResponse struct {
	Entries []entryObject `json:"entries" description:"the newest first"`
}

type accessLogInput struct {
	Cursor string `query:"cursor" json:"-" description:"nextCursor of the page before"`
	Limit  int    `query:"limit" json:"-" minimum:"1" description:"50; at most 100"`
}

type accessLogResponse struct {
	Entries    []entryObject `json:"entries" description:"the newest first"`
	NextCursor *string       `json:"nextCursor" description:"null on the last page"`
}

// showAccessLog serves GET /api/staff-access/log.
func (s *Server) showAccessLog(c *call, in accessLogInput) (reply, error) {
	before, err := strconv.ParseUint(or(in.Cursor, "0"), 10, 53)
	if err != nil {
		return reply{}, engine.Errorf(engine.Invalid, "Invalid cursor")
	}
	page, next, err := s.eng.AuditLog(c.who, before, min(or(in.Limit, pageSize), maxPageSize))
	if err != nil {
		return reply{}, err
	}
	answer := accessLogResponse{Entries: make([]entryObject, len(page))}
	for i, e := range page {
		if answer.Entries[i], err = newEntryObject(e.Seq, e.Entry); err != nil {
			return reply{}, err
		}
	}
	if next > 0 {
		answer.NextCursor = nullable(strconv.FormatUint(next, 10))
	}
	return ok(answer)
}

// whoSaw serves GET /api/staff-access/who-saw.
func (s *Server) whoSaw(c *call, in whoSawInput) (reply, error) {
	address, err := oneAddress(in.Phone, in.Email)
	if err != nil {
		return reply{}, err
	}
	all, err := s.eng.WhoSaw(c.who, address)
	if err != nil {
		return reply{}, err
	}
	answer := entriesResponse{[]entryObject{}}
	for _, seen := range all {
		o, err := newEntryObject(seen.Seq, seen.Entry)
		if err != nil {
			return reply{}, err
		}
		answer.Entries = append(answer.Entries, o)
	}
	return ok(answer)
}
