package httpapi

import (
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"tuco/engine"
)

// metrics are what the server counts. No label names a workspace.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	refusals map[string]prometheus.Counter // by the limit that was reached; never changed
}

func newMetrics(r *prometheus.Registry) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tuco_http_requests_total", Help: "Requests answered.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tuco_http_request_seconds", Help: "Time from a request's last byte to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"method", "route"}),
		refusals: map[string]prometheus.Counter{},
	}
	refusals := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tuco_quota_refusals_total", Help: "Requests refused because a limit was reached; other is of limits that are not the plan's.",
	}, []string{"limit"})
	for _, limit := range append(slices.Clone(engine.PlanLimits), otherLimit) {
		m.refusals[limit] = refusals.WithLabelValues(limit)
	}
	r.MustRegister(m.requests, m.seconds, refusals, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

const otherLimit = "other"

func (m *metrics) request(method, route string, status int, took time.Duration) {
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(method, route).Observe(took.Seconds())
}

// refused counts a request that was refused because a limit was reached.
func (m *metrics) refused(e *engine.Error) {
	switch {
	case e.Limit != nil && m.refusals[e.Limit.Name] != nil:
		m.refusals[e.Limit.Name].Inc()
	case e.Limit != nil || e.Kind == engine.QuotaExceeded:
		m.refusals[otherLimit].Inc()
	}
}

// serverGauges shows what the server is, and its connections.
func (s *Server) serverGauges(r *prometheus.Registry) {
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	gauge("tuco_build_info", "The program's version; always 1.", prometheus.Labels{"version": s.opt.Version, "goversion": runtime.Version()}, func() float64 { return 1 })
	gauge("tuco_http_connections", "Open connections of clients.", nil, func() float64 { return float64(s.app.Server().GetOpenConnectionsCount()) })
	most := float64(s.app.Server().Concurrency)
	gauge("tuco_http_connections_max", "Connections at which no more are served: --concurrency.", nil, func() float64 { return most })
}

// OutcomeCounter counts what became of messages.
func OutcomeCounter(r *prometheus.Registry) func(engine.Status) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tuco_messages_total", Help: "Attempts to send a message by what became of it; queued is to be tried again.",
	}, []string{"status"})
	r.MustRegister(c)
	byStatus := map[engine.Status]prometheus.Counter{}
	for _, s := range engine.OutcomeStatuses {
		byStatus[s] = c.WithLabelValues(string(s))
	}
	return func(s engine.Status) {
		if known := byStatus[s]; known != nil {
			known.Inc()
			return
		}
		c.WithLabelValues(string(s)).Inc()
	}
}
