package engine

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"tuco/engine/address"
	"tuco/engine/schedule"
	"tuco/kv"
)

// A SendRequest asks for one message, as it came. Empty is nothing said.
type SendRequest struct {
	Text                            string
	Attachments, AttachmentNames    []string
	Type                            string
	Phone, Email, Name              string // the recipient's
	Line, Lead                      string
	AltPhones, AltEmails            [3]*string // stored on the lead
	Scheduled                       string
	Window                          Window
	FallbackOnFailed, ForceFallback bool
	BatchID, CorrelationID, Owner   string
	CRM                             CRM
}

// send is a request that was checked as far as it can be without a look at the store.
type send struct {
	*SendRequest
	channel   Channel
	line      LineID
	lead      LeadID
	scheduled time.Time
	alternate *Lead // the request's alternates, normalised; nil if there are none

	normalised bool // Phone is
}

// maxChars bounds a text, by channel.
var maxChars = map[Channel]int{SMS: 1600, IMessage: 20_000, Email: 100_000}

const maxURLBytes = 2048

// check applies every rule that the request alone decides, with the documented texts.
func (r SendRequest) check(who Caller) (s send, err error) {
	s = send{SendRequest: &r, channel: cmp.Or(Channel(r.Type), IMessage)}
	if maxChars[s.channel] == 0 {
		return s, Errorf(Invalid, "Invalid messageType. Must be email, sms, or imessage")
	}
	if err := s.checkContent(); err != nil {
		return s, err
	}
	if err := s.checkTime(); err != nil {
		return s, err
	}
	if err := s.checkRecipient(who); err != nil {
		return s, err
	}
	// No fallback can be configured yet.
	if r.FallbackOnFailed {
		return s, Errorf(Invalid, "sendFallbackSmsOnFailed is true but fallback SMS is not configured. Configure fallback in workspace settings (Settings → Fallback) or set sendFallbackSmsOnFailed to false.").With(CodeFallbackMissing)
	}
	if r.ForceFallback {
		return s, Errorf(Invalid, "forceFallback is true but fallback SMS is not configured.").With(CodeFallbackMissing)
	}
	for _, f := range []struct{ name, value string }{
		{"batchId", r.BatchID}, {"correlationId", r.CorrelationID}, {"contactOwnerEmail", r.Owner},
		{"ghlContactId", r.CRM.GHLContactID}, {"ghlLocationId", r.CRM.GHLLocationID},
		{"hsContactId", r.CRM.HSContactID}, {"hsPortalId", r.CRM.HSPortalID},
	} {
		if len(f.value) > maxNameBytes || strings.ContainsRune(f.value, 0) {
			return s, Errorf(Invalid, "%s must be at most %d bytes without zero bytes", f.name, maxNameBytes)
		}
	}
	return s, nil
}

func (s *send) checkContent() error {
	switch {
	case strings.TrimSpace(s.Text) == "" && len(s.Attachments) == 0:
		return Errorf(Invalid, "Message and attachmentUrls cannot both be empty")
	case len(s.Attachments) > 2:
		return Errorf(Invalid, "Maximum 2 attachments per message")
	case len(s.AttachmentNames) > len(s.Attachments):
		return Errorf(Invalid, "attachmentNames must not be more than attachmentUrls")
	case utf8.RuneCountInString(s.Text) > maxChars[s.channel]:
		return Errorf(Invalid, "Message is too long: at most %d characters for %s", maxChars[s.channel], s.channel)
	}
	for _, raw := range s.Attachments {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || len(raw) > maxURLBytes {
			return Errorf(Invalid, "attachmentUrls must be http or https URLs of at most %d bytes", maxURLBytes)
		}
	}
	for _, name := range s.AttachmentNames {
		if name != "" && checkName(name) != nil {
			return Errorf(Invalid, "attachmentNames must be at most %d bytes without control characters", maxNameBytes)
		}
	}
	return nil
}

// dateLayouts are the forms of ISO 8601 that are taken. Without an offset a time is UTC.
var dateLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", time.DateOnly}

// lastYear bounds dates, so that whatever follows one can still be written.
const lastYear = 9000

// ParseDate reads an ISO 8601 date from 1970 on.
func ParseDate(s string) (t time.Time, ok bool) {
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			t = t.UTC()
			return t, t.Year() >= 1970 && t.Year() < lastYear
		}
	}
	return t, false
}

func (s *send) checkTime() (err error) {
	if s.Scheduled != "" {
		var ok bool
		if s.scheduled, ok = ParseDate(s.Scheduled); !ok {
			return Errorf(Invalid, "Invalid scheduledDate format")
		}
	}
	for _, clock := range []string{s.Window.Start, s.Window.End, s.Window.Deferral} {
		if _, err := schedule.ParseClock(clock); clock != "" && err != nil {
			return Errorf(Invalid, "Invalid time format. sendWindowStart and sendWindowEnd must be in HH:mm format (e.g., 09:00, 17:00)")
		}
	}
	if s.Window.Timezone != "" {
		_, err = schedule.LoadZone(s.Window.Timezone)
	}
	if err == nil {
		_, _, err = s.Window.parse()
	}
	if err != nil {
		return Errorf(Invalid, "Invalid timezone or time window settings. Please check your timezone and time format.")
	}
	return nil
}

func (s *send) checkRecipient(who Caller) (err error) {
	if s.Phone != "" && !address.IsPhone(s.Phone) { // else the look at the store decides
		if err = s.normalisePhone(); err != nil {
			return err
		}
	}
	if s.Email != "" {
		if s.Email, err = recipientEmail(s.Email); err != nil {
			return err
		}
	}
	if s.Name != "" && checkName(s.Name) != nil {
		return Errorf(Invalid, "recipientName must be at most %d bytes without control characters", maxNameBytes)
	}
	if s.alternates() {
		s.alternate = new(Lead)
		given := LeadInput{AltPhones: s.AltPhones, AltEmails: s.AltEmails}
		if err := given.applyAddresses(s.alternate, DefaultCountryCode); err != nil {
			return err
		}
	}
	if s.Line != "" {
		if s.line, err = parseID[lineKind](who, s.Line, "Invalid fromLineId", "Line not found"); err != nil {
			return err
		}
	}
	if s.Lead != "" {
		if s.lead, err = parseID[leadKind](who, s.Lead, "Invalid leadId", "Lead not found or access denied"); err != nil {
			return err
		}
	} else if s.Phone == "" && s.Email == "" {
		return errNoRecipient()
	}
	return nil
}

func (s *send) normalisePhone() (err error) {
	s.Phone, err = recipientPhone(s.Phone)
	s.normalised = err == nil
	return err
}

// recipientPhone normalises what a request calls by that name.
func recipientPhone(raw string) (string, error) {
	phone, err := address.Phone(raw, DefaultCountryCode)
	if err != nil {
		return "", Errorf(Invalid, "recipientPhone: not a valid phone number").With(CodeInvalidAddress)
	}
	return phone, nil
}

// recipientEmail normalises what a request calls by that name.
func recipientEmail(raw string) (string, error) {
	email, err := address.Email(raw)
	if err != nil {
		return "", Errorf(Invalid, "recipientEmail: not a valid e-mail address").With(CodeInvalidAddress)
	}
	return email, nil
}

func errNoRecipient() error {
	return Errorf(Invalid, "Either recipientEmail or recipientPhone is required (in body or on the lead when leadId is provided).")
}

// A draft is what a request comes to in the store's present state: whom it reaches, from where, and
// what it needs. It is made twice: to reserve what it needs, and inside the transaction, where it
// must still need the same.
type draft struct {
	lead       Lead  // with the alternates merged; without id if it is new; only its id if it has no other address
	old        *Lead // as it was, if the request brings alternates
	to         []string
	lines      []candidate // to try, in turn
	newContact bool
	timing     timing
	set        *lineSet // the lines as they were
}

// candidate is a line that could send the message.
type candidate struct {
	*lineState
	first bool // the line has never written to the person
}

// timing is when a message goes by its own request.
type timing struct {
	kind timingKind
	due  time.Time
}

type timingKind uint8

const (
	immediate timingKind = iota
	inWindow             // when its window opens; charged now
	later                // at its date; charged then
)

func (s *send) timing(now time.Time) timing {
	switch opens := s.Window.opens(now); {
	case s.scheduled.After(now):
		return timing{later, s.Window.opens(s.scheduled).UTC()}
	case opens.After(now):
		return timing{inWindow, opens.UTC()}
	}
	return timing{immediate, now}
}

// draft resolves the request's lead, addresses and lines into d, which is empty.
func (env *environment) draft(tx *kv.Tx, s *send, turn uint64, when timing, d *draft) error {
	d.timing, d.set = when, env.lines.Load()
	people := personReader{store: &env.store, tx: tx}
	if err := env.resolveLead(&people, s, d); err != nil {
		return err
	}
	if d.to = s.addresses(&d.lead); len(d.to) == 0 {
		return errNoRecipient()
	}
	lines, err := env.linesFor(tx, s)
	if err != nil {
		return err
	}
	d.newContact, d.lines = people.history(d.to, lines, turn)
	return nil
}

// resolveLead finds the lead that the request names or reaches, or makes up a new one.
func (env *environment) resolveLead(people *personReader, s *send, d *draft) error {
	tx := people.tx
	var found bool
	if !s.lead.IsZero() {
		if s.Phone != "" && !s.normalised {
			if err := s.normalisePhone(); err != nil {
				return err
			}
		}
		if d.lead, found = env.store.leads.Get(tx, s.lead.key()); !found {
			return Errorf(NotFound, "Lead not found or access denied")
		}
	} else {
		oldest, alone, err := s.recipientLead(people)
		if err != nil {
			return err
		}
		if alone && !s.alternates() {
			d.lead.ID = oldest
			return nil
		}
		d.lead, found = env.store.leads.Get(tx, oldest.key())
	}
	if !found {
		first, last, _ := strings.Cut(strings.TrimSpace(s.Name), " ")
		d.lead = Lead{FirstName: first, LastName: strings.TrimSpace(last), Phone: s.Phone, Email: s.Email, Source: "api", Owner: s.Owner, CRM: s.CRM}
	}
	if !s.alternates() {
		return nil
	}
	old := d.lead
	d.old = &old
	for i := range 3 {
		if s.AltPhones[i] != nil {
			d.lead.AltPhones[i] = s.alternate.AltPhones[i]
		}
		if s.AltEmails[i] != nil {
			d.lead.AltEmails[i] = s.alternate.AltEmails[i]
		}
	}
	return nil
}

// alternates tells whether the request brings any.
func (s *send) alternates() bool { return s.AltPhones != [3]*string{} || s.AltEmails != [3]*string{} }

// recipientLead returns the oldest lead with one of the addresses that the request names, zero if there is none, and
// whether what the request names is known to be all that the lead has.
func (s *send) recipientLead(people *personReader) (oldest LeadID, alone bool, err error) {
	if s.Phone != "" {
		// What a lead has was normalised when it was stored, and to find that out costs a tenth of doing it again.
		p := people.at(s.Phone)
		if p.Lead.IsZero() && !s.normalised {
			if err := s.normalisePhone(); err != nil {
				return oldest, false, err
			}
			p = people.at(s.Phone)
		}
		oldest, alone = p.Lead, p.Alone && s.Email == ""
	}
	if s.Email != "" {
		p := people.at(s.Email)
		oldest, alone = older(oldest, p.Lead), p.Alone && s.Phone == ""
	}
	return oldest, alone, nil
}

// addresses are those to try, in the documented order. A recipient in the request stands in for the lead's own.
func (s *send) addresses(l *Lead) []string {
	phone, email := s.Phone, s.Email
	if phone == "" && (email == "" || s.channel == SMS) {
		phone = l.Phone
	}
	if email == "" && (s.Phone == "" || s.channel == Email) {
		email = l.Email
	}
	p, e := &l.AltPhones, &l.AltEmails
	switch {
	case s.channel == SMS:
		return unique(phone, p[0], p[1], p[2])
	case s.channel == Email:
		return unique(email, e[0], e[1], e[2])
	case phone == "": // the recipient is a mailbox: it comes before the lead's alternate phones
		return unique(email, p[0], p[1], p[2], e[0], e[1], e[2])
	}
	return unique(phone, p[0], p[1], p[2], email, e[0], e[1], e[2])
}

// unique returns the addresses in their order, each once, without the empty ones.
func unique(addresses ...string) []string {
	var list []string
	for _, a := range addresses {
		if a != "" && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// linesFor returns the lines that may send: the one that was named, or all active ones.
func (env *environment) linesFor(tx *kv.Tx, s *send) ([]*lineState, error) {
	set := env.lines.Load()
	if s.line.IsZero() {
		if able := set.active(s.channel); len(able) > 0 {
			return able, nil
		}
		return nil, Errorf(Invalid, "No active lines in workspace. Add and activate a line, or provide fromLineId.")
	}
	l := set.find(s.line)
	stored, ok := env.line(tx, s.line)
	switch {
	case !ok || l == nil:
		return nil, Errorf(NotFound, "Line not found")
	case !stored.Active:
		return nil, Errorf(Invalid, "The line is not active. Activate it, or leave out fromLineId.")
	case !stored.Channel.carries(s.channel):
		return nil, Errorf(Invalid, "This line can't send messages of type %s", s.channel)
	}
	return []*lineState{l}, nil
}

// SendResult is what became of a request to send.
type SendResult struct {
	MessageView
	NewLead bool // its lead was made for it
	Limits  []LimitState
	Replay  *Answer
}

// errAgain says that the store changed between a request's reservation and its transaction.
var errAgain = errors.New("the store changed meanwhile")

// maxTries bounds how often a request is judged anew because others changed what it rests on.
const maxTries = 50

// Send takes a message in: it is stored and charged, all or nothing, when Send returns without error.
//
// Errors: the documented ones as [Invalid] and [NotFound]; [QuotaExceeded] when the plan is spent;
// [ReadOnly]; [Unknown] if it may have been stored. The result is never nil: with an error it has the limits only,
// if the request touched any.
func (e *Engine) Send(who Caller, once *Once, req SendRequest) (*SendResult, error) {
	if err := who.write(MessagesWrite); err != nil {
		return new(SendResult), err
	}
	s, err := req.check(who)
	if err != nil {
		return new(SendResult), err
	}
	if replay, err := e.replayed(who, once); replay != nil || err != nil {
		return &SendResult{Replay: replay}, err
	}
	rate, err := e.takeRequest(who.tenant, RateMessages)
	if err != nil {
		return new(SendResult), err
	}
	turn := who.env.turn.Add(1)
	for range maxTries {
		result, err := e.trySend(who, once, &s, turn)
		if !errors.Is(err, errAgain) {
			return touched(who.env, rate, result, err)
		}
		if replay, err := e.replayed(who, once); replay != nil || err != nil {
			return &SendResult{Replay: replay}, err
		}
	}
	return new(SendResult), &Error{Kind: Unavailable, Code: CodeTemporarilyExhausted, RetryAfter: time.Second, Msg: "Too many requests change the same data at once; try again"}
}

// touched adds the limits that the request touched to its answer.
func touched(env *environment, rate LimitState, result *SendResult, err error) (*SendResult, error) {
	if err != nil {
		result = new(SendResult)
	}
	limits := env.planLimits()
	if rate.Name != "" {
		limits = append(limits, rate)
	}
	if denied := (*Error)(nil); errors.As(err, &denied) && denied.Kind == QuotaExceeded {
		denied.Limits = limits
	}
	result.Limits = limits
	return result, err
}

func (e *Engine) trySend(who Caller, once *Once, s *send, turn uint64) (*SendResult, error) {
	when := s.timing(e.opt.Now().UTC())
	type seen struct {
		draft
		replay *Answer
		mark   kv.Mark
	}
	look := func(tx *kv.Tx) (*seen, error) {
		replay, err := who.env.replay(tx, once)
		v := &seen{replay: replay, mark: tx.Mark()}
		if v.replay == nil && err == nil {
			err = who.env.draft(tx, s, turn, when, &v.draft)
		}
		return v, err
	}
	before, err := kv.View(e.db, look)
	if err != nil {
		return nil, err
	}
	if before.replay != nil {
		return nil, errAgain // a twin of this request was faster: Send asks for its answer
	}
	held, err := e.reserve(who, &before.draft)
	if err != nil {
		// What spent the limit may have been this very request's first try, or the first message to
		// its person. Then it is a repetition, or needs less now.
		after, lookErr := kv.View(e.db, look)
		switch {
		case lookErr != nil:
		case after.replay != nil:
			return nil, errAgain
		case !after.needsSame(&before.draft, nil):
			return nil, errAgain
		}
		return nil, err
	}
	store := func(tx *kv.Tx) (*SendResult, error) {
		if replay, err := who.env.replay(tx, once); replay != nil || err != nil {
			return &SendResult{Replay: replay}, err
		}
		now := &before.draft
		if who.env.changed(tx, before.mark, now.set) {
			now = new(draft)
			if err := who.env.draft(tx, s, turn, when, now); err != nil {
				return nil, err
			}
			if !now.needsSame(&before.draft, held.line) {
				return nil, errAgain
			}
		}
		result := who.env.accept(tx, who, s, now, held)
		return result, who.env.remember(tx, once, result)
	}
	result, err := spend([]*hold{held}, func() (*SendResult, error) { return writing(who.env, store) },
		func(r *SendResult, _ int) bool { return r.Replay == nil })
	if err != nil {
		return nil, err
	}
	if result.Replay == nil {
		e.work.wakeFor(who.env, &result.Message)
	}
	return result, nil
}

// changed tells whether anything that a draft rests on may have changed since a look at the store: its
// lines, in memory and as stored; its lead; and the persons at its addresses, who tell which lead it is and
// what the plan and the lines were charged for before. It rests on no index: those change with every send,
// while a person who is known to the line stays the same. The stored answer to its request is looked for
// anyway.
func (env *environment) changed(tx *kv.Tx, since kv.Mark, set *lineSet) bool {
	s := &env.store
	return env.lines.Load() != set || s.people.ChangedSince(tx, since) || s.leads.ChangedSince(tx, since) || s.lines.ChangedSince(tx, since)
}

// needsSame tells whether d still needs what was reserved for the earlier draft.
func (d *draft) needsSame(earlier *draft, line *candidate) bool {
	if d.newContact != earlier.newContact || !slices.Equal(d.to, earlier.to) {
		return false
	}
	if line == nil { // none had room for what it would have needed of them
		return slices.EqualFunc(d.lines, earlier.lines, candidate.equal)
	}
	return slices.ContainsFunc(d.lines, func(c candidate) bool { return c.equal(*line) })
}

func (c candidate) equal(other candidate) bool { return c.ID == other.ID && c.first == other.first }
