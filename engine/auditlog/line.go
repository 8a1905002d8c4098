package auditlog

import (
	"encoding/hex"
	"slices"
	"strconv"
	"time"
)

// AppendLine appends the line of e, which ends in a newline. Every entry has one line at most: fields stand in the order
// of [Entry], without spaces, those that are zero are left out, times have six decimals, hashes are lower-case hex, and of
// characters only ", \ and those below U+0020 are escaped. If it fails, dst is returned as it was.
//
// Errors: [ErrInvalid].
func AppendLine(dst []byte, e *Entry) ([]byte, error) {
	if err := e.check(); err != nil {
		return dst, err
	}
	line := appendPlace(dst, e)
	line = appendText(line, `,"event":`, e.Event)
	line = appendText(line, `,"outcome":`, string(e.Outcome))
	line = appendActor(line, &e.Actor)
	line = appendText(line, `,"credential":`, e.Credential)
	line = appendText(line, `,"address":`, e.Address)
	line = appendText(line, `,"request":`, e.Request)
	line = appendText(line, `,"operation":`, e.Operation)
	line = appendText(line, `,"environment":`, e.Environment)
	line = appendText(line, `,"kind":`, e.Kind)
	line = appendText(line, `,"object":`, e.Object)
	line = appendText(line, `,"access":`, e.Access)
	line = appendText(line, `,"reasonType":`, e.ReasonType)
	line = appendText(line, `,"ticket":`, e.Ticket)
	line = appendTexts(line, `,"approvers":[`, e.Approvers)
	line = appendTexts(line, `,"fields":[`, e.Fields)
	line = appendNumber(line, `,"records":`, uint64(e.Records))
	line = appendPersons(line, `,"persons":[`, e.Persons)
	line = appendNumber(line, `,"position":`, e.Position)
	line = appendDetail(line, `,"detail":{`, e.Detail)
	line = append(line, "}\n"...)
	if n := len(line) - len(dst); n > MaxLineBytes {
		return dst, invalid("entry: its line would have %d bytes, more than %d", n, MaxLineBytes)
	}
	return line, nil
}

// appendPlace appends the fields that say where in the log the line stands.
func appendPlace(dst []byte, e *Entry) []byte {
	dst = append(dst, `{"v":1,"seq":`...)
	dst = strconv.AppendUint(dst, e.Seq, 10)
	dst = appendTime(dst, `,"time":"`, e.Time)
	dst = appendNumber(dst, `,"epoch":`, e.Epoch)
	dst = appendHash(dst, `,"prev":"`, e.Prev)
	if e.Workspace == "" {
		return dst
	}
	dst = appendText(dst, `,"workspace":`, e.Workspace)
	dst = append(dst, `,"wsSeq":`...)
	dst = strconv.AppendUint(dst, e.WsSeq, 10)
	return appendHash(dst, `,"wsPrev":"`, e.WsPrev)
}

func appendActor(dst []byte, a *Actor) []byte {
	dst = appendText(dst, `,"actor":{"kind":`, string(a.Kind))
	dst = appendText(dst, `,"id":`, a.ID)
	dst = appendText(dst, `,"employer":`, a.Employer)
	dst = appendText(dst, `,"country":`, a.Country)
	dst = appendText(dst, `,"role":`, a.Role)
	return append(dst, '}')
}

// The functions below append a field as name says it begins, or nothing if it is zero.

func appendText(dst []byte, name, text string) []byte {
	if text == "" {
		return dst
	}
	return appendQuoted(append(dst, name...), text)
}

func appendNumber(dst []byte, name string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, name...), n, 10)
}

func appendTexts(dst []byte, name string, texts []string) []byte {
	for i, s := range texts {
		dst = append(dst, after(i, name)...)
		dst = appendQuoted(dst, s)
	}
	return appendEnd(dst, len(texts), ']')
}

func appendPersons(dst []byte, name string, persons []Digest) []byte {
	for i := range persons {
		dst = append(dst, after(i, name)...)
		dst = append(dst, '"')
		dst = hex.AppendEncode(dst, persons[i][:])
		dst = append(dst, '"')
	}
	return appendEnd(dst, len(persons), ']')
}

func appendDetail(dst []byte, name string, detail map[string]string) []byte {
	if len(detail) == 0 {
		return dst
	}
	var room [8]string
	keys := room[:0]
	for key := range detail {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for i, key := range keys {
		dst = append(dst, after(i, name)...)
		dst = append(appendQuoted(dst, key), ':')
		dst = appendQuoted(dst, detail[key])
	}
	return appendEnd(dst, len(detail), '}')
}

// after returns what stands before item i: the name of the field, or a comma.
func after(i int, name string) string {
	if i == 0 {
		return name
	}
	return ","
}

// appendEnd ends a list of n items.
func appendEnd(dst []byte, n int, end byte) []byte {
	if n == 0 {
		return dst
	}
	return append(dst, end)
}

// The functions below append a value whatever it is.

func appendHash(dst []byte, name string, h Hash) []byte {
	dst = hex.AppendEncode(append(dst, name...), h[:])
	return append(dst, '"')
}

func appendTime(dst []byte, name string, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = appendDigits(append(dst, name...), year, 4)
	dst = appendDigits(append(dst, '-'), int(month), 2)
	dst = appendDigits(append(dst, '-'), day, 2)
	dst = appendDigits(append(dst, 'T'), hour, 2)
	dst = appendDigits(append(dst, ':'), minute, 2)
	dst = appendDigits(append(dst, ':'), second, 2)
	dst = appendDigits(append(dst, '.'), t.Nanosecond()/1000, 6)
	return append(dst, `Z"`...)
}

// appendDigits appends the last count digits of n.
func appendDigits(dst []byte, n, count int) []byte {
	var digits [6]byte
	for i := range count {
		digits[count-1-i] = '0' + byte(n%10)
		n /= 10
	}
	return append(dst, digits[:count]...)
}

func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			dst = append(dst, s[done:i]...)
			dst = appendEscape(dst, c)
			done = i + 1
		}
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return hex.AppendEncode(append(dst, `\u00`...), []byte{c})
}
