package bundle

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"tuco/engine/auditlog"
)

// Names of the formats in which others read entries.
const (
	CSV  = "csv"
	OCSF = "ocsf"
	CEF  = "cef"
)

// An EventWriter writes single lines of the log as a bundle has them. It may be used by one goroutine at a time.
type EventWriter struct {
	head    string
	append  func(dst []byte, r *record) []byte
	dropped func(dst []byte, r *record) []byte
	record  record
}

// NewEventWriter returns a writer of a format, for the log with that origin; product is the version of the program.
//
// Errors: [auditlog.ErrInvalid] for another format, or an origin that is none.
func NewEventWriter(format, product, origin string) (*EventWriter, error) {
	installation, _, err := auditlog.ParseOrigin(origin)
	if err != nil {
		return nil, err
	}
	m := &Manifest{Product: product, Installation: installation, Origin: origin}
	switch format {
	case CSV:
		return &EventWriter{head: csvHead, append: appendCSV, dropped: appendCSV}, nil
	case OCSF:
		w := newOCSFWriter(m)
		return &EventWriter{append: w.append, dropped: w.appendDropped}, nil
	case CEF:
		w := newCEFWriter(m)
		return &EventWriter{append: w.append, dropped: w.appendDropped}, nil
	}
	return nil, fmt.Errorf("%w format %q", auditlog.ErrInvalid, format)
}

// Head is what stands before the first event of a file, such as the names of columns.
func (w *EventWriter) Head() string { return w.head }

// Append appends the event of a line, with its line end. A line that is no longer kept has an event, too, unlike in a bundle:
// its number, its leaf hash, and that it was dropped.
//
// Errors: [auditlog.ErrMalformed].
func (w *EventWriter) Append(dst []byte, l Line) ([]byte, error) {
	if l.Text == nil {
		return w.dropped(dst, &record{seq: l.Seq, leaf: l.Leaf, dropped: true}), nil
	}
	if reason := w.record.parse(l.Text); reason != "" {
		return dst, fmt.Errorf("%w line: %s", auditlog.ErrMalformed, reason)
	}
	return w.append(dst, &w.record), nil
}

func (w *cefWriter) appendDropped(dst []byte, r *record) []byte {
	dst = append(append(dst, w.head...), "dropped|Entry no longer kept|0|externalId="...)
	dst = strconv.AppendUint(dst, r.seq, 10)
	dst = append(dst, " act=dropped cs3Label=leafHash cs3="...)
	return append(hex.AppendEncode(dst, r.leaf[:]), '\n')
}

// appendDropped appends a base event. Its time, which OCSF asks for, is not known: 0.
func (w *ocsfWriter) appendDropped(dst []byte, r *record) []byte {
	dst = append(dst, `{"category_uid":0,"category_name":"Uncategorized","class_uid":0,"class_name":"Base Event","activity_id":99,`+
		`"activity_name":"Dropped","type_uid":99,"type_name":"Base Event: Other","time":0,"severity_id":0,"message":"Entry no longer kept"`...)
	dst = append(dst, w.metadata...)
	dst = hex.AppendEncode(append(dst, `,"uid":"`...), r.leaf[:])
	dst = strconv.AppendUint(append(dst, `","sequence":`...), r.seq, 10)
	dst = append(append(dst, `},"unmapped":{"dropped":true`...), w.chain...)
	dst = strconv.AppendUint(append(dst, `,"uid":"`...), r.seq, 10)
	dst = hex.AppendEncode(append(dst, `","fingerprint":{"algorithm":"SHA-256","algorithm_id":3,"value":"`...), r.leaf[:])
	return append(dst, `"}}]}}`+"\n"...)
}
