package engine

import (
	"slices"
	"strings"
)

// Scope is one thing that a credential may do.
type Scope string

// The scopes.
const (
	WorkspaceRead  Scope = "workspace:read"
	UsageRead      Scope = "usage:read"
	LeadsRead      Scope = "leads:read"
	LeadsWrite     Scope = "leads:write"
	ListsRead      Scope = "lists:read"
	ListsWrite     Scope = "lists:write"
	LinesRead      Scope = "lines:read"
	LinesWrite     Scope = "lines:write"
	MessagesRead   Scope = "messages:read"
	MessagesWrite  Scope = "messages:write"
	CampaignsRead  Scope = "campaigns:read"
	CampaignsWrite Scope = "campaigns:write"
	WebhooksRead   Scope = "webhooks:read"
	WebhooksWrite  Scope = "webhooks:write"
	RepliesRead    Scope = "replies:read"
	KeysManage     Scope = "keys:manage"
	AccessApprove  Scope = "access:approve"
)

// AllScopes lists every scope there is.
var AllScopes = []Scope{
	WorkspaceRead, UsageRead, LeadsRead, LeadsWrite, ListsRead, ListsWrite, LinesRead, LinesWrite,
	MessagesRead, MessagesWrite, CampaignsRead, CampaignsWrite, WebhooksRead, WebhooksWrite,
	RepliesRead, KeysManage, AccessApprove,
}

// Scopes is a set of scopes.
type Scopes uint32

// index is the scope's place in AllScopes; -1 if there is no such scope.
func (s Scope) index() int { return slices.Index(AllScopes, s) }

func scopeBit(s Scope) Scopes {
	if i := s.index(); i >= 0 {
		return 1 << i
	}
	return 0
}

// ScopesOf makes a set. An unknown scope is an error that names it.
func ScopesOf(list []Scope) (Scopes, error) {
	var set Scopes
	for _, s := range list {
		bit := scopeBit(s)
		if bit == 0 {
			return 0, Errorf(Invalid, "Unknown scope %q", string(s))
		}
		set |= bit
	}
	return set, nil
}

// Has tells whether s is in the set.
func (set Scopes) Has(s Scope) bool {
	bit := scopeBit(s)
	return bit != 0 && set&bit != 0
}

// List names the scopes in the set.
func (set Scopes) List() []Scope {
	var list []Scope
	for _, s := range AllScopes {
		if set.Has(s) {
			list = append(list, s)
		}
	}
	return list
}

// Role is a named set of scopes.
type Role string

// The roles, each with what it has beyond the one before.
const (
	RoleViewer Role = "viewer" // every :read
	RoleMember Role = "member" // writes leads, lists, messages and campaigns; the default
	RoleAdmin  Role = "admin"  // writes lines and webhooks, manages keys
	RoleOwner  Role = "owner"  // everything
)

// Scopes returns what the role may do. An unknown role is an error that names it.
func (r Role) Scopes() (Scopes, error) {
	var reads Scopes
	for _, s := range AllScopes {
		if strings.HasSuffix(string(s), ":read") {
			reads |= scopeBit(s)
		}
	}
	member := reads | scopeBit(LeadsWrite) | scopeBit(ListsWrite) | scopeBit(MessagesWrite) | scopeBit(CampaignsWrite)
	admin := member | scopeBit(LinesWrite) | scopeBit(WebhooksWrite) | scopeBit(KeysManage)
	switch r {
	case RoleViewer:
		return reads, nil
	case RoleMember:
		return member, nil
	case RoleAdmin:
		return admin, nil
	case RoleOwner:
		return 1<<len(AllScopes) - 1, nil
	}
	return 0, Errorf(Invalid, "Unknown role %q: use viewer, member, admin or owner", string(r))
}
