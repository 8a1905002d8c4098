package auditlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLine(t *testing.T) {
	for _, tt := range []struct {
		entry Entry
		want  string
	}{
		{fullEntry(), fullLine},
		{leastEntry(), leastLine},
	} {
		line, err := AppendLine([]byte("before"), &tt.entry)
		if got, _ := bytes.CutPrefix(line, []byte("before")); err != nil || string(got) != tt.want {
			t.Errorf("AppendLine: %v\ngot  %s\nwant %s", err, got, tt.want)
		}
		e, err := ParseLine([]byte(tt.want))
		tt.entry.Time = tt.entry.Time.UTC()
		if err != nil || !reflect.DeepEqual(e, tt.entry) {
			t.Errorf("ParseLine(%s): %v\ngot  %+v\nwant %+v", tt.want, err, e, tt.entry)
		}
	}
}

// A line has one encoding: whatever is written otherwise is refused, even where a JSON reader would see no difference.
func TestParseLineIsStrict(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	for _, tt := range []struct{ about, old, new string }{
		{"fields in another order", `"request":"r-99","operation":"GET /staff/workspaces/{id}/messages"`,
			`"operation":"GET /staff/workspaces/{id}/messages","request":"r-99"`},
		{"fields of the actor in another order", `"country":"DE","role":"support"`, `"role":"support","country":"DE"`},
		{"space before a value", `"seq":41`, `"seq": 41`},
		{"space after a comma", `,"epoch"`, `, "epoch"`},
		{"space in front", `{"v"`, ` {"v"`},
		{"space at the end", "}}\n", "}} \n"},
		{"carriage return", "}}\n", "}}\r\n"},
		{"no newline", "}}\n", "}}"},
		{"two newlines", "}}\n", "}}\n\n"},
		{"two lines", "}}\n", "}}\n" + leastLine},
		{"bytes after the line", "}}\n", "}}\nx"},
		{"byte order mark", `{"v"`, "\ufeff" + `{"v"`},
		{"another version", `"v":1`, `"v":2`},
		{"no version", `"v":1,`, ``},
		{"upper-case hash", "ca978112", "CA978112"},
		{"short hash", "ca978112", "ca97811"},
		{"long hash", "ca978112", "ca9781122"},
		{"hash of other letters", "ca978112", "cg978112"},
		{"upper-case digest", "ab000000", "AB000000"},
		{"short digest", "ab000000", "ab0000"},
		{"escaped slash", `GET /staff`, `GET \/staff`},
		{"escaped letter", `GET /staff`, `\u0047ET /staff`},
		{"escaped é", "é", `\u00e9`},
		{"escaped line separator", "\u2028", `\u2028`},
		{"tab as a number", `\t`, `\u0009`},
		{"number of an escape in upper case", `\b`, `\u001B`},
		{"quote as a number", `\"5`, `\u00225`},
		{"unknown escape", `\b`, `\a`},
		{"cut escape", `\u0001`, `\u00`},
		{"control character", `\u0001`, "\x01"},
		{"newline in a string", `\n`, "\n"},
		{"not UTF-8", "é", "\xe9"},
		{"half of a surrogate pair", "é", "\xed\xa0\x80"},
		{"leading zero", `"seq":41`, `"seq":041`},
		{"plus sign", `"seq":41`, `"seq":+41`},
		{"negative number", `"records":2`, `"records":-2`},
		{"fraction", `"records":2`, `"records":2.0`},
		{"exponent", `"records":2`, `"records":2e0`},
		{"number as a string", `"records":2`, `"records":"2"`},
		{"too large a number", `"seq":41`, `"seq":9007199254740992`},
		{"number of 17 digits", `"seq":41`, `"seq":10000000000000000`},
		{"number that would wrap", `"seq":41`, `"seq":18446744073709551657`},
		{"no number", `"seq":41`, `"seq":`},
		{"null", `"ticket":"T-`, `"ticket":null,"x":"`},
		{"zero number", `"epoch":1`, `"epoch":0`},
		{"zero records", `"records":2`, `"records":0`},
		{"empty text", `"object":"m1"`, `"object":""`},
		{"empty text of the actor", `"country":"DE"`, `"country":""`},
		{"empty list", `["body"]`, `[]`},
		{"empty persons", `["ab000000000000000000000000000001","00000000000000000000000000000000"]`, `[]`},
		{"empty detail", `{"B":"2","a":"1","b":""}`, `{}`},
		{"empty item", `["body"]`, `[""]`},
		{"trailing comma", `["body"]`, `["body",]`},
		{"no comma", `["u1","u2"]`, `["u1""u2"]`},
		{"detail in another order", `{"B":"2","a":"1"`, `{"a":"1","B":"2"`},
		{"key twice in the detail", `{"B":"2","a":"1"`, `{"B":"2","B":"2","a":"1"`},
		{"empty key in the detail", `{"B":"2"`, `{"":"2"`},
		{"number in the detail", `{"B":"2"`, `{"B":2`},
		{"field twice", `"object":"m1"`, `"object":"m1","object":"m1"`},
		{"unknown field", `"object":"m1"`, `"object":"m1","objects":"m1"`},
		{"unknown field at the end", "}}\n", `},"z":1}` + "\n"},
		{"field in another case", `"object"`, `"Object"`},
		{"milliseconds", ".000070Z", ".000Z"},
		{"nanoseconds", ".000070Z", ".000070000Z"},
		{"whole seconds", ".000070Z", "Z"},
		{"another zone", ".000070Z", ".000070+00:00"},
		{"lower-case z", ".000070Z", ".000070z"},
		{"space in a time", "23T14", "23 14"},
		{"day that isn't", "2026-11-23", "2026-11-31"},
		{"29 February 2025", "2026-11-23", "2025-02-29"},
		{"month that isn't", "2026-11-23", "2026-13-23"},
		{"hour that isn't", "14:05:06", "24:05:06"},
		{"leap second", "14:05:06", "23:59:60"},
		{"year of three digits", "2026-11", "926-11"},
		{"before 1970", "2026-11", "1969-11"},
		{"no prev", `"prev":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",`, ``},
		{"no number in the workspace", `"wsSeq":7,`, ``},
		{"place in a workspace, without it", `"workspace":"656f00aa01",`, ``},
		{"no event", `"event":"staff.read",`, ``},
		{"upper-case event", `staff.read`, `Staff.read`},
		{"event with an empty word", `staff.read`, `staff..read`},
		{"event that ends in a dot", `staff.read`, `staff.`},
		{"event with a space", `staff.read`, `staff read`},
		{"no outcome", `"outcome":"done",`, ``},
		{"unknown outcome", `"outcome":"done"`, `"outcome":"ok"`},
		{"no actor", `"actor":{"kind":"staff","id":"s1","employer":"Tuco GmbH","country":"DE","role":"support"},`, ``},
		{"unknown kind of actor", `{"kind":"staff"`, `{"kind":"robot"`},
		{"actor without a kind", `{"kind":"staff",`, `{`},
		{"actor that is a list", `{"kind":"staff"`, `["kind":"staff"`},
	} {
		if strings.Count(fullLine, tt.old) != 1 {
			t.Errorf("%s: %q is not once in the line", tt.about, tt.old)
		}
		line := strings.Replace(fullLine, tt.old, tt.new, 1)
		if _, err := ParseLine([]byte(line)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want a refusal of %s", tt.about, err, line)
		}
	}
	for _, line := range []string{"", "\n", "{}\n", "null\n", `{"v":1}` + "\n", leastLine[:len(leastLine)-2],
		strings.Replace(leastLine, zeros, zeros+`","workspace":"`, 1), strings.Repeat("x", MaxLineBytes+1)} {
		if _, err := ParseLine([]byte(line)); !errors.Is(err, ErrMalformed) {
			t.Errorf("got %v, want a refusal of %.99q", err, line)
		}
	}
}

// A line that was cut is refused wherever that was.
func TestCutLine(t *testing.T) {
	for n := range len(fullLine) {
		if _, err := ParseLine([]byte(fullLine[:n])); err == nil {
			t.Errorf("accepted %q", fullLine[:n])
		}
	}
}

func TestRefusedEntries(t *testing.T) {
	long := strings.Repeat("x", MaxTextBytes+1)
	many := slices.Repeat([]string{"x"}, MaxItems+1)
	detail := map[string]string{}
	for i := range MaxItems + 1 {
		detail[fmt.Sprint(i)] = ""
	}
	for about, change := range map[string]func(e *Entry){
		"no time":                  func(e *Entry) { e.Time = time.Time{} },
		"before 1970":              func(e *Entry) { e.Time = time.Unix(0, -1) },
		"the year 10000":           func(e *Entry) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"no event":                 func(e *Entry) { e.Event = "" },
		"event with a dot ahead":   func(e *Entry) { e.Event = ".read" },
		"long event":               func(e *Entry) { e.Event = long },
		"no outcome":               func(e *Entry) { e.Outcome = "" },
		"no kind of actor":         func(e *Entry) { e.Actor.Kind = "" },
		"wsSeq, no workspace":      func(e *Entry) { e.WsSeq = 1 },
		"wsPrev, no workspace":     func(e *Entry) { e.WsPrev = Hash{1} },
		"long text":                func(e *Entry) { e.Ticket = long },
		"not UTF-8":                func(e *Entry) { e.Ticket = "a\xff" },
		"role is not UTF-8":        func(e *Entry) { e.Actor.Role = "\xc0\x80" },
		"empty approver":           func(e *Entry) { e.Approvers = []string{""} },
		"many approvers":           func(e *Entry) { e.Approvers = many },
		"many fields":              func(e *Entry) { e.Fields = many },
		"a field is not UTF-8":     func(e *Entry) { e.Fields = []string{"\x80"} },
		"many persons":             func(e *Entry) { e.Persons = make([]Digest, MaxItems+1) },
		"many details":             func(e *Entry) { e.Detail = detail },
		"empty key":                func(e *Entry) { e.Detail = map[string]string{"": "x"} },
		"long value":               func(e *Entry) { e.Detail = map[string]string{"x": long} },
		"negative records":         func(e *Entry) { e.Records = -1 },
		"too many records":         func(e *Entry) { e.Records = MaxNumber + 1 },
		"too large a seq":          func(e *Entry) { e.Seq = MaxNumber + 1 },
		"too large a position":     func(e *Entry) { e.Position = MaxNumber + 1 },
		"line of more than 64 KiB": func(e *Entry) { e.Fields = slices.Repeat([]string{long[1:]}, 64) },
	} {
		e := leastEntry()
		change(&e)
		dst, err := AppendLine([]byte("before"), &e)
		if !errors.Is(err, ErrInvalid) || string(dst) != "before" {
			t.Errorf("%s: got %q, %v, want a refusal", about, dst, err)
		}
	}
}

// The longest line is accepted, and one byte more is not.
func TestLongestLine(t *testing.T) {
	e := leastEntry()
	e.Fields = slices.Repeat([]string{strings.Repeat("x", MaxTextBytes)}, 63)
	room := MaxLineBytes - len(leastLine) - len(`,"fields":[]`) - 63*(MaxTextBytes+3) + 1
	e.Ticket = strings.Repeat("x", room-len(`,"ticket":""`))
	line, err := AppendLine(nil, &e)
	if err != nil || len(line) != MaxLineBytes {
		t.Fatalf("got %d bytes, %v, want %d", len(line), err, MaxLineBytes)
	}
	_, err = ParseLine(line)
	must(t, err)
	e.Ticket += "x"
	if _, err := AppendLine(nil, &e); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, want a refusal", err)
	}
}

// A jsonEntry is a line as package encoding/json reads it.
type jsonEntry struct {
	V                                                        int
	Seq, Epoch, WsSeq, Position                              uint64
	Time                                                     time.Time
	Prev, WsPrev                                             string
	Actor                                                    Actor
	Workspace, Event, Outcome, Credential, Address, Request  string
	Operation, Environment, Kind, Object, Access, ReasonType string
	Ticket                                                   string
	Approvers, Fields, Persons                               []string
	Records                                                  int64
	Detail                                                   map[string]string
}

// seen returns what a reader of JSON should see of e.
func seen(e Entry) jsonEntry {
	j := jsonEntry{1, e.Seq, e.Epoch, e.WsSeq, e.Position, e.Time, fmt.Sprintf("%x", e.Prev[:]), "", e.Actor,
		e.Workspace, e.Event, string(e.Outcome), e.Credential, e.Address, e.Request,
		e.Operation, e.Environment, e.Kind, e.Object, e.Access, e.ReasonType,
		e.Ticket, e.Approvers, e.Fields, nil, e.Records, e.Detail}
	if e.Workspace != "" {
		j.WsPrev = fmt.Sprintf("%x", e.WsPrev[:])
	}
	for _, d := range e.Persons {
		j.Persons = append(j.Persons, d.String())
	}
	return j
}

// What is written is read as it was, by this package and by any reader of JSON.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEntry().Draw(t, "entry")
		line, err := AppendLine(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseLine(line)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("%v\nline %s\ngot  %+v\nwant %+v", err, line, got, e)
		}
		var read jsonEntry
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&read); err != nil || !reflect.DeepEqual(read, seen(e)) {
			t.Fatalf("%v\nline %s\nread %+v\nwant %+v", err, line, read, seen(e))
		}
		if bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("%q is not one line", line)
		}
	})
}

// anyEntry draws entries as [ParseLine] returns them: what is empty is nil.
func anyEntry() *rapid.Generator[Entry] {
	return rapid.Custom(func(t *rapid.T) Entry {
		text := func() string { return anyText().Draw(t, "text") }
		number := func() uint64 { return rapid.Uint64Range(0, MaxNumber).Draw(t, "number") }
		var hash [2]Hash
		copy(hash[0][:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "prev"))
		copy(hash[1][:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "wsPrev"))
		e := Entry{
			Seq:       number(),
			Time:      time.UnixMicro(rapid.Int64Range(0, endOfTime*1e6-1).Draw(t, "time")).UTC(),
			Epoch:     number(),
			Prev:      hash[0],
			Workspace: text(),
			Event:     rapid.StringMatching(`[a-z0-9-]+(\.[a-z0-9-]+){0,3}`).Draw(t, "event"),
			Outcome:   rapid.SampledFrom([]Outcome{Done, Denied, Failed}).Draw(t, "outcome"),
			Actor: Actor{rapid.SampledFrom([]ActorKind{Staff, Key, Auditor, Operator, System}).Draw(t, "actor"),
				text(), text(), text(), text()},
			Credential: text(), Address: text(), Request: text(), Operation: text(), Environment: text(), Kind: text(),
			Object: text(), Access: text(), ReasonType: text(), Ticket: text(),
			Approvers: rapid.SliceOfN(anyText().Filter(notEmpty), 0, 5).Draw(t, "approvers"),
			Fields:    rapid.SliceOfN(anyText().Filter(notEmpty), 0, 5).Draw(t, "fields"),
			Records:   int64(number()),
			Position:  number(),
			Detail:    rapid.MapOfN(anyText().Filter(notEmpty), anyText(), 0, 5).Draw(t, "detail"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "persons") {
			e.Persons = append(e.Persons, Digest(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "person")))
		}
		if e.Workspace != "" {
			e.WsSeq, e.WsPrev = number(), hash[1]
		}
		e.Approvers, e.Fields = slices.Clip(e.Approvers), slices.Clip(e.Fields)
		if len(e.Approvers) == 0 {
			e.Approvers = nil
		}
		if len(e.Fields) == 0 {
			e.Fields = nil
		}
		if len(e.Detail) == 0 {
			e.Detail = nil
		}
		return e
	})
}

func notEmpty(s string) bool { return s != "" }

// anyText draws short texts in which what must be escaped is frequent.
func anyText() *rapid.Generator[string] {
	return rapid.OneOf(rapid.Just(""), rapid.StringN(0, 40, 160),
		rapid.StringOfN(rapid.SampledFrom([]rune("\x00\x1f\x7f\b\f\n\r\t\"\\/ué\u2028\ufeff😀")), 0, 20, -1))
}

// Whatever is accepted is the line of its entry. What differs in order or case of a line that is right is refused.
func FuzzParseLine(f *testing.F) {
	f.Add([]byte(fullLine))
	f.Add([]byte(leastLine))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := ParseLine(line)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || !reflect.DeepEqual(e, Entry{}) {
				t.Errorf("ParseLine(%q) = %+v, %v", line, e, err)
			}
			return
		}
		again, err := AppendLine(nil, &e)
		if err != nil || !bytes.Equal(again, line) {
			t.Errorf("ParseLine(%q) is written as %q, %v", line, again, err)
		}
		var read jsonEntry
		if err := json.Unmarshal(line, &read); err != nil || !maps.Equal(read.Detail, e.Detail) || read.Ticket != e.Ticket {
			t.Errorf("%q is read as %+v, %v", line, read, err)
		}
	})
}
