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

// StaffID names one of staff: staff_ and 24 hex digits.
type StaffID string

// Staff is an account of somebody who works for the operator, or for the vendor. By itself it opens nothing.
type Staff struct {
	ID StaffID `json:"id"`
	Account
	Employer string `json:"employer"`
	Country  string `json:"country"` // two letters, ISO 3166-1
	Role     string `json:"role"`    // in words, for customers and auditors
}

var staffAccounts = kv.Bucket[Staff]{Path: systemPath.Join("staff"), Codec: kv.JSON[Staff](1)}

// NewStaff describes an account to add.
type NewStaff struct {
	Name, Email, Employer, Country, Role string
	Expires                              time.Time // of its tokens; zero: never
}

// AddStaff makes an account and returns its token, which nobody can see again.
func (a Admin) AddStaff(in NewStaff) (Staff, string, error) {
	account, err := newAccount(in.Name, in.Email, in.Expires)
	if err != nil {
		return Staff{}, "", err
	}
	s, token := Staff{Account: account, Employer: in.Employer, Country: strings.ToUpper(in.Country), Role: in.Role}, newToken(staffPrefix)
	if err := s.check(); err != nil {
		return Staff{}, "", err
	}
	s, err = kv.UpdateCritical(a.e.db, func(tx *kv.Tx) (Staff, error) {
		s := s // fn may run again
		if !s.Expires.IsZero() && !s.Expires.After(tx.Now) {
			return s, Errorf(Invalid, "The token would have expired already")
		}
		s.ID = StaffID(newSystemID(tx, "staff"))
		s.Created = tx.Now
		a.e.addToken(tx, &s.Account, token, tokenOwner{Staff: s.ID})
		err := a.e.putStaff(tx, &s, "staff.added", nil)
		return s, err
	})
	if err != nil {
		return Staff{}, "", storageError(err)
	}
	return s, token, nil
}

// check refuses what an account can't be.
func (s *Staff) check() error {
	if err := checkName(s.Employer); err != nil {
		return Errorf(Invalid, "employer: %s", err)
	}
	if err := checkName(s.Role); err != nil {
		return Errorf(Invalid, "role: %s", err)
	}
	if !isCountry(s.Country) {
		return Errorf(Invalid, "country: it must be the two letters of ISO 3166, such as DE")
	}
	return checkName(s.Name)
}

func isCountry(s string) bool {
	return len(s) == 2 && 'A' <= s[0] && s[0] <= 'Z' && 'A' <= s[1] && s[1] <= 'Z'
}

// putStaff stores an account and records the event. Name and mailbox stay out of the log.
func (e *Engine) putStaff(tx *kv.Tx, s *Staff, event string, detail map[string]string) error {
	s.Updated = tx.Now
	staffAccounts.Put(tx, []byte(s.ID), *s)
	if detail == nil {
		detail = map[string]string{}
	}
	detail["employer"], detail["country"], detail["role"] = s.Employer, s.Country, s.Role
	detail["disabled"] = strconv.FormatBool(s.Disabled)
	detail["expires"] = timeText(s.Expires)
	return e.record(tx, auditlog.Entry{Event: event, Actor: operatorActor, Kind: "staff", Object: string(s.ID), Detail: detail})
}

// timeText is a time in an entry's detail; empty for none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// StaffAccounts returns every account, the oldest first.
func (a Admin) StaffAccounts() ([]Staff, error) { return everyRecord(a.e, staffAccounts) }

// StaffAccount returns one account.
func (a Admin) StaffAccount(id StaffID) (Staff, error) {
	return kv.View(a.e.db, func(tx *kv.Tx) (Staff, error) { return findStaff(tx, id) })
}

func findStaff(tx *kv.Tx, id StaffID) (Staff, error) {
	if isSystemID(string(id), "staff") {
		if s, ok := staffAccounts.Get(tx, []byte(id)); ok {
			return s, nil
		}
	}
	return Staff{}, Errorf(NotFound, "There is no staff account %q", string(id))
}

func everyRecord[T any](e *Engine, b kv.Bucket[T]) ([]T, error) {
	return kv.View(e.db, func(tx *kv.Tx) ([]T, error) {
		all := []T{}
		for _, v := range b.Scan(tx, kv.Range{}) {
			all = append(all, v)
		}
		return all, nil
	})
}

// A StaffChange names what to change of an account; nil leaves it.
type StaffChange struct {
	Name, Email, Employer, Country, Role *string
	Expires                              *time.Time // zero: never
	Disabled                             *bool
}

// apply makes the change in s, and returns the names of what changed. Disabled is not among them.
func (c StaffChange) apply(s *Staff) (changed []string, err error) {
	if c.Email != nil {
		email, err := address.Email(*c.Email)
		if err != nil {
			return nil, Errorf(Invalid, "email: not a valid e-mail address")
		}
		c.Email = &email
	}
	if c.Country != nil {
		country := strings.ToUpper(*c.Country)
		c.Country = &country
	}
	for _, f := range []struct {
		name     string
		to, from *string
	}{{"name", &s.Name, c.Name}, {"email", &s.Email, c.Email}, {"employer", &s.Employer, c.Employer}, {"country", &s.Country, c.Country}, {"role", &s.Role, c.Role}} {
		if f.from != nil && *f.from != *f.to {
			*f.to = *f.from
			changed = append(changed, f.name)
		}
	}
	if c.Expires != nil && !c.Expires.Equal(s.Expires) {
		s.Expires = *c.Expires
		changed = append(changed, "expires")
	}
	return changed, s.check()
}

// SetStaff changes an account. It holds for every request that begins after it returns. Whoever is disabled loses every
// grant for good; enabling gives none back.
func (a Admin) SetStaff(id StaffID, change StaffChange) (Staff, error) {
	return a.changeStaff(id, func(tx *kv.Tx, s *Staff) error {
		was := *s
		changed, err := change.apply(s)
		if err != nil {
			return err
		}
		if len(changed) > 0 {
			detail := map[string]string{"changed": strings.Join(changed, " "), "employerBefore": was.Employer, "countryBefore": was.Country, "roleBefore": was.Role}
			if err := a.e.putStaff(tx, s, "staff.changed", detail); err != nil {
				return err
			}
		}
		if change.Disabled == nil || *change.Disabled == was.Disabled {
			return nil
		}
		if s.Disabled = *change.Disabled; !s.Disabled {
			return a.e.putStaff(tx, s, "staff.enabled", nil)
		}
		if err := a.e.putStaff(tx, s, "staff.disabled", nil); err != nil {
			return err
		}
		return a.e.endAccess(tx, liveAccess(tx, id, ""), EndedStaff, operatorActor)
	})
}

// DisableStaff makes an account's tokens worthless, and ends its grants and requests, on its very next request.
func (a Admin) DisableStaff(id StaffID) (Staff, error) {
	disabled := true
	return a.SetStaff(id, StaffChange{Disabled: &disabled})
}

// EnableStaff lets an account's tokens be used again.
func (a Admin) EnableStaff(id StaffID) (Staff, error) {
	disabled := false
	return a.SetStaff(id, StaffChange{Disabled: &disabled})
}

// RotateStaff gives an account another token. The one before it lives for overlap.
func (a Admin) RotateStaff(id StaffID, overlap time.Duration) (Staff, string, error) {
	if err := checkOverlap(overlap); err != nil {
		return Staff{}, "", err
	}
	token := newToken(staffPrefix)
	s, err := a.changeStaff(id, func(tx *kv.Tx, s *Staff) error {
		if err := s.retireTokens(tx, overlap); err != nil {
			return err
		}
		a.e.addToken(tx, &s.Account, token, tokenOwner{Staff: id})
		return a.e.putStaff(tx, s, "staff.rotated", map[string]string{"overlap": overlap.String()})
	})
	if err != nil {
		return s, "", err
	}
	return s, token, nil
}

func (a Admin) changeStaff(id StaffID, fn func(tx *kv.Tx, s *Staff) error) (Staff, error) {
	defer a.e.anchorNow()
	s, err := kv.UpdateCritical(a.e.db, func(tx *kv.Tx) (Staff, error) {
		s, err := findStaff(tx, id)
		if err != nil {
			return s, err
		}
		err = fn(tx, &s)
		return s, err
	})
	return s, storageError(err)
}

// A StaffCaller is one of staff who asks, as far as it was proved. What it opens is looked up with every call.
type StaffCaller struct {
	staff  Staff
	digest [32]byte

	Addr          netip.Addr // where the request came from
	CorrelationID string     // follows the request through log, record and answer
}

// Staff is the caller's account.
func (who StaffCaller) Staff() Staff { return who.staff }

// AuthenticateStaff returns the staff that secret proves, who came from addr. Nothing is cached.
//
// Errors: [Unauthorized]; with [CodeTokenNotAccepted] for a credential of another realm.
func (e *Engine) AuthenticateStaff(secret string, addr netip.Addr) (StaffCaller, error) {
	if err := e.checkRealm(secret, staffPrefix); err != nil {
		return StaffCaller{}, err
	}
	digest := e.secrets.digest(secret)
	s, err := kv.View(e.db, func(tx *kv.Tx) (s Staff, _ error) {
		owner, _ := tokens.Get(tx, digest[:])
		if shared, ok := sharedStaff.Get(tx, []byte(owner.Staff)); ok {
			s = *shared
		}
		return s, nil
	})
	if err != nil {
		return StaffCaller{}, err
	}
	if reason := s.refused(digest, e.opt.Now()); reason != "" {
		return StaffCaller{}, e.misusedToken(string(s.ID), reason)
	}
	return StaffCaller{staff: s, digest: digest, Addr: addr.Unmap()}, nil
}

// still returns the caller's account as it is in the transaction, if its token is good there.
func (who StaffCaller) still(tx *kv.Tx) (*Staff, error) {
	s, ok := sharedStaff.Get(tx, []byte(who.staff.ID))
	if !ok || s.refused(who.digest, tx.Now) != "" {
		return nil, unauthorized()
	}
	return s, nil
}

// entry begins an entry for what the caller does.
func (who StaffCaller) entry(event string) auditlog.Entry {
	return auditlog.Entry{
		Event: event, Actor: who.staff.actor(), Credential: string(who.staff.ID), Address: addrText(who.Addr), Request: who.CorrelationID,
	}
}

func (s *Staff) actor() auditlog.Actor {
	return auditlog.Actor{Kind: auditlog.Staff, ID: string(s.ID), Employer: s.Employer, Country: s.Country, Role: s.Role}
}

func addrText(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}
