package httpapi

import (
	"net/http"
	"strconv"

	"tuco/engine"
)

// Proofs of single entries, and that the log continues what it was. All are texts, against the newest checkpoint, which is
// part of them.

type proofInput struct {
	Seq string `path:"seq" json:"-" pattern:"[0-9]{1,16}"`
}

func (in proofInput) seq() (uint64, error) { return entryNumber("seq", in.Seq) }

// entryNumber reads the number of an entry, or of entries.
func entryNumber(name, text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 53)
	if err != nil {
		return 0, engine.Errorf(engine.Invalid, "%s must be a number of entries of the log", name)
	}
	return n, nil
}

// proveAuditEntry serves GET /audit/log/{seq}/proof.
func (s *Server) proveAuditEntry(_ *call, in proofInput) (reply, error) {
	return proofReply(in, s.eng.Admin().ProveEntry)
}

// proveOwnEntry serves GET /api/staff-access/log/{seq}/proof.
func (s *Server) proveOwnEntry(c *call, in proofInput) (reply, error) {
	return proofReply(in, func(seq uint64) ([]byte, error) { return s.eng.ProveEntry(c.who, seq) })
}

func proofReply(in proofInput, prove func(seq uint64) ([]byte, error)) (reply, error) {
	seq, err := in.seq()
	if err != nil {
		return reply{}, err
	}
	return textReply(prove(seq))
}

func textReply(text []byte, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, body: string(text)}, nil
}

type consistencyInput struct {
	From string `query:"from" json:"-" required:"true" description:"size of the earlier checkpoint, the number in its second line"`
}

// proveConsistency serves GET /audit/consistency and GET /api/staff-access/consistency.
func (s *Server) proveConsistency(_ *call, in consistencyInput) (reply, error) {
	from, err := entryNumber("from", in.From)
	if err != nil {
		return reply{}, err
	}
	return textReply(s.eng.ProveConsistency(from))
}
