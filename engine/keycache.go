package engine

import (
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"tuco/kv"
)

// keyCache keeps what a secret opens. It may forget at any time and may hold what is no longer true:
// a value is good only under the epoch that it was loaded in, for its own digest, until it expires.
type keyCache struct {
	cache *ristretto.Cache[uint64, *principal]
	uses  sync.Map // digest → *lastUse

	hits, misses atomic.Int64
}

// A principal is what a secret opens.
type principal struct {
	digest   [32]byte
	caller   Caller
	epoch    uint64
	expires  time.Time // zero: never
	disabled bool
	allow    []netip.Prefix
	use      *lastUse
}

// lastUse is the newest use of a secret that was not written yet.
type lastUse struct {
	env  *environment
	at   atomic.Int64 // milliseconds since 1970; 0: nothing to write
	addr atomic.Pointer[netip.Addr]
}

func newKeyCache() (*keyCache, error) {
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *principal]{
		NumCounters: 1 << 17, MaxCost: 1 << 14, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, err
	}
	return &keyCache{cache: cache}, nil
}

func unauthorized() *Error { return Errorf(Unauthorized, "Unauthorized") }

// Authenticate returns the caller that secret proves, who came from addr. The caller holds for this
// request only.
//
// Errors: [Unauthorized]; with [CodeTokenNotAccepted] for a credential of another realm. [Forbidden]
// with [CodeAddressNotAllowed].
func (e *Engine) Authenticate(secret string, addr netip.Addr) (Caller, error) {
	switch {
	case strings.HasPrefix(secret, staffPrefix), strings.HasPrefix(secret, auditorPrefix):
		e.audit.misuses.add(misuse{reason: "another realm's"})
		return Caller{}, unauthorized().With(CodeTokenNotAccepted)
	case !strings.HasPrefix(secret, keyPrefix):
		e.audit.misuses.add(misuse{reason: "unknown"})
		return Caller{}, unauthorized()
	}
	p, err := e.principal(e.secrets.digest(secret))
	if err != nil {
		return Caller{}, err
	}
	now := e.opt.Now()
	if reason := p.refused(now); reason != "" {
		e.audit.misuses.add(p.misuse(reason))
		return Caller{}, unauthorized()
	}
	who := p.caller
	who.Addr = addr.Unmap()
	if !allowed(p.allow, who.Addr) {
		e.audit.misuses.add(p.misuse("from another network"))
		return Caller{}, Errorf(Forbidden, "This API key may not be used from this address").With(CodeAddressNotAllowed)
	}
	p.use.mark(now, who.Addr)
	return who, nil
}

// refused returns why what a secret opens is nothing now, "" if it opens something.
func (p *principal) refused(now time.Time) string {
	switch {
	case p == nil, p.caller.tenant.deleted.Load():
		return "unknown"
	case p.disabled:
		return "disabled"
	case !p.expires.IsZero() && !now.Before(p.expires):
		return "expired"
	}
	return ""
}

func (p *principal) misuse(reason string) misuse {
	if p == nil || reason == "unknown" {
		return misuse{reason: reason}
	}
	return misuse{workspace: p.caller.tenant.id, environment: p.caller.env.name, credential: p.caller.key.String(), reason: reason}
}

// principal returns what digest opens, nil if nothing.
func (e *Engine) principal(digest [32]byte) (*principal, error) {
	slot := binary.BigEndian.Uint64(digest[:])
	if p, ok := e.keys.cache.Get(slot); ok && subtle.ConstantTimeCompare(p.digest[:], digest[:]) == 1 && p.epoch == p.caller.tenant.epoch.Load() {
		e.keys.hits.Add(1)
		return p, nil
	}
	e.keys.misses.Add(1)
	p, err := e.loadPrincipal(digest)
	if p != nil {
		e.keys.cache.Set(slot, p, 1)
	}
	return p, err
}

// loadPrincipal reads the epoch before the key: if the key changes in between, the epoch that it is
// cached under is over already.
func (e *Engine) loadPrincipal(digest [32]byte) (*principal, error) {
	c, err := kv.View(e.db, func(tx *kv.Tx) (credential, error) {
		c, _ := credentials.Get(tx, digest[:])
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	t := e.tenant(c.Workspace)
	if t == nil {
		return nil, nil
	}
	env, epoch := t.envs[c.Environment], t.epoch.Load()
	return kv.View(e.db, func(tx *kv.Tx) (*principal, error) {
		k, ok := env.keys().Get(tx, c.Key.key())
		if !ok || !credentials.Has(tx, digest[:]) {
			return nil, nil
		}
		return e.principalOf(env, k, digest, epoch)
	})
}

func (e *Engine) principalOf(env *environment, k Key, digest [32]byte, epoch uint64) (*principal, error) {
	scopes, err := ScopesOf(k.Scopes)
	if err != nil {
		return nil, err
	}
	expires := k.Expires
	for _, s := range k.Secrets {
		if [32]byte(s.Digest) == digest && !s.Expires.IsZero() && (expires.IsZero() || s.Expires.Before(expires)) {
			expires = s.Expires
		}
	}
	return &principal{
		digest: digest, epoch: epoch, expires: expires, allow: k.Allow, use: e.keys.lastUse(env, digest),
		disabled: k.Disabled || !k.Revoked.IsZero(),
		caller:   Caller{tenant: env.tenant, env: env, key: k.ID, scopes: scopes, operatorMade: k.OperatorMade || k.MadeBy == operatorID},
	}, nil
}

func allowed(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return len(list) == 0
}

func (c *keyCache) lastUse(env *environment, digest [32]byte) *lastUse {
	u, _ := c.uses.LoadOrStore(digest, &lastUse{env: env})
	return u.(*lastUse)
}

// mark notes a use, unless one of the same millisecond is noted already.
func (u *lastUse) mark(now time.Time, addr netip.Addr) {
	at := now.UnixMilli()
	if u.at.Load() == at {
		return
	}
	u.at.Store(at)
	if old := u.addr.Load(); old == nil || *old != addr {
		fresh := addr // a copy, so that only another address allocates
		u.addr.Store(&fresh)
	}
}

func (u *lastUse) read() (KeyUse, bool) {
	at, addr := u.at.Load(), u.addr.Load()
	if at == 0 || addr == nil {
		return KeyUse{}, false
	}
	return KeyUse{time.UnixMilli(at).UTC(), addrText(*addr)}, true
}

// use returns a secret's last use: what is not written yet, else what was.
func (c *keyCache) use(env *environment, tx *kv.Tx, digest []byte) KeyUse {
	if u, ok := c.uses.Load([32]byte(digest)); ok {
		if use, ok := u.(*lastUse).read(); ok {
			return use
		}
	}
	use, _ := env.keyUse().Get(tx, digest)
	return use
}

// FlushKeyUse writes the last uses of secrets. It is called now and then: a crash loses the newest.
func (e *Engine) FlushKeyUse() error {
	type seen struct {
		*lastUse
		digest [32]byte
		use    KeyUse
	}
	var all []seen
	e.keys.uses.Range(func(digest, u any) bool {
		last := u.(*lastUse)
		if use, ok := last.read(); ok && !last.env.tenant.deleted.Load() {
			all = append(all, seen{last, digest.([32]byte), use})
		}
		return true
	})
	if len(all) == 0 {
		return nil
	}
	_, err := kv.Update(e.db, func(tx *kv.Tx) (struct{}, error) {
		for _, s := range all {
			if old, ok := s.env.keyUse().Get(tx, s.digest[:]); (!ok || old.LastUsed.Before(s.use.LastUsed)) && credentials.Has(tx, s.digest[:]) {
				s.env.keyUse().Put(tx, s.digest[:], s.use)
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		return err
	}
	for _, s := range all { // used again since: to be written the next time
		s.at.CompareAndSwap(s.use.LastUsed.UnixMilli(), 0)
	}
	return nil
}
