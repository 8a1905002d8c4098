package bundle

import (
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// csvHead is the first row of entries.csv.
const csvHead = "seq,leafHash,time,epoch,event,outcome,workspace,wsSeq,actorKind,actorId,employer,country,role,credential," +
	"address,request,operation,environment,kind,object,access,reasonType,ticket,approvers,fields,records,persons,position,detail\r\n"

// appendCSV appends the row of a line. A line without a body has its number, its leaf hash and "(dropped)" for the event.
func appendCSV(dst []byte, r *record) []byte {
	dst = strconv.AppendUint(dst, r.seq, 10)
	dst = hex.AppendEncode(append(dst, ','), r.leaf[:])
	if r.dropped {
		return append(dst, ",,,(dropped),,,,,,,,,,,,,,,,,,,,,,,,\r\n"...)
	}
	e := &r.entry
	dst = append(append(dst, ','), r.time...)
	dst = strconv.AppendUint(append(dst, ','), e.Epoch, 10)
	dst = appendCells(dst, e.Event, string(e.Outcome), e.Workspace)
	dst = append(dst, ',')
	if e.Workspace != "" {
		dst = strconv.AppendUint(dst, e.WsSeq, 10)
	}
	dst = appendCells(dst, string(e.Actor.Kind), e.Actor.ID, e.Actor.Employer, e.Actor.Country, e.Actor.Role, e.Credential,
		e.Address, e.Request, e.Operation, e.Environment, e.Kind, e.Object, e.Access, e.ReasonType, e.Ticket,
		joined(e.Approvers), joined(e.Fields))
	dst = strconv.AppendInt(append(dst, ','), e.Records, 10)
	dst = strconv.AppendInt(append(dst, ','), int64(len(e.Persons)), 10)
	dst = strconv.AppendUint(append(dst, ','), e.Position, 10)
	dst = appendCells(dst, detailText(e.Detail))
	return append(dst, "\r\n"...)
}

// joined returns the items of a list as one text.
func joined(items []string) string {
	if len(items) == 1 {
		return items[0]
	}
	return strings.Join(items, " ")
}

// detailText returns the pairs as one text, in the order of their keys.
func detailText(detail map[string]string) string {
	if len(detail) == 0 {
		return ""
	}
	var b strings.Builder
	for i, key := range slices.Sorted(maps.Keys(detail)) {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(key + "=" + detail[key])
	}
	return b.String()
}

// appendCells appends cells, each after a comma.
func appendCells(dst []byte, cells ...string) []byte {
	for _, cell := range cells {
		dst = append(dst, ',')
		if cell == "" {
			continue
		}
		start := len(dst)
		if isFormula(cell[0]) {
			dst = append(dst, '\'')
		}
		dst = append(dst, cell...)
		if needsQuotes(cell) {
			dst = quoteCell(dst, start)
		}
	}
	return dst
}

// isFormula reports whether some program takes a cell that begins with c for a formula.
func isFormula(c byte) bool {
	return c == '=' || c == '+' || c == '-' || c == '@' || c == '\t' || c == '\r'
}

func needsQuotes(cell string) bool {
	for i := range len(cell) {
		if c := cell[i]; c == ',' || c == '"' || c == '\r' || c == '\n' {
			return true
		}
	}
	return false
}

// quoteCell puts what dst holds from start on between quotes.
func quoteCell(dst []byte, start int) []byte {
	cell := strings.ReplaceAll(string(dst[start:]), `"`, `""`)
	dst = append(dst[:start], '"')
	dst = append(dst, cell...)
	return append(dst, '"')
}
