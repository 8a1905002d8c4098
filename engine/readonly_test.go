package engine

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// writes are all calls that change customer data.
func (w *world) writes(who, op Caller, made ids) map[string]func() error {
	return map[string]func() error{
		"Send":          func() error { _, err := w.Send(who, nil, to("+12025550142")); return err },
		"CancelForLead": func() error { _, err := w.CancelForLead(who, CancelRequest{Phone: "+12025550142"}); return err },
		"CreateLeads": func() error {
			_, err := w.CreateLeads(who, nil, LeadBatch{Leads: []LeadInput{{Phone: ptr("+12025550177")}}})
			return err
		},
		"SetLead":     func() error { _, err := w.SetLead(who, made.lead, LeadInput{FirstName: ptr("x")}, ""); return err },
		"DeleteLeads": func() error { _, err := w.DeleteLeads(who, []string{made.lead}); return err },
		"CreateList":  func() error { _, err := w.CreateList(who, nil, "new", ""); return err },
		"SetList":     func() error { _, err := w.SetList(who, made.list, ptr("x"), nil); return err },
		"DeleteList":  func() error { return w.DeleteList(who, made.list) },
		"CreateLine":  func() error { _, err := w.CreateLine(op, SMS, LineChange{Phone: ptr("+12025550178")}); return err },
		"SetLine":     func() error { _, err := w.SetLine(op, made.line, LineChange{Active: ptr(false)}); return err },
		"DeleteLine":  func() error { return w.DeleteLine(op, made.line) },
		"CreateKey":   func() error { _, _, err := w.CreateKey(who, NewKey{Name: "x"}); return err },
		"SetKey":      func() error { _, err := w.SetKey(who, made.key, KeyChange{Name: ptr("x")}); return err },
		"SetKey to enable": func() error {
			_, err := w.SetKey(who, made.key, KeyChange{Disabled: ptr(false)})
			return err
		},
	}
}

func TestReadOnly(t *testing.T) {
	w := newWorld(t, unlimited())
	who, made := w.populate(w.id, Production, "x")
	op := w.operator(Production)
	w.send(who, SendRequest{Phone: "+12025550150", Scheduled: noon.Add(time.Minute).Format(time.RFC3339)})
	q := w.queue(Production)
	own := w.tenant(w.id).envs[Production].lines.Load().all[0].ID
	jobs, _, err := q.Next(own, 1, func(MessageID) bool { return false })
	if err != nil || len(jobs) != 1 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	for reason, sentence := range readOnlySentences {
		if reason == ReadOnlyStorage {
			_, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{ReadOnly: &reason})
			refused(t, "setting storage", err, Invalid, "", "")
			continue
		}
		if _, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{ReadOnly: &reason}); err != nil {
			t.Fatal(err)
		}
		shown, err := w.ShowWorkspace(who)
		if err != nil || shown.ReadOnly != reason || shown.ReadOnly.Sentence() != sentence || !shown.ReadOnlySince.Equal(w.clock.now()) {
			t.Errorf("%s: shown as %+v, %v", reason, shown, err)
		}
		before := w.contents()
		for name, call := range w.writes(who, op, made) {
			if e := refused(t, name, call(), ReadOnly, CodeReadOnly, "READ_ONLY"); e.Reason != string(reason) {
				t.Errorf("%s: the reason is %q, want %q", name, e.Reason, reason)
			}
		}
		w.clock.pass(time.Hour)
		if next, err := q.Release(); err != nil || !next.IsZero() {
			t.Errorf("released: %s, %v", next, err)
		}
		if jobs, again, err := q.Next(own, 1, func(MessageID) bool { return false }); len(jobs) > 0 || again != (Look{}) || err != nil {
			t.Errorf("there is something to send: %d, %+v, %v", len(jobs), again, err)
		}
		if err := q.HandOver(jobs[0]); !errors.Is(err, ErrNotNow) {
			t.Errorf("a message that was on its way is handed over: %v", err)
		}
		if w.contents() != before {
			t.Errorf("%s: something changed", reason)
		}
	}
	for name, read := range map[string]func() error{
		"Lead":       func() error { _, err := w.Lead(who, made.lead); return err },
		"Leads":      func() error { _, err := w.Leads(who, LeadQuery{Search: "ana", Limit: 5}); return err },
		"Lists":      func() error { _, err := w.Lists(who); return err },
		"Lines":      func() error { _, err := w.Lines(who); return err },
		"GetMessage": func() error { _, err := w.GetMessage(who, made.message); return err },
		"Messages":   func() error { _, err := w.Messages(who, MessageQuery{Limit: 5}); return err },
		"Usage":      func() error { _, err := w.Usage(who); return err },
		"Keys":       func() error { _, err := w.Keys(who); return err },
	} {
		if err := read(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Keys can be taken away.
	if _, _, err := w.RotateKey(who, made.key, 0); err != nil {
		t.Errorf("rotating: %v", err)
	}
	if _, err := w.SetKey(who, made.key, KeyChange{Disabled: ptr(true)}); err != nil {
		t.Errorf("disabling: %v", err)
	}
	if err := w.RevokeKey(who, made.key); err != nil {
		t.Errorf("revoking: %v", err)
	}
	w.crash()
	who = w.auth(mustSecret(w, func() {
		none := ReadOnlyReason("")
		_, _ = w.Admin().SetWorkspace(w.id, WorkspaceChange{ReadOnly: &none})
	}))
	if err := w.queue(Production).HandOver(jobs[0]); err != nil {
		t.Errorf("after it: %v", err)
	}
	if shown, _ := w.ShowWorkspace(who); shown.ReadOnly != "" || !shown.ReadOnlySince.IsZero() {
		t.Errorf("shown as %+v", shown)
	}
}

// mustSecret makes a key after undo.
func mustSecret(w *world, undo func()) string {
	w.t.Helper()
	undo()
	_, secret := w.key(w.id, Production, NewKey{Name: "after", Role: RoleOwner})
	return secret
}

// TestReadOnlyStays: an outcome that comes while the workspace is READ_ONLY is stored; the state survives a restart.
func TestReadOnlyOutcome(t *testing.T) {
	w := newWorld(t, unlimited())
	l := w.line(Production, 0, 0)
	who := w.in(Production)
	m := w.send(who, to(phone())).Message
	q := w.queue(Production)
	jobs, _, _ := q.Next(l.ID, 1, func(MessageID) bool { return false })
	if err := q.HandOver(jobs[0]); err != nil {
		t.Fatal(err)
	}
	reason := ReadOnlySuspended
	if _, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{ReadOnly: &reason}); err != nil {
		t.Fatal(err)
	}
	if got, err := q.Finish(m.ID, Outcome{Status: Sent, ExternalID: "x"}); err != nil || got.Status != Sent {
		t.Errorf("finishing: %+v, %v", got, err)
	}
	w.reopen()
	if w.queue(Production).Open() {
		t.Error("after a restart it is no longer READ_ONLY")
	}
}

// TestStorageFull: a full file is READ_ONLY with the reason storage, and no longer when space is freed.
func TestStorageFull(t *testing.T) {
	w := newWorldIn(t, unlimited(), "UTC", Options{MaxSize: 12 << 20, Reserve: 4 << 20})
	who, made := w.populate(w.id, Production, "x")
	op := w.operator(Production)
	greedy := w.workspace("Greedy", "UTC")
	filler := w.ownerOf(greedy, Production)
	rotated, _ := w.key(greedy, Development, NewKey{Name: "rotated"})
	var err error
	for size := maxNotesBytes; size > 0; size /= 2 { // smaller and smaller, until nothing fits
		text := strings.Repeat("x", size)
		for err = nil; err == nil; {
			var batch LeadBatch
			for range max(1, size/100) {
				batch.Leads = append(batch.Leads, LeadInput{Phone: ptr(phone()), Notes: &text})
			}
			_, err = w.CreateLeads(filler, nil, batch)
		}
	}
	if e := refused(t, "when the file is full", err, ReadOnly, CodeReadOnly, "READ_ONLY"); e.Reason != string(ReadOnlyStorage) {
		t.Errorf("the reason is %q", e.Reason)
	}
	low := func() bool {
		w.clock.pass(roomKept)
		return w.StorageLow()
	}
	for n := 0; !low(); n++ { // what may use the reserve takes the last of what is outside of it
		if _, _, err := w.RotateKey(w.operatorOf(greedy, Development), rotated.ID.String(), time.Hour); err != nil || n > 1000 {
			t.Fatalf("rotation %d: %v", n, err)
		}
	}
	w.room.Store(roomVerdict(w.clock.elapsed(), false))
	if w.clock.pass(roomKept - 1); w.StorageLow() {
		t.Error("what was measured just now is measured again")
	}
	if w.clock.pass(1); !w.StorageLow() {
		t.Error("what was measured long ago still holds")
	}
	before := w.contents()
	for name, call := range w.writes(who, op, made) {
		if e := refused(t, name, call(), ReadOnly, CodeReadOnly, "READ_ONLY"); e.Reason != string(ReadOnlyStorage) {
			t.Errorf("%s: the reason is %q", name, e.Reason)
		}
	}
	if shown, err := w.ShowWorkspace(who); err != nil || shown.ReadOnly != ReadOnlyStorage {
		t.Errorf("shown as %+v, %v", shown, err)
	}
	q := w.queue(Production)
	if q.Open() {
		t.Error("the queue sends on a full disk")
	}
	if next, err := q.Release(); err != nil || !next.After(w.clock.now()) {
		t.Errorf("nobody tells of new room, so it is looked for: %s, %v", next, err)
	}
	if w.contents() != before {
		t.Error("something changed on a full disk")
	}
	if err := w.RevokeKey(who, made.key); err != nil {
		t.Errorf("revoking on a full disk: %v", err)
	}
	w.reopen() // a full disk is no reason not to stop
	if err := w.Admin().DeleteWorkspace(greedy); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is room again", func() bool { return !low() })
	w.send(w.in(Production), to(phone()))
	if shown, err := w.Admin().Workspace(w.id); err != nil || shown.ReadOnly != "" || !w.queue(Production).Open() {
		t.Errorf("with room again: %+v, %v", shown, err)
	}
}

// TestRoomCountsAtOnce: when there is room again nobody goes by what was measured before, however many ask.
func TestRoomCountsAtOnce(t *testing.T) {
	w := newWorldIn(t, unlimited(), "UTC", Options{Reserve: 1})
	w.noRoom()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { w.StorageLow() })
	}
	all.Wait()
	if w.StorageLow() {
		t.Error("what was measured before still holds")
	}
}
