package engine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"tuco/kv"
)

// Records that are written with every send are stored in protobuf's wire format, by hand: each field has a
// number, which is never given to another; what is zero is left out, and what is unknown is skipped. Each
// record type has its numbers, its encoder and its decoder in one place. Fields are
//
//   - numbers and labels: varints
//   - text: bytes; what there may be several of: one field each, also the empty ones
//   - ids: their 12 bytes
//   - times: a packed pair of varints, seconds since 1970 and, unless zero, nanoseconds; read as UTC
//   - words of a fixed set: their codes, see [codes]

// Versions of a record's encoding.
const (
	recordJSON = 1 // its JSON, as it was stored first
	recordWire = 2
)

// wireCodec is the codec of records that encode and decode bring into the wire format and back. Their
// JSON is still read.
func wireCodec[T any](encode func(w *recordWriter, v T), decode func(r recordReader) (T, error)) kv.Codec[T] {
	old := kv.JSON[T](recordJSON)
	return kv.Codec[T]{
		Version: recordWire,
		Encode: func(to []byte, v T) ([]byte, error) {
			w := recordWriters.Get().(*recordWriter)
			defer recordWriters.Put(w)
			w.data, w.err = to, nil
			encode(w, v)
			to, w.data = w.data, nil
			return to, w.err
		},
		Decode: func(version byte, data []byte) (v T, err error) {
			switch version {
			case recordJSON:
				return old.Decode(version, data)
			case recordWire:
				return decode(recordReader{rest: data})
			}
			return v, fmt.Errorf("record version %d is not known", version)
		},
	}
}

// A recordWriter puts a record together.
type recordWriter struct {
	data []byte
	err  error
}

var recordWriters = sync.Pool{New: func() any { return new(recordWriter) }}

func (w *recordWriter) number(field protowire.Number, n int64) {
	if n != 0 {
		w.data = protowire.AppendTag(w.data, field, protowire.VarintType)
		w.data = protowire.AppendVarint(w.data, uint64(n))
	}
}

func (w *recordWriter) flag(field protowire.Number, set bool) {
	if set {
		w.number(field, 1)
	}
}

func (w *recordWriter) text(field protowire.Number, s string) {
	if s != "" {
		w.data = protowire.AppendTag(w.data, field, protowire.BytesType)
		w.data = protowire.AppendString(w.data, s)
	}
}

func (w *recordWriter) texts(field protowire.Number, all []string) {
	for _, s := range all {
		w.data = protowire.AppendTag(w.data, field, protowire.BytesType)
		w.data = protowire.AppendString(w.data, s)
	}
}

func (w *recordWriter) bytes(field protowire.Number, b []byte) {
	if len(b) > 0 {
		w.data = protowire.AppendTag(w.data, field, protowire.BytesType)
		w.data = protowire.AppendBytes(w.data, b)
	}
}

func (w *recordWriter) id(field protowire.Number, id kv.ID) {
	if id != (kv.ID{}) {
		w.bytes(field, id[:])
	}
}

func (w *recordWriter) time(field protowire.Number, t time.Time) {
	if t.IsZero() {
		return
	}
	seconds, nanos := uint64(t.Unix()), uint64(t.Nanosecond())
	size := protowire.SizeVarint(seconds)
	if nanos != 0 {
		size += protowire.SizeVarint(nanos)
	}
	w.data = protowire.AppendTag(w.data, field, protowire.BytesType)
	w.data = protowire.AppendVarint(w.data, uint64(size))
	w.data = protowire.AppendVarint(w.data, seconds)
	if nanos != 0 {
		w.data = protowire.AppendVarint(w.data, nanos)
	}
}

// A recordReader takes a record apart. A field that is not of the kind that it is asked for reads as zero.
type recordReader struct {
	rest  []byte           // what was not read yet
	field protowire.Number // the current field's number
	n     uint64           // its value, if it is a varint
	value []byte           // its value, if it is bytes
	err   error
}

// next goes on to the next field. It returns false after the last one, or if the record is damaged.
func (r *recordReader) next() bool {
	if len(r.rest) == 0 || r.err != nil {
		return false
	}
	field, kind, size := protowire.ConsumeTag(r.rest)
	if size < 0 {
		return r.fail(protowire.ParseError(size))
	}
	r.rest = r.rest[size:]
	r.field, r.n, r.value = field, 0, nil
	switch kind {
	case protowire.VarintType:
		r.n, size = protowire.ConsumeVarint(r.rest)
	case protowire.BytesType:
		r.value, size = protowire.ConsumeBytes(r.rest)
	default:
		size = protowire.ConsumeFieldValue(field, kind, r.rest)
	}
	if size < 0 {
		return r.fail(protowire.ParseError(size))
	}
	r.rest = r.rest[size:]
	return true
}

func (r *recordReader) fail(err error) bool {
	r.err = err
	return false
}

func (r *recordReader) number() int64 { return int64(r.n) }
func (r *recordReader) flag() bool    { return r.n != 0 }
func (r *recordReader) text() string  { return string(r.value) }
func (r *recordReader) bytes() []byte { return bytes.Clone(r.value) }

func (r *recordReader) id() (id kv.ID) {
	if copy(id[:], r.value) != len(r.value) || len(r.value) != len(id) {
		r.fail(fmt.Errorf("field %d is an id of %d bytes", r.field, len(r.value)))
	}
	return id
}

func (r *recordReader) time() time.Time {
	seconds, size := protowire.ConsumeVarint(r.value)
	if size < 0 {
		r.fail(protowire.ParseError(size))
		return time.Time{}
	}
	nanos := uint64(0)
	if rest := r.value[size:]; len(rest) > 0 {
		if nanos, size = protowire.ConsumeVarint(rest); size < 0 || nanos >= uint64(time.Second) {
			r.fail(fmt.Errorf("field %d is no time", r.field))
			return time.Time{}
		}
	}
	return time.Unix(int64(seconds), int64(nanos)).UTC()
}

// codes are the words of a fixed set, each at the number that stands for it in records. A number is never
// given to another word.
type codes[W ~string] []W

// byWord are the numbers by the words.
func (c codes[W]) byWord() map[W]byte {
	numbers := map[W]byte{}
	for n, word := range c {
		if word != "" {
			numbers[word] = byte(n)
		}
	}
	return numbers
}

func writeCode[W ~string](w *recordWriter, field protowire.Number, words codes[W], word W) {
	code := slices.Index(words, word)
	if code < 0 {
		w.err = fmt.Errorf("field %d has no code for %q", field, strings.Clone(string(word)))
		return
	}
	w.number(field, int64(code))
}

func readCode[W ~string](r *recordReader, words codes[W]) (word W) {
	if r.n >= uint64(len(words)) {
		r.fail(fmt.Errorf("field %d has the unknown code %d", r.field, r.n))
		return word
	}
	return words[r.n]
}

// The fields of [CRM] in the records that it is part of.
const (
	crmExternalID protowire.Number = 60 + iota
	crmGHLContactID
	crmGHLLocationID
	crmHSContactID
	crmHSPortalID
)

func (w *recordWriter) crm(c *CRM) {
	w.text(crmExternalID, c.ExternalID)
	w.text(crmGHLContactID, c.GHLContactID)
	w.text(crmGHLLocationID, c.GHLLocationID)
	w.text(crmHSContactID, c.HSContactID)
	w.text(crmHSPortalID, c.HSPortalID)
}

// crm reads a field of a CRM. Any other is unknown, and skipped.
func (r *recordReader) crm(c *CRM) {
	switch r.field {
	case crmExternalID:
		c.ExternalID = r.text()
	case crmGHLContactID:
		c.GHLContactID = r.text()
	case crmGHLLocationID:
		c.GHLLocationID = r.text()
	case crmHSContactID:
		c.HSContactID = r.text()
	case crmHSPortalID:
		c.HSPortalID = r.text()
	}
}
