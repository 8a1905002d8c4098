package bundle

import (
	"slices"
	"strings"
	"time"

	"tuco/engine/auditlog"
)

// maxRows bounds the tables of the page. What does not fit is in the other files.
const maxRows = 5000

// A tally is what the page says, gathered line by line.
type tally struct {
	events   map[string]*int64
	requests map[string]*accessRequest
	order    []*accessRequest // of their first line
	full     bool             // there were more requests than maxRows
	denied   []denial
	refused  int64 // all that were denied
	reads    int64
	records  int64 // that were read
	unasked  int64 // reads that name no access request
	days     map[int64]*int64
	readers  map[string]*int64
	from, to time.Time // of the earliest and the latest line
}

// An accessRequest is what became of one request for access.
type accessRequest struct {
	id          string
	asked       time.Time // zero if that was before the range
	staff       string
	workspace   string
	environment string
	reason      string
	ticket      string
	scopes      string

	approved time.Time // by the last who had to
	denied   time.Time
	deciders []string

	reads, records, refused int64
	firstRead, lastRead     time.Time

	ended time.Time
	end   string
}

// A denial is one attempt that was refused.
type denial struct {
	seq                                        uint64
	time                                       time.Time
	event, actor, workspace, operation, access string
}

func newTally() *tally {
	return &tally{
		events: map[string]*int64{}, requests: map[string]*accessRequest{}, days: map[int64]*int64{}, readers: map[string]*int64{},
	}
}

// add takes the next line.
func (t *tally) add(r *record) {
	if r.dropped {
		return
	}
	e := &r.entry
	*counter(t.events, e.Event)++
	t.span(e.Time)
	if e.Outcome == auditlog.Denied {
		t.addDenial(e)
	}
	if isRead(e) {
		t.addRead(e)
	}
	if e.Access != "" {
		if q := t.request(e); q != nil {
			q.add(e)
		}
	}
}

// counter returns the counter of a text that may share the memory of a line.
func counter(counters map[string]*int64, text string) *int64 {
	n := counters[text]
	if n == nil {
		n = new(int64)
		counters[strings.Clone(text)] = n
	}
	return n
}

func (t *tally) span(at time.Time) {
	if t.from.IsZero() || at.Before(t.from) {
		t.from = at
	}
	if at.After(t.to) {
		t.to = at
	}
}

func (t *tally) addDenial(e *auditlog.Entry) {
	t.refused++
	if len(t.denied) < maxRows {
		t.denied = append(t.denied, denial{e.Seq, e.Time, strings.Clone(e.Event), actorText(&e.Actor),
			strings.Clone(e.Workspace), strings.Clone(e.Operation), strings.Clone(e.Access)})
	}
}

// isRead tells whether customer data was shown.
func isRead(e *auditlog.Entry) bool {
	return (e.Event == "staff.read" || e.Event == "key.read") && e.Outcome == auditlog.Done
}

func (t *tally) addRead(e *auditlog.Entry) {
	t.reads++
	t.records += e.Records
	if e.Access == "" {
		t.unasked++
	}
	const day = 24 * 60 * 60
	n := t.days[e.Time.Unix()/day]
	if n == nil {
		n = new(int64)
		t.days[e.Time.Unix()/day] = n
	}
	*n++
	reader := e.Actor.ID
	if reader == "" {
		reader = string(e.Actor.Kind)
	}
	*counter(t.readers, reader)++
}

// request returns the request that e is about, or nil if there is no room for another one.
func (t *tally) request(e *auditlog.Entry) *accessRequest {
	if q := t.requests[e.Access]; q != nil {
		return q
	}
	if len(t.order) == maxRows {
		t.full = true
		return nil
	}
	q := &accessRequest{id: strings.Clone(e.Access), workspace: strings.Clone(e.Workspace)}
	t.requests[q.id] = q
	t.order = append(t.order, q)
	return q
}

func (q *accessRequest) add(e *auditlog.Entry) {
	switch {
	case isRead(e):
		q.addRead(e)
	case e.Outcome != auditlog.Done:
		q.refused++
	case e.Event == "access.requested":
		q.asked, q.staff = e.Time, strings.Clone(e.Actor.ID)
		q.environment, q.reason = strings.Clone(e.Environment), strings.Clone(e.ReasonType)
		q.ticket, q.scopes = strings.Clone(e.Ticket), strings.Clone(e.Detail["scopes"])
	case e.Event == "access.approved":
		if e.Detail["status"] != "pending" { // then it waits for another approver
			q.approved = e.Time
		}
		q.decide(e)
	case e.Event == "access.denied":
		q.denied = e.Time
		q.decide(e)
	case e.Event == "access.revoked", e.Event == "access.expired", e.Event == "access.ended", e.Event == "access.withdrawn":
		q.ended, q.end = e.Time, strings.TrimPrefix(strings.Clone(e.Event), "access.")
	}
}

func (q *accessRequest) addRead(e *auditlog.Entry) {
	if q.reads == 0 {
		q.firstRead = e.Time
	}
	if q.staff == "" {
		q.staff = strings.Clone(e.Actor.ID)
	}
	q.lastRead = e.Time
	q.reads++
	q.records += e.Records
}

func (q *accessRequest) decide(e *auditlog.Entry) {
	if staff := e.Detail["staff"]; q.staff == "" && staff != "" {
		q.staff = strings.Clone(staff)
	}
	deciders := e.Approvers
	if len(deciders) == 0 {
		deciders = []string{actorText(&e.Actor)}
	}
	for _, d := range deciders {
		if !slices.Contains(q.deciders, d) && len(q.deciders) < 16 {
			q.deciders = append(q.deciders, strings.Clone(d))
		}
	}
}

// actorText returns an actor as one text.
func actorText(a *auditlog.Actor) string {
	if a.ID == "" {
		return string(a.Kind)
	}
	return string(a.Kind) + " " + a.ID
}
