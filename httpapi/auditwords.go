package httpapi

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"tuco/engine/auditlog"
)

// entryObject is an entry of the audit log for the customer: in plain words, and as it stands.
type entryObject struct {
	Seq     int64             `json:"seq"`
	Time    *date             `json:"time"`
	Event   *string           `json:"event"`
	Outcome *auditlog.Outcome `json:"outcome" enum:"done,denied,failed"`
	Text    string            `json:"text" description:"the same in plain words"`
	Entry   jsontext.Value    `json:"entry" description:"as it stands in the log; null if its body was dropped under the retention policy"`
}

// newEntryObject makes an answer of an entry, nil if its body was dropped.
func newEntryObject(seq uint64, e *auditlog.Entry) (entryObject, error) {
	o := entryObject{Seq: int64(seq), Text: "The body of this entry was dropped under the retention policy."}
	if e == nil {
		return o, nil
	}
	line, err := auditlog.AppendLine(nil, e)
	if err != nil {
		return o, err
	}
	o.Entry = bytes.TrimSuffix(line, []byte("\n"))
	o.Time, o.Event, o.Outcome, o.Text = newDate(e.Time), &e.Event, &e.Outcome, sentence(e)
	return o, nil
}

// sentences say what the done thing is. What they lack is told by its event's name.
var sentences = map[string]string{
	"access.requested":    "asked for access",
	"access.approved":     "approved a request for access",
	"access.denied":       "denied a request for access",
	"access.revoked":      "revoked a grant",
	"access.withdrawn":    "gave back a request or grant",
	"access.expired":      "noted that a request was not answered in time",
	"access.ended":        "ended a request or grant",
	"policy.changed":      "changed the policy of staff access",
	"agreement.added":     "added an agreement",
	"agreement.removed":   "ended an agreement",
	"agreement.ended":     "noted that an agreement is over",
	"key.created":         "made an API key",
	"key.changed":         "changed an API key",
	"key.rotated":         "gave an API key a new secret",
	"key.revoked":         "revoked an API key",
	"workspace.created":   "made the workspace",
	"workspace.changed":   "changed the workspace",
	"workspace.read-only": "set the workspace to read-only mode",
	"workspace.active":    "ended the read-only mode",
	"workspace.deleted":   "deleted the workspace",
	"workspace.exported":  "exported the workspace with its data",
	"workspace.imported":  "imported the workspace",
	"person.erased":       "erased a person from what the log can tell",
	"audit.exported":      "exported the audit log",
	"audit.contradicted":  "presented a checkpoint that the log's own key signed and that the log contradicts",
	"webhook.set":         "set the webhook for notices of staff access",
	"webhook.rotated":     "gave the webhook a new secret",
	"webhook.removed":     "removed the webhook",
}

// attempts say it of what was refused.
var attempts = map[string]string{
	"access.approved":  "tried to approve a request for access",
	"access.denied":    "tried to deny a request for access",
	"access.revoked":   "tried to revoke a grant",
	"access.withdrawn": "tried to give back a request or grant",
}

// sentence tells an entry in plain words. It has nothing that the entry has not.
func sentence(e *auditlog.Entry) string {
	var b strings.Builder
	b.WriteString(actorWords(e.Actor))
	switch {
	case e.Event == "key.read":
		fmt.Fprintf(&b, ", which the operator made, read %s of %s", counted(e.Records), e.Kind)
	case e.Event == "staff.read" && e.Outcome == auditlog.Done:
		fmt.Fprintf(&b, " looked at %s of %s", counted(e.Records), e.Kind)
	case e.Event == "staff.read", e.Event == "staff.refused":
		fmt.Fprintf(&b, " tried to look at %s", e.Kind)
	case e.Event == "key.misused":
		return fmt.Sprintf("A credential was refused %d times: it was %s.", e.Records, e.Detail["reason"])
	case e.Outcome == auditlog.Denied && attempts[e.Event] != "":
		b.WriteString(" " + attempts[e.Event])
	case sentences[e.Event] != "":
		b.WriteString(" " + sentences[e.Event])
	default:
		b.WriteString(": " + e.Event)
	}
	if e.Environment != "" && !strings.HasPrefix(e.Event, "key.") {
		b.WriteString(" in " + e.Environment)
	}
	if e.Access != "" {
		b.WriteString(", by " + e.Access)
		if e.Ticket != "" {
			b.WriteString(" (ticket " + e.Ticket + ")")
		}
	} else if e.Object != "" {
		b.WriteString(", " + e.Object)
	}
	if len(e.Fields) > 0 {
		b.WriteString("; fields not masked: " + strings.Join(e.Fields, ", "))
	}
	if len(e.Persons) > 0 {
		fmt.Fprintf(&b, "; addresses of persons on the page: %d", len(e.Persons))
	}
	switch e.Outcome {
	case auditlog.Denied:
		b.WriteString("; it was refused" + because(e.Detail["code"]))
	case auditlog.Failed:
		b.WriteString("; it failed" + because(e.Detail["error"]))
	}
	if reason := e.Detail["reason"]; reason != "" {
		b.WriteString("; reason: " + reason)
	}
	return b.String() + "."
}

func because(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

func counted(n int64) string {
	if n == 1 {
		return "1 record"
	}
	return fmt.Sprintf("%d records", n)
}

// actorWords names who did it, at the beginning of a sentence.
func actorWords(a auditlog.Actor) string {
	switch a.Kind {
	case auditlog.Staff:
		return fmt.Sprintf("Staff member %s (%s, %s, %s)", a.ID, a.Role, a.Employer, a.Country)
	case auditlog.Key:
		return "API key " + a.ID
	case auditlog.Auditor:
		return "Auditor " + a.ID
	case auditlog.Operator:
		return "The operator"
	}
	return "The program"
}
