package engine

import (
	"cmp"
	"crypto/rand"
	"hash/crc32"
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// A Key is an API key: a credential of one workspace and environment. Rotating it gives it another
// secret; its id stays.
type Key struct {
	ID     KeyID   `json:"id"`
	Name   string  `json:"name"`
	Role   Role    `json:"role,omitzero"` // empty: the scopes were listed
	Scopes []Scope `json:"scopes"`
	MadeBy string  `json:"madeBy"` // operator, or a key's id
	// OperatorMade says that the operator made it, gave it a secret, or has the key that made it, by itself: what it is
	// shown is recorded. The children of a key that may approve staff access are the customer's own.
	OperatorMade bool           `json:"operatorMade,omitzero"`
	Allow        []netip.Prefix `json:"allow,omitzero"`
	Disabled     bool           `json:"disabled,omitzero"`
	Revoked      time.Time      `json:"revoked,omitzero"`
	Expires      time.Time      `json:"expires,omitzero"`
	Secrets      []KeySecret    `json:"secrets"`
	Created      time.Time      `json:"created"`
	Updated      time.Time      `json:"updated"`
}

// A KeySecret is what is kept of a secret: enough to know it again, not enough to use it.
type KeySecret struct {
	Digest  []byte    `json:"digest"` // HMAC-SHA-256 under the pepper
	Hint    string    `json:"hint"`   // its beginning and its last four characters
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // set when it was rotated out
	KeyUse
}

// KeyUse is the last use of a secret, written some seconds behind.
type KeyUse struct {
	LastUsed time.Time `json:"lastUsed,omitzero"`
	LastAddr string    `json:"lastAddr,omitzero"`
}

// credential says whose a secret is. It is found by the secret's digest.
type credential struct {
	Workspace   WorkspaceID `json:"workspace"`
	Environment Environment `json:"environment"`
	Key         KeyID       `json:"key"`
	Pepper      string      `json:"pepper"` // id of the pepper under the digest
}

var credentials = kv.Bucket[credential]{Path: systemPath.Join("credentials"), Codec: kv.JSON[credential](1)}

func (env *environment) keys() kv.Bucket[Key] {
	return kv.Bucket[Key]{Path: env.path().Join("keys"), Codec: kv.JSON[Key](1)}
}

func (env *environment) keyUse() kv.Bucket[KeyUse] { // by digest
	return kv.Bucket[KeyUse]{Path: env.path().Join("keys.use"), Codec: kv.JSON[KeyUse](1)}
}

// The realms of credentials, each with its prefix.
const (
	keyPrefix     = "tuco_"
	staffPrefix   = "tuco_st_"
	auditorPrefix = "tuco_au_"
)

var keyPrefixes = map[Environment]string{
	Development: "tuco_sk_dev_",
	Staging:     "tuco_sk_stg_",
	Production:  "tuco_sk_prod_",
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newSecret makes a secret: prefix, 43 random base62 digits, and 6 of the CRC-32 of all before them,
// so that a scanner can tell a secret from a look-alike.
func newSecret(env Environment) string { return newToken(keyPrefixes[env]) }

func newToken(prefix string) string {
	digits := make([]byte, 43)
	for i := range digits {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(base62))))
		if err != nil {
			panic(err) // crypto/rand never fails
		}
		digits[i] = base62[n.Int64()]
	}
	text := prefix + string(digits)
	return text + secretSum(text)
}

func secretSum(text string) string {
	n := crc32.ChecksumIEEE([]byte(text))
	var digits [6]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = base62[n%62]
		n /= 62
	}
	return string(digits[:])
}

var importedSecret = regexp.MustCompile(`^tuco_[0-9A-Za-z_-]{11,250}$`)

// SecretPattern finds issued secrets in text, for scanners.
const SecretPattern = `tuco_sk_(dev|stg|prod)_[0-9A-Za-z]{49}`

func hint(secret string) string {
	shown := secret[:len(keyPrefix)]
	for _, p := range keyPrefixes {
		if strings.HasPrefix(secret, p) {
			shown = p
		}
	}
	return shown + "…" + secret[len(secret)-4:]
}

// A NewKey describes a key to make.
type NewKey struct {
	Name    string
	Role    Role    // member if empty and no scopes are listed
	Scopes  []Scope // instead of a role
	Expires time.Time
	Allow   []netip.Prefix // addresses that may use it; all if empty
	Secret  string         // an existing one to take over; only the operator can
}

// CreateKey makes a key in the caller's environment and returns its secret, which nobody can see again.
func (e *Engine) CreateKey(who Caller, in NewKey) (Key, string, error) {
	if err := who.write(KeysManage); err != nil {
		return Key{}, "", err
	}
	if err := checkName(in.Name); err != nil {
		return Key{}, "", err
	}
	secret, err := who.secretFor(in)
	if err != nil {
		return Key{}, "", err
	}
	k, err := kv.Update(e.db, func(tx *kv.Tx) (Key, error) {
		if err := mustWrite(tx, who.env); err != nil {
			return Key{}, err
		}
		return who.createKey(tx, in, secret)
	})
	if err != nil {
		return k, "", storageError(err)
	}
	return k, secret, nil
}

// secretFor returns a new secret, or the one to import.
func (who Caller) secretFor(in NewKey) (string, error) {
	switch {
	case in.Secret == "":
		return newSecret(who.env.name), nil
	case !who.operator:
		return "", Errorf(Forbidden, "Only the operator can import a secret")
	case !importedSecret.MatchString(in.Secret), strings.HasPrefix(in.Secret, staffPrefix), strings.HasPrefix(in.Secret, auditorPrefix):
		return "", Errorf(Invalid, "Not a Tuco secret: it should be tuco_ and 11 to 250 letters, digits, _ or -")
	}
	return in.Secret, nil
}

func (who Caller) createKey(tx *kv.Tx, in NewKey, secret string) (Key, error) {
	if err := who.closed(tx); err != nil {
		return Key{}, err
	}
	scopes, err := who.grant(tx, in.Role, in.Scopes)
	if err != nil {
		return Key{}, err
	}
	if len(in.Scopes) > 0 {
		in.Role = ""
	} else {
		in.Role = cmp.Or(in.Role, RoleMember)
	}
	if !in.Expires.IsZero() && !in.Expires.After(tx.Now) {
		return Key{}, Errorf(Invalid, "The key would have expired already")
	}
	if !who.operator { // what is not said is inherited
		maker, _ := who.env.keys().Get(tx, who.key.key())
		if in.Expires.IsZero() {
			in.Expires = maker.Expires
		}
		if len(in.Allow) == 0 {
			in.Allow = maker.Allow
		}
	}
	if err := who.bounds(tx, in.Allow, in.Expires); err != nil {
		return Key{}, err
	}
	k := Key{
		ID: newID[keyKind](tx, who.env), Name: in.Name, Role: in.Role, Scopes: scopes.List(), MadeBy: who.madeBy(), OperatorMade: who.byOperator(),
		Allow: in.Allow, Expires: in.Expires, Created: tx.Now, Updated: tx.Now,
	}
	if err := who.env.addSecret(tx, &k, secret); err != nil {
		return k, err
	}
	who.env.keys().Put(tx, k.ID.key(), k)
	created := who.entry("key.created")
	if in.Secret != "" {
		created.Detail = map[string]string{"secret": "imported"}
	}
	return k, who.recordKey(tx, created, k)
}

// byOperator tells whether the operator asks, or may: with a key of its making that is not the customer's owner key.
func (who Caller) byOperator() bool {
	return who.operator || who.operatorMade && !who.scopes.Has(AccessApprove)
}

// closed refuses the operator keys of a workspace that is closed to staff: who has one is no way round that.
func (who Caller) closed(tx *kv.Tx) error {
	if !who.byOperator() || policyOf(tx, who.tenant.id).Mode != PolicyClosed {
		return nil
	}
	return Errorf(Forbidden, "This workspace is closed to staff, so the operator can make or widen no key of it: the customer can, or change that policy").With(CodePolicyClosed)
}

// recordKey records what was done to a key, and what it is after that. Names are the customer's, and stay out.
func (who Caller) recordKey(tx *kv.Tx, entry auditlog.Entry, k Key) error {
	if entry.Detail == nil {
		entry.Detail = map[string]string{}
	}
	entry.Kind, entry.Object = "key", k.ID.String()
	entry.Detail["role"] = string(k.Role)
	entry.Detail["scopes"] = joinScopes(k.Scopes)
	entry.Detail["disabled"] = strconv.FormatBool(k.Disabled)
	if !k.Expires.IsZero() {
		entry.Detail["expires"] = k.Expires.UTC().Format(time.RFC3339)
	}
	return who.tenant.engine.record(tx, entry)
}

func joinScopes(scopes []Scope) string {
	words := make([]string, len(scopes))
	for i, s := range scopes {
		words[i] = string(s)
	}
	return strings.Join(words, " ")
}

// grant returns the scopes that a new or changed key gets: never more than its maker has. The operator
// can give access:approve only to the first key of a workspace that gets it, which is the customer's.
func (who Caller) grant(tx *kv.Tx, role Role, list []Scope) (Scopes, error) {
	if role != "" && len(list) > 0 {
		return 0, Errorf(Invalid, "Give a role or scopes, not both")
	}
	scopes, err := cmp.Or(role, RoleMember).Scopes()
	if len(list) > 0 {
		scopes, err = ScopesOf(list)
	}
	if err != nil {
		return 0, err
	}
	has := who.scopes
	if who.operator {
		if scopes.Has(AccessApprove) && !who.tenant.firstOwner(tx) {
			scopes &^= scopeBit(AccessApprove)
		}
		has |= scopeBit(AccessApprove)
	}
	if missing := (scopes &^ has).List(); len(missing) > 0 {
		return 0, &Error{Kind: Forbidden, Code: CodeInsufficientScope, Scope: missing[0],
			Msg: "A key can't have more than its maker: this API key lacks the scope " + string(missing[0])}
	}
	return scopes, nil
}

// firstOwner tells whether the operator never gave access:approve in this workspace, and records that it
// has now. What became of that key doesn't matter: there is no second one.
func (t *tenant) firstOwner(tx *kv.Tx) bool {
	w, ok := workspaces.Get(tx, []byte(t.id))
	if !ok || w.HadOwner {
		return false
	}
	w.HadOwner = true
	workspaces.Put(tx, []byte(t.id), w)
	return true
}

// bounds refuses what would be good in more places or for longer than the caller's own key.
func (who Caller) bounds(tx *kv.Tx, allow []netip.Prefix, expires time.Time) error {
	if who.operator {
		return nil
	}
	own, _ := who.env.keys().Get(tx, who.key.key())
	if !own.Expires.IsZero() && (expires.IsZero() || expires.After(own.Expires)) {
		return Errorf(Forbidden, "This API key expires at %s, and can't manage one that lasts longer", own.Expires.Format(time.RFC3339)).With(CodeWiderKey)
	}
	outside := func(p netip.Prefix) bool {
		return !slices.ContainsFunc(own.Allow, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) })
	}
	if len(own.Allow) > 0 && (len(allow) == 0 || slices.ContainsFunc(allow, outside)) {
		return Errorf(Forbidden, "This API key is bound to some networks, and can't manage one that is good in others").With(CodeWiderKey)
	}
	return nil
}

// addSecret makes secret open k.
func (env *environment) addSecret(tx *kv.Tx, k *Key, secret string) error {
	digest := env.engine.secrets.digest(secret)
	if credentials.Has(tx, digest[:]) {
		return Errorf(Conflict, "This secret is in use already").With(CodeNameTaken)
	}
	credentials.Put(tx, digest[:], credential{env.tenant.id, env.name, k.ID, env.engine.secrets.pepper.id})
	k.Secrets = append(k.Secrets, KeySecret{Digest: digest[:], Hint: hint(secret), Created: tx.Now})
	return nil
}

// Keys returns the keys of the caller's environment with the last use of each secret, oldest first.
func (e *Engine) Keys(who Caller) ([]Key, error) {
	if err := who.Require(KeysManage); err != nil {
		return nil, err
	}
	return kv.View(e.db, func(tx *kv.Tx) ([]Key, error) {
		list := []Key{}
		for _, k := range who.env.keys().Scan(tx, kv.Range{}) {
			for i, s := range k.Secrets {
				k.Secrets[i].KeyUse = e.keys.use(who.env, tx, s.Digest)
			}
			list = append(list, k)
		}
		return list, nil
	})
}

// A KeyChange names what to change of a key; nil leaves it.
type KeyChange struct {
	Name     *string
	Role     *Role
	Scopes   *[]Scope
	Allow    *[]netip.Prefix
	Disabled *bool
}

// onlyDisables tells whether the change takes rights away and nothing else: that is possible even
// while the workspace is READ_ONLY.
func (c KeyChange) onlyDisables() bool {
	return c.Disabled != nil && *c.Disabled && c.Name == nil && c.Role == nil && c.Scopes == nil && c.Allow == nil
}

// SetKey changes a key. It holds for every request that begins after it returns.
func (e *Engine) SetKey(who Caller, id string, change KeyChange) (Key, error) {
	if err := who.Require(KeysManage); err != nil {
		return Key{}, err
	}
	if !change.onlyDisables() {
		if err := who.Writable(); err != nil {
			return Key{}, err
		}
	}
	if change.Name != nil {
		if err := checkName(*change.Name); err != nil {
			return Key{}, err
		}
	}
	return who.changeKey(id, change.entry(who), func(tx *kv.Tx, k *Key) error {
		if !k.Revoked.IsZero() {
			return Errorf(Conflict, "This key was revoked")
		}
		if !change.onlyDisables() {
			if err := mustWrite(tx, who.env); err != nil {
				return err
			}
			if err := who.closed(tx); err != nil {
				return err
			}
		}
		return who.applyKey(tx, k, change)
	})
}

// entry begins the entry of the change, with the names of what it changes.
func (c KeyChange) entry(who Caller) auditlog.Entry {
	var changed []string
	for _, f := range []struct {
		name string
		set  bool
	}{{"name", c.Name != nil}, {"role", c.Role != nil}, {"scopes", c.Scopes != nil}, {"allow", c.Allow != nil}, {"disabled", c.Disabled != nil}} {
		if f.set {
			changed = append(changed, f.name)
		}
	}
	e := who.entry("key.changed")
	e.Detail = map[string]string{"changed": strings.Join(changed, " ")}
	return e
}

func (who Caller) applyKey(tx *kv.Tx, k *Key, change KeyChange) error {
	if change.Name != nil {
		k.Name = *change.Name
	}
	if change.Allow != nil {
		if err := who.bounds(tx, *change.Allow, k.Expires); err != nil {
			return err
		}
		k.Allow = *change.Allow
	}
	if change.Disabled != nil {
		k.Disabled = *change.Disabled
	}
	if change.Role == nil && change.Scopes == nil {
		return nil
	}
	role, list := Role(""), []Scope(nil)
	if change.Role != nil {
		role = *change.Role
	}
	if change.Scopes != nil {
		list = *change.Scopes
	}
	scopes, err := who.grant(tx, role, list)
	if err != nil {
		return err
	}
	k.Role, k.Scopes = role, scopes.List()
	return nil
}

// RevokeKey ends a key for good. It works in READ_ONLY too.
func (e *Engine) RevokeKey(who Caller, id string) error {
	if err := who.Require(KeysManage); err != nil {
		return err
	}
	_, err := who.changeKey(id, who.entry("key.revoked"), func(tx *kv.Tx, k *Key) error {
		for _, s := range k.Secrets {
			credentials.Delete(tx, s.Digest)
		}
		if k.Revoked.IsZero() {
			k.Revoked = tx.Now
		}
		return nil
	})
	return err
}

// Bounds on the secrets that were rotated out: how long each goes on, and how many there are with the new one.
const (
	maxOverlap = 90 * day
	maxSecrets = 5
)

// RotateKey gives a key a new secret and returns it. The secrets it had end after overlap, which may
// be 0. It works in READ_ONLY too.
func (e *Engine) RotateKey(who Caller, id string, overlap time.Duration) (Key, string, error) {
	if err := who.Require(KeysManage); err != nil {
		return Key{}, "", err
	}
	if err := checkOverlap(overlap); err != nil {
		return Key{}, "", err
	}
	secret := newSecret(who.env.name)
	rotated := who.entry("key.rotated")
	rotated.Detail = map[string]string{"overlap": overlap.String()}
	k, err := who.changeKey(id, rotated, func(tx *kv.Tx, k *Key) error {
		closed := who.closed(tx)
		switch {
		case !k.Revoked.IsZero():
			return Errorf(Conflict, "This key was revoked")
		case who.operator && slices.Contains(k.Scopes, AccessApprove):
			return Errorf(Forbidden, "This key may approve staff access: only the customer can rotate it; the operator can disable or revoke it and make another")
		case closed != nil:
			return closed
		case len(k.Secrets) >= maxSecrets && overlap > 0:
			return Errorf(Conflict, "A key has at most %d secrets at a time: rotate it without overlap, or wait until one has ended", maxSecrets).With(CodeTooMany)
		}
		k.OperatorMade = k.OperatorMade || who.byOperator()
		k.Secrets = retireSecrets(k.Secrets, tx.Now, overlap, func(digest []byte) { credentials.Delete(tx, digest) })
		return who.env.addSecret(tx, k, secret)
	})
	if err != nil {
		return k, "", err
	}
	return k, secret, nil
}

func checkOverlap(overlap time.Duration) error {
	if overlap < 0 || overlap > maxOverlap {
		return Errorf(Invalid, "overlap must be from 0 to %s", maxOverlap)
	}
	return nil
}

// retireSecrets lets secrets end after overlap, if they do not before. Those that are over by now, which are all if that is
// 0, it forgets.
func retireSecrets(secrets []KeySecret, now time.Time, overlap time.Duration, forget func(digest []byte)) []KeySecret {
	left := slices.DeleteFunc(secrets, func(s KeySecret) bool {
		over := overlap == 0 || !s.Expires.IsZero() && !s.Expires.After(now)
		if over {
			forget(s.Digest)
		}
		return over
	})
	end := now.Add(overlap)
	for i, s := range left {
		if s.Expires.IsZero() || s.Expires.After(end) {
			left[i].Expires = end
		}
	}
	return left
}

// changeKey runs fn on a key of the caller's environment that has no more rights than the caller: a
// key can't get at, or shut out, a mightier one.
func (who Caller) changeKey(id string, entry auditlog.Entry, fn func(tx *kv.Tx, k *Key) error) (Key, error) {
	key, err := parseID[keyKind](who, id, "Invalid key id", "Key not found")
	if err != nil {
		return Key{}, err
	}
	defer who.tenant.engine.anchorNow()
	return changeAccess(who.tenant, func(tx *kv.Tx) (Key, error) {
		k, ok := who.env.keys().Get(tx, key.key())
		if !ok {
			return k, Errorf(NotFound, "Key not found")
		}
		scopes, err := ScopesOf(k.Scopes)
		if err != nil {
			return k, err
		}
		if missing := (scopes &^ who.scopes).List(); len(missing) > 0 && !who.operator {
			return k, &Error{Kind: Forbidden, Code: CodeInsufficientScope, Scope: missing[0],
				Msg: "That key has more rights than this one, which lacks the scope " + string(missing[0])}
		}
		if err := who.bounds(tx, k.Allow, k.Expires); err != nil {
			return k, err
		}
		if err := fn(tx, &k); err != nil {
			return k, err
		}
		k.Updated = tx.Now
		who.env.keys().Put(tx, key.key(), k)
		return k, who.recordKey(tx, entry, k)
	})
}

// FindOwner returns the operator as a caller in the environment that an id belongs to. unknown is the
// error's text if it belongs to none.
func (a Admin) FindOwner(id, unknown string) (Caller, error) {
	parsed, ok := kv.ParseID(id)
	if !ok {
		return Caller{}, Errorf(Invalid, "%q is not an id of 24 hex digits", id)
	}
	for _, t := range a.e.allTenants() {
		for _, env := range t.envs {
			if env.tag == parsed.Tag() {
				return a.In(t.id, env.name)
			}
		}
	}
	return Caller{}, Errorf(NotFound, "%s", unknown)
}
