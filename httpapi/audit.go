package httpapi

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"tuco/engine"
)

// What auditors can do: read the audit log, and what proves it.

type auditLogInput struct {
	From  string `query:"from" json:"-" description:"number of the first entry; 0 without it"`
	Limit int    `query:"limit" json:"-" minimum:"1" description:"100; at most 1000"`
}

type auditLogResponse struct {
	Entries []jsontext.Value `json:"entries" description:"as they stand in the log, byte for byte, but for the newline at the end of each"`
	Next    int64            `json:"next" description:"from of the next page; there are no more if entries is empty"`
}

const maxAuditPage = 1000

// showAuditLog serves GET /audit/log.
func (s *Server) showAuditLog(_ *call, in auditLogInput) (reply, error) {
	from, err := strconv.ParseUint(or(in.From, "0"), 10, 53)
	if err != nil {
		return reply{}, engine.Errorf(engine.Invalid, "from must be the number of an entry")
	}
	lines, next, err := s.eng.Admin().AuditLines(from, min(or(in.Limit, 100), maxAuditPage))
	if err != nil {
		return reply{}, err
	}
	answer := auditLogResponse{Entries: []jsontext.Value{}, Next: int64(next)}
	for _, line := range lines {
		answer.Entries = append(answer.Entries, bytes.TrimSuffix(line, []byte("\n")))
	}
	return ok(answer)
}

// showCheckpoint serves GET /audit/checkpoint.
func (s *Server) showCheckpoint(*call, nothing) (reply, error) {
	signed, err := s.eng.Checkpoint()
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, body: string(signed)}, nil
}

// showAuditKeys serves GET /audit/key.
func (s *Server) showAuditKeys(*call, nothing) (reply, error) {
	return reply{status: http.StatusOK, body: strings.Join(s.eng.AuditKeys(), "\n") + "\n"}, nil
}
