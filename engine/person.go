package engine

import (
	"bytes"
	"iter"
	"slices"

	"tuco/kv"
)

// A person is what is known of whom an address reaches: a summary of the indexes of leads and of messages
// by address, so that a send reads one record instead of searching them. It follows from them alone, and
// changes in the transaction that changes them. Of whom they say nothing there is no record.
type person struct {
	Lead    LeadID   // the oldest lead with the address; zero if there is none
	Alone   bool     // that lead has no other address; false may also be that nobody looked
	Charged bool     // the plan was charged for a message to it
	Lines   []LineID // those with a unit for such a message, sorted; never changed in place, since copies share it
}

func (p *person) isZero() bool { return p.equal(&person{}) }

func (p *person) equal(other *person) bool {
	return p.Lead == other.Lead && p.Alone == other.Alone && p.Charged == other.Charged && slices.Equal(p.Lines, other.Lines)
}

func (p *person) find(line LineID) (at int, known bool) {
	return slices.BinarySearchFunc(p.Lines, line, func(a, b LineID) int { return bytes.Compare(a.key(), b.key()) })
}

func (p *person) knows(line LineID) bool {
	_, known := p.find(line)
	return known
}

// meet adds a line, unless it is none.
func (p *person) meet(line LineID) {
	if at, known := p.find(line); !known && !line.IsZero() {
		p.Lines = slices.Insert(slices.Clone(p.Lines), at, line)
	}
}

func (p *person) forget(line LineID) {
	if at, known := p.find(line); known {
		p.Lines = slices.Delete(slices.Clone(p.Lines), at, at+1)
	}
}

// person returns whom the address reaches, zero if nothing is known.
func (s *store) person(tx *kv.Tx, addr string) person {
	p, _ := s.people.Get(tx, []byte(addr))
	return p
}

// changePerson stores what change makes of a person, if that is something else.
func (s *store) changePerson(tx *kv.Tx, addr string, change func(p *person)) {
	old := s.person(tx, addr)
	p := old
	change(&p)
	switch {
	case p.equal(&old):
	case p.isZero():
		s.people.Delete(tx, []byte(addr))
	default:
		s.people.Put(tx, []byte(addr), p)
	}
}

// A trace is what a message leaves with the persons at its addresses.
type trace struct {
	charged bool
	line    LineID
}

// trace is zero for a message that leaves nothing, and for nil.
func (m *Message) trace() trace {
	if m == nil || m.Status == Cancelled || m.Plan.Day == 0 {
		return trace{}
	}
	return trace{true, m.unitLine()}
}

// retrace brings the persons at a message's addresses up to date. The index must be so already: what the
// message takes away with it stays if another has left it, too.
func (s *store) retrace(tx *kv.Tx, old, m *Message) {
	was, is := old.trace(), m.trace()
	if was == is {
		return
	}
	for _, addr := range m.To { // as in old: a message's addresses never change
		s.changePerson(tx, addr, func(p *person) {
			p.Charged = is.charged || s.messageByAddr.Any(tx, kv.Prefix(personPrefix(addr, true)))
			left := !was.line.IsZero() && was.line != is.line
			if left && !s.messageByAddr.Any(tx, kv.Prefix(personKey(addr, true, was.line))) {
				p.forget(was.line)
			}
			p.meet(is.line)
		})
	}
}

// putAddresses brings the index of leads by address, and the persons there, from old to l; nil is none.
func (s *store) putAddresses(tx *kv.Tx, old, l *Lead) {
	had, has := old.Addresses(), l.Addresses()
	if slices.Equal(had, has) {
		return
	}
	for _, addr := range had {
		if !slices.Contains(has, addr) {
			s.leadByAddr.Delete(tx, addressKey(addr, old.ID.key()))
			s.changePerson(tx, addr, func(p *person) { p.Lead, p.Alone = s.oldestLead(tx, addr) })
		}
	}
	for _, addr := range has {
		if !slices.Contains(had, addr) {
			s.leadByAddr.Put(tx, addressKey(addr, l.ID.key()))
		}
		s.changePerson(tx, addr, func(p *person) {
			if p.Lead = older(p.Lead, l.ID); p.Lead == l.ID {
				p.Alone = len(has) == 1
			}
		})
	}
}

// older returns the lead that was made first. None, which is zero, was made after all.
func older(a, b LeadID) LeadID {
	if b.IsZero() || !a.IsZero() && bytes.Compare(a.key(), b.key()) < 0 {
		return a
	}
	return b
}

// oldestLead searches the index for the oldest lead with an address, zero if there is none. It is alone if it has
// no other.
func (s *store) oldestLead(tx *kv.Tx, addr string) (id LeadID, alone bool) {
	if key := s.leadByAddr.First(tx, kv.Prefix(addressKey(addr))); key != nil {
		id = idOf[leadKind](key)
		l, _ := s.leads.Get(tx, id.key())
		alone = len(l.Addresses()) == 1
	}
	return id, alone
}

// summary is the person at an address as the indexes have it.
func (s *store) summary(tx *kv.Tx, addr string) person {
	var p person
	p.Lead, p.Alone = s.oldestLead(tx, addr)
	charged := personPrefix(addr, true)
	rest := kv.Prefix(charged)
	for {
		key := s.messageByAddr.First(tx, rest)
		if key == nil {
			return p
		}
		p.Charged = true
		var line LineID
		copy(line.ID[:], key[len(charged):])
		p.meet(line)
		rest.From = kv.Prefix(personKey(addr, true, line)).To
	}
}

// addresses yields each address that the indexes have, in order.
func (s *store) addresses(tx *kv.Tx) iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := (kv.Range{}); ; {
			next := ""
			for _, index := range []kv.Index{s.leadByAddr, s.messageByAddr} {
				addr, _, _ := bytes.Cut(index.First(tx, rest), []byte{0})
				if next == "" || len(addr) > 0 && string(addr) < next {
					next = string(addr)
				}
			}
			if next == "" || !yield(next) {
				return
			}
			rest.From = append([]byte(next), 1) // past the address and the zero byte that ends it
		}
	}
}

// toSchema2 packs two indexes, which had buckets of another name, and makes the records of all persons.
func toSchema2(tx *kv.Tx) error {
	var old []kv.Path
	for _, w := range workspaces.Scan(tx, kv.Range{}) {
		for _, name := range Environments {
			path := w.ID.path().Join(string(name))
			s := newStore(path)
			for _, index := range []struct{ from, to kv.Index }{
				{kv.Index{Path: path.Join("messages.lead")}, s.messageByLead},
				{kv.Index{Path: path.Join("messages.address")}, s.messageByAddr},
			} {
				if copyIndex(tx, index.from, index.to) > 0 {
					old = append(old, index.from.Path)
				}
			}
			for addr := range s.addresses(tx) {
				s.changePerson(tx, addr, func(p *person) { *p = s.summary(tx, addr) })
			}
		}
	}
	for _, path := range old { // last: a transaction that dropped something looks at that with every step
		tx.Drop(path)
	}
	return nil
}

func copyIndex(tx *kv.Tx, from, to kv.Index) (n int) {
	for key := range from.Scan(tx, kv.Range{}) {
		to.Put(tx, key)
		n++
	}
	return n
}

// A personReader reads persons in one transaction, each of them once.
type personReader struct {
	store *store
	tx    *kv.Tx
	read  []readPerson
}

type readPerson struct {
	addr string
	person
}

func (r *personReader) at(addr string) person {
	for i := range r.read {
		if r.read[i].addr == addr {
			return r.read[i].person
		}
	}
	p := r.store.person(r.tx, addr)
	r.read = append(r.read, readPerson{addr, p})
	return p
}

func (r *personReader) all(addresses []string) []person {
	people := make([]person, len(addresses))
	for i, addr := range addresses {
		people[i] = r.at(addr)
	}
	return people
}
