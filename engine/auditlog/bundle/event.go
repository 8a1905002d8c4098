package bundle

import (
	"fmt"

	"tuco/engine/auditlog"
)

// An event is what the formats of others say about the entries with its name.
type event struct {
	title    string
	severity int    // 0 to 10, as in CEF
	class    int    // of OCSF
	head     string // the first fields of OCSF, which are the same for all entries
}

// The classes and activities of OCSF.
const (
	apiActivity          = 6003
	userAccessManagement = 3005

	create = 1
	read   = 2
	update = 3
	remove = 4
	assign = 1 // of privileges
	revoke = 2 // of privileges
	other  = 99
)

// events are those that are known. A bundle may hold others.
var events = map[string]*event{
	"access.requested": newEvent("Staff access requested", 3, userAccessManagement, other),
	"access.approved":  newEvent("Staff access approved", 4, userAccessManagement, assign),
	"access.denied":    newEvent("Staff access denied", 4, userAccessManagement, other),
	"access.revoked":   newEvent("Staff access revoked", 4, userAccessManagement, revoke),
	"access.withdrawn": newEvent("Staff access withdrawn", 3, userAccessManagement, revoke),
	"access.expired":   newEvent("Staff access expired", 2, userAccessManagement, revoke),
	"access.ended":     newEvent("Staff access ended", 2, userAccessManagement, revoke),

	"staff.read":     newEvent("Staff read customer data", 3, apiActivity, read),
	"staff.refused":  newEvent("Staff read refused", 6, apiActivity, read),
	"staff.added":    newEvent("Staff account added", 4, apiActivity, create),
	"staff.changed":  newEvent("Staff account changed", 4, apiActivity, update),
	"staff.enabled":  newEvent("Staff account enabled", 4, apiActivity, update),
	"staff.disabled": newEvent("Staff account disabled", 3, apiActivity, update),
	"staff.rotated":  newEvent("Staff token rotated", 3, apiActivity, update),

	"policy.changed":    newEvent("Staff access policy changed", 5, apiActivity, update),
	"agreement.added":   newEvent("Agreement added", 3, apiActivity, create),
	"agreement.ended":   newEvent("Agreement ended", 3, apiActivity, update),
	"agreement.removed": newEvent("Agreement removed", 5, apiActivity, remove),

	"key.created": newEvent("API key created", 3, apiActivity, create),
	"key.changed": newEvent("API key changed", 3, apiActivity, update),
	"key.rotated": newEvent("API key rotated", 3, apiActivity, update),
	"key.revoked": newEvent("API key revoked", 3, apiActivity, remove),
	"key.read":    newEvent("Customer data read with a key of the operator", 4, apiActivity, read),
	"key.misused": newEvent("API key misused", 8, apiActivity, other),

	"auditor.added":    newEvent("Auditor account added", 4, apiActivity, create),
	"auditor.changed":  newEvent("Auditor account changed", 4, apiActivity, update),
	"auditor.enabled":  newEvent("Auditor account enabled", 4, apiActivity, update),
	"auditor.rotated":  newEvent("Auditor token rotated", 3, apiActivity, update),
	"auditor.disabled": newEvent("Auditor account disabled", 3, apiActivity, update),

	"webhook.set":     newEvent("Webhook for staff access set", 4, apiActivity, update),
	"webhook.rotated": newEvent("Webhook secret rotated", 3, apiActivity, update),
	"webhook.removed": newEvent("Webhook for staff access removed", 4, apiActivity, remove),

	"plan.changed":        newEvent("Plan changed", 3, apiActivity, update),
	"workspace.created":   newEvent("Workspace created", 3, apiActivity, create),
	"workspace.changed":   newEvent("Workspace changed", 3, apiActivity, update),
	"workspace.read-only": newEvent("Workspace made read-only", 4, apiActivity, update),
	"workspace.active":    newEvent("Workspace made active", 3, apiActivity, update),
	"workspace.deleted":   newEvent("Workspace deleted", 6, apiActivity, remove),
	"workspace.exported":  newEvent("Workspace exported with its data", 6, apiActivity, read),
	"workspace.imported":  newEvent("Workspace imported", 5, apiActivity, create),

	"audit.exported":     newEvent("Audit log exported", 3, apiActivity, read),
	"audit.key-rotated":  newEvent("Audit signing key rotated", 6, apiActivity, update),
	"audit.contradicted": newEvent("Audit log contradicts a checkpoint of its own", 10, apiActivity, other),
	"audit.dropped":      newEvent("Old audit entries dropped", 5, apiActivity, remove),

	"person.erased":  newEvent("Person erased", 4, apiActivity, remove),
	"server.started": newEvent("Server started", 2, apiActivity, other),
	"server.stopped": newEvent("Server stopped", 2, apiActivity, other),
	"clock.jumped":   newEvent("Clock jumped", 6, apiActivity, other),
	"clock.accepted": newEvent("Clock accepted", 5, apiActivity, other),
	"restore":        newEvent("Restored from a backup", 7, apiActivity, other),

	"restore.keys-disabled": newEvent("API keys disabled by a restore", 6, apiActivity, update),
}

// eventOf returns what is known of an event. One that is not known has no title.
func eventOf(name string) *event {
	if e := events[name]; e != nil {
		return e
	}
	return unknownEvent
}

var unknownEvent = newEvent("", 3, apiActivity, other)

func newEvent(title string, severity, class, activity int) *event {
	category, categoryName, className := 6, "Application Activity", "API Activity"
	names := map[int]string{create: "Create", read: "Read", update: "Update", remove: "Delete", other: "Other"}
	if class == userAccessManagement {
		category, categoryName, className = 3, "Identity & Access Management", "User Access Management"
		names = map[int]string{assign: "Assign Privileges", revoke: "Revoke Privileges", other: "Other"}
	}
	head := fmt.Sprintf(`{"category_uid":%d,"category_name":"%s","class_uid":%d,"class_name":"%s","activity_id":%d,`+
		`"activity_name":"%s","type_uid":%d,"type_name":"%s: %s"`, category, categoryName, class, className, activity,
		names[activity], 100*class+activity, className, names[activity])
	return &event{title, severity, class, head}
}

// name returns the title, or for an event that is not known what the entry calls it.
func (e *event) name(entry *auditlog.Entry) string {
	if e.title == "" {
		return entry.Event
	}
	return e.title
}

// grade returns how severe an entry is, from 0 to 10. One that was refused or failed is not harmless.
func (e *event) grade(entry *auditlog.Entry) int {
	if entry.Outcome == auditlog.Done {
		return e.severity
	}
	return max(e.severity, 5)
}
