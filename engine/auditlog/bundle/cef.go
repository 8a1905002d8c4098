package bundle

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"tuco/engine/auditlog"
)

// A cefWriter writes lines in the Common Event Format.
type cefWriter struct {
	head string // of every line, with the version of the product
}

func newCEFWriter(m *Manifest) *cefWriter {
	return &cefWriter{"CEF:0|Tuco|On-Prem|" + string(appendCEFHead(nil, m.Product)) + "|"}
}

// append appends the event of a line; nothing for one without a body.
func (w *cefWriter) append(dst []byte, r *record) []byte {
	if r.dropped {
		return dst
	}
	e := &r.entry
	about := eventOf(e.Event)
	dst = append(append(dst, w.head...), e.Event...) // an event has nothing to escape
	dst = append(append(dst, '|'), about.name(e)...)
	dst = strconv.AppendInt(append(dst, '|'), int64(about.grade(e)), 10)
	dst = strconv.AppendInt(append(dst, "|rt="...), e.Time.UnixMilli(), 10)
	dst = strconv.AppendUint(append(dst, " externalId="...), r.seq, 10)
	dst = appendPair(dst, " act=", e.Event)
	dst = appendPair(dst, " outcome=", string(e.Outcome))
	dst = appendPair(dst, " suser=", e.Actor.ID)
	dst = appendPair(dst, " suid=", e.Actor.ID)
	dst = appendPair(dst, " spriv=", string(e.Actor.Kind))
	dst = appendPair(dst, sourceKey(e.Address), e.Address)
	dst = appendPair(dst, " reason=", e.ReasonType)
	method, path := methodAndPath(e)
	dst = appendPair(dst, " request=", path)
	dst = appendPair(dst, " requestMethod=", method)
	dst = appendPair(dst, " cs1Label=workspace cs1=", e.Workspace)
	dst = appendPair(dst, " cs2Label=accessRequest cs2=", e.Access)
	dst = hex.AppendEncode(append(dst, " cs3Label=leafHash cs3="...), r.leaf[:])
	dst = appendPair(dst, " cs4Label=ticket cs4=", e.Ticket)
	dst = appendPair(dst, " cs5Label=employer cs5=", e.Actor.Employer)
	dst = appendPair(dst, " cs6Label=country cs6=", e.Actor.Country)
	dst = strconv.AppendInt(append(dst, " cn1Label=records cn1="...), e.Records, 10)
	return append(dst, '\n')
}

// sourceKey returns the key of an address, which may be a name.
func sourceKey(address string) string {
	if _, err := netip.ParseAddr(address); err != nil {
		return " shost="
	}
	return " src="
}

// methodAndPath returns the parts of an operation that is a request, or no method and all of it.
func methodAndPath(e *auditlog.Entry) (method, path string) {
	method, path, found := strings.Cut(e.Operation, " ")
	if !found || !strings.HasPrefix(path, "/") {
		return "", e.Operation
	}
	return method, path
}

// appendPair appends a value after its key, or nothing if the value is empty.
func appendPair(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, key...)
	done := 0
	for i := range len(value) {
		escape := ""
		switch value[i] {
		case '\\':
			escape = `\\`
		case '=':
			escape = `\=`
		case '\n':
			escape = `\n`
		case '\r':
			escape = `\r`
		default:
			continue
		}
		dst = append(append(dst, value[done:i]...), escape...)
		done = i + 1
	}
	return append(dst, value[done:]...)
}

// appendCEFHead appends a field of the head. It has no line ends.
func appendCEFHead(dst []byte, field string) []byte {
	for i := range len(field) {
		if c := field[i]; c == '\\' || c == '|' {
			dst = append(dst, '\\')
		}
		dst = append(dst, field[i])
	}
	return dst
}
