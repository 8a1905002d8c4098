package transport

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// openScript opens a transport to a script; query is added to its URL.
func openScript(t *testing.T, s script, query string) (Transport, *heard) {
	t.Helper()
	addr, h := s.start(t)
	return mustOpen(t, "smtp://"+addr+"?starttls=none&"+query, Options{}), h
}

// The ends of an attempt, as a caller tells them apart.
const (
	isSent        = "sent"
	isFailed      = "failed"
	isTemporary   = "temporary"
	isUnreachable = "unreachable"
	isUnknown     = "unknown"
)

func ending(res Result, err error) string {
	var temporary *TemporaryError
	switch {
	case errors.Is(err, ErrUnknown):
		return isUnknown
	case errors.Is(err, ErrUnreachable):
		return isUnreachable
	case errors.As(err, &temporary):
		return isTemporary
	case err != nil:
		return err.Error()
	}
	return res.Outcome.String()
}

func TestSMTPAnswers(t *testing.T) {
	const closing = "421 4.3.2 shutting down"
	type test struct {
		at, reply  string
		want       string
		handedOver bool
	}
	for _, tt := range []test{
		{"greeting", "554 no", isUnreachable, false},
		{"greeting", closing, isUnreachable, false},
		{"greeting", "nonsense", isUnreachable, false},
		{"greeting", hangUp, isUnreachable, false},
		{"EHLO", hangUp, isUnreachable, false},
		{"MAIL", "451 4.3.0 later", isTemporary, false},
		{"RCPT", "450 4.2.0 greylisted", isTemporary, false},
		{"DATA", "452 4.3.1 full", isTemporary, false},
		{".", "451 4.7.1 later", isTemporary, true},
		{"MAIL", "553 5.1.8 bad sender", isFailed, false},
		{"RCPT", "550 5.1.1 no such user", isFailed, false},
		{"DATA", "554 5.5.1 no", isFailed, false},
		{".", "554 5.7.1 spam", isFailed, true},
		{"MAIL", "530 5.7.0 log in first", isUnreachable, false},
		{"MAIL", closing, isUnreachable, false},
		{"RCPT", closing, isUnreachable, false},
		{"DATA", closing, isUnreachable, false},
		{".", closing, isTemporary, true},
		{"MAIL", "354 what", isUnreachable, false},
		{"DATA", "250 what", isUnreachable, false},
		{"MAIL", hangUp, isUnreachable, false},
		{"RCPT", hangUp, isUnreachable, false},
		{"DATA", hangUp, isUnreachable, false},
		{".", hangUp, isUnknown, true},
		{".", "nonsense", isUnknown, true},
		{".", "354 what", isUnknown, true},
		{".", "251 fine", isSent, true},
		{".", "250 fine" + hangUp, isSent, true},
	} {
		t.Run(tt.at+" "+tt.reply, func(t *testing.T) {
			t.Parallel()
			tr, _ := openScript(t, script{tt.at: tt.reply}, "")
			handedOver := false
			res, err := tr.Send(t.Context(), testMessage(1), func() error { handedOver = true; return nil })
			if got := ending(res, err); got != tt.want || handedOver != tt.handedOver {
				t.Errorf("Send = %+v, %v (handed over: %v), want %s (%v)", res, err, handedOver, tt.want, tt.handedOver)
			}
			if tt.want == isFailed && res.Detail != tt.reply {
				t.Errorf("Detail = %q, want %q", res.Detail, tt.reply)
			}
		})
	}
}

func TestSMTPDetailIsOneShortLine(t *testing.T) {
	tr, _ := openScript(t, script{"RCPT": "550-5.1.1 no\r\n550-such\tuser\x1b[0m\r\n550 " + strings.Repeat("é", 600)}, "")
	res, err := tr.Send(t.Context(), testMessage(1), ok)
	if err != nil || !strings.HasPrefix(res.Detail, "550 5.1.1 no such user [0m é") || len(res.Detail) > 500 {
		t.Errorf("Send = %q, %v", res.Detail, err)
	}
}

func TestSMTPEndlessAnswer(t *testing.T) {
	tr, _ := openScript(t, script{"MAIL": strings.Repeat("250-more\r\n", maxReplyBytes/8)}, "")
	if res, err := tr.Send(t.Context(), testMessage(1), ok); ending(res, err) != isUnreachable {
		t.Errorf("Send = %+v, %v, want %v", res, err, ErrUnreachable)
	}
}

func TestSMTPServerLeavesDuringContent(t *testing.T) {
	tr, _ := openScript(t, script{"DATA": "354 go ahead" + hangUp}, "")
	m := testMessage(1)
	m.Text = strings.Repeat("more than the buffers on the way hold\n", 1<<19)
	res, err := tr.Send(t.Context(), m, func() error {
		t.Error("handed over")
		return nil
	})
	if ending(res, err) != isUnreachable {
		t.Errorf("Send = %+v, %v, want %v", res, err, ErrUnreachable)
	}
}

// Neither the failed hand-over nor what follows it on the line ends the content that was already sent.
func TestSMTPContentHasNoEndBeforeHandOver(t *testing.T) {
	addr, h := script{}.start(t)
	tr := mustOpen(t, "smtp://"+addr+"?starttls=none", Options{})
	_, err := tr.Send(t.Context(), testMessage(1), func() error { return errHook })
	if !errors.Is(err, errHook) {
		t.Fatal(err)
	}
	if err := tr.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res, err := tr.Send(t.Context(), testMessage(2), ok); ending(res, err) != isSent {
		t.Fatal(err)
	}
	if n := strings.Count(h.String(), "content complete"); n != 1 {
		t.Errorf("%d contents were ended, want 1:\n%s", n, h)
	}
}

func TestSMTPSlowServer(t *testing.T) {
	for at, want := range map[string]string{
		"greeting": isUnreachable, "EHLO": isUnreachable, "MAIL": isUnreachable, "RCPT": isUnreachable, "DATA": isUnreachable, ".": isUnknown,
	} {
		t.Run("deadline at "+at, func(t *testing.T) {
			t.Parallel()
			tr, _ := openScript(t, script{at: hang}, "")
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			res, err := tr.Send(ctx, testMessage(1), ok)
			if ending(res, err) != want || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Send = %+v, %v, want %s and %v", res, err, want, context.DeadlineExceeded)
			}
		})
		t.Run("timeout at "+at, func(t *testing.T) {
			t.Parallel()
			tr, _ := openScript(t, script{at: hang}, "timeout=100ms")
			if res, err := tr.Send(t.Context(), testMessage(1), ok); ending(res, err) != want {
				t.Errorf("Send = %+v, %v, want %s", res, err, want)
			}
		})
	}
}

func TestSMTPCancelWhileWaiting(t *testing.T) {
	tr, _ := openScript(t, script{".": hang}, "")
	ctx, cancel := context.WithCancel(t.Context())
	res, err := tr.Send(ctx, testMessage(1), func() error {
		time.AfterFunc(50*time.Millisecond, cancel)
		return nil
	})
	if ending(res, err) != isUnknown || !errors.Is(err, context.Canceled) {
		t.Errorf("Send = %+v, %v, want %v", res, err, ErrUnknown)
	}
}

// After the hand-over a context that has ended still keeps the dot back, so the answer is known.
func TestSMTPContextEndsAfterHandOver(t *testing.T) {
	tr, h := openScript(t, script{}, "")
	ctx, cancel := context.WithCancel(t.Context())
	res, err := tr.Send(ctx, testMessage(1), func() error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknown) {
		t.Errorf("Send = %+v, %v, want %v", res, err, context.Canceled)
	}
	if strings.Contains(h.String(), "content complete") {
		t.Error("the content was ended")
	}
}

func TestSMTPLineIsDown(t *testing.T) {
	s := startMailServer(t, &mailServer{})
	down := listen(t)
	down.Close()
	plain, _ := script{}.start(t)
	trusted, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*url.URL)) string {
		u := *trusted
		f(&u)
		return u.String()
	}
	for name, rawURL := range map[string]string{
		"nobody listens":                    "smtp://" + down.Addr().String(),
		"wrong password":                    change(func(u *url.URL) { u.User = url.UserPassword(testUser, "hunter22") }),
		"STARTTLS isn't offered":            "smtp://" + plain,
		"no AUTH is offered":                "smtp://u:hunter22@" + plain + "?starttls=opportunistic",
		"the certificate isn't trusted":     change(func(u *url.URL) { u.RawQuery = "" }),
		"nor when STARTTLS isn't required":  change(func(u *url.URL) { u.RawQuery = "starttls=opportunistic" }),
		"the server doesn't start with TLS": change(func(u *url.URL) { u.Scheme = "smtps" }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := mustOpen(t, rawURL, Options{})
			res, err := tr.Send(t.Context(), testMessage(1), func() error {
				t.Error("handed over")
				return nil
			})
			if ending(res, err) != isUnreachable {
				t.Errorf("Send = %+v, %v, want %v", res, err, ErrUnreachable)
			}
			if err := tr.Check(t.Context()); !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "hunter22") {
				t.Errorf("Check = %v, want %v without the password", err, ErrUnreachable)
			}
		})
	}
}

func TestSMTPLogin(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	cramMD5 := b64([]byte("user 0d878384d4cbf881d3fbe9a6a9c8e3b7")) // HMAC-MD5 of the challenge "x" under "secret"
	for _, tt := range []struct {
		offers, query string
		remote        bool // the host is not this machine
		replies       script
		want          string // in what the server heard; empty if the password must not be sent
	}{
		{offers: "CRAM-MD5 LOGIN PLAIN", want: "AUTH PLAIN " + b64([]byte("\x00user\x00secret"))},
		{
			offers:  "LOGIN CRAM-MD5",
			replies: script{"AUTH": "334 VXNlcm5hbWU6", strings.ToUpper(b64([]byte("user"))): "334 UGFzc3dvcmQ6", strings.ToUpper(b64([]byte("secret"))): "235 welcome"},
			want:    "AUTH LOGIN\n" + b64([]byte("user")) + "\n" + b64([]byte("secret")),
		},
		{
			offers:  "CRAM-MD5",
			replies: script{"AUTH": "334 " + b64([]byte("x")), strings.ToUpper(cramMD5): "235 welcome"},
			want:    "AUTH CRAM-MD5\n" + cramMD5,
		},
		{offers: "PLAIN", remote: true},
		{offers: "CRAM-MD5", remote: true, query: "&starttls=opportunistic"},
		{offers: "PLAIN", remote: true, query: "&auth=insecure", want: "AUTH PLAIN"},
	} {
		s := script{"EHLO": "250-mail.test\r\n250 AUTH " + tt.offers}
		maps.Copy(s, tt.replies)
		addr, h := s.start(t)
		query := tt.query
		if !strings.Contains(query, "starttls") {
			query += "&starttls=none"
		}
		tr := mustOpen(t, "smtp://user:secret@"+addr+"?"+query[1:], Options{}).(*smtpTransport)
		if tt.remote {
			tr.dialAddr, tr.host = addr, "mail.example.com"
		}
		err := tr.Check(t.Context())
		switch {
		case tt.want == "" && (!errors.Is(err, ErrUnreachable) || strings.Contains(h.String(), "AUTH")):
			t.Errorf("offered %s%s: Check = %v, and the server heard\n%s", tt.offers, query, err, h)
		case tt.want != "" && (err != nil || !strings.Contains(h.String(), tt.want)):
			t.Errorf("offered %s%s: Check = %v, the server heard\n%s\nwant\n%s", tt.offers, query, err, h, tt.want)
		}
	}
}

func TestSMTPReusesConnections(t *testing.T) {
	s := startMailServer(t, &mailServer{})
	tr := mustOpen(t, s.url, Options{})
	refused := testMessage(1000)
	refused.To = []string{"failed@example.com"}
	for n := range maxPerConn + 1 {
		m := testMessage(n)
		if n == 5 {
			m = refused
		}
		if _, err := tr.Send(t.Context(), m, ok); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.inbox) != maxPerConn || s.sessions != 2 {
		t.Errorf("%d messages over %d connections, want %d over 2", len(s.inbox), s.sessions, maxPerConn)
	}
}

func TestSMTPReplacesDeadConnection(t *testing.T) {
	for name, s := range map[string]script{
		"closed":          {".": "250 queued" + hangUp},
		"closed at RSET":  {"RSET": hangUp},
		"refuses at RSET": {"RSET": "421 idle for too long"},
		"wants RSET not":  {"RSET": "502 what"},
	} {
		tr, h := openScript(t, s, "")
		for n := range 3 {
			calls := 0
			res, err := tr.Send(t.Context(), testMessage(n), func() error { calls++; return nil })
			if ending(res, err) != isSent || calls != 1 {
				t.Errorf("%s: Send = %+v, %v after %d hand-overs", name, res, err, calls)
			}
		}
		if n := strings.Count(h.String(), "content complete"); n != 3 {
			t.Errorf("%s: %d messages arrived, want 3", name, n)
		}
	}
}

// A new connection replaces a dead one only before the hand-over, whatever its error looks like.
func TestSMTPHandsOverOnceOnReusedConnection(t *testing.T) {
	tr, h := openScript(t, script{}, "")
	if _, err := tr.Send(t.Context(), testMessage(1), ok); err != nil {
		t.Fatal(err)
	}
	calls := 0
	_, err := tr.Send(t.Context(), testMessage(2), func() error { calls++; return ErrUnreachable })
	if !errors.Is(err, ErrUnreachable) || calls != 1 || strings.Count(h.String(), "content complete") != 1 {
		t.Errorf("Send: %v after %d hand-overs, want 1; the server heard\n%s", err, calls, h)
	}
}

func TestSMTPIdleConnectionExpires(t *testing.T) {
	addr, h := script{}.start(t)
	tr := mustOpen(t, "smtp://"+addr+"?starttls=none", Options{}).(*smtpTransport)
	if _, err := tr.Send(t.Context(), testMessage(1), ok); err != nil {
		t.Fatal(err)
	}
	s := tr.idle
	tr.expire(s)
	tr.expire(s)
	if tr.idle != nil || !strings.HasSuffix(h.String(), "QUIT") {
		t.Errorf("the connection stayed open; the server heard\n%s", h)
	}
}

func TestSMTPHeaders(t *testing.T) {
	const inject = "x\r\nBcc: evil@example.com\r\n\r\n<b>"
	long := strings.Repeat("n", 2000)
	for name, change := range map[string]func(*Message){
		"line name":      func(m *Message) { m.From.Name = inject },
		"recipient name": func(m *Message) { m.ToName = inject },
		"bare LF":        func(m *Message) { m.ToName = "x\nBcc: evil@example.com" },
		"bare CR":        func(m *Message) { m.From.Name = "x\rBcc: evil@example.com" },
		"quotes":         func(m *Message) { m.ToName = `"Bob" <evil@example.com>, \` },
		"encoded word":   func(m *Message) { m.ToName = "=?utf-8?q?x=0D=0ABcc:_evil=40example.com?=" },
		"invalid UTF-8":  func(m *Message) { m.From.Name = "a\xff\r\nb" },
		"long names":     func(m *Message) { m.From.Name, m.ToName = long, strings.Repeat("ü", 2000) },
	} {
		t.Run(name, func(t *testing.T) {
			m := testMessage(1)
			change(&m)
			tr := mustOpen(t, "smtp://mail.test", Options{}).(*smtpTransport)
			env, err := tr.compose(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			r := received{raw: env.content}
			parsed := r.parse(t)
			for name := range parsed.Header {
				switch name {
				case "Date", "Message-Id", "Mime-Version", "Subject", "From", "To", "Content-Transfer-Encoding", "Content-Type":
				default:
					t.Errorf("header %s got in:\n%s", name, env.content)
				}
			}
			for name, want := range map[string]string{"From": "ann@sender.test", "To": "bob@example.com"} {
				list, err := parsed.Header.AddressList(name)
				if err != nil || len(list) != 1 || list[0].Address != want || strings.ContainsAny(list[0].Name, "\r\n") {
					t.Errorf("%s = %v, %v, want one <%s>", name, list, err, want)
				}
			}
			for line := range strings.Lines(string(env.content)) {
				if !strings.HasSuffix(line, "\r\n") && !strings.HasSuffix(string(env.content), line) || len(line) > 998 {
					t.Errorf("line %q", line)
				}
			}
		})
	}
}

func TestSMTPAddressing(t *testing.T) {
	for _, tt := range []struct {
		name, query  string
		change       func(*Message)
		failed       string // the Detail
		from, to, id string
		subject      string
		wantsUTF8    bool
	}{
		{name: "phones are skipped", change: func(m *Message) { m.To = []string{"+12125550100", "b@x.test", "c@x.test"} }, to: "b@x.test"},
		{name: "no address", change: func(m *Message) { m.To = []string{"+12125550100"} }, failed: "no e-mail address"},
		{name: "two in one", change: func(m *Message) { m.To = []string{"a@x.test, b@x.test"} }, failed: "the recipient's e-mail address is not valid"},
		{name: "injection", change: func(m *Message) { m.To = []string{"a@x.test>\r\nRCPT TO:<b@x.test"} }, failed: "the recipient's e-mail address is not valid"},
		{name: "with a name", change: func(m *Message) { m.To = []string{"B <b@x.test>"} }, failed: "the recipient's e-mail address is not valid"},
		{name: "no sender", change: func(m *Message) { m.From.Email = "" }, failed: "the line has no valid e-mail address"},
		{name: "sender of the URL", query: "?from=sales@corp.test", from: "sales@corp.test", id: "@corp.test"},
		{name: "subject of the URL", query: "?subject=Your%20order", subject: "Your order"},
		{name: "nameless line", change: func(m *Message) { m.From.Name = " " }, subject: "Message from ann@sender.test"},
		{name: "address beyond ASCII", change: func(m *Message) { m.To = []string{"bjørn@x.test"} }, to: "bjørn@x.test", wantsUTF8: true},
		{name: "domain beyond ASCII", change: func(m *Message) { m.From.Email = "a@bücher.test" }, from: "a@bücher.test", id: "@mail.test", wantsUTF8: true},
	} {
		m := testMessage(1)
		if tt.change != nil {
			tt.change(&m)
		}
		tr := mustOpen(t, "smtp://mail.test"+tt.query, Options{}).(*smtpTransport)
		env, err := tr.compose(t.Context(), m)
		if tt.failed != "" {
			// The same, as a caller sees it: no connection is needed.
			if res, err := tr.Send(t.Context(), m, ok); err != nil || res.Outcome != Failed || res.Detail != tt.failed {
				t.Errorf("%s: Send = %+v, %v, want Failed: %s", tt.name, res, err, tt.failed)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		r := received{raw: env.content}
		if tt.from != "" && env.from != tt.from || tt.to != "" && env.to != tt.to || !strings.HasSuffix(env.id, tt.id) || env.utf8 != tt.wantsUTF8 {
			t.Errorf("%s: envelope %s → %s, id %s, utf8 %v", tt.name, env.from, env.to, env.id, env.utf8)
		}
		if got := r.header(t, "Subject"); tt.subject != "" && got != tt.subject {
			t.Errorf("%s: subject %q, want %q", tt.name, got, tt.subject)
		}
		if got := r.header(t, "Message-ID"); got != "<"+env.id+">" {
			t.Errorf("%s: Message-ID %s, want %s", tt.name, got, env.id)
		}
	}
}

func TestSMTPUTF8(t *testing.T) {
	m := testMessage(1)
	m.To = []string{"bjørn@example.com"}
	s := startMailServer(t, &mailServer{})
	tr := mustOpen(t, s.url, Options{})
	for _, m := range []Message{testMessage(0), m} { // the same connection, so the option must not stick
		if res, err := tr.Send(t.Context(), m, ok); ending(res, err) != isSent {
			t.Fatal(res, err)
		}
	}
	if got := s.arrived(); got[0].utf8 || !got[1].utf8 || got[1].to != "bjørn@example.com" {
		t.Errorf("SMTPUTF8 = %v, %v, want false, true", got[0].utf8, got[1].utf8)
	}
	old, _ := openScript(t, script{}, "")
	if res, err := old.Send(t.Context(), m, ok); ending(res, err) != isFailed {
		t.Errorf("without SMTPUTF8: Send = %+v, %v, want Failed", res, err)
	}
}

func TestSMTPAttachments(t *testing.T) {
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/gone.png":
			http.NotFound(w, r)
		case "/busy.png":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.Header().Set("Content-Type", "image/png")
			io.WriteString(w, "\x89PNG "+r.URL.Path)
		}
	}))
	defer files.Close()
	s := startMailServer(t, &mailServer{})
	tr := mustOpen(t, s.url, Options{AllowFetch: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	m := testMessage(1)
	m.Attachments = []Attachment{{URL: files.URL + "/a.png?sig=1"}, {URL: files.URL + "/b", Name: "Früh\r\n\"x\".png"}}
	if res, err := tr.Send(t.Context(), m, ok); ending(res, err) != isSent {
		t.Fatal(res, err)
	}
	parsed := s.arrived()[0].parse(t)
	_, params, err := mime.ParseMediaType(parsed.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(parsed.Body, params["boundary"])
	for i, want := range []struct{ name, content string }{{"", "Hello"}, {"a.png", "\x89PNG /a.png"}, {"Früh _x_.png", "\x89PNG /b"}} {
		part, err := parts.NextPart() // decodes quoted-printable
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = part
		if part.Header.Get("Content-Transfer-Encoding") == "base64" {
			r = base64.NewDecoder(base64.StdEncoding, part)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_, params, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		name, err := new(mime.WordDecoder).DecodeHeader(params["filename"])
		if err != nil || name != want.name || string(content) != want.content {
			t.Errorf("part %d = %q %q (%v), want %q", i, name, content, err, want)
		}
	}

	for path, want := range map[string]string{"/gone.png": isFailed, "/busy.png": isTemporary} {
		m.Attachments[1].URL = files.URL + path + "?sig=secret"
		res, err := tr.Send(t.Context(), m, func() error { t.Error("handed over"); return nil })
		if ending(res, err) != want || strings.Contains(res.Detail, "secret") {
			t.Errorf("%s: Send = %+v, %v, want %s", path, res, err, want)
		}
	}
}
