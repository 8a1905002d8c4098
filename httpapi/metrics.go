package httpapi

import (
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
}

func newMetrics(r *prometheus.Registry, eng *engine.Engine) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tuco_http_requests_total", Help: "Requests answered.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tuco_http_request_seconds", Help: "Time from a request's last byte to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"method", "route"}),
	}
	r.MustRegister(m.requests, m.seconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	counter := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
	}
	counter("tuco_commits_total", "Commits made durable in the redo log.", func() float64 { return float64(eng.Stats().Commits) })
	counter("tuco_transactions_total", "Transactions committed in them.", func() float64 { return float64(eng.Stats().Transactions) })
	counter("tuco_applies_total", "Moves of committed changes from memory into the database.", func() float64 { return float64(eng.Stats().Applies) })
	gauge("tuco_overlay_bytes", "Memory of changes that are in the redo log but not in the database yet.", func() float64 { return float64(eng.Stats().OverlayBytes) })
	gauge("tuco_redo_log_bytes", "Size of the redo log.", func() float64 { return float64(eng.Stats().LogBytes) })
	gauge("tuco_database_bytes", "Size of the database.", func() float64 { return float64(eng.Stats().FileBytes) })
	gauge("tuco_database_free_pages", "Free pages of 4096 bytes in the database.", func() float64 { return float64(eng.Stats().FreePages) })
	gauge("tuco_read_only_workspaces", "Workspaces that take no writes.", func() float64 { return float64(eng.ReadOnlyWorkspaces()) })
	return m
}

func (m *metrics) request(method, route string, status int, took time.Duration) {
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(method, route).Observe(took.Seconds())
}

// OutcomeCounter counts what became of messages.
func OutcomeCounter(r *prometheus.Registry) func(engine.Status) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tuco_messages_total", Help: "Messages by outcome."}, []string{"status"})
	r.MustRegister(c)
	return func(s engine.Status) { c.WithLabelValues(string(s)).Inc() }
}
