package engine

import "net/netip"

// A Caller is who asks, as far as it was proved. It is bound to one environment of one workspace;
// nothing that it is given can reach another.
type Caller struct {
	tenant   *tenant
	env      *environment
	key      KeyID // zero for the operator
	scopes   Scopes
	operator bool

	operatorMade bool // the key

	Addr          netip.Addr // where the request came from
	CorrelationID string     // follows the request through log, record and answer
}

// Workspace is the caller's.
func (who Caller) Workspace() WorkspaceID { return who.tenant.id }

// Environment is the caller's.
func (who Caller) Environment() Environment { return who.env.name }

// Key is the credential that the caller used; zero for the operator.
func (who Caller) Key() KeyID { return who.key }

// Require refuses a caller whose role or scopes do not cover s.
func (who Caller) Require(s Scope) error {
	if who.scopes.Has(s) {
		return nil
	}
	return &Error{Kind: Forbidden, Code: CodeInsufficientScope, Scope: s,
		Msg: "This API key lacks the scope " + string(s)}
}

// write refuses a caller that lacks s, and any write while the workspace is READ_ONLY. This is the
// early check; [mustWrite] repeats it inside the transaction.
func (who Caller) write(s Scope) error {
	if err := who.Require(s); err != nil {
		return err
	}
	who.tenant.recent.count(s, who.tenant.engine.opt.Now())
	return who.Writable()
}

// Writable refuses while the workspace is READ_ONLY, with the documented error.
func (who Caller) Writable() error {
	if reason := who.tenant.engine.readOnly(who.tenant); reason != "" {
		return readOnlyError(reason)
	}
	return nil
}

// madeBy names the caller in what it makes.
func (who Caller) madeBy() string {
	if who.operator {
		return "operator"
	}
	return who.key.String()
}
