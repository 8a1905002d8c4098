package httpapi

import (
	"encoding/base64"
	"net/http"
	"sync"
	"time"

	"tuco/engine"
	"tuco/kv"
	"tuco/strictjson"
)

// CheckOutput is what a check found.
type CheckOutput struct {
	Faults       []string         `json:"faults"`
	Records      map[string]int64 `json:"records"`
	AuditEntries uint64           `json:"auditEntries"`
	AuditRoot    string           `json:"auditRoot"` // in base64, as in checkpoints
	Took         string           `json:"took"`
	Note         string           `json:"note,omitzero"` // what the operator should know about the check itself
}

// NewCheckOutput shows a report.
func NewCheckOutput(r engine.CheckReport) CheckOutput {
	return CheckOutput{
		Faults: append([]string{}, r.Faults...), Records: r.Records, AuditEntries: r.Entries,
		AuditRoot: base64.StdEncoding.EncodeToString(r.Root[:]), Took: r.Took.Round(time.Millisecond).String(), Note: r.Note,
	}
}

// CompactOutput is what a compaction did.
type CompactOutput struct {
	Before int64  `json:"before"` // bytes of the database file
	After  int64  `json:"after"`
	Took   string `json:"took"`
}

// NewCompactOutput shows a compaction.
func NewCompactOutput(c kv.Compaction) CompactOutput {
	return CompactOutput{c.Before, c.After, c.Took.Round(time.Millisecond).String()}
}

// SpaceOutput is how the database uses its disk, in bytes.
type SpaceOutput struct {
	File  int64 `json:"file"`
	Free  int64 `json:"free"`
	Needs int64 `json:"needs"`
	Disk  int64 `json:"disk"`
}

// ProgressOutput tells how far a check or a compaction is.
type ProgressOutput struct {
	Part  string `json:"part"` // empty if there is none
	Done  int64  `json:"done"`
	Total int64  `json:"total"` // 0 if it can't tell
}

// A progress is the newest that was told.
type progress struct {
	mu  sync.Mutex
	now ProgressOutput
}

func (p *progress) tell(part string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = ProgressOutput{part, done, total}
}

func (p *progress) told() ProgressOutput {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (a *AdminServer) addCareCommands(mux *http.ServeMux) {
	command(a, mux, "check", func(Nothing) (CheckOutput, error) {
		defer a.care.tell("", 0, 0)
		r, err := a.eng.CheckRunning(a.stopping, a.care.tell)
		return NewCheckOutput(r), err
	})
	command(a, mux, "compact", func(Nothing) (CompactOutput, error) {
		defer a.care.tell("", 0, 0)
		c, err := a.eng.Compact(a.stopping, a.care.tell)
		return NewCompactOutput(c), err
	})
	command(a, mux, "space", func(Nothing) (SpaceOutput, error) { return SpaceOutput(a.eng.Space()), nil })
	mux.HandleFunc("POST /progress", func(w http.ResponseWriter, _ *http.Request) { // asked often: not logged
		data, err := strictjson.Marshal(a.care.told())
		if err != nil {
			http.Error(w, internalText, http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(data)
	})
}
