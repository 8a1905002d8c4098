package engine

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tuco/engine/address"
	"tuco/engine/auditlog"
	"tuco/kv"
)

// AuditorID names an auditor: auditor_ and 24 hex digits.
type AuditorID string

// An Auditor is an account that reads the audit log, and nothing else.
type Auditor struct {
	ID AuditorID `json:"id"`
	Account
}

var auditors = kv.Bucket[Auditor]{Path: systemPath.Join("auditors"), Codec: kv.JSON[Auditor](1)}

// NewAuditor describes an account to add.
type NewAuditor struct {
	Name, Email string
	Expires     time.Time // of its tokens; zero: never
}

// AddAuditor makes an account and returns its token, which nobody can see again.
func (a Admin) AddAuditor(in NewAuditor) (Auditor, string, error) {
	account, err := newAccount(in.Name, in.Email, in.Expires)
	if err != nil {
		return Auditor{}, "", err
	}
	token := newToken(auditorPrefix)
	made, err := kv.UpdateCritical(a.e.db, func(tx *kv.Tx) (Auditor, error) {
		u := Auditor{Account: account}
		if !u.Expires.IsZero() && !u.Expires.After(tx.Now) {
			return u, Errorf(Invalid, "The token would have expired already")
		}
		u.ID = AuditorID(newSystemID(tx, "auditor"))
		u.Created = tx.Now
		a.e.addToken(tx, &u.Account, token, tokenOwner{Auditor: u.ID})
		err := a.e.putAuditor(tx, &u, "auditor.added", nil)
		return u, err
	})
	if err != nil {
		return Auditor{}, "", storageError(err)
	}
	return made, token, nil
}

// putAuditor stores an account and records the event. Name and mailbox stay out of the log.
func (e *Engine) putAuditor(tx *kv.Tx, u *Auditor, event string, detail map[string]string) error {
	u.Updated = tx.Now
	auditors.Put(tx, []byte(u.ID), *u)
	if detail == nil {
		detail = map[string]string{}
	}
	detail["disabled"], detail["expires"] = strconv.FormatBool(u.Disabled), timeText(u.Expires)
	return e.record(tx, auditlog.Entry{Event: event, Actor: operatorActor, Kind: "auditor", Object: string(u.ID), Detail: detail})
}

// Auditors returns every account, the oldest first.
func (a Admin) Auditors() ([]Auditor, error) { return everyRecord(a.e, auditors) }

// An AuditorChange names what to change of an account; nil leaves it.
type AuditorChange struct {
	Name, Email *string
	Expires     *time.Time // zero: never
	Disabled    *bool
}

func (c AuditorChange) apply(u *Auditor) (changed []string, err error) {
	if c.Name != nil && *c.Name != u.Name {
		u.Name, changed = *c.Name, append(changed, "name")
	}
	if c.Email != nil {
		email, err := address.Email(*c.Email)
		if err != nil {
			return nil, Errorf(Invalid, "email: not a valid e-mail address")
		}
		if email != u.Email {
			u.Email, changed = email, append(changed, "email")
		}
	}
	if c.Expires != nil && !c.Expires.Equal(u.Expires) {
		u.Expires, changed = *c.Expires, append(changed, "expires")
	}
	return changed, checkName(u.Name)
}

// SetAuditor changes an account. It holds for every request that begins after it returns.
func (a Admin) SetAuditor(id AuditorID, change AuditorChange) (Auditor, error) {
	return a.changeAuditor(id, func(tx *kv.Tx, u *Auditor) error {
		changed, err := change.apply(u)
		if err != nil {
			return err
		}
		if len(changed) > 0 {
			if err := a.e.putAuditor(tx, u, "auditor.changed", map[string]string{"changed": strings.Join(changed, " ")}); err != nil {
				return err
			}
		}
		if change.Disabled == nil || *change.Disabled == u.Disabled {
			return nil
		}
		if u.Disabled = *change.Disabled; u.Disabled {
			return a.e.putAuditor(tx, u, "auditor.disabled", nil)
		}
		return a.e.putAuditor(tx, u, "auditor.enabled", nil)
	})
}

// DisableAuditor makes an account's tokens worthless on the very next request.
func (a Admin) DisableAuditor(id AuditorID) (Auditor, error) {
	disabled := true
	return a.SetAuditor(id, AuditorChange{Disabled: &disabled})
}

// EnableAuditor lets an account's tokens be used again.
func (a Admin) EnableAuditor(id AuditorID) (Auditor, error) {
	disabled := false
	return a.SetAuditor(id, AuditorChange{Disabled: &disabled})
}

// RotateAuditor gives an account another token. The one before it lives for overlap.
func (a Admin) RotateAuditor(id AuditorID, overlap time.Duration) (Auditor, string, error) {
	if err := checkOverlap(overlap); err != nil {
		return Auditor{}, "", err
	}
	token := newToken(auditorPrefix)
	u, err := a.changeAuditor(id, func(tx *kv.Tx, u *Auditor) error {
		if err := u.retireTokens(tx, overlap); err != nil {
			return err
		}
		a.e.addToken(tx, &u.Account, token, tokenOwner{Auditor: id})
		return a.e.putAuditor(tx, u, "auditor.rotated", map[string]string{"overlap": overlap.String()})
	})
	if err != nil {
		return u, "", err
	}
	return u, token, nil
}

func (a Admin) changeAuditor(id AuditorID, fn func(tx *kv.Tx, u *Auditor) error) (Auditor, error) {
	defer a.e.anchorNow()
	u, err := kv.UpdateCritical(a.e.db, func(tx *kv.Tx) (Auditor, error) {
		u, ok := Auditor{}, isSystemID(string(id), "auditor")
		if ok {
			u, ok = auditors.Get(tx, []byte(id))
		}
		if !ok {
			return u, Errorf(NotFound, "There is no auditor account %q", string(id))
		}
		err := fn(tx, &u)
		return u, err
	})
	return u, storageError(err)
}

// An AuditorCaller is an auditor who asks, as far as it was proved.
type AuditorCaller struct {
	auditor Auditor
	digest  [32]byte

	Addr          netip.Addr // where the request came from
	CorrelationID string     // follows the request through log, record and answer
}

// Auditor is the caller's account.
func (who AuditorCaller) Auditor() Auditor { return who.auditor }

// AuthenticateAuditor returns the auditor that secret proves, who came from addr. Nothing is cached.
//
// Errors: [Unauthorized]; with [CodeTokenNotAccepted] for a credential of another realm.
func (e *Engine) AuthenticateAuditor(secret string, addr netip.Addr) (AuditorCaller, error) {
	if err := e.checkRealm(secret, auditorPrefix); err != nil {
		return AuditorCaller{}, err
	}
	digest := e.secrets.digest(secret)
	u, err := kv.View(e.db, func(tx *kv.Tx) (Auditor, error) {
		owner, _ := tokens.Get(tx, digest[:])
		u, _ := auditors.Get(tx, []byte(owner.Auditor))
		return u, nil
	})
	if err != nil {
		return AuditorCaller{}, err
	}
	if reason := u.refused(digest, e.opt.Now()); reason != "" {
		return AuditorCaller{}, e.misusedToken(string(u.ID), reason)
	}
	return AuditorCaller{auditor: u, digest: digest, Addr: addr.Unmap()}, nil
}

// still refuses an auditor whose token is no longer good in the transaction.
func (who AuditorCaller) still(tx *kv.Tx) error {
	if u, _ := auditors.Get(tx, []byte(who.auditor.ID)); u.refused(who.digest, tx.Now) != "" {
		return unauthorized()
	}
	return nil
}

// entry begins an entry for what the caller does.
func (who AuditorCaller) entry(event string) auditlog.Entry {
	id := string(who.auditor.ID)
	return auditlog.Entry{
		Event: event, Actor: auditlog.Actor{Kind: auditlog.Auditor, ID: id}, Credential: id, Address: addrText(who.Addr), Request: who.CorrelationID,
	}
}
