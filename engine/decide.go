package engine

import (
	"slices"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// Who decides. A request is made by staff, with a token; it is decided by keys of the customer's, and by the operator only
// where the customer said so: the realms are apart, so nobody approves their own. What the program can't prevent is said
// here: whoever has the admin socket and is one of staff as well decides about his own requests where operatorDecides is
// set, and one person who holds two keys counts as two approvers. Both are in the log.

// An AccessQuery asks for one page of requests, newest first. Empty is any.
type AccessQuery struct {
	Status AccessStatus
	Cursor string // as the page before gave it
	Limit  int    // 100 at most, which 0 is
}

// An AccessPage is one page.
type AccessPage struct {
	Requests []AccessRequest
	Next     string // the cursor of the next page; empty if this was the last
}

const maxPage = 100

// maxLooked is how many requests are looked at for one page: one of a rare status may have few, or none, and go on all the same.
const maxLooked = 1000

// accessPage returns a page of the requests whose ids lie behind prefix in index.
func (e *Engine) accessPage(index kv.Index, prefix []byte, q AccessQuery) (AccessPage, error) {
	if q.Cursor != "" && !isSystemID(q.Cursor, "access") {
		return AccessPage{}, Errorf(Invalid, "Invalid cursor")
	}
	if q.Limit <= 0 || q.Limit > maxPage {
		q.Limit = maxPage
	}
	return kv.View(e.db, func(tx *kv.Tx) (AccessPage, error) {
		page, within := AccessPage{Requests: []AccessRequest{}}, kv.Prefix(prefix).Descending()
		if q.Cursor != "" {
			within = within.Before(kv.Key(prefix, []byte(q.Cursor)))
		}
		looked, last := 0, ""
		for key := range index.Scan(tx, within) {
			if looked == maxLooked {
				page.Next = last
				break
			}
			looked++
			r, ok := accessRequests.Get(tx, key[len(prefix):])
			if r = r.at(tx.Now); ok && (q.Status == "" || r.Status == q.Status) {
				if len(page.Requests) == q.Limit {
					page.Next = last
					break
				}
				page.Requests = append(page.Requests, r)
			}
			last = string(key[len(prefix):])
		}
		return page, nil
	})
}

func anyRequest(*AccessRequest) bool { return true }

// AccessRequests returns a page of the requests for the caller's workspace.
func (e *Engine) AccessRequests(who Caller, q AccessQuery) (AccessPage, error) {
	if err := who.Require(AccessApprove); err != nil {
		return AccessPage{}, err
	}
	return e.accessPage(accessByWorkspace, addressKey(string(who.Workspace())), q)
}

// AccessRequests returns a page of the requests for a workspace, which may be gone; for all if id is empty.
func (a Admin) AccessRequests(id WorkspaceID, q AccessQuery) (AccessPage, error) {
	if id == "" {
		return a.e.accessPage(kv.Index{Path: accessRequests.Path}, nil, q)
	}
	return a.e.accessPage(accessByWorkspace, addressKey(string(id)), q)
}

// OwnAccessRequests returns a page of the caller's requests.
func (e *Engine) OwnAccessRequests(who StaffCaller, q AccessQuery) (AccessPage, error) {
	return e.accessPage(accessByStaff, addressKey(string(who.staff.ID)), q)
}

// AccessRequest returns one request for the caller's workspace.
func (e *Engine) AccessRequest(who Caller, id string) (AccessRequest, error) {
	if err := who.Require(AccessApprove); err != nil {
		return AccessRequest{}, err
	}
	return e.viewAccess(id, func(r *AccessRequest) bool { return r.Workspace == who.Workspace() })
}

// AccessRequest returns one request.
func (a Admin) AccessRequest(id string) (AccessRequest, error) { return a.e.viewAccess(id, anyRequest) }

// OwnAccessRequest returns one of the caller's requests.
func (e *Engine) OwnAccessRequest(who StaffCaller, id string) (AccessRequest, error) {
	return e.viewAccess(id, func(r *AccessRequest) bool { return r.Staff == who.staff.ID })
}

func (e *Engine) viewAccess(id string, mine func(*AccessRequest) bool) (AccessRequest, error) {
	return kv.View(e.db, func(tx *kv.Tx) (AccessRequest, error) {
		r, ok := getAccess(tx, id)
		if !ok || !mine(&r) {
			return AccessRequest{}, accessNotFound()
		}
		return r.at(tx.Now), nil
	})
}

// ApproveAccess adds the caller's yes to a request. With the last one that it needs it is a grant.
//
// Errors: [NotFound]; [Conflict] with [CodeAlreadyDecided], [CodeAlreadyApproved], [CodeSameRole]; [Forbidden] with the code
// of what policy or an agreement rules out by now.
func (e *Engine) ApproveAccess(who Caller, id string) (AccessRequest, error) {
	if err := who.Require(AccessApprove); err != nil {
		return AccessRequest{}, err
	}
	return who.decider().approve(id)
}

// ApproveAccess is like [Engine.ApproveAccess], where the workspace's policy lets the operator decide.
func (a Admin) ApproveAccess(id string) (AccessRequest, error) { return a.decider().approve(id) }

func (d decider) approve(id string) (AccessRequest, error) {
	return d.decide(id, "access.approved", func(tx *kv.Tx, r *AccessRequest) error {
		policy, controls := policyOf(tx, r.Workspace), effective(tx, r.Workspace, tx.Now)
		s, err := findStaff(tx, r.Staff)
		switch {
		case err != nil:
			return err
		case d.operator() && !policy.OperatorDecides:
			return customerDecides()
		case r.Status != AccessPending:
			return decidedAlready(r)
		case !r.shows(&s):
			return Errorf(Conflict, "The staff account was changed since it asked: it must ask again").With(CodeAccessEnded)
		case slices.Contains(r.approvers(), d.id):
			return Errorf(Conflict, "This key has approved the request already: another one must").With(CodeAlreadyApproved)
		}
		role := d.role(tx)
		if controls.DifferentRoles && slices.ContainsFunc(r.Approvals, func(a Approval) bool { return a.Role == role }) {
			return Errorf(Conflict, "The two approvers must have different roles, and one with the role %s has approved already", role).With(CodeSameRole)
		}
		if refusal := r.refusedBy(policy, &controls, &s); refusal != nil {
			return refusal
		}
		r.Approvers = max(r.Approvers, controls.approvers())
		r.Approvals = slices.DeleteFunc(slices.Clone(r.Approvals), func(a Approval) bool { return !d.e.counts(tx, r.Workspace, a) })
		r.Approvals = append(r.Approvals, Approval{d.id, role, tx.Now})
		if len(r.Approvals) >= r.Approvers {
			r.approve(tx.Now)
		}
		return nil
	})
}

// counts tells whether an earlier yes still does: who gave it could give it now.
func (e *Engine) counts(tx *kv.Tx, w WorkspaceID, a Approval) bool {
	if a.By == operatorID {
		return policyOf(tx, w).OperatorDecides
	}
	id, ok := kv.ParseID(a.By)
	t := e.tenant(w)
	if !ok || t == nil {
		return false
	}
	for _, env := range t.envs {
		if k, found := env.keys().Get(tx, id[:]); found {
			return !k.Disabled && k.Revoked.IsZero() && (k.Expires.IsZero() || tx.Now.Before(k.Expires)) && slices.Contains(k.Scopes, AccessApprove)
		}
	}
	return false
}

func decidedAlready(r *AccessRequest) *Error {
	return Errorf(Conflict, "The request is %s", r.Status).With(CodeAlreadyDecided)
}

// DenyAccess turns a request down. The note is for staff and is not in the audit log.
func (e *Engine) DenyAccess(who Caller, id, note string) (AccessRequest, error) {
	if err := who.Require(AccessApprove); err != nil {
		return AccessRequest{}, err
	}
	return who.decider().deny(id, note)
}

// DenyAccess is like [Engine.DenyAccess]. The operator can always say no.
func (a Admin) DenyAccess(id, note string) (AccessRequest, error) { return a.decider().deny(id, note) }

func (d decider) deny(id, note string) (AccessRequest, error) {
	if len(note) > maxNoteBytes {
		return AccessRequest{}, Errorf(Invalid, "note: it has at most %d bytes", maxNoteBytes)
	}
	return d.decide(id, "access.denied", func(tx *kv.Tx, r *AccessRequest) error {
		if r.Status != AccessPending {
			return decidedAlready(r)
		}
		r.Status, r.Closed, r.ClosedBy, r.Note = AccessDenied, tx.Now, d.id, note
		return nil
	})
}

// RevokeAccess ends a grant. No read succeeds that begins after it returns.
func (e *Engine) RevokeAccess(who Caller, id string) (AccessRequest, error) {
	if err := who.Require(AccessApprove); err != nil {
		return AccessRequest{}, err
	}
	return who.decider().revoke(id)
}

// RevokeAccess is like [Engine.RevokeAccess]. The operator can always end a grant.
func (a Admin) RevokeAccess(id string) (AccessRequest, error) { return a.decider().revoke(id) }

func (d decider) revoke(id string) (AccessRequest, error) {
	defer d.e.anchorNow()
	return d.decide(id, "access.revoked", func(tx *kv.Tx, r *AccessRequest) error {
		if r.Status != AccessApproved {
			return decidedAlready(r)
		}
		r.Status, r.Closed, r.ClosedBy = AccessRevoked, tx.Now, d.id
		return nil
	})
}

// decide lets fn change a request, after time has had its say, and records the event. fn changes nothing when it refuses.
func (d decider) decide(id, event string, fn func(tx *kv.Tx, r *AccessRequest) error) (AccessRequest, error) {
	return refusing(d.e, func(tx *kv.Tx) (AccessRequest, *Error, error) {
		if err := d.still(tx); err != nil {
			return AccessRequest{}, nil, err
		}
		r, ok := getAccess(tx, id)
		if !ok || !d.operator() && r.Workspace != d.workspace {
			return r, nil, accessNotFound()
		}
		entry := d.entry(event)
		if !d.operator() {
			entry.Actor.Role = d.role(tx)
		}
		return d.e.changeRequest(tx, r, entry, fn)
	})
}

// changeRequest lets fn change a request, and records it under what from says of who does it.
func (e *Engine) changeRequest(tx *kv.Tx, r AccessRequest, from auditlog.Entry, fn func(tx *kv.Tx, r *AccessRequest) error) (AccessRequest, *Error, error) {
	if err := e.settle(tx, &r); err != nil {
		return r, nil, err
	}
	before := r
	err := fn(tx, &r)
	entry := r.entry(from.Event)
	entry.Actor, entry.Credential, entry.Address, entry.Request = from.Actor, from.Credential, from.Address, from.Request
	if refusal, ok := err.(*Error); ok {
		return before, refusal, e.recordRefusal(tx, entry, refusal)
	}
	if err != nil {
		return r, nil, err
	}
	putAccess(tx, &r)
	return r, nil, e.record(tx, entry)
}

// WithdrawAccess takes back a request of the caller's, or gives back the grant that it became.
func (e *Engine) WithdrawAccess(who StaffCaller, id string) (AccessRequest, error) {
	return refusing(e, func(tx *kv.Tx) (AccessRequest, *Error, error) {
		if _, err := who.still(tx); err != nil {
			return AccessRequest{}, nil, err
		}
		r, ok := getAccess(tx, id)
		if !ok || r.Staff != who.staff.ID {
			return AccessRequest{}, nil, accessNotFound()
		}
		return e.changeRequest(tx, r, who.entry("access.withdrawn"), func(tx *kv.Tx, r *AccessRequest) error {
			if !r.Status.live() {
				return decidedAlready(r)
			}
			r.Status, r.Closed, r.ClosedBy = AccessWithdrawn, tx.Now, string(who.staff.ID)
			return nil
		})
	})
}

// AccessOpens returns what a request for the caller's workspace opens, or would open, as the agreements are now.
func (e *Engine) AccessOpens(who Caller, id string) ([]Opening, error) {
	r, err := e.AccessRequest(who, id)
	if err != nil {
		return nil, err
	}
	return e.openings(&r)
}

// AccessOpens returns what a request opens, or would open, as the agreements are now.
func (a Admin) AccessOpens(id string) ([]Opening, error) {
	r, err := a.AccessRequest(id)
	if err != nil {
		return nil, err
	}
	return a.e.openings(&r)
}

func (e *Engine) openings(r *AccessRequest) ([]Opening, error) {
	controls, err := e.effective(r.Workspace)
	if err != nil {
		return nil, err
	}
	return r.openings(&controls), nil
}
