package engine

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
)

// save saves leads that must be taken.
func (w *world) save(who Caller, leads ...LeadInput) LeadsSaved {
	w.t.Helper()
	saved, err := w.CreateLeads(who, nil, LeadBatch{Leads: leads})
	if err != nil {
		w.t.Fatal(err)
	}
	return saved
}

func TestLeadsAreNormalised(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	for _, tt := range []struct {
		phone, country, want string // empty: refused
	}{
		{"2025550142", "", "+12025550142"},
		{"12025550143", "", "+12025550143"},
		{" (202) 555-0144 ", "", "+12025550144"},
		{"+44 20 7946 0018", "", "+442079460018"},
		{"030 901820", "+49", "+4930901820"},
		{"555", "", ""},
		{"+1555", "", ""},
		{"2025550145 ext 3", "", ""},
		{"+10000000000", "", ""},
	} {
		saved, err := w.CreateLeads(who, nil, LeadBatch{DefaultCountryCode: tt.country, Leads: []LeadInput{{Phone: &tt.phone}}})
		if tt.want == "" {
			refused(t, tt.phone, err, Invalid, CodeInvalidAddress, "leads/0/phone: not a valid phone number")
		} else if err != nil || saved.Created[0].Phone != tt.want {
			t.Errorf("%q from %q: got %+v, %v; want %s", tt.phone, tt.country, saved.Created, err, tt.want)
		}
	}
	for _, tt := range []struct{ email, want string }{
		{" Ana@Example.COM ", "ana@example.com"}, {"ana", ""}, {"ana@host", ""}, {"@example.com", ""}, {"a b@example.com", ""},
	} {
		saved, err := w.CreateLeads(who, nil, LeadBatch{Leads: []LeadInput{{Email: &tt.email}}})
		if tt.want == "" {
			refused(t, tt.email, err, Invalid, CodeInvalidAddress, "leads/0/email: not a valid e-mail address")
		} else if err != nil || saved.Created[0].Email != tt.want {
			t.Errorf("%q: got %+v, %v; want %s", tt.email, saved.Created, err, tt.want)
		}
	}
	for _, tt := range []struct {
		name string
		in   LeadBatch
		kind Kind
		text string
	}{
		{"no leads", LeadBatch{}, Invalid, "No leads provided"},
		{"no address", LeadBatch{Leads: []LeadInput{{FirstName: ptr("x")}}}, Invalid, "leads/0: either email or phone is required"},
		{"a long name", LeadBatch{Leads: []LeadInput{{FirstName: ptr(strings.Repeat("x", 1001))}}}, Invalid, ""},
		{"custom fields that are a list", LeadBatch{Leads: []LeadInput{{Phone: ptr("2025550142"), CustomFields: []byte(`[]`)}}}, Invalid, ""},
		{"too many", LeadBatch{Leads: make([]LeadInput, MaxLeads+1)}, TooLarge, ""},
		{"a malformed list", LeadBatch{List: "x", Leads: []LeadInput{{Phone: ptr("2025550142")}}}, NotFound, "List not found. The specified listId does not exist or is invalid. Omit listId to use the Quick Sends list."},
	} {
		mustFail[LeadsSaved](t, tt.name, tt.kind, "", tt.text)(w.CreateLeads(who, nil, tt.in))
	}
	all := w.save(who, LeadInput{
		FirstName: ptr(" Ana "), LastName: ptr("López"), Phone: ptr("2025550150"), CompanyName: ptr("Acme"), JobTitle: ptr("CEO"),
		LinkedinURL: ptr("https://x"), Notes: ptr("n"), CustomFields: []byte(`{"a":1}`), Owner: ptr("o@example.com"), ExternalID: ptr("e"),
		GHLContactID: ptr("g"), HSContactID: ptr("h"), HSPortalID: ptr("p"), AltPhones: [3]*string{nil, nil, ptr("2025550151")},
	}).Created[0]
	got, err := w.Lead(who, all.ID.String())
	if err != nil || fmt.Sprint(got) != fmt.Sprint(all) || got.FirstName != "Ana" || got.AltPhones[2] != "+12025550151" || string(got.CustomFields) != `{"a":1}` {
		t.Errorf("read again: %+v, %v; want %+v", got, err, all)
	}
}

func TestDuplicateLeads(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	list, err := w.CreateList(who, nil, "Other", "")
	if err != nil {
		t.Fatal(err)
	}
	first := w.save(who, LeadInput{
		Phone: ptr("2025550100"), Email: ptr("one@example.com"),
		AltPhones: [3]*string{ptr("2025550101"), ptr("2025550102"), ptr("2025550103")},
		AltEmails: [3]*string{ptr("a@example.com"), ptr("b@example.com"), ptr("c@example.com")},
	}).Created[0]
	inputs := []LeadInput{
		{Phone: ptr("+1 202 555 0100")}, {Email: ptr("ONE@example.com")}, {Phone: ptr("2025550102")}, {Email: ptr("c@example.com")},
		{Phone: ptr("2025550199"), AltPhones: [3]*string{nil, nil, ptr("2025550103")}},
		{Phone: ptr("2025550199"), AltEmails: [3]*string{ptr("one@example.com")}},
		{Phone: ptr("2025550111"), Email: ptr("new@example.com")}, // new
		{Phone: ptr("2025550112"), Email: ptr("NEW@example.com")}, // as the one before it
		{Phone: ptr("2025550113"), AltPhones: [3]*string{ptr("2025550111")}},
		{Phone: ptr("2025550112")}, // new: the one that had it was not saved
	}
	saved, err := w.CreateLeads(who, nil, LeadBatch{List: list.ID.String(), Leads: inputs})
	if err != nil || len(saved.Created) != 2 || len(saved.Duplicates) != 8 || saved.List != list.ID {
		t.Fatalf("saved %d, duplicates %d, %v; want 2, 8", len(saved.Created), len(saved.Duplicates), err)
	}
	for i, d := range saved.Duplicates {
		want, input := first.ID, i
		if i >= 6 {
			want, input = saved.Created[0].ID, i+1
		}
		if d.Existing.ID != want || d.Input != input {
			t.Errorf("duplicate %d: input %d of %s, want %d of %s", i, d.Input, d.Existing.ID, input, want)
		}
	}
	if dev := w.in(Development); len(w.save(dev, inputs[0]).Created) != 1 {
		t.Error("a lead of another environment is no duplicate")
	}
	before := w.contents()
	mustFail[LeadsSaved](t, "an invalid one at the end", Invalid, "", "leads/2/phone: not a valid phone number")(w.CreateLeads(who, nil, LeadBatch{
		Leads: []LeadInput{{Phone: ptr("2025550170")}, {Phone: ptr("2025550171")}, {Phone: ptr("1")}},
	}))
	if w.contents() != before {
		t.Error("a refused batch saved something")
	}
	together(8, func(int) {
		if _, err := w.CreateLeads(who, nil, LeadBatch{Leads: []LeadInput{{Email: ptr("same@example.com")}, {Email: ptr("too@example.com")}}}); err != nil {
			t.Error(err)
		}
	})
	if page, err := w.Leads(who, LeadQuery{Limit: 100}); err != nil || page.Total != 5 {
		t.Errorf("at the same time: %d leads, %v; want 5", page.Total, err)
	}
}

func TestTenThousandLeads(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	var batch LeadBatch
	for i := range MaxLeads {
		batch.Leads = append(batch.Leads, LeadInput{FirstName: ptr("Lead"), Phone: ptr(fmt.Sprintf("+1212%03d%04d", 200+i/10000, i)), Email: ptr(fmt.Sprintf("lead%d@example.com", i))})
	}
	batch.Leads[5000].Phone = nil
	start := time.Now()
	saved, err := w.CreateLeads(who, nil, batch)
	t.Logf("%d leads in one request: %s", MaxLeads, time.Since(start))
	if err != nil || len(saved.Created) != MaxLeads {
		t.Fatalf("saved %d, %v", len(saved.Created), err)
	}
	for i, l := range saved.Created[1:] {
		if string(l.ID.key()) <= string(saved.Created[i].ID.key()) {
			t.Fatal("the order of the request is not kept")
		}
	}
	ids := make([]string, 0, MaxLeads)
	for _, l := range saved.Created {
		ids = append(ids, l.ID.String())
	}
	start = time.Now()
	n, err := w.DeleteLeads(who, ids)
	t.Logf("deleted: %s", time.Since(start))
	if err != nil || n != MaxLeads {
		t.Errorf("deleted %d, %v", n, err)
	}
}

func TestLeadsChange(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	saved := w.save(who, LeadInput{FirstName: ptr("Ana"), Phone: ptr("2025550100"), Email: ptr("ana@example.com")}, LeadInput{Phone: ptr("2025550101")})
	ana, bo := saved.Created[0], saved.Created[1]
	list, err := w.CreateList(who, nil, "VIP", "best")
	if err != nil {
		t.Fatal(err)
	}
	counts := func(quick, vip int64) {
		t.Helper()
		lists, err := w.Lists(who)
		if err != nil || len(lists) != 2 || lists[0].Leads != quick || lists[1].Leads != vip {
			t.Errorf("lists: %+v, %v; want %d and %d", lists, err, quick, vip)
		}
	}
	counts(2, 0)
	w.clock.pass(time.Second)
	changed, err := w.SetLead(who, ana.ID.String(), LeadInput{LastName: ptr("López"), Phone: ptr("2025550102"), List: ptr(list.ID.String())}, "")
	if err != nil || changed.FirstName != "Ana" || changed.LastName != "López" || changed.Phone != "+12025550102" || changed.List != list.ID ||
		!changed.Updated.After(changed.Created) || changed.Email != "ana@example.com" {
		t.Errorf("changed: %+v, %v", changed, err)
	}
	counts(1, 1)
	if len(w.save(who, LeadInput{Phone: ptr("2025550100")}).Created) != 1 {
		t.Error("an address that was given up is free")
	}
	mustFail[Lead](t, "another's phone", Conflict, CodeDuplicateLead, "")(w.SetLead(who, bo.ID.String(), LeadInput{Email: ptr("Ana@example.com")}, ""))
	mustFail[Lead](t, "another's phone as an alternate", Conflict, CodeDuplicateLead, "")(w.SetLead(who, bo.ID.String(), LeadInput{AltPhones: [3]*string{ptr("2025550102")}}, ""))
	mustFail[Lead](t, "the last address removed", Invalid, "", "")(w.SetLead(who, bo.ID.String(), LeadInput{Phone: ptr("")}, ""))
	mustFail[Lead](t, "an invalid phone", Invalid, CodeInvalidAddress, "")(w.SetLead(who, bo.ID.String(), LeadInput{Phone: ptr("1")}, ""))
	mustFail[Lead](t, "a malformed id", Invalid, "", "Invalid lead id")(w.SetLead(who, "x", LeadInput{}, ""))
	mustFail[Lead](t, "a malformed id", Invalid, "", "Invalid lead id")(w.Lead(who, "x"))
	// A message may give a lead an alternate that another has: that is no obstacle to other changes.
	w.line(Production, 0, 0)
	w.send(who, SendRequest{Lead: bo.ID.String(), AltEmails: [3]*string{ptr("ana@example.com")}})
	if _, err := w.SetLead(who, bo.ID.String(), LeadInput{FirstName: ptr("Bo")}, ""); err != nil {
		t.Errorf("changing the name only: %v", err)
	}
	if r := w.send(who, SendRequest{Email: "ana@example.com"}); r.Message.Lead != ana.ID {
		t.Errorf("of two leads with an address the older one is meant: %s, want %s", r.Message.Lead, ana.ID)
	}
	if _, err := w.SetLead(who, bo.ID.String(), LeadInput{AltEmails: [3]*string{ptr("")}, CustomFields: []byte("null")}, ""); err != nil {
		t.Error(err)
	}

	refused(t, "a list with leads", w.DeleteList(who, list.ID.String()), Conflict, CodeListNotEmpty, "")
	mustFail[ListResult](t, "a name that is taken", Conflict, CodeNameTaken, "")(w.CreateList(who, nil, "vip", ""))
	mustFail[List](t, "renamed to one that is taken", Conflict, CodeNameTaken, "")(w.SetList(who, list.ID.String(), ptr("QUICK sends"), nil))
	if l, err := w.SetList(who, list.ID.String(), ptr("Vip"), nil); err != nil || l.Name != "Vip" || l.Description != "best" || l.Leads != 1 {
		t.Errorf("renamed: %+v, %v", l, err)
	}

	// Deleting cancels what waits, and leaves what was sent.
	m := w.send(who, SendRequest{Lead: ana.ID.String(), Scheduled: "2027-01-01"}).Message
	n, err := w.DeleteLeads(who, []string{ana.ID.String(), ana.ID.String(), "00000000000000000000000a"})
	if err != nil || n != 1 {
		t.Errorf("deleted %d, %v; want 1", n, err)
	}
	if got := w.get(who, m.ID); got.Status != Cancelled {
		t.Errorf("its message is %s", got.Status)
	}
	counts(2, 0)
	mustFail[Lead](t, "a deleted lead", NotFound, "", "Lead not found")(w.Lead(who, ana.ID.String()))
	mustFail[int](t, "no ids", Invalid, "", "No ids provided")(w.DeleteLeads(who, nil))
	mustFail[int](t, "a malformed id", Invalid, "", "Invalid lead id in ids array")(w.DeleteLeads(who, []string{bo.ID.String(), "x"}))
	if _, err := w.Lead(who, bo.ID.String()); err != nil {
		t.Errorf("a refused deletion deleted: %v", err)
	}
	if err := w.DeleteList(who, list.ID.String()); err != nil {
		t.Error(err)
	}
	refused(t, "a deleted list", w.DeleteList(who, list.ID.String()), NotFound, "", "List not found")
}

func TestFindLeads(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	list, err := w.CreateList(who, nil, "VIP", "")
	if err != nil {
		t.Fatal(err)
	}
	w.save(who,
		LeadInput{FirstName: ptr("Ana"), LastName: ptr("López"), Phone: ptr("2025550100"), Email: ptr("ana@example.com"), CompanyName: ptr("Acme")},
		LeadInput{FirstName: ptr("Bo"), LastName: ptr("Li"), Phone: ptr("2025550101"), CompanyName: ptr("ACME Labs")},
		LeadInput{FirstName: ptr("Cy"), Email: ptr("cy@acme.example.com"), AltPhones: [3]*string{ptr("2025550102")}},
	)
	if _, err := w.CreateLeads(who, nil, LeadBatch{List: list.ID.String(), Leads: []LeadInput{{FirstName: ptr("Di"), Phone: ptr("2025550103"), CompanyName: ptr("acme")}}}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		search, list string
		want         string // first names, newest first
	}{
		{"", "", "Di Cy Bo Ana"},
		{"acme", "", "Di Cy Bo Ana"},
		{"ACME", list.ID.String(), "Di"},
		{"", list.ID.String(), "Di"},
		{"lópez", "", "Ana"},
		{"LÓPEZ", "", "Ana"},
		{"ana lópez", "", "Ana"},
		{"(202) 555-0101", "", "Bo"},
		{"+1 202.555.0101", "", "Bo"},
		{"555 010", "", "Di Bo Ana"},
		{"@example", "", "Ana"},
		{"nobody", "", ""},
	} {
		page, err := w.Leads(who, LeadQuery{Search: tt.search, List: tt.list, Page: 1, Limit: 10})
		var names []string
		for _, l := range page.Leads {
			names = append(names, l.FirstName)
		}
		if got := strings.Join(names, " "); err != nil || got != tt.want || page.Total != int64(len(names)) || len(page.Lists) != 2 {
			t.Errorf("%q in list %q: got %q, total %d, %v; want %q", tt.search, tt.list, got, page.Total, err, tt.want)
		}
	}
	for _, search := range []string{"", "acme"} {
		for page, want := range map[int]int{1: 3, 2: 1, 3: 0} {
			got, err := w.Leads(who, LeadQuery{Search: search, Page: page, Limit: 3})
			if err != nil || len(got.Leads) != want || got.Total != 4 {
				t.Errorf("%q, page %d: %d of %d, %v; want %d of 4", search, page, len(got.Leads), got.Total, err, want)
			}
		}
	}
	if page, err := w.Leads(who, LeadQuery{}); err != nil || len(page.Leads) != 1 || page.Total != 4 {
		t.Errorf("without page and limit: %d of %d, %v", len(page.Leads), page.Total, err)
	}
}

var manyLeads = flag.Bool("million", false, "benchmark searches with a million leads")

func BenchmarkLeads(b *testing.B) {
	n := 100_000
	if *manyLeads {
		n = 1_000_000
	}
	e, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	made, err := e.Admin().CreateWorkspace("b", "enterprise", "")
	if err != nil {
		b.Fatal(err)
	}
	who, err := e.Admin().In(made.ID, Production)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < n; i += MaxLeads {
		var batch LeadBatch
		for j := i; j < i+MaxLeads; j++ {
			batch.Leads = append(batch.Leads, LeadInput{
				FirstName: ptr(fmt.Sprintf("First%d", j)), LastName: ptr("Last"), CompanyName: ptr("Company"), Email: ptr(fmt.Sprintf("lead%d@example.com", j)),
			})
		}
		if _, err := e.CreateLeads(who, nil, batch); err != nil {
			b.Fatal(err)
		}
	}
	for _, bench := range []struct {
		name string
		q    LeadQuery
	}{
		{"first page", LeadQuery{Page: 1, Limit: 50}},
		{"last page", LeadQuery{Page: n / 50, Limit: 50}},
		{"search", LeadQuery{Search: "lead77777@", Page: 1, Limit: 50}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if page, err := e.Leads(who, bench.q); err != nil || len(page.Leads) == 0 {
					b.Fatal(len(page.Leads), err)
				}
			}
		})
	}
}
