package bundle

import (
	"cmp"
	"fmt"
	"html"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A page is HTML that is being written. Texts are escaped by the methods that take them.
type page struct{ b strings.Builder }

// pageOf returns report.html: one page that needs nothing else, and runs nothing.
func pageOf(m *Manifest, t *tally, staff []Staff) []byte {
	p := new(page)
	p.b.WriteString(pageHead)
	p.summary(m, t)
	p.requests(t)
	p.grants(t)
	p.denied(t)
	p.staff(staff)
	p.pruned(m)
	p.charts(t)
	p.events(t)
	p.b.WriteString("</body>\n</html>\n")
	return []byte(p.b.String())
}

const pageHead = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Audit log export</title>
<style>
body { font: 14px/1.4 sans-serif; color: #111; margin: 2em auto; max-width: 75em; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2em }
table { border-collapse: collapse; width: 100% }
th, td { border: 1px solid #bbb; padding: .25em .5em; text-align: left; vertical-align: top; overflow-wrap: anywhere }
th { background: #eee } .warn { background: #fdd }
svg text { font: 12px sans-serif; fill: #111 } svg rect { fill: #46a }
@media print {
body { font-size: 9pt; margin: 0; max-width: none }
h2 { break-after: avoid } tr, svg { break-inside: avoid } thead { display: table-header-group }
@page { size: A4 landscape; margin: 12mm }
}
</style>
</head>
<body>
`

func (p *page) summary(m *Manifest, t *tally) {
	p.b.WriteString("<h1>Audit log export</h1>\n")
	of := "the whole installation"
	if m.Workspace != "" {
		of = "workspace " + m.Workspace
	}
	p.pairs([][2]string{
		{"Installation", m.Installation},
		{"Of", of},
		{"Log", m.Origin},
		{"Lines", fmt.Sprintf("%d to %d, the last not included", m.From, m.To)},
		{"Entries", fmt.Sprintf("%d, and %d of which only the hash is kept", m.Entries, m.Dropped)},
		{"Earliest time", timeText(t.from)},
		{"Latest time", timeText(t.to)},
		{"Reads by staff and with keys of the operator", fmt.Sprintf("%d, of %d records", t.reads, t.records)},
		{"Reads without an access request", strconv.FormatInt(t.unasked, 10)},
		{"Denied attempts", strconv.FormatInt(t.refused, 10)},
		{"Exported", timeText(m.Time)},
		{"Product", "Tuco On-Prem " + m.Product},
	})
	p.note("Times are in UTC, as the server's clock had them; the order is that of the lines. This page is made from " +
		"entries.jsonl alone, staff accounts and pruned ranges excepted. It proves nothing by itself: verify the file it came in.")
}

func (p *page) requests(t *tally) {
	p.heading("Requests, decisions and use")
	var rows [][]string
	for _, q := range t.order {
		asked := timeText(q.asked)
		if q.asked.IsZero() {
			asked = "before these lines"
		}
		rows = append(rows, []string{q.id, q.workspace, q.environment, asked, q.staff, q.reason, q.ticket, q.scopes, q.decision(),
			strings.Join(q.deciders, ", "), q.separate(), q.use(), strconv.FormatInt(q.refused, 10)})
	}
	p.table("Request,Workspace,Environment,Asked,By,Reason,Ticket,Scopes,Decision,Decided by,Someone else decided,Use,Refused or failed", rows)
	if t.full {
		p.note(fmt.Sprintf("There are more than %d requests; the others are in the other files.", maxRows))
	}
}

func (q *accessRequest) decision() string {
	switch {
	case !q.denied.IsZero():
		return "denied " + timeText(q.denied)
	case !q.approved.IsZero():
		return "approved " + timeText(q.approved)
	case !q.asked.IsZero() && !q.ended.IsZero():
		return q.end + " " + timeText(q.ended)
	case len(q.deciders) > 0:
		return "not enough approvals in these lines"
	}
	return "none in these lines"
}

// separate says whether whoever asked is not among those who decided.
func (q *accessRequest) separate() string {
	if q.staff == "" || len(q.deciders) == 0 {
		return "–"
	}
	for _, d := range q.deciders {
		if d == q.staff || d == "staff "+q.staff {
			return "NO"
		}
	}
	return "yes"
}

func (q *accessRequest) use() string {
	if q.reads == 0 {
		return "none"
	}
	return fmt.Sprintf("%d reads of %d records, %s to %s", q.reads, q.records, timeText(q.firstRead), timeText(q.lastRead))
}

func (p *page) grants(t *tally) {
	p.heading("Grants and when they ended")
	var rows [][]string
	for _, q := range t.order {
		if q.approved.IsZero() {
			continue
		}
		end, held, after := "none in these lines", "–", "–"
		if !q.ended.IsZero() {
			end = q.end + " " + timeText(q.ended)
			held = q.ended.Sub(q.approved).Truncate(time.Second).String()
			after = "no"
			if q.lastRead.After(q.ended) {
				after = "YES"
			}
		}
		rows = append(rows, []string{q.id, q.workspace, q.staff, timeText(q.approved), end, held, timeText(q.lastRead), after})
	}
	p.table("Request,Workspace,Staff,Approved,Ended,Held for,Last read,Read after its end", rows)
}

func (p *page) denied(t *tally) {
	p.heading("Denied attempts")
	var rows [][]string
	for _, d := range t.denied {
		rows = append(rows, []string{strconv.FormatUint(d.seq, 10), timeText(d.time), d.event, d.actor, d.workspace, d.operation, d.access})
	}
	p.table("Line,Time,Event,Who,Workspace,Operation,Request", rows)
	if t.refused > maxRows {
		p.note(fmt.Sprintf("These are the first %d of %d; the others are in the other files.", maxRows, t.refused))
	}
}

func (p *page) staff(staff []Staff) {
	p.heading("Staff accounts, for the access review")
	var rows [][]string
	for _, s := range staff {
		rows = append(rows, []string{s.ID, s.Employer, s.Country, s.Role, timeText(s.Created), timeText(s.Disabled), ""})
	}
	p.table("Account,Employer,Country,Role,Created,Disabled,Still needed?", rows)
}

func (p *page) pruned(m *Manifest) {
	p.heading("Lines that are no longer kept")
	var rows [][]string
	for _, r := range m.Pruned {
		rows = append(rows, []string{strconv.FormatUint(r.From, 10), strconv.FormatUint(r.To, 10), timeText(r.Time), r.Reason})
	}
	p.table("From,To (not included),Dropped,Reason", rows)
}

func (p *page) events(t *tally) {
	p.heading("Entries by event")
	var rows [][]string
	for _, name := range slices.SortedFunc(maps.Keys(t.events), cmp.Compare[string]) {
		rows = append(rows, []string{name, eventOf(name).title, strconv.FormatInt(*t.events[name], 10)})
	}
	p.table("Event,Meaning,Entries", rows)
}

func (p *page) heading(text string) { p.put("<h2>", text, "</h2>\n") }
func (p *page) note(text string)    { p.put("<p>", text, "</p>\n") }

// put writes a text between pieces of HTML.
func (p *page) put(before, text, after string) {
	p.b.WriteString(before)
	p.b.WriteString(html.EscapeString(text))
	p.b.WriteString(after)
}

func (p *page) pairs(pairs [][2]string) {
	p.b.WriteString("<table>\n")
	for _, pair := range pairs {
		p.put("<tr><th>", pair[0], "</th>")
		p.put("<td>", pair[1], "</td></tr>\n")
	}
	p.b.WriteString("</table>\n")
}

// table writes a table whose heads are separated by commas, or that there is nothing in it. What is in capitals stands out.
func (p *page) table(heads string, rows [][]string) {
	if len(rows) == 0 {
		p.note("None.")
		return
	}
	p.b.WriteString("<table>\n<thead><tr>")
	for head := range strings.SplitSeq(heads, ",") {
		p.put("<th>", head, "</th>")
	}
	p.b.WriteString("</tr></thead>\n<tbody>\n")
	for _, row := range rows {
		p.b.WriteString("<tr>")
		for _, cell := range row {
			open := "<td>"
			if cell == "NO" || cell == "YES" {
				open = `<td class="warn">`
			}
			p.put(open, cell, "</td>")
		}
		p.b.WriteString("</tr>\n")
	}
	p.b.WriteString("</tbody>\n</table>\n")
}

// timeText returns a time for people, or nothing for the zero time.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}
