package strictjson

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Kind says which rule a text broke.
type Kind int

const (
	Syntax        Kind = iota // not JSON at all: also an empty text, or a byte order mark
	UTF8                      // bytes that are not UTF-8, or half of a surrogate pair
	Duplicate                 // an object with the same key twice
	Depth                     // nested deeper than MaxDepth
	Trailing                  // something after the value
	RootNotObject             // JSON, but an array, a string, a number, a boolean or null
	Type                      // a value that does not fit where it stands
	Unknown                   // a key that has no place; only with RejectUnknown
)

var kindNames = [...]string{"syntax", "utf8", "duplicate", "depth", "trailing", "root not object", "type", "unknown"}

func (k Kind) String() string { return kindNames[k] }

// Error is why a text was refused.
type Error struct {
	Kind    Kind
	Offset  int64  // in bytes from the start of the text, at the fault or close before it
	Pointer string // to the value concerned (RFC 6901), empty for the root; as long as the keys of the text
	Msg     string // what and where, safe to show: at most maxQuotedBytes of the text, no names of Go types
	Err     error  // what a type's own decoding said, nil otherwise; for the log only
}

func (e *Error) Error() string { return e.Msg }
func (e *Error) Unwrap() error { return e.Err }

// maxQuotedBytes is how much of the text a message repeats.
const maxQuotedBytes = 40

const byteOrderMark = "\ufeff"

// textFault reads data token by token and returns its first fault as a text, nil if it is one JSON value.
func textFault(data []byte) *Error {
	if bytes.HasPrefix(data, []byte(byteOrderMark)) {
		return &Error{Kind: Syntax, Msg: "byte order mark, byte 0"}
	}
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	for {
		_, err := dec.ReadToken()
		switch {
		case err == io.EOF:
			return &Error{Kind: Syntax, Offset: int64(len(data)), Msg: "no JSON value"}
		case err != nil:
			return syntaxFault(data, err)
		case dec.StackDepth() > MaxDepth:
			return newError(Depth, dec.InputOffset()-1, string(dec.StackPointer()), fmt.Sprintf("nested deeper than %d levels", MaxDepth))
		case dec.StackDepth() == 0:
			rest := bytes.TrimLeft(data[dec.InputOffset():], " \t\r\n")
			if len(rest) == 0 {
				return nil
			}
			return newError(Trailing, int64(len(data)-len(rest)), "", "text after the end of the JSON value")
		}
	}
}

// syntaxFault says what the decoder has against data, going by the text at the fault rather than by the decoder's words.
func syntaxFault(data []byte, err error) *Error {
	fault, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok {
		return &Error{Kind: Syntax, Msg: "not valid JSON", Err: err}
	}
	offset, pointer := min(fault.ByteOffset, int64(len(data))), string(fault.JSONPointer)
	at := data[offset:]
	r, size := utf8.DecodeRune(at)
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return newKeyError(Duplicate, offset, fault.JSONPointer, "duplicate key")
	case isSurrogate(at):
		return newError(UTF8, offset, pointer, "lone surrogate "+string(at[:len(`\ud800`)]))
	case errors.Is(err, io.ErrUnexpectedEOF) || size == 0:
		return newError(Syntax, int64(len(data)), pointer, "the text ends too early")
	case r == utf8.RuneError && size == 1:
		return newError(UTF8, offset, pointer, "invalid UTF-8")
	}
	return newError(Syntax, offset, pointer, "unexpected "+strconv.QuoteRune(r))
}

// isSurrogate reports whether text starts with the escape of one half of a surrogate pair.
func isSurrogate(text []byte) bool {
	if len(text) < len(`\ud800`) || text[0] != '\\' || text[1] != 'u' {
		return false
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return err == nil && 0xd800 <= unit && unit <= 0xdfff
}

// valueFault says which value of data, a proper text, does not fit.
func valueFault(data []byte, err *json.SemanticError) *Error {
	offset := min(err.ByteOffset, int64(len(data)))
	if errors.Is(err, json.ErrUnknownName) {
		return newKeyError(Unknown, offset, err.JSONPointer, "unknown key")
	}
	e := &Error{Kind: Type, Offset: offset, Pointer: string(err.JSONPointer)}
	e.Msg = show(e.Pointer, maxQuotedBytes)
	if e.Msg == "" {
		e.Msg = "the JSON text"
	}
	switch wanted := name(err.GoType); {
	case errors.Is(err, strconv.ErrRange):
		e.Msg += " is out of range"
	case wanted == aString && err.JSONKind == '"': // it was a string, but its type didn't like it
		e.Msg += " is not valid"
	case wanted != "":
		e.Msg += " must be " + wanted
	default:
		e.Msg += " is not valid"
	}
	if err.Err != nil && !errors.Is(err, strconv.ErrRange) && !errors.Is(err, strconv.ErrSyntax) {
		e.Err = err.Err
	}
	return e
}

const aString = "a string"

// name says in a reader's words what a value of type t looks like in JSON, "" if that is up to the type.
func name(t reflect.Type) string {
	switch {
	case t == nil:
		return ""
	case t == reflect.TypeFor[time.Time]():
		return "a time such as 2026-04-12T10:30:00.000Z"
	case unmarshalsText(t):
		return aString
	case unmarshalsJSON(t):
		return ""
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return aString
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number, not negative"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "a base64 string"
		}
		return "an array"
	}
	return ""
}

func unmarshalsText(t reflect.Type) bool {
	return t != nil && reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func unmarshalsJSON(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[json.UnmarshalerFrom]())
}

// newError returns an error that says what is wrong with the value at pointer.
func newError(kind Kind, offset int64, pointer, what string) *Error {
	e := &Error{Kind: kind, Offset: offset, Pointer: pointer, Msg: what}
	if pointer != "" {
		e.Msg += " at " + show(pointer, maxQuotedBytes-len(`\ud800`))
	}
	e.Msg += fmt.Sprintf(", byte %d", offset)
	return e
}

// newKeyError returns an error about the key that pointer ends with.
func newKeyError(kind Kind, offset int64, pointer jsontext.Pointer, what string) *Error {
	key := show(pointer.LastToken(), maxQuotedBytes/2)
	e := &Error{Kind: kind, Offset: offset, Pointer: string(pointer), Msg: fmt.Sprintf("%s %q", what, key)}
	if parent := string(pointer.Parent()); parent != "" {
		e.Msg += " at " + show(parent, maxQuotedBytes-len(key))
	}
	e.Msg += fmt.Sprintf(", byte %d", offset)
	return e
}

// show returns at most n bytes of s, the last ones, with what can't be printed replaced.
func show(s string, n int) string {
	cut := ""
	if len(s) > n {
		i := len(s) - n
		for i < len(s) && !utf8.RuneStart(s[i]) {
			i++
		}
		cut, s = "…", s[i:]
	}
	return cut + strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
