package bundle

import (
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"tuco/engine/auditlog"
)

const ocsfVersion = "1.8.0"

// An ocsfWriter writes lines as OCSF events: decisions about access as User Access Management, all else as API Activity.
type ocsfWriter struct {
	metadata string // its first fields, which are the same for all lines
	chain    string // the first fields of the attestation
}

func newOCSFWriter(m *Manifest) *ocsfWriter {
	metadata := appendString([]byte(`,"metadata":{"version":"`+ocsfVersion+
		`","product":{"vendor_name":"Tuco","name":"On-Prem","version":`), m.Product)
	metadata = appendString(append(metadata, `},"log_name":`...), m.Origin)
	chain := appendString([]byte(`,"attestation_list":[{"authority_uid":`), auditlog.KeyName(m.Installation))
	chain = appendString(append(chain, `,"chain_uid":`...), m.Origin)
	return &ocsfWriter{string(metadata), string(chain)}
}

// append appends the event of a line; nothing for one without a body.
func (w *ocsfWriter) append(dst []byte, r *record) []byte {
	if r.dropped {
		return dst
	}
	e := &r.entry
	about := eventOf(e.Event)
	dst = append(dst, about.head...)
	dst = strconv.AppendInt(append(dst, `,"time":`...), e.Time.UnixMilli(), 10)
	dst = append(append(dst, `,"severity_id":`...), '0'+ocsfSeverity(about.grade(e)))
	dst = append(dst, ocsfStatus(e.Outcome)...)
	dst = appendMember(dst, `,"message":`, about.name(e))
	dst = w.appendMetadata(dst, r)
	dst = appendUser(append(dst, `,"actor":{"user":`...), e.Actor.ID, string(e.Actor.Kind), e.Actor.Employer)
	dst = appendEndpoint(append(dst, '}'), e.Address)
	dst = appendOperation(dst, e)
	dst = appendResource(dst, e)
	if about.class == userAccessManagement {
		dst = appendSubject(dst, e)
	}
	dst = w.appendUnmapped(dst, r)
	return append(dst, "}\n"...)
}

// ocsfSeverity is informational, low, medium or high.
func ocsfSeverity(grade int) byte {
	switch {
	case grade <= 3:
		return 1
	case grade <= 4:
		return 2
	case grade <= 6:
		return 3
	}
	return 4
}

func ocsfStatus(o auditlog.Outcome) string {
	if o == auditlog.Done {
		return `,"status_id":1,"status":"Success"`
	}
	return `,"status_id":2,"status":"Failure"`
}

func (w *ocsfWriter) appendMetadata(dst []byte, r *record) []byte {
	dst = append(dst, w.metadata...)
	dst = hex.AppendEncode(append(dst, `,"uid":"`...), r.leaf[:])
	dst = strconv.AppendUint(append(dst, `","sequence":`...), r.seq, 10)
	dst = appendMember(dst, `,"event_code":`, r.entry.Event)
	dst = append(append(dst, `,"original_time":"`...), r.time...)
	dst = appendMember(append(dst, '"'), `,"tenant_uid":`, r.entry.Workspace)
	return append(dst, '}')
}

// appendUser appends a user, who has an id or else a name.
func appendUser(dst []byte, id, kind, employer string) []byte {
	name := `{"uid":`
	if id == "" {
		name, id = `{"name":`, kind
	}
	dst = appendString(append(dst, name...), id)
	dst = appendMember(append(dst, `,"type_id":99`...), `,"type":`, kind)
	if employer != "" {
		dst = append(appendMember(dst, `,"org":{"name":`, employer), '}')
	}
	return append(dst, '}')
}

func appendEndpoint(dst []byte, address string) []byte {
	name := `,"src_endpoint":{"name":`
	if _, err := netip.ParseAddr(address); err == nil {
		name = `,"src_endpoint":{"ip":`
	} else if address == "" {
		address = "local"
	}
	return append(appendMember(dst, name, address), '}')
}

func appendOperation(dst []byte, e *auditlog.Entry) []byte {
	operation := e.Operation
	if operation == "" {
		operation = e.Event
	}
	dst = appendMember(dst, `,"api":{"operation":`, operation)
	if e.Request != "" {
		dst = append(appendMember(dst, `,"request":{"uid":`, e.Request), '}')
	}
	dst = append(dst, '}')
	if method, path := methodAndPath(e); method != "" {
		dst = appendMember(dst, `,"http_request":{"http_method":`, method)
		dst = append(appendMember(dst, `,"url":{"path":`, path), "}}"...)
	}
	return dst
}

func appendResource(dst []byte, e *auditlog.Entry) []byte {
	if e.Kind == "" {
		return dst
	}
	dst = appendMember(dst, `,"resources":[{"type":`, e.Kind)
	dst = appendMember(dst, `,"uid":`, e.Object)
	return append(dst, "}]"...)
}

// appendSubject appends whose privileges the event is about, and which.
func appendSubject(dst []byte, e *auditlog.Entry) []byte {
	staff := e.Detail["staff"]
	if staff == "" && e.Actor.Kind == auditlog.Staff {
		staff = e.Actor.ID
	}
	if staff == "" {
		dst = append(dst, `,"user":{"name":"unknown","type_id":0}`...)
	} else {
		dst = appendUser(append(dst, `,"user":`...), staff, string(auditlog.Staff), "")
	}
	scopes := e.Detail["scopes"]
	if scopes == "" {
		scopes = "staff.read"
	}
	return append(appendMember(dst, `,"privileges":[`, scopes), ']')
}

// appendUnmapped appends what the schema has no field for, and what will have one with its profile record_integrity.
func (w *ocsfWriter) appendUnmapped(dst []byte, r *record) []byte {
	e := &r.entry
	dst = appendMember(dst, `,"unmapped":{"outcome":`, string(e.Outcome))
	dst = appendMember(dst, `,"role":`, e.Actor.Role)
	dst = appendMember(dst, `,"country":`, e.Actor.Country)
	dst = appendMember(dst, `,"credential":`, e.Credential)
	dst = appendMember(dst, `,"environment":`, e.Environment)
	dst = appendMember(dst, `,"access_request":`, e.Access)
	dst = appendMember(dst, `,"reason_type":`, e.ReasonType)
	dst = appendMember(dst, `,"ticket":`, e.Ticket)
	dst = appendList(dst, `,"approvers":[`, e.Approvers)
	dst = appendList(dst, `,"unmasked_fields":[`, e.Fields)
	dst = strconv.AppendInt(append(dst, `,"records":`...), e.Records, 10)
	dst = strconv.AppendInt(append(dst, `,"persons":`...), int64(len(e.Persons)), 10)
	dst = appendPairs(dst, e.Detail)
	dst = append(dst, w.chain...)
	dst = strconv.AppendUint(append(dst, `,"uid":"`...), r.seq, 10)
	dst = hex.AppendEncode(append(dst, `","prev_event":"`...), e.Prev[:])
	dst = hex.AppendEncode(append(dst, `","fingerprint":{"algorithm":"SHA-256","algorithm_id":3,"value":"`...), r.leaf[:])
	return append(dst, `"}}]}`...)
}

func appendPairs(dst []byte, detail map[string]string) []byte {
	if len(detail) == 0 {
		return dst
	}
	dst = append(dst, `,"detail":{`...)
	for i, key := range slices.Sorted(maps.Keys(detail)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, key), ':')
		dst = appendString(dst, detail[key])
	}
	return append(dst, '}')
}

func appendList(dst []byte, name string, items []string) []byte {
	if len(items) == 0 {
		return dst
	}
	dst = append(dst, name...)
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, item)
	}
	return append(dst, ']')
}

// appendMember appends a string after what comes before it, or nothing if the string is empty.
func appendMember(dst []byte, before, s string) []byte {
	if s == "" {
		return dst
	}
	return appendString(append(dst, before...), s)
}

// appendString appends s as JSON has it, with no escape that isn't needed. It must be UTF-8.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			dst = append(append(dst, s[done:i]...), `\u00`...)
			dst = hex.AppendEncode(dst, []byte{c})
			done = i + 1
		}
	}
	return append(append(dst, s[done:]...), '"')
}
