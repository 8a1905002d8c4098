package httpapi

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/swaggest/jsonschema-go"
	"github.com/swaggest/openapi-go"
	"github.com/swaggest/openapi-go/openapi31"

	"tuco/engine"
)

// describe makes the OpenAPI document out of the routes, so that it can't name what isn't there.
func (s *Server) describe() ([]byte, error) {
	r := openapi31.NewReflector()
	r.Spec.Info.WithTitle("Tuco").WithVersion(or(s.opt.Version, "dev")).
		WithDescription("Tuco on your own machine. Every error is an errorResponse, or problem+json if Accept asks for it.")
	r.Spec.SetHTTPBearerTokenSecurity("apiKey", "tuco_sk_…", "An API key of a workspace and environment. A request with an Origin or a cross-site Sec-Fetch-Site header is refused: secret keys belong on servers.")
	r.AddTypeMapping(jsontext.Value{}, map[string]any{})
	r.AddTypeMapping(engine.Scope(""), "")
	r.AddTypeMapping(date{}, "")
	r.DefaultOptions = append(r.DefaultOptions, jsonschema.InterceptDefName(func(t reflect.Type, name string) string {
		return strings.TrimPrefix(name, "Httpapi")
	}))
	for _, route := range s.routes {
		if err := route.describe(r); err != nil {
			return nil, fmt.Errorf("describing %s %s: %w", route.method, route.path, err)
		}
	}
	return r.Spec.MarshalJSON()
}

// commonErrors are those that every route with a credential can answer.
var commonErrors = []int{400, 401, 403, 503}

func (r *route) describe(to *openapi31.Reflector) error {
	op, err := to.NewOperationContext(r.method, r.path)
	if err != nil {
		return err
	}
	op.SetSummary(r.summary)
	op.SetTags(strings.Split(strings.TrimPrefix(r.path, "/api"), "/")[1])
	if r.input != nil && reflect.TypeOf(r.input).NumField() > 0 {
		op.AddReqStructure(r.described())
	}
	for status, body := range r.answers {
		switch body.(type) {
		case nil:
			op.AddRespStructure(map[string]any{}, openapi.WithHTTPStatus(status))
		case string:
			op.AddRespStructure(body, openapi.WithHTTPStatus(status), openapi.WithContentType("text/plain"))
		default:
			op.AddRespStructure(body, openapi.WithHTTPStatus(status))
		}
	}
	if r.scope != "" {
		op.AddSecurity("apiKey")
		op.SetDescription("Scope: `" + string(r.scope) + "`.")
		for _, status := range r.errorStatuses() {
			op.AddRespStructure(errorResponse{}, openapi.WithHTTPStatus(status))
		}
	}
	return to.AddOperation(op)
}

// errorStatuses are the route's own errors and those that follow from what it is.
func (r *route) errorStatuses() []int {
	list := slices.Concat(commonErrors, r.errors)
	if r.write {
		list = append(list, http.StatusPaymentRequired)
	}
	if r.hasBody() {
		list = append(list, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if r.idempotent {
		list = append(list, http.StatusUnprocessableEntity)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (r *route) hasBody() bool { return newBinder(reflect.TypeOf(r.input)).hasBody }

// described is the input as the document shows it: with the fields that every such route takes.
func (r *route) described() any {
	fields := []reflect.StructField{{Name: "Input", Type: reflect.TypeOf(r.input), Anonymous: true}}
	if r.idempotent {
		fields = append(fields, reflect.StructField{Name: "IdempotencyKey", Type: reflect.TypeFor[string](),
			Tag: `header:"Idempotency-Key" json:"-" maxLength:"255" description:"makes the repetition of this request harmless for 24 hours"`})
	}
	if len(fields) == 1 {
		return r.input
	}
	return reflect.New(reflect.StructOf(fields)).Interface()
}
