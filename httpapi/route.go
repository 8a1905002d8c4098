package httpapi

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"github.com/dunglas/httpsfv"
	"github.com/gofiber/fiber/v2"

	"tuco/engine"
	"tuco/strictjson"
)

// A route is one endpoint: how it is reached, who may, and what goes in and out. The OpenAPI document
// is made from it.
type route struct {
	method, path string // path with {id}
	summary      string
	scope        engine.Scope // empty: no credential is asked for
	write        bool         // refused with 402 while the workspace is READ_ONLY
	idempotent   bool         // takes an Idempotency-Key
	bulk         bool         // takes a large body
	input        any          // its zero value: path, query and body
	answers      map[int]any  // by status, the zero value of the body
	errors       []int        // statuses beyond those that every route has
	handler      fiber.Handler
}

// call is one request with its caller. It holds copies only.
type call struct {
	ctx    *fiber.Ctx
	route  *route
	who    engine.Caller
	body   []byte
	replay bool
}

// reply is a handler's answer: a body to encode, or a stored one to give again.
type reply struct {
	status int
	body   any
	stored *engine.Answer
}

// add registers r with fn as its handler.
func add[In any](s *Server, r route, fn func(*call, In) (reply, error)) {
	var in In
	r.input = in
	binder := newBinder(reflect.TypeFor[In]())
	r.handler = func(c *fiber.Ctx) error {
		call, err := s.admit(c, &r)
		if err != nil {
			return err
		}
		var in In
		if err := binder.bind(call, reflect.ValueOf(&in).Elem()); err != nil {
			return err
		}
		answer, err := fn(call, in)
		if err != nil {
			return err
		}
		return call.write(answer)
	}
	s.routes = append(s.routes, &r)
	s.app.Add(r.method, strings.NewReplacer("{", ":", "}", "").Replace(r.path), r.handler)
}

// admit answers who asks and whether they may, in the order of the package's comment.
func (s *Server) admit(c *fiber.Ctx, r *route) (*call, error) {
	call := &call{ctx: c, route: r}
	if r.scope == "" {
		return call, nil
	}
	secret, ok := bearer(c.Get(fiber.HeaderAuthorization))
	if !ok {
		return nil, engine.Errorf(engine.Unauthorized, "Unauthorized")
	}
	who, err := s.eng.Authenticate(secret, remote(c))
	if err != nil {
		return nil, err
	}
	if fromBrowser(c) {
		return nil, engine.Errorf(engine.Forbidden, "This request comes from a web page. Secret keys belong on servers: call your own server, and let it call Tuco.").With(codeBrowser)
	}
	who.CorrelationID = correlationID(c)
	call.who = who
	if err := who.Require(r.scope); err != nil {
		return nil, err
	}
	return call, call.checkForeign()
}

const codeBrowser = "BROWSER_ORIGIN"

// bearer reads the secret out of an Authorization header (RFC 6750).
func bearer(header string) (secret string, ok bool) {
	scheme, secret, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || secret == "" || len(secret) > 512 || strings.ContainsAny(secret, " \t,") {
		return "", false
	}
	return secret, true
}

func remote(c *fiber.Ctx) netip.Addr {
	addr, err := netip.ParseAddrPort(c.Context().RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr()
}

// checkForeign refuses a path or query that names another workspace, or an id of one; whether the
// workspace is READ_ONLY comes after that.
func (c *call) checkForeign() error {
	for _, id := range c.ctx.AllParams() {
		if err := c.who.CheckOwner(id); err != nil {
			return err
		}
	}
	for name, value := range c.ctx.Queries() {
		if name == "workspaceId" {
			if err := c.who.CheckWorkspace(value); err != nil {
				return err
			}
		}
		if err := c.who.CheckOwner(value); err != nil {
			return err
		}
	}
	if c.route.write {
		return c.who.Writable()
	}
	return nil
}

// readBody returns a copy of the body, after a look at what it claims to be.
func (c *call) readBody() ([]byte, error) {
	body := c.ctx.Request().Body()
	most := bodyBytes
	if c.route.bulk {
		most = bulkBodyBytes
	}
	if len(body) > most {
		return nil, engine.Errorf(engine.TooLarge, "The request body is larger than %d bytes", most)
	}
	if c.ctx.Get(fiber.HeaderContentEncoding) != "" {
		return nil, engine.Errorf(engine.Unsupported, "Content-Encoding is not taken; send the JSON as it is")
	}
	kind, params, _ := strings.Cut(c.ctx.Get(fiber.HeaderContentType), ";")
	params = strings.ToLower(strings.ReplaceAll(params, " ", ""))
	if kind != "" && !strings.EqualFold(strings.TrimSpace(kind), fiber.MIMEApplicationJSON) || params != "" && strings.Trim(strings.TrimPrefix(params, "charset="), `"`) != "utf-8" {
		return nil, engine.Errorf(engine.Unsupported, "The Content-Type must be application/json")
	}
	return append([]byte(nil), body...), nil
}

// write sends the answer.
func (c *call) write(r reply) error {
	if r.stored != nil {
		c.ctx.Set("Idempotency-Replayed", "true")
		return writeBody(c.ctx, r.stored.Status, r.stored.Body)
	}
	return writeJSON(c.ctx, r.status, r.body)
}

// once returns what makes the request's repetition harmless, nil if it has no Idempotency-Key. reply
// makes the answer out of the engine's result; it may run more than once.
func (c *call) once(answer func(result any) reply) (*engine.Once, error) {
	key, err := idempotencyKey(c.ctx.Get("Idempotency-Key"))
	if key == "" || err != nil {
		return nil, err
	}
	path := c.ctx.Path()
	return &engine.Once{
		Key: key, Route: c.route.method + " " + c.route.path,
		Fingerprint: sha256.Sum256([]byte(c.route.method + " " + path + "\n" + string(c.body))),
		Encode: func(result any) (engine.Answer, error) {
			r := answer(result)
			data, err := strictjson.Marshal(r.body)
			return engine.Answer{Status: r.status, Body: data}, err
		},
	}, nil
}

// idempotencyKey reads the field as a Structured-Field String, or as plain text.
func idempotencyKey(field string) (string, error) {
	if strings.HasPrefix(field, `"`) {
		item, err := httpsfv.UnmarshalItem([]string{field})
		text, ok := item.Value.(string)
		if err != nil || !ok {
			return "", engine.Errorf(engine.Invalid, "Invalid Idempotency-Key")
		}
		field = text
	} else if strings.ContainsFunc(field, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", engine.Errorf(engine.Invalid, "Invalid Idempotency-Key")
	}
	if len(field) > 255 {
		return "", engine.Errorf(engine.Invalid, "An Idempotency-Key has at most 255 characters")
	}
	return field, nil
}

// A binder fills an input from path, query and body, by its fields' tags.
type binder struct {
	params  []param
	hasBody bool
}

type param struct {
	index       []int
	path, query string
}

func newBinder(t reflect.Type) *binder {
	b := new(binder)
	for _, f := range reflect.VisibleFields(t) {
		path, query := f.Tag.Get("path"), f.Tag.Get("query")
		switch {
		case path != "" || query != "":
			b.params = append(b.params, param{f.Index, path, query})
		case f.Tag.Get("json") != "" && !f.Anonymous:
			b.hasBody = true
		}
	}
	return b
}

func (b *binder) bind(c *call, in reflect.Value) error {
	if b.hasBody {
		if err := b.bindBody(c, in); err != nil {
			return err
		}
	}
	for _, p := range b.params {
		text := c.ctx.Query(p.query)
		if p.path != "" {
			text = c.ctx.Params(p.path)
		}
		if text == "" {
			continue
		}
		switch field := in.FieldByIndex(p.index); field.Kind() {
		case reflect.String:
			field.SetString(strings.Clone(text))
		case reflect.Int:
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return engine.Errorf(engine.Invalid, "%s must be a number from 1 on", p.query)
			}
			field.SetInt(int64(n))
		default:
			return errors.New("no way to read a parameter of type " + field.Type().String())
		}
	}
	return nil
}

func (b *binder) bindBody(c *call, in reflect.Value) (err error) {
	if c.body, err = c.readBody(); err != nil {
		return err
	}
	if err := strictjson.Unmarshal(c.body, in.Addr().Interface()); err != nil {
		return err
	}
	if names, ok := in.Interface().(interface{ workspace() string }); ok && c.who != (engine.Caller{}) {
		return c.who.CheckWorkspace(names.workspace())
	}
	return nil
}

// inWorkspace is part of every body that may name its workspace; another than the key's is refused.
type inWorkspace struct {
	WorkspaceID string `json:"workspaceId,omitzero" description:"the key's own workspace, if given"`
}

func (w inWorkspace) workspace() string { return w.WorkspaceID }

// ok is the usual answer.
func ok(body any) (reply, error) { return reply{status: http.StatusOK, body: body}, nil }
