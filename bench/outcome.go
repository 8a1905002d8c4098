package bench

import (
	"fmt"
	"time"
)

// An outcome is what a run did.
type outcome struct {
	took     time.Duration
	latency  [opCount]*histogram // of what was answered with 2xx
	refusals map[refusal]int64
	examples map[refusal]string
	answers  [opCount][]byte // one of each operation
	sent     []known
}

// refusal is another answer than 2xx; status 0 is none at all.
type refusal struct {
	op     Op
	status int
}

func newOutcome(m Mix) *outcome {
	o := &outcome{refusals: map[refusal]int64{}, examples: map[refusal]string{}}
	for _, op := range m.ops() {
		o.latency[op] = new(histogram)
	}
	return o
}

func (o *outcome) refused(op Op, status int, body []byte) {
	r := refusal{op, status}
	if o.refusals[r]++; o.refusals[r] == 1 {
		o.examples[r] = string(body[:min(len(body), 200)])
	}
}

func (o *outcome) merge(other *outcome) {
	for op, h := range o.latency {
		if h != nil {
			h.merge(other.latency[op])
		}
		if o.answers[op] == nil {
			o.answers[op] = other.answers[op]
		}
	}
	for r, n := range other.refusals {
		o.refusals[r] += n
		o.examples[r] = other.examples[r]
	}
	o.sent = append(o.sent, other.sent...)
}

// answered is how many requests had an answer of success; of one operation, or of all.
func (o *outcome) answered(of ...Op) (n int64) {
	if len(of) == 0 {
		of = []Op{Send, Get, List}
	}
	for _, op := range of {
		if h := o.latency[op]; h != nil {
			n += int64(h.n)
		}
	}
	return n
}

// firstRefusal says what most likely went wrong.
func (o *outcome) firstRefusal() string {
	for r, text := range o.examples {
		return fmt.Sprintf("the server answered %d: %s", r.status, text)
	}
	return "the server did not answer"
}

func (o *outcome) perSecond(of ...Op) float64 { return float64(o.answered(of...)) / o.took.Seconds() }
