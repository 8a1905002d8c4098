package engine

import (
	"slices"
	"time"

	"tuco/kv"
)

// A look is what staff want to see.
type look struct {
	workspace WorkspaceID
	env       Environment
	kind      RecordKind
	fields    []string // unmasked in what was prepared
	by        []string // searched, filtered or sorted by
	operation string   // for the entry
}

// grantFor returns the grant by which who may have the look now, and the fields that it shows unmasked. It is the one
// check there is, and holds in its transaction.
//
// Errors: [Forbidden] with the code of what is missing; [Unauthorized].
func grantFor(tx *kv.Tx, who StaffCaller, l look) (AccessRequest, []string, error) {
	s, err := who.still(tx)
	if err != nil {
		return AccessRequest{}, nil, err
	}
	if !isSystemID(string(l.workspace), "org") || !workspaces.Has(tx, []byte(l.workspace)) {
		return AccessRequest{}, nil, accessRequired()
	}
	policy := policyOf(tx, l.workspace)
	if policy.Mode == PolicyClosed {
		return AccessRequest{}, nil, Errorf(Forbidden, "This workspace is closed to staff").With(CodePolicyClosed)
	}
	controls := effective(tx, l.workspace, tx.Now)
	r, refusal := bestGrant(tx, s.ID, l, controls.MaxDuration)
	if refusal == nil {
		refusal = r.stillApproved(s, policy, &controls)
	}
	if refusal == nil {
		refusal = controls.allowLook(s, l, tx.Now)
	}
	fields := unmaskedFields(l.kind, r.Unmasked, controls.AlwaysMasked)
	if refusal == nil {
		refusal = l.checkFields(fields)
	}
	if refusal != nil {
		return r, nil, refusal
	}
	return r, fields, nil
}

// stillApproved refuses a grant to whom the customer would not give it now: the policy or an agreement asks for more than it
// had, or the account is not what the customer saw.
func (r *AccessRequest) stillApproved(s *Staff, policy Policy, controls *EffectiveControls) *Error {
	yes := 0
	for _, a := range r.Approvals {
		if a.By != operatorID || policy.OperatorDecides {
			yes++
		}
	}
	enough := yes >= controls.approvers()
	if r.ByPolicy {
		enough = policy.Mode == PolicyNotify && !controls.TwoApprovers
	}
	var why string
	switch {
	case !enough:
		why = "the workspace's policy or an agreement now asks for more than it had"
	case !r.shows(s):
		why = "your account was changed since"
	default:
		return nil
	}
	return Errorf(Forbidden, "The access by %s opens nothing: %s; ask again with POST /staff/access-requests", r.ID, why).With(CodeAccessEnded)
}

// shows tells whether the account still is what the request shows to who decides.
func (r *AccessRequest) shows(s *Staff) bool {
	return s.Name == r.StaffName && s.Email == r.StaffEmail && s.Employer == r.Employer && s.Country == r.Country && s.Role == r.Role
}

func (c *EffectiveControls) allowLook(s *Staff, l look, now time.Time) *Error {
	if err := c.allowStaff(s); err != nil {
		return err
	}
	if err := c.allowPlace(l.env, l.kind); err != nil {
		return err
	}
	return c.allowTime(now)
}

// checkFields refuses a look at, or by, what stays masked.
func (l look) checkFields(unmasked []string) *Error {
	for _, f := range slices.Concat(l.fields, l.by) {
		if !slices.Contains(unmasked, f) && !slices.Contains(shownFields[l.kind], f) {
			return Errorf(Forbidden, "The field %s is masked: nobody can see it, nor search, filter or sort by it", f).With(CodeFieldMasked)
		}
	}
	return nil
}

func accessRequired() *Error {
	return Errorf(Forbidden, "There is no grant for this workspace and environment: ask for one with POST /staff/access-requests").With(CodeAccessRequired)
}

// bestGrant returns the newest grant for the place whose scopes cover the kind. Without one it tells what is next to it.
func bestGrant(tx *kv.Tx, staff StaffID, l look, longest time.Duration) (AccessRequest, *Error) {
	near, refusal := AccessRequest{}, (*Error)(nil)
	for key := range accessLive.Scan(tx, kv.Prefix(accessKey(staff, l.workspace, "")).Descending()) {
		r, ok := sharedAccess.Get(tx, []byte(accessOf(key)))
		if !ok || r.Workspace != l.workspace || r.Environment != l.env {
			continue
		}
		err := r.opens(l.kind, longest, tx.Now)
		if err == nil {
			return *r, nil
		}
		if refusal == nil || refusal.Code == CodeAccessPending {
			near, refusal = *r, err
		}
	}
	if refusal != nil {
		return near, refusal
	}
	return AccessRequest{}, lastAccess(tx, staff, l)
}

// opens tells why the request opens no records of the kind at t, nil if it does.
func (r *AccessRequest) opens(kind RecordKind, longest time.Duration, t time.Time) *Error {
	scope := kindScopes[kind]
	switch {
	case r.Status == AccessPending && t.Before(r.Expires):
		return Errorf(Forbidden, "The request %s waits for the customer", r.ID).With(CodeAccessPending)
	case r.Status != AccessApproved, !t.Before(r.Ends), !t.Before(r.Starts.Add(longest)):
		return accessEnded(r.ID)
	case t.Before(r.Starts):
		return Errorf(Forbidden, "The grant %s begins at %s", r.ID, r.Starts.Format(time.RFC3339)).With(CodeAccessNotStarted)
	case !slices.Contains(r.Scopes, scope):
		return &Error{Kind: Forbidden, Code: CodeInsufficientScope, Scope: scope, Msg: "The grant lacks the scope " + string(scope)}
	}
	return nil
}

func accessEnded(id AccessID) *Error {
	return Errorf(Forbidden, "The access by %s is over", id).With(CodeAccessEnded)
}

// lastAccess tells whether there was a request for the place: it looks at the newest ones of the staff.
func lastAccess(tx *kv.Tx, staff StaffID, l look) *Error {
	left := maxPage
	for key := range accessByStaff.Scan(tx, kv.Prefix(addressKey(string(staff))).Descending()) {
		if r, _ := accessRequests.Get(tx, []byte(accessOf(key))); r.Workspace == l.workspace && r.Environment == l.env {
			return accessEnded(r.ID)
		}
		if left--; left == 0 {
			break
		}
	}
	return accessRequired()
}

// SweepAccess records what time has ended: unanswered requests, grants, agreements. It is to be called every second or so.
// What is over is over before that.
func (e *Engine) SweepAccess() error {
	due, err := kv.View(e.db, func(tx *kv.Tx) (bool, error) {
		requests, cut, over := timedOut(tx)
		return len(requests)+len(cut)+len(over) > 0, nil
	})
	if err != nil || !due {
		return err
	}
	_, err = kv.UpdateCritical(e.db, func(tx *kv.Tx) (struct{}, error) {
		requests, cut, over := timedOut(tx)
		if err := e.endAccess(tx, cut, EndedAgreement, systemActor); err != nil {
			return struct{}{}, err
		}
		for _, r := range requests {
			if err := e.settle(tx, &r); err != nil {
				return struct{}{}, err
			}
		}
		for _, a := range over {
			if err := e.endAgreement(tx, &a); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	return storageError(err)
}

// timedOut returns what is over by now and was not recorded yet. Grants are cut short by an agreement: that they ended
// stays so when the agreement goes.
func timedOut(tx *kv.Tx) (requests, cut []AccessRequest, over []Agreement) {
	for _, r := range liveAccess(tx, "", "") {
		switch {
		case r.at(tx.Now).Status != r.Status:
			requests = append(requests, r)
		case cutShort(tx, &r, tx.Now):
			cut = append(cut, r)
		}
	}
	for _, a := range agreements.Scan(tx, kv.Range{}) {
		if a.Removed.IsZero() && !a.Ended && !a.To.IsZero() && !tx.Now.Before(a.To) {
			over = append(over, a)
		}
	}
	return requests, cut, over
}

// cutShort tells whether the request is a grant that is over at t, since an agreement allows less time than it had.
func cutShort(tx *kv.Tx, r *AccessRequest, t time.Time) bool {
	return r.Status == AccessApproved && t.Sub(r.Starts) >= effective(tx, r.Workspace, t).MaxDuration
}

// endCut ends the grants of a workspace that the agreements of the moment t have cut short.
func (e *Engine) endCut(tx *kv.Tx, w WorkspaceID, t time.Time) error {
	cut := slices.DeleteFunc(liveAccess(tx, "", w), func(r AccessRequest) bool { return !cutShort(tx, &r, t) })
	return e.endAccess(tx, cut, EndedAgreement, systemActor)
}

// endAgreement records that an agreement came to its end, and what became of the effective controls.
func (e *Engine) endAgreement(tx *kv.Tx, a *Agreement) error {
	if err := e.endCut(tx, a.Workspace, a.To.Add(-1)); err != nil {
		return err
	}
	a.Ended = true
	agreements.Put(tx, agreementKey(a.Workspace, a.ID), *a)
	entry := a.entry(decider{workspace: a.Workspace}.entry("agreement.ended"), effective(tx, a.Workspace, a.To.Add(-1)), effective(tx, a.Workspace, tx.Now))
	entry.Actor = systemActor
	return e.record(tx, entry)
}
