package bundle

import (
	"bytes"
	"encoding/hex"
	"strconv"

	"tuco/engine/auditlog"
)

// A record is one line of entries.jsonl, taken apart.
type record struct {
	text    []byte // with its newline
	seq     uint64
	leaf    auditlog.Hash
	dropped bool           // the body is no longer kept; what follows is zero then
	time    []byte         // as it stands in text
	entry   auditlog.Entry // its strings share one copy of text
	line    auditlog.Hash
}

// droppedEnd ends the form of a line without a body. No line of the log ends so, as all values of its last field are strings.
const droppedEnd = `,"dropped":true}` + "\n"

// appendDropped appends the form of a line of which only the leaf hash is kept.
func appendDropped(dst []byte, seq uint64, leaf auditlog.Hash) []byte {
	dst = append(dst, `{"v":1,"seq":`...)
	dst = strconv.AppendUint(dst, seq, 10)
	dst = append(dst, `,"leaf":"`...)
	dst = hex.AppendEncode(dst, leaf[:])
	return append(dst, `"`+droppedEnd...)
}

// parse takes text, a line of entries.jsonl, apart. It returns a reason why it is none, or "".
func (r *record) parse(text []byte) string {
	r.text = text
	if bytes.HasSuffix(text, []byte(droppedEnd)) {
		return r.parseDropped()
	}
	entry, err := auditlog.ParseLine(text)
	if err != nil {
		return err.Error()
	}
	r.entry, r.seq, r.dropped = entry, entry.Seq, false
	r.line, r.leaf = auditlog.LineHash(text), auditlog.LeafHash(text)
	at := bytes.IndexByte(text, 'T') - len("2006-01-02") // the first T, as what comes before are digits and names
	r.time = text[at : at+len("2006-01-02T15:04:05.000000Z")]
	return ""
}

func (r *record) parseDropped() string {
	r.entry, r.line, r.time, r.dropped = auditlog.Entry{}, auditlog.Hash{}, nil, true
	digits, rest, _ := bytes.Cut(bytes.TrimPrefix(r.text, []byte(`{"v":1,"seq":`)), []byte(`,"leaf":"`))
	seq, err := strconv.ParseUint(string(digits), 10, 64)
	leaf, _, _ := bytes.Cut(rest, []byte(`"`))
	if err != nil || seq > auditlog.MaxNumber || len(leaf) != 2*len(r.leaf) {
		return "not the form of a line without a body"
	}
	if _, err := hex.Decode(r.leaf[:], leaf); err != nil {
		return "not the form of a line without a body"
	}
	r.seq = seq
	if !bytes.Equal(appendDropped(nil, seq, r.leaf), r.text) {
		return "not the one form of a line without a body"
	}
	return ""
}
