package httpapi

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"tuco/engine"
)

const (
	headerRequestID     = "X-Request-Id"
	headerCorrelationID = "X-Correlation-Id"
)

// outermost gives each request its ids, and counts and logs its outcome.
func (s *Server) outermost(c *fiber.Ctx) error {
	began := time.Now()
	request := ownID(c.Get(headerRequestID), "")
	c.Set(headerRequestID, request)
	c.Set(headerCorrelationID, ownID(c.Get(headerCorrelationID), "app_"))
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderCacheControl, "no-store")
	if err := c.Next(); err != nil {
		if err := s.writeError(c, err); err != nil {
			return err
		}
	}
	s.metrics.request(c.Method(), routePath(c), c.Response().StatusCode(), time.Since(began))
	s.log.Debug().Str("request", request).Str("method", c.Method()).Str("route", routePath(c)).
		Int("status", c.Response().StatusCode()).Dur("took", time.Since(began)).Msg("request")
	return nil
}

// routePath is the route's template: never the path itself, which names records.
func routePath(c *fiber.Ctx) string {
	if p := c.Route().Path; p != "/" {
		return p
	}
	return "none"
}

func requestID(c *fiber.Ctx) string { return string(c.Response().Header.Peek(headerRequestID)) }

func correlationID(c *fiber.Ctx) string { return string(c.Response().Header.Peek(headerCorrelationID)) }

// ownID takes an id that the client sent, if it is harmless in logs and headers; else it makes one.
func ownID(sent, prefix string) string {
	if sent != "" && len(sent) <= 128 && strings.Trim(sent, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/+=") == "" {
		return strings.Clone(sent)
	}
	var id [12]byte
	rand.Read(id[:])
	return prefix + hex.EncodeToString(id[:])
}

// guard refuses what is no clean HTTP/1.1 request, before anything is made of it: forms that two
// parsers read differently are how requests are smuggled.
func guard(c *fiber.Ctx) error {
	h := &c.Request().Header
	switch {
	case !bytes.HasPrefix(h.RequestURI(), []byte("/")):
		return engine.Errorf(engine.Invalid, "The request target must be a path")
	case string(h.Protocol()) != "HTTP/1.1" && string(h.Protocol()) != "HTTP/1.0":
		return engine.Errorf(engine.Unsupported, "Only HTTP/1.0 and HTTP/1.1 are spoken here")
	case len(h.Peek(fiber.HeaderTransferEncoding)) > 0 && len(h.Peek(fiber.HeaderContentLength)) > 0:
		return engine.Errorf(engine.Invalid, "A request has either a Content-Length or a Transfer-Encoding")
	case (c.Method() == fiber.MethodGet || c.Method() == fiber.MethodHead) && len(c.Request().Body()) > 0:
		return engine.Errorf(engine.Invalid, "A GET request has no body")
	case len(h.PeekAll(fiber.HeaderAuthorization)) > 1:
		return engine.Errorf(engine.Invalid, "More than one Authorization header")
	case bytes.Contains(c.Request().URI().QueryString(), []byte("tuco_")):
		return engine.Errorf(engine.Invalid, "An API key belongs into the Authorization header, never into a URL; treat this one as leaked")
	}
	return c.Next()
}

// fromBrowser tells whether a page in a browser made the request: only browsers send these headers,
// and secret keys don't belong into pages.
func fromBrowser(c *fiber.Ctx) bool {
	site := c.Get("Sec-Fetch-Site")
	return c.Get(fiber.HeaderOrigin) != "" || site != "" && site != "none"
}
