package httpapi

import (
	"crypto/sha256"
	"errors"
	"io"
	"math"
	"mime"
	"net"
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
	id           string // operationId
	method, path string // path with {id}
	summary      string
	realm        realm        // whose credentials it takes
	scope        engine.Scope // of the workspace key that it takes
	write        bool         // refused with 402 while the workspace is READ_ONLY
	idempotent   bool         // takes an Idempotency-Key
	unrepeatable bool         // takes none, although its repetition is not harmless: who sends one is told
	bulk         bool         // takes a large body
	shows        bool         // a write whose answer shows leads as they were before
	emptyBody    bool         // the body may be left out
	input        any          // its zero value: path, query and body
	answers      map[int]any  // by status, the zero value of the body
	errors       []int        // statuses beyond those that every route has
	handler      fiber.Handler
}

// A realm is a sort of credential. None is taken where another is asked for.
type realm int

const (
	noRealm      realm = iota // not said
	anybody                   // no credential is asked for
	workspaceKey              // tuco_sk_…, for the routes that have a scope
	staffToken                // tuco_st_…
	auditorToken              // tuco_au_…
)

// call is one request with its caller. It holds copies only.
type call struct {
	ctx   *fiber.Ctx
	route *route
	path  []argument
	query []argument
	body  []byte

	// Of these the one of the route's realm.
	who     engine.Caller
	seen    engine.KeyRead // by a caller whose reads are recorded
	staff   *engine.StaffCaller
	auditor *engine.AuditorCaller
}

// argument is one name and value of path or query.
type argument struct{ name, value string }

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
	if r.scope != "" {
		r.realm = workspaceKey
	}
	binder := newBinder(reflect.TypeFor[In]())
	s.raw(r, func(c *fiber.Ctx) error {
		call, err := s.admit(c, &r)
		if err != nil {
			return err
		}
		var in In
		if err := binder.bind(call, reflect.ValueOf(&in).Elem()); err != nil {
			return err
		}
		answer, err := fn(call, in)
		if err == nil && call.recorded() {
			err = call.recordRead(s.eng, answer)
		}
		if err != nil {
			return err
		}
		return call.write(answer)
	})
}

// raw registers r with a handler that does everything itself.
func (s *Server) raw(r route, h fiber.Handler) {
	r.handler = h
	if r.realm == noRealm {
		panic("the route " + r.id + " says of no credential that it takes it, nor that it takes none")
	}
	s.routes = append(s.routes, &r)
	path := strings.NewReplacer("{", ":", "}", "").Replace(r.path)
	s.app.Add(r.method, path, h)
	if r.method == get {
		s.app.Add(http.MethodHead, path, h)
	}
}

// admit answers who asks and whether they may (401, 403), as far as path, query and headers tell.
func (s *Server) admit(c *fiber.Ctx, r *route) (*call, error) {
	call := &call{ctx: c, route: r}
	for _, name := range c.Route().Params {
		call.path = append(call.path, argument{name, c.Params(name)})
	}
	if args := c.Context().QueryArgs(); args.Len() > 0 {
		call.query = make([]argument, 0, args.Len())
		for name, value := range args.All() {
			call.query = append(call.query, argument{string(name), string(value)})
		}
	}
	if r.realm == anybody {
		return call, nil
	}
	secret, ok := bearer(c.Get(fiber.HeaderAuthorization))
	if !ok {
		return nil, engine.Errorf(engine.Unauthorized, "Unauthorized")
	}
	if err := call.authenticate(s.eng, secret, s.opt.TrustedProxies.clientAddr(c)); err != nil {
		return nil, err
	}
	if fromBrowser(c) {
		return nil, engine.Errorf(engine.Forbidden, "This request comes from a web page. Secret keys belong on servers: call your own server, and let it call Tuco.").With(codeBrowser)
	}
	if r.realm != workspaceKey {
		return call, nil
	}
	if err := call.who.Require(r.scope); err != nil {
		return nil, err
	}
	return call, call.checkForeign()
}

// authenticate finds out who calls.
func (c *call) authenticate(eng *engine.Engine, secret string, from netip.Addr) (err error) {
	switch c.route.realm {
	case staffToken:
		staff, err := eng.AuthenticateStaff(secret, from)
		staff.CorrelationID = c.recordedID()
		c.staff = &staff
		return err
	case auditorToken:
		auditor, err := eng.AuthenticateAuditor(secret, from)
		auditor.CorrelationID = c.recordedID()
		c.auditor = &auditor
		return err
	default:
		if c.who, err = eng.Authenticate(secret, from); c.route.scope == engine.AccessApprove {
			c.who.CorrelationID = c.recordedID()
		}
	}
	return err
}

// sees notes that the answer shows one more record, and at which addresses there is somebody whom it is about.
func (c *call) sees(addresses ...string) {
	if c.who.MadeByOperator() {
		c.seen.Records++
		c.seen.Persons = append(c.seen.Persons, addresses...)
	}
}

// recorded tells whether the answer may show the caller what is to be recorded, since the operator made its key.
func (c *call) recorded() bool {
	return c.who.MadeByOperator() && c.route.scope != engine.AccessApprove
}

// recordRead records what the answer shows, before it leaves.
func (c *call) recordRead(eng *engine.Engine, answer reply) error {
	shown := c.route.method == get || c.seen.Records > 0 || c.route.shows && answer.stored != nil
	if !shown {
		return nil
	}
	kind, _, _ := strings.Cut(string(c.route.scope), ":")
	c.seen.Operation, c.seen.Kind = c.route.method+" "+c.route.path, engine.RecordKind(kind)
	return eng.RecordKeyRead(c.who, c.seen)
}

// recordedID is the id of the request for the audit log, and so made here: one that a client sent could say anything.
func (c *call) recordedID() string {
	setID(c.ctx, wireRequestID, "", "")
	return requestID(c.ctx)
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

// ipOf is the address of a peer, an IPv4 address as such, or none if it isn't one of TCP.
func ipOf(peer net.Addr) netip.Addr {
	addr, ok := peer.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return addr.AddrPort().Addr().Unmap()
}

// checkForeign refuses a path or query that names another workspace, or an id of one.
func (c *call) checkForeign() error {
	for _, a := range c.path {
		if err := c.who.CheckOwner(a.value); err != nil {
			return err
		}
	}
	for _, a := range c.query {
		if a.name == "workspaceId" {
			if err := c.who.CheckWorkspace(a.value); err != nil {
				return err
			}
		}
		if err := c.who.CheckOwner(a.value); err != nil {
			return err
		}
	}
	return nil
}

// readBody reads the body, after a look at what it claims to be.
func (c *call) readBody() ([]byte, error) {
	most := bodyBytes
	if c.route.bulk {
		most = bulkBodyBytes
	}
	stream, declared := c.ctx.Request().BodyStream(), c.ctx.Request().Header.ContentLength()
	if declared > most {
		if declared <= 2*most { // who is still sending when the connection is closed may never see why
			_, _ = io.CopyN(io.Discard, stream, int64(declared))
		}
		return nil, tooLarge(most)
	}
	if coding := c.ctx.Get(fiber.HeaderContentEncoding); coding != "" && coding != "identity" {
		return nil, engine.Errorf(engine.Unsupported, "Content-Encoding is not taken; send the JSON as it is")
	}
	if kind := c.ctx.Get(fiber.HeaderContentType); kind != "" && !isJSON(kind) {
		return nil, engine.Errorf(engine.Unsupported, "The Content-Type must be application/json")
	}
	if stream == nil {
		return nil, nil
	}
	body, err := readAll(stream, declared, most)
	switch timeout, ok := errors.AsType[net.Error](err); {
	case ok && timeout.Timeout():
		return nil, fiber.ErrRequestTimeout
	case err != nil, len(body) < declared:
		return nil, engine.Errorf(engine.Invalid, "The request body is cut off or malformed")
	case len(body) > most:
		return nil, tooLarge(most)
	}
	return body, nil
}

// readAll reads a body of a declared length, negative if none was, or one byte more than most. For a long
// one there is no room before it comes: a length is easily declared.
func readAll(stream io.Reader, declared, most int) ([]byte, error) {
	if declared < 0 || declared > 64<<10 {
		return io.ReadAll(io.LimitReader(stream, int64(most)+1))
	}
	body := make([]byte, declared)
	_, err := io.ReadFull(stream, body)
	return body, err
}

func tooLarge(most int) error {
	return engine.Errorf(engine.TooLarge, "The request body is larger than %d bytes", most)
}

func isJSON(contentType string) bool {
	if contentType == fiber.MIMEApplicationJSON {
		return true
	}
	kind, params, err := mime.ParseMediaType(contentType)
	charset, named := params["charset"]
	return err == nil && kind == fiber.MIMEApplicationJSON && (!named || strings.EqualFold(charset, "utf-8"))
}

// write sends the answer.
func (c *call) write(r reply) error {
	if d, ok := r.body.(*download); ok {
		return d.write(c)
	}
	if text, ok := r.body.(string); ok {
		c.ctx.Response().Header.SetContentType(fiber.MIMETextPlainCharsetUTF8)
		return c.ctx.Status(r.status).SendString(text)
	}
	if r.stored != nil {
		c.ctx.Set("Idempotency-Replayed", "true")
		return writeBody(c.ctx, r.stored.Status, r.stored.Body)
	}
	return writeJSON(c.ctx, r.status, r.body)
}

// once returns what makes the request's repetition harmless, nil if it has no Idempotency-Key. reply
// makes the answer out of the engine's result; it may run more than once.
func (c *call) once(answer func(result any) reply) (*engine.Once, error) {
	key, err := idempotencyKey(c.ctx.Get(headerIdempotencyKey))
	if key == "" || err != nil {
		return nil, err
	}
	route := c.route.method + " " + c.route.path
	fingerprint := sha256.New()
	_, _ = io.WriteString(fingerprint, route+"\n")
	_, _ = fingerprint.Write(c.body)
	return &engine.Once{
		Key: key, Route: route, Fingerprint: [sha256.Size]byte(fingerprint.Sum(nil)),
		Encode: func(result any) (engine.Answer, error) {
			r := answer(result)
			data, err := strictjson.Marshal(r.body)
			return engine.Answer{Status: r.status, Body: data}, err
		},
	}, nil
}

const headerIdempotencyKey = "Idempotency-Key"

// idempotencyKey reads the field as a Structured-Field String, or as plain text. Empty is no field.
func idempotencyKey(field string) (string, error) {
	key := field
	if strings.HasPrefix(field, `"`) {
		item, err := httpsfv.UnmarshalItem([]string{field})
		text, ok := item.Value.(string)
		if err != nil || !ok || text == "" {
			return "", engine.Errorf(engine.Invalid, "Invalid Idempotency-Key")
		}
		key = text
	} else if strings.ContainsFunc(field, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", engine.Errorf(engine.Invalid, "Invalid Idempotency-Key")
	}
	if len(key) > maxIdempotencyKey {
		return "", engine.Errorf(engine.Invalid, "An Idempotency-Key has at most %d characters", maxIdempotencyKey)
	}
	return key, nil
}

const maxIdempotencyKey = 255

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

// bind reads the input. A fault of the body is said after what comes first in the order of the
// package's comment: another workspace that the body names, and READ_ONLY.
func (b *binder) bind(c *call, in reflect.Value) error {
	fault := b.bindBody(c, in)
	if names, ok := in.Addr().Interface().(interface{ workspace() string }); ok {
		named := names.workspace()
		if fault != nil { // in may be filled in part
			var alone inWorkspace
			_ = strictjson.Unmarshal(c.body, &alone) // what can't be read names nothing
			named = alone.WorkspaceID
		}
		if err := c.who.CheckWorkspace(named); err != nil {
			return err
		}
	}
	if c.route.write {
		if err := c.who.Writable(); err != nil {
			return err
		}
	}
	if fault != nil {
		return fault
	}
	if c.route.unrepeatable && c.ctx.Get(headerIdempotencyKey) != "" {
		return engine.Errorf(engine.Invalid, "This endpoint takes no Idempotency-Key: a repetition would do it again")
	}
	return b.bindParams(c, in)
}

func (b *binder) bindBody(c *call, in reflect.Value) (err error) {
	if !b.hasBody {
		return nil
	}
	if c.body, err = c.readBody(); err != nil {
		return err
	}
	if len(c.body) == 0 && c.route.emptyBody {
		return nil
	}
	return strictjson.Unmarshal(c.body, in.Addr().Interface())
}

func (b *binder) bindParams(c *call, in reflect.Value) error {
	for _, p := range b.params {
		text, err := c.param(p)
		if err != nil {
			return err
		}
		if text == "" {
			continue
		}
		switch field := in.FieldByIndex(p.index); field.Kind() {
		case reflect.String:
			field.SetString(text)
		case reflect.Int:
			n, err := strconv.ParseInt(text, 10, 32)
			if err != nil || n < 1 {
				return engine.Errorf(engine.Invalid, "%s must be a number from 1 to %d", p.query, math.MaxInt32)
			}
			field.SetInt(n)
		default:
			return errors.New("no way to read a parameter of type " + field.Type().String())
		}
	}
	return nil
}

// param returns a value from path or query. One that is given twice is refused: two readers would not
// agree on which one counts.
func (c *call) param(p param) (value string, err error) {
	list, name := c.query, p.query
	if p.path != "" {
		list, name = c.path, p.path
	}
	seen := false
	for _, a := range list {
		if a.name != name {
			continue
		}
		if seen {
			return "", engine.Errorf(engine.Invalid, "%s is given more than once", name)
		}
		value, seen = a.value, true
	}
	return value, nil
}

// inWorkspace is part of every body that may name its workspace; another than the key's is refused.
type inWorkspace struct {
	WorkspaceID string `json:"workspaceId,omitzero" description:"the key's own workspace, if given"`
}

func (w inWorkspace) workspace() string { return w.WorkspaceID }

// ok is the usual answer.
func ok(body any) (reply, error) { return reply{status: http.StatusOK, body: body}, nil }
