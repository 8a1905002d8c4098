package engine

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"time"

	"tuco/engine/address"
	"tuco/engine/quota"
	"tuco/engine/transport"
	"tuco/kv"
)

// Channel is a way to reach people: a message's type, and a line's.
type Channel string

// The channels.
const (
	IMessage Channel = "imessage"
	SMS      Channel = "sms"
	Email    Channel = "email"
)

var channelCodes = codes[Channel]{1: IMessage, 2: SMS, 3: Email}

// carries tells whether a line of channel c can send messages of type m: a phone that does iMessage
// also does SMS.
func (c Channel) carries(m Channel) bool { return c == m || c == IMessage && m == SMS }

// A Line is a sending identity.
type Line struct {
	ID            LineID    `json:"id"`
	Channel       Channel   `json:"channel"`
	FirstName     string    `json:"firstName,omitzero"`
	LastName      string    `json:"lastName,omitzero"`
	Phone         string    `json:"phone,omitzero"`
	Email         string    `json:"email,omitzero"`
	Active        bool      `json:"active"`
	Deleted       bool      `json:"deleted,omitzero"` // kept, since its messages name it
	Transport     string    `json:"transport"`        // what kind
	Shown         string    `json:"shown"`            // the transport's URL without its secrets
	Sealed        sealed    `json:"sealed,omitzero"`  // the whole URL
	DailyMessages int64     `json:"dailyMessages"`    // 0 is unlimited
	DailyNew      int64     `json:"dailyNew"`         // new conversations; 0 is unlimited
	DeviceGap     Gap       `json:"deviceGap"`
	ContactGap    Gap       `json:"contactGap"`
	MinInterval   Gap       `json:"minInterval,omitzero"` // the transport's rate
	Healthy       bool      `json:"healthy"`
	HealthDetail  string    `json:"healthDetail,omitzero"`
	HealthChecked time.Time `json:"healthChecked,omitzero"`
	MadeBy        string    `json:"madeBy"` // operator, or a key's id
	Created       time.Time `json:"created"`
	Updated       time.Time `json:"updated"`
}

// A Gap is a least time between two sends. In JSON it is nanoseconds.
type Gap time.Duration

// Name is the line's display name.
func (l Line) Name() string { return strings.TrimSpace(l.FirstName + " " + l.LastName) }

// Sandbox tells whether the line reaches nobody.
func (l Line) Sandbox() bool { return l.Transport == transport.Sandbox }

// noTransport is the transport of a line that was imported without one. It can't be made active.
const noTransport = "none"

// identity is what the line's counters are kept under. It is the number or mailbox, not the record's
// id: deleting a line and making it again, also as one of another type, does not refill its day.
func (l Line) identity() string { return cmp.Or(l.Phone, l.Email) }

// Defaults of a line's gaps, as documented.
const (
	DefaultDeviceGap  = 30 * time.Second
	DefaultContactGap = 45 * time.Second
	maxGap            = 24 * time.Hour
)

// lineHour counts what became of a line's sends in one hour, for the spam monitor.
type lineHour struct {
	Sent   int64 `json:"sent"`
	Failed int64 `json:"failed"`
}

func hourKey(line LineID, t time.Time) []byte {
	return binary.BigEndian.AppendUint32(slices.Clone(line.key()), uint32(t.Unix()/3600))
}

// lineState is a line while the program runs.
type lineState struct {
	Line
	counter *quota.Counter // total messages and new conversations of the UTC day
}

// lineSet is every line of an environment at one moment, oldest first.
type lineSet struct {
	all      []*lineState
	able     map[Channel][]*lineState  // the active ones, by what they carry
	counters map[string]*quota.Counter // by identity, also of deleted lines
}

func (s *lineSet) find(id LineID) *lineState {
	i, ok := slices.BinarySearchFunc(s.all, id, func(l *lineState, id LineID) int { return slices.Compare(l.ID.key(), id.key()) })
	if !ok {
		return nil
	}
	return s.all[i]
}

func (s *lineSet) add(l *lineState) {
	s.all = append(s.all, l)
	for _, m := range channelCodes[1:] {
		if l.Active && l.Channel.carries(m) {
			s.able[m] = append(s.able[m], l)
		}
	}
}

// active returns the active lines that carry m.
func (s *lineSet) active(m Channel) []*lineState { return s.able[m] }

// setLines reads the environment's lines and makes them current. A line keeps its counter.
func (env *environment) setLines(tx *kv.Tx) {
	counters := map[string]*quota.Counter{}
	if old := env.lines.Load(); old != nil {
		maps.Copy(counters, old.counters)
	}
	set := &lineSet{able: map[Channel][]*lineState{}, counters: counters}
	for _, l := range env.store.lines.Scan(tx, kv.Range{}) {
		identity := l.identity()
		if counters[identity] == nil {
			u, _ := env.store.lineUsage.Get(tx, []byte(identity))
			counters[identity] = quota.NewCounter(false, u.Day, quota.Sums{First: u.Messages, Second: u.Conversations}, quota.Sums{})
		}
		if !l.Deleted {
			counters[identity].SetLimits(quota.Sums{First: limitOf(l.DailyMessages), Second: limitOf(l.DailyNew)})
			set.add(&lineState{l, counters[identity]})
		}
	}
	env.lines.Store(set)
}

func (env *environment) reloadLines() error {
	env.tenant.loading.Lock()
	defer env.tenant.loading.Unlock()
	_, err := kv.View(env.engine.db, func(tx *kv.Tx) (struct{}, error) {
		env.setLines(tx)
		return struct{}{}, nil
	})
	return err
}

// A LineChange names what to set of a line; nil leaves it, or the default in a new line.
type LineChange struct {
	FirstName, LastName   *string
	Phone, Email          *string // of a new line only
	Transport             *string // a transport's URL
	DailyMessages         *int64
	DailyNew              *int64
	DeviceGap, ContactGap *time.Duration
	Active                *bool
}

// CreateLine makes a line. Without a transport it is a sandbox line.
func (e *Engine) CreateLine(who Caller, channel Channel, change LineChange) (Line, error) {
	if err := who.write(LinesWrite); err != nil {
		return Line{}, err
	}
	l := Line{
		Channel: channel, Active: true, Healthy: true, MadeBy: who.madeBy(),
		DeviceGap: Gap(DefaultDeviceGap), ContactGap: Gap(DefaultContactGap),
	}
	if change.Transport == nil {
		sandbox := transport.Sandbox + ":"
		change.Transport = &sandbox
	}
	settings, err := e.applyLine(who, &l, change)
	if err != nil {
		return Line{}, err
	}
	if err := setIdentity(&l, change); err != nil {
		return Line{}, err
	}
	return e.changeLine(who, func(tx *kv.Tx) (Line, error) {
		if err := who.env.checkNewLine(tx, l); err != nil {
			return l, err
		}
		l.ID = newID[lineKind](tx, who.env)
		l.Created, l.Updated = tx.Now, tx.Now
		e.sealTransport(&l, settings)
		who.env.store.lines.Put(tx, l.ID.key(), l)
		return l, nil
	})
}

// setIdentity gives a new line its number or mailbox.
func setIdentity(l *Line, change LineChange) (err error) {
	if change.Phone != nil && *change.Phone != "" {
		if l.Phone, err = address.Phone(*change.Phone, DefaultCountryCode); err != nil {
			return Errorf(Invalid, "phone: not a valid phone number")
		}
	}
	if change.Email != nil && *change.Email != "" {
		if l.Email, err = address.Email(*change.Email); err != nil {
			return Errorf(Invalid, "email: not a valid e-mail address")
		}
	}
	switch l.Channel {
	case IMessage, SMS:
		if l.Phone == "" {
			return Errorf(Invalid, "A line of type %s needs a phone number", l.Channel)
		}
	case Email:
		if l.Email == "" || l.Phone != "" {
			return Errorf(Invalid, "A line of type email needs an e-mail address and no phone number")
		}
	default:
		return Errorf(Invalid, "Invalid line type. Must be imessage, sms, or email")
	}
	return nil
}

// applyLine checks change and makes it in l, all but the identity. It returns the transport's URL if
// that changes.
func (e *Engine) applyLine(who Caller, l *Line, change LineChange) (settings *string, err error) {
	for _, f := range []struct{ to, from *string }{{&l.FirstName, change.FirstName}, {&l.LastName, change.LastName}} {
		if f.from == nil {
			continue
		}
		if *f.from != "" {
			if err := checkName(*f.from); err != nil {
				return nil, err
			}
		}
		*f.to = *f.from
	}
	for _, f := range []struct{ to, from *int64 }{{&l.DailyMessages, change.DailyMessages}, {&l.DailyNew, change.DailyNew}} {
		if f.from == nil {
			continue
		}
		if *f.from < 0 || *f.from >= quota.Unlimited {
			return nil, Errorf(Invalid, "A daily limit must be from 0 (unlimited) to %d", int64(quota.Unlimited)-1)
		}
		*f.to = *f.from
	}
	for _, f := range []struct {
		to   *Gap
		from *time.Duration
	}{{&l.DeviceGap, change.DeviceGap}, {&l.ContactGap, change.ContactGap}} {
		if f.from == nil {
			continue
		}
		if *f.from < 0 || *f.from > maxGap {
			return nil, Errorf(Invalid, "A gap must be from 0 to %s", maxGap)
		}
		*f.to = Gap(*f.from)
	}
	if change.Active != nil {
		l.Active = *change.Active
	}
	if change.Transport == nil {
		return nil, nil
	}
	return change.Transport, e.setTransport(who, l, *change.Transport)
}

// setTransport checks a transport's URL and what may use it.
func (e *Engine) setTransport(who Caller, l *Line, rawURL string) error {
	s, err := transport.Parse(rawURL)
	if err != nil {
		return Errorf(Invalid, "transport: %s", err)
	}
	real := s.Kind != transport.Sandbox
	switch {
	case real && who.env.name == Development:
		return Errorf(Forbidden, "Lines of development can only use the sandbox transport").With(CodeTransportNotAllowed)
	case real && who.env.name == Staging && !e.opt.StagingTransports:
		return Errorf(Forbidden, "Lines of staging can only use the sandbox transport unless the operator allows others (serve --staging-transports)").With(CodeTransportNotAllowed)
	case real && !who.operator:
		return Errorf(Forbidden, "Only the operator can connect a line to a transport (tuco line set --transport)").With(CodeTransportNotAllowed)
	case s.Kind == transport.SMTP && l.Channel != Email:
		return Errorf(Invalid, "transport: SMTP is for lines of type email")
	}
	l.Transport, l.Shown, l.MinInterval = s.Kind, s.Redacted, Gap(s.MinInterval)
	return nil
}

func (e *Engine) sealTransport(l *Line, settings *string) {
	if settings != nil {
		l.Sealed = e.secrets.seal(*settings, l.ID.String())
	}
}

const maxLines = 1000 // of an environment, sandboxes too: a send looks at each

// checkNewLine refuses a second line with the same number or mailbox, and one more than the plan has.
func (env *environment) checkNewLine(tx *kv.Tx, l Line) error {
	n := 0
	for _, have := range env.store.lines.Scan(tx, kv.Range{}) {
		switch {
		case have.Deleted:
		case have.identity() == l.identity():
			return Errorf(Conflict, "There is a line with this number or mailbox already").With(CodeLineExists)
		default:
			n++
		}
	}
	if n >= maxLines {
		return Errorf(Conflict, "An environment has at most %d lines", maxLines).With(CodeTooMany)
	}
	return env.checkPlanLines(tx, l)
}

// checkPlanLines refuses l when the plan has no room for one more. Sandbox lines do not count.
func (env *environment) checkPlanLines(tx *kv.Tx, l Line) error {
	w, _ := workspaces.Get(tx, []byte(env.tenant.id))
	p, _ := getPlan(tx, w.Plan)
	name, limit := limitPhoneLines, p.PhoneLines
	if l.Channel == Email {
		name, limit = limitEmailLines, p.EmailLines
	}
	used := env.realLines(tx, l.Channel)
	if l.Sandbox() || limit == UnlimitedLines || used < limit {
		return nil
	}
	return &Error{Kind: Forbidden, Code: CodePlanLimit, Msg: "The plan has no room for another line of this type",
		Limit: &LimitState{Name: name, Limit: limit, Used: used}}
}

// SetLine changes a line of the caller's.
func (e *Engine) SetLine(who Caller, id string, change LineChange) (Line, error) {
	if err := who.write(LinesWrite); err != nil {
		return Line{}, err
	}
	line, err := parseID[lineKind](who, id, "Invalid line id", "Line not found")
	if err != nil {
		return Line{}, err
	}
	if change.Phone != nil || change.Email != nil {
		return Line{}, Errorf(Invalid, "A line keeps its phone number and e-mail address; make another line")
	}
	return e.changeLine(who, func(tx *kv.Tx) (Line, error) {
		l, ok := who.env.line(tx, line)
		if !ok {
			return l, Errorf(NotFound, "Line not found")
		}
		wasSandbox, wasActive := l.Sandbox(), l.Active
		if change.Transport != nil && !wasSandbox && !who.operator {
			return l, Errorf(Forbidden, "Only the operator can change a line's transport (tuco line set --transport)").With(CodeTransportNotAllowed)
		}
		settings, err := e.applyLine(who, &l, change)
		if err != nil {
			return l, err
		}
		if l.Active && l.Transport == noTransport {
			return l, Errorf(Conflict, "This line was imported without its transport, so it can't send: the operator has to set one (tuco line set --transport)").With(CodeNoTransport)
		}
		if wasActive && !l.Active {
			who.env.emptyReady(tx, l, "Its line was paused.")
		}
		if wasSandbox && !l.Sandbox() {
			if err := who.env.checkPlanLines(tx, l); err != nil {
				return l, err
			}
		}
		l.Updated = tx.Now
		e.sealTransport(&l, settings)
		who.env.store.lines.Put(tx, l.ID.key(), l)
		return l, nil
	})
}

// DeleteLine deletes a line of the caller's. Its record stays, since messages name it; what waits for
// it goes to other lines, or fails if it was asked for by name.
func (e *Engine) DeleteLine(who Caller, id string) error {
	if err := who.write(LinesWrite); err != nil {
		return err
	}
	line, err := parseID[lineKind](who, id, "Invalid line id", "Line not found")
	if err != nil {
		return err
	}
	_, err = e.changeLine(who, func(tx *kv.Tx) (Line, error) {
		l, ok := who.env.line(tx, line)
		if !ok {
			return l, Errorf(NotFound, "Line not found")
		}
		l.Deleted, l.Active, l.Sealed, l.Updated = true, false, sealed{}, tx.Now
		who.env.store.lines.Put(tx, l.ID.key(), l)
		who.env.emptyReady(tx, l, "Its line was deleted.")
		return l, nil
	})
	return err
}

// emptyReady makes what waits for a line due at once, so that the next release finds it another line.
func (env *environment) emptyReady(tx *kv.Tx, l Line, reason string) {
	for key := range env.store.ready.Scan(tx, kv.Prefix(l.ID.key())) {
		if m, ok := env.store.messages.Get(tx, idOf[messageKind](key).key()); ok {
			old := m
			m.wait(tx.Now, reason)
			env.putMessage(tx, &old, &m)
		}
	}
}

// line returns a line that was not deleted.
func (env *environment) line(tx *kv.Tx, id LineID) (Line, bool) {
	l, ok := env.store.lines.Get(tx, id.key())
	return l, ok && !l.Deleted
}

// realLines counts the lines of a kind in the environment's pool that reach people.
func (env *environment) realLines(tx *kv.Tx, c Channel) (n int64) {
	for _, other := range env.tenant.envs {
		if other.name.pool() != env.name.pool() {
			continue
		}
		for _, have := range other.store.lines.Scan(tx, kv.Range{}) {
			if !have.Deleted && !have.Sandbox() && (c == Email) == (have.Channel == Email) {
				n++
			}
		}
	}
	return n
}

// A LineReport is a line with what it has used today.
type LineReport struct {
	Line
	Today              quota.Label
	Messages, NewToday int64
}

// Lines returns the caller's lines, oldest first.
func (e *Engine) Lines(who Caller) ([]LineReport, error) {
	if err := who.Require(LinesRead); err != nil {
		return nil, err
	}
	today := e.lineDay()
	list := []LineReport{}
	for _, l := range who.env.lines.Load().all {
		states := l.limits(today)
		list = append(list, LineReport{l.Line, today, states[0].Used, states[1].Used})
	}
	return list, nil
}

// A SpamReport is what became of a line's sends in the last 24 hours.
type SpamReport struct {
	Line
	Sent, Failed int64
	Consecutive  int64 // failures in a row
}

// SpamMonitor returns a report for each of the caller's lines: the current hour and the 23 before it.
func (e *Engine) SpamMonitor(who Caller) ([]SpamReport, error) {
	if err := who.Require(LinesRead); err != nil {
		return nil, err
	}
	return kv.View(e.db, func(tx *kv.Tx) ([]SpamReport, error) {
		list := []SpamReport{}
		for _, l := range who.env.lines.Load().all {
			u, _ := who.env.store.lineUsage.Get(tx, []byte(l.identity()))
			report := SpamReport{Line: l.Line, Consecutive: u.Failures}
			since := hourKey(l.ID, tx.Now.Add(-23*time.Hour))
			for _, h := range who.env.store.lineHours.Scan(tx, kv.Range{From: since, To: kv.Prefix(l.ID.key()).To}) {
				report.Sent += h.Sent
				report.Failed += h.Failed
			}
			list = append(list, report)
		}
		return list, nil
	})
}

// changeLine runs fn as a transaction and makes its line the one that the next request sees.
func (e *Engine) changeLine(who Caller, fn func(tx *kv.Tx) (Line, error)) (Line, error) {
	l, err := writing(who.env, fn)
	if err != nil {
		return l, err
	}
	if err := who.env.reloadLines(); err != nil {
		return l, err
	}
	e.work.wakeAll(who.tenant)
	return l, nil
}

// Report returns a line of the caller's with what it has used today.
func (e *Engine) Report(who Caller, l Line) LineReport {
	today := e.lineDay()
	report := LineReport{Line: l, Today: today}
	if state := who.env.lines.Load().find(l.ID); state != nil {
		states := state.limits(today)
		report.Messages, report.NewToday = states[0].Used, states[1].Used
	}
	return report
}
