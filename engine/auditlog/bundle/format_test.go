package bundle

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestCSV(t *testing.T) {
	b := bundleOf(t, goldenExport(goldenLog(t)))
	rows, err := csv.NewReader(bytes.NewReader(fileIn(t, b, csvFile))).ReadAll()
	must(t, err)
	if len(rows) != 1+26 {
		t.Fatalf("%d rows", len(rows))
	}
	column := map[string]string{}
	for i, name := range rows[0] {
		column[name] = rows[26][i]
		if dropped := rows[1][i]; name == "event" && dropped != "(dropped)" || name == "seq" && dropped != "5" {
			t.Errorf("dropped line: %s is %q", name, dropped)
		}
	}
	for name, want := range map[string]string{
		"seq": "30", "event": "something.new", "actorId": "'=a1", "kind": "'+1", "object": "x,y", "ticket": "'-\n\x01",
		"fields": "'@f g", "detail": `'=a="1"; b=2`, "operation": "a=b\\c|d\ne", "access": `ar"1`, "wsSeq": "10", "records": "0",
	} {
		if column[name] != want {
			t.Errorf("%s is %q, want %q", name, column[name], want)
		}
	}
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && isFormula(cell[0]) {
				t.Errorf("cell %q", cell)
			}
		}
	}
}

func TestOCSF(t *testing.T) {
	type object = map[string]any
	b := bundleOf(t, goldenExport(goldenLog(t)))
	classes := map[float64]int{}
	for line := range bytes.Lines(fileIn(t, b, ocsfFile)) {
		var e object
		must(t, json.Unmarshal(line, &e))
		class := e["class_uid"].(float64)
		classes[class]++
		if e["type_uid"].(float64) != 100*class+e["activity_id"].(float64) || e["time"].(float64) < 1e12 || e["severity_id"].(float64) < 1 {
			t.Errorf("event %s", line)
		}
		metadata, user := e["metadata"].(object), e["actor"].(object)["user"].(object)
		if metadata["version"] != ocsfVersion || metadata["product"].(object)["version"] != "1.2.3" || metadata["sequence"] == nil ||
			metadata["uid"] == nil || user["uid"] == nil && user["name"] == nil ||
			e["api"].(object)["operation"] == nil || len(e["src_endpoint"].(object)) != 1 {
			t.Errorf("event %s", line)
		}
		leaf := e["unmapped"].(object)["attestation_list"].([]any)[0].(object)["fingerprint"].(object)["value"]
		if leaf != metadata["uid"] {
			t.Errorf("leaf hash %v of %s", leaf, line)
		}
		if class == userAccessManagement && (len(e["privileges"].([]any)) != 1 || e["user"].(object)["type_id"] == nil) {
			t.Errorf("event %s", line)
		}
	}
	if classes[apiActivity] == 0 || classes[userAccessManagement] == 0 || len(classes) != 2 {
		t.Errorf("classes %v", classes)
	}
}

func TestCEF(t *testing.T) {
	b := fileIn(t, bundleOf(t, goldenExport(goldenLog(t))), cefFile)
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) != 23 {
		t.Errorf("%d lines", len(lines))
	}
	form := regexp.MustCompile(`^CEF:0\|Tuco\|On-Prem\|1\.2\.3\|[a-z.-]+\|[^|]+\|\d+\|rt=\d+ externalId=\d+ act=`)
	for _, line := range lines {
		if !form.MatchString(line) || !strings.Contains(line, " cs3Label=leafHash cs3=") {
			t.Errorf("line %s", line)
		}
	}
	for _, want := range []string{` request=a\=b\\c|d\ne `, ` suid=\=a1 `, ` cs4=-\r\n`, " shost=unix ", "|something.new|something.new|5|"} {
		if !strings.Contains(lines[22], want) {
			t.Errorf("no %q in %s", want, lines[22])
		}
	}
	if got := string(appendCEFHead(nil, `a|b\c`)); got != `a\|b\\c` {
		t.Errorf("head %q", got)
	}
}

func TestPage(t *testing.T) {
	b := string(fileIn(t, bundleOf(t, goldenExport(goldenLog(t))), pageFile))
	for _, never := range []string{"<script", "<b>", "http:", "https:", "src=", "href", "url(", "onload"} {
		if strings.Contains(strings.ReplaceAll(b, `xmlns="http://www.w3.org/2000/svg"`, ""), never) {
			t.Errorf("the page has %q", never)
		}
	}
	for _, want := range []string{
		"&lt;b&gt;Evil &amp; Sons&lt;/b&gt;", "retention &lt;30 days&gt;", "<svg", "@media print", "<td>ar3</td>", "something.new",
		"approved 2026-06-01", "expired 2026-06-01",
	} {
		if !strings.Contains(b, want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

// TestPageStaysSmall: the tables and charts have an end, and say so.
func TestPageStaysSmall(t *testing.T) {
	tally := newTally()
	for i := range 2 * maxRows {
		e := storyEntry(8)
		e.Seq, e.Access, e.Actor.ID = uint64(i), "ar"+strconv.Itoa(i), "s"+strconv.Itoa(i)
		e.Time = e.Time.AddDate(0, 0, i)
		tally.add(&record{entry: e})
		e.Event, e.Outcome = "staff.read", "done"
		tally.add(&record{entry: e})
	}
	page := string(pageOf(&Manifest{}, tally, nil))
	for _, want := range []string{"more than 5000 requests", "the first 5000 of 10000", "Reads per month", "9909 others"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

// TestEventsAreKnown: what the product records has a meaning in every format.
func TestEventsAreKnown(t *testing.T) {
	for name := range events {
		if e := eventOf(name); e.title == "" || strings.ContainsAny(e.title, "|\\=\n") || e.severity < 0 || e.severity > 10 {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if len(events) != 51 {
		t.Errorf("%d events", len(events))
	}
}
