package httpapi

import (
	"github.com/prometheus/client_golang/prometheus"

	"tuco/engine/auditlog/forward"
)

// forwardGauges are collected from the states of the sinks, each with its URL as label.
type forwardGauges struct{ f *forward.Forwarder }

var (
	forwardBehind = prometheus.NewDesc("tuco_audit_forward_behind", "Entries of the audit log that are not known to have arrived at a sink.", []string{"sink"}, nil)
	forwardFailed = prometheus.NewDesc("tuco_audit_forward_failed", "Whether a sink of the audit log fails: 1 or 0.", []string{"sink"}, nil)
)

// ForwardGauges shows how far the sinks of the audit log are.
func ForwardGauges(r *prometheus.Registry, f *forward.Forwarder) { r.MustRegister(forwardGauges{f}) }

// Describe tells which gauges there are.
func (g forwardGauges) Describe(to chan<- *prometheus.Desc) {
	to <- forwardBehind
	to <- forwardFailed
}

// Collect reads them.
func (g forwardGauges) Collect(to chan<- prometheus.Metric) {
	for _, s := range g.f.States() {
		failed := 0.0
		if s.Err != nil {
			failed = 1
		}
		to <- prometheus.MustNewConstMetric(forwardBehind, prometheus.GaugeValue, float64(s.Behind), s.Sink)
		to <- prometheus.MustNewConstMetric(forwardFailed, prometheus.GaugeValue, failed, s.Sink)
	}
}
