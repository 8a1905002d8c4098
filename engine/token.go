package engine

import (
	"slices"
	"strings"
	"time"

	"tuco/engine/address"
	"tuco/kv"
)

// An Account is what staff and auditors have in common: somebody whom a token proves, outside of every workspace.
type Account struct {
	Name     string      `json:"name"`
	Email    string      `json:"email"`
	Disabled bool        `json:"disabled,omitzero"`
	Expires  time.Time   `json:"expires,omitzero"` // of its tokens; zero: never
	Secrets  []KeySecret `json:"secrets"`          // of its tokens; the newest last
	Created  time.Time   `json:"created"`
	Updated  time.Time   `json:"updated"`
}

// tokenOwner says whose a token is. It is found by the token's digest.
type tokenOwner struct {
	Staff   StaffID   `json:"staff,omitzero"`
	Auditor AuditorID `json:"auditor,omitzero"`
	Pepper  string    `json:"pepper"` // id of the pepper under the digest
}

var tokens = kv.Bucket[tokenOwner]{Path: systemPath.Join("tokens"), Codec: kv.JSON[tokenOwner](1)}

// systemTag is in the ids of what belongs to no workspace. No workspace is ever given it.
var systemTag kv.Tag

// newSystemID makes the id of a record that belongs to no workspace: a word and 24 hex digits. They sort by time.
func newSystemID(tx *kv.Tx, word string) string { return word + "_" + tx.NewID(systemTag).String() }

// isSystemID tells whether text is an id that [newSystemID] could have made.
func isSystemID(text, word string) bool {
	digits, ok := strings.CutPrefix(text, word+"_")
	if !ok {
		return false
	}
	id, ok := kv.ParseID(digits)
	return ok && id.String() == digits
}

// TokenPattern finds tokens of staff and auditors in text, for scanners.
const TokenPattern = `tuco_(st|au)_[0-9A-Za-z]{49}`

// newAccount returns an account without a token.
func newAccount(name, email string, expires time.Time) (a Account, err error) {
	if err := checkName(name); err != nil {
		return a, err
	}
	if email, err = address.Email(email); err != nil {
		return a, Errorf(Invalid, "email: not a valid e-mail address")
	}
	return Account{Name: name, Email: email, Expires: expires}, nil
}

// addToken makes token open the account.
func (e *Engine) addToken(tx *kv.Tx, a *Account, token string, owner tokenOwner) {
	digest := e.secrets.digest(token)
	owner.Pepper = e.secrets.pepper.id
	tokens.Put(tx, digest[:], owner)
	shown := token[:len(staffPrefix)] + "…" + token[len(token)-4:] // both prefixes are of one length
	a.Secrets = append(a.Secrets, KeySecret{Digest: digest[:], Hint: shown, Created: tx.Now})
}

// retireTokens lets the account's tokens end after overlap, at once if that is 0.
func (a *Account) retireTokens(tx *kv.Tx, overlap time.Duration) error {
	a.Secrets = retireSecrets(a.Secrets, tx.Now, overlap, func(digest []byte) { tokens.Delete(tx, digest) })
	if len(a.Secrets) >= maxSecrets {
		return Errorf(Conflict, "An account has at most %d tokens at a time: rotate without overlap, or wait until one has ended", maxSecrets).With(CodeTooMany)
	}
	return nil
}

// refused returns why the account's token with this digest is nothing now, "" if it is good.
func (a *Account) refused(digest [32]byte, now time.Time) string {
	i := slices.IndexFunc(a.Secrets, func(s KeySecret) bool { return [32]byte(s.Digest) == digest })
	switch {
	case i < 0:
		return "unknown"
	case a.Disabled:
		return "disabled"
	case !a.Expires.IsZero() && !now.Before(a.Expires), !a.Secrets[i].Expires.IsZero() && !now.Before(a.Secrets[i].Expires):
		return "expired"
	}
	return ""
}

// checkRealm refuses a credential of another realm than the one whose tokens begin with prefix.
func (e *Engine) checkRealm(secret, prefix string) error {
	switch {
	case strings.HasPrefix(secret, prefix):
		return nil
	case strings.HasPrefix(secret, keyPrefix):
		e.audit.misuses.add(misuse{reason: "another realm's"})
		return unauthorized().With(CodeTokenNotAccepted)
	}
	e.audit.misuses.add(misuse{reason: "unknown"})
	return unauthorized()
}

// misusedToken counts the use of a token that is refused, and returns what its user is told.
func (e *Engine) misusedToken(owner, reason string) error {
	if reason == "unknown" {
		owner = ""
	}
	e.audit.misuses.add(misuse{credential: owner, reason: reason})
	return unauthorized()
}
