package engine

import (
	"strings"
	"testing"

	"tuco/kv"
)

// TestCheckFinds damages one thing after the other and expects the check to say so in words.
func TestCheckFinds(t *testing.T) {
	w := newWorld(t, unlimited())
	who, made := w.populate(w.id, Production, "x")
	w.send(who, SendRequest{Phone: phone(), Scheduled: "2026-11-24"})
	if _, err := w.CreateList(who, once("k", ""), "once", ""); err != nil {
		t.Fatal(err)
	}
	env := w.queue(Production).env
	s := env.store
	var m Message
	var l Lead
	w.forge(func(tx *kv.Tx) {
		id, _ := kv.ParseID(made.message)
		m, _ = s.messages.Get(tx, id[:])
		id, _ = kv.ParseID(made.lead)
		l, _ = s.leads.Get(tx, id[:])
	})
	line, _ := kv.ParseID(made.line)
	knownAs := func(change func(p *person)) func(tx *kv.Tx) {
		return func(tx *kv.Tx) { s.changePerson(tx, m.To[0], change) }
	}
	for _, tt := range []struct {
		name, word string
		damage     func(tx *kv.Tx)
	}{
		{"nothing", "", func(*kv.Tx) {}},
		{"a message without its row", "belongs to no record", func(tx *kv.Tx) { s.messages.Delete(tx, m.ID.key()) }},
		{"a status that the index doesn't know", "has no entry", func(tx *kv.Tx) { m := m; m.Status = Failed; s.messages.Put(tx, m.ID.key(), m) }},
		{"an entry too many", "belongs to no record", func(tx *kv.Tx) { s.ready.Put(tx, kv.Key(readyKey(m.Line, false), timeKey(noon), m.ID.key())) }},
		{"a unit that nobody counted", "line +12025550100 on", func(tx *kv.Tx) {
			changed := m
			changed.Unit.First = false
			env.putMessage(tx, &m, &changed)
		}},
		{"plan usage that is too low", "plan usage of contracted: stored", func(tx *kv.Tx) { env.chargePlan(tx, m.Plan.Day, -1, 0) }},
		{"line usage that is too high", "line +12025550100 on", func(tx *kv.Tx) { env.chargeLine(tx, "+12025550100", m.Unit.Day, 1, 0) }},
		{"usage of a line without messages", "line +12025550101 on", func(tx *kv.Tx) { env.chargeLine(tx, "+12025550101", m.Unit.Day, 1, 0) }},
		{"a lead in no index", "has no entry", func(tx *kv.Tx) { s.leadByAddr.Delete(tx, addressKey(l.Phone, l.ID.key())) }},
		{"an address of nobody", "belongs to no record", func(tx *kv.Tx) { s.leadByAddr.Put(tx, addressKey("+12025550000", l.ID.key())) }},
		{"a lead in two lists", "belongs to no record", func(tx *kv.Tx) { s.leadByList.Put(tx, kv.Key(line[:], l.ID.key())) }},
		{"a search text that is old", "out of date", func(tx *kv.Tx) { s.leadText.Put(tx, l.ID.key(), "old") }},
		{"a list that counts wrong", "leads are counted", func(tx *kv.Tx) { env.countLeads(tx, l.List, 1) }},
		{"a total that is wrong", "leads are counted", func(tx *kv.Tx) { s.counts.Put(tx, leadsKey, 7) }},
		{"leads in no list", "which is not there", func(tx *kv.Tx) { s.lists.Delete(tx, l.List.key()) }},
		{"a person without a record", "has no record", func(tx *kv.Tx) { s.people.Delete(tx, []byte(l.Phone)) }},
		{"a person whom nobody knows", "no lead or charged message", func(tx *kv.Tx) { s.people.Put(tx, []byte("+12025550000"), person{Charged: true}) }},
		{"a person of whom nothing is known", "no lead or charged message", func(tx *kv.Tx) { s.people.Put(tx, []byte("+12025550000"), person{}) }},
		{"a person who is another lead", "the indexes say", knownAs(func(p *person) { p.Lead = LeadID{line} })},
		{"a person who is no lead", "the indexes say", knownAs(func(p *person) { p.Lead = LeadID{} })},
		{"a person who seems new to the plan", "the indexes say", knownAs(func(p *person) { p.Charged = false })},
		{"a person who seems new to the line", "the indexes say", knownAs(func(p *person) { p.Lines = nil })},
		{"a person who seems known to a line", "the indexes say", knownAs(func(p *person) { p.meet(LineID{l.ID.ID}) })},
		{"an answer for ever", "would stay for ever", func(tx *kv.Tx) { tx.Drop(s.idempotencyByTime.Path) }},
		{"a lead under another's key", "lies under the key", func(tx *kv.Tx) { s.leads.Put(tx, line[:], l) }},
		{"a key that no secret opens", "a secret opens, or not", func(tx *kv.Tx) { tx.Drop(credentials.Path) }},
		{"a secret of no key", "but that key doesn't have it", func(tx *kv.Tx) {
			credentials.Put(tx, []byte("digest"), credential{Workspace: w.id, Environment: Production})
		}},
	} {
		undo := w.remember()
		w.forge(tt.damage)
		faults, err := w.Check()
		found := strings.Contains(strings.Join(faults, "\n"), tt.word)
		if err != nil || (tt.word == "") != (len(faults) == 0) || !found {
			t.Errorf("%s: the check says %q, %v; want %q", tt.name, faults, err, tt.word)
		}
		undo()
	}
}

// remember returns a function that brings the data of all workspaces, and the credentials, back.
func (w *world) remember() (undo func()) {
	type record struct {
		path       kv.Path
		key, value string
		version    byte
		index      bool
	}
	type sealed struct {
		version byte
		data    string
	}
	raw := func(path kv.Path, version byte) kv.Bucket[sealed] {
		return kv.Bucket[sealed]{Path: path, Codec: kv.Codec[sealed]{Version: version,
			Encode: func(to []byte, s sealed) ([]byte, error) { return append(to, s.data...), nil },
			Decode: func(version byte, data []byte) (sealed, error) { return sealed{version, string(data)}, nil }}}
	}
	var all []record
	var walk func(tx *kv.Tx, path kv.Path)
	walk = func(tx *kv.Tx, path kv.Path) {
		if indexNames[path[strings.LastIndexByte(string(path), '/')+1:]] {
			for key := range (kv.Index{Path: path}).Scan(tx, kv.Range{}) {
				all = append(all, record{path: path, key: string(key), index: true})
			}
		} else if strings.Contains(string(path), "/") {
			for key, value := range raw(path, 0).Scan(tx, kv.Range{}) {
				all = append(all, record{path: path, key: string(key), value: value.data, version: value.version})
			}
		}
		for _, name := range tx.Children(path) {
			walk(tx, path.Join(name))
		}
	}
	w.forge(func(tx *kv.Tx) { walk(tx, w.id.path()); walk(tx, credentials.Path) })
	return func() {
		w.forge(func(tx *kv.Tx) {
			tx.Drop(w.id.path())
			tx.Drop(credentials.Path)
			for _, r := range all {
				if r.index {
					kv.Index{Path: r.path}.Put(tx, []byte(r.key))
				} else {
					raw(r.path, r.version).Put(tx, []byte(r.key), sealed{r.version, r.value})
				}
			}
		})
	}
}

// TestCheckBesideWork checks again and again while messages come and go.
func TestCheckBesideWork(t *testing.T) {
	w := newWorld(t, unlimited())
	w.line(Production, 0, 0)
	who := w.in(Production)
	together(5, func(i int) {
		for n := range 15 {
			switch i {
			case 0:
				if faults, err := w.Check(); err != nil || len(faults) > 0 {
					t.Errorf("check: %q, %v", faults, err)
				}
			case 1:
				if _, err := w.CancelForLead(who, CancelRequest{Phone: "+12025550142"}); err != nil {
					t.Error(err)
				}
			default:
				if _, err := w.Send(who, nil, to("+12025550142")); err != nil {
					t.Errorf("message %d: %v", n, err)
				}
			}
		}
	})
}
