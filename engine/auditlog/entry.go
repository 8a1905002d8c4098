package auditlog

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
)

// Bounds of an entry. Numbers stop where some JSON readers begin to round.
const (
	MaxLineBytes = 64 << 10 // with the newline
	MaxTextBytes = 1 << 10
	MaxItems     = 1024 // of a list, and pairs of the detail
	MaxNumber    = 1<<53 - 1
)

// A Hash is a SHA-256 hash.
type Hash = tlog.Hash

// LineHash returns the hash by which the next line refers to line, which includes its newline.
func LineHash(line []byte) Hash { return sha256.Sum256(line) }

// LeafHash returns the hash of line, which includes its newline, as a leaf of the tree.
func LeafHash(line []byte) Hash { return tlog.RecordHash(line) }

// A Digest stands for a person: the first half of a keyed hash. Without the person's key it tells nothing.
type Digest [16]byte

// String returns the digest as 32 hex digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// An Outcome says what became of an event.
type Outcome string

// The outcomes.
const (
	Done   Outcome = "done"
	Denied Outcome = "denied"
	Failed Outcome = "failed"
)

// An ActorKind says on whose behalf an actor acts.
type ActorKind string

// The kinds of actor.
const (
	Staff    ActorKind = "staff"
	Key      ActorKind = "key"
	Auditor  ActorKind = "auditor"
	Operator ActorKind = "operator"
	System   ActorKind = "system"
)

// An Actor is who did it, as it was then. Only Kind is never empty.
type Actor struct {
	Kind     ActorKind
	ID       string
	Employer string
	Country  string
	Role     string
}

// An Entry records one event. [Seal] sets Seq, Prev, WsSeq and WsPrev. Time, Event, Outcome and Actor.Kind must be set;
// every other field may be zero. Entries hold ids, counts and keyed digests, never names, numbers or bodies.
type Entry struct {
	Seq         uint64    // from 0; the index of the line's leaf
	Time        time.Time // from 1970 to 9999, cut to microseconds; a claim, as the order is that of Seq
	Epoch       uint64    // how many restores came before
	Prev        Hash      // of the line before; zero for the first
	Workspace   string    // id; empty for what concerns the whole installation
	WsSeq       uint64    // from 0, in the workspace; 0 without one
	WsPrev      Hash      // of the workspace's line before; zero for its first, and without a workspace
	Event       string    // such as "staff.read"
	Outcome     Outcome
	Actor       Actor
	Credential  string            // id
	Address     string            // network address of the caller
	Request     string            // id
	Operation   string            // method and route, such as "GET /staff/workspaces/{id}/messages"
	Environment string            // name
	Kind        string            // of the record, or records
	Object      string            // id of the record
	Access      string            // id of the access request
	ReasonType  string            // of the access request
	Ticket      string            // of the access request
	Approvers   []string          // ids
	Fields      []string          // names of the fields that were not masked
	Records     int64             // how many were shown
	Persons     []Digest          // whose records these are
	Position    uint64            // of the snapshot that was read
	Detail      map[string]string // anything else
}

// check returns an [ErrInvalid] if e has no line.
func (e *Entry) check() error {
	for _, f := range [...]struct{ name, text string }{
		{"workspace", e.Workspace}, {"event", e.Event}, {"actor.id", e.Actor.ID}, {"actor.employer", e.Actor.Employer},
		{"actor.country", e.Actor.Country}, {"actor.role", e.Actor.Role}, {"credential", e.Credential},
		{"address", e.Address}, {"request", e.Request}, {"operation", e.Operation}, {"environment", e.Environment},
		{"kind", e.Kind}, {"object", e.Object}, {"access", e.Access}, {"reasonType", e.ReasonType}, {"ticket", e.Ticket},
	} {
		if !isText(f.text) {
			return invalidText(f.name)
		}
	}
	switch {
	case !isEvent(e.Event):
		return invalid("event %q: it must be words of a-z, 0-9 and - with dots between them", e.Event)
	case e.Outcome != Done && e.Outcome != Denied && e.Outcome != Failed:
		return invalid("outcome %q", e.Outcome)
	case !isActorKind(e.Actor.Kind):
		return invalid("kind of actor %q", e.Actor.Kind)
	case e.Workspace == "" && (e.WsSeq != 0 || e.WsPrev != Hash{}):
		return invalid("place in a chain of no workspace")
	case e.Time.Unix() < 0 || e.Time.Unix() >= endOfTime:
		return invalid("time %v", e.Time)
	case max(e.Seq, e.Epoch, e.WsSeq, e.Position) > MaxNumber || e.Records < 0 || e.Records > MaxNumber:
		return invalid("number: it must be from 0 to 2^53-1")
	}
	return e.checkLists()
}

const endOfTime = 253402300800 // the year 10000

func (e *Entry) checkLists() error {
	if max(len(e.Approvers), len(e.Fields), len(e.Persons), len(e.Detail)) > MaxItems {
		return invalid("list: it must have at most %d items", MaxItems)
	}
	for _, s := range e.Approvers {
		if s == "" || !isText(s) {
			return invalidText("approvers")
		}
	}
	for _, s := range e.Fields {
		if s == "" || !isText(s) {
			return invalidText("fields")
		}
	}
	for key, value := range e.Detail {
		if key == "" || !isText(key) || !isText(value) {
			return invalidText("detail")
		}
	}
	return nil
}

func isText(s string) bool { return len(s) <= MaxTextBytes && utf8.ValidString(s) }

func invalidText(field string) error {
	return invalid("%s: it must be UTF-8 of at most %d bytes, and in a list not empty", field, MaxTextBytes)
}

func isActorKind(k ActorKind) bool {
	return k == Staff || k == Key || k == Auditor || k == Operator || k == System
}

// isEvent reports whether s is words with single dots between them.
func isEvent(s string) bool {
	dot := true // just before: a word must begin
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && !dot:
			dot = true
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-':
			dot = false
		default:
			return false
		}
	}
	return !dot
}
