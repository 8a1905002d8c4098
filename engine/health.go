package engine

import (
	"time"

	"tuco/kv"
)

// Warnings are what an operator should look at. They name no workspace.
func (e *Engine) Warnings() []string {
	warnings := []string{}
	if e.StorageLow() {
		warnings = append(warnings, "The disk is nearly full: every workspace is in read-only mode until space is freed.")
	}
	if e.ClockHeld() {
		warnings = append(warnings, "The clock jumped ahead: no new day is opened until it is accepted (tuco clock accept) or time has caught up.")
	}
	if err := e.AuditTrouble(); err != nil {
		warnings = append(warnings, "Staff access is refused: "+err.Error()+".")
	}
	if e.audit.missing > 0 {
		warnings = append(warnings, "An anchor of the audit log was missing at the start. If it is new, this goes with the next start. "+
			"If not, find out where it went and compare the log with a checkpoint kept elsewhere: its end may have been cut off unnoticed.")
	}
	warnings = append(warnings, e.audit.unused.warnings()...)
	if text := e.contradictionWarning(); text != "" {
		warnings = append(warnings, text)
	}
	if advice := e.CompactAdvice(); advice != "" {
		warnings = append(warnings, advice)
	}
	return append(warnings, e.forwardWarnings()...)
}

// DatabaseLost tells whether the database was removed or moved away, or another one lies in its place.
func (e *Engine) DatabaseLost() bool { return e.db.Lost() }

// ReadOnlyReasons are all reasons, each once.
var ReadOnlyReasons = []ReadOnlyReason{
	ReadOnlyPastDue, ReadOnlySuspended, ReadOnlyLicenseExpired, ReadOnlyOperator, ReadOnlyMaintenance, ReadOnlyStorage,
}

// WorkspaceCounts counts the workspaces by why they take no writes; the empty reason is of those that do.
func (e *Engine) WorkspaceCounts() map[ReadOnlyReason]int64 {
	n := map[ReadOnlyReason]int64{}
	for _, t := range e.allTenants() {
		n[e.readOnly(t)]++
	}
	return n
}

// LineHealth is whether a line can send, in a word.
type LineHealth string

// The states of a line.
const (
	LineUp       LineHealth = "up"
	LineDown     LineHealth = "down" // active, but its transport can't be reached
	LineInactive LineHealth = "inactive"
)

// LineHealths are all of them.
var LineHealths = []LineHealth{LineUp, LineDown, LineInactive}

// Channels are all of them.
var Channels = []Channel{IMessage, SMS, Email}

// LineCounts counts the lines of all workspaces.
func (e *Engine) LineCounts() map[Channel]map[LineHealth]int64 {
	n := map[Channel]map[LineHealth]int64{}
	for _, c := range Channels {
		n[c] = map[LineHealth]int64{}
	}
	for _, t := range e.allTenants() {
		for _, env := range t.envs {
			for _, l := range env.lines.Load().all {
				n[l.Channel][l.health()]++
			}
		}
	}
	return n
}

func (l Line) health() LineHealth {
	switch {
	case !l.Active:
		return LineInactive
	case !l.Healthy:
		return LineDown
	}
	return LineUp
}

// KeyChecks counts the credentials of workspaces that were looked up, in memory alone and in the store.
func (e *Engine) KeyChecks() (hits, misses int64) { return e.keys.hits.Load(), e.keys.misses.Load() }

// Room measures how much space is left.
func (e *Engine) Room() kv.Room { return e.db.Room() }

// AuditEntries counts the entries of the audit log, also those whose bodies were dropped.
func (e *Engine) AuditEntries() (uint64, error) {
	n, err := kv.View(e.db, func(tx *kv.Tx) (uint64, error) { return auditNodes.Len(tx), nil })
	return n, storageError(err)
}

// Anchored is when every anchor of the audit log was last seen to be up to date; when the engine was opened, if never since.
func (e *Engine) Anchored() time.Time { return time.UnixMilli(e.audit.anchoredAt.Load()).UTC() }

// AnchorsMissing counts the anchors that were missing at the opening although the log had entries.
func (e *Engine) AnchorsMissing() int { return e.audit.missing }
