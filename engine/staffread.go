package engine

import (
	"errors"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// A StaffQuery is what staff ask to see of a workspace: one page of records, the newest first, or one record.
type StaffQuery struct {
	Workspace   WorkspaceID
	Environment Environment
	Kind        RecordKind
	ID          string // of leads, lists, lines and messages: only that one
	Cursor      string // as the page before gave it
	Limit       int    // 100 at most, which 0 is

	Search     string // in leads
	List       string // of leads
	Status     Status // of messages, as all below
	Line, Lead string
	Batch      string
	From, To   time.Time
	By         []string // names of fields by which the request searches, filters or sorts besides
	Operation  string   // method and route, for the audit log
}

// A StaffPage is what staff see. It is recorded before anybody has it.
type StaffPage struct {
	Kind     RecordKind
	Records  []StaffRecord
	Next     string   // the cursor of the next page; empty if this was the last
	Access   AccessID // the grant
	Unmasked []string // fields
	Entry    uint64   // the sequence number of the audit entry
}

// prepared is an answer in memory, before it may leave.
type prepared struct {
	StaffPage
	persons []string // their addresses
	object  string   // the id that was asked for, if it is one of the environment's
	failure *Error   // there is no such record, or the query is wrong: known only to who has a grant
}

// StaffRead shows staff records of a workspace, masked but for what the grant unmasks. Every call leaves an entry in the
// audit log, durable before StaffRead returns: if there can be none, there is no answer. It reads a snapshot, and checks the
// grant again in the transaction that records: after a revocation has returned no StaffRead succeeds that begins.
//
// Errors: [Unauthorized]; [Forbidden] with the code of what is missing; [Unavailable] with [CodeAuditUnavailable];
// [Invalid], [NotFound].
func (e *Engine) StaffRead(who StaffCaller, q StaffQuery) (StaffPage, error) {
	if _, err := ParseEnvironment(string(q.Environment)); err != nil {
		return StaffPage{}, err
	}
	if _, err := ParseRecordKind(string(q.Kind)); err != nil {
		return StaffPage{}, err
	}
	l := look{workspace: q.Workspace, env: q.Environment, kind: q.Kind, by: q.by(), operation: q.Operation}
	return e.staffRead(who, l, func(tx *kv.Tx, fields []string) prepared { return e.prepare(tx, q, fields) })
}

// by are the masked fields that the query looks by.
func (q *StaffQuery) by() []string {
	by := q.By
	if q.Search != "" {
		by = append(by[:len(by):len(by)], "firstName", "lastName", "email", "phone", "companyName") // as in searchText
	}
	if q.Batch != "" {
		by = append(by[:len(by):len(by)], "batchId")
	}
	return by
}

// staffRead is the one way to customer data for staff. prepare makes the answer from a snapshot; it is told which fields
// are unmasked.
func (e *Engine) staffRead(who StaffCaller, l look, prepare func(tx *kv.Tx, fields []string) prepared) (StaffPage, error) {
	if err := e.roomForReads(); err != nil {
		return StaffPage{}, err
	}
	position := uint64(e.db.Position()) // the snapshot has this at least
	p, refusal := prepared{}, (*Error)(nil)
	_, err := kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
		_, fields, err := grantFor(tx, who, l)
		if err != nil {
			return struct{}{}, err
		}
		p = prepare(tx, fields)
		p.Unmasked, l.fields = fields, fields
		return struct{}{}, nil
	})
	if err != nil && !errors.As(err, &refusal) {
		return StaffPage{}, err
	}
	page, err := refusing(e, func(tx *kv.Tx) (StaffPage, *Error, error) {
		r, _, err := grantFor(tx, who, l)
		refused := refusal
		if err != nil && !errors.As(err, &refused) {
			return StaffPage{}, nil, err
		}
		if refused == nil && p.failure != nil && p.failure.Kind == Forbidden {
			refused = p.failure
		}
		entry := r.readEntry(tx, who, l)
		entry.Object, entry.Position = p.object, position
		if refused != nil {
			entry.Event = "staff.refused"
			return StaffPage{}, refused, e.recordRefusal(tx, entry, refused)
		}
		return e.recordRead(tx, entry, r, p)
	})
	if errors.Is(err, kv.ErrNoRoom) {
		err = auditUnavailable(err)
	}
	return page, err
}

func auditUnavailable(err error) error {
	return &Error{Kind: Unavailable, Code: CodeAuditUnavailable, RetryAfter: 10 * time.Second, Err: err, Msg: "The audit log can't take a record of this read, so there is none"}
}

// recordRead appends the entry of an answer, with whom it shows.
func (e *Engine) recordRead(tx *kv.Tx, entry auditlog.Entry, r AccessRequest, p prepared) (StaffPage, *Error, error) {
	page := p.StaffPage
	page.Access, page.Entry = r.ID, auditNodes.Len(tx)
	if p.failure != nil {
		entry.Outcome, entry.Detail = auditlog.Failed, map[string]string{"error": p.failure.Msg}
		return page, p.failure, e.record(tx, entry)
	}
	env := e.tenant(r.Workspace)
	if env == nil {
		return page, nil, accessRequired()
	}
	entry.Fields, entry.Records = page.Unmasked, int64(len(page.Records))
	entry.Persons = env.envs[r.Environment].see(tx, p.persons, page.Entry)
	return page, nil, e.record(tx, entry)
}

// readEntry begins the entry of a look by the grant r, which is zero if there is none.
func (r *AccessRequest) readEntry(tx *kv.Tx, who StaffCaller, l look) auditlog.Entry {
	entry := who.entry("staff.read")
	if s, ok := sharedStaff.Get(tx, []byte(who.staff.ID)); ok { // as it is now
		entry.Actor = s.actor()
	}
	entry.Operation, entry.Environment, entry.Kind = l.operation, string(l.env), string(l.kind)
	if wasWorkspace(tx, l.workspace) { // anything else is what somebody typed
		entry.Workspace = string(l.workspace)
	}
	entry.Access, entry.ReasonType, entry.Ticket, entry.Approvers = string(r.ID), string(r.ReasonType), r.Ticket, r.approvers()
	return entry
}

// wasWorkspace tells whether there is, or was, such a workspace.
func wasWorkspace(tx *kv.Tx, w WorkspaceID) bool {
	return isSystemID(string(w), "org") && (workspaces.Has(tx, []byte(w)) || auditOf(w).Len(tx) > 0)
}
