package httpapi

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"tuco/engine"
	"tuco/strictjson"
)

// sendText is the body of an ordinary send.
const sendText = `{"message":"Hello {{firstName}}, this is a message of a usual length that asks whether you got our offer of last week and whether you would like to talk about it.",` +
	`"recipientPhone":"+12025550142","recipientName":"Ana Example","batchId":"b-2026-10","ghlContactId":"abcDEF1234567890","correlationId":"corr-0123456789"}`

// caller is a client of one server without sockets: what is measured is fiber and this package.
type caller struct {
	b      *testing.B
	handle fasthttp.RequestHandler
	ctx    fasthttp.RequestCtx
	body   bytes.Reader
	text   string
}

func newCaller(b *testing.B, srv *Server, key, method, path, text string) *caller {
	c := &caller{b: b, handle: srv.app.Handler(), text: text}
	req := fasthttp.AcquireRequest()
	req.Header.SetMethod(method)
	req.SetRequestURI(path)
	req.Header.SetHost("127.0.0.1:8420")
	req.Header.SetUserAgent("bench/1.0")
	req.Header.Set("Accept", "*/*")
	req.Header.Set("Authorization", "Bearer "+key)
	if text != "" {
		req.Header.SetContentType("application/json")
		req.Header.SetContentLength(len(text))
	}
	c.ctx.Init(req, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1).To4(), Port: 12345}, nil)
	return c
}

func (c *caller) begin() {
	c.ctx.Response.Reset()
	if c.text != "" {
		c.body.Reset([]byte(c.text))
		c.ctx.Request.SetBodyStream(&c.body, len(c.text))
	}
}

func (c *caller) do(status int) {
	c.begin()
	c.handle(&c.ctx)
	if got := c.ctx.Response.StatusCode(); got != status {
		c.b.Fatalf("%d %s", got, c.ctx.Response.Body())
	}
}

// benchWorld is a world that logs as the server does by default, with some messages in it.
func benchWorld(b *testing.B, messages int) (w *world, key string, sent *engine.SendResult, who engine.Caller) {
	w = newWorld(b, func(_ *engine.Options, o *Options) { o.Log = zerolog.New(io.Discard).Level(zerolog.WarnLevel) })
	limit, none := int64(1e9), int64(0)
	ws := w.workspaceOn("A", engine.PlanChange{MessagesPerDay: &limit, MessagesPerMonth: &limit, NewContactsPerDay: &limit, RequestsPerMinute: &none})
	ws.line(engine.Production, person(1), 0)
	who = ws.in(engine.Production)
	for i := range messages {
		var req sendRequest
		if err := strictjson.Unmarshal([]byte(sendText), &req); err != nil {
			b.Fatal(err)
		}
		req.RecipientPhone = person(i + 2)
		var err error
		if sent, err = w.eng.Send(who, nil, req.engine("corr-0123456789")); err != nil {
			b.Fatal(err)
		}
	}
	return w, ws.key(engine.Production, engine.RoleMember), sent, who
}

func BenchmarkRequest(b *testing.B) {
	w, key, sent, _ := benchWorld(b, 60)
	// canned answers like POST /api/messages, without the engine's part.
	add(w.srv, route{id: "canned", method: post, path: "/api/canned", scope: engine.MessagesWrite, write: true, idempotent: true}, func(c *call, req sendRequest) (reply, error) {
		if req.RecipientPhone == "" {
			return reply{}, engine.Errorf(engine.Invalid, "nobody")
		}
		setLimits(c.ctx, sent.Limits)
		return newSendReply(c.who, &sent.MessageView), nil
	})
	for _, r := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"livez", get, "/livez", "", 200},
		{"send", post, "/api/canned", sendText, 201},
		{"message", get, "/api/messages/" + sent.Message.ID.String(), "", 200},
		{"page", get, "/api/messages?limit=50&status=pending", "", 200},
		{"malformed", get, "/api/messages/x?y=z", "", 400},
		{"refused", post, "/api/messages", `{"message":"x"}`, 400},
	} {
		b.Run(r.name, func(b *testing.B) {
			c := newCaller(b, w.srv, key, r.method, r.path, r.body)
			b.ReportAllocs()
			for b.Loop() {
				c.do(r.status)
			}
		})
	}
}

// BenchmarkServe is whole requests through fasthttp, over a listener in memory.
func BenchmarkServe(b *testing.B) {
	w, key, sent, _ := benchWorld(b, 1)
	ln, conn := net.Pipe()
	go w.srv.app.Server().ServeConn(ln)
	defer conn.Close()
	text := fmt.Appendf(nil, "GET /api/messages/%s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n\r\n", sent.Message.ID, key)
	buf := make([]byte, 8<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(text); err != nil {
			b.Fatal(err)
		}
		if n, err := conn.Read(buf); err != nil || !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200")) {
			b.Fatal(err, string(buf[:n]))
		}
	}
}

func BenchmarkDecodeSend(b *testing.B) {
	b.SetBytes(int64(len(sendText)))
	b.ReportAllocs()
	for b.Loop() {
		var req sendRequest
		if err := strictjson.Unmarshal([]byte(sendText), &req); err != nil {
			b.Fatal(err)
		}
	}
}

// onFiber runs fn in a handler.
func onFiber(b *testing.B, w *world, key string, fn func(*fiber.Ctx)) {
	var c *caller
	w.srv.app.Get("/bench", func(ctx *fiber.Ctx) error {
		b.ReportAllocs()
		for b.Loop() {
			c.begin()
			fn(ctx)
		}
		return ctx.SendStatus(200)
	})
	c = newCaller(b, w.srv, key, get, "/bench", "")
	c.do(200)
}

func BenchmarkEncodeSend(b *testing.B) {
	w, key, sent, who := benchWorld(b, 1)
	onFiber(b, w, key, func(ctx *fiber.Ctx) {
		r := newSendReply(who, &sent.MessageView)
		if err := (&call{ctx: ctx}).write(r); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkAdmit(b *testing.B) {
	w, key, _, _ := benchWorld(b, 1)
	r := &route{scope: engine.MessagesRead}
	onFiber(b, w, key, func(ctx *fiber.Ctx) {
		if _, err := w.srv.admit(ctx, r); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkBegin(b *testing.B) {
	w, key, _, _ := benchWorld(b, 1)
	onFiber(b, w, key, begin)
}

func BenchmarkSetLimits(b *testing.B) {
	w, key, sent, _ := benchWorld(b, 1)
	onFiber(b, w, key, func(ctx *fiber.Ctx) { setLimits(ctx, sent.Limits) })
}

func BenchmarkMetrics(b *testing.B) {
	w, _, _, _ := benchWorld(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		w.srv.metrics.request(http.MethodPost, "/api/messages", 201, time.Millisecond)
	}
}
