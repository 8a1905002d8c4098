package httpapi

import (
	"errors"
	"fmt"
	"math"
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
	Error     string `json:"error" required:"true" description:"what is wrong, for people"`
	Code      string `json:"code,omitzero" description:"a stable word for programs"`
	Reason    string `json:"reason,omitzero" description:"why, as a word"`
	Scope     string `json:"scope,omitzero" description:"the scope that is missing"`
	LimitName string `json:"limitName,omitzero" description:"the limit that was reached"`
	Limit     *int64 `json:"limit,omitzero"`
	Used      *int64 `json:"used,omitzero"`
	ResetsAt  *date  `json:"resetsAt,omitzero" format:"date-time"`
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
	e := s.errorFor(c, err)
	status := statusOf[e.Kind]
	if f := (*fiber.Error)(nil); errors.As(err, &f) && e.Err == err {
		status = f.Code
	}
	setLimits(c, e.Limits)
	if e.RetryAfter > 0 {
		c.Set(fiber.HeaderRetryAfter, strconv.FormatInt(int64(math.Ceil(e.RetryAfter.Seconds())), 10))
	}
	challenge(c, e)
	body := errorResponse{Error: e.Msg, Code: e.Code, Reason: e.Reason, Scope: string(e.Scope)}
	if l := e.Limit; l != nil {
		used := l.Used + l.Reserved
		body.LimitName, body.Limit, body.Used = l.Name, &l.Limit, &used
		if !l.ResetsAt.IsZero() {
			body.ResetsAt = newDate(l.ResetsAt)
		}
	}
	if !strings.Contains(c.Get(fiber.HeaderAccept), problemType) {
		return writeJSON(c, status, body)
	}
	p := problem{Type: noProblem, Title: http.StatusText(status), Status: status, Detail: e.Msg, errorResponse: body}
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

// errorFor turns any error into one for the caller.
func (s *Server) errorFor(c *fiber.Ctx, err error) *engine.Error {
	var e *engine.Error
	if errors.As(err, &e) {
		if e.Err != nil {
			s.log.Warn().Err(e.Err).Str("request", requestID(c)).Str("route", routePath(c)).Msg(e.Msg)
		}
		return e
	}
	var bad *strictjson.Error
	if errors.As(err, &bad) {
		return badJSON(bad)
	}
	var f *fiber.Error
	if errors.As(err, &f) && f.Code < 500 {
		return &engine.Error{Kind: engine.Invalid, Msg: fiberTexts[f.Code], Err: err}
	}
	s.log.Error().Err(err).Str("request", requestID(c)).Str("route", routePath(c)).Msg("request failed")
	return &engine.Error{Kind: engine.Internal, Msg: internalText}
}

// fiberTexts say what fiber and fasthttp refused.
var fiberTexts = map[int]string{
	http.StatusBadRequest:                  "Malformed request",
	http.StatusNotFound:                    "Not found",
	http.StatusMethodNotAllowed:            "Method not allowed",
	http.StatusRequestTimeout:              "The request took too long to arrive",
	http.StatusRequestEntityTooLarge:       "The request is too large",
	http.StatusRequestHeaderFieldsTooLarge: "The request's headers are too large",
}

// badJSON keeps Tuco's documented texts first and says where the fault is.
func badJSON(bad *strictjson.Error) *engine.Error {
	switch bad.Kind {
	case strictjson.RootNotObject:
		return engine.Errorf(engine.Invalid, "Request body must be a JSON object")
	case strictjson.Type, strictjson.Unknown:
		return engine.Errorf(engine.Invalid, "%s", bad.Msg)
	}
	e := engine.Errorf(engine.Invalid, "Invalid request body (JSON required)")
	e.Reason = bad.Msg
	return e
}

// challenge adds what RFC 6750 asks for to a 401, and to a 403 for a missing scope.
func challenge(c *fiber.Ctx, e *engine.Error) {
	switch {
	case e.Kind == engine.Unauthorized && c.Get(fiber.HeaderAuthorization) == "":
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
// quota and window, and what is left of each.
func setLimits(c *fiber.Ctx, limits []engine.LimitState) {
	var policies, states []byte
	for _, l := range limits {
		if l.Unlimited() {
			continue
		}
		if len(policies) > 0 {
			policies, states = append(policies, ", "...), append(states, ", "...)
		}
		policies = append(strconv.AppendQuote(policies, l.Name), ";q="...)
		policies = append(strconv.AppendInt(policies, l.Limit, 10), ";w="...)
		policies = strconv.AppendInt(policies, int64(l.Window/time.Second), 10)
		states = append(strconv.AppendQuote(states, l.Name), ";r="...)
		states = append(strconv.AppendInt(states, l.Remaining(), 10), ";t="...)
		states = strconv.AppendInt(states, max(0, int64(math.Ceil(time.Until(l.ResetsAt).Seconds()))), 10)
	}
	if len(policies) > 0 {
		c.Set("RateLimit-Policy", string(policies))
		c.Set("RateLimit", string(states))
	}
}

func writeJSON(c *fiber.Ctx, status int, body any) error {
	data, err := strictjson.Marshal(body)
	if err != nil {
		return err
	}
	return writeBody(c, status, data)
}

func writeBody(c *fiber.Ctx, status int, data []byte) error {
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return c.Status(status).Send(data)
}
