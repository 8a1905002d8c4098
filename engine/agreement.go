package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// AgreementID names an agreement: agreement_ and 24 hex digits.
type AgreementID string

// AgreementType is what an agreement is.
type AgreementType string

// The types.
const (
	SupportAgreement AgreementType = "support"
	DataProcessing   AgreementType = "dpa" // a data processing addendum
)

// An Agreement between the customer and the operator asks for controls from From up to To. It stays visible when it is over.
type Agreement struct {
	ID        AgreementID   `json:"id"`
	Workspace WorkspaceID   `json:"workspace"`
	Type      AgreementType `json:"type"`
	Reference string        `json:"reference"`
	From      time.Time     `json:"from"`
	To        time.Time     `json:"to,omitzero"` // the first moment without it; zero: none
	Controls  Controls      `json:"controls"`
	AddedBy   string        `json:"addedBy"` // operator, or a key's id
	Added     time.Time     `json:"added"`
	Removed   time.Time     `json:"removed,omitzero"`
	RemovedBy string        `json:"removedBy,omitzero"`
	Ended     bool          `json:"ended,omitzero"` // it was recorded that To has come
}

var agreements = kv.Bucket[Agreement]{Path: systemPath.Join("access.agreements"), Codec: nanoJSON[Agreement](1)} // by workspace, id

func agreementKey(w WorkspaceID, id AgreementID) []byte { return addressKey(string(w), []byte(id)) }

// inForce tells whether the agreement's controls hold at t.
func (a *Agreement) inForce(t time.Time) bool {
	return (a.Removed.IsZero() || t.Before(a.Removed)) && !t.Before(a.From) && (a.To.IsZero() || t.Before(a.To))
}

// reference is what references and tickets are made of: they are in the audit log, so they can't be prose.
var reference = regexp.MustCompile(`^[A-Za-z0-9_./#:-]{1,100}$`)

const maxAgreements = 100 // of a workspace, with those that are over

// effective returns what the agreements of a workspace ask for at t.
func effective(tx *kv.Tx, w WorkspaceID, t time.Time) EffectiveControls {
	var held []Agreement
	for _, a := range agreements.Scan(tx, kv.Prefix(addressKey(string(w)))) {
		if a.inForce(t) {
			held = append(held, a)
		}
	}
	return combine(held)
}

// EffectiveControls returns what the agreements of the caller's workspace ask for now, with the source of each.
func (e *Engine) EffectiveControls(who Caller) (EffectiveControls, error) {
	if err := who.Require(AccessApprove); err != nil {
		return EffectiveControls{}, err
	}
	return e.effective(who.Workspace())
}

// EffectiveControls returns what the agreements of a workspace ask for now, with the source of each.
func (a Admin) EffectiveControls(id WorkspaceID) (EffectiveControls, error) {
	if _, err := a.find(id); err != nil {
		return EffectiveControls{}, err
	}
	return a.e.effective(id)
}

func (e *Engine) effective(w WorkspaceID) (EffectiveControls, error) {
	return kv.View(e.db, func(tx *kv.Tx) (EffectiveControls, error) { return effective(tx, w, tx.Now), nil })
}

// Agreements returns those of the caller's workspace, the oldest first, also those that are over.
func (e *Engine) Agreements(who Caller) ([]Agreement, error) {
	if err := who.Require(AccessApprove); err != nil {
		return nil, err
	}
	return e.agreementsOf(who.Workspace())
}

// Agreements returns those of a workspace, the oldest first, also those that are over.
func (a Admin) Agreements(id WorkspaceID) ([]Agreement, error) { return a.e.agreementsOf(id) }

func (e *Engine) agreementsOf(w WorkspaceID) ([]Agreement, error) {
	return kv.View(e.db, func(tx *kv.Tx) ([]Agreement, error) {
		all := []Agreement{}
		for _, a := range agreements.Scan(tx, kv.Prefix(addressKey(string(w)))) {
			all = append(all, a)
		}
		return all, nil
	})
}

// AddAgreement adds an agreement to the caller's workspace. Its type, reference, dates and controls are taken from in; it
// holds from now on if it has no From.
func (e *Engine) AddAgreement(who Caller, in Agreement) (Agreement, error) {
	if err := who.Require(AccessApprove); err != nil {
		return Agreement{}, err
	}
	return who.decider().addAgreement(in)
}

// AddAgreement is like [Engine.AddAgreement]: the operator may tighten what the customer decided.
func (a Admin) AddAgreement(id WorkspaceID, in Agreement) (Agreement, error) {
	if _, err := a.find(id); err != nil {
		return Agreement{}, err
	}
	d := a.decider()
	d.workspace = id
	return d.addAgreement(in)
}

func (d decider) addAgreement(in Agreement) (Agreement, error) {
	switch {
	case in.Type != SupportAgreement && in.Type != DataProcessing:
		return Agreement{}, Errorf(Invalid, "Unknown type of agreement %q: use support or dpa", string(in.Type))
	case !reference.MatchString(in.Reference):
		return Agreement{}, Errorf(Invalid, "reference: it must be 1 to 100 letters, digits and -_./#:")
	}
	if err := in.Controls.check(); err != nil {
		return Agreement{}, err
	}
	if err := in.Controls.checkLists(); err != nil {
		return Agreement{}, err
	}
	a, err := kv.Update(d.e.db, func(tx *kv.Tx) (Agreement, error) {
		a := Agreement{
			Workspace: d.workspace, Type: in.Type, Reference: in.Reference, From: in.From.UTC(), To: in.To.UTC(),
			Controls: in.Controls, AddedBy: d.id, Added: tx.Now,
		}
		if in.From.IsZero() {
			a.From = tx.Now
		}
		if !in.To.IsZero() && (!a.To.After(a.From) || !a.To.After(tx.Now)) {
			return a, Errorf(Invalid, "to: the agreement would be over already")
		}
		if err := d.still(tx); err != nil {
			return a, err
		}
		n := 0
		for _, other := range agreements.Scan(tx, kv.Prefix(addressKey(string(d.workspace)))) {
			if other.Removed.IsZero() && !other.Ended && (other.AddedBy == operatorID) == d.operator() { // so neither takes the other's room
				n++
			}
		}
		if n >= maxAgreements {
			return a, Errorf(Conflict, "A workspace has at most %d agreements", maxAgreements).With(CodeTooMany)
		}
		if err := d.pace(tx.Now); err != nil {
			return a, err
		}
		was := effective(tx, d.workspace, tx.Now)
		a.ID = AgreementID(newSystemID(tx, "agreement"))
		agreements.Put(tx, agreementKey(a.Workspace, a.ID), a)
		return a, d.e.record(tx, a.entry(d.entry("agreement.added"), was, effective(tx, d.workspace, tx.Now)))
	})
	return a, storageError(err)
}

// RemoveAgreement ends an agreement of the caller's workspace now. It stays visible.
func (e *Engine) RemoveAgreement(who Caller, id string) (Agreement, error) {
	if err := who.Require(AccessApprove); err != nil {
		return Agreement{}, err
	}
	return who.decider().removeAgreement(id)
}

// RemoveAgreement ends an agreement that the operator added, if the workspace's policy lets the operator decide. Any other
// only the customer can remove, as that loosens what was agreed.
func (a Admin) RemoveAgreement(id WorkspaceID, agreement string) (Agreement, error) {
	d := a.decider()
	d.workspace = id
	return d.removeAgreement(agreement)
}

func (d decider) removeAgreement(id string) (Agreement, error) {
	a, err := kv.Update(d.e.db, func(tx *kv.Tx) (a Agreement, err error) {
		if err := d.still(tx); err != nil {
			return a, err
		}
		ok := isSystemID(id, "agreement")
		if ok {
			a, ok = agreements.Get(tx, agreementKey(d.workspace, AgreementID(id)))
		}
		switch {
		case !ok:
			return a, Errorf(NotFound, "Agreement not found")
		case d.operator() && (a.AddedBy != operatorID || !policyOf(tx, d.workspace).OperatorDecides):
			return a, customerDecides()
		case !a.Removed.IsZero():
			return a, nil
		}
		if err := d.pace(tx.Now); err != nil {
			return a, err
		}
		if err := d.e.endCut(tx, d.workspace, tx.Now); err != nil {
			return a, err
		}
		was := effective(tx, d.workspace, tx.Now)
		a.Removed, a.RemovedBy = tx.Now, d.id
		agreements.Put(tx, agreementKey(a.Workspace, a.ID), a)
		return a, d.e.record(tx, a.entry(d.entry("agreement.removed"), was, effective(tx, d.workspace, tx.Now)))
	})
	return a, storageError(err)
}

func customerDecides() *Error {
	return Errorf(Forbidden, "Only the customer decides this").With(CodeCustomerDecides)
}

// entry adds to an entry what the agreement is, and what became of the effective controls with it.
func (a *Agreement) entry(entry auditlog.Entry, was, is EffectiveControls) auditlog.Entry {
	entry.Workspace, entry.Kind, entry.Object = string(a.Workspace), "agreement", string(a.ID)
	entry.Detail = map[string]string{"type": string(a.Type), "reference": a.Reference, "from": timeText(a.From), "to": timeText(a.To)}
	changedControls(was, is, entry.Detail)
	return entry
}

// detailText is a value in an entry's detail: what is too long for one is its hash.
func detailText(s string) string {
	if len(s) <= auditlog.MaxTextBytes {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}
