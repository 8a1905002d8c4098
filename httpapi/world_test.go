package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tuco/engine"
	"tuco/engine/dispatch"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// world is a server on a real listener over a real engine.
type world struct {
	t      testing.TB
	eng    *engine.Engine
	srv    *Server
	addr   string
	client *http.Client
	logged *logBuffer
	router routers.Router // finds an operation of /openapi.json

	owners map[engine.WorkspaceID]string // keys: the operator can make only one in a workspace
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// withOptions changes how a world is opened.
type withOptions func(*engine.Options, *Options)

func newWorld(t testing.TB, with ...withOptions) *world {
	t.Helper()
	w := &world{t: t, logged: new(logBuffer)}
	log := zerolog.New(w.logged).Level(zerolog.DebugLevel)
	opt := engine.Options{Dir: t.TempDir(), Log: log}
	web := Options{Log: log, Registry: prometheus.NewRegistry()}
	for _, f := range with {
		f(&opt, &web)
	}
	var err error
	if w.eng, err = engine.Open(opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.eng.Close(); err != nil {
			t.Error("closing the engine:", err)
		}
	})
	web.Engine = w.eng
	if w.srv, err = New(web); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = ln.Addr().String()
	w.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	served := make(chan error, 1)
	go func() { served <- w.srv.Serve(ln) }()
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.srv.Shutdown(ctx); err != nil {
			t.Error("shutting down:", err)
		}
		if err := <-served; err != nil {
			t.Error("serving:", err)
		}
	})
	w.loadDocument()
	return w
}

func (w *world) loadDocument() {
	w.t.Helper()
	resp, err := w.client.Get("http://" + w.addr + "/openapi.json")
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		w.t.Fatalf("/openapi.json: %v", err)
	}
	if w.router, err = legacy.NewRouter(doc); err != nil {
		w.t.Fatalf("/openapi.json: %v", err)
	}
}

// dispatch runs a real dispatcher until the test ends.
func (w *world) dispatch() {
	w.t.Helper()
	d, err := dispatch.Start(w.eng, dispatch.Options{Log: w.srv.log})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Stop(10 * time.Second) })
}

// request is what a test sends. Its body is sent as it is if it is a string, else as JSON.
type request struct {
	method, path string
	key          string
	body         any
	header       map[string]string
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	text   string
}

// do sends r and holds the answer, and the request too if it was taken, against /openapi.json.
func (w *world) do(r request) answer {
	w.t.Helper()
	a, err := w.send(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	if err := w.conforms(r, a); err != nil {
		w.t.Errorf("%s %s: %d %s\nis not what /openapi.json says: %v", r.method, r.path, a.status, a.text, err)
	}
	return a
}

// send sends r, from any goroutine.
func (w *world) send(r request) (answer, error) {
	req, err := r.http("http://" + w.addr)
	if err != nil {
		return answer{}, err
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

func (r request) http(base string) (*http.Request, error) {
	var body io.Reader
	switch b := r.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequest(r.method, base+r.path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		req.Header.Set("Authorization", "Bearer "+r.key)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	return req, nil
}

// conforms holds a request and its answer against the document. A request is valid if it was taken.
func (w *world) conforms(r request, a answer) error {
	if r.method == http.MethodHead {
		return nil
	}
	req, err := r.http("")
	if err != nil {
		return err
	}
	route, params, err := w.router.FindRoute(req)
	if err != nil {
		if a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed {
			return nil
		}
		return err
	}
	in := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if a.status < 300 {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			return fmt.Errorf("the request: %w", err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: a.status, Header: a.header, Options: in.Options}
	out.SetBodyBytes([]byte(a.text))
	return openapi3filter.ValidateResponse(context.Background(), out)
}

func (w *world) get(key, path string) answer {
	w.t.Helper()
	return w.do(request{method: get, path: path, key: key})
}

func (w *world) post(key, path string, body any) answer {
	w.t.Helper()
	return w.do(request{method: post, path: path, key: key, body: body})
}

// is checks the status.
func (a answer) is(t *testing.T, what string, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("%s: %d %s, want %d", what, a.status, a.text, status)
	}
	return a
}

// fails checks the status and the exact error text.
func (a answer) fails(t *testing.T, what string, status int, text string) answer {
	t.Helper()
	if got := a.str("error"); a.status != status || got != text {
		t.Errorf("%s: %d %s\nwant %d with error %q", what, a.status, a.text, status, text)
	}
	return a
}

// codes checks the status and the code.
func (a answer) codes(t *testing.T, what string, status int, code string) answer {
	t.Helper()
	if got := a.str("code"); a.status != status || got != code {
		t.Errorf("%s: %d %s\nwant %d with code %q", what, a.status, a.text, status, code)
	}
	return a
}

// at returns a member of the answer's body by its path, nil if it is missing.
func (a answer) at(path ...string) any {
	var v any
	if json.Unmarshal([]byte(a.text), &v) != nil {
		return nil
	}
	for _, name := range path {
		switch parent := v.(type) {
		case map[string]any:
			v = parent[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(parent) {
				return nil
			}
			v = parent[i]
		default:
			return nil
		}
	}
	return v
}

func (a answer) str(path ...string) string {
	s, _ := a.at(path...).(string)
	return s
}

func (a answer) num(path ...string) float64 {
	n, _ := a.at(path...).(float64)
	return n
}

// workspace is a workspace made for a test, by way of the engine.
type workspace struct {
	w  *world
	id engine.WorkspaceID
}

// workspace makes one on a plan on which no test runs into a ceiling.
func (w *world) workspace(name string) workspace {
	w.t.Helper()
	none := int64(0)
	return w.workspaceOn(name, engine.PlanChange{RequestsPerMinute: &none})
}

func (w *world) workspaceOn(name string, plan engine.PlanChange) workspace {
	w.t.Helper()
	if _, err := w.eng.Admin().SetPlan("plan of "+name, plan); err != nil {
		w.t.Fatal(err)
	}
	made, err := w.eng.Admin().CreateWorkspace(name, "plan of "+name, "UTC")
	if err != nil {
		w.t.Fatal(err)
	}
	return workspace{w, made.ID}
}

func (ws workspace) in(env engine.Environment) engine.Caller {
	ws.w.t.Helper()
	who, err := ws.w.eng.Admin().In(ws.id, env)
	if err != nil {
		ws.w.t.Fatal(err)
	}
	return who
}

// key makes a key of a role by way of the operator. There is one owner's.
func (ws workspace) key(env engine.Environment, role engine.Role) string {
	if secret := ws.w.owners[ws.id]; role == engine.RoleOwner && secret != "" {
		return secret
	}
	_, secret := ws.makeKey(env, engine.NewKey{Name: "test " + string(role), Role: role})
	return secret
}

func (ws workspace) makeKey(env engine.Environment, k engine.NewKey) (engine.Key, string) {
	ws.w.t.Helper()
	made, secret, err := ws.w.eng.CreateKey(ws.in(env), k)
	if err != nil {
		ws.w.t.Fatal(err)
	}
	if k.Role == engine.RoleOwner {
		if ws.w.owners == nil {
			ws.w.owners = map[engine.WorkspaceID]string{}
		}
		ws.w.owners[ws.id] = secret
	}
	return made, secret
}

// line makes a sandbox line without gaps.
func (ws workspace) line(env engine.Environment, phone string, daily int64) engine.Line {
	ws.w.t.Helper()
	var none time.Duration
	l, err := ws.w.eng.CreateLine(ws.in(env), engine.IMessage, engine.LineChange{Phone: &phone, DailyMessages: &daily, DeviceGap: &none, ContactGap: &none})
	if err != nil {
		ws.w.t.Fatal(err)
	}
	return l
}

func (ws workspace) readOnly(r engine.ReadOnlyReason) {
	ws.w.t.Helper()
	if _, err := ws.w.eng.Admin().SetWorkspace(ws.id, engine.WorkspaceChange{ReadOnly: &r}); err != nil {
		ws.w.t.Fatal(err)
	}
}

// person is the n-th phone number of nobody.
func person(n int) string { return fmt.Sprintf("+1202555%04d", n) }

// obj is a JSON object in a request.
type obj map[string]any

var (
	anID   = regexp.MustCompile(`[0-9a-f]{24}`)
	aTime  = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	aDay   = regexp.MustCompile(`\d{4}-\d\d-\d\d`)
	aKey   = regexp.MustCompile(`tuco_sk_[a-z]+_[0-9A-Za-z]{49}`)
	aHint  = regexp.MustCompile(`…[0-9A-Za-z]{4}`)
	anHost = regexp.MustCompile(`127\.0\.0\.1`)
)

// golden compares the answer with a file, with ids and times made the same.
func (a answer) golden(t *testing.T, name string) {
	t.Helper()
	text := a.text
	for _, r := range []struct {
		find *regexp.Regexp
		put  string
	}{{anID, "ID"}, {aTime, "TIME"}, {aDay, "DAY"}, {aKey, "SECRET"}, {aHint, "…HINT"}, {anHost, "ADDRESS"}} {
		text = r.find.ReplaceAllString(text, r.put)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(text), "", "  "); err != nil {
		t.Fatalf("%s: %v in %s", name, err, a.text)
	}
	pretty.WriteByte('\n')
	path := filepath.Join("..", "testdata", "golden", name+".json")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, pretty.Bytes()) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, pretty.Bytes(), want)
	}
}

// fuzzed is a world for a fuzz target, with a key and a line.
func fuzzed(f *testing.F) (*world, string) {
	w := newWorld(f)
	ws := w.workspace("A")
	ws.line(engine.Production, person(1), 0)
	return w, ws.key(engine.Production, engine.RoleMember)
}
