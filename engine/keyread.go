package engine

import (
	"errors"
	"slices"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// A KeyRead is what an answer shows of the caller's workspace.
type KeyRead struct {
	Operation string // method and route
	Kind      RecordKind
	Object    string // the id of the one record; empty for a page
	Records   int
	Persons   []string // the addresses of those whose records or messages it shows
}

// MadeByOperator tells whether the operator made the key that the caller used. What is read with it is to be recorded, so that
// such keys are no way round staff access.
func (who Caller) MadeByOperator() bool { return who.operatorMade }

// maxEntryPersons is how many one entry names: it has to stay within [auditlog.MaxItems] and [auditlog.MaxLineBytes].
const maxEntryPersons = 1000

// RecordKeyRead records what an answer shows to a caller whose key the operator made. It is durable when this returns; with an
// error the answer must not leave. Customers' reads go on while room is scarce: then there is one entry a minute, with how
// many there were.
//
// Errors: [Unauthorized] if the workspace is gone.
func (e *Engine) RecordKeyRead(who Caller, r KeyRead) error {
	if e.roomScarce() {
		return e.countKeyRead(who, r)
	}
	persons := slices.Compact(slices.Sorted(slices.Values(r.Persons)))
	_, err := kv.UpdateCritical(e.db, func(tx *kv.Tx) (struct{}, error) {
		if !workspaces.Has(tx, []byte(who.tenant.id)) {
			return struct{}{}, unauthorized()
		}
		entry := who.entry("key.read")
		entry.Address, entry.Operation, entry.Kind, entry.Object, entry.Records = addrText(who.Addr), r.Operation, string(r.Kind), r.Object, int64(r.Records)
		for persons := persons; ; persons = persons[min(len(persons), maxEntryPersons):] {
			entry.Persons = who.env.see(tx, persons[:min(len(persons), maxEntryPersons)], auditNodes.Len(tx))
			if err := e.record(tx, entry); err != nil || len(persons) <= maxEntryPersons {
				return struct{}{}, err
			}
			entry.Records = 0 // the rest of the persons
		}
	})
	if errors.Is(err, kv.ErrNoRoom) {
		return e.countKeyRead(who, r)
	}
	return storageError(err)
}

func (e *Engine) countKeyRead(who Caller, r KeyRead) error {
	e.audit.misuses.add(misuse{"key.read", who.tenant.id, who.env.name, who.key.String(), "the disk is nearly full, so reads are counted: " + r.Operation})
	return nil
}

// roomForReads refuses reads of staff, with [Unavailable] and [CodeAuditUnavailable], while the log can't be relied on, and
// while room is scarce.
func (e *Engine) roomForReads() error {
	if err := e.AuditTrouble(); err != nil {
		return auditUnavailable(err)
	}
	if e.roomScarce() {
		return auditUnavailable(kv.ErrNoRoom)
	}
	return nil
}

// roomScarce tells whether less than half of the disk's reserve is left: that is for revoking keys and grants.
func (e *Engine) roomScarce() bool { return e.StorageLow() && e.db.Room().Scarce() }

// keyActor is a key in an entry.
func keyActor(id string) auditlog.Actor { return auditlog.Actor{Kind: auditlog.Key, ID: id} }
