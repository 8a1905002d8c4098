package bench

import (
	"cmp"
	"math"
	"net/http"
	"runtime"
	"slices"
	"time"
)

// DefaultPath is where the messages are in Tuco's API.
const DefaultPath = "/api/messages"

// A Report is what a run found. Times are in milliseconds or microseconds, as their names say.
type Report struct {
	Load       Settings    `json:"load"`
	Operations []Operation `json:"operations"`
	Refusals   []Refusal   `json:"refusals"`
	Commits    *Commits    `json:"commits,omitempty"`
	Written    *Written    `json:"written,omitempty"`
	Server     Server      `json:"server"`
	Ceilings   []Ceiling   `json:"ceilings,omitempty"`
	Notes      []string    `json:"notes,omitempty"`

	rounds [][]ceiling
}

// Settings are what was asked for.
type Settings struct {
	CPUs            int     `json:"cpus"`
	Workspaces      int     `json:"workspaces"`
	Contacts        int     `json:"contactsEach"`
	Connections     int     `json:"connections"`
	Rate            int     `json:"rate,omitempty"`
	Mix             string  `json:"mix"`
	Seconds         float64 `json:"seconds"`
	Messages        int64   `json:"messagesBefore"`
	StoredPerSecond float64 `json:"storedPerSecond,omitzero"` // while they were stored
	Deliver         bool    `json:"deliver"`
}

// An Operation is how one kind of request went.
type Operation struct {
	Name      string  `json:"operation"`
	Requests  int64   `json:"requests"`
	PerSecond float64 `json:"perSecond"`
	P50       float64 `json:"p50Ms"`
	P99       float64 `json:"p99Ms"`
	P999      float64 `json:"p999Ms"`
	Max       float64 `json:"maxMs"`
}

// A Refusal is an answer that was no success. Status 0 is no answer at all.
type Refusal struct {
	Operation string `json:"operation"`
	Status    int    `json:"status"`
	Text      string `json:"text"`
	Count     int64  `json:"count"`
	Example   string `json:"example"`
}

// Commits are what was made durable together.
type Commits struct {
	Commits               int64   `json:"commits"`
	Transactions          int64   `json:"transactions"`
	TransactionsPerCommit float64 `json:"transactionsPerCommit"`
}

// Written is what went to the block device, whoever wrote it.
type Written struct {
	Bytes       int64   `json:"deviceBytes"`
	PerMessage  float64 `json:"deviceBytesPerMessage,omitzero"`
	MessageJSON int     `json:"messageJsonBytes,omitzero"` // of the message object in an answer
	Ratio       float64 `json:"ratio,omitzero"`
}

// Server is what the server's process used; what can't be seen is left out.
type Server struct {
	StartSeconds           float64 `json:"startSeconds,omitzero"`
	StartAfterCrashSeconds float64 `json:"startAfterCrashSeconds,omitzero"`
	CPU                    float64 `json:"cpuMicrosPerRequest,omitzero"`
	LoadCPU                float64 `json:"loadCpuMicrosPerRequest"` // of the process that makes the load
	Idle                   Memory  `json:"residentBeforeLoad,omitzero"`
	Peak                   Memory  `json:"residentPeak,omitzero"`
}

// A Ceiling is what the machine could do at most, measured before and after the load.
type Ceiling struct {
	Name   string  `json:"ceiling"`
	Before float64 `json:"perSecondBefore"`
	After  float64 `json:"perSecondAfter"`
	P50    float64 `json:"p50Ms,omitzero"`
	P99    float64 `json:"p99Ms,omitzero"`
	CPU    float64 `json:"cpuMicrosPerRequest,omitzero"`
	Server float64 `json:"serverPerSecond,omitzero"` // what the server did of the same
	Ratio  float64 `json:"ratio,omitzero"`           // of it to the mean of both
}

func newReport(opt Options) *Report {
	return &Report{
		Load: Settings{
			CPUs: runtime.NumCPU(), Workspaces: opt.Workspaces, Contacts: opt.Contacts, Connections: opt.Connections, Rate: opt.Rate,
			Mix: opt.Mix.String(), Seconds: seconds(opt.Duration), Deliver: opt.Deliver,
		},
		Operations: []Operation{}, Refusals: []Refusal{},
	}
}

// usage is what was used up to a moment. What can't be seen is zero.
type usage struct {
	metrics  map[string]float64
	cpu, own time.Duration // of the server, and of the process that makes the load
	written  int64
	device   bool // written was to be seen
}

// measured adds what the load found.
func (r *Report) measured(o *outcome, before, after usage) {
	for op, h := range o.latency {
		if h == nil {
			continue
		}
		r.Operations = append(r.Operations, Operation{
			Name: Op(op).String(), Requests: int64(h.n), PerSecond: whole(o.perSecond(Op(op))),
			P50: millis(h.quantile(.5)), P99: millis(h.quantile(.99)), P999: millis(h.quantile(.999)), Max: millis(h.max),
		})
	}
	r.addRefusals(o)
	if n := time.Duration(o.answered()); n > 0 {
		r.Server.CPU = micros((after.cpu - before.cpu) / n)
		r.Server.LoadCPU = micros((after.own - before.own) / n)
	}
	r.addCommits(before, after)
	r.addWritten(o, before, after)
}

func (r *Report) addRefusals(o *outcome) {
	for what, n := range o.refusals {
		text := http.StatusText(what.status)
		if what.status == 0 {
			text = "no answer"
		}
		r.Refusals = append(r.Refusals, Refusal{what.op.String(), what.status, text, n, o.examples[what]})
	}
	slices.SortFunc(r.Refusals, func(a, b Refusal) int { return cmp.Compare(b.Count, a.Count) })
}

func (r *Report) addCommits(before, after usage) {
	commits := after.metrics[metricCommits] - before.metrics[metricCommits]
	transactions := after.metrics[metricTransactions] - before.metrics[metricTransactions]
	if commits > 0 {
		r.Commits = &Commits{int64(commits), int64(transactions), round(transactions/commits, 100)}
	}
}

func (r *Report) addWritten(o *outcome, before, after usage) {
	if !before.device {
		r.Notes = append(r.Notes, "Bytes written are not known: the data directory was not named, or no block device is to be seen under it.")
		return
	}
	w := &Written{Bytes: after.written - before.written}
	if n := o.answered(Send); n > 0 {
		w.PerMessage = whole(float64(w.Bytes) / float64(n))
		w.MessageJSON = len(messageObject(o.answers[Send]))
		w.Ratio = round(w.PerMessage/float64(w.MessageJSON), 100)
	}
	r.Written = w
}

// compare sets what the server did beside what the machine could do.
func (r *Report) compare() {
	if len(r.rounds) < 2 {
		return
	}
	for i, before := range r.rounds[0] {
		after := r.rounds[1][i]
		c := Ceiling{
			Name: before.name, Before: whole(before.perSecond), After: whole(after.perSecond), CPU: micros((before.cpu + after.cpu) / 2),
			P50: millis((before.latency.quantile(.5) + after.latency.quantile(.5)) / 2),
			P99: millis((before.latency.quantile(.99) + after.latency.quantile(.99)) / 2),
		}
		for _, done := range r.Operations {
			if slices.Contains(before.of, done.Name) {
				c.Server += done.PerSecond
			}
		}
		c.Ratio = round(c.Server/((c.Before+c.After)/2), 1000)
		r.Ceilings = append(r.Ceilings, c)
	}
}

func whole(f float64) float64 { return round(f, 1) }

// round keeps so many parts of one: 100 are two digits.
func round(f, parts float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) { // of what did not happen
		return 0
	}
	return math.Round(f*parts) / parts
}

func seconds(d time.Duration) float64 { return round(d.Seconds(), 1000) }
func millis(d time.Duration) float64  { return round(float64(d)/float64(time.Millisecond), 1000) }
func micros(d time.Duration) float64  { return round(float64(d)/float64(time.Microsecond), 10) }
