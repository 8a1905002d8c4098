// Package strictjson decodes JSON from strangers: what two readers could understand differently is refused, and the refusal
// says what is wrong and where.
//
// Refused are duplicate keys, invalid UTF-8 and lone surrogates, a byte order mark, more than one value, more than [MaxDepth]
// levels, a root that isn't an object, and values of the wrong type; all of them also inside members that nobody asked for,
// maps and jsontext.Value. Keys are matched to struct fields byte for byte. The rules for Go types are those of
// github.com/go-json-experiment/json, of which the ones to know are:
//
//   - null sets the zero value, also where the field is not a pointer. Only a pointer, a map, a slice or a jsontext.Value
//     tells null from a zero, and only a jsontext.Value tells null from absent.
//   - An integer takes no fraction, no exponent and nothing out of its range, and is exact beyond 2^53.
//   - A number in an any is a float64, so beyond 2^53 it is rounded, and beyond 1e308 refused. A jsontext.Value keeps it as written.
//   - A nil slice is written [], a nil map {}.
package strictjson

import (
	"bytes"
	"errors"
	"io"
	"reflect"

	"github.com/go-json-experiment/json"
)

// MaxDepth is how many objects and arrays may lie within each other, the root included.
const MaxDepth = 32

// An Option changes what [Unmarshal] refuses.
type Option uint8

// RejectUnknown refuses members that the Go value has no place for, which are ignored otherwise.
const RejectUnknown Option = 1

var rejectUnknown = json.RejectUnknownMembers(true)

// Unmarshal decodes data, which must hold exactly one JSON object, into v, a non-nil pointer. It adds to what v holds: maps
// are not emptied, and fields that are not named keep their value. After a failure v may be filled in part. What v holds
// afterwards shares no memory with data.
//
// Errors: always an [*Error]. A fault of the text, wherever it is, comes before a fault of what the text says.
func Unmarshal(data []byte, v any, opts ...Option) error {
	if p := reflect.ValueOf(v); p.Kind() != reflect.Pointer || p.IsNil() {
		panic("strictjson: Unmarshal into something other than a non-nil pointer")
	}
	var options []json.Options
	for _, o := range opts {
		if o == RejectUnknown {
			options = append(options, rejectUnknown)
		}
	}
	var err error
	isObject := startsObject(data)
	if isObject && !tooDeep(data) {
		if err = json.Unmarshal(data, v, options...); err == nil {
			return nil
		}
	}
	if fault := textFault(data); fault != nil {
		return fault
	}
	if !isObject {
		return &Error{Kind: RootNotObject, Msg: "the JSON text must be an object"}
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return valueFault(data, semantic)
	}
	return &Error{Kind: Type, Msg: "the JSON text is not valid here", Err: err}
}

// Marshal returns v as compact JSON, the same bytes for the same value: map keys are sorted, and nothing is escaped that JSON
// doesn't demand. Types that have a method for it, such as times, write themselves.
func Marshal(v any) ([]byte, error) {
	return json.Marshal(v, json.Deterministic(true))
}

// MarshalWrite writes what [Marshal] returns to w, perhaps in part if it fails.
func MarshalWrite(w io.Writer, v any) error {
	return json.MarshalWrite(w, v, json.Deterministic(true))
}

// startsObject reports whether the first thing in data is a brace.
func startsObject(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 0 && data[0] == '{'
}

// tooDeep reports whether brackets outside of strings nest deeper than MaxDepth. It is right for whatever text comes before
// the first fault of syntax, which is how far a decoder can get.
func tooDeep(data []byte) bool {
	if bytes.Count(data, []byte("{"))+bytes.Count(data, []byte("[")) <= MaxDepth {
		return false // wherever they are: this is quick, and enough for most texts
	}
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			if depth++; depth > MaxDepth {
				return true
			}
		case '}', ']':
			depth--
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		}
	}
	return false
}
