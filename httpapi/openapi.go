package httpapi

import (
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"tuco/engine"
	"tuco/strictjson"
)

// object is a JSON object of the OpenAPI document.
type object map[string]any

// A describer makes the OpenAPI document (3.1) out of the routes and the Go types of what goes in and
// out, so that it can't name what isn't there. In both directions a field without omitzero is always
// there. In an answer only a pointer without omitzero can be null; in a request null is the same as
// nothing said, for every field that may be left out.
type describer struct {
	schemas object // of what is in answers, by name
}

const documentText = "Tuco on your own machine. Every error is an ErrorResponse, or a Problem (RFC 9457) if Accept names application/problem+json. " +
	"Every answer carries X-Request-Id and X-Correlation-Id: those of the request, if they are at most 128 letters, digits or any of -_.:/+=. " +
	"Unknown fields and parameters are ignored. GET answers HEAD too; other methods get 405, unknown ones 501, other paths 404, headers over 16 KiB 431."

const staffText = "A token of one of staff, tuco_st_…. It opens nothing by itself: what it may read, a customer has to approve."

const auditorText = "An auditor's token, tuco_au_…."

const keyText = "An API key of a workspace and environment, tuco_sk_…. A request with an Origin or a Sec-Fetch-Site other than none is refused: secret keys belong on servers."

func (s *Server) describe() ([]byte, error) {
	d := describer{object{}}
	paths := map[string]object{}
	for _, r := range s.routes {
		if paths[r.path] == nil {
			paths[r.path] = object{}
		}
		paths[r.path][strings.ToLower(r.method)] = d.operation(r)
	}
	return strictjson.Marshal(object{
		"openapi": "3.1.0",
		"info":    object{"title": "Tuco", "version": or(s.opt.Version, "dev"), "description": documentText},
		"paths":   paths,
		"components": object{
			"schemas": d.schemas,
			"securitySchemes": object{
				"apiKey":       object{"type": "http", "scheme": "bearer", "description": keyText},
				"staffToken":   object{"type": "http", "scheme": "bearer", "description": staffText},
				"auditorToken": object{"type": "http", "scheme": "bearer", "description": auditorText},
			},
		},
	})
}

func (d describer) operation(r *route) object {
	tag, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(r.path, "/api"), "/"), "/")
	op := object{"operationId": r.id, "summary": r.summary, "tags": []string{tag}}
	switch r.realm {
	case workspaceKey:
		op["security"] = []any{object{"apiKey": []string{}}}
		op["description"] = "Scope: `" + string(r.scope) + "`."
	case staffToken:
		op["security"] = []any{object{"staffToken": []string{}}}
	case auditorToken:
		op["security"] = []any{object{"auditorToken": []string{}}}
	}
	if r.input != nil {
		t := reflect.TypeOf(r.input)
		if params := r.parameters(t); len(params) > 0 {
			op["parameters"] = params
		}
		if newBinder(t).hasBody {
			op["requestBody"] = object{"required": !r.emptyBody, "content": content(requestSchema(t), "application/json")}
		}
	}
	answers := object{}
	for status, body := range r.answers {
		answers[strconv.Itoa(status)] = d.answer(status, body)
	}
	for _, status := range r.errorStatuses() {
		answers[strconv.Itoa(status)] = object{"description": http.StatusText(status), "content": object{
			"application/json": object{"schema": d.schema(reflect.TypeFor[errorResponse]())},
			problemType:        object{"schema": d.schema(reflect.TypeFor[problem]())},
		}}
	}
	op["responses"] = answers
	return op
}

// errorStatuses are the route's own errors and those that follow from what it is.
func (r *route) errorStatuses() []int {
	list := append([]int{400, 431, 500}, r.errors...)
	if r.realm != anybody {
		list = append(list, 401, 403, 503)
	}
	if r.write {
		list = append(list, 402)
	}
	if r.input != nil && newBinder(reflect.TypeOf(r.input)).hasBody {
		list = append(list, 408, 413, 415)
	}
	if r.idempotent {
		list = append(list, 422)
	}
	return slices.DeleteFunc(list, func(status int) bool { _, own := r.answers[status]; return own })
}

func (d describer) answer(status int, body any) object {
	text := object{"description": http.StatusText(status)}
	switch body := body.(type) {
	case described:
		text["content"] = content(body.schema(), "application/json")
	case string:
		text["content"] = content(object{"type": "string"}, "text/plain")
	case *download:
		text["content"] = body.content()
	case nil:
		text["content"] = content(object{"type": "object"}, "application/json")
	default:
		text["content"] = content(d.schema(reflect.TypeOf(body)), "application/json")
	}
	return text
}

// described is a body that has no Go type of its own.
type described interface{ schema() object }

func content(schema object, kind string) object { return object{kind: object{"schema": schema}} }

func (r *route) parameters(t reflect.Type) (list []object) {
	for _, f := range reflect.VisibleFields(t) {
		if name := f.Tag.Get("path"); name != "" {
			list = append(list, object{"name": name, "in": "path", "required": true, "schema": object{"type": "string", "pattern": "^" + or(f.Tag.Get("pattern"), "[0-9a-fA-F]{24}") + "$"}})
		}
		if name := f.Tag.Get("query"); name != "" {
			param := object{"name": name, "in": "query", "description": f.Tag.Get("description"), "schema": tagged(f, scalar(f.Type))}
			if f.Tag.Get("required") != "" {
				param["required"] = true
			}
			list = append(list, param)
		}
	}
	if r.idempotent {
		list = append(list, object{"name": headerIdempotencyKey, "in": "header", "schema": object{"type": "string", "minLength": 1},
			"description": "makes the repetition of this request harmless for 24 hours; at most 255 characters, bare or as a Structured-Field String"})
	}
	return list
}

// scalar is the schema of what is neither struct, slice nor pointer, nil for those.
func scalar(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[date]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[jsontext.Value]():
		return object{"type": "object"}
	case reflect.TypeFor[engine.Scope]():
		return object{"type": "string", "enum": engine.AllScopes}
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int:
		return object{"type": "integer"}
	case reflect.Int64:
		return object{"type": "integer", "format": "int64"}
	case reflect.Float64:
		return object{"type": "number"}
	}
	return nil
}

// requestSchema is the schema of what comes in, all in one piece.
func requestSchema(t reflect.Type) object {
	if s := scalar(t); s != nil {
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		return requestSchema(t.Elem())
	case reflect.Slice:
		return object{"type": "array", "items": requestSchema(t.Elem())}
	}
	return members(t, func(f reflect.StructField, optional bool) object {
		s := tagged(f, requestSchema(f.Type))
		if optional {
			orNull(s)
		}
		return s
	})
}

// schema is the schema of what goes out. Structs are named.
func (d describer) schema(t reflect.Type) object {
	if s := scalar(t); s != nil {
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Slice:
		return object{"type": "array", "items": d.schema(t.Elem())}
	}
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	if d.schemas[name] == nil {
		d.schemas[name] = members(t, func(f reflect.StructField, optional bool) object {
			s := tagged(f, d.schema(f.Type))
			if f.Type.Kind() == reflect.Pointer && !optional || f.Type == reflect.TypeFor[jsontext.Value]() {
				orNull(s)
			}
			return s
		})
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// members is the schema of a struct with the fields that JSON sees.
func members(t reflect.Type, of func(f reflect.StructField, optional bool) object) object {
	properties, required := object{}, []string{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		optional := options == "omitzero"
		properties[name] = of(f, optional)
		if !optional {
			required = append(required, name)
		}
	}
	schema := object{"type": "object", "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

// tagged adds what a field's tags say.
func tagged(f reflect.StructField, s object) object {
	if text := f.Tag.Get("description"); text != "" {
		s["description"] = text
	}
	if words := f.Tag.Get("enum"); words != "" {
		s["enum"] = strings.Split(words, ",")
	}
	if format := f.Tag.Get("format"); format != "" {
		s["format"] = format
	}
	if least, err := strconv.Atoi(f.Tag.Get("minimum")); err == nil {
		s["minimum"] = least
	}
	return s
}

// orNull lets a schema take null too.
func orNull(s object) {
	s["type"] = []any{s["type"], "null"}
	if words, ok := s["enum"].([]string); ok {
		all := []any{nil}
		for _, w := range words {
			all = append(all, w)
		}
		s["enum"] = all
	}
}
