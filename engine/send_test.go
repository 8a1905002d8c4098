package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// lead returns the lead of a message.
func (w *world) lead(who Caller, r *SendResult) Lead {
	w.t.Helper()
	l, err := w.Lead(who, r.Message.Lead.String())
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func TestLeadOfMessage(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	w.line(Production, 0, 0)
	w.lineOf(w.operator(Production), Email, LineChange{Email: ptr("line@example.com")})

	fresh := w.send(who, SendRequest{Phone: "(202) 555-9001", Name: "Ana de Souza"})
	ana := w.lead(who, fresh)
	if !fresh.NewLead || ana.Phone != "+12025559001" || ana.FirstName != "Ana" || ana.LastName != "de Souza" {
		t.Errorf("a new person makes a lead: got %+v", ana)
	}
	lists, _ := w.Lists(who)
	if len(lists) != 1 || lists[0].Name != QuickSends || lists[0].Leads != 1 || lists[0].ID != ana.List {
		t.Errorf("the lead goes to Quick Sends: got %+v", lists)
	}
	saved, err := w.CreateLeads(who, nil, LeadBatch{Leads: []LeadInput{{
		FirstName: ptr("Bo"), Phone: ptr("+12025559002"), Email: ptr("Bo@Example.com"),
		AltPhones: [3]*string{ptr("2025559003")}, AltEmails: [3]*string{nil, ptr("bo.alt@example.com")},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	bo := saved.Created[0]
	for _, tt := range []struct {
		name string
		req  SendRequest
		to   []string
	}{
		{"found by phone", SendRequest{Phone: "2025559002"}, []string{"+12025559002", "+12025559003", "bo.alt@example.com"}},
		{"found by e-mail", SendRequest{Email: " BO@example.com"}, []string{"bo@example.com", "+12025559003", "bo.alt@example.com"}},
		{"found by an alternate phone", SendRequest{Phone: "+12025559003"}, []string{"+12025559003", "bo.alt@example.com"}},
		{"found by an alternate e-mail", SendRequest{Email: "bo.alt@example.com"}, []string{"bo.alt@example.com", "+12025559003"}},
		{"by id: phones, then e-mails", SendRequest{Lead: bo.ID.String()}, []string{"+12025559002", "+12025559003", "bo@example.com", "bo.alt@example.com"}},
		{"by id: an SMS takes phones only", SendRequest{Lead: bo.ID.String(), Type: "sms"}, []string{"+12025559002", "+12025559003"}},
		{"by id: an e-mail takes mailboxes only", SendRequest{Lead: bo.ID.String(), Type: "email"}, []string{"bo@example.com", "bo.alt@example.com"}},
		{"the request's recipient overrides the lead's", SendRequest{Lead: bo.ID.String(), Phone: "+12025559009"}, []string{"+12025559009", "+12025559003", "bo.alt@example.com"}},
		{"the request's mailbox comes first", SendRequest{Lead: bo.ID.String(), Email: "x@example.com"}, []string{"x@example.com", "+12025559003", "bo.alt@example.com"}},
		{"an SMS to a mailbox's person takes the phone", SendRequest{Email: "bo@example.com", Type: "sms"}, []string{"+12025559002", "+12025559003"}},
	} {
		r := w.send(who, tt.req)
		if r.NewLead || r.Message.Lead != bo.ID || !slices.Equal(r.Message.To, tt.to) {
			t.Errorf("%s: got new %v, lead %s, to %q; want %s, %q", tt.name, r.NewLead, r.Message.Lead, r.Message.To, bo.ID, tt.to)
		}
	}
	// Alternates are merged: only what the request says changes.
	r := w.send(who, SendRequest{Lead: bo.ID.String(), AltPhones: [3]*string{nil, ptr("2025559004")}})
	got, err := w.Lead(who, bo.ID.String())
	if err != nil || got.AltPhones != [3]string{"+12025559003", "+12025559004"} || got.AltEmails != bo.AltEmails {
		t.Errorf("alternates are merged: got %+v, %v", got, err)
	}
	if !slices.Contains(r.Message.To, "+12025559004") {
		t.Errorf("the new alternate is tried at once: got %q", r.Message.To)
	}
	if r := w.send(who, SendRequest{Phone: "+12025559004"}); r.Message.Lead != bo.ID {
		t.Errorf("the new alternate finds the lead: got %s, want %s", r.Message.Lead, bo.ID)
	}
	made := w.send(who, SendRequest{Phone: "+12025559020", AltEmails: [3]*string{ptr("NEW@example.com")}})
	if lead := w.lead(who, made); !made.NewLead || lead.AltEmails[0] != "new@example.com" {
		t.Errorf("a new lead gets the alternates: got %+v", lead)
	}
}

func TestRefusedMessages(t *testing.T) {
	w := newWorld(t, unlimited())
	who, op := w.in(Production), w.operator(Production)
	const noLine = "No active lines in workspace. Add and activate a line, or provide fromLineId."
	mustFail[*SendResult](t, "without any line", Invalid, "", noLine)(w.Send(who, nil, to(phone())))
	idle := w.line(Production, 0, 0)
	if _, err := w.SetLine(op, idle.ID.String(), LineChange{Active: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	mustFail[*SendResult](t, "without an active line", Invalid, "", noLine)(w.Send(who, nil, to(phone())))
	w.line(Production, 0, 0)
	mail := w.lineOf(op, Email, LineChange{Email: ptr("line@example.com")})
	w.send(who, SendRequest{Email: "who@example.com"})
	noPhone := w.send(who, SendRequest{Email: "only@example.com"}).Lead
	other := w.line(Development, 0, 0)
	before := w.contents()
	own := noPhone.ID.String()
	never := own[:14] + "ffffffffff" // our tag, an id that was not made

	const (
		window    = "Invalid timezone or time window settings. Please check your timezone and time format."
		timeForm  = "Invalid time format. sendWindowStart and sendWindowEnd must be in HH:mm format (e.g., 09:00, 17:00)"
		recipient = "Either recipientEmail or recipientPhone is required (in body or on the lead when leadId is provided)."
		fallback  = "sendFallbackSmsOnFailed is true but fallback SMS is not configured. Configure fallback in workspace settings (Settings → Fallback) or set sendFallbackSmsOnFailed to false."
	)
	for _, tt := range []struct {
		name string
		kind Kind
		code string
		text string
		edit func(r *SendRequest)
	}{
		{"nothing to say", Invalid, "", "Message and attachmentUrls cannot both be empty", func(r *SendRequest) { r.Text = " \n" }},
		{"an unknown type", Invalid, "", "Invalid messageType. Must be email, sms, or imessage", func(r *SendRequest) { r.Type = "fax" }},
		{"three attachments", Invalid, "", "Maximum 2 attachments per message", func(r *SendRequest) {
			r.Attachments = []string{"https://a.example/1.png", "https://a.example/2.png", "https://a.example/3.png"}
		}},
		{"an attachment that is no URL", Invalid, "", "", func(r *SendRequest) { r.Attachments = []string{"file:///etc/passwd"} }},
		{"a name without its attachment", Invalid, "", "", func(r *SendRequest) { r.AttachmentNames = []string{"a"} }},
		{"a date that is none", Invalid, "", "Invalid scheduledDate format", func(r *SendRequest) { r.Scheduled = "tomorrow" }},
		{"a window that begins at 24:00", Invalid, "", timeForm, func(r *SendRequest) {
			r.Window = Window{Timezone: "UTC", Start: "24:00", End: "17:00"}
		}},
		{"a window that ends at 5", Invalid, "", timeForm, func(r *SendRequest) { r.Window = Window{Timezone: "UTC", Start: "09:00", End: "5"} }},
		{"a window without time zone", Invalid, "", window, func(r *SendRequest) { r.Window = Window{Start: "09:00", End: "17:00"} }},
		{"days without time zone", Invalid, "", window, func(r *SendRequest) { r.Window = Window{Days: []int{1}} }},
		{"an unknown time zone", Invalid, "", window, func(r *SendRequest) { r.Window = Window{Timezone: "Mars/Olympus"} }},
		{"an eighth day", Invalid, "", window, func(r *SendRequest) { r.Window = Window{Timezone: "UTC", Days: []int{7}} }},
		{"a window without end", Invalid, "", window, func(r *SendRequest) { r.Window = Window{Timezone: "UTC", Start: "09:00"} }},
		{"nobody to send to", Invalid, "", recipient, func(r *SendRequest) { r.Phone = "" }},
		{"an SMS to a lead without phone", Invalid, "", recipient, func(r *SendRequest) { r.Phone, r.Lead, r.Type = "", own, "sms" }},
		{"a phone number that is none", Invalid, CodeInvalidAddress, "", func(r *SendRequest) { r.Phone = "12" }},
		{"a mailbox that is none", Invalid, CodeInvalidAddress, "", func(r *SendRequest) { r.Email = "x@y" }},
		{"an alternate that is none", Invalid, CodeInvalidAddress, "", func(r *SendRequest) { r.AltPhones[1] = ptr("12") }},
		{"fallback SMS", Invalid, CodeFallbackMissing, fallback, func(r *SendRequest) { r.FallbackOnFailed = true }},
		{"forced fallback", Invalid, CodeFallbackMissing, "forceFallback is true but fallback SMS is not configured.", func(r *SendRequest) { r.ForceFallback = true }},
		{"a malformed lead", Invalid, "", "Invalid leadId", func(r *SendRequest) { r.Lead = "123" }},
		{"an unknown lead", NotFound, "", "Lead not found or access denied", func(r *SendRequest) { r.Lead = never }},
		{"a malformed line", Invalid, "", "Invalid fromLineId", func(r *SendRequest) { r.Line = "123" }},
		{"an unknown line", NotFound, "", "Line not found", func(r *SendRequest) { r.Line = never }},
		{"an inactive line", Invalid, "", "The line is not active. Activate it, or leave out fromLineId.", func(r *SendRequest) { r.Line = idle.ID.String() }},
		{"a line of another environment", Forbidden, CodeWrongWorkspace, "", func(r *SendRequest) { r.Line = other.ID.String() }},
		{"a line of another type", Invalid, "", "This line can't send messages of type imessage", func(r *SendRequest) { r.Line = mail.ID.String() }},
		{"a text that is too long", Invalid, "", "Message is too long: at most 1600 characters for sms", func(r *SendRequest) {
			r.Type, r.Text = "sms", strings.Repeat("ä", 1601)
		}},
		{"a batch with a zero byte", Invalid, "", "", func(r *SendRequest) { r.BatchID = "a\x00b" }},
	} {
		req := to(phone())
		tt.edit(&req)
		mustFail[*SendResult](t, tt.name, tt.kind, tt.code, tt.text)(w.Send(who, nil, req))
	}
	if after := w.contents(); after != before {
		t.Error("refused requests changed what is stored")
	}
}

func TestLinesTakeTurns(t *testing.T) {
	w := newWorld(t, unlimited())
	who, op := w.in(Production), w.operator(Production)
	count := map[LineID]int{}
	a, b, c := w.line(Production, 0, 0), w.line(Production, 0, 0), w.line(Production, 0, 0)
	sms := w.lineOf(op, SMS, LineChange{Phone: ptr(phone())})
	for range 9 {
		count[w.send(who, to(phone())).Message.Line]++
	}
	if count[a.ID] != 3 || count[b.ID] != 3 || count[c.ID] != 3 {
		t.Errorf("nine messages over three lines: got %v", count)
	}
	if r := w.send(who, SendRequest{Phone: phone(), Line: b.ID.String()}); r.Message.Line != b.ID || !r.Message.Pinned {
		t.Errorf("fromLineId: got %s, want %s", r.Message.Line, b.ID)
	}
	clear(count)
	for range 8 {
		count[w.send(who, SendRequest{Phone: phone(), Type: "sms"}).Message.Line]++
	}
	if count[sms.ID] != 2 || count[a.ID] != 2 {
		t.Errorf("an SMS goes over SMS and iMessage lines: got %v", count)
	}
	if _, err := w.SetLine(op, a.ID.String(), LineChange{Active: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		if r := w.send(who, to(phone())); r.Message.Line == a.ID {
			t.Error("a paused line got a message")
		}
	}
}

func TestWhenMessagesGo(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	w.line(Production, 0, 0)
	at := func(s string) time.Time {
		at, ok := ParseDate(s)
		if !ok {
			t.Fatal(s)
		}
		return at
	}
	window := func(zone, start, end string, days ...int) Window { return Window{zone, start, end, days, ""} }
	const charged, free = true, false
	for _, tt := range []struct { // it is Monday, 12:00 UTC
		name    string
		req     SendRequest
		status  Status
		due     time.Time
		charged bool
	}{
		{"at once", SendRequest{}, Pending, noon, charged},
		{"inside its window", SendRequest{Window: window("UTC", "09:00", "17:00")}, Pending, noon, charged},
		{"its window opens later today", SendRequest{Window: window("UTC", "13:00", "17:00")}, Queued, at("2026-11-23T13:00:00Z"), charged},
		{"its window has closed for today", SendRequest{Window: window("UTC", "08:00", "12:00")}, Queued, at("2026-11-24T08:00:00Z"), charged},
		{"its window opens on Wednesday", SendRequest{Window: window("UTC", "", "", 3)}, Queued, at("2026-11-25T00:00:00Z"), charged},
		{"inside a window over midnight", SendRequest{Window: window("Asia/Tokyo", "20:00", "06:00", 1)}, Pending, noon, charged},
		{"after a window over midnight", SendRequest{Window: window("America/New_York", "22:00", "06:00")}, Queued, at("2026-11-24T03:00:00Z"), charged},
		{"a future date", SendRequest{Scheduled: "2026-11-26T08:30:00+01:00"}, Scheduled, at("2026-11-26T07:30:00Z"), free},
		{"a future date outside of its window", SendRequest{Scheduled: "2026-11-26T07:30:00Z", Window: window("UTC", "09:00", "17:00")}, Scheduled, at("2026-11-26T09:00:00Z"), free},
		{"a past date", SendRequest{Scheduled: "2020-01-01"}, Pending, noon, charged},
		{"a past date outside of its window", SendRequest{Scheduled: "2020-01-01", Window: window("UTC", "13:00", "17:00")}, Queued, at("2026-11-23T13:00:00Z"), charged},
	} {
		before := w.usage(who, limitDay).Used
		tt.req.Phone = phone()
		m := w.send(who, tt.req).Message
		if m.Status != tt.status || !m.Due.Equal(tt.due) {
			t.Errorf("%s: got %s, due %s; want %s, %s", tt.name, m.Status, m.Due, tt.status, tt.due)
		}
		if (m.Status == Queued) != (m.Reason != "") {
			t.Errorf("%s: is %s with the reason %q", tt.name, m.Status, m.Reason)
		}
		if got := w.usage(who, limitDay).Used - before; (got == 1) != tt.charged {
			t.Errorf("%s: charged %d", tt.name, got)
		}
		if (m.Unit.Day != 0) != (tt.charged && m.Due.Day() == noon.Day()) {
			t.Errorf("%s: has a line unit of %s", tt.name, m.Unit.Day)
		}
	}
	// What is due later is charged when it is released.
	before := w.usage(who, limitDay).Used
	w.clock.until(at("2026-11-26T09:00:00Z"))
	w.release(Production)
	if got := w.usage(who, limitDay).Used; got != 2 || before != 9 {
		t.Errorf("two dated messages were released: %d used, %d before", got, before)
	}
	page, err := w.Messages(who, MessageQuery{Status: Pending, Limit: 100})
	if err != nil || len(page.Messages) != 11 {
		t.Errorf("all are pending in the end: got %d, %v", len(page.Messages), err)
	}
}

func TestPlaceholders(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	l := w.line(Production, 0, 0)
	saved, err := w.CreateLeads(who, nil, LeadBatch{Leads: []LeadInput{{
		FirstName: ptr("Ana"), Phone: ptr(phone()), CompanyName: ptr("Café {{lastName}}"),
		CustomFields: []byte(`{"size":12,"vip":true,"note":"x","none":null,"deep":{"a":1}}`),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ text, want string }{
		{"Hello {{firstName}}!", "Hello Ana!"},
		{"{{ firstName }}{{lastName}}.", "Ana."},
		{"{{companyName}}", "Café {{lastName}}"},
		{"{{size}} {{vip}} {{note}} {{none}} {{deep}} {{unknown}}|", "12 true x   |"},
		{"{firstName} {{first name}} {{", "{firstName} {{first name}} {{"},
	} {
		m := w.send(who, SendRequest{Text: tt.text, Lead: saved.Created[0].ID.String()}).Message
		if m.Text != tt.text {
			t.Errorf("%q is filled when it is sent, not before: got %q", tt.text, m.Text)
		}
		if sent, ok := w.deliver(Production, l.ID); !ok || sent.Text != tt.want {
			t.Errorf("%q: sent %q, want %q", tt.text, sent.Text, tt.want)
		}
	}
}

func TestFindMessages(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	a, b := w.line(Production, 0, 0), w.line(Production, 0, 0)
	var all []Message
	for i := range 40 {
		line := []Line{a, b}[i%2]
		m := w.send(who, SendRequest{Phone: fmt.Sprintf("+1202555%04d", 8000+i%5), Line: line.ID.String(), BatchID: []string{"", "x", "xy"}[i%3]}).Message
		all = append(all, m)
		w.clock.pass(700 * time.Millisecond)
	}
	w.deliver(Production, a.ID)
	lead := all[3].Lead
	for _, tt := range []struct {
		name string
		q    MessageQuery
		want func(m Message) bool
	}{
		{"all", MessageQuery{}, func(Message) bool { return true }},
		{"pending", MessageQuery{Status: Pending}, func(m Message) bool { return m.ID != all[0].ID }},
		{"delivered", MessageQuery{Status: Delivered}, func(m Message) bool { return m.ID == all[0].ID }},
		{"failed", MessageQuery{Status: Failed}, func(Message) bool { return false }},
		{"of a line", MessageQuery{Line: b.ID.String()}, func(m Message) bool { return m.Line == b.ID }},
		{"of a lead", MessageQuery{Lead: lead.String()}, func(m Message) bool { return m.Lead == lead }},
		{"of a batch", MessageQuery{Batch: "x"}, func(m Message) bool { return m.BatchID == "x" }},
		{"of a batch and a line", MessageQuery{Batch: "x", Line: b.ID.String()}, func(m Message) bool { return m.BatchID == "x" && m.Line == b.ID }},
		{"from and to", MessageQuery{From: all[5].Created, To: all[9].Created}, func(m Message) bool {
			return !m.Created.Before(all[5].Created) && !m.Created.After(all[9].Created)
		}},
		{"of a lead, from", MessageQuery{Lead: lead.String(), From: all[20].Created}, func(m Message) bool {
			return m.Lead == lead && !m.Created.Before(all[20].Created)
		}},
	} {
		var want []MessageID
		for _, m := range slices.Backward(all) {
			if tt.want(m) {
				want = append(want, m.ID)
			}
		}
		for _, limit := range []int{1, 3, 100} {
			var got []MessageID
			tt.q.Limit, tt.q.Cursor = limit, ""
			for {
				page, err := w.Messages(who, tt.q)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range page.Messages {
					got = append(got, m.ID)
				}
				if tt.q.Cursor = page.Next; page.Next == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, %d a page: got %d, want %d", tt.name, limit, len(got), len(want))
			}
		}
	}
	if _, err := w.Messages(who, MessageQuery{}); err != nil {
		t.Errorf("without a limit: %v", err)
	}
	mustFail[MessagePage](t, "an unknown status", Invalid, "", "Invalid status")(w.Messages(who, MessageQuery{Status: "lost"}))
	mustFail[MessagePage](t, "a wrong cursor", Invalid, "", "Invalid cursor")(w.Messages(who, MessageQuery{Cursor: "x"}))
}

// A text may grow when its placeholders are filled, but not beyond what its channel carries: then the message
// fails, and does not stand in the way of the others.
func TestFilledTextIsTooLong(t *testing.T) {
	w := newWorld(t, unlimited())
	line := w.line(Production, 0, 0)
	who := w.in(Production)
	saved, err := w.CreateLeads(who, nil, LeadBatch{Leads: []LeadInput{{
		Phone: ptr("+12025550142"), CustomFields: []byte(`{"a":"` + strings.Repeat("x", 15_000) + `","n":7}`),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	lead := saved.Created[0].ID.String()
	w.send(who, SendRequest{Lead: lead, Text: strings.Repeat("{{a}}", 2000)})
	w.send(who, SendRequest{Lead: lead, Text: "{{a}} {{n}}"})
	next := func() Job {
		t.Helper()
		jobs, _, err := Queue{who.env}.Next(line.ID, 1, func(MessageID) bool { return false })
		if err != nil || len(jobs) != 1 {
			t.Fatalf("%d jobs, %v", len(jobs), err)
		}
		return jobs[0]
	}
	job := next()
	if job.Refused == "" || job.Text != "" {
		t.Errorf("a text of 30 million characters: %q", job.Refused)
	}
	if _, err := (Queue{who.env}).Finish(job.Message.ID, Outcome{Status: Failed, Detail: job.Refused}); err != nil {
		t.Fatal(err)
	}
	job = next()
	if want := strings.Repeat("x", 15_000) + " 7"; job.Refused != "" || job.Text != want {
		t.Errorf("a text of 15,002 characters: %q, %d", job.Refused, len(job.Text))
	}
}
