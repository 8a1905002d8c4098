package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"tuco/engine"
)

func TestEveryKindOfErrorHasAStatus(t *testing.T) {
	for kind := range engine.NumKinds {
		if statusOf[kind] < 400 {
			t.Errorf("kind %d has no status", kind)
		}
	}
	if len(statusOf) != int(engine.NumKinds) {
		t.Errorf("%d statuses for %d kinds", len(statusOf), engine.NumKinds)
	}
}

// open are the only endpoints that ask for no credential.
var openEndpoints = []string{"GET /livez", "GET /readyz", "GET /metrics", "GET /openapi.json"}

func TestTheDocumentIsTheRouter(t *testing.T) {
	w := newWorld(t)
	document := w.get("", "/openapi.json").is(t, "the document", 200)
	var routed, documented []string
	for _, r := range w.srv.app.GetRoutes(true) {
		if r.Method == http.MethodHead { // answers as GET does
			continue
		}
		path := r.Path
		for _, p := range r.Params {
			path = strings.Replace(path, ":"+p, "{"+p+"}", 1)
		}
		routed = append(routed, r.Method+" "+path)
	}
	ids := map[string]bool{}
	for path, methods := range document.at("paths").(map[string]any) {
		for method, op := range methods.(map[string]any) {
			name := strings.ToUpper(method) + " " + path
			documented = append(documented, name)
			op := op.(map[string]any)
			if secured := op["security"] != nil; secured == slices.Contains(openEndpoints, name) {
				t.Errorf("%s: asks for a credential: %v", name, secured)
			}
			id, _ := op["operationId"].(string)
			if id == "" || ids[id] {
				t.Errorf("%s: operationId %q is missing or taken", name, id)
			}
			ids[id] = true
		}
	}
	slices.Sort(routed)
	slices.Sort(documented)
	if !slices.Equal(routed, documented) {
		t.Errorf("routes\n%s\ndocument\n%s", strings.Join(routed, "\n"), strings.Join(documented, "\n"))
	}
	for _, r := range w.srv.routes {
		if want := scopeFor(r); string(r.scope) != want {
			t.Errorf("%s: scope %q, want %q", r.id, r.scope, want)
		}
		always := strings.HasPrefix(r.path, "/api/staff-access/") || strings.HasPrefix(r.path, "/staff/") || strings.HasPrefix(r.path, "/audit/") || r.id == "setKey" || r.id == "revokeKey" || r.id == "rotateKey"
		if writes := r.method != get && !always; r.write != writes {
			t.Errorf("%s: refused in READ_ONLY: %v, want %v", r.id, r.write, writes)
		}
	}
}

// scopeFor is the scope by the convention of design.md section 6: what is read or written, by the noun.
func scopeFor(r *route) string {
	noun, found := strings.CutPrefix(r.path, "/api/")
	noun, _, _ = strings.Cut(noun, "/")
	switch {
	case !found:
		return ""
	case noun == "keys":
		return "keys:manage"
	case noun == "staff-access":
		return "access:approve"
	case r.method == get:
		return noun + ":read"
	}
	return noun + ":write"
}

// A validator that lets everything pass would prove nothing.
func TestTheValidatorFindsLies(t *testing.T) {
	w := newWorld(t)
	header := http.Header{"Content-Type": {"application/json"}}
	usage := request{method: get, path: "/api/usage"}
	for name, a := range map[string]answer{
		"a missing member":            {200, header, `{"environment":"staging"}`},
		"a member of the wrong type":  {200, header, `{"environment":5,"limits":[]}`},
		"null for what is never null": {200, header, `{"environment":"staging","limits":null}`},
		"a status that isn't listed":  {418, header, `{"error":"teapot"}`},
		"a content type that isn't":   {200, http.Header{"Content-Type": {"text/html"}}, `{}`},
	} {
		if w.conforms(usage, a) == nil {
			t.Errorf("%s was not found", name)
		}
	}
	sent := answer{200, header, `{"deletedCount":1}`}
	if w.conforms(request{method: remove, path: "/api/leads", body: obj{"ids": "x"}}, sent) == nil {
		t.Error("a wrong request body on DELETE was not found")
	}
	if err := w.conforms(request{method: remove, path: "/api/leads", body: obj{"ids": []string{"x"}}}, sent); err != nil {
		t.Errorf("a right one was refused: %v", err)
	}
	if w.conforms(request{method: get, path: "/api/messages?status=lost"}, answer{200, header, `{"messages":[],"nextCursor":null}`}) == nil {
		t.Error("a wrong query parameter was not found")
	}
}
