package httpapi

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"tuco/engine"
)

// keyObject is an API key in an answer.
type keyObject struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Environment string         `json:"environment" enum:"development,staging,production"`
	Role        *string        `json:"role" description:"null if the scopes were listed"`
	Scopes      []engine.Scope `json:"scopes"`
	MadeBy      string         `json:"madeBy" description:"operator, or the id of a key"`
	Allow       []string       `json:"allow" description:"networks that may use it; all if empty"`
	IsDisabled  bool           `json:"isDisabled"`
	RevokedAt   *date          `json:"revokedAt"`
	ExpiresAt   *date          `json:"expiresAt"`
	Secrets     []keySecret    `json:"secrets"`
	CreatedAt   date           `json:"createdAt"`
	UpdatedAt   date           `json:"updatedAt"`
}

type keySecret struct {
	Hint         string  `json:"hint"`
	CreatedAt    date    `json:"createdAt"`
	ExpiresAt    *date   `json:"expiresAt"`
	LastUsedAt   *date   `json:"lastUsedAt"`
	LastUsedFrom *string `json:"lastUsedFrom"`
}

func newKeyObject(env engine.Environment, k engine.Key) keyObject {
	o := keyObject{
		ID: k.ID.String(), Name: k.Name, Environment: string(env), Role: nullable(string(k.Role)), Scopes: k.Scopes, MadeBy: k.MadeBy,
		Allow: []string{}, IsDisabled: k.Disabled, RevokedAt: newDate(k.Revoked), ExpiresAt: newDate(k.Expires), Secrets: []keySecret{},
		CreatedAt: date(k.Created), UpdatedAt: date(k.Updated),
	}
	for _, p := range k.Allow {
		o.Allow = append(o.Allow, p.String())
	}
	for _, s := range k.Secrets {
		o.Secrets = append(o.Secrets, keySecret{s.Hint, date(s.Created), newDate(s.Expires), newDate(s.LastUsed), nullable(s.LastAddr)})
	}
	return o
}

type keysResponse struct {
	Keys []keyObject `json:"keys"`
}

// listKeys serves GET /api/keys.
func (s *Server) listKeys(c *call, _ nothing) (reply, error) {
	all, err := s.eng.Keys(c.who)
	if err != nil {
		return reply{}, err
	}
	answer := keysResponse{[]keyObject{}}
	for _, k := range all {
		answer.Keys = append(answer.Keys, newKeyObject(c.who.Environment(), k))
		c.sees()
	}
	return ok(answer)
}

type createKeyRequest struct {
	inWorkspace
	Name      string         `json:"name"`
	Role      string         `json:"role,omitzero" enum:"viewer,member,admin,owner" description:"member by default"`
	Scopes    []engine.Scope `json:"scopes,omitzero" description:"instead of a role"`
	ExpiresAt string         `json:"expiresAt,omitzero" description:"ISO 8601; never without it"`
	Allow     []string       `json:"allow,omitzero" description:"networks that may use it, as CIDR"`
}

type secretResponse struct {
	ID      string    `json:"id"`
	Secret  string    `json:"secret"`
	Key     keyObject `json:"key"`
	Warning string    `json:"warning"`
}

const secretWarning = "Save this secret now. You will not be able to see it again."

// createKey serves POST /api/keys.
func (s *Server) createKey(c *call, req createKeyRequest) (reply, error) {
	if req.Scopes != nil && len(req.Scopes) == 0 {
		return reply{}, errNoScopes()
	}
	in := engine.NewKey{Name: req.Name, Role: engine.Role(req.Role), Scopes: req.Scopes}
	var err error
	if in.Allow, err = ParsePrefixes(req.Allow); err != nil {
		return reply{}, err
	}
	if in.Expires, err = queryDate("expiresAt", req.ExpiresAt); err != nil {
		return reply{}, err
	}
	k, secret, err := s.eng.CreateKey(c.who, in)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, body: secretResponse{k.ID.String(), secret, newKeyObject(c.who.Environment(), k), secretWarning}}, nil
}

// errNoScopes refuses an empty list: it must not stand for the default role.
func errNoScopes() error { return engine.Errorf(engine.Invalid, "Give a role or at least one scope") }

// ParsePrefixes reads networks in CIDR notation, or single addresses.
func ParsePrefixes(list []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(text); err == nil {
				p = netip.PrefixFrom(addr, addr.BitLen())
			}
		}
		if err != nil || strings.Contains(text, "%") {
			return nil, engine.Errorf(engine.Invalid, "%q is not a network such as 192.0.2.0/24", text)
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 { // callers are compared as the IPv4 addresses that they are
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

type setKeyRequest struct {
	inWorkspace
	ID         string          `path:"id" json:"-"`
	Name       *string         `json:"name,omitzero"`
	Role       *engine.Role    `json:"role,omitzero" enum:"viewer,member,admin,owner"`
	Scopes     *[]engine.Scope `json:"scopes,omitzero"`
	Allow      *[]string       `json:"allow,omitzero"`
	IsDisabled *bool           `json:"isDisabled,omitzero"`
}

type keyResponse struct {
	Key keyObject `json:"key"`
}

// setKey serves PATCH /api/keys/{id}.
func (s *Server) setKey(c *call, req setKeyRequest) (reply, error) {
	noRole, noScopes := req.Role == nil || *req.Role == "", req.Scopes == nil || len(*req.Scopes) == 0
	if noRole && noScopes && (req.Role != nil || req.Scopes != nil) {
		return reply{}, errNoScopes()
	}
	change := engine.KeyChange{Name: req.Name, Role: req.Role, Scopes: req.Scopes, Disabled: req.IsDisabled}
	if req.Allow != nil {
		allow, err := ParsePrefixes(*req.Allow)
		if err != nil {
			return reply{}, err
		}
		change.Allow = &allow
	}
	k, err := s.eng.SetKey(c.who, req.ID, change)
	if err != nil {
		return reply{}, err
	}
	return ok(keyResponse{newKeyObject(c.who.Environment(), k)})
}

// revokeKey serves DELETE /api/keys/{id}.
func (s *Server) revokeKey(c *call, in idInput) (reply, error) {
	if err := s.eng.RevokeKey(c.who, in.ID); err != nil {
		return reply{}, err
	}
	return ok(successResponse{true})
}

type rotateKeyRequest struct {
	inWorkspace
	ID      string `path:"id" json:"-"`
	Overlap string `json:"overlap,omitzero" description:"how long the old secret goes on, such as 24h; 0 by default"`
}

// rotateKey serves POST /api/keys/{id}/rotate.
func (s *Server) rotateKey(c *call, req rotateKeyRequest) (reply, error) {
	overlap, err := parseOverlap(req.Overlap)
	if err != nil {
		return reply{}, err
	}
	k, secret, err := s.eng.RotateKey(c.who, req.ID, overlap)
	if err != nil {
		return reply{}, err
	}
	return ok(secretResponse{k.ID.String(), secret, newKeyObject(c.who.Environment(), k), secretWarning})
}

// parseOverlap reads how long an old secret goes on; nothing is not at all.
func parseOverlap(text string) (time.Duration, error) {
	overlap, err := time.ParseDuration(or(text, "0"))
	if err != nil {
		return 0, engine.Errorf(engine.Invalid, "overlap must be a duration such as 24h")
	}
	return overlap, nil
}
