package engine

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"tuco/engine/quota"
	"tuco/kv"
)

// The proof of exactness: several clients at once send, cancel, hand over, release, change limits and read
// usage, through a real engine on a real file, while days end, the disk fails and the process dies. What
// each was told is written down, and a checker looks for an order of it all that the rules allow.
//
// A call is no single step: a message's units are taken before it is stored, and limits hold for what is
// decided after them. So a call is written down as the steps that it consists of, each on one object (a
// counter, or the store), in their order, at any moments of the call. Objects are checked one by one: the order
// of a call's steps on two of them is not checked here, but by the tests of each rule. What became of a call
// that nobody was told the end of, is read from the store after the next start.

// How many histories are checked; more in linear_long_test.go.
var (
	linearSeeds = uint64(24) // each is a workspace that lives through several histories
	linearBegin = uint64(1)
)

const (
	linearClients  = 5
	checkFor       = 10 * time.Second // each object of a history
	undecidedShare = 100              // at most one history in so many may be too hard to decide
)

// ---- The model of a counter

// counted is one counter: what the limits bound (used), and what of it is stored (committed).
type counted struct {
	monthly                       bool
	day                           quota.Label
	limits, used, committed, high quota.Sums // high is the highest limit of the label's time
	calls                         [linearClients + 1]struct {
		next int        // step of the call that the client is at
		owed quota.Sums // of the refund that it is at
	}
}

// countStep is a step of a call. at is where the state keeps the client's place in it.
type countStep interface {
	on(s counted, client int) (counted, bool)
}

// inTurn is a step with its place in its call, which takes its steps one after the other.
type inTurn struct {
	countStep
	client, turn int
	last         bool
}

func (x inTurn) String() string { return describe(x.countStep, nil) }

func (x inTurn) step(s counted) (counted, bool) {
	if s.calls[x.client].next != x.turn {
		return s, false
	}
	s, ok := x.on(s, x.client)
	s.calls[x.client].next = x.turn + 1
	if x.last {
		s.calls[x.client].next = 0
	}
	return s, ok
}

func plus(a, b quota.Sums) quota.Sums {
	return quota.Sums{First: a.First + b.First, Second: a.Second + b.Second}
}
func minus(a, b quota.Sums) quota.Sums {
	return quota.Sums{First: a.First - b.First, Second: a.Second - b.Second}
}
func within(a, b quota.Sums) bool { return a.First <= b.First && a.Second <= b.Second }
func larger(a, b quota.Sums) quota.Sums {
	return quota.Sums{First: max(a.First, b.First), Second: max(a.Second, b.Second)}
}

// fits tells whether n can be taken on top of have. What is not asked for is not refused, however little is left.
func (s *counted) fits(have, n quota.Sums) (first, second bool) {
	return n.First == 0 || have.First+n.First <= s.limits.First, n.Second == 0 || have.Second+n.Second <= s.limits.Second
}

// part is what of n, taken under label, still counts.
func (s *counted) part(label quota.Label, n quota.Sums) quota.Sums {
	switch {
	case label == s.day:
		return n
	case s.monthly && label < s.day && label.Month() == s.day.Month():
		return quota.Sums{Second: n.Second}
	}
	return quota.Sums{}
}

// opened begins the day, if it is later.
func (s counted) opened(day quota.Label) counted {
	if day > s.day {
		last := s
		s.day = day
		s.used, s.committed, s.high = s.part(last.day, s.used), s.part(last.day, s.committed), larger(s.limits, s.part(last.day, last.high))
	}
	return s
}

// dates are the calendar days of the clock when a call began and when it ended.
type dates struct{ from, until quota.Label }

type (
	// takeStep takes a unit: never over the limit.
	takeStep struct {
		dates
		label quota.Label // zero if nobody was told
		n     quota.Sums
	}
	// settleStep says that what the unit was taken for is stored.
	settleStep struct {
		label quota.Label
		n     quota.Sums
	}
	// spentStep refuses: only because of what is stored, never because of what may come free. Under which
	// label isn't told.
	spentStep struct {
		dates
		n  quota.Sums
		by string // what is said to be spent
	}
	// roomStep is a unit that was taken, and given back because another limit refused.
	roomStep struct {
		from quota.Label
		n    quota.Sums
	}
	// backStep and freeStep give a unit back, as far as its label is open. A message may be cancelled before
	// its own units are settled. Then what others have settled goes back at once, and the rest later.
	backStep settleStep
	freeStep settleStep
	restBack settleStep
	restFree settleStep
	// limitsStep changes the limits.
	limitsStep struct{ limits quota.Sums }
	// readStep reads what is used. total counts what is asked for too, some of it in vain.
	readStep struct {
		dates
		label            quota.Label
		committed, total quota.Sums
	}
	// openStep says that a label still counts.
	openStep struct{ label quota.Label }
	// restStep is what the counter has when nothing is in flight.
	restStep struct {
		quota.Usage
		limits quota.Sums
		doubts bool // reservations of unknown outcome may be left, and it isn't known of whom
	}
)

func (x takeStep) on(s counted, _ int) (counted, bool) {
	label := x.label
	if label == 0 {
		s = s.opened(x.from)
		label = s.day
	}
	s = s.opened(label)
	first, second := s.fits(s.used, x.n)
	ok := s.day == label && x.from <= label && label <= x.until && first && second
	s.used = plus(s.used, x.n)
	return s, ok
}

func (x settleStep) on(s counted, _ int) (counted, bool) {
	s.committed = plus(s.committed, s.part(x.label, x.n))
	return s, true
}

const (
	first, second, either = "the first limit", "the second limit", "either limit"
)

func (x spentStep) on(s counted, _ int) (counted, bool) {
	for _, label := range []quota.Label{x.from, x.until} {
		s = s.opened(label)
		firstFits, secondFits := s.fits(s.committed, x.n)
		switch {
		case x.by == first && !firstFits, x.by == second && firstFits && !secondFits, x.by == either && !(firstFits && secondFits):
			return s, true
		}
	}
	return s, false
}

func (x roomStep) on(s counted, _ int) (counted, bool) {
	s = s.opened(x.from)
	first, second := s.fits(s.used, x.n)
	return s, first && second
}

func (x backStep) on(s counted, client int) (counted, bool) {
	n := s.part(x.label, x.n)
	back := quota.Sums{First: min(n.First, s.committed.First), Second: min(n.Second, s.committed.Second)}
	s.committed, s.calls[client].owed = minus(s.committed, back), minus(n, back)
	// The unit was taken before: its label can't lie ahead.
	return s, x.label <= s.day && (n == quota.Sums{} || back != quota.Sums{})
}

func (x freeStep) on(s counted, client int) (counted, bool) {
	s.used = minus(s.used, s.part(x.label, minus(x.n, s.calls[client].owed)))
	return s, true
}

func (x restBack) on(s counted, client int) (counted, bool) {
	n := s.part(x.label, s.calls[client].owed)
	s.committed = minus(s.committed, n)
	return s, within(quota.Sums{}, s.committed)
}

func (x restFree) on(s counted, client int) (counted, bool) {
	s.used = minus(s.used, s.part(x.label, s.calls[client].owed))
	s.calls[client].owed = quota.Sums{}
	return s, true
}

func (x limitsStep) on(s counted, _ int) (counted, bool) {
	s.limits, s.high = x.limits, larger(s.high, x.limits)
	return s, true
}

func (x readStep) on(s counted, _ int) (counted, bool) {
	seen := s.opened(x.label) // an answer under a new label doesn't begin it
	return s, s.day <= x.label && x.from <= x.label && x.label <= x.until &&
		x.committed == seen.committed && within(x.total, seen.high)
}

func (x openStep) on(s counted, _ int) (counted, bool) { return s, s.day <= x.label }

func (x restStep) on(s counted, _ int) (counted, bool) {
	// A refused request may have begun a day, and a start forgets that.
	seen := counted{monthly: s.monthly, day: x.Day, used: plus(x.Committed, x.Reserved), committed: x.Committed, limits: x.limits}.opened(s.day)
	s = s.opened(x.Day)
	return s, s.limits == seen.limits && s.committed == seen.committed && (s.used == seen.used || x.doubts && within(s.used, seen.used))
}

// ---- The model of the store

// held is a message that is not cancelled, with what it was charged.
type held struct {
	id                  MessageID
	person              string
	line                LineID // that the unit is of
	plan, contact, unit quota.Label
	first               bool
	status              Status
}

func heldOf(m *Message) held {
	return held{m.ID, m.To[0], m.unitLine(), m.Plan.Day, m.Plan.Contact, m.Unit.Day, m.Unit.First, m.Status}
}

func (m held) String() string {
	return fmt.Sprintf("%s to %s, %s, plan %d, contact %d, unit %d of line %s, first %v", m.id, m.person, m.status, m.plan, m.contact, m.unit, m.line, m.first)
}

// kept is the store: its messages by id. It is never changed, but copied.
type kept []held

func (s kept) String() string {
	var lines []string
	for _, m := range s {
		lines = append(lines, "\n\t"+m.String())
	}
	return strings.Join(lines, "")
}

func byID(a, b held) int { return bytes.Compare(a.id.key(), b.id.key()) }

func (s kept) find(id MessageID) int {
	return slices.IndexFunc(s, func(m held) bool { return m.id == id })
}

// knows tells whether a message to the person has a unit of the line; of the plan, without one.
func (s kept) knows(person string, line LineID) bool {
	return slices.ContainsFunc(s, func(m held) bool { return m.person == person && (line.IsZero() || m.line == line) })
}

// with is s with m in place of what had its id.
func (s kept) with(m held) kept {
	s = slices.Clone(s)
	if i := s.find(m.id); i >= 0 {
		s[i] = m
		return s
	}
	s = append(s, m)
	slices.SortFunc(s, byID)
	return s
}

// passFirst hands the conversation of m, which is not in s any more, on. It tells how many go back.
func (s kept) passFirst(m held) (kept, int64) {
	heir := -1
	if !m.first {
		return s, 0
	}
	for i, other := range s {
		if other.person != m.person || other.unit == 0 || other.line != m.line || other.first || other.id == m.id || other.unit > m.unit {
			continue
		}
		if heir < 0 || other.unit == m.unit {
			heir = i
		}
		if other.unit == m.unit {
			break
		}
	}
	if heir < 0 {
		return s, 1
	}
	h := s[heir]
	h.first = true
	if h.unit == m.unit {
		return s.with(h), 0
	}
	return s.with(h), 1
}

// cancel takes the person's waiting messages out, and tells what each gives back.
func (s kept) cancel(person string, identity func(LineID) string) (left kept, ids []MessageID, back []refund) {
	left = s
	for _, m := range s {
		if m.person != person || !m.status.waits() {
			continue
		}
		i := left.find(m.id)
		m = left[i] // it may have inherited
		left = slices.Delete(slices.Clone(left), i, i+1)
		r := refund{plan: m.plan}
		if m.unit != 0 {
			r.identity, r.line, r.units.First = identity(m.line), m.unit, 1
			left, r.units.Second = left.passFirst(m)
		}
		if m.contact != 0 {
			if heir, ok := left.contactHeir(person); ok {
				heir.contact = m.contact
				left = left.with(heir)
			} else {
				r.contact = m.contact
			}
		}
		ids, back = append(ids, m.id), append(back, r)
	}
	return left, ids, back
}

// contactHeir is the message that a person's new-contact unit goes to: one that has a line's unit last.
func (s kept) contactHeir(person string) (heir held, ok bool) {
	for _, m := range s {
		if m.person == person && (!ok || bytes.Compare(m.line.key(), heir.line.key()) < 0) {
			heir, ok = m, true
		}
	}
	return heir, ok
}

type keptStep interface {
	on(s kept) (kept, bool)
}

type (
	storeMessage struct{ held }
	// isNew says that no message to the person is there.
	isNew        struct{ person string }
	cancelPerson struct {
		person   string
		ids      []MessageID
		back     []refund
		identity func(LineID) string
	}
	handMessage struct {
		id   MessageID
		line LineID
		was  quota.Label
		unit quota.Label // zero if it was put off
	}
	finishMessage  struct{ id MessageID }
	releaseMessage struct {
		id   MessageID
		line LineID
		unit quota.Label // zero if it was put off
		one  bool        // with a new conversation
	}
	restMessages struct{ all kept }
)

func (x storeMessage) on(s kept) (kept, bool) {
	newContact := !s.knows(x.person, LineID{})
	firstOfLine := x.unit != 0 && !s.knows(x.person, x.line)
	return s.with(x.held), s.find(x.id) < 0 && (x.contact != 0) == newContact && x.first == firstOfLine && x.plan != 0 &&
		(x.status == Pending) == (x.unit != 0) && (x.status == Scheduled) == (x.unit == 0)
}

func (x isNew) on(s kept) (kept, bool) { return s, !s.knows(x.person, LineID{}) }

func (x cancelPerson) on(s kept) (kept, bool) {
	left, ids, back := s.cancel(x.person, x.identity)
	return left, slices.Equal(ids, x.ids) && slices.Equal(back, x.back)
}

func (x handMessage) on(s kept) (kept, bool) {
	i := s.find(x.id)
	if i < 0 || s[i].status != Pending || s[i].line != x.line || s[i].unit != x.was {
		return s, false
	}
	m := s[i]
	if x.unit != 0 {
		m.unit, m.status = x.unit, Sending
		return s.with(m), true
	}
	put := m
	put.unit, put.line, put.first, put.status = 0, LineID{}, false, Scheduled
	left, _ := s.with(put).passFirst(m) // its day is over: nothing goes back
	return left, true
}

func (x finishMessage) on(s kept) (kept, bool) {
	i := s.find(x.id)
	if i < 0 || s[i].status != Sending {
		return s, false
	}
	m := s[i]
	m.status = Delivered
	return s.with(m), true
}

func (x releaseMessage) on(s kept) (kept, bool) {
	i := s.find(x.id)
	if i < 0 || s[i].status != Scheduled || s[i].unit != 0 {
		return s, false
	}
	m := s[i]
	if x.unit == 0 {
		return s, true // put off again
	}
	m.line, m.unit, m.first, m.status = x.line, x.unit, x.one, Pending
	return s.with(m), x.one == !s.knows(m.person, x.line)
}

func (x restMessages) String() string { return x.all.String() }
func (x cancelPerson) String() string {
	return fmt.Sprintf("%s: %v, back %+v", x.person, x.ids, x.back)
}
func (x handMessage) String() string {
	return fmt.Sprintf("%s on line %s with a unit of %d, then %d", x.id, x.line, x.was, x.unit)
}
func (x finishMessage) String() string { return x.id.String() }
func (x releaseMessage) String() string {
	return fmt.Sprintf("%s to line %s with a unit of %d, first %v", x.id, x.line, x.unit, x.one)
}

func (x restMessages) on(s kept) (kept, bool) { return s, slices.Equal(s, x.all) }

// ---- What clients do

// A deed is one call, with what its client was told.
type deed struct {
	client     int
	call, ret  int64
	plan, line dates // on the plan's calendar, and on the lines'
	told       told
}

// told is the answer to a call. It writes down the steps that the call must have consisted of.
type told interface {
	note(h *episode, d *deed)
}

type (
	sent struct {
		m Message
	}
	refusedBy struct {
		person, limit string
		stranger      bool // nobody else writes to this person
	}
	// unknown is a call of which nobody knows what became.
	unknown   struct{ send bool }
	cancelled struct {
		person string
		Cancellation
	}
	limitsSet struct {
		object string
		limits quota.Sums
	}
	usageRead struct {
		object           string
		label            quota.Label
		committed, total quota.Sums
	}
	handedOver struct {
		job  Message
		unit quota.Label // zero if it was put off
		due  time.Time   // to when
	}
	finished    struct{ id MessageID }
	releasedOne struct {
		id   MessageID
		was  time.Time // due
		line LineID
		unit quota.Label // zero if it was put off
		one  bool
	}
)

const (
	storeObject    = "store"
	messagesObject = "messages"
	contactsObject = "contacts"
)

func lineObject(id LineID) string { return "line " + id.String() }

func (x sent) note(h *episode, d *deed) {
	if label := x.m.Plan.Contact; label != 0 {
		h.takes(d, contactsObject, d.plan, label, quota.Sums{First: 1})
	}
	h.takes(d, messagesObject, d.plan, x.m.Plan.Day, quota.Sums{First: 1, Second: 1})
	if label := x.m.Unit.Day; label != 0 {
		h.takes(d, lineObject(x.m.Line), d.line, label, needs(x.m.Unit.First))
	} else {
		h.allSpent(d)
	}
	h.step(d, storeObject, storeMessage{heldOf(&x.m)})
}

func needs(first bool) quota.Sums { return (&candidate{first: first}).needs() }

// allSpent says that no line had room. Whether the message would have begun a conversation isn't told.
func (h *episode) allSpent(d *deed) {
	for _, l := range h.lines {
		h.step(d, lineObject(l), spentStep{d.line, needs(true), either})
	}
}

func (x refusedBy) note(h *episode, d *deed) {
	message, contact := quota.Sums{First: 1, Second: 1}, quota.Sums{First: 1}
	switch x.limit {
	case limitContacts:
		h.step(d, contactsObject, spentStep{d.plan, contact, first})
		h.step(d, storeObject, isNew{x.person})
		return
	case limitDay:
		h.step(d, messagesObject, spentStep{d.plan, message, first})
	case limitMonth:
		h.step(d, messagesObject, spentStep{d.plan, message, second})
	}
	if x.stranger { // new contacts are judged first
		h.step(d, contactsObject, roomStep{d.plan.from, contact})
	}
}

// A failed write changes nothing in the store, but what was reserved for it stays taken.
func (x unknown) note(h *episode, d *deed) {
	if x.send {
		h.step(d, messagesObject, takeStep{d.plan, 0, quota.Sums{First: 1, Second: 1}})
	}
	h.doubts = true
}

func (x cancelled) note(h *episode, d *deed) {
	h.step(d, storeObject, cancelPerson{x.person, x.Messages, x.refunds, h.identity})
	for _, r := range x.refunds {
		h.givesBack(d, messagesObject, r.plan, quota.Sums{First: 1, Second: 1})
		if r.contact != 0 {
			h.givesBack(d, contactsObject, r.contact, quota.Sums{First: 1})
		}
		for _, l := range h.lines {
			if r.line != 0 && h.identity(l) == r.identity {
				h.givesBack(d, lineObject(l), r.line, r.units)
			}
		}
	}
}

func (x limitsSet) note(h *episode, d *deed) { h.step(d, x.object, limitsStep{x.limits}) }

func (x usageRead) note(h *episode, d *deed) {
	days := d.plan
	if strings.HasPrefix(x.object, "line") {
		days = d.line
	}
	h.step(d, x.object, readStep{days, x.label, x.committed, x.total})
}

func (x handedOver) note(h *episode, d *deed) {
	object, was := lineObject(x.job.Line), x.job.Unit
	switch x.unit {
	case 0:
		h.step(d, object, spentStep{d.line, needs(was.First), either})
	case was.Day:
		h.step(d, object, readOpen(d, was.Day)...)
	default:
		h.takes(d, object, d.line, x.unit, needs(was.First))
	}
	h.step(d, storeObject, handMessage{x.job.ID, x.job.Line, was.Day, x.unit})
}

// readOpen says that a unit's day goes on, by its line's counter and by the clock.
func readOpen(d *deed, label quota.Label) []any {
	if label < d.line.from {
		return []any{openStep{0}} // the day was over when the call began
	}
	return []any{openStep{label}}
}

func (x finished) note(h *episode, d *deed) { h.step(d, storeObject, finishMessage(x)) }

func (x releasedOne) note(h *episode, d *deed) {
	if x.unit != 0 {
		h.takes(d, lineObject(x.line), d.line, x.unit, needs(x.one))
	} else {
		h.allSpent(d)
	}
	h.step(d, storeObject, releaseMessage{x.id, x.line, x.unit, x.one})
}

// ---- A history

// A view is everything that counts, while nothing is in flight.
type view struct {
	kept     kept
	all      map[MessageID]Message // also the cancelled ones
	counters map[string]quota.Usage
	limits   map[string]quota.Sums
}

// An episode is what several clients did between two moments of rest.
type episode struct {
	about    string
	lines    []LineID
	identity func(LineID) string
	before   view
	failed   *view // the engine whose disk failed, before it was closed
	unsure   bool  // somebody was told that the outcome is unknown
	after    view
	deeds    []*deed

	steps  map[string][]porcupine.Operation
	doubts bool
}

// stepTicks is how far apart ticks are, so that the steps of a call can begin in their order.
const stepTicks = 1 << 10

// step writes steps of a call on one object down.
func (h *episode) step(d *deed, object string, steps ...any) {
	for _, s := range steps {
		all := h.steps[object]
		turn := 0
		if n := len(all); n > 0 && all[n-1].Metadata == d { // what is noted together stands together
			turn = int(all[n-1].Call-d.call) + 1
		}
		if counting, ok := s.(countStep); ok {
			if turn > 0 {
				before := all[len(all)-1].Input.(inTurn)
				before.last = false
				all[len(all)-1].Input = before
			}
			s = inTurn{counting, d.client, turn, true}
		}
		h.steps[object] = append(all, porcupine.Operation{ClientId: d.client, Input: s, Call: d.call + int64(turn), Return: d.ret, Metadata: d})
	}
}

func (h *episode) takes(d *deed, object string, days dates, label quota.Label, n quota.Sums) {
	h.step(d, object, takeStep{days, label, n}, settleStep{label, n})
}

func (h *episode) givesBack(d *deed, object string, label quota.Label, n quota.Sums) {
	h.step(d, object, backStep{label, n}, freeStep{label, n})
	if n.Second > 0 {
		h.step(d, object, restBack{label, n}, restFree{label, n})
	}
}

// write writes all steps down.
func (h *episode) write() {
	h.steps, h.doubts = map[string][]porcupine.Operation{}, false
	end := int64(0)
	for _, d := range h.deeds {
		d.told.note(h, d)
		end = max(end, d.ret)
	}
	rest := func(v *view, n int64, failed bool) {
		d := &deed{client: linearClients, call: end + n*stepTicks, ret: end + n*stepTicks}
		for object := range v.counters {
			h.step(d, object, restStep{v.counters[object], v.limits[object], failed && h.doubts && object != messagesObject})
		}
		h.step(d, storeObject, restMessages{v.kept})
	}
	if h.failed != nil {
		rest(h.failed, 1, true)
		d := &deed{client: linearClients, call: end + 2*stepTicks, ret: end + 2*stepTicks}
		for object := range h.failed.counters {
			h.step(d, object, startStep{})
		}
	}
	if !h.foundStored() {
		rest(&h.after, 3, false)
	}
}

// foundStored tells whether the start found stored what nobody knew the outcome of: the disk failed between the write and the
// sync of a group. Who that was isn't told, so no order is looked for of what comes after; [world.verify] recounts it.
func (h *episode) foundStored() bool {
	return h.unsure && h.failed != nil && !(slices.Equal(h.failed.kept, h.after.kept) && maps.Equal(h.failed.limits, h.after.limits))
}

// startStep forgets what was reserved: the counters are made from what is stored.
type startStep struct{}

func (startStep) on(s counted, _ int) (counted, bool) {
	s.used = s.committed
	return s, true
}

var linearSeed = maphash.MakeSeed()

func (h *episode) model(object string) porcupine.Model {
	if object == storeObject {
		return porcupine.Model{
			Init:  func() any { return h.before.kept },
			Step:  func(s, in, _ any) (bool, any) { next, ok := in.(keptStep).on(s.(kept)); return ok, next },
			Equal: func(a, b any) bool { return slices.Equal(a.(kept), b.(kept)) },
			Hash: func(s any) (sum uint64) {
				for _, m := range s.(kept) {
					sum += maphash.Comparable(linearSeed, m)
				}
				return sum
			},
			DescribeOperation: describe,
			DescribeState:     func(s any) string { return s.(kept).String() },
		}
	}
	u, limits := h.before.counters[object], h.before.limits[object]
	start := counted{monthly: object == messagesObject, day: u.Day, limits: limits, used: u.Committed, committed: u.Committed, high: larger(limits, u.Committed)}
	return porcupine.Model{
		Init:              func() any { return start },
		Step:              func(s, in, _ any) (bool, any) { next, ok := in.(inTurn).step(s.(counted)); return ok, next },
		Hash:              func(s any) uint64 { return maphash.Comparable(linearSeed, s.(counted)) },
		DescribeOperation: describe,
		DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
	}
}

func describe(in, _ any) string {
	return strings.TrimPrefix(fmt.Sprintf("%T %+v", in, in), "engine.")
}

// check looks for an order, object by object. It names the first object for which there is none.
func (h *episode) check() (verdict porcupine.CheckResult, object string) {
	h.write()
	verdict = porcupine.Ok
	for _, object := range slices.Sorted(maps.Keys(h.steps)) {
		switch porcupine.CheckOperationsTimeout(h.model(object), h.steps[object], checkFor) {
		case porcupine.Illegal:
			return porcupine.Illegal, object
		case porcupine.Unknown:
			verdict = porcupine.Unknown
		}
	}
	return verdict, ""
}

// text is the history of an object for people, and where a picture of it is.
func (h *episode) text(object string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s, %s. It began with %+v %+v\n", h.about, object, h.before.counters[object], h.before.limits[object])
	if object == storeObject {
		fmt.Fprintf(&s, "%s\n", h.before.kept)
	}
	for _, op := range h.steps[object] {
		fmt.Fprintf(&s, "client %d, %5d to %5d: %s\n", op.ClientId, op.Call/stepTicks, op.Return/stepTicks, describe(op.Input, nil))
	}
	_, info := porcupine.CheckOperationsVerbose(h.model(object), h.steps[object], checkFor)
	if f, err := os.CreateTemp("", "tuco-history-*.html"); err == nil {
		defer f.Close()
		if porcupine.Visualize(h.model(object), info, f) == nil {
			fmt.Fprintf(&s, "a picture is in %s\n", f.Name())
		}
	}
	return s.String()
}

// ---- Running clients

// An exact is a world with a workspace whose clients are watched.
type exact struct {
	*world
	seed   uint64
	who    Caller
	plan   string
	zone   *time.Location
	lines  []Line
	ticks  atomic.Int64
	limits map[string]quota.Sums // the last that were asked for
	unsure atomic.Bool           // somebody was told that the outcome is unknown
	people atomic.Int64          // that nobody else writes to
	busy   sync.Map              // messages that a client is handing over, as [dispatch] keeps them
}

// newExact makes a workspace with tight limits in w, for one seed.
func newExact(w *world, seed uint64) *exact {
	w.t.Helper()
	r := rand.New(rand.NewPCG(seed, 1<<32))
	zone := []string{"UTC", "UTC", "Pacific/Auckland", "America/New_York"}[r.IntN(4)]
	x := &exact{world: w, seed: seed, plan: fmt.Sprint("exact ", seed)}
	var err error
	if x.zone, err = time.LoadLocation(zone); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Admin().SetPlan(x.plan, PlanChange{MessagesPerDay: n64(3 + r.Int64N(5)), MessagesPerMonth: n64(r.Int64N(2) * (8 + r.Int64N(8))), NewContactsPerDay: n64(r.Int64N(6)), RequestsPerMinute: n64(0)}); err != nil {
		w.t.Fatal(err)
	}
	made, err := w.Admin().CreateWorkspace(x.plan, x.plan, zone)
	if err != nil {
		w.t.Fatal(err)
	}
	w.id = made.ID
	x.login()
	for i := range 1 + r.IntN(2) {
		x.lines = append(x.lines, w.lineOf(x.who, IMessage, LineChange{
			Phone: ptr(fmt.Sprintf("+1202555020%d", i)), DailyMessages: n64(1 + r.Int64N(3)), DailyNew: n64(r.Int64N(4))}))
	}
	return x
}

func (x *exact) login() { x.who = x.operator(Production) }

func (x *exact) tick() int64 { return x.ticks.Add(stepTicks) }

// days are today on both calendars.
func (x *exact) days() (plan, line quota.Label) {
	now := x.clock.now()
	return quota.DayOf(now, x.zone), quota.DayOf(now, time.UTC)
}

func (x *exact) counter(object string) *quota.Counter {
	switch object {
	case messagesObject:
		return x.who.env.counters.messages
	case contactsObject:
		return x.who.env.counters.contacts
	}
	for _, l := range x.lines {
		if lineObject(l.ID) == object {
			return x.who.env.lines.Load().counters[l.identity()]
		}
	}
	panic("there is no " + object)
}

func (x *exact) objects() []string {
	all := []string{messagesObject, contactsObject}
	for _, l := range x.lines {
		all = append(all, lineObject(l.ID))
	}
	return all
}

// view looks at everything. Nothing may be in flight.
func (x *exact) view() view {
	x.t.Helper()
	v := view{all: map[MessageID]Message{}, counters: map[string]quota.Usage{}, limits: map[string]quota.Sums{}}
	_, err := kv.View(x.db, func(tx *kv.Tx) (struct{}, error) {
		for _, m := range x.who.env.store.messages.Scan(tx, kv.Range{}) {
			v.all[m.ID] = m
			if m.Status != Cancelled {
				v.kept = append(v.kept, heldOf(&m))
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		x.t.Fatal(err)
	}
	slices.SortFunc(v.kept, byID)
	for _, object := range x.objects() {
		v.counters[object], v.limits[object] = x.counter(object).Usage(), x.counter(object).Limits()
	}
	return v
}

// An ending is what becomes of the engine at the end of a history.
type ending int

const (
	goesOn     ending = iota
	restarts          // it is closed and opened again
	crashes           // its files are copied while clients are at work; the copy goes on
	diskBreaks        // its log can't be written any more, and it is opened again
	endings
)

func (e ending) String() string {
	return [...]string{"goes on", "restarts", "crashes", "its disk breaks"}[e]
}

// A client does random calls, one after the other.
type client struct {
	*exact
	id       int
	random   *rand.Rand
	deeds    []*deed
	roll     bool       // lets a day end, once
	job      *MessageID // handed over, and not finished
	failing  bool       // the disk fails in this history
	afterOne func()     // runs after each call
}

// run lets clients work at once until each has done its calls.
func (x *exact) run(r *rand.Rand, end ending) *episode {
	x.t.Helper()
	h := &episode{
		about: fmt.Sprintf("seed %d, then it %s", x.seed, end), before: x.view(),
		identity: func(id LineID) string {
			i := slices.IndexFunc(x.lines, func(l Line) bool { return l.ID == id })
			return x.lines[i].identity()
		},
	}
	for _, l := range x.lines {
		h.lines = append(h.lines, l.ID)
	}
	x.limits = maps.Clone(h.before.limits)
	roll := x.approach(r) && end != diskBreaks
	calls := 8 + r.IntN(8)
	var done atomic.Int64
	var copied string
	var began, ended int64
	accident := make(chan struct{})
	when := int64(calls) + r.Int64N(int64(calls*(linearClients-2)))
	clients := make([]*client, linearClients)
	for i := range clients {
		clients[i] = &client{exact: x, id: i, random: rand.New(rand.NewPCG(x.seed, r.Uint64())), roll: roll && i == 0, failing: end == diskBreaks,
			afterOne: func() {
				if done.Add(1) == when {
					close(accident)
				}
			}}
	}
	var accidents sync.WaitGroup
	accidents.Go(func() {
		<-accident
		switch end {
		case crashes:
			copied, began, ended = x.copyAlive()
		case diskBreaks:
			// In a transaction: then of its group nothing is in the log, and seldom of the one before it.
			_, _ = kv.Update(x.db, func(*kv.Tx) (struct{}, error) { x.breakDisk(); return struct{}{}, nil })
		}
	})
	together(linearClients, func(i int) {
		for range calls {
			clients[i].act()
		}
	})
	accidents.Wait()
	h.unsure = x.unsure.Swap(false)
	for _, c := range clients {
		h.deeds = append(h.deeds, c.deeds...)
	}
	slices.SortFunc(h.deeds, func(a, b *deed) int { return int(a.call - b.call) })
	switch end {
	case restarts:
		x.reopen()
	case crashes:
		x.close()
		x.opt.Dir = copied
		x.open()
	case diskBreaks:
		x.failedView(h)
		_ = x.Close()
		x.open()
	}
	x.login()
	h.after = x.view()
	if end == crashes {
		h.survive(began, ended)
	}
	return h
}

func (x *exact) failedView(h *episode) {
	v := x.view()
	h.failed = &v
}

// approach goes on to shortly before a midnight, or to an hour at which deferred messages go.
func (x *exact) approach(r *rand.Rand) (midnight bool) {
	now := x.clock.now()
	switch r.IntN(4) {
	case 0:
		x.clock.until(quota.DayOf(now, x.zone).End(x.zone).Add(-time.Second))
	case 1:
		x.clock.until(quota.DayOf(now, time.UTC).End(time.UTC).Add(-time.Second))
	case 2:
		x.clock.until(quota.DayOf(now, time.UTC).End(time.UTC).Add(15 * time.Hour))
		return false
	default:
		return false
	}
	return true
}

// copyAlive copies the data directory while it is in use, as a crash would leave it: of the log, whatever
// lies before something that is in the copy is in it too. So it is read from its end to its beginning. The
// database must not change meanwhile, which it seldom does.
func (x *exact) copyAlive() (dir string, began, ended int64) {
	for {
		dir, began = x.t.TempDir(), x.tick()
		before := x.stamps()
		err := copyBackwards(dir, x.opt.Dir)
		if ended = x.tick(); err == nil && maps.Equal(before, x.stamps()) {
			return dir, began, ended
		}
	}
}

// stamps tell whether the database, or the row of its log's files, was changed.
func (x *exact) stamps() map[string]time.Time {
	all := map[string]time.Time{}
	_ = fs.WalkDir(os.DirFS(x.opt.Dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		all[path] = time.Time{}
		if info, err := entry.Info(); err == nil && path == DatabaseName {
			all[path] = info.ModTime()
		}
		return nil
	})
	return all
}

func copyBackwards(to, from string) error {
	var files []string
	err := fs.WalkDir(os.DirFS(from), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, path), 0o700)
		}
		files = append(files, path)
		return nil
	})
	for _, path := range slices.Backward(files) { // the newest segment first
		if err == nil {
			err = copyFileBackwards(filepath.Join(to, path), filepath.Join(from, path))
		}
	}
	return err
}

func copyFileBackwards(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	const page = 4096
	data := make([]byte, info.Size())
	for at := (len(data) - 1) / page * page; at >= 0 && len(data) > 0; at -= page {
		if _, err := in.ReadAt(data[at:min(at+page, len(data))], int64(at)); err != nil {
			return err
		}
	}
	return os.WriteFile(to, data, 0o600)
}

// survive leaves in the history what the crash left: all that was answered before the copy began, and what
// else is found after the start. Nobody saw other answers.
func (h *episode) survive(began, ended int64) {
	was := maps.Clone(h.before.limits)
	var changes []*deed
	var left []*deed
	for _, d := range h.deeds {
		set, isSet := d.told.(limitsSet)
		switch {
		case d.ret < began:
			if isSet {
				was[set.object] = set.limits
			}
		case d.call > ended:
			continue
		case isSet:
			changes = append(changes, d)
			continue
		case !h.lasts(d.told):
			continue
		}
		d.ret = min(d.ret, ended)
		left = append(left, d)
	}
	// Limits are changed by one client, so that what lasts of its changes are the first ones.
	n := len(changes)
	for ; n > 0; n-- {
		limits := maps.Clone(was)
		for _, d := range changes[:n] {
			set := d.told.(limitsSet)
			limits[set.object] = set.limits
		}
		if maps.Equal(limits, h.after.limits) {
			break
		}
	}
	for _, d := range changes[:n] {
		d.ret = min(d.ret, ended)
	}
	h.deeds = append(left, changes[:n]...)
	slices.SortFunc(h.deeds, func(a, b *deed) int { return int(a.call - b.call) })
}

// lasts tells whether what a call did is found after a crash in the middle of it.
func (h *episode) lasts(t told) bool {
	switch t := t.(type) {
	case sent:
		_, ok := h.after.all[t.m.ID]
		return ok
	case cancelled:
		return len(t.Messages) > 0 && h.after.all[t.Messages[0]].Status == Cancelled
	case handedOver:
		m := h.after.all[t.job.ID]
		return t.unit != 0 && (m.Status == Sending || m.Status == Delivered) || t.unit == 0 && m.Scheduled.Equal(t.due)
	case finished:
		return h.after.all[t.id].Status == Delivered
	case releasedOne:
		m := h.after.all[t.id]
		return m.Status != Scheduled || !m.Due.Equal(t.was)
	}
	return false
}

// ---- The calls

func (c *client) act() {
	defer c.afterOne()
	r := c.random
	person := fmt.Sprintf("+1202555010%d", r.IntN(4))
	if c.roll && r.IntN(5) == 0 {
		c.roll = false
		c.clock.pass(2 * time.Second)
	}
	roles := [linearClients][]func(){
		{c.setMessages, c.setContacts, c.setLine, c.setLine, c.read, c.read, func() { c.cancel(person) }},
		{c.handOver, c.handOver, c.handOver, c.release, c.release, c.read},
	}
	actions := roles[c.id]
	if actions == nil {
		send := func() { c.send(person, false) }
		sendNew := func() { c.send(fmt.Sprintf("+1202556%04d", c.people.Add(1)), true) }
		actions = []func(){send, send, send, send, sendNew, sendNew, func() { c.cancel(person) }, func() { c.cancel(person) }, c.read, c.handOver}
	}
	if c.id == 0 && len(c.deeds) < 2 { // so that there is room at the beginning
		actions = actions[len(c.deeds):][:1]
	}
	actions[r.IntN(len(actions))]()
}

// do makes a call and writes it down, unless it returns nothing to write down.
func (c *client) do(call func() told) {
	d := &deed{client: c.id}
	d.plan.from, d.line.from = c.days()
	d.call = c.tick()
	d.told = call()
	if d.ret == 0 {
		c.end(d)
	}
	if d.told != nil {
		c.deeds = append(c.deeds, d)
	}
}

func (c *client) end(d *deed) {
	d.ret = c.tick()
	d.plan.until, d.line.until = c.days()
}

// failed tells whether a call failed, and whether nobody knows if it did what it should. Only a broken
// disk may let calls fail.
func (c *client) failed(err error) (failed, unsure bool) {
	switch {
	case err == nil:
		return false, false
	case c.failing && isKind(err, Unknown):
		c.unsure.Store(true)
		return true, true
	case c.failing && isKind(err, Unavailable), isKind(err, Unavailable) && strings.HasPrefix(err.Error(), "Too many requests"):
		return true, false
	}
	c.t.Errorf("seed %d, client %d: %v", c.seed, c.id, err)
	return true, false
}

func (c *client) send(person string, stranger bool) {
	c.do(func() told {
		result, err := c.Send(c.who, nil, to(person))
		if e := (*Error)(nil); errors.As(err, &e) && e.Kind == QuotaExceeded && e.Code == CodePlanLimit && e.Limit != nil {
			return refusedBy{person, e.Limit.Name, stranger}
		}
		switch failed, unsure := c.failed(err); {
		case unsure:
			return unknown{send: true}
		case failed:
			return nil
		}
		return sent{result.Message}
	})
}

func (c *client) cancel(person string) {
	c.do(func() told {
		result, err := c.CancelForLead(c.who, CancelRequest{Phone: person})
		if failed, _ := c.failed(err); failed {
			return nil // on a broken disk
		}
		return cancelled{person, result}
	})
}

// near is a limit close to what is used, so that much of what is asked for just fits, or just does not.
func (c *client) near(used int64) int64 {
	if c.random.IntN(4) == 0 {
		return 0 // unlimited
	}
	return max(1, used-1+c.random.Int64N(12))
}

func (c *client) setMessages() {
	used := c.counter(messagesObject).Usage().Committed
	day, month := c.near(used.First), int64(0)
	if c.random.IntN(2) == 0 {
		month = c.near(used.Second)
	}
	c.setPlan(limitsSet{messagesObject, quota.Sums{First: limitOf(day), Second: limitOf(month)}}, PlanChange{MessagesPerDay: &day, MessagesPerMonth: &month})
}

func (c *client) setContacts() {
	n := c.near(c.counter(contactsObject).Usage().Committed.First) * c.random.Int64N(2)
	c.setPlan(limitsSet{contactsObject, quota.Sums{First: limitOf(n), Second: quota.Unlimited}}, PlanChange{NewContactsPerDay: &n})
}

func (c *client) setPlan(set limitsSet, change PlanChange) {
	c.do(func() told {
		if _, err := c.Admin().SetPlan(c.exact.plan, change); c.lost(err) {
			return nil
		}
		return set
	})
}

func (c *client) lost(err error) bool {
	failed, _ := c.failed(err)
	return failed
}

func (c *client) setLine() {
	l := c.lines[c.random.IntN(len(c.lines))]
	used := c.counter(lineObject(l.ID)).Usage().Committed
	n, conversations := c.near(used.First), c.near(used.Second)
	c.do(func() told {
		if _, err := c.SetLine(c.who, l.ID.String(), LineChange{DailyMessages: &n, DailyNew: &conversations}); c.lost(err) {
			return nil
		}
		return limitsSet{lineObject(l.ID), quota.Sums{First: limitOf(n), Second: limitOf(conversations)}}
	})
}

func (c *client) read() {
	objects := c.objects()
	object := objects[c.random.IntN(len(objects))]
	c.do(func() told {
		all, err := c.Usage(c.who)
		if c.lost(err) {
			return nil
		}
		x := usageRead{object: object}
		for _, l := range all {
			n := quota.Sums{First: 1}
			switch {
			case object == messagesObject && l.Name == limitMonth, object == lineObject(l.Line) && l.Name == limitLineConversations:
				n = quota.Sums{Second: 1}
			case object == messagesObject && l.Name == limitDay, object == contactsObject && l.Name == limitContacts:
				x.label = quota.DayOf(l.ResetsAt.Add(-time.Second), c.zone)
			case object == lineObject(l.Line) && l.Name == limitLineMessages:
				x.label = quota.DayOf(l.ResetsAt.Add(-time.Second), time.UTC)
			default:
				continue
			}
			x.committed = plus(x.committed, quota.Sums{First: n.First * l.Used, Second: n.Second * l.Used})
			x.total = plus(x.total, quota.Sums{First: n.First * (l.Used + l.Reserved), Second: n.Second * (l.Used + l.Reserved)})
		}
		return x
	})
}

// handOver is the dispatcher: it hands one waiting message over, and later says how that ended.
func (c *client) handOver() {
	q := Queue{c.who.env}
	if id := c.job; id != nil {
		c.job = nil
		c.do(func() told {
			if _, err := q.Finish(*id, Outcome{Status: Delivered}); c.lost(err) {
				return nil
			}
			return finished{*id}
		})
		return
	}
	jobs, _, err := q.Next(c.lines[c.random.IntN(len(c.lines))].ID, 3, func(id MessageID) bool { _, busy := c.busy.Load(id); return busy })
	if c.lost(err) || len(jobs) == 0 {
		return
	}
	job := jobs[c.random.IntN(len(jobs))]
	if _, busy := c.busy.LoadOrStore(job.Message.ID, c.id); busy {
		return
	}
	defer c.busy.Delete(job.Message.ID)
	if !c.message(job.Message.ID).Scheduled.Equal(job.Message.Scheduled) {
		return // another client put it off since it was found
	}
	d := &deed{client: c.id}
	d.plan.from, d.line.from = c.days()
	d.call = c.tick()
	err = q.HandOver(job)
	c.end(d)
	m := c.message(job.Message.ID) // its unit doesn't change any more, nor to when it was put off
	x := handedOver{job: job.Message}
	failed, unsure := false, false
	if !errors.Is(err, ErrNotNow) {
		failed, unsure = c.failed(err)
	}
	switch {
	case unsure:
		d.told = unknown{}
	case errors.Is(err, ErrNotNow) && !m.Scheduled.Equal(job.Message.Scheduled):
		x.due = m.Scheduled
		d.told = x
	case errors.Is(err, ErrNotNow), failed:
		return
	default:
		x.unit, c.job = m.Unit.Day, &m.ID
		d.told = x
	}
	c.deeds = append(c.deeds, d)
}

func (c *client) message(id MessageID) Message {
	m, err := kv.View(c.db, func(tx *kv.Tx) (Message, error) {
		m, _ := c.who.env.store.messages.Get(tx, id.key())
		return m, nil
	})
	if err != nil {
		c.t.Error(err)
	}
	return m
}

// release does for one message what [Queue.Release] does, in the same two steps, to see what it reserves.
func (c *client) release() {
	q := Queue{c.who.env}
	ids, _, err := q.dueNow(c.clock.now())
	if c.lost(err) || len(ids) == 0 {
		return
	}
	id := ids[c.random.IntN(len(ids))]
	c.do(func() told {
		batch, _, err := q.prepare([]MessageID{id})
		if c.lost(err) || len(batch) == 0 {
			return nil
		}
		one := batch[0]
		x := releasedOne{id: id, was: one.Due, unit: one.hold.unit.Day()}
		if l := one.hold.line; l != nil {
			x.line, x.one = l.ID, l.first
		}
		changed, err := q.commit(batch)
		switch failed, unsure := c.failed(err); {
		case unsure:
			return unknown{}
		case failed, len(changed) > 0, *one.hold == (hold{}):
			return nil // it was withdrawn, or changed: all went back
		}
		return x
	})
}

// ---- The tests

// checked counts what was checked.
type checked struct {
	episodes, deeds, undecided, stored int
	endings                            [endings]int
	did                                map[string]int
}

func (n *checked) add(h *episode, end ending) {
	n.episodes++
	n.deeds += len(h.deeds)
	n.endings[end]++
	if h.foundStored() {
		n.stored++
	}
	for _, d := range h.deeds {
		n.did[strings.TrimPrefix(fmt.Sprintf("%T", d.told), "engine.")]++
	}
}

// TestHistoriesAreExact checks histories of several clients at once, workspace by workspace. Some workspaces
// share an engine, whose clock, crashes and restarts go through all of them.
func TestHistoriesAreExact(t *testing.T) {
	const together = 24
	n := checked{did: map[string]int{}}
	end := linearBegin + linearSeeds
	for from := linearBegin; from < end && !t.Failed(); from += together {
		t.Run(fmt.Sprintf("seeds from %d", from), func(t *testing.T) {
			w := newWorld(t, unlimited())
			for seed := from; seed < min(from+together, end); seed++ {
				n.live(t, newExact(w, seed))
			}
		})
	}
	if n.undecided*undecidedShare > n.episodes {
		t.Errorf("%d of %d histories could not be decided", n.undecided, n.episodes)
	}
	t.Logf("%d histories (%v by how they ended), %d calls, %d undecided, %d with an unknown outcome that was stored; %v", n.episodes, n.endings, n.deeds, n.undecided, n.stored, n.did)
}

// live checks the histories that one workspace goes through.
func (n *checked) live(t *testing.T, x *exact) {
	t.Helper()
	r := rand.New(rand.NewPCG(x.seed, 2<<32))
	for range 4 {
		end := ending(r.IntN(int(endings)))
		h := x.run(r, end)
		n.add(h, end)
		switch verdict, object := h.check(); verdict {
		case porcupine.Unknown:
			n.undecided++
		case porcupine.Illegal:
			t.Fatalf("no order explains what clients were told: %s", h.text(object))
		}
		if t.Failed() {
			t.Fatalf("in %s", h.about)
		}
	}
	x.verify()
}

// script is a history of one client, so that there is one order of it only: of four messages a day, two of
// which can go today, one is cancelled and the sixth refused. At last the engine starts again, which in a
// second history comes after its disk broke while a message was being stored.
func script(x *exact) (healthy, broken *episode) {
	x.t.Helper()
	l := x.lines[0].ID.String()
	for _, other := range x.lines[1:] {
		if err := x.DeleteLine(x.who, other.ID.String()); err != nil {
			x.t.Fatal(err)
		}
	}
	x.lines = x.lines[:1]
	if _, err := x.SetLine(x.who, l, LineChange{DailyMessages: n64(2), DailyNew: n64(0)}); err != nil {
		x.t.Fatal(err)
	}
	set := func(day int64) {
		if _, err := x.Admin().SetPlan(x.plan, PlanChange{MessagesPerDay: &day, MessagesPerMonth: n64(0), NewContactsPerDay: n64(0)}); err != nil {
			x.t.Fatal(err)
		}
	}
	set(4)
	c := &client{exact: x, id: 2, random: rand.New(rand.NewPCG(1, 1))}
	people := func(i int) string { return fmt.Sprintf("+1202557000%d", i) }
	begin := func() *episode {
		c.deeds = nil
		return &episode{about: "a script", before: x.view(), lines: []LineID{x.lines[0].ID}, identity: func(LineID) string { return x.lines[0].identity() }}
	}
	healthy = begin()
	for i := range 3 {
		c.send(people(i), true)
	}
	c.cancel(people(0))
	for i := range 3 {
		c.send(people(3+i), true)
	}
	x.reopen()
	x.login()
	healthy.deeds, healthy.after = c.deeds, x.view()

	set(6)
	broken, c.failing = begin(), true
	c.send(people(6), true)
	x.breakDisk()
	c.send(people(7), true)
	x.failedView(broken)
	_ = x.Close()
	x.open()
	x.login()
	broken.deeds, broken.after = c.deeds, x.view()
	return healthy, broken
}

// forged changes the answer to the i-th call.
func forged[T told](h *episode, i int, change func(told *T)) {
	d := *h.deeds[i]
	t := d.told.(T)
	change(&t)
	d.told = t
	h.deeds[i] = &d
}

// as replaces the answer to the i-th call.
func (h *episode) as(i int, t told) {
	d := *h.deeds[i]
	d.told = t
	h.deeds[i] = &d
}

// adjust adds to what is used at the end.
func (v *view) adjust(object string, n int64) {
	u := v.counters[object]
	u.Committed = plus(u.Committed, quota.Sums{First: n, Second: n})
	v.counters[object] = u
}

// without takes a message out of what is there at the end, with all its units.
func (v *view) without(m *Message) {
	v.kept = slices.DeleteFunc(slices.Clone(v.kept), func(other held) bool { return other.id == m.ID })
	v.adjust(messagesObject, -1)
	if m.Plan.Contact != 0 {
		u := v.counters[contactsObject]
		u.Committed.First--
		v.counters[contactsObject] = u
	}
	if m.Unit.Day != 0 {
		v.adjust(lineObject(m.Line), -1)
	}
}

// TestCheckerFindsFaults changes histories as faults would, which the checker must then refuse to explain.
func TestCheckerFindsFaults(t *testing.T) {
	const first, second, putOff, cancelledFirst, fourth, fifth, denied = 0, 1, 2, 3, 4, 5, 6
	sentIn := func(h *episode, i int) *Message { return ptr(h.deeds[i].told.(sent).m) }
	line := func(h *episode) string { return lineObject(h.lines[0]) }
	w := newWorld(t, unlimited())
	for i, tt := range []struct {
		about string
		fault func(healthy, broken *episode)
	}{
		{"none", nil},
		{"a message over the plan's limit is accepted", func(h, _ *episode) {
			m := *sentIn(h, fifth)
			m.ID.ID[len(m.ID.ID)-1]++
			m.To = []string{"+12025579999"}
			h.as(denied, sent{m})
			h.after.kept = h.after.kept.with(heldOf(&m))
			h.after.adjust(messagesObject, 1)
			u := h.after.counters[contactsObject]
			u.Committed.First++
			h.after.counters[contactsObject] = u
		}},
		{"a message over the line's limit goes today", func(h, _ *episode) {
			m := sentIn(h, putOff)
			m.Status, m.Unit, m.Line = Pending, LineUnit{Day: m.Plan.Day, First: true}, h.lines[0]
			h.as(putOff, sent{*m})
			h.after.kept = h.after.kept.with(heldOf(m))
			h.after.adjust(line(h), 1)
		}},
		{"a message is refused while the plan has room", func(h, _ *episode) {
			m := sentIn(h, fifth)
			h.as(fifth, refusedBy{m.To[0], limitDay, true})
			h.after.without(m)
		}},
		{"a message is put off while its line has room", func(h, _ *episode) {
			m := sentIn(h, second)
			h.after.adjust(line(h), -1)
			m.Status, m.Unit, m.Line = Scheduled, LineUnit{}, LineID{}
			h.as(second, sent{*m})
			h.after.kept = h.after.kept.with(heldOf(m))
		}},
		{"another limit than the spent one is named", func(h, _ *episode) {
			forged(h, denied, func(r *refusedBy) { r.limit = limitMonth })
		}},
		{"a counter is one too high", func(h, _ *episode) { h.after.adjust(messagesObject, 1) }},
		{"a line's counter is one too high", func(h, _ *episode) { h.after.adjust(line(h), 1) }},
		{"a limit is not what was set", func(h, _ *episode) { h.after.limits[messagesObject] = quota.Sums{First: 5, Second: quota.Unlimited} }},
		{"an accepted message is gone after the start", func(h, _ *episode) { h.after.without(sentIn(h, fourth)) }},
		{"an accepted message is gone, but stays charged", func(h, _ *episode) {
			u := maps.Clone(h.after.counters)
			h.after.without(sentIn(h, fourth))
			h.after.counters = u
		}},
		{"a stored message was said not to be", func(h, _ *episode) { h.deeds = slices.Delete(h.deeds, fifth, fifth+1) }},
		{"a unit is given back twice", func(h, _ *episode) { h.after.adjust(messagesObject, -1) }},
		{"a cancellation gives nothing back", func(h, _ *episode) { forged(h, cancelledFirst, func(c *cancelled) { c.refunds = []refund{{}} }) }},
		{"a cancelled message goes on", func(h, _ *episode) { h.after.kept = h.after.kept.with(heldOf(sentIn(h, first))) }},
		{"what is waiting is not found to be cancelled", func(h, _ *episode) {
			forged(h, cancelledFirst, func(c *cancelled) { c.Messages, c.refunds = nil, nil })
		}},
		{"a new contact is not charged", func(h, _ *episode) { forged(h, fourth, func(s *sent) { s.m.Plan.Contact = 0 }) }},
		{"a unit is of a day that is over", func(h, _ *episode) { forged(h, fourth, func(s *sent) { s.m.Plan.Day-- }) }},
		{"a unit of unknown outcome is given back", func(_, h *episode) {
			u := h.failed.counters[messagesObject]
			u.Reserved = quota.Sums{}
			h.failed.counters[messagesObject] = u
		}},
		{"a message of unknown outcome is charged, but not there", func(_, h *episode) { h.after.adjust(messagesObject, 1) }},
	} {
		healthy, broken := script(newExact(w, 1<<20+uint64(i)))
		want := porcupine.Ok
		if tt.fault != nil {
			tt.fault(healthy, broken)
			want = porcupine.Illegal
		}
		got, object := healthy.check()
		if got == porcupine.Ok {
			got, object = broken.check()
		}
		if got != want {
			t.Errorf("%s: the checker says %s (%s), want %s", tt.about, got, object, want)
		}
	}
}

// TestCheckerFindsFaultsInTheCrowd is the same with many clients: whatever they did, what is lost is missed,
// and what is too much is seen.
func TestCheckerFindsFaultsInTheCrowd(t *testing.T) {
	w := newWorld(t, unlimited())
	lost := 0
	for seed := range uint64(8) {
		x := newExact(w, 1<<21+seed)
		r := rand.New(rand.NewPCG(seed, 3<<32))
		for range 2 {
			h := x.run(r, crashes)
			if got, object := h.check(); got != porcupine.Ok {
				t.Fatalf("%s: %s", got, h.text(object))
			}
			after := h.after
			for _, d := range h.deeds {
				s, ok := d.told.(sent)
				i := after.kept.find(s.m.ID)
				if !ok || i < 0 || after.kept[i].contact != s.m.Plan.Contact || after.kept[i].unit != s.m.Unit.Day {
					continue
				}
				h.after = after
				h.after.counters = maps.Clone(after.counters)
				h.after.without(&s.m)
				if got, _ := h.check(); got != porcupine.Illegal {
					t.Errorf("%s: %s is gone after the crash, and the checker says %s", h.about, s.m.ID, got)
				}
				lost++
			}
			for _, object := range x.objects() {
				today, day := x.days()
				if strings.HasPrefix(object, "line") {
					today = day
				}
				if after.counters[object].Day < today {
					continue // of a day that is over, it means nothing
				}
				h.after = after
				h.after.counters = maps.Clone(after.counters)
				h.after.adjust(object, 1)
				if got, _ := h.check(); got != porcupine.Illegal {
					t.Errorf("%s: the counter of %s is one too high, and the checker says %s", h.about, object, got)
				}
			}
		}
	}
	if lost == 0 {
		t.Error("no message could be lost")
	}
}
