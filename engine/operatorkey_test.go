package engine

import (
	"testing"
	"time"

	"tuco/engine/auditlog"
)

// TestOperatorsKeysStayTheOperators: neither a key that such a key makes, nor a new secret for the customer's key, is a way
// round the log or a closed workspace; what the customer's owner key makes is the customer's own.
func TestOperatorsKeysStayTheOperators(t *testing.T) {
	w := newWorld(t, unlimited())
	owner := w.ownerOf(w.id, Production)
	_, operators := w.key(w.id, Production, NewKey{Name: "operator's", Role: RoleAdmin})
	admin := w.auth(operators)
	if !admin.MadeByOperator() {
		t.Fatal("it is not known as the operator's")
	}
	_, secret, err := w.CreateKey(admin, NewKey{Name: "child", Role: RoleViewer})
	if err != nil || !w.auth(secret).MadeByOperator() {
		t.Errorf("a child of it: %v", err)
	}
	own, secret, err := w.CreateKey(owner, NewKey{Name: "own", Role: RoleMember})
	if err != nil || w.auth(secret).MadeByOperator() {
		t.Errorf("the customer's own: %v", err)
	}
	_, rotated, err := w.RotateKey(w.operator(Production), own.ID.String(), 0)
	if err != nil || !w.auth(rotated).MadeByOperator() {
		t.Errorf("with a secret that the operator has: %v", err)
	}
	w.policy(owner, Policy{Mode: PolicyClosed})
	_, _, err = w.CreateKey(admin, NewKey{Name: "another", Role: RoleViewer})
	refused(t, "a child in a closed workspace", err, Forbidden, CodePolicyClosed, "")
	if _, _, err := w.CreateKey(owner, NewKey{Name: "more", Role: RoleMember}); err != nil {
		t.Errorf("the customer's own in a closed workspace: %v", err)
	}
}

// TestChangesArePaced: nobody fills the log with changes of a policy; what takes rights away is never refused.
func TestChangesArePaced(t *testing.T) {
	w := newWorld(t, unlimited())
	owner := w.ownerOf(w.id, Production)
	before := len(w.lines())
	modes := []PolicyMode{PolicyNotify, PolicyApproval}
	for i := range 2 * maxRefusals {
		_, err := w.SetAccessPolicy(owner, Policy{Mode: modes[i%2]})
		if i >= maxRefusals && i%2 == 0 { // the others change nothing
			refused(t, "one more", err, QuotaExceeded, CodeRateLimit, "")
		}
	}
	if n := len(w.lines()) - before; n != maxRefusals {
		t.Errorf("%d entries", n)
	}
	for range 2 {
		w.policy(owner, Policy{Mode: PolicyClosed})
	}
	if n := len(w.lines()) - before; n != maxRefusals+1 {
		t.Errorf("%d entries after it was closed twice", n)
	}
}

// TestNothingIsDroppedByAJump: a clock that jumped drops no body until it is accepted, nor does one that jumped while the
// program was away.
func TestNothingIsDroppedByAJump(t *testing.T) {
	w := newWorldIn(t, unlimited(), "UTC", Options{AuditRetention: 1000 * time.Hour})
	w.grow(2 * auditlog.SegmentSize)
	w.clock.set(w.clock.now().Add(10 * 365 * day))
	w.keepAudit()
	if w.kept() != 0 {
		t.Fatal("dropped by a clock that jumped")
	}
	w.reopen()
	w.keepAudit()
	if w.kept() != 0 {
		t.Fatal("dropped after a restart")
	}
	if err := w.Admin().AcceptClock(); err != nil {
		t.Fatal(err)
	}
	w.keepAudit()
	if w.kept() != 2*auditlog.SegmentSize {
		t.Errorf("the first that is kept is %d", w.kept())
	}
}
