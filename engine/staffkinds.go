package engine

import (
	"errors"
	"strings"

	"tuco/kv"
)

// prepare makes an answer from a snapshot.
func (e *Engine) prepare(tx *kv.Tx, q StaffQuery, fields []string) prepared {
	t := e.tenant(q.Workspace)
	if t == nil {
		return prepared{failure: Errorf(NotFound, "There is no such workspace")}
	}
	v := &viewer{tx: tx, q: q, env: t.envs[q.Environment], fields: fields}
	v.as = Caller{tenant: t, env: v.env} // to read ids with; it has no scope
	v.Kind, v.Records = q.Kind, []StaffRecord{}
	if q.Limit <= 0 || q.Limit > maxPage {
		v.q.Limit = maxPage
	}
	err := v.checkQuery()
	if err == nil {
		err = v.show()
	}
	if err != nil && !errors.As(err, &v.failure) {
		v.failure = &Error{Err: err, Msg: "internal error"}
	}
	if v.failure != nil {
		v.Records, v.persons = nil, nil
	}
	return v.prepared
}

// A viewer looks at one environment for staff.
type viewer struct {
	prepared
	tx     *kv.Tx
	q      StaffQuery
	env    *environment
	as     Caller
	fields []string // unmasked
}

// checkQuery refuses filters that the kind doesn't have.
func (v *viewer) checkQuery() error {
	q := &v.q
	ofMessages := q.Status != "" || q.Line != "" || q.Lead != "" || q.Batch != "" || !q.From.IsZero() || !q.To.IsZero()
	single := q.Kind == KindWorkspace || q.Kind == KindUsage || q.Kind == KindKeys
	switch {
	case ofMessages && q.Kind != KindMessages, (q.Search != "" || q.List != "") && q.Kind != KindLeads, q.ID != "" && single:
		return Errorf(Invalid, "There is no such filter of %s", q.Kind)
	}
	return nil
}

func (v *viewer) show() error {
	s := &v.env.store
	switch v.q.Kind {
	case KindWorkspace:
		w, ok := workspaces.Get(v.tx, []byte(v.env.tenant.id))
		if ok {
			v.Records = append(v.Records, maskedView(workspaceFields, &w, v.fields))
		}
		return nil
	case KindUsage:
		for _, l := range v.env.allLimits() {
			v.Records = append(v.Records, maskedView(usageFields, &l, v.fields))
		}
		return nil
	case KindKeys:
		return showRecords(v, v.env.keys(), keyFields, nil)
	case KindLists:
		return showOneOrAll(v, s.lists, listFields, "Invalid list id", "List not found", nil)
	case KindLines:
		return showOneOrAll(v, s.lines, lineFields, "Invalid line id", "Line not found", nil)
	case KindLeads:
		return v.showLeads()
	case KindMessages:
		return v.showMessages()
	}
	return Errorf(Invalid, "Unknown kind of record %q", string(v.q.Kind))
}

// allLimits is where each limit of the environment's plan and lines stands.
func (env *environment) allLimits() []LimitState {
	all, today := env.planLimits(), env.engine.lineDay()
	for _, l := range env.lines.Load().all {
		all = append(all, l.limits(today)...)
	}
	return all
}

func (v *viewer) showLeads() error {
	list, err := v.parse(v.q.List, "Invalid list id", "List not found")
	if err != nil {
		return err
	}
	persons := func(l *Lead) []string { return l.Addresses() }
	if v.q.ID != "" || list == (kv.ID{}) && v.q.Search == "" {
		return showOneOrAll(v, v.env.store.leads, leadFields, "Invalid lead id", "Lead not found", persons)
	}
	index, prefix := kv.Index{Path: v.env.store.leads.Path}, []byte(nil)
	if list != (kv.ID{}) {
		index, prefix = v.env.store.leadByList, list[:]
	}
	term := searchTerm(v.q.Search)
	return showFound(v, index, prefix, v.env.store.leads, leadFields, persons, func(id kv.ID) bool {
		text, _ := v.env.store.leadText.Get(v.tx, id[:])
		return strings.Contains(text, term)
	})
}

func (v *viewer) showMessages() error {
	persons := func(m *Message) []string { return m.To }
	if v.q.ID != "" {
		return showOneOrAll(v, v.env.store.messages, messageFields, "Invalid messageId", "Message not found", persons)
	}
	s, err := v.env.search(v.as, MessageQuery{
		Status: v.q.Status, Line: v.q.Line, Lead: v.q.Lead, Batch: v.q.Batch, From: v.q.From, To: v.q.To, Cursor: v.q.Cursor, Limit: v.q.Limit,
	})
	if err != nil {
		return err
	}
	if err := s.known(v.tx); err != nil {
		return err
	}
	page := s.page(v.tx)
	for _, m := range page.Messages {
		add(v, messageFields, &m.Message, persons)
	}
	v.Next = page.Next
	return nil
}

// parse reads an id of the environment's; zero for none.
func (v *viewer) parse(text, malformed, unknown string) (id kv.ID, err error) {
	if text == "" {
		return id, nil
	}
	parsed, err := parseID[leadKind](v.as, text, malformed, unknown)
	return parsed.ID, err
}

// showOneOrAll shows the record that was asked for, or a page of all.
func showOneOrAll[T any](v *viewer, b kv.Bucket[T], table []field[T], malformed, unknown string, persons func(*T) []string) error {
	if v.q.ID == "" {
		return showRecords(v, b, table, persons)
	}
	id, err := v.parse(v.q.ID, malformed, unknown)
	if err != nil {
		return err
	}
	v.object = id.String()
	r, ok := b.Get(v.tx, id[:])
	if !ok {
		return Errorf(NotFound, "%s", unknown)
	}
	add(v, table, &r, persons)
	return nil
}

func showRecords[T any](v *viewer, b kv.Bucket[T], table []field[T], persons func(*T) []string) error {
	return showFound(v, kv.Index{Path: b.Path}, nil, b, table, persons, func(kv.ID) bool { return true })
}

// showFound shows a page of the records that match, whose ids lie behind prefix in index, the newest first.
func showFound[T any](v *viewer, index kv.Index, prefix []byte, b kv.Bucket[T], table []field[T], persons func(*T) []string, matches func(kv.ID) bool) error {
	within := kv.Prefix(prefix).Descending()
	if v.q.Cursor != "" {
		id, ok := kv.ParseID(v.q.Cursor)
		if !ok || id.Tag() != v.env.tag {
			return Errorf(Invalid, "Invalid cursor")
		}
		within = within.Before(kv.Key(prefix, id[:]))
	}
	looked, last := 0, kv.ID{}
	for key := range index.Scan(v.tx, within) {
		id := idOf[leadKind](key).ID
		if r, ok := b.Get(v.tx, id[:]); ok && matches(id) {
			if len(v.Records) == v.q.Limit {
				v.Next = last.String()
				return nil
			}
			add(v, table, &r, persons)
			last = id
		}
		if looked++; looked == scanAtOnce {
			v.Next = id.String()
			return nil
		}
	}
	return nil
}

// add shows one more record.
func add[T any](v *viewer, table []field[T], r *T, persons func(*T) []string) {
	v.Records = append(v.Records, maskedView(table, r, v.fields))
	if persons != nil {
		v.persons = append(v.persons, persons(r)...)
	}
}
