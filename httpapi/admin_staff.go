package httpapi

import (
	"errors"
	"net/http"
	"time"

	"tuco/engine"
)

// StaffInput adds one of staff.
type StaffInput struct {
	Name     string `json:"name"`
	Email    string `json:"email"`
	Employer string `json:"employer"`
	Country  string `json:"country"`
	Role     string `json:"role"`
	Expires  string `json:"expires,omitempty"` // of its tokens: a duration from now, such as 2160h
}

// StaffSetInput changes one of staff; nil leaves it.
type StaffSetInput struct {
	ID       string  `json:"id"`
	Name     *string `json:"name,omitempty"`
	Email    *string `json:"email,omitempty"`
	Employer *string `json:"employer,omitempty"`
	Country  *string `json:"country,omitempty"`
	Role     *string `json:"role,omitempty"`
}

// AuditorSetInput changes an auditor; nil leaves it.
type AuditorSetInput struct {
	ID    string  `json:"id"`
	Name  *string `json:"name,omitempty"`
	Email *string `json:"email,omitempty"`
}

// AuditorInput adds an auditor.
type AuditorInput struct {
	Name    string `json:"name"`
	Email   string `json:"email"`
	Expires string `json:"expires,omitempty"` // as in [StaffInput]
}

// StaffOutput is one of staff as the operator sees them.
type StaffOutput struct {
	ID         string        `json:"id"`
	Name       string        `json:"name"`
	Email      string        `json:"email"`
	Employer   string        `json:"employer"`
	Country    string        `json:"country"`
	Role       string        `json:"role"`
	IsDisabled bool          `json:"isDisabled"`
	ExpiresAt  *date         `json:"expiresAt"`
	Tokens     []TokenOutput `json:"tokens"`
	CreatedAt  date          `json:"createdAt"`
	UpdatedAt  date          `json:"updatedAt"`
}

// AuditorOutput is an auditor as the operator sees them.
type AuditorOutput struct {
	ID         string        `json:"id"`
	Name       string        `json:"name"`
	Email      string        `json:"email"`
	IsDisabled bool          `json:"isDisabled"`
	ExpiresAt  *date         `json:"expiresAt"`
	Tokens     []TokenOutput `json:"tokens"`
	CreatedAt  date          `json:"createdAt"`
	UpdatedAt  date          `json:"updatedAt"`
}

// TokenOutput is a token without what is secret of it.
type TokenOutput struct {
	Hint      string `json:"hint"`
	CreatedAt date   `json:"createdAt"`
	ExpiresAt *date  `json:"expiresAt"`
}

// StaffTokenOutput shows a new token of one of staff, once.
type StaffTokenOutput struct {
	ID      string      `json:"id"`
	Token   string      `json:"token"`
	Staff   StaffOutput `json:"staff"`
	Warning string      `json:"warning"`
}

// AuditorTokenOutput shows a new token of an auditor, once.
type AuditorTokenOutput struct {
	ID      string        `json:"id"`
	Token   string        `json:"token"`
	Auditor AuditorOutput `json:"auditor"`
	Warning string        `json:"warning"`
}

const tokenWarning = "Save this token now. You will not be able to see it again."

// StaffListOutput is every staff account.
type StaffListOutput struct {
	Staff []StaffOutput `json:"staff"`
}

// AuditorListOutput is every auditor account.
type AuditorListOutput struct {
	Auditors []AuditorOutput `json:"auditors"`
}

func newStaffOutput(s engine.Staff) StaffOutput {
	return StaffOutput{
		string(s.ID), s.Name, s.Email, s.Employer, s.Country, s.Role, s.Disabled, newDate(s.Expires),
		newTokenOutputs(s.Secrets), date(s.Created), date(s.Updated),
	}
}

func newAuditorOutput(u engine.Auditor) AuditorOutput {
	return AuditorOutput{
		string(u.ID), u.Name, u.Email, u.Disabled, newDate(u.Expires), newTokenOutputs(u.Secrets), date(u.Created), date(u.Updated),
	}
}

func newStaffToken(s engine.Staff, token string) StaffTokenOutput {
	return StaffTokenOutput{string(s.ID), token, newStaffOutput(s), tokenWarning}
}

func newAuditorToken(u engine.Auditor, token string) AuditorTokenOutput {
	return AuditorTokenOutput{string(u.ID), token, newAuditorOutput(u), tokenWarning}
}

func newTokenOutputs(secrets []engine.KeySecret) []TokenOutput {
	list := []TokenOutput{}
	for _, s := range secrets {
		list = append(list, TokenOutput{s.Hint, date(s.Created), newDate(s.Expires)})
	}
	return list
}

// AccessListInput asks for requests; empty is any.
type AccessListInput struct {
	WorkspaceID string `json:"workspaceId,omitempty"`
	Status      string `json:"status,omitempty"`
}

// AccessDenyInput turns a request down.
type AccessDenyInput struct {
	ID   string `json:"id"`
	Note string `json:"note,omitempty"` // for who asked
}

// accessListOutput is requests, the newest first.
type accessListOutput struct {
	Requests []accessObject `json:"requests"`
}

// AgreementInput adds an agreement.
type AgreementInput struct {
	WorkspaceID string            `json:"workspaceId"`
	Type        string            `json:"type"`
	Reference   string            `json:"reference"`
	From        string            `json:"from,omitempty"` // RFC 3339; empty: now
	To          string            `json:"to,omitempty"`   // the first moment without it; empty: none
	Controls    AgreementControls `json:"controls,omitzero"`
}

// AgreementControls are what an agreement asks for; what is left out asks for nothing.
type AgreementControls = controlsBody

// AgreementHours are the hours of AgreementControls.
type AgreementHours = hoursInDay

// AgreementIDInput names an agreement.
type AgreementIDInput struct {
	WorkspaceID string `json:"workspaceId"`
	ID          string `json:"id"`
}

func (a *AdminServer) addStaffCommands(mux *http.ServeMux) {
	command(a, mux, "staff/add", func(in StaffInput) (StaffTokenOutput, error) {
		expires, err := expiry(in.Expires)
		if err != nil {
			return StaffTokenOutput{}, err
		}
		s, token, err := a.admin.AddStaff(engine.NewStaff{
			Name: in.Name, Email: in.Email, Employer: in.Employer, Country: in.Country, Role: in.Role, Expires: expires,
		})
		return newStaffToken(s, token), err
	})
	command(a, mux, "staff/set", func(in StaffSetInput) (StaffOutput, error) {
		s, err := a.admin.SetStaff(engine.StaffID(in.ID), engine.StaffChange{
			Name: in.Name, Email: in.Email, Employer: in.Employer, Country: in.Country, Role: in.Role,
		})
		return newStaffOutput(s), err
	})
	command(a, mux, "staff/list", func(Nothing) (StaffListOutput, error) {
		all, err := a.admin.StaffAccounts()
		out := StaffListOutput{[]StaffOutput{}}
		for _, s := range all {
			out.Staff = append(out.Staff, newStaffOutput(s))
		}
		return out, err
	})
	accountCommands(a, mux, "staff", a.admin.DisableStaff, a.admin.EnableStaff, a.admin.RotateStaff, newStaffOutput, newStaffToken)
	a.addAuditorCommands(mux)
	a.addAccessCommands(mux)
	a.addAgreementCommands(mux)
}

// accountCommands are what can be done with staff and auditors alike.
func accountCommands[ID ~string, A, Out, Token any](a *AdminServer, mux *http.ServeMux, noun string, disable, enable func(ID) (A, error),
	rotate func(ID, time.Duration) (A, string, error), out func(A) Out, token func(A, string) Token) {
	change := func(verb string, do func(ID) (A, error)) {
		command(a, mux, noun+"/"+verb, func(in IDInput) (Out, error) {
			account, err := do(ID(in.ID))
			return out(account), err
		})
	}
	change("disable", disable)
	change("enable", enable)
	command(a, mux, noun+"/rotate", func(in RotateInput) (none Token, err error) {
		overlap, err := parseOverlap(in.Overlap)
		if err != nil {
			return none, err
		}
		account, secret, err := rotate(ID(in.ID), overlap)
		return token(account, secret), err
	})
}

// expiry is the moment that is a duration from now; zero for none.
func expiry(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return time.Time{}, engine.Errorf(engine.Invalid, "expires must be a duration such as 2160h")
	}
	return time.Now().UTC().Add(d), nil
}

func (a *AdminServer) addAuditorCommands(mux *http.ServeMux) {
	command(a, mux, "auditor/add", func(in AuditorInput) (AuditorTokenOutput, error) {
		expires, err := expiry(in.Expires)
		if err != nil {
			return AuditorTokenOutput{}, err
		}
		u, token, err := a.admin.AddAuditor(engine.NewAuditor{Name: in.Name, Email: in.Email, Expires: expires})
		return newAuditorToken(u, token), err
	})
	command(a, mux, "auditor/set", func(in AuditorSetInput) (AuditorOutput, error) {
		u, err := a.admin.SetAuditor(engine.AuditorID(in.ID), engine.AuditorChange{Name: in.Name, Email: in.Email})
		return newAuditorOutput(u), err
	})
	command(a, mux, "auditor/list", func(Nothing) (AuditorListOutput, error) {
		all, err := a.admin.Auditors()
		out := AuditorListOutput{[]AuditorOutput{}}
		for _, u := range all {
			out.Auditors = append(out.Auditors, newAuditorOutput(u))
		}
		return out, err
	})
	accountCommands(a, mux, "auditor", a.admin.DisableAuditor, a.admin.EnableAuditor, a.admin.RotateAuditor, newAuditorOutput, newAuditorToken)
}

func (a *AdminServer) addAccessCommands(mux *http.ServeMux) {
	command(a, mux, "access/requests", a.listAccess)
	command(a, mux, "access/show", func(in IDInput) (accessResponse, error) {
		r, err := a.admin.AccessRequest(in.ID)
		if err != nil {
			return accessResponse{}, err
		}
		opens, err := a.admin.AccessOpens(in.ID)
		return newAccessResponse(&r, opens), err
	})
	command(a, mux, "access/approve", func(in IDInput) (accessObject, error) {
		r, err := a.admin.ApproveAccess(in.ID)
		return newAccessObject(&r), whoDecides(err, "the customer approves with a key that has access:approve (POST /api/staff-access/requests/"+in.ID+
			"/approve), or lets the operator decide with operatorDecides in its policy (PUT /api/staff-access/policy)")
	})
	command(a, mux, "access/deny", func(in AccessDenyInput) (accessObject, error) {
		r, err := a.admin.DenyAccess(in.ID, in.Note)
		return newAccessObject(&r), err
	})
	command(a, mux, "access/revoke", func(in IDInput) (accessObject, error) {
		r, err := a.admin.RevokeAccess(in.ID)
		return newAccessObject(&r), err
	})
	command(a, mux, "access/controls", func(in ScopeInput) (*controlsResponse, error) {
		p, err := a.admin.AccessPolicy(engine.WorkspaceID(in.WorkspaceID))
		if err != nil {
			return nil, err
		}
		c, err := a.admin.EffectiveControls(engine.WorkspaceID(in.WorkspaceID))
		return newControlsResponse(p, &c), err
	})
	command(a, mux, "access/policy", func(in ScopeInput) (policyResponse, error) {
		p, err := a.admin.AccessPolicy(engine.WorkspaceID(in.WorkspaceID))
		return newPolicyResponse(p), err
	})
}

// listAccess answers with every page at once.
func (a *AdminServer) listAccess(in AccessListInput) (accessListOutput, error) {
	out := accessListOutput{[]accessObject{}}
	for q := (engine.AccessQuery{Status: engine.AccessStatus(in.Status)}); ; {
		page, err := a.admin.AccessRequests(engine.WorkspaceID(in.WorkspaceID), q)
		for _, r := range page.Requests {
			out.Requests = append(out.Requests, newAccessObject(&r))
		}
		if q.Cursor = page.Next; err != nil {
			return out, err
		}
		if q.Cursor == "" {
			break
		}
	}
	if in.WorkspaceID == "" {
		return out, nil
	}
	return out, a.known(in.WorkspaceID, len(out.Requests))
}

// known refuses an id of a workspace that there never was, as far as anybody can tell: requests and agreements outlive theirs.
func (a *AdminServer) known(id string, found int) error {
	if found > 0 {
		return nil
	}
	_, err := a.admin.Workspace(engine.WorkspaceID(id))
	return err
}

// whoDecides adds to a refusal because the customer decides what is to be done.
func whoDecides(err error, advice string) error {
	if e, ok := errors.AsType[*engine.Error](err); ok && e.Code == engine.CodeCustomerDecides {
		advised := *e
		advised.Msg += ": " + advice
		return &advised
	}
	return err
}

func (a *AdminServer) addAgreementCommands(mux *http.ServeMux) {
	command(a, mux, "agreement/add", func(in AgreementInput) (agreementObject, error) {
		agreement, err := in.agreement()
		if err != nil {
			return agreementObject{}, err
		}
		added, err := a.admin.AddAgreement(engine.WorkspaceID(in.WorkspaceID), agreement)
		return newAgreementObject(&added), err
	})
	command(a, mux, "agreement/list", func(in ScopeInput) (agreementsResponse, error) {
		all, err := a.admin.Agreements(engine.WorkspaceID(in.WorkspaceID))
		out := agreementsResponse{[]agreementObject{}}
		for _, g := range all {
			out.Agreements = append(out.Agreements, newAgreementObject(&g))
		}
		if err != nil {
			return out, err
		}
		return out, a.known(in.WorkspaceID, len(all))
	})
	command(a, mux, "agreement/remove", func(in AgreementIDInput) (agreementObject, error) {
		g, err := a.admin.RemoveAgreement(engine.WorkspaceID(in.WorkspaceID), in.ID)
		return newAgreementObject(&g), whoDecides(err, "the customer removes it with a key that has access:approve; the operator can only remove "+
			"what the operator added, and only where the workspace's policy says operatorDecides")
	})
}

func (in AgreementInput) agreement() (a engine.Agreement, err error) {
	a.Type, a.Reference = engine.AgreementType(in.Type), in.Reference
	if a.From, err = queryDate("from", in.From); err != nil {
		return a, err
	}
	if a.To, err = queryDate("to", in.To); err != nil {
		return a, err
	}
	a.Controls, err = in.Controls.engine()
	return a, err
}
