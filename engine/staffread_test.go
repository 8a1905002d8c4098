package engine

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tuco/engine/auditlog"
)

// scopesToRead are all that staff can ask for.
var scopesToRead = []Scope{WorkspaceRead, UsageRead, LeadsRead, ListsRead, LinesRead, MessagesRead}

// granted is one of staff with a grant for an hour of everything of the first workspace in production.
func (w *world) granted(owner Caller, unmasked ...string) (StaffCaller, AccessRequest) {
	w.t.Helper()
	s, in := w.staff(), w.wish()
	in.Scopes, in.Unmasked = scopesToRead, unmasked
	return s, w.approve(owner, w.ask(s, in))
}

func (w *world) look(kind RecordKind) StaffQuery {
	return StaffQuery{Workspace: w.id, Environment: Production, Kind: kind, Operation: "GET /staff/workspaces/{id}/" + string(kind)}
}

func (w *world) read(who StaffCaller, q StaffQuery) StaffPage {
	w.t.Helper()
	page, err := w.StaffRead(who, q)
	if err != nil {
		w.t.Fatalf("reading %+v: %v", q, err)
	}
	return page
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestMaskTables: every field of a record is shown, masked or hidden on purpose.
func TestMaskTables(t *testing.T) {
	checkTable(t, KindLeads, leadFields)
	checkTable(t, KindLists, listFields)
	checkTable(t, KindLines, lineFields)
	checkTable(t, KindMessages, messageFields)
	checkTable(t, KindKeys, keyFields)
	checkTable(t, KindWorkspace, workspaceFields)
	checkTable(t, KindUsage, usageFields)
	for _, k := range RecordKinds {
		if kindScopes[k] == "" || len(shownFields[k]) == 0 {
			t.Errorf("%s has no scope, or shows nothing", k)
		}
	}
}

func checkTable[T any](t *testing.T, kind RecordKind, table []field[T]) {
	t.Helper()
	known, names := slices.Clone(hidden[kind]), map[string]bool{}
	for _, f := range table {
		if known = append(known, f.of); names[f.name] {
			t.Errorf("%s: the field %s is there twice", kind, f.name)
		}
		names[f.name] = true
	}
	have := goFields(reflect.TypeFor[T](), "", known)
	for _, name := range have {
		if !slices.Contains(known, name) {
			t.Errorf("%s: the field %s is new: show, mask or hide it", kind, name)
		}
	}
	for _, name := range known {
		if !slices.Contains(have, name) {
			t.Errorf("%s: there is no field %s", kind, name)
		}
	}
}

// goFields names the fields of a struct, and those of its structs unless they are known as a whole.
func goFields(s reflect.Type, prefix string, known []string) (names []string) {
	for f := range s.Fields() {
		name := prefix + f.Name
		parts := slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, name+".") })
		if parts {
			names = append(names, goFields(f.Type, name+".", known)...)
		} else {
			names = append(names, name)
		}
	}
	return names
}

// TestStaffSeesNoText: without unmasked fields no answer and no entry has anything that somebody wrote.
func TestStaffSeesNoText(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, made := w.populate(w.id, Production, "marker")
	full := LeadInput{LastName: ptr("marker"), CompanyName: ptr("marker"), Notes: ptr("marker"), Owner: ptr("marker"), CustomFields: []byte(`{"marker":"marker"}`), ExternalID: ptr("marker"), JobTitle: ptr("marker")}
	if _, err := w.SetLead(owner, made.lead, full, ""); err != nil {
		t.Fatal(err)
	}
	s, r := w.granted(owner)
	n := len(w.lines())
	secrets := []string{"marker", "+1202", "2025550", "@example.com", "Ana", "First"}
	for _, kind := range RecordKinds {
		page := w.read(s, w.look(kind))
		answer := text(t, page)
		if len(page.Records) == 0 || len(maskedFields[kind]) > 0 && !strings.Contains(answer, Mask) {
			t.Errorf("%s: nothing to see: %s", kind, answer)
		}
		for _, secret := range secrets {
			if strings.Contains(answer, secret) {
				t.Errorf("%s: the answer has %q: %s", kind, secret, answer)
			}
		}
		e := w.last("staff.read")
		if e.Kind != string(kind) || e.Seq != page.Entry || e.Records != int64(len(page.Records)) || e.Access != string(r.ID) || e.Ticket != "T-1" || e.ReasonType != "incident" ||
			!slices.Equal(e.Approvers, []string{owner.key.String()}) || e.Position == 0 || e.Address != home.String() || e.Operation != w.look(kind).Operation ||
			e.Actor != s.staff.actor() || e.Workspace != string(w.id) || e.Environment != "production" || len(e.Fields) != 0 {
			t.Errorf("%s: the entry is %+v", kind, e)
		}
	}
	for kind, id := range map[RecordKind]string{KindLeads: made.lead, KindLists: made.list, KindLines: made.line, KindMessages: made.message} {
		q := w.look(kind)
		q.ID = id
		if page := w.read(s, q); len(page.Records) != 1 || page.Records[0].Value("id") != id || w.last("staff.read").Object != id || strings.Contains(text(t, page), "marker") {
			t.Errorf("%s by id: %+v", kind, page)
		}
	}
	for _, line := range w.lines()[n:] {
		for _, secret := range secrets {
			if strings.Contains(line, secret) {
				t.Errorf("the log has %q: %s", secret, line)
			}
		}
	}
}

func TestUnmaskedFields(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, made := w.populate(w.id, Production, "marker")
	s, r := w.granted(owner, "leads.phone", "email", "message")
	lead := w.read(s, w.look(KindLeads))
	if got := lead.Records[0]; got.Value("phone") != "+12025550142" || got.Value("email") != "ana@example.com" || got.Value("firstName") != Mask || got.Value("list") == Mask {
		t.Errorf("a lead: %v", got)
	}
	if e := w.last("staff.read"); !slices.Equal(e.Fields, []string{"email", "phone"}) || !slices.Equal(lead.Unmasked, e.Fields) {
		t.Errorf("the fields: %+v", e)
	}
	if got := w.read(s, w.look(KindLines)).Records[0]; got.Value("phone") != Mask || got.Value("email") != "" {
		t.Errorf("a line: %v", got)
	}
	if got := w.read(s, w.look(KindMessages)).Records[0]; got.Value("message") != "secret marker" || got.Value("to") != Mask {
		t.Errorf("a message: %v", got)
	}
	w.agree(owner, Controls{AlwaysMasked: []string{"phone"}})
	if got := w.read(s, w.look(KindLeads)).Records[0]; got.Value("phone") != Mask || got.Value("email") != "ana@example.com" {
		t.Errorf("after an agreement that masks it: %v", got)
	}

	// What is masked can't be found out by searching either.
	for name, change := range map[string]func(*StaffQuery){
		"search": func(q *StaffQuery) { q.Search = "ana" },
		"batch":  func(q *StaffQuery) { q.Kind, q.Batch = KindMessages, "b" },
		"sort":   func(q *StaffQuery) { q.By = []string{"firstName"} },
		"filter": func(q *StaffQuery) { q.By = []string{"email", "nonsense"} },
	} {
		q := w.look(KindLeads)
		change(&q)
		_, err := w.StaffRead(s, q)
		refused(t, name, err, Forbidden, CodeFieldMasked, "")
		if e := w.last("staff.refused"); e.Outcome != auditlog.Denied || e.Detail["code"] != CodeFieldMasked || e.Access != string(r.ID) || e.Records != 0 || e.Seq != uint64(len(w.lines())-1) {
			t.Errorf("%s: the entry is %+v", name, e)
		}
	}
	in := w.wish()
	in.Unmasked = []string{"firstName", "lastName", "email", "companyName", "batchId"}
	w.approve(owner, w.ask(s, in))
	q := w.look(KindMessages)
	q.Batch, q.Status, q.Lead = "b", Pending, made.lead
	if page := w.read(s, q); len(page.Records) != 1 {
		t.Errorf("by an unmasked field: %+v", page)
	}
}

func TestStaffSearchesUnmasked(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, _ := w.populate(w.id, Production, "marker")
	var leads []LeadInput
	for i := range 7 {
		leads = append(leads, LeadInput{FirstName: ptr(fmt.Sprint("Zoe ", i)), Phone: ptr(phone())})
	}
	saved, err := w.CreateLeads(owner, nil, LeadBatch{Leads: leads})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := w.granted(owner, "firstName", "lastName", "email", "leads.phone", "companyName")
	for name, change := range map[string]func(*StaffQuery){
		"search": func(q *StaffQuery) { q.Search = "zoe" },
		"list":   func(q *StaffQuery) { q.List = saved.List.String() },
	} {
		q, got := w.look(KindLeads), []string{}
		q.Limit = 3
		change(&q)
		for {
			page := w.read(s, q)
			for _, r := range page.Records {
				got = append(got, r.Value("id").(string))
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		want := len(saved.Created)
		if name == "list" { // with Ana
			want++
		}
		if len(got) != want || got[0] != saved.Created[6].ID.String() || !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(b, a) }) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestStaffRefused(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, made := w.populate(w.id, Production, "marker")
	_, staging := w.populate(w.id, Staging, "marker")
	s := w.staff()
	no := func(what, code string, change func(*StaffQuery)) *Error {
		t.Helper()
		q := w.look(KindLeads)
		if change != nil {
			change(&q)
		}
		n := len(w.lines())
		page, err := w.StaffRead(s, q)
		e := refused(t, what, err, Forbidden, code, "")
		if got := w.last("staff.refused"); w.events(n) != "staff.refused" || got.Detail["code"] != code || !reflect.DeepEqual(page, StaffPage{}) {
			t.Errorf("%s: %s, %+v, the answer is %+v", what, w.events(n), got, page)
		}
		return e
	}
	no("without a request", CodeAccessRequired, nil)
	no("a workspace that never was", CodeAccessRequired, func(q *StaffQuery) { q.Workspace = "org_0123456789abcdef01234567" })
	no("what is no workspace", CodeAccessRequired, func(q *StaffQuery) { q.Workspace = "../Ana Marker" })
	if e := w.last("staff.refused"); e.Workspace != "" || strings.Contains(strings.Join(w.lines(), ""), "Ana Marker") {
		t.Errorf("what was typed is in the log: %+v", e)
	}
	in := w.wish()
	in.StartAt = w.clock.now().Add(time.Hour)
	r := w.ask(s, in)
	no("while it waits", CodeAccessPending, nil)
	w.approve(owner, r)
	no("before it starts", CodeAccessNotStarted, nil)
	w.clock.pass(time.Hour)
	w.read(s, w.look(KindLeads))
	no("another environment", CodeAccessRequired, func(q *StaffQuery) { q.Environment = Staging })
	if e := no("another kind", CodeInsufficientScope, func(q *StaffQuery) { q.Kind = KindLines }); e.Scope != LinesRead {
		t.Errorf("the missing scope: %q", e.Scope)
	}
	no("an id of another environment", CodeWrongWorkspace, func(q *StaffQuery) { q.ID = staging.lead })
	no("a list of another environment", CodeWrongWorkspace, func(q *StaffQuery) { q.List = staging.list })
	no("a line of another environment", CodeWrongWorkspace, func(q *StaffQuery) { q.Kind, q.Line = KindMessages, staging.line })
	for name, tt := range map[string]struct {
		kind   Kind
		change func(*StaffQuery)
	}{
		"a deleted lead": {NotFound, func(q *StaffQuery) { q.ID = made.deletedLead }},
		"no id":          {Invalid, func(q *StaffQuery) { q.ID = "marker" }},
		"no cursor":      {Invalid, func(q *StaffQuery) { q.Cursor = "marker" }},
		"a strange one":  {Invalid, func(q *StaffQuery) { q.Status = Sent }},
	} {
		q := w.look(KindLeads)
		tt.change(&q)
		_, err := w.StaffRead(s, q)
		refused(t, name, err, tt.kind, "", "")
		if e := w.last("staff.read"); e.Outcome != auditlog.Failed || e.Seq != uint64(len(w.lines())-1) || strings.Contains(text(t, e), "marker") {
			t.Errorf("%s: the entry is %+v", name, e)
		}
	}

	short := w.agree(owner, Controls{MaxDuration: time.Minute, NoKinds: []RecordKind{KindMessages}})
	no("a kind that was excluded since", CodeKindExcluded, func(q *StaffQuery) { q.Kind = KindMessages })
	w.clock.pass(time.Minute)
	no("longer than is agreed by now", CodeAccessEnded, nil)
	if _, err := w.RemoveAgreement(owner, string(short.ID)); err != nil {
		t.Fatal(err)
	}
	no("what an agreement had cut short", CodeAccessEnded, nil)
	if e := w.last("access.ended"); e.Detail["reason"] != string(EndedAgreement) {
		t.Errorf("the entry of the end: %+v", e)
	}
	r = w.approve(owner, w.ask(s, w.wish()))
	for _, tt := range []struct {
		code     string
		controls Controls
	}{ // it is 13:01 in UTC
		{"", Controls{Hours: Hours{"14:00", "15:00", "Europe/Berlin"}}},
		{CodeOutsideHours, Controls{Hours: Hours{"13:00", "14:00", "Europe/Berlin"}}},
		{CodeEnvironmentExcluded, Controls{NoEnvironments: []Environment{Production}}},
		{CodeStaffExcluded, Controls{Countries: []string{"FR"}}},
		{CodeStaffExcluded, Controls{Employers: []string{"Other"}}},
	} {
		a := w.agree(owner, tt.controls)
		if tt.code == "" {
			w.read(s, w.look(KindLeads))
		} else {
			no(tt.code, tt.code, nil)
		}
		if _, err := w.RemoveAgreement(owner, string(a.ID)); err != nil {
			t.Fatal(err)
		}
	}
	w.read(s, w.look(KindLeads))
	w.clock.until(r.Ends)
	no("after its end", CodeAccessEnded, nil)
	r = w.approve(owner, w.ask(s, w.wish()))
	w.read(s, w.look(KindLeads))
	if _, err := w.RevokeAccess(owner, string(r.ID)); err != nil {
		t.Fatal(err)
	}
	no("after it was revoked", CodeAccessEnded, nil)
	w.approve(owner, w.ask(s, w.wish()))
	w.read(s, w.look(KindLeads))
	w.policy(owner, Policy{Mode: PolicyClosed})
	no("after the policy was closed", CodePolicyClosed, nil)
	w.policy(owner, Policy{Mode: PolicyApproval})
	no("after it was opened again", CodeAccessEnded, nil)
	w.approve(owner, w.ask(s, w.wish()))
	if _, err := w.Admin().DisableStaff(s.staff.ID); err != nil {
		t.Fatal(err)
	}
	_, err := w.StaffRead(s, w.look(KindLeads))
	refused(t, "after the staff was disabled", err, Unauthorized, "", "Unauthorized")
	if e := w.last("staff.refused"); e.Detail["code"] != "UNAUTHORIZED" {
		t.Errorf("the entry is %+v", e)
	}
	s = w.staff()
	w.approve(owner, w.ask(s, w.wish()))
	if err := w.Admin().DeleteWorkspace(w.id); err != nil {
		t.Fatal(err)
	}
	no("after the workspace was deleted", CodeAccessRequired, nil)
	if e := w.last("staff.refused"); e.Workspace != string(w.id) {
		t.Errorf("the entry is %+v", e)
	}
}

// TestNoRecordNoRead: while the log can't be appended to nothing is answered, and what was is in it after a crash.
func TestNoRecordNoRead(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, _ := w.populate(w.id, Production, "marker")
	s, _ := w.granted(owner, "phone")
	page := w.read(s, w.look(KindLeads))
	w.breakDisk()
	got, err := w.StaffRead(s, w.look(KindLeads))
	refused(t, "when the append fails", err, Unknown, CodeOutcomeUnknown, "")
	if !reflect.DeepEqual(got, StaffPage{}) {
		t.Errorf("the answer is %+v", got)
	}
	if _, err := w.StaffRead(s, w.look(KindLeads)); err == nil {
		t.Error("it is answered after that")
	}
	_ = w.Close()
	w.open()
	if e := w.entries("staff.read"); len(e) == 0 || e[0].Seq != page.Entry {
		t.Errorf("after the next start: %+v", e)
	}
	trouble := fmt.Errorf("for a test")
	w.audit.distrust(trouble)
	_, err = w.StaffRead(s, w.look(KindLeads))
	refused(t, "when the log can't be relied on", err, Unavailable, CodeAuditUnavailable, "")
	w.audit.trouble.Store(nil)
}

// TestStaffReadOnFullDisk: reads go on in the reserve; when that is gone they are refused.
func TestStaffReadOnFullDisk(t *testing.T) {
	w := newWorldIn(t, unlimited(), "UTC", Options{MaxSize: 12 << 20, Reserve: 1 << 20})
	owner, _ := w.populate(w.id, Production, "marker")
	s, _ := w.granted(owner)
	notes, err := strings.Repeat("x", maxNotesBytes), error(nil)
	for err == nil {
		_, err = w.CreateLeads(owner, nil, LeadBatch{Leads: []LeadInput{{Phone: ptr(phone()), Notes: &notes}}})
	}
	refused(t, "a write", err, ReadOnly, CodeReadOnly, "")
	q := w.look(KindLists)
	w.read(s, q)
	err = nil
	for n := 0; err == nil && n < 50_000; n++ {
		_, err = w.StaffRead(s, q)
	}
	refused(t, "when the reserve is gone", err, Unavailable, CodeAuditUnavailable, "")
}

// TestRevokeWhileReading: no read succeeds that begins after a revocation has returned.
func TestRevokeWhileReading(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, _ := w.populate(w.id, Production, "marker")
	s := w.staff()
	for range 5 {
		r := w.approve(owner, w.ask(s, w.wish()))
		var revoked atomic.Bool
		var reads atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for {
					after := revoked.Load()
					_, err := w.StaffRead(s, w.look(KindLeads))
					switch {
					case err == nil && after:
						t.Error("a read after the revocation")
						return
					case err != nil:
						refused(t, "a read", err, Forbidden, CodeAccessEnded, "")
						return
					}
					reads.Add(1)
				}
			})
		}
		eventually(t, "there are reads", func() bool { return reads.Load() > 20 })
		if _, err := w.RevokeAccess(owner, string(r.ID)); err != nil {
			t.Error(err)
		}
		revoked.Store(true)
		all.Wait()
	}
	last := uint64(0)
	for _, e := range w.entries("access.revoked") {
		last = e.Seq
	}
	for _, e := range w.entries("staff.read") {
		if e.Seq > last {
			t.Errorf("a read is recorded after the last revocation: %+v", e)
		}
	}
	if _, err := w.Checkpoint(); err != nil {
		t.Error(err)
	}
}

func TestWhoSaw(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, made := w.populate(w.id, Production, "marker")
	s, _ := w.granted(owner)
	var seqs []uint64
	seqs = append(seqs, w.read(s, w.look(KindLeads)).Entry)
	seqs = append(seqs, w.read(s, w.look(KindMessages)).Entry)
	w.read(s, w.look(KindLists))
	saw := func(who Caller, text string) []Sighting {
		t.Helper()
		all, err := w.WhoSaw(who, text)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if all := saw(owner, "(202) 555-0142"); len(all) != 2 || all[0].Seq != seqs[1] || all[1].Entry.Kind != "leads" || all[1].Entry.Actor.ID != string(s.staff.ID) {
		t.Errorf("by phone: %+v", all)
	}
	if all := saw(owner, "ana@example.com"); len(all) != 2 || all[1].Seq != seqs[0] { // the message tries both
		t.Errorf("by mailbox: %+v", all)
	}
	if all := saw(owner, "+12025550143"); len(all) != 0 {
		t.Errorf("whom nobody saw: %+v", all)
	}
	other := w.ownerOf(w.workspace("Other", "UTC"), Production)
	if all := saw(other, "+12025550142"); len(all) != 0 {
		t.Errorf("another customer: %+v", all)
	}
	_, err := w.WhoSaw(owner, "nobody")
	refused(t, "no address", err, Invalid, CodeInvalidAddress, "")

	digest := w.last("staff.read")
	if _, err := w.DeleteLeads(owner, []string{made.lead}); err != nil {
		t.Fatal(err)
	}
	if n, err := w.ForgetSightings(owner, "+12025550142"); err != nil || n != 1 {
		t.Errorf("forgotten: %d, %v", n, err)
	}
	if n, err := w.ForgetSightings(owner, "+12025550142"); err != nil || n != 0 {
		t.Errorf("forgotten again: %d, %v", n, err)
	}
	if all := saw(owner, "+12025550142"); len(all) != 0 {
		t.Errorf("after that: %+v", all)
	}
	read, erased := w.entries("staff.read")[0], w.last("person.erased")
	if len(read.Persons) != 2 || len(erased.Persons) != 1 || !slices.Contains(read.Persons, erased.Persons[0]) || len(digest.Persons) != 0 {
		t.Errorf("digests: %+v, %+v", read.Persons, erased.Persons)
	}
	if _, err := w.Checkpoint(); err != nil {
		t.Errorf("the log is not valid after an erasure: %v", err)
	}
	w.read(s, w.look(KindMessages)) // it is seen again, under another digest
	if all := saw(owner, "+12025550142"); len(all) != 1 || slices.Contains(all[0].Entry.Persons, erased.Persons[0]) {
		t.Errorf("seen again: %+v", all)
	}
}

// TestStaffReadInReadOnly: a read changes no customer data, so it works while the workspace takes no writes.
func TestStaffReadInReadOnly(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, _ := w.populate(w.id, Production, "marker")
	reason := ReadOnlySuspended
	if _, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{ReadOnly: &reason}); err != nil {
		t.Fatal(err)
	}
	s, r := w.granted(owner)
	w.read(s, w.look(KindLeads))
	w.agree(owner, Controls{MaxDuration: time.Hour})
	if _, err := w.RevokeAccess(owner, string(r.ID)); err != nil {
		t.Error(err)
	}
}
