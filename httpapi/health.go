package httpapi

import (
	"net/http"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

type livenessResponse struct {
	Status string `json:"status"`
}

type readinessResponse struct {
	Status   string   `json:"status" enum:"ready,not_ready"`
	Warnings []string `json:"warnings"`
}

// live serves GET /livez: the process answers.
func (s *Server) live(*call, nothing) (reply, error) { return ok(livenessResponse{"ok"}) }

// ready serves GET /readyz: whether requests can be served, and what an operator should look at.
func (s *Server) ready(*call, nothing) (reply, error) {
	answer := readinessResponse{Status: "ready", Warnings: s.eng.Warnings()}
	if s.opt.Warnings != nil {
		answer.Warnings = append(answer.Warnings, s.opt.Warnings()...)
	}
	select {
	case <-s.eng.Failed():
		answer.Status = "not_ready"
		answer.Warnings = append(answer.Warnings, "The outcome of a write is not known: the process is ending, and recovers when it starts again.")
		return reply{status: http.StatusServiceUnavailable, body: answer}, nil
	default:
		return ok(answer)
	}
}

func metricsHandler(r *prometheus.Registry) fiber.Handler {
	return adaptor.HTTPHandler(promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
}
