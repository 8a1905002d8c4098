package engine

import (
	"time"

	"tuco/kv"
)

// GetMessage returns one message of the caller's.
func (e *Engine) GetMessage(who Caller, id string) (MessageView, error) {
	if err := who.Require(MessagesRead); err != nil {
		return MessageView{}, err
	}
	message, err := parseID[messageKind](who, id, "Invalid messageId", "Message not found")
	if err != nil {
		return MessageView{}, err
	}
	return kv.View(e.db, func(tx *kv.Tx) (MessageView, error) {
		m, ok := who.env.store.messages.Get(tx, message.key())
		if !ok {
			return MessageView{}, Errorf(NotFound, "Message not found")
		}
		return who.env.view(tx, m), nil
	})
}

// A MessageView is a message with what its line and lead add to it.
type MessageView struct {
	Message
	LinePhone, LineEmail string
}

// view adds what m's line adds to it.
func (env *environment) view(tx *kv.Tx, m Message) MessageView {
	v := MessageView{Message: m}
	env.addLine(tx, &v)
	return v
}

// addLine looks for the line in memory first: its number and mailbox never change. One that was deleted is
// only in the store.
func (env *environment) addLine(tx *kv.Tx, v *MessageView) {
	if l := env.lines.Load().find(v.Line); l != nil {
		v.LinePhone, v.LineEmail = l.Phone, l.Email
	} else if l, ok := env.store.lines.Get(tx, v.Line.key()); ok {
		v.LinePhone, v.LineEmail = l.Phone, l.Email
	}
}

// A MessageQuery asks for one page of messages, newest first. Empty is any.
type MessageQuery struct {
	Status     Status
	Line, Lead string
	Batch      string
	From, To   time.Time // of creation, inclusive
	Cursor     string    // as the page before gave it
	Limit      int
}

// A MessagePage is one page.
type MessagePage struct {
	Messages []MessageView
	Next     string // the cursor of the next page; empty if this was the last
}

// scanAtOnce bounds how many messages one page looks at. A page that finds few matches among so many
// comes back short, with a cursor.
const scanAtOnce = 20_000

// Messages returns a page of the caller's messages.
func (e *Engine) Messages(who Caller, q MessageQuery) (MessagePage, error) {
	if err := who.Require(MessagesRead); err != nil {
		return MessagePage{}, err
	}
	q.Limit = max(1, q.Limit)
	s, err := who.env.search(who, q)
	if err != nil {
		return MessagePage{}, err
	}
	return kv.View(e.db, func(tx *kv.Tx) (MessagePage, error) {
		if err := s.known(tx); err != nil {
			return MessagePage{}, err
		}
		return s.page(tx), nil
	})
}

// known refuses a line and a lead that never were. What is deleted is known by its messages.
func (s *messageSearch) known(tx *kv.Tx) error {
	switch {
	case !s.line.IsZero() && !s.env.store.lines.Has(tx, s.line.key()):
		return Errorf(NotFound, "Line not found")
	case !s.lead.IsZero() && !s.env.store.leads.Has(tx, s.lead.key()) && !s.env.store.messageByLead.Any(tx, kv.Prefix(s.lead.key())):
		return Errorf(NotFound, "Lead not found or access denied")
	}
	return nil
}

// messageSearch is a query that was checked: the narrowest index that fits, and what it can't tell.
type messageSearch struct {
	env    *environment
	q      MessageQuery
	line   LineID
	lead   LeadID
	index  kv.Index
	within kv.Range
	prefix []byte
}

func (env *environment) search(who Caller, q MessageQuery) (s messageSearch, err error) {
	s = messageSearch{env: env, q: q, index: kv.Index{Path: env.store.messages.Path}}
	if q.Status != "" && statusCodes[q.Status] == 0 {
		return s, Errorf(Invalid, "Invalid status")
	}
	if q.Line != "" {
		if s.line, err = parseID[lineKind](who, q.Line, "Invalid lineId", "Line not found"); err != nil {
			return s, err
		}
	}
	if q.Lead != "" {
		if s.lead, err = parseID[leadKind](who, q.Lead, "Invalid leadId", "Lead not found or access denied"); err != nil {
			return s, err
		}
	}
	switch {
	case q.Batch != "":
		s.index, s.prefix = env.store.messageByBatch, addressKey(q.Batch)
	case q.Lead != "":
		s.index, s.prefix = env.store.messageByLead, s.lead.key()
	case q.Status != "":
		s.index, s.prefix = env.store.messageByStatus, []byte{statusCodes[q.Status]}
	case q.Line != "":
		s.index, s.prefix = env.store.messageByLine, s.line.key()
	}
	return s, s.setRange()
}

// setRange limits the walk by dates and cursor: ids sort by creation.
func (s *messageSearch) setRange() error {
	r := kv.Prefix(s.prefix).Descending()
	if !s.q.From.IsZero() {
		floor := kv.FloorID(s.env.tag, s.q.From)
		r.From = kv.Key(s.prefix, floor[:])
	}
	if !s.q.To.IsZero() {
		ceiling := kv.FloorID(s.env.tag, s.q.To.Add(time.Second))
		r.To = kv.Key(s.prefix, ceiling[:])
	}
	if s.q.Cursor != "" {
		id, ok := kv.ParseID(s.q.Cursor)
		if !ok || id.Tag() != s.env.tag {
			return Errorf(Invalid, "Invalid cursor")
		}
		r.To = kv.Key(s.prefix, id[:])
	}
	s.within = r
	return nil
}

func (s *messageSearch) page(tx *kv.Tx) (page MessagePage) {
	page.Messages = []MessageView{}
	looked := 0
	for key := range s.index.Scan(tx, s.within) {
		id := idOf[messageKind](key)
		m, ok := s.env.store.messages.Get(tx, id.key())
		if ok && s.matches(&m) {
			if len(page.Messages) == s.q.Limit {
				page.Next = page.Messages[s.q.Limit-1].ID.String()
				return page
			}
			page.Messages = append(page.Messages, s.env.view(tx, m))
		}
		if looked++; looked == scanAtOnce {
			page.Next = id.String()
			return page
		}
	}
	return page
}

func (s *messageSearch) matches(m *Message) bool {
	return (s.q.Status == "" || m.Status == s.q.Status) &&
		(s.line.IsZero() || m.Line == s.line) &&
		(s.lead.IsZero() || m.Lead == s.lead) &&
		(s.q.Batch == "" || m.BatchID == s.q.Batch) &&
		(s.q.From.IsZero() || !m.Created.Before(s.q.From)) &&
		(s.q.To.IsZero() || !m.Created.After(s.q.To))
}
