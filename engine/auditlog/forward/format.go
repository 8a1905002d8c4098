package forward

import (
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"

	"tuco/engine/auditlog/bundle"
)

// JSONL is the format of one object a line, {"seq":…,"leaf":"…","entry":…}, or {"seq":…,"leaf":"…","dropped":true} for an
// entry that is no longer kept. The entry is the line of the log without its newline, byte for byte.
const JSONL = "jsonl"

// Formats are the names of the formats.
var Formats = []string{JSONL, bundle.OCSF, bundle.CEF, bundle.CSV}

// places find number and leaf hash in what an encoder wrote. What a caller could have chosen stands behind them, or is
// escaped so that it does not match.
var places = map[string]*regexp.Regexp{
	JSONL:       regexp.MustCompile(`^\{"seq":(?<seq>\d+),"leaf":"(?<leaf>[0-9a-f]{64})","(?:entry":\{|dropped":true)`),
	bundle.OCSF: regexp.MustCompile(`^\{"category_uid":.*?"uid":"(?<leaf>[0-9a-f]{64})","sequence":(?<seq>\d+)[,}]`),
	bundle.CEF:  regexp.MustCompile(`^CEF:0\|.*?[ |]externalId=(?<seq>\d+) .* cs3Label=leafHash cs3=(?<leaf>[0-9a-f]{64})\b`),
	bundle.CSV:  regexp.MustCompile(`^(?<seq>\d+),(?<leaf>[0-9a-f]{64}),`),
}

// An encoder writes entries in a format.
type encoder struct {
	format string
	events *bundle.EventWriter // nil for JSONL
}

func newEncoder(format, product, origin string) (encoder, error) {
	if format == JSONL {
		return encoder{format: format}, nil
	}
	events, err := bundle.NewEventWriter(format, product, origin)
	return encoder{format, events}, err
}

// head is what stands before the first entry of a file.
func (c encoder) head() string {
	if c.events == nil {
		return ""
	}
	return c.events.Head()
}

// append appends an entry with its line end.
func (c encoder) append(dst []byte, e Entry) ([]byte, error) {
	if c.events != nil {
		return c.events.Append(dst, bundle.Line{Text: e.Line, Seq: e.Seq, Leaf: e.Leaf})
	}
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendUint(dst, e.Seq, 10)
	dst = hex.AppendEncode(append(dst, `,"leaf":"`...), e.Leaf[:])
	if e.Line == nil {
		return append(dst, `","dropped":true}`+"\n"...), nil
	}
	dst = append(append(dst, `","entry":`...), e.Line[:len(e.Line)-1]...)
	return append(dst, "}\n"...), nil
}

// place returns the number and the leaf hash of a line that an encoder of that format wrote.
func place(format string, line []byte) (seq uint64, leaf string, ok bool) {
	re := places[format]
	m := re.FindSubmatch(line)
	if m == nil {
		return 0, "", false
	}
	seq, err := strconv.ParseUint(string(m[re.SubexpIndex("seq")]), 10, 64)
	return seq, string(m[re.SubexpIndex("leaf")]), err == nil
}

func isFormat(name string) bool { return slices.Contains(Formats, name) }
