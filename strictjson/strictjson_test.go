package strictjson

import (
	stdjson "encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

type lead struct {
	FirstName    string         `json:"firstName"`
	Score        int64          `json:"score,omitzero"`
	Weight       float64        `json:"weight,omitzero"`
	Age          uint8          `json:"age,omitzero"`
	OptedIn      bool           `json:"optedIn,omitzero"`
	Tags         []string       `json:"tags,omitzero"`
	Photo        []byte         `json:"photo,omitzero"`
	CreatedAt    time.Time      `json:"createdAt,omitzero"`
	Notes        *string        `json:"notes,omitzero"`
	CustomFields map[string]any `json:"customFields,omitzero"`
	Raw          jsontext.Value `json:"raw,omitzero"`
	Colour       colour         `json:"colour,omitzero"`
	Size         size           `json:"size,omitzero"`
}

type request struct {
	Leads  []lead `json:"leads"`
	Source string `json:"source,omitzero"`
}

var errColour = errors.New("no such colour")

type colour string

func (c *colour) UnmarshalText(text []byte) error {
	if *c = colour(text); *c != "red" {
		return errColour
	}
	return nil
}

var errSize = errors.New("no such size")

type size struct{ metres int }

func (s *size) UnmarshalJSON(text []byte) error {
	if string(text) != "1" {
		return errSize
	}
	s.metres = 1
	return nil
}

func (s size) MarshalJSON() ([]byte, error) { return []byte("1"), nil }

func nested(open, within, shut string, n int) string {
	return strings.Repeat(open, n) + within + strings.Repeat(shut, n)
}

func TestUnmarshalRefuses(t *testing.T) {
	inLead := func(member string) string { return `{"leads":[{` + member + `}]}` }
	long := strings.Repeat("k", 1<<20)
	for _, tt := range []struct {
		name, in string
		kind     Kind
		msg      string
	}{
		{"nothing", "", Syntax, "no JSON value"},
		{"only space", " \n", Syntax, "no JSON value"},
		{"text", "hello", Syntax, "unexpected 'h', byte 0"},
		{"a NUL", "\x00", Syntax, `unexpected '\x00', byte 0`},
		{"a form", "source=api&leads=1", Syntax, "unexpected 's', byte 0"},
		{"gzip", "\x1f\x8b\x08\x00", Syntax, `unexpected '\x1f', byte 0`},
		{"a byte order mark", "\ufeff{}", Syntax, "byte order mark, byte 0"},
		{"cut short", `{"leads":`, Syntax, "the text ends too early at /leads, byte 9"},
		{"cut short in an escape", `{"source":"\ud8`, Syntax, "the text ends too early at /source, byte 15"},
		{"cut short in an array", `[1,`, Syntax, "the text ends too early, byte 3"},
		{"a comma too many", `{"source":"x",}`, Syntax, "unexpected ',', byte 13"},
		{"single quotes", `{'source':1}`, Syntax, `unexpected '\'', byte 1`},
		{"a comment", `{/**/}`, Syntax, "unexpected '/', byte 1"},
		{"a leading zero", inLead(`"score":01`), Syntax, "unexpected '1' at /leads/0, byte 20"},
		{"a plus sign", inLead(`"score":+1`), Syntax, "unexpected '+' at /leads/0/score, byte 19"},
		{"NaN", inLead(`"weight":NaN`), Syntax, "unexpected 'N' at /leads/0/weight, byte 20"},
		{"a raw newline in a string", "{\"source\":\"a\nb\"}", Syntax, `unexpected '\n' at /source, byte 12`},
		{"a key that is no string", `{1:2}`, Syntax, "unexpected '1', byte 1"},

		{"invalid UTF-8", "{\"source\":\"a\xffb\"}", UTF8, "invalid UTF-8 at /source, byte 12"},
		{"invalid UTF-8 in a key", "{\"so\xc0\xafurce\":1}", UTF8, "invalid UTF-8, byte 4"},
		{"invalid UTF-8 in an unknown member", "{\"x\":[\"\xed\xa0\x80\"]}", UTF8, "invalid UTF-8 at /x/0, byte 7"},
		{"a lone surrogate", `{"source":"\ud800"}`, UTF8, `lone surrogate \ud800 at /source, byte 11`},
		{"a lone low surrogate", `{"source":"x\udc00"}`, UTF8, `lone surrogate \udc00 at /source, byte 12`},
		{"a surrogate before a letter", `{"source":"\ud800\u0041"}`, UTF8, `lone surrogate \ud800 at /source, byte 11`},
		{"a lone surrogate in a raw value", inLead(`"raw":{"a":"\uDFFF"}`), UTF8, `lone surrogate \uDFFF at /leads/0/raw/a, byte 23`},

		{"a key twice", `{"source":"a","source":"a"}`, Duplicate, `duplicate key "source", byte 14`},
		{"a key twice, once escaped", `{"source":"a","sourc\u0065":"a"}`, Duplicate, `duplicate key "source", byte 14`},
		{"a key twice in a lead", inLead(`"score":1,"score":2`), Duplicate, `duplicate key "score" at /leads/0, byte 21`},
		{"a key twice in a map", inLead(`"customFields":{"a":1,"a":2}`), Duplicate, `duplicate key "a" at /leads/0/customFields, byte 33`},
		{"a key twice in a raw value", inLead(`"raw":[{"a":1,"a":2}]`), Duplicate, `duplicate key "a" at /leads/0/raw/0, byte 25`},
		{"a key twice in an unknown member", `{"x":{"a":1,"a":2}}`, Duplicate, `duplicate key "a" at /x, byte 12`},
		{"an unknown key twice", `{"x":1,"x":2}`, Duplicate, `duplicate key "x", byte 7`},
		{"the empty key twice", `{"":1,"":2}`, Duplicate, `duplicate key "", byte 6`},
		{"a key twice below a key of 1 MiB", `{"` + long + `":{"source":1,"source":2}}`, Duplicate, `duplicate key "source" at …` + long[:34] + `, byte 1048592`},

		{"33 levels", `{"x":` + nested("[", "", "]", 32) + `}`, Depth, "nested deeper than 32 levels at …" + strings.Repeat("/0", 17) + ", byte 36"},
		{"33 levels in a raw value", inLead(`"raw":` + nested(`{"a":`, "1", "}", 30)), Depth, "nested deeper than 32 levels at …" + strings.Repeat("/a", 17) + ", byte 162"},
		{"33 levels of arrays", nested("[", "", "]", 33), Depth, "nested deeper than 32 levels at …" + strings.Repeat("/0", 17) + ", byte 32"},
		{"10001 levels", `{"x":` + nested("[", "", "]", 10000) + `}`, Depth, "nested deeper than 32 levels at …" + strings.Repeat("/0", 17) + ", byte 36"},
		{"10001 levels, never closed", strings.Repeat(`{"":`, 10001), Depth, "nested deeper than 32 levels at " + strings.Repeat("/", 32) + ", byte 128"},

		{"a second object", `{} {}`, Trailing, "text after the end of the JSON value, byte 3"},
		{"a second key twice", `{}{"a":1,"a":1}`, Trailing, "text after the end of the JSON value, byte 2"},
		{"a letter after the end", `{"source":"x"}x`, Trailing, "text after the end of the JSON value, byte 14"},
		{"a NUL after the end", "{}\x00", Trailing, "text after the end of the JSON value, byte 2"},

		{"null", `null`, RootNotObject, "the JSON text must be an object"},
		{"an array", ` [{"source":"x"}]`, RootNotObject, "the JSON text must be an object"},
		{"a string", `"{}"`, RootNotObject, "the JSON text must be an object"},
		{"a number", `1e400`, RootNotObject, "the JSON text must be an object"},
		{"a boolean", `true`, RootNotObject, "the JSON text must be an object"},

		{"a number for a string", inLead(`"firstName":5`), Type, "/leads/0/firstName must be a string"},
		{"an object for an array", `{"leads":{}}`, Type, "/leads must be an array"},
		{"a string for an object", `{"leads":["x"]}`, Type, "/leads/0 must be an object"},
		{"an array for a map", inLead(`"customFields":[]`), Type, "/leads/0/customFields must be an object"},
		{"a string for a boolean", inLead(`"optedIn":"true"`), Type, "/leads/0/optedIn must be true or false"},
		{"a string for an integer", inLead(`"score":"5"`), Type, "/leads/0/score must be a whole number"},
		{"a fraction for an integer", inLead(`"score":1.0`), Type, "/leads/0/score must be a whole number"},
		{"an exponent for an integer", inLead(`"score":1e2`), Type, "/leads/0/score must be a whole number"},
		{"an int64 overflow", inLead(`"score":9223372036854775808`), Type, "/leads/0/score is out of range"},
		{"an int64 underflow", inLead(`"score":-9223372036854775809`), Type, "/leads/0/score is out of range"},
		{"a uint8 overflow", inLead(`"age":256`), Type, "/leads/0/age is out of range"},
		{"a negative age", inLead(`"age":-1`), Type, "/leads/0/age must be a whole number, not negative"},
		{"1e400", inLead(`"weight":1e400`), Type, "/leads/0/weight is out of range"},
		{"1e400 in a map", inLead(`"customFields":{"a":[1e400]}`), Type, "/leads/0/customFields/a/0 is out of range"},
		{"no base64", inLead(`"photo":"*"`), Type, "/leads/0/photo must be a base64 string"},
		{"no time", inLead(`"createdAt":"yesterday"`), Type, "/leads/0/createdAt must be a time such as 2026-04-12T10:30:00.000Z"},
		{"a number for a time", inLead(`"createdAt":0`), Type, "/leads/0/createdAt must be a time such as 2026-04-12T10:30:00.000Z"},
		{"a value its type refuses", inLead(`"colour":"blue"`), Type, "/leads/0/colour is not valid"},
		{"a number for text", inLead(`"colour":5`), Type, "/leads/0/colour must be a string"},
		{"a JSON value its type refuses", inLead(`"size":2`), Type, "/leads/0/size is not valid"},
		{"bad below a key of 1 MiB", inLead(`"customFields":{"` + long + `":1e400}`), Type, "…" + long[:maxQuotedBytes] + " is out of range"},
		{"a key that can't be printed", inLead(`"customFields":{"\u202e\n":1e400}`), Type, "/leads/0/customFields/?? is out of range"},

		// A fault of the text comes before a fault of what it says.
		{"a wrong type, then a syntax error", `{"source":5,"leads":[}`, Syntax, "unexpected '}' at /leads/0, byte 21"},
		{"a wrong type, then a second value", `{"source":5}{}`, Trailing, "text after the end of the JSON value, byte 12"},
	} {
		err := Unmarshal([]byte(tt.in), new(request))
		var got *Error
		if !errors.As(err, &got) {
			t.Errorf("%s: Unmarshal(%.60q) = %v, want an *Error", tt.name, tt.in, err)
			continue
		}
		if got.Kind != tt.kind || got.Error() != tt.msg {
			t.Errorf("%s: Unmarshal(%.60q)\n got %v: %s\nwant %v: %s", tt.name, tt.in, got.Kind, got, tt.kind, tt.msg)
		}
		checkError(t, []byte(tt.in), got)
	}
}

// checkError checks what holds for every error.
func checkError(t *testing.T, in []byte, e *Error) {
	t.Helper()
	if e.Kind.String() == "" || e.Offset < 0 || e.Offset > int64(len(in)) || !jsontext.Pointer(e.Pointer).IsValid() {
		t.Errorf("Unmarshal(%.60q): kind %v, offset %d, pointer %.60q, want them within the text", in, e.Kind, e.Offset, e.Pointer)
	}
	if !utf8.ValidString(e.Msg) || len(e.Msg) > 140 || strings.ContainsAny(e.Msg, "\r\n") {
		t.Errorf("Unmarshal(%.60q): message %q, want a short line", in, e.Msg)
	}
	for _, word := range []string{"Go ", "json:", "strictjson", "jsontext", "int64", "map[", "colour\"", "size\""} {
		if strings.Contains(e.Msg, word) && !strings.Contains(string(in), word) {
			t.Errorf("Unmarshal(%.60q): message %q has the word %q", in, e.Msg, word)
		}
	}
}

func TestErrorSaysWhere(t *testing.T) {
	var got *Error
	if err := Unmarshal([]byte(`{"leads":[{},{"a/b~":1,"firstName":5}]}`), new(request)); !errors.As(err, &got) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if got.Pointer != "/leads/1/firstName" || got.Offset != 35 {
		t.Errorf("got pointer %s, byte %d, want /leads/1/firstName, byte 35", got.Pointer, got.Offset)
	}
	if err := Unmarshal([]byte(`{"a/b~":1,"a/b~":2}`), new(request)); !errors.As(err, &got) || got.Pointer != "/a~1b~0" {
		t.Errorf("got %v, want the pointer /a~1b~0", err)
	}
	for in, want := range map[string]error{`{"leads":[{"colour":"blue"}]}`: errColour, `{"leads":[{"size":2}]}`: errSize} {
		if err := Unmarshal([]byte(in), new(request)); !errors.Is(err, want) {
			t.Errorf("Unmarshal(%s) = %v, want it to wrap %v", in, err, want)
		}
	}
}

func TestUnmarshalAccepts(t *testing.T) {
	var r request
	in := ` { "leads" : [ {"firstName":"\ud83d\ude00\u0000","score":9007199254740993,"notes":"","createdAt":"2026-04-12T10:30:00.000Z",
		"customFields":{"big":9007199254740993},"raw":{"big":9007199254740993},"colour":"red","size":1} ] , "source" : null } ` + "\r\n"
	if err := Unmarshal([]byte(in), &r, RejectUnknown); err != nil {
		t.Fatal(err)
	}
	got := r.Leads[0]
	if got.FirstName != "😀\x00" || got.Score != 1<<53+1 || got.Notes == nil || !got.CreatedAt.Equal(time.Date(2026, 4, 12, 10, 30, 0, 0, time.UTC)) {
		t.Errorf("got %+v", got)
	}
	if got.CustomFields["big"] != float64(1<<53) || string(got.Raw) != `{"big":9007199254740993}` {
		t.Errorf("got %v rounded and %s exact, want 2^53 and 2^53+1", got.CustomFields["big"], got.Raw)
	}

	for name, in := range map[string]string{
		"32 levels":              `{"x":` + nested("[", "", "]", 31) + `}`,
		"brackets in a string":   `{"source":"` + strings.Repeat(`[{\"`, 100) + `"}`,
		"a string of 1 MiB":      `{"source":"` + strings.Repeat("ä", 1<<19) + `"}`,
		"the largest int64":      `{"leads":[{"score":9223372036854775807}]}`,
		"the smallest int64":     `{"leads":[{"score":-9223372036854775808}]}`,
		"minus zero":             `{"leads":[{"score":-0}]}`,
		"1e400 as a raw value":   `{"leads":[{"raw":1e400}]}`,
		"the same key elsewhere": `{"leads":[{"score":1},{"score":1}],"score":1}`,
	} {
		if err := Unmarshal([]byte(in), new(request)); err != nil {
			t.Errorf("%s: Unmarshal(%.60q): %v", name, in, err)
		}
	}
}

func TestNullSetsTheZeroValue(t *testing.T) {
	notes := "x"
	l := lead{FirstName: "Ana", Score: 1, Notes: &notes, Tags: []string{"a"}, CustomFields: map[string]any{"a": 1.0}, Colour: "red"}
	if err := Unmarshal([]byte(`{"firstName":null,"score":null,"notes":null,"tags":null,"customFields":null,"colour":null,"raw":null}`), &l); err != nil {
		t.Fatal(err)
	}
	if want := (lead{Raw: jsontext.Value("null")}); !reflect.DeepEqual(l, want) {
		t.Errorf("got %+v, want all zero, and raw null", l)
	}
}

// The Kelvin sign folds to k, and the long s to s: to a reader that ignores case they are the same keys.
func TestKeysMatchByteForByte(t *testing.T) {
	type wire struct {
		Workspace string `json:"workspace"`
	}
	for _, key := range []string{"WORKSPACE", "Workspace", "wor\u212aspace", `wor\u212aspace`, "work\u017fpace", "work_space", "workspace "} {
		in := []byte(`{"workspace":"mine","` + key + `":"yours"}`)
		var got wire
		if err := Unmarshal(in, &got); err != nil || got.Workspace != "mine" {
			t.Errorf("Unmarshal(%s) = %v, %v, want mine", in, got, err)
		}
		var e *Error
		if err := Unmarshal(in, &got, RejectUnknown); !errors.As(err, &e) || e.Kind != Unknown {
			t.Errorf("Unmarshal(%s, RejectUnknown) = %v, want an unknown key", in, err)
		}
	}
	err := Unmarshal([]byte(`{"leads":[{"firstname":"Ana"}]}`), new(request), RejectUnknown)
	if want := `unknown key "firstname" at /leads/0, byte 11`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestUnmarshalKeepsNothingOfTheText(t *testing.T) {
	in := []byte(`{"leads":[{"firstName":"Ana","raw":{"a":"b"},"customFields":{"c":"d"}}]}`)
	var r request
	if err := Unmarshal(in, &r); err != nil {
		t.Fatal(err)
	}
	clear(in)
	if l := r.Leads[0]; l.FirstName != "Ana" || string(l.Raw) != `{"a":"b"}` || l.CustomFields["c"] != "d" {
		t.Errorf("after the text was overwritten: %+v", l)
	}
}

func TestUnmarshalPanicsWithoutAPointer(t *testing.T) {
	for _, v := range []any{nil, request{}, (*request)(nil)} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Unmarshal into %T did not panic", v)
				}
			}()
			_ = Unmarshal([]byte(`{}`), v)
		}()
	}
}

func TestMarshal(t *testing.T) {
	type wire struct {
		Text  string            `json:"text"`
		Map   map[string]int    `json:"map"`
		Time  time.Time         `json:"time"`
		Raw   jsontext.Value    `json:"raw"`
		Nil   []string          `json:"nil"`
		None  map[string]string `json:"none"`
		Large int64             `json:"large"`
		Size  size              `json:"size"`
		Left  string            `json:"left,omitempty"`
	}
	v := wire{"<b>&\u2028é", map[string]int{"b": 2, "a": 1, "c": 3}, time.Date(2026, 4, 12, 10, 30, 0, 0, time.UTC), jsontext.Value(`{ "z": 1, "a": 2 }`), nil, nil, 1<<53 + 1, size{1}, ""}
	want := `{"text":"<b>&` + "\u2028é" + `","map":{"a":1,"b":2,"c":3},"time":"2026-04-12T10:30:00Z","raw":{"z":1,"a":2},"nil":[],"none":{},"large":9007199254740993,"size":1}`
	for range 20 {
		got, err := Marshal(v)
		if err != nil || string(got) != want {
			t.Fatalf("Marshal = %s, %v\nwant      %s", got, err, want)
		}
	}
	for _, v := range []any{math.NaN(), "a\xff", jsontext.Value(`{"a":1,"a":2}`), make(chan int)} {
		if got, err := Marshal(v); err == nil {
			t.Errorf("Marshal(%T) = %s, want an error", v, got)
		}
	}
}

// What is accepted means the same to encoding/json, comes out of Marshal as JSON that is accepted again, and then no longer
// changes. What is refused is refused in a way that can be shown.
func FuzzUnmarshal(f *testing.F) {
	for _, in := range []string{"", "null", `{}`, `{"leads":[{"firstName":"Ana","score":9007199254740993,"weight":-0.0,"customFields":{"a":[1,null,{"b":"\ud83d\ude00"}]},"raw":[ 1e400 ]}]}`,
		`{"a":1,"a":2}`, `{"a":"\ud800"}`, "{\"\xff\":1}", `{} {}`, "\ufeff{}", `{"leads":[{"score":1.5}]}`, nested("[", "", "]", 33), "{\"wor\u212aspace\":1}",
		`{"leads":[{"tags":[],"photo":"AA==","createdAt":"2026-04-12T10:30:00.000Z","notes":null,"colour":"red","size":1}],"source":"<&>\u2028"}`} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		refused := func(err error) bool {
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("Unmarshal(%q) = %v, want an *Error", in, err)
			}
			if err != nil {
				checkError(t, in, e)
			}
			return err != nil
		}
		again := func(v, to any) []byte {
			out, err := Marshal(v)
			if err != nil {
				t.Fatalf("Marshal of what %q holds: %v", in, err)
			}
			if err := Unmarshal(out, to, RejectUnknown); err != nil {
				t.Fatalf("Unmarshal(%q), made from %q: %v", out, in, err)
			}
			return out
		}

		var free, back, std map[string]any
		if !refused(Unmarshal(in, &free)) {
			again(free, &back)
			if !reflect.DeepEqual(free, back) {
				t.Fatalf("%q decodes to %v, and its encoding to %v", in, free, back)
			}
			if err := stdjson.Unmarshal(in, &std); err != nil || !reflect.DeepEqual(free, std) {
				t.Fatalf("%q decodes to %v, and by encoding/json to %v, %v", in, free, std, err)
			}
		}
		var r, r2, r3 request
		if !refused(Unmarshal(in, &r, RejectUnknown)) {
			first, second := again(r, &r2), again(r2, &r3)
			if string(first) != string(second) {
				t.Fatalf("%q encodes as %s, then as %s", in, first, second)
			}
		}
	})
}

const body = `{"message":"Hello Ana, are you free on Thursday at ten for a quick call about the offer?","messageType":"imessage","recipientPhone":"+12025550142",` +
	`"recipientName":"Ana Example","timezone":"America/New_York","sendWindowStart":"09:00","sendWindowEnd":"17:00","allowedDaysOfWeek":[1,2,3,4,5],"batchId":"b-1"}`

type message struct {
	Message           string `json:"message"`
	MessageType       string `json:"messageType"`
	RecipientPhone    string `json:"recipientPhone"`
	RecipientName     string `json:"recipientName"`
	Timezone          string `json:"timezone"`
	SendWindowStart   string `json:"sendWindowStart"`
	SendWindowEnd     string `json:"sendWindowEnd"`
	AllowedDaysOfWeek []int  `json:"allowedDaysOfWeek"`
	BatchID           string `json:"batchId"`
}

func BenchmarkUnmarshal(b *testing.B) {
	for name, unmarshal := range map[string]func([]byte, any) error{
		"strictjson":    func(data []byte, v any) error { return Unmarshal(data, v) },
		"encoding-json": stdjson.Unmarshal,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				var m message
				if err := unmarshal([]byte(body), &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMarshal(b *testing.B) {
	var m message
	if err := Unmarshal([]byte(body), &m); err != nil {
		b.Fatal(err)
	}
	for name, marshal := range map[string]func(any) ([]byte, error){"strictjson": Marshal, "encoding-json": stdjson.Marshal} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := marshal(&m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
