package httpapi

import (
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"tuco/engine"
	"tuco/strictjson"
)

// statusOf is the one place where a kind of error becomes an HTTP status.
var statusOf = map[engine.Kind]int{
	engine.Internal:      http.StatusInternalServerError,
	engine.Invalid:       http.StatusBadRequest,
	engine.Unauthorized:  http.StatusUnauthorized,
	engine.ReadOnly:      http.StatusPaymentRequired,
	engine.Forbidden:     http.StatusForbidden,
	engine.NotFound:      http.StatusNotFound,
	engine.Conflict:      http.StatusConflict,
	engine.TooLarge:      http.StatusRequestEntityTooLarge,
	engine.Unsupported:   http.StatusUnsupportedMediaType,
	engine.Mismatch:      http.StatusUnprocessableEntity,
	engine.QuotaExceeded: http.StatusTooManyRequests,
	engine.Unavailable:   http.StatusServiceUnavailable,
	engine.Unknown:       http.StatusServiceUnavailable,
}

// errorResponse is the body of every error.
type errorResponse struct {
	Error     string       `json:"error" description:"what is wrong, for people"`
	Code      string       `json:"code,omitzero" description:"a stable word for programs"`
	Reason    string       `json:"reason,omitzero" description:"why: of READ_ONLY as a word, of a malformed body where the fault is"`
	Scope     engine.Scope `json:"scope,omitzero" description:"the scope that is missing"`
	LimitName string       `json:"limitName,omitzero" description:"the limit that was reached"`
	Limit     *int64       `json:"limit,omitzero"`
	Used      *int64       `json:"used,omitzero"`
	ResetsAt  *date        `json:"resetsAt,omitzero"`
}

// problem is the body of an error for clients that ask for RFC 9457.
type problem struct {
	Type     string   `json:"type"`
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Detail   string   `json:"detail"`
	Violated []string `json:"violated-policies,omitzero"`
	errorResponse
}

const (
	quotaProblem = "https://iana.org/assignments/http-problem-types#quota-exceeded"
	noProblem    = "about:blank"
	problemType  = "application/problem+json"
	internalText = "Internal server error"
)

// writeError answers with err. What is not meant for the caller goes to the log.
func (s *Server) writeError(c *fiber.Ctx, err error) error {
	e, status := s.errorFor(c, err)
	s.metrics.refused(e)
	if len(e.Limits) == 0 && e.Limit != nil {
		e.Limits = []engine.LimitState{*e.Limit}
	}
	setLimits(c, e.Limits)
	if e.RetryAfter > 0 {
		after := seconds(e.RetryAfter)
		if e.Limit != nil { // never before the policy's own t
			after = max(after, untilReset(*e.Limit))
		}
		c.Set(fiber.HeaderRetryAfter, strconv.FormatInt(after, 10))
	}
	challenge(c, e)
	body := errorResponse{Error: e.Msg, Code: e.Code, Reason: e.Reason, Scope: e.Scope}
	if l := e.Limit; l != nil {
		used := l.Used + l.Reserved
		body.LimitName, body.Limit, body.Used, body.ResetsAt = l.Name, &l.Limit, &used, newDate(l.ResetsAt)
	}
	if !wantsProblem(c.Get(fiber.HeaderAccept)) {
		return writeJSON(c, status, &body)
	}
	p := &problem{Type: noProblem, Title: http.StatusText(status), Status: status, Detail: e.Msg, errorResponse: body}
	if e.Kind == engine.QuotaExceeded {
		p.Type = quotaProblem
		if e.Limit != nil {
			p.Violated = []string{e.Limit.Name}
		}
	}
	err = writeJSON(c, status, p)
	c.Set(fiber.HeaderContentType, problemType)
	return err
}

// wantsProblem tells whether an Accept field names problem+json.
func wantsProblem(accept string) bool {
	if !strings.Contains(strings.ToLower(accept), problemType) {
		return false
	}
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, err := mime.ParseMediaType(part)
		if q, qErr := strconv.ParseFloat(or(params["q"], "1"), 64); err == nil && kind == problemType && qErr == nil && q > 0 {
			return true
		}
	}
	return false
}

// errorFor turns any error into one for the caller, with its status.
func (s *Server) errorFor(c *fiber.Ctx, err error) (*engine.Error, int) {
	if e, ok := errors.AsType[*engine.Error](err); ok {
		if e.Err != nil {
			s.log.Warn().Err(e.Err).Str("request", requestID(c)).Str("route", routePath(c)).Msg(e.Msg)
		}
		shown := *e
		return &shown, statusOf[e.Kind]
	}
	if bad, ok := errors.AsType[*strictjson.Error](err); ok {
		return badJSON(bad), http.StatusBadRequest
	}
	if f, ok := errors.AsType[*fiber.Error](err); ok && fiberTexts[f.Code] != "" {
		return &engine.Error{Kind: engine.Invalid, Msg: fiberTexts[f.Code]}, f.Code
	}
	s.log.Error().Err(err).Str("request", requestID(c)).Str("route", routePath(c)).Msg("request failed")
	return &engine.Error{Kind: engine.Internal, Msg: internalText}, http.StatusInternalServerError
}

// fiberTexts say what fiber and fasthttp refused. A bad gateway is a connection that broke: nobody
// reads the answer.
var fiberTexts = map[int]string{
	http.StatusBadRequest:                  "Malformed request",
	http.StatusNotFound:                    "Not found",
	http.StatusMethodNotAllowed:            "Method not allowed",
	http.StatusRequestTimeout:              "The request took too long to arrive",
	http.StatusRequestEntityTooLarge:       "The request is too large",
	http.StatusRequestHeaderFieldsTooLarge: "The request's headers are too large",
	http.StatusNotImplemented:              "Unknown method",
	http.StatusBadGateway:                  "The connection broke",
	http.StatusHTTPVersionNotSupported:     "Only HTTP/1.0 and HTTP/1.1 are spoken here",
}

// badJSON keeps Tuco's documented texts first and says where the fault is.
func badJSON(bad *strictjson.Error) *engine.Error {
	switch bad.Kind {
	case strictjson.RootNotObject:
		return engine.Errorf(engine.Invalid, "Request body must be a JSON object")
	case strictjson.Type:
		return engine.Errorf(engine.Invalid, "%s", strings.TrimPrefix(bad.Msg, "/"))
	}
	e := engine.Errorf(engine.Invalid, "Invalid request body (JSON required)")
	e.Reason = bad.Msg
	return e
}

// challenge adds what RFC 6750 asks for to a 401, and to a 403 for a missing scope.
func challenge(c *fiber.Ctx, e *engine.Error) {
	_, sent := bearer(c.Get(fiber.HeaderAuthorization))
	switch {
	case e.Kind == engine.Unauthorized && !sent:
		c.Set(fiber.HeaderWWWAuthenticate, `Bearer realm="tuco"`)
	case e.Kind == engine.Unauthorized:
		c.Set(fiber.HeaderWWWAuthenticate, `Bearer realm="tuco", error="invalid_token"`)
	case e.Code == engine.CodeInsufficientScope:
		c.Set(fiber.HeaderWWWAuthenticate, fmt.Sprintf(`Bearer realm="tuco", error="insufficient_scope", scope=%q`, string(e.Scope)))
	case e.Kind == engine.ReadOnly:
		c.Set(fiber.HeaderLink, `</api/workspace>; rel="help"`)
	}
}

// setLimits adds the RateLimit fields (draft-ietf-httpapi-ratelimit-headers-10): policies with their
// quota and window, and what is left of each. Limits without a window, such as a number of lines, are none.
func setLimits(c *fiber.Ctx, limits []engine.LimitState) {
	policies, states := make([]byte, 0, 256), make([]byte, 0, 256)
	for _, l := range limits {
		if l.Unlimited() || l.Window == 0 {
			continue
		}
		policies = appendLimit(policies, l.Name, 'q', l.Limit, 'w', seconds(l.Window))
		states = appendLimit(states, l.Name, 'r', l.Remaining(), 't', untilReset(l))
	}
	if len(policies) > 0 {
		c.Response().Header.SetCanonical(wirePolicy, policies)
		c.Response().Header.SetCanonical(wireLimit, states)
	}
}

var wirePolicy, wireLimit = []byte("Ratelimit-Policy"), []byte("Ratelimit")

// appendLimit adds one item to a RateLimit field. No name of a limit has anything to escape.
func appendLimit(list []byte, name string, key byte, value int64, key2 byte, value2 int64) []byte {
	if len(list) > 0 {
		list = append(list, ", "...)
	}
	list = append(append(append(list, '"'), name...), '"', ';', key, '=')
	list = append(strconv.AppendInt(list, value, 10), ';', key2, '=')
	return strconv.AppendInt(list, value2, 10)
}

func untilReset(l engine.LimitState) int64 { return seconds(time.Until(l.ResetsAt)) }

// seconds rounds up, and is never negative.
func seconds(d time.Duration) int64 { return max(0, int64(math.Ceil(d.Seconds()))) }

// writeJSON answers with body, best a pointer: what isn't one is copied.
func writeJSON(c *fiber.Ctx, status int, body any) error {
	answer := c.Response()
	answer.ResetBody()
	if err := strictjson.MarshalWrite(answer.BodyWriter(), body); err != nil {
		answer.ResetBody()
		return err
	}
	answer.Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Status(status)
	return nil
}

// writeBody answers with JSON that is there already.
func writeBody(c *fiber.Ctx, status int, data []byte) error {
	c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
	return c.Status(status).Send(data)
}
