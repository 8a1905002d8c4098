package engine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"tuco/engine/quota"
	"tuco/engine/schedule"
	"tuco/kv"
)

// Status is where a message stands.
type Status string

// The statuses. All but Uncertain are documented; on the wire Uncertain is "sending".
const (
	Queued    Status = "queued"    // waits for a limit, a window or a new attempt
	Pending   Status = "pending"   // waits for its line
	Sending   Status = "sending"   // handed over; its outcome is not known yet
	Sent      Status = "sent"      // accepted by the provider
	Delivered Status = "delivered" // confirmed
	Failed    Status = "failed"    // refused, or given up after retries
	Fallback  Status = "fallback"  // the person can't be reached on this channel
	Scheduled Status = "scheduled" // goes at a later date
	Cancelled Status = "cancelled"
	Uncertain Status = "unknown" // was handed over, and nobody can tell whether it arrived
)

// statusWords are the statuses by what stands for them in keys and records.
var statusWords = codes[Status]{
	1: Queued, 2: Pending, 3: Sending, 4: Sent, 5: Delivered, 6: Failed, 7: Fallback, 8: Scheduled, 9: Cancelled, 10: Uncertain,
}

// OutcomeStatuses are those that an attempt to send ends in; after [Queued] there is another one.
var OutcomeStatuses = []Status{Sent, Delivered, Failed, Fallback, Uncertain, Queued}

// statusCodes are the statuses in keys.
var statusCodes = statusWords.byWord()

// waits tells whether a message was not handed over yet, so that it can still be cancelled.
func (s Status) waits() bool { return s == Queued || s == Pending || s == Scheduled }

// A Message is one send to one person.
type Message struct {
	ID              MessageID `json:"id"`
	Text            string    `json:"text,omitzero"` // with placeholders until it is handed over
	Attachments     []string  `json:"attachments,omitzero"`
	AttachmentNames []string  `json:"attachmentNames,omitzero"`
	Channel         Channel   `json:"channel"`
	Status          Status    `json:"status"`
	Reason          string    `json:"reason,omitzero"` // why it waits, for people

	To            []string `json:"to"` // addresses to try, in order; the first names the person
	RecipientName string   `json:"recipientName,omitzero"`
	Lead          LeadID   `json:"lead,omitzero"`
	Line          LineID   `json:"line,omitzero"`
	Pinned        bool     `json:"pinned,omitzero"` // the request named the line

	Scheduled time.Time `json:"scheduled,omitzero"` // the date that was asked for, or to which a limit put it off
	Due       time.Time `json:"due,omitzero"`       // when it can go, as far as is known
	Place     place     `json:"place,omitzero"`     // where it waits
	Window    Window    `json:"window,omitzero"`

	Plan     PlanUnit `json:"plan,omitzero"`
	Unit     LineUnit `json:"unit,omitzero"`
	Attempts int      `json:"attempts,omitzero"`

	BatchID       string `json:"batchId,omitzero"`
	CorrelationID string `json:"correlationId,omitzero"`
	Owner         string `json:"owner,omitzero"` // contactOwnerEmail
	CRM           CRM    `json:"crm,omitzero"`
	MadeBy        string `json:"madeBy"`

	SentAt      time.Time `json:"sentAt,omitzero"`
	DeliveredAt time.Time `json:"deliveredAt,omitzero"`
	ExternalID  string    `json:"externalId,omitzero"`
	Error       string    `json:"error,omitzero"`
	Checked     []string  `json:"checked,omitzero"`
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
}

// A PlanUnit is what a message was charged of the plan, each under the label of its day. Labels are
// stored with the unit and never computed again. Zero: nothing yet.
type PlanUnit struct {
	Day      quota.Label `json:"day,omitzero"`
	Contact  quota.Label `json:"contact,omitzero"` // the day of the new-contact unit; zero if it was no new contact
	Released bool        `json:"released,omitzero"`
}

// A LineUnit is what a message has of its line's UTC day. Zero: nothing.
type LineUnit struct {
	Day   quota.Label `json:"day,omitzero"`
	First bool        `json:"first,omitzero"` // with a new conversation
}

// place is where a message waits.
type place string

const (
	nowhere place = ""
	inDue   place = "due"   // for a time
	inReady place = "ready" // for its line
)

var placeCodes = codes[place]{1: inDue, 2: inReady}

// A Window is when a message may go, as its request said.
type Window struct {
	Timezone string `json:"timezone,omitzero"`
	Start    string `json:"start,omitzero"`
	End      string `json:"end,omitzero"`
	Days     []int  `json:"days,omitzero"`
	Deferral string `json:"deferral,omitzero"` // when a message goes that was put off; Start if empty
}

// parse returns the window, and false if there is none.
func (w Window) parse() (parsed schedule.Window, ok bool, err error) {
	if w.Start == "" && w.End == "" && len(w.Days) == 0 {
		return parsed, false, nil
	}
	if parsed.Zone, err = schedule.LoadZone(w.Timezone); err != nil {
		return parsed, false, err
	}
	if parsed.Days, err = schedule.ParseWeekdays(w.Days); err != nil {
		return parsed, false, err
	}
	if w.Start == "" && w.End == "" {
		return parsed, true, nil
	}
	if parsed.Start, err = schedule.ParseClock(w.Start); err != nil {
		return parsed, false, err
	}
	parsed.End, err = schedule.ParseClock(w.End)
	return parsed, true, err
}

// opens is when the message may go at t or later.
func (w Window) opens(t time.Time) time.Time {
	if parsed, ok, err := w.parse(); ok && err == nil { // it was checked when the message came
		return parsed.Next(t)
	}
	return t
}

// The line limits put a message off to this hour, unless its request names another.
const (
	deferralZone  = "America/New_York"
	deferralClock = "09:00"
)

// deferral is when a message goes that found its line's day spent: the first 09:00 after that day.
func (w Window) deferral(spent quota.Label) time.Time {
	zone, err := schedule.LoadZone(w.Timezone)
	if err != nil {
		zone, _ = schedule.LoadZone(deferralZone)
	}
	clock, err := schedule.ParseClock(cmp.Or(w.Deferral, w.Start))
	if err != nil {
		clock, _ = schedule.ParseClock(deferralClock)
	}
	return w.opens(schedule.NextAt(spent.End(time.UTC), clock, zone)).UTC()
}

// indexKey is one entry of one index.
type indexKey struct {
	index kv.Index
	key   []byte
}

func (k indexKey) equal(other indexKey) bool {
	return k.index == other.index && bytes.Equal(k.key, other.key)
}

// indexKeys are all index entries of a message. They follow from the message alone.
func (env *environment) indexKeys(m *Message) []indexKey {
	return env.appendIndexKeys(make([]indexKey, 0, 8), make([]byte, 0, 256), m)
}

// appendIndexKeys is indexKeys in memory that the caller has. The keys lie in all, one behind the other.
func (env *environment) appendIndexKeys(keys []indexKey, all []byte, m *Message) []indexKey {
	s, begin := &env.store, len(all)
	end := func(index kv.Index) {
		all = append(all, m.ID.key()...)
		keys = append(keys, indexKey{index, all[begin:len(all):len(all)]})
		begin = len(all)
	}
	all = append(all, statusCodes[m.Status])
	end(s.messageByStatus)
	if !m.Lead.IsZero() {
		all = append(all, m.Lead.key()...)
		end(s.messageByLead)
	}
	if !m.Line.IsZero() {
		all = append(all, m.Line.key()...)
		end(s.messageByLine)
	}
	if m.BatchID != "" {
		all = appendAddress(all, m.BatchID)
		end(s.messageByBatch)
	}
	if m.Status != Cancelled {
		for _, addr := range m.To { // any of them may be the one that is reached
			all = append(appendPerson(all, addr, m.Plan.Day != 0), m.unitLine().key()...)
			end(s.messageByAddr)
		}
	}
	if m.Plan.Released {
		all = binary.BigEndian.AppendUint32(all, uint32(m.Plan.Day))
		end(s.released)
	}
	switch m.Place {
	case inDue:
		all = appendTime(all, m.Due)
		end(s.due)
	case inReady:
		all = appendTime(appendReady(all, m.Line, m.Unit.First), m.Due)
		end(s.ready)
	}
	return keys
}

// unitLine is the line that the message has a unit of.
func (m *Message) unitLine() LineID {
	if m.Unit.Day == 0 {
		return LineID{}
	}
	return m.Line
}

// personKey begins the index entries of a person's messages: those that were charged to the plan
// apart from those that were not, and each line's apart.
func personKey(person string, charged bool, line LineID) []byte {
	return append(personPrefix(person, charged), line.key()...)
}

func personPrefix(person string, charged bool) []byte {
	return appendPerson(make([]byte, 0, len(person)+2+len(kv.ID{})), person, charged)
}

func appendPerson(key []byte, person string, charged bool) []byte {
	key = appendAddress(key, person)
	if charged {
		return append(key, 1)
	}
	return append(key, 0)
}

// readyKey begins the entries of a line's waiting messages: first messages apart, since they keep a
// longer gap.
func readyKey(line LineID, first bool) []byte { return appendReady(nil, line, first) }

func appendReady(key []byte, line LineID, first bool) []byte {
	key = append(key, line.key()...)
	if first {
		return append(key, 1)
	}
	return append(key, 0)
}

// history tells what a message is to the people at its addresses: whether the plan was never charged for
// one of them, as each is a person who may be reached; and with the lines, from the one whose turn it is,
// whether the line never had a unit for one of them.
func (r *personReader) history(to []string, lines []*lineState, turn uint64) (newContact bool, candidates []candidate) {
	people := r.all(to)
	newContact = slices.ContainsFunc(people, func(p person) bool { return !p.Charged })
	if len(lines) == 0 {
		return newContact, nil
	}
	candidates = make([]candidate, len(lines))
	for i := range lines {
		l := lines[(uint64(i)+turn)%uint64(len(lines))]
		first := slices.ContainsFunc(people, func(p person) bool { return !p.knows(l.ID) })
		candidates[i] = candidate{l, first}
	}
	return newContact, candidates
}

// putMessage stores m in place of old, nil for none, with its index entries and what they change of people.
func (env *environment) putMessage(tx *kv.Tx, old, m *Message) {
	env.storeMessage(tx, old, m)
	env.store.retrace(tx, old, m)
}

// storeMessage is putMessage without the people.
func (env *environment) storeMessage(tx *kv.Tx, old, m *Message) {
	var (
		few  [8]indexKey
		room [256]byte
		keys = env.appendIndexKeys(few[:0], room[:0], m)
	)
	if old != nil {
		for _, k := range env.indexKeys(old) {
			if !slices.ContainsFunc(keys, k.equal) {
				k.index.Delete(tx, k.key)
			}
		}
	}
	for _, k := range keys {
		k.index.Put(tx, k.key)
	}
	env.store.messages.Put(tx, m.ID.key(), *m)
}
