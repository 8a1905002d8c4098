package e2e

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func mailTo(to, text string) map[string]any {
	return map[string]any{"message": text, "messageType": "email", "recipientEmail": to}
}

// TestMailArrives: what goes in through the API comes out at a mail server, right and once.
func TestMailArrives(t *testing.T) {
	t.Parallel()
	box := openMailbox(t, "", 0)
	s := serve(t, t.TempDir())
	who := newTenant(s, "--email-lines", "1")
	line := newLine(s, who, "--type", "email", "--email", "ann@sender.test", "--first-name", "Ann", "--last-name", "Lee", "--transport", box.url())

	id, a, err := send(client, s.url, who.key, map[string]any{
		"message": "Hello {{firstName}}, it is five.", "messageType": "email", "recipientEmail": "bob@example.com", "recipientName": "Bob Ray", "fromLineId": line,
	})
	if id == "" {
		t.Fatalf("not accepted: %v %d %s", err, a.status, a.body)
	}
	eventually(t, "the message is sent", func() bool {
		var got struct{ Message message }
		s.get(who.key, "/api/messages/"+id, &got)
		return got.Message.Status == "sent"
	})
	all := box.find(id)
	if len(all) != 1 {
		t.Fatalf("it arrived %d times", len(all))
	}
	got := all[0]
	if got.from != "ann@sender.test" || got.to != "bob@example.com" {
		t.Errorf("envelope from %q to %q", got.from, got.to)
	}
	if want := "<" + id + "@sender.test>"; got.parsed.Header.Get("Message-ID") != want {
		t.Errorf("Message-ID %q, want %q", got.parsed.Header.Get("Message-ID"), want)
	}
	from, err := got.parsed.Header.AddressList("From")
	if err != nil || from[0].Address != "ann@sender.test" || from[0].Name != "Ann Lee" {
		t.Errorf("From %v, %v", from, err)
	}
	to, err := got.parsed.Header.AddressList("To")
	if err != nil || to[0].Address != "bob@example.com" {
		t.Errorf("To %v, %v", to, err)
	}
	if want := "Hello Bob, it is five."; strings.TrimSpace(got.body) != want {
		t.Errorf("text %q, want %q", got.body, want)
	}
	s.check()
}

// TestMailServerDown: while a mail server is down its line says so, its messages wait, and nothing fails.
func TestMailServerDown(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.77:0") // an address that nobody else takes a port of meanwhile
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	s := serve(t, t.TempDir())
	who := newTenant(s, "--email-lines", "1")
	newLine(s, who, "--type", "email", "--email", "ann@sender.test", "--transport", "smtp://"+addr+"?starttls=none")

	var ids []string
	for _, to := range []string{"a@example.com", "b@example.com", "c@example.com"} {
		id, a, err := send(client, s.url, who.key, mailTo(to, "Hello"))
		if id == "" {
			t.Fatalf("not accepted: %v %d %s", err, a.status, a.body)
		}
		ids = append(ids, id)
	}
	var lines struct {
		Lines []struct {
			HealthCheck struct{ Status, Detail string }
		}
	}
	eventually(t, "the line is down", func() bool {
		s.get(who.key, "/api/lines/by-user", &lines)
		return len(lines.Lines) == 1 && lines.Lines[0].HealthCheck.Status == "down"
	})
	if detail := lines.Lines[0].HealthCheck.Detail; !strings.Contains(detail, "refused") {
		t.Errorf("the detail of a line that is down: %q", detail)
	}
	for _, m := range s.messages(who.key, "") {
		if m.Status != "pending" && m.Status != "queued" {
			t.Errorf("while the line is down, message %s is %s", m.ID, m.Status)
		}
	}
	if !strings.Contains(s.logged(), "line is down; its messages wait") {
		t.Error("the log does not say that the line is down")
	}

	box := openMailbox(t, addr, 0)
	up := time.Now()
	eventually(t, "the messages go out", func() bool { return len(box.deliveries()) == len(ids) })
	t.Logf("%v after the mail server came back, all had gone out", time.Since(up).Round(time.Millisecond))
	for _, id := range ids {
		if n := len(box.find(id)); n != 1 {
			t.Errorf("message %s arrived %d times", id, n)
		}
	}
	eventually(t, "the line is healthy again", func() bool {
		s.get(who.key, "/api/lines/by-user", &lines)
		return lines.Lines[0].HealthCheck.Status == "healthy"
	})
	eventually(t, "all are sent", func() bool { return len(s.messages(who.key, "&status=sent")) == len(ids) })
	if a, err := call(client, http.MethodGet, s.url+"/readyz", "", nil); err != nil || a.status != http.StatusOK {
		t.Errorf("readyz: %v %d %s", err, a.status, a.body)
	}
	s.check()
}
