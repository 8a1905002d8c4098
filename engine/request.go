package engine

import (
	"slices"
	"strings"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// NewAccess describes a request for access.
type NewAccess struct {
	Workspace   WorkspaceID
	Environment Environment
	Scopes      []Scope // that read
	ReasonType  ReasonType
	Reason      string
	Ticket      string
	Duration    time.Duration
	StartAt     time.Time // zero: when it is approved
	Unmasked    []string
}

func (in *NewAccess) check() error {
	if _, err := ParseEnvironment(string(in.Environment)); err != nil {
		return err
	}
	scopes, err := ScopesOf(in.Scopes)
	if err != nil {
		return err
	}
	if in.Scopes = scopes.List(); len(in.Scopes) == 0 {
		return Errorf(Invalid, "scopes: name at least one")
	}
	for _, s := range in.Scopes {
		if !strings.HasSuffix(string(s), ":read") {
			return Errorf(Invalid, "scopes: staff can only read, so they can't ask for %s", s)
		}
	}
	switch {
	case !slices.Contains(ReasonTypes, in.ReasonType):
		return Errorf(Invalid, "reasonType: it must be customer_initiated_support, service, review, legal_request or incident")
	case strings.TrimSpace(in.Reason) == "" || len(in.Reason) > maxReasonBytes:
		return Errorf(Invalid, "reason: it is required, and has at most %d bytes", maxReasonBytes)
	case !reference.MatchString(in.Ticket):
		return Errorf(Invalid, "ticket: it is required: 1 to 100 letters, digits and -_./#:")
	case in.Duration <= 0 || in.Duration > MaxAccess:
		return Errorf(Invalid, "duration: it must be more than 0 and at most %s", MaxAccess)
	}
	slices.Sort(in.Unmasked)
	in.Unmasked = slices.Compact(in.Unmasked)
	return checkFields(in.Unmasked)
}

// maxLiveAccess bounds the requests and grants of one staff account for one workspace at a time.
const maxLiveAccess = 10

// RequestAccess asks the customer for access to a workspace. Policy notify grants it at once, unless an agreement asks for
// two approvers. What policy or agreements rule out is refused, and that is recorded.
//
// Errors: [Invalid], [NotFound], [Forbidden] with the code of what rules it out.
func (e *Engine) RequestAccess(who StaffCaller, in NewAccess) (AccessRequest, error) {
	in.Scopes, in.Unmasked = slices.Clone(in.Scopes), slices.Clone(in.Unmasked)
	if err := in.check(); err != nil {
		return AccessRequest{}, err
	}
	if now := e.opt.Now(); !e.requests.take(string(who.staff.ID), now, maxRefusals) {
		return AccessRequest{}, tooOften(now)
	}
	return refusing(e, func(tx *kv.Tx) (AccessRequest, *Error, error) {
		s, err := who.still(tx)
		if err != nil {
			return AccessRequest{}, nil, err
		}
		if !isSystemID(string(in.Workspace), "org") || !workspaces.Has(tx, []byte(in.Workspace)) {
			return AccessRequest{}, nil, Errorf(NotFound, "There is no workspace %q", string(in.Workspace))
		}
		if !in.StartAt.IsZero() && in.StartAt.After(tx.Now.Add(MaxAccess)) {
			return AccessRequest{}, nil, Errorf(Invalid, "startAt: it must be within %s", MaxAccess)
		}
		if len(liveAccess(tx, s.ID, in.Workspace)) >= maxLiveAccess {
			return AccessRequest{}, nil, Errorf(Conflict, "There are %d requests and grants for this workspace already: withdraw some", maxLiveAccess).With(CodeTooMany)
		}
		return e.requestAccess(tx, who, s, in)
	})
}

func (e *Engine) requestAccess(tx *kv.Tx, who StaffCaller, s *Staff, in NewAccess) (AccessRequest, *Error, error) {
	policy, controls := policyOf(tx, in.Workspace), effective(tx, in.Workspace, tx.Now)
	r := AccessRequest{
		ID: AccessID(newSystemID(tx, "access")), Workspace: in.Workspace, Environment: in.Environment, Scopes: in.Scopes,
		ReasonType: in.ReasonType, Reason: in.Reason, Ticket: in.Ticket, Duration: in.Duration, StartAt: in.StartAt.UTC(), Unmasked: in.Unmasked,
		Staff: s.ID, StaffName: s.Name, StaffEmail: s.Email, Employer: s.Employer, Country: s.Country, Role: s.Role,
		Status: AccessPending, Created: tx.Now, Expires: tx.Now.Add(e.accessAnswer()), Approvers: controls.approvers(),
	}
	entry := func(event string) auditlog.Entry {
		entry, own := r.entry(event), who.entry(event)
		entry.Actor, entry.Credential, entry.Address, entry.Request = s.actor(), own.Credential, own.Address, own.Request
		return entry
	}
	if refusal := r.refusedBy(policy, &controls, s); refusal != nil {
		denied := entry("access.requested")
		denied.Access, denied.Object, denied.Detail["status"] = "", "", "refused" // there is no such request
		return r, refusal, e.recordRefusal(tx, denied, refusal)
	}
	requested := entry("access.requested")
	if policy.Mode == PolicyNotify && !controls.TwoApprovers {
		r.Approvers, r.ByPolicy = 0, true
		r.approve(tx.Now)
	}
	putAccess(tx, &r)
	if err := e.record(tx, requested); err != nil || !r.ByPolicy {
		return r, nil, err
	}
	approved := entry("access.approved")
	approved.Actor, approved.Credential = systemActor, ""
	return r, nil, e.record(tx, approved)
}

func (c *EffectiveControls) approvers() int {
	if c.TwoApprovers {
		return 2
	}
	return 1
}

func (e *Engine) accessAnswer() time.Duration {
	if e.opt.AccessAnswer > 0 {
		return e.opt.AccessAnswer
	}
	return DefaultAccessAnswer
}

// refusedBy returns what of policy and agreements rules the request out; nil if nothing does.
func (r *AccessRequest) refusedBy(p Policy, c *EffectiveControls, s *Staff) *Error {
	if p.Mode == PolicyClosed {
		return Errorf(Forbidden, "This workspace is closed to staff").With(CodePolicyClosed)
	}
	if err := c.allowStaff(s); err != nil {
		return err
	}
	if err := c.allowPlace(r.Environment, ""); err != nil {
		return err
	}
	for _, scope := range r.Scopes {
		kinds := kindsOf(scope)
		if open := slices.DeleteFunc(slices.Clone(kinds), func(k RecordKind) bool { return slices.Contains(c.NoKinds, k) }); len(kinds) > 0 && len(open) == 0 {
			return c.allowPlace(r.Environment, kinds[0])
		}
	}
	if r.Duration > c.MaxDuration {
		return Errorf(Forbidden, "An agreement of this workspace allows access for %s at most", c.MaxDuration).With(CodeDurationTooLong)
	}
	for _, f := range r.Unmasked {
		if fieldsOverlap(f, c.AlwaysMasked) {
			return Errorf(Forbidden, "An agreement of this workspace keeps the field %s masked", f).With(CodeFieldMasked)
		}
	}
	return nil
}

// approve makes the request a grant. Its clock starts now, or when it was asked for.
func (r *AccessRequest) approve(now time.Time) {
	r.Status, r.Approved, r.Starts = AccessApproved, now, now
	if r.StartAt.After(now) {
		r.Starts = r.StartAt
	}
	r.Ends = r.Starts.Add(r.Duration)
}
