package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// The codes of staff access.
const (
	CodeAccessRequired      = "ACCESS_REQUIRED"      // there is no grant
	CodeAccessPending       = "ACCESS_PENDING"       // it waits for the customer
	CodeAccessNotStarted    = "ACCESS_NOT_STARTED"   // the grant begins later
	CodeAccessEnded         = "ACCESS_ENDED"         // the grant is over, or there will be none
	CodePolicyClosed        = "POLICY_CLOSED"        // the workspace takes no staff at all
	CodeOutsideHours        = "OUTSIDE_HOURS"        // an agreement's hours
	CodeEnvironmentExcluded = "ENVIRONMENT_EXCLUDED" // by an agreement
	CodeKindExcluded        = "KIND_EXCLUDED"        // by an agreement
	CodeStaffExcluded       = "STAFF_EXCLUDED"       // by an agreement
	CodeFieldMasked         = "FIELD_MASKED"         // it isn't shown, so nobody searches by it
	CodeDurationTooLong     = "DURATION_TOO_LONG"    // longer than an agreement allows
	CodeCustomerDecides     = "CUSTOMER_DECIDES"     // not the operator
	CodeAlreadyDecided      = "ALREADY_DECIDED"      // the request is not pending, or the grant not active
	CodeAlreadyApproved     = "ALREADY_APPROVED"     // by this approver
	CodeSameRole            = "SAME_ROLE"            // as the other approver
	CodeAuditUnavailable    = "AUDIT_UNAVAILABLE"    // no record can be made, so there is no read
)

// AccessID names a request for access: access_ and 24 hex digits. They sort by time.
type AccessID string

// AccessStatus is where a request stands.
type AccessStatus string

// The statuses. Only an approved request can be a grant; from the others nothing leads back.
const (
	AccessPending   AccessStatus = "pending"
	AccessApproved  AccessStatus = "approved"
	AccessDenied    AccessStatus = "denied"
	AccessExpired   AccessStatus = "expired"   // nobody answered
	AccessWithdrawn AccessStatus = "withdrawn" // by who asked
	AccessRevoked   AccessStatus = "revoked"   // after it was approved
	AccessEnded     AccessStatus = "ended"     // see EndReason
)

// live tells whether anything can still happen to the request.
func (s AccessStatus) live() bool { return s == AccessPending || s == AccessApproved }

// EndReason is why a request or grant ended without a decision about it.
type EndReason string

// The reasons.
const (
	EndedTime      EndReason = "time"
	EndedStaff     EndReason = "staff_disabled"
	EndedPolicy    EndReason = "policy_closed"
	EndedWorkspace EndReason = "workspace_deleted"
	EndedRestore   EndReason = "restore"   // of a backup: what was decided since may be lost
	EndedAgreement EndReason = "agreement" // that allows less time than the grant had
)

// ReasonType is what sort of reason staff have.
type ReasonType string

// ReasonTypes lists them all.
var ReasonTypes = []ReasonType{"customer_initiated_support", "service", "review", "legal_request", "incident"}

// Bounds of a request.
const (
	// MaxAccess is the longest that a grant can last, and the furthest ahead that it can start.
	MaxAccess = 30 * day
	// DefaultAccessAnswer is how long a request waits for its answer.
	DefaultAccessAnswer = 12 * time.Hour

	maxReasonBytes = 2000
	maxNoteBytes   = 2000
)

// An AccessRequest is what staff asked for, and what became of it. It stays for ever, also after the workspace.
type AccessRequest struct {
	ID          AccessID      `json:"id"`
	Workspace   WorkspaceID   `json:"workspace"`
	Environment Environment   `json:"environment"`
	Scopes      []Scope       `json:"scopes"`
	ReasonType  ReasonType    `json:"reasonType"`
	Reason      string        `json:"reason"`
	Ticket      string        `json:"ticket"`
	Duration    time.Duration `json:"duration"`
	StartAt     time.Time     `json:"startAt,omitzero"`  // asked for
	Unmasked    []string      `json:"unmasked,omitzero"` // fields: see [MaskableFields]

	Staff      StaffID `json:"staff"` // who asked, and what they were then
	StaffName  string  `json:"staffName"`
	StaffEmail string  `json:"staffEmail"`
	Employer   string  `json:"employer"`
	Country    string  `json:"country"`
	Role       string  `json:"role"`

	Status    AccessStatus `json:"status"`
	Created   time.Time    `json:"created"`
	Expires   time.Time    `json:"expires"` // unanswered until then, it is no more
	Approvers int          `json:"approvers"`
	Approvals []Approval   `json:"approvals,omitzero"`
	ByPolicy  bool         `json:"byPolicy,omitzero"` // approved by the policy notify, not by anybody
	Approved  time.Time    `json:"approved,omitzero"`
	Starts    time.Time    `json:"starts,omitzero"` // of the grant
	Ends      time.Time    `json:"ends,omitzero"`   // the first moment without it
	Closed    time.Time    `json:"closed,omitzero"` // when it was denied, revoked, or ended
	ClosedBy  string       `json:"closedBy,omitzero"`
	EndReason EndReason    `json:"endReason,omitzero"`
	Note      string       `json:"note,omitzero"` // of who denied or revoked it
}

// An Approval is one approver's yes.
type Approval struct {
	By   string    `json:"by"` // a key's id, or operator
	Role string    `json:"role"`
	At   time.Time `json:"at"`
}

var (
	accessRequests    = kv.Bucket[AccessRequest]{Path: systemPath.Join("access.requests"), Codec: nanoJSON[AccessRequest](1)}
	accessByWorkspace = kv.Index{Path: systemPath.Join("access.workspace")} // workspace, 0, request
	accessByStaff     = kv.Index{Path: systemPath.Join("access.staff")}     // staff, 0, request
	accessLive        = kv.Index{Path: systemPath.Join("access.live")}      // staff, 0, workspace, 0, request: pending or approved
)

// nanoJSON is [kv.JSON] of records with durations, which are numbers of nanoseconds there.
func nanoJSON[T any](version byte) kv.Codec[T] {
	nano := jsonv1.FormatDurationAsNano(true)
	return kv.Codec[T]{
		Version: version,
		Encode: func(to []byte, v T) ([]byte, error) {
			data, err := json.Marshal(v, nano)
			return append(to, data...), err
		},
		Decode: func(got byte, data []byte) (v T, err error) {
			if got != version {
				return v, fmt.Errorf("record version %d is not known", got)
			}
			err = json.Unmarshal(data, &v, nano)
			return v, err
		},
	}
}

// accessKey is an index key by staff, and workspace, and request. What is empty ends it.
func accessKey(staff StaffID, w WorkspaceID, id AccessID) []byte {
	var key []byte
	if staff != "" {
		key = appendAddress(key, string(staff))
	}
	if staff != "" && w != "" {
		key = append(appendAddress(key, string(w)), id...)
	}
	return key
}

// accessOf reads the request's id out of an index key.
func accessOf(key []byte) AccessID { return AccessID(key[strings.LastIndexByte(string(key), 0)+1:]) }

// putAccess stores a request with its index entries.
func putAccess(tx *kv.Tx, r *AccessRequest) {
	key := accessKey(r.Staff, r.Workspace, r.ID)
	accessRequests.Put(tx, []byte(r.ID), *r)
	accessByWorkspace.Put(tx, addressKey(string(r.Workspace), []byte(r.ID)))
	accessByStaff.Put(tx, addressKey(string(r.Staff), []byte(r.ID)))
	if r.Status.live() {
		accessLive.Put(tx, key)
	} else {
		accessLive.Delete(tx, key)
	}
}

func getAccess(tx *kv.Tx, id string) (AccessRequest, bool) {
	if !isSystemID(id, "access") {
		return AccessRequest{}, false
	}
	return accessRequests.Get(tx, []byte(id))
}

func accessNotFound() *Error { return Errorf(NotFound, "Access request not found") }

// liveAccess returns the pending and approved requests of staff, for a workspace; empty is any. The newest of one of staff
// for one workspace come first.
func liveAccess(tx *kv.Tx, staff StaffID, w WorkspaceID) (all []AccessRequest) {
	for key := range accessLive.Scan(tx, kv.Prefix(accessKey(staff, w, "")).Descending()) {
		if r, ok := accessRequests.Get(tx, []byte(accessOf(key))); ok && (w == "" || r.Workspace == w) {
			all = append(all, r)
		}
	}
	return all
}

// at returns the request as it is at t: what time has ended may not have been recorded yet.
func (r AccessRequest) at(t time.Time) AccessRequest {
	switch {
	case r.Status == AccessPending && !t.Before(r.Expires):
		r.Status, r.Closed = AccessExpired, r.Expires
	case r.Status == AccessApproved && !t.Before(r.Ends):
		r.Status, r.Closed, r.EndReason = AccessEnded, r.Ends, EndedTime
	}
	return r
}

// settle records what time has made of a request.
func (e *Engine) settle(tx *kv.Tx, r *AccessRequest) error {
	now := r.at(tx.Now)
	if now.Status == r.Status {
		return nil
	}
	*r = now
	putAccess(tx, r)
	entry := r.entry("access.expired")
	if r.Status == AccessEnded {
		entry.Event, entry.Detail["reason"] = "access.ended", string(r.EndReason)
	}
	entry.Actor, entry.Detail["since"] = systemActor, timeText(r.Closed)
	return e.record(tx, entry)
}

// endAccess ends requests, pending or approved, for a reason that lies outside of them.
func (e *Engine) endAccess(tx *kv.Tx, all []AccessRequest, reason EndReason, by auditlog.Actor) error {
	for _, r := range all {
		if err := e.settle(tx, &r); err != nil {
			return err
		}
		if !r.Status.live() {
			continue
		}
		was := r.Status
		r.Status, r.Closed, r.EndReason, r.ClosedBy = AccessEnded, tx.Now, reason, by.ID
		if by.Kind == auditlog.Operator {
			r.ClosedBy = operatorID
		}
		putAccess(tx, &r)
		entry := r.entry("access.ended")
		entry.Actor, entry.Detail["reason"], entry.Detail["before"] = by, string(reason), string(was)
		if err := e.record(tx, entry); err != nil {
			return err
		}
	}
	return nil
}

// entry begins an entry about the request. The reason is free text, which may hold anything: its hash stands for it.
func (r *AccessRequest) entry(event string) auditlog.Entry {
	e := auditlog.Entry{
		Event: event, Workspace: string(r.Workspace), Environment: string(r.Environment), Kind: "access", Object: string(r.ID),
		Access: string(r.ID), ReasonType: string(r.ReasonType), Ticket: r.Ticket, Fields: r.Unmasked, Approvers: r.approvers(),
	}
	sum := sha256.Sum256([]byte(r.Reason))
	e.Detail = map[string]string{
		"scopes": joinScopes(r.Scopes), "duration": r.Duration.String(), "reasonSha256": hex.EncodeToString(sum[:]),
		"staff": string(r.Staff), "status": string(r.Status),
	}
	if r.Approvers > 1 {
		e.Detail["approversNeeded"] = strconv.Itoa(r.Approvers)
	}
	for name, t := range map[string]time.Time{"startAt": r.StartAt, "starts": r.Starts, "ends": r.Ends} {
		if !t.IsZero() {
			e.Detail[name] = timeText(t)
		}
	}
	if r.ByPolicy {
		e.Detail["approval"] = "policy " + string(PolicyNotify)
	}
	return e
}

func (r *AccessRequest) approvers() (ids []string) {
	for _, a := range r.Approvals {
		ids = append(ids, a.By)
	}
	return ids
}

// refusing runs fn as a transaction that may use the reserve. What fn refuses is recorded by it, so a refusal is returned
// but takes effect; with any other error nothing happened.
func refusing[T any](e *Engine, fn func(tx *kv.Tx) (T, *Error, error)) (T, error) {
	type done struct {
		v       T
		refusal *Error
	}
	d, err := kv.UpdateCritical(e.db, func(tx *kv.Tx) (d done, err error) {
		d.v, d.refusal, err = fn(tx)
		return d, err
	})
	if err == nil && d.refusal != nil {
		var none T
		return none, d.refusal
	}
	return d.v, storageError(err)
}
