package httpapi

import (
	"context"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tuco/engine"
)

// Options make a server. Only Engine is needed.
type Options struct {
	// Engine does the work.
	Engine *engine.Engine
	// Version is shown in the OpenAPI document and to the operator.
	Version string
	// Log gets one event per outcome.
	Log zerolog.Logger
	// Concurrency bounds the connections that are served at a time. 10,000 if 0.
	Concurrency int
	// ReadTimeout, WriteTimeout and IdleTimeout bound how long a peer may take. 30 s, 60 s and 2 min if 0.
	ReadTimeout, WriteTimeout, IdleTimeout time.Duration
	// Registry holds the metrics. A new one if nil.
	Registry *prometheus.Registry
	// TrustedProxies are believed when they say for whom they ask. Nobody is by default.
	TrustedProxies TrustedProxies
	// Warnings are what an operator should look at beside what the engine knows. May be nil.
	Warnings func() []string
}

// A Server answers HTTP requests.
type Server struct {
	eng     *engine.Engine
	opt     Options
	log     zerolog.Logger
	app     *fiber.App
	metrics *metrics
	routes  []*route
	openAPI []byte
	exports exports
}

// Limits of a request. Bodies over bodyBytes are taken by bulk routes only. A body is read by the
// handler, after it is known who sends it and how much that may be.
const (
	headerBytes   = 16 << 10
	bodyBytes     = 1 << 20
	bulkBodyBytes = 32 << 20
)

// New makes a server.
func New(opt Options) (*Server, error) {
	if opt.Registry == nil {
		opt.Registry = prometheus.NewRegistry()
	}
	s := &Server{eng: opt.Engine, opt: opt, log: opt.Log}
	s.metrics = newMetrics(opt.Registry)
	opt.Registry.MustRegister(engineMetrics{opt.Engine, opt.Log})
	s.app = fiber.New(config(opt, s.unreadable))
	s.serverGauges(opt.Registry)
	s.app.Server().CloseOnShutdown = true // so that no client sends on a connection that is about to go
	s.app.Server().Handler = s.onlyKnown(s.app.Server().Handler)
	s.app.Use(s.outermost, guard)
	s.addRoutes()
	var err error
	s.openAPI, err = s.describe()
	return s, err
}

// config is how fiber and fasthttp are set up.
func config(opt Options, unreadable fiber.ErrorHandler) fiber.Config {
	return fiber.Config{
		AppName: "tuco", ServerHeader: "", DisableStartupMessage: true,
		Immutable: true, CaseSensitive: true, StrictRouting: true, DisableDefaultContentType: true,
		ErrorHandler: unreadable, BodyLimit: bulkBodyBytes, ReadBufferSize: headerBytes,
		StreamRequestBody: true, DisablePreParseMultipartForm: true,
		Concurrency: or(opt.Concurrency, 10_000), ReadTimeout: or(opt.ReadTimeout, 30*time.Second),
		WriteTimeout: or(opt.WriteTimeout, time.Minute), IdleTimeout: or(opt.IdleTimeout, 2*time.Minute),
	}
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// Serve answers requests on ln until [Server.Shutdown].
func (s *Server) Serve(ln net.Listener) error { return s.app.Listener(drainListener{ln}) }

// drainListener takes no connection once it is closed, but its Close returns a moment later. In that
// moment every answer says Connection: close, so that hardly any kept connection is still idle, and cut,
// just when its client sends a request.
type drainListener struct{ net.Listener }

const drainMoment = 100 * time.Millisecond

func (l drainListener) Close() error {
	err := l.Listener.Close()
	time.Sleep(drainMoment)
	return err
}

// Shutdown takes no new connection and waits for the requests that were begun, as long as ctx allows.
func (s *Server) Shutdown(ctx context.Context) error { return s.app.ShutdownWithContext(ctx) }
