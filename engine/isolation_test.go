package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// ids are one environment's records: one that is there, one that was deleted.
type ids struct{ lead, deletedLead, list, deletedList, line, deletedLine, message, key string }

// populate makes the same data in an environment, marked with a word.
func (w *world) populate(workspace WorkspaceID, env Environment, marker string) (who Caller, made ids) {
	w.t.Helper()
	op := w.operatorOf(workspace, env)
	who = w.ownerOf(workspace, env)
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	saved, err := w.CreateLeads(who, nil, LeadBatch{Leads: []LeadInput{
		{FirstName: ptr("Ana " + marker), Phone: ptr("+12025550142"), Email: ptr("ana@example.com")},
		{FirstName: ptr("Bo " + marker), Phone: ptr("+12025550143")},
	}})
	must(err)
	made.lead, made.deletedLead = saved.Created[0].ID.String(), saved.Created[1].ID.String()
	_, err = w.DeleteLeads(who, []string{made.deletedLead})
	must(err)
	for _, l := range []struct {
		name string
		id   *string
	}{{"List " + marker, &made.list}, {"Old " + marker, &made.deletedList}} {
		list, err := w.CreateList(who, nil, l.name, "")
		must(err)
		*l.id = list.ID.String()
	}
	must(w.DeleteList(who, made.deletedList))
	line := w.lineOf(op, IMessage, LineChange{Phone: ptr("+12025550100"), FirstName: ptr(marker)})
	made.line = line.ID.String()
	old := w.lineOf(op, IMessage, LineChange{Phone: ptr("+12025550101")})
	made.deletedLine = old.ID.String()
	must(w.DeleteLine(op, made.deletedLine))
	made.message = w.send(who, SendRequest{Lead: made.lead, Text: "secret " + marker, BatchID: "b"}).Message.ID.String()
	k, _ := w.key(workspace, env, NewKey{Name: "key " + marker})
	made.key = k.ID.String()
	return who, made
}

// byID are all calls that take an id, with the error for one that is unknown; nil if that is no error.
func (w *world) byID(who Caller) map[string]func(id string) error {
	op := who
	op.operator = true
	return map[string]func(id string) error{
		"Lead: Lead not found":          func(id string) error { _, err := w.Lead(who, id); return err },
		"SetLead: Lead not found":       func(id string) error { _, err := w.SetLead(who, id, LeadInput{}, ""); return err },
		"Leads of list: ":               func(id string) error { _, err := w.Leads(who, LeadQuery{List: id}); return err },
		"SetList: List not found":       func(id string) error { _, err := w.SetList(who, id, ptr("x"), nil); return err },
		"DeleteList: List not found":    func(id string) error { return w.DeleteList(who, id) },
		"SetLine: Line not found":       func(id string) error { _, err := w.SetLine(op, id, LineChange{}); return err },
		"DeleteLine: Line not found":    func(id string) error { return w.DeleteLine(op, id) },
		"GetMessage: Message not found": func(id string) error { _, err := w.GetMessage(who, id); return err },
		"Settle: Message not found":     func(id string) error { _, err := w.Settle(op, id, Sent); return err },
		"Messages of line: ":            func(id string) error { _, err := w.Messages(who, MessageQuery{Line: id}); return err },
		"Messages of lead: ":            func(id string) error { _, err := w.Messages(who, MessageQuery{Lead: id}); return err },
		"SetKey: Key not found":         func(id string) error { _, err := w.SetKey(who, id, KeyChange{Name: ptr("x")}); return err },
		"RotateKey: Key not found":      func(id string) error { _, _, err := w.RotateKey(who, id, 0); return err },
		"RevokeKey: Key not found":      func(id string) error { return w.RevokeKey(who, id) },
		"CancelForLead: ":               func(id string) error { _, err := w.CancelForLead(who, CancelRequest{Lead: id}); return err },
		"Send to lead: Lead not found or access denied": func(id string) error {
			_, err := w.Send(who, nil, SendRequest{Text: "x", Lead: id})
			return err
		},
		"Send from line: Line not found": func(id string) error {
			_, err := w.Send(who, nil, SendRequest{Text: "x", Phone: "+12025550142", Line: id})
			return err
		},
		"CreateLeads in list: List not found. The specified listId does not exist or is invalid. Omit listId to use the Quick Sends list.": func(id string) error {
			_, err := w.CreateLeads(who, nil, LeadBatch{List: id, Leads: []LeadInput{{Phone: ptr("+12025550199")}}})
			return err
		},
	}
}

func TestIsolation(t *testing.T) {
	w := newWorld(t, unlimited())
	second, gone := w.workspace("Second", "UTC"), w.workspace("Gone", "UTC")
	type place struct {
		id  WorkspaceID
		env Environment
	}
	callers, made := map[place]Caller{}, map[place]ids{}
	var places []place
	for _, id := range []WorkspaceID{w.id, second, gone} {
		for _, env := range Environments {
			p := place{id, env}
			places = append(places, p)
			callers[p], made[p] = w.populate(id, env, fmt.Sprintf("marker-%s-%s", id, env))
		}
	}
	if err := w.Admin().DeleteWorkspace(gone); err != nil {
		t.Fatal(err)
	}
	w.crash() // what is gone stays foreign
	for _, p := range places[:6] {
		callers[p] = w.ownerOf(p.id, p.env)
	}
	before := w.contents()
	want := fmt.Sprintf("%+v", *wrongWorkspace())
	for _, p := range places[:6] {
		who := callers[p]
		for _, other := range places {
			if other == p {
				continue
			}
			o := made[other]
			never := o.lead[:14] + "ffffffff00"
			for name, call := range w.byID(who) {
				for _, id := range []string{o.lead, o.deletedLead, o.list, o.deletedList, o.line, o.deletedLine, o.message, o.key, never, strings.ToUpper(never)} {
					var e *Error
					if err := call(id); !errors.As(err, &e) || fmt.Sprintf("%+v", *e) != want {
						t.Errorf("%s with an id of %v, from %v: %v", name, other, p, err)
					}
				}
			}
			if _, err := w.SetLead(who, made[p].lead, LeadInput{List: &o.list}, ""); !strings.Contains(fmt.Sprint(err), "another workspace") {
				t.Errorf("moving a lead to a foreign list: %v", err)
			}
			if n, err := w.DeleteLeads(who, []string{o.lead, o.deletedLead, never, o.message}); n != 0 || err != nil {
				t.Errorf("deleting foreign leads: %d, %v", n, err)
			}
			if _, err := w.Messages(who, MessageQuery{Cursor: o.message}); err == nil {
				t.Error("a foreign cursor was taken")
			}
		}
		// Ids of nobody, and ids of our own that are not there, are unknown.
		for _, id := range []string{"00000000000000000000000a", made[p].lead[:14] + "ffffffff00"} {
			for name, call := range w.byID(who) {
				_, text, _ := strings.Cut(name, ": ")
				if err := call(id); text == "" {
					if e := (*Error)(nil); errors.As(err, &e) && e.Kind != NotFound {
						t.Errorf("%s with the unknown id %s: %v", name, id, err)
					}
				} else {
					refused(t, name+" with the unknown id "+id, err, NotFound, "", text)
				}
			}
		}
	}
	if w.contents() != before {
		t.Error("refused requests changed what is stored")
	}
	// What a caller lists holds its own marker and no other.
	for _, p := range places[:6] {
		who, marker := callers[p], fmt.Sprintf("marker-%s-%s", p.id, p.env)
		leads, _ := w.Leads(who, LeadQuery{Limit: 100})
		found, _ := w.Leads(who, LeadQuery{Search: "marker-", Limit: 100})
		lists, _ := w.Lists(who)
		messages, _ := w.Messages(who, MessageQuery{Limit: 100, Batch: "b"})
		lines, _ := w.Lines(who)
		spam, _ := w.SpamMonitor(who)
		all := fmt.Sprintf("%+v %+v %+v %+v %+v %+v", leads, found, lists, messages, lines, spam)
		if len(leads.Leads) != 1 || len(found.Leads) != 1 || len(lists) != 2 || len(messages.Messages) != 1 || len(lines) != 1 || len(spam) != 1 {
			t.Errorf("%v sees %d leads, %d found, %d lists, %d messages, %d lines", p, len(leads.Leads), len(found.Leads), len(lists), len(messages.Messages), len(lines))
		}
		if n := strings.Count(all, "marker-"); n != strings.Count(all, marker) || n == 0 {
			t.Errorf("%v sees another's data: %s", p, all)
		}
	}
}

func TestDeletedWorkspace(t *testing.T) {
	w := newWorld(t, unlimited())
	who, made := w.populate(w.id, Production, "x")
	_, secret := w.key(w.id, Production, NewKey{Name: "k", Role: RoleOwner})
	w.auth(secret)
	q := w.queue(Production)
	jobs, _, err := q.Next(w.tenant(w.id).envs[Production].lines.Load().all[0].ID, 1, func(MessageID) bool { return false })
	if err != nil || len(jobs) != 1 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	if err := w.Admin().DeleteWorkspace(w.id); err != nil {
		t.Fatal(err)
	}
	_, err = w.Authenticate(secret, home)
	refused(t, "a key of a deleted workspace", err, Unauthorized, "", "Unauthorized")
	if err := q.HandOver(jobs[0]); !errors.Is(err, ErrNotNow) {
		t.Errorf("handing over for a deleted workspace: %v", err)
	}
	// A caller that came in before changes nothing, and finds nothing.
	mustFail[*SendResult](t, "sending", Unauthorized, "", "")(w.Send(who, nil, to(phone())))
	mustFail[LeadsSaved](t, "saving a lead", Unauthorized, "", "")(w.CreateLeads(who, nil, LeadBatch{Leads: []LeadInput{{Phone: ptr(phone())}}}))
	mustFail[Lead](t, "reading a lead", NotFound, "", "")(w.Lead(who, made.lead))
	if _, _, err := w.CreateKey(who, NewKey{Name: "x"}); err == nil {
		t.Error("made a key in a deleted workspace")
	}
	if _, err := q.Release(); err != nil {
		t.Error(err)
	}
	refused(t, "deleting it again", w.Admin().DeleteWorkspace(w.id), NotFound, "", "")
	w.forge(func(tx *kvTx) {
		if names := tx.Children(w.id.path()); len(names) > 0 {
			t.Errorf("it left %q", names)
		}
	})
}
