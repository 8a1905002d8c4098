package engine

import (
	"strconv"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// PolicyMode is what it takes for staff to look into a workspace.
type PolicyMode string

// The modes.
const (
	PolicyClosed   PolicyMode = "closed"   // nobody looks, and nobody can ask
	PolicyApproval PolicyMode = "approval" // each request waits for the customer's answer; the default
	PolicyNotify   PolicyMode = "notify"   // a request is granted at once, and the customer told
)

// A Policy is what the customer decided about staff access to the workspace. Its agreements can only tighten it.
type Policy struct {
	Mode            PolicyMode `json:"mode"`
	OperatorDecides bool       `json:"operatorDecides,omitzero"` // the operator may approve, too
	Updated         time.Time  `json:"updated,omitzero"`
	UpdatedBy       string     `json:"updatedBy,omitzero"` // a key's id
}

// Policies, agreements and requests lie beside the workspaces, which they outlive.
var policies = kv.Bucket[Policy]{Path: systemPath.Join("access.policies"), Codec: kv.JSON[Policy](1)}

// policyOf returns the policy of a workspace: what was set, or the default.
func policyOf(tx *kv.Tx, w WorkspaceID) Policy {
	if p, ok := policies.Get(tx, []byte(w)); ok {
		return p
	}
	return Policy{Mode: PolicyApproval}
}

func (p Policy) check() error {
	switch p.Mode {
	case PolicyClosed, PolicyApproval, PolicyNotify:
		return nil
	}
	return Errorf(Invalid, "Unknown policy %q: use closed, approval or notify", string(p.Mode))
}

// AccessPolicy returns the policy of the caller's workspace.
func (e *Engine) AccessPolicy(who Caller) (Policy, error) {
	if err := who.Require(AccessApprove); err != nil {
		return Policy{}, err
	}
	return kv.View(e.db, func(tx *kv.Tx) (Policy, error) { return policyOf(tx, who.Workspace()), nil })
}

// AccessPolicy returns the policy of a workspace. Only the customer can change it.
func (a Admin) AccessPolicy(id WorkspaceID) (Policy, error) {
	if _, err := a.find(id); err != nil {
		return Policy{}, err
	}
	return kv.View(a.e.db, func(tx *kv.Tx) (Policy, error) { return policyOf(tx, id), nil })
}

// SetAccessPolicy makes p's mode and OperatorDecides the policy of the caller's workspace. Closed ends every grant and
// request for good, before it returns. It works in READ_ONLY too.
func (e *Engine) SetAccessPolicy(who Caller, p Policy) (Policy, error) {
	if err := who.Require(AccessApprove); err != nil {
		return Policy{}, err
	}
	if err := p.check(); err != nil {
		return Policy{}, err
	}
	d := who.decider()
	update := kv.Update[Policy]
	if p.Mode == PolicyClosed { // which must be possible on a full disk
		update = kv.UpdateCritical[Policy]
		defer e.anchorNow()
	}
	p, err := update(e.db, func(tx *kv.Tx) (Policy, error) {
		if err := d.still(tx); err != nil {
			return p, err
		}
		was, now := policyOf(tx, d.workspace), p
		if !was.Updated.IsZero() && was.Mode == now.Mode && was.OperatorDecides == now.OperatorDecides {
			return was, nil // no entry for what changes nothing
		}
		if now.Mode != PolicyClosed {
			if err := d.pace(tx.Now); err != nil {
				return was, err
			}
		}
		now.Updated, now.UpdatedBy = tx.Now, d.id
		policies.Put(tx, []byte(d.workspace), now)
		entry := d.entry("policy.changed")
		entry.Detail = map[string]string{
			"mode": string(now.Mode), "modeBefore": string(was.Mode),
			"operatorDecides": strconv.FormatBool(now.OperatorDecides), "operatorDecidesBefore": strconv.FormatBool(was.OperatorDecides),
		}
		if err := e.record(tx, entry); err != nil || now.Mode != PolicyClosed {
			return now, err
		}
		return now, e.endAccess(tx, liveAccess(tx, "", d.workspace), EndedPolicy, entry.Actor)
	})
	return p, storageError(err)
}

// A decider is who decides about staff access to a workspace: a key of the customer's, or the operator. A key decides for
// every environment of its workspace, whichever its own is: the operator can give access:approve to one key only, so
// there may be none in the others.
type decider struct {
	e         *Engine
	workspace WorkspaceID  // empty: the operator, in any
	key       KeyID        // zero: the operator
	env       *environment // of the key
	id        string       // the key's, or operator
	addr      string
	request   string
}

// decider returns the caller, who has access:approve and so is no operator.
func (who Caller) decider() decider {
	return decider{e: who.tenant.engine, workspace: who.tenant.id, key: who.key, env: who.env, id: who.key.String(), addr: addrText(who.Addr), request: who.CorrelationID}
}

func (a Admin) decider() decider { return decider{e: a.e, id: operatorID} }

const operatorID = "operator"

func (d decider) operator() bool { return d.key.IsZero() }

// still refuses a key that has lost, in the transaction, what it had when it was authenticated.
func (d decider) still(tx *kv.Tx) error {
	if d.operator() {
		return nil
	}
	k, ok := d.env.keys().Get(tx, d.key.key())
	if !ok || k.Disabled || !k.Revoked.IsZero() || !k.Expires.IsZero() && !tx.Now.Before(k.Expires) {
		return unauthorized()
	}
	scopes, err := ScopesOf(k.Scopes)
	if err == nil && !scopes.Has(AccessApprove) {
		err = &Error{Kind: Forbidden, Code: CodeInsufficientScope, Scope: AccessApprove, Msg: "This API key lacks the scope " + string(AccessApprove)}
	}
	return err
}

// role is the key's, "custom" for a list of scopes.
func (d decider) role(tx *kv.Tx) string {
	if d.operator() {
		return operatorID
	}
	if k, _ := d.env.keys().Get(tx, d.key.key()); k.Role != "" {
		return string(k.Role)
	}
	return "custom"
}

// entry begins an entry for what d decides.
func (d decider) entry(event string) auditlog.Entry {
	e := auditlog.Entry{Event: event, Workspace: string(d.workspace), Actor: operatorActor}
	if !d.operator() {
		e.Actor, e.Credential = keyActor(d.id), d.id
	}
	e.Address, e.Request = d.addr, d.request
	return e
}
