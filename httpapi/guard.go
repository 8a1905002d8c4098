package httpapi

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"tuco/engine"
)

const (
	headerRequestID     = "X-Request-Id"
	headerCorrelationID = "X-Correlation-Id"
)

// outermost gives each request its ids, answers it if its handler didn't, and counts and logs its outcome.
func (s *Server) outermost(c *fiber.Ctx) error {
	began := time.Now()
	begin(c)
	if err := next(c); err != nil {
		if err := s.writeError(c, err); err != nil {
			return err
		}
	}
	took := time.Since(began)
	s.metrics.request(c.Method(), routePath(c), c.Response().StatusCode(), took)
	if e := s.log.Debug(); e.Enabled() {
		e.Str("request", requestID(c)).Str("method", c.Method()).Str("route", routePath(c)).
			Int("status", c.Response().StatusCode()).Dur("took", took).Msg("request")
	}
	return nil
}

// Headers of every answer, as they are on the wire.
var (
	wireRequestID     = []byte(headerRequestID)
	wireCorrelationID = []byte(headerCorrelationID)
	wireNoSniff       = [2][]byte{[]byte(fiber.HeaderXContentTypeOptions), []byte("nosniff")}
	wireNoStore       = [2][]byte{[]byte(fiber.HeaderCacheControl), []byte("no-store")}
)

// begin gives the answer the headers that every answer has.
func begin(c *fiber.Ctx) {
	setID(c, wireRequestID, c.Get(headerRequestID), "")
	setID(c, wireCorrelationID, c.Get(headerCorrelationID), "app_")
	h := &c.Response().Header
	h.SetCanonical(wireNoSniff[0], wireNoSniff[1])
	h.SetCanonical(wireNoStore[0], wireNoStore[1])
}

// next runs the handlers. A panic in one ends its request only.
func next(c *fiber.Ctx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return c.Next()
}

// onlyKnown answers requests with a method that nobody knows, and leaves the others to handle. Fiber would
// answer them in plain text.
func (s *Server) onlyKnown(handle fasthttp.RequestHandler) fasthttp.RequestHandler {
	methods := s.app.Config().RequestMethods
	return func(ctx *fasthttp.RequestCtx) {
		if slices.ContainsFunc(methods, func(m string) bool { return m == string(ctx.Method()) }) {
			handle(ctx)
			return
		}
		c := s.app.AcquireCtx(ctx)
		defer s.app.ReleaseCtx(c)
		if err := s.unreadable(c, fiber.ErrNotImplemented); err != nil {
			c.Status(fiber.StatusNotImplemented)
		}
	}
}

// unreadable answers a request that could not even be read as HTTP, or asks for what is no method.
func (s *Server) unreadable(c *fiber.Ctx, err error) error {
	begin(c)
	return s.writeError(c, err)
}

// routePath is the route's template: never the path itself, which names records.
func routePath(c *fiber.Ctx) string {
	if r := c.Route(); len(r.Handlers) > 0 && r.Path != "/" {
		return r.Path
	}
	return "none"
}

func requestID(c *fiber.Ctx) string { return string(c.Response().Header.Peek(headerRequestID)) }

func correlationID(c *fiber.Ctx) string { return string(c.Response().Header.Peek(headerCorrelationID)) }

// setID gives the answer an id that the client sent, if it is harmless in logs and headers; else one that
// is made for it.
func setID(c *fiber.Ctx, header []byte, sent, prefix string) {
	id := append(make([]byte, 0, 32), prefix...)
	if sent != "" && len(sent) <= 128 && strings.Trim(sent, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/+=") == "" && !looksSecret(sent) {
		id = append(id[:0], sent...)
	} else {
		var dice [12]byte
		rand.Read(dice[:])
		id = hex.AppendEncode(id, dice[:])
	}
	c.Response().Header.SetCanonical(header, id)
}

// looksSecret tells whether text could be an API key, which belongs neither into logs nor into URLs.
func looksSecret(text string) bool { return len(text) >= 16 && strings.HasPrefix(text, "tuco_") }

// guard refuses what is no clean HTTP/1.1 request, before anything is made of it: forms that two
// parsers read differently are how requests are smuggled.
func guard(c *fiber.Ctx) error {
	h := &c.Request().Header
	reading := c.Method() == fiber.MethodGet || c.Method() == fiber.MethodHead
	switch {
	case !bytes.HasPrefix(h.RequestURI(), []byte("/")):
		return engine.Errorf(engine.Invalid, "The request target must be a path")
	case string(h.Protocol()) != "HTTP/1.1" && string(h.Protocol()) != "HTTP/1.0":
		return fiber.ErrHTTPVersionNotSupported
	case len(h.Peek(fiber.HeaderTransferEncoding)) > 0 && len(h.Peek(fiber.HeaderContentLength)) > 0:
		return engine.Errorf(engine.Invalid, "A request has either a Content-Length or a Transfer-Encoding")
	case reading && (h.ContentLength() > 0 || h.ContentLength() == chunked):
		return engine.Errorf(engine.Invalid, "A GET request has no body")
	case len(h.PeekAll(fiber.HeaderAuthorization)) > 1:
		return engine.Errorf(engine.Invalid, "More than one Authorization header")
	case len(h.PeekAll(headerIdempotencyKey)) > 1:
		return engine.Errorf(engine.Invalid, "More than one Idempotency-Key header")
	}
	if args := c.Context().QueryArgs(); args.Len() > 0 && namesSecret(args.All()) {
		return engine.Errorf(engine.Invalid, "An API key belongs into the Authorization header, never into a URL; treat this one as leaked")
	}
	return c.Next()
}

func namesSecret(query iter.Seq2[[]byte, []byte]) bool {
	for _, value := range query {
		if looksSecret(string(value)) {
			return true
		}
	}
	return false
}

// chunked is what fasthttp gives as the length of a body that comes in chunks.
const chunked = -1

// fromBrowser tells whether a page in a browser made the request: only browsers send these headers,
// and secret keys don't belong into pages.
func fromBrowser(c *fiber.Ctx) bool {
	site := c.Get("Sec-Fetch-Site")
	return c.Get(fiber.HeaderOrigin) != "" || site != "" && site != "none"
}
