package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"tuco/engine/auditlog"
)

// A signerBeside is the log's signer; before it signs, something happens.
type signerBeside struct {
	note.Signer
	before func()
}

func (s *signerBeside) Sign(text []byte) ([]byte, error) {
	s.before()
	return s.Signer.Sign(text)
}

// TestCheckpointBesideRecord: an entry that is recorded while a checkpoint is made is in the next one.
func TestCheckpointBesideRecord(t *testing.T) {
	w := newWorld(t, unlimited())
	signer, recorded := w.audit.signer, 0
	w.audit.signer = &signerBeside{signer, func() {
		if recorded++; recorded == 1 {
			if err := w.recordAlone(auditlog.Entry{Event: "test", Actor: systemActor}); err != nil {
				t.Error(err)
			}
		}
	}}
	size := func() uint64 {
		t.Helper()
		signed, err := w.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		c, err := auditlog.OpenCheckpoint(signed, w.auditVerifiers()...)
		if err != nil {
			t.Fatal(err)
		}
		return c.Size
	}
	was := size()
	if now, want := size(), uint64(len(w.lines())); now != want || now != was+1 {
		t.Errorf("the next checkpoint is of %d entries, want %d; the one before was of %d", now, want, was)
	}
	if size(); recorded != 2 {
		t.Errorf("it was signed %d times for two states of the log", recorded)
	}
}

// TestAgreementsKeepTheirRoom: neither the operator's agreements take the customer's room, nor the customer's the operator's;
// and one that is over gives its room back.
func TestAgreementsKeepTheirRoom(t *testing.T) {
	w := newWorld(t, unlimited())
	owner := w.in(Production)
	add := map[string]func() (Agreement, error){
		"the customer": func() (Agreement, error) {
			return w.AddAgreement(owner, Agreement{Type: SupportAgreement, Reference: "C"})
		},
		"the operator": func() (Agreement, error) {
			return w.Admin().AddAgreement(w.id, Agreement{Type: SupportAgreement, Reference: "O"})
		},
	}
	var last Agreement
	for _, who := range []string{"the operator", "the customer"} {
		for i := range maxAgreements {
			if i%50 == 49 { // as often as a key may
				w.clock.pass(time.Minute)
			}
			a, err := add[who]()
			if err != nil {
				t.Fatalf("%s, agreement %d: %v", who, i, err)
			}
			last = a
		}
		_, err := add[who]()
		refused(t, who+", one more", err, Conflict, CodeTooMany, "")
	}
	if _, err := w.RemoveAgreement(owner, string(last.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := add["the customer"](); err != nil {
		t.Errorf("after one was removed: %v", err)
	}
	_, err := add["the operator"]()
	refused(t, "the operator, after the customer removed one", err, Conflict, CodeTooMany, "")
}

// TestPersonTwiceOnAPage: a page with two messages to one person names it once, in the entry and to who asks who saw it.
func TestPersonTwiceOnAPage(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, made := w.populate(w.id, Production, "marker")
	for i := range 3 {
		w.send(owner, SendRequest{Lead: made.lead, Text: fmt.Sprint("again ", i)})
	}
	s, _ := w.granted(owner)
	page := w.read(s, w.look(KindMessages))
	e := w.last("staff.read")
	if page.Entry != e.Seq || e.Records != 4 || len(e.Persons) != 2 || !slices.IsSortedFunc(e.Persons, func(a, b auditlog.Digest) int { return slices.Compare(a[:], b[:]) }) {
		t.Errorf("4 messages to one person with a number and a mailbox: %d records, persons %v", e.Records, e.Persons)
	}
	for _, address := range []string{"+12025550142", "ana@example.com"} {
		if all, err := w.WhoSaw(owner, address); err != nil || len(all) != 1 {
			t.Errorf("%s was seen in %d entries, %v; want 1", address, len(all), err)
		}
	}
	if _, err := w.Checkpoint(); err != nil {
		t.Errorf("the log: %v", err)
	}
}
