package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"sync"
	"testing"
)

// remote is one transport under test, with what its other side has. The sandbox has no other side, so its inbox stays nil.
type remote struct {
	Transport
	server *mailServer
}

// settled closes the transport and returns what its other side has in the end.
func (r remote) settled(t *testing.T) []received {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if r.server == nil {
		return nil
	}
	return r.server.settled(t)
}

// arrives checks that there are n messages in the end, and returns them if the transport has another side.
func (r remote) arrives(t *testing.T, n int) []received {
	t.Helper()
	got := r.settled(t)
	if r.server != nil && len(got) != n {
		t.Fatalf("%d messages arrived, want %d", len(got), n)
	}
	return got
}

var errHook = errors.New("the record can't be written")

// awkward has what is easily broken on the way.
const awkward = ".\n..\n.leading dot\nUmlaute äöü, 日本語, 👩‍👩‍👧 and \u00a0 = =20\ntrailing blanks  \t\r\nFrom the start\n\n\nend without a newline"

func TestConformance(t *testing.T) {
	transports := map[string]func(*testing.T) remote{
		"sandbox": func(t *testing.T) remote { return remote{Transport: mustOpen(t, "sandbox:", Options{})} },
		"smtp": func(t *testing.T) remote {
			s := startMailServer(t, &mailServer{})
			return remote{mustOpen(t, s.url, Options{}), s}
		},
		"smtps": func(t *testing.T) remote {
			s := startMailServer(t, &mailServer{implicitTLS: true})
			return remote{mustOpen(t, s.url, Options{}), s}
		},
	}
	behaviours := map[string]func(*testing.T, remote){
		"delivers the exact text, from the line to the person":      deliversExactly,
		"hands over once, before the other side has the message":    handsOverFirst,
		"sends nothing if the hand-over fails, and works afterward": failedHandOver,
		"sends nothing in an ended context":                         endedContext,
		"sends nothing if the context ends during the hand-over":    contextEndsInHandOver,
		"reports a final refusal as Failed":                         finalRefusal,
		"keeps the message's identity over attempts":                sameIdentity,
		"sends concurrently":                                        concurrentSends,
		"reconciles truly or not at all":                            reconciles,
		"checks without sending":                                    checks,
	}
	for name, open := range transports {
		for behaviour, test := range behaviours {
			t.Run(name+"/"+behaviour, func(t *testing.T) {
				t.Parallel()
				test(t, open(t))
			})
		}
	}
}

func deliversExactly(t *testing.T, r remote) {
	texts := []string{"Hello", "", "\n", awkward, strings.Repeat("word ", 5000), strings.Repeat("ä", 5000), "bell \a null \x00"}
	for i, text := range texts {
		m := testMessage(i)
		m.Text = text
		res, err := r.Send(t.Context(), m, ok)
		if err != nil || res.Outcome != Sent && res.Outcome != Delivered || res.ExternalID == "" {
			t.Fatalf("Send(%.20q) = %+v, %v", text, res, err)
		}
	}
	for i, got := range r.arrives(t, len(texts)) {
		if want := (received{from: "ann@sender.test", to: "bob@example.com", tls: true, user: testUser}); got.from != want.from ||
			got.to != want.to || got.tls != want.tls || got.user != want.user || got.utf8 {
			t.Errorf("envelope = %+v, want %+v", got, want)
		}
		parsed := got.parse(t)
		for name, want := range map[string]string{"From": `"Ann Ångström" <ann@sender.test>`, "To": `"Bob 🚀" <bob@example.com>`} {
			addr, err := mail.ParseAddress(parsed.Header.Get(name))
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%q <%s>", addr.Name, addr.Address); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		if got, want := parsed.Header.Get("Message-ID"), fmt.Sprintf("<%024x@sender.test>", i); got != want {
			t.Errorf("Message-ID = %s, want %s", got, want)
		}
		if got, want := got.header(t, "Subject"), "Message from Ann Ångström"; got != want {
			t.Errorf("Subject = %q, want %q", got, want)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
		if err != nil {
			t.Fatal(err)
		}
		// Mail has CRLF line ends, and ends with one.
		want := strings.ReplaceAll(strings.ReplaceAll(texts[i], "\r\n", "\n"), "\n", "\r\n")
		if got := string(body); got != want && got != want+"\r\n" {
			t.Errorf("text = %.200q, want %.200q", got, want)
		}
		for line := range strings.Lines(string(got.raw)) {
			if len(line) > 200 {
				t.Errorf("a line of %d bytes: %.100q", len(line), line)
			}
		}
	}
}

func handsOverFirst(t *testing.T, r remote) {
	calls := 0
	_, err := r.Send(t.Context(), testMessage(1), func() error {
		calls++
		if r.server != nil && len(r.server.arrived()) != 0 {
			t.Error("the other side had the message before the hand-over")
		}
		return nil
	})
	if err != nil || calls != 1 {
		t.Errorf("Send: %v, with %d hand-overs, want 1", err, calls)
	}
	r.arrives(t, 1)
}

func failedHandOver(t *testing.T, r remote) {
	for n := range 2 { // the second time on what may be a reused connection
		if _, err := r.Send(t.Context(), testMessage(n), ok); err != nil {
			t.Fatal(err)
		}
		res, err := r.Send(t.Context(), testMessage(10+n), func() error { return errHook })
		if !errors.Is(err, errHook) || res.Outcome != 0 {
			t.Errorf("Send = %+v, %v, want the hand-over's error", res, err)
		}
	}
	for _, got := range r.arrives(t, 2) {
		if id := got.header(t, "Message-ID"); strings.HasSuffix(id, "a@sender.test>") || strings.HasSuffix(id, "b@sender.test>") {
			t.Errorf("%s arrived, though its hand-over failed", id)
		}
	}
}

func endedContext(t *testing.T, r remote) {
	if _, err := r.Send(t.Context(), testMessage(1), ok); err != nil { // leaves an idle connection
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for n := range 2 {
		_, err := r.Send(ctx, testMessage(2+n), func() error {
			t.Error("handed over")
			return nil
		})
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
			t.Errorf("Send = %v, want %v", err, context.Canceled)
		}
	}
	r.arrives(t, 1)
}

func contextEndsInHandOver(t *testing.T, r remote) {
	ctx, cancel := context.WithCancel(t.Context())
	res, err := r.Send(ctx, testMessage(1), func() error {
		cancel()
		return ctx.Err() // as a hook does that records
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Send = %+v, %v, want %v", res, err, context.Canceled)
	}
	r.arrives(t, 0)
}

func finalRefusal(t *testing.T, r remote) {
	m := testMessage(1)
	m.To = []string{"failed@example.com"}
	res, err := r.Send(t.Context(), m, ok)
	if err != nil || res.Outcome != Failed || res.Detail == "" || res.ExternalID != "" || strings.ContainsAny(res.Detail, "\r\n") {
		t.Errorf("Send = %+v, %v, want Failed with one line of detail", res, err)
	}
	r.arrives(t, 0)
}

func sameIdentity(t *testing.T, r remote) {
	var ids [2]string
	for i := range ids {
		res, err := r.Send(t.Context(), testMessage(7), ok)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = res.ExternalID
	}
	if ids[0] != ids[1] {
		t.Errorf("external ids %q differ", ids)
	}
	for _, got := range r.arrives(t, 2) {
		if id := got.header(t, "Message-ID"); id != ids[0] {
			t.Errorf("Message-ID = %q, want %q", id, ids[0])
		}
	}
}

func concurrentSends(t *testing.T, r remote) {
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if res, err := r.Send(t.Context(), testMessage(i), ok); err != nil || res.Outcome == Failed {
				t.Errorf("Send = %+v, %v", res, err)
			}
		})
	}
	wg.Wait()
	ids := map[string]bool{}
	for _, got := range r.arrives(t, n) {
		ids[got.header(t, "Message-ID")] = true
	}
	if r.server != nil && len(ids) != n {
		t.Errorf("%d different messages arrived, want %d", len(ids), n)
	}
}

func reconciles(t *testing.T, r remote) {
	sent, err := r.Send(t.Context(), testMessage(1), ok)
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.Reconcile(t.Context(), testMessage(1))
	if errors.Is(err, ErrCannotTell) {
		return
	}
	if err != nil || res.Outcome != sent.Outcome || res.ExternalID != sent.ExternalID {
		t.Errorf("Reconcile = %+v, %v, want %+v", res, err, sent)
	}
}

func checks(t *testing.T, r remote) {
	if err := r.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	r.arrives(t, 0)
}

func TestSandboxOutcomes(t *testing.T) {
	const failed, fallback, fallbackMail = "+15005550001", "+15005550002", "Fallback@Example.com"
	for _, tt := range []struct {
		to      []string
		want    Outcome
		detail  string
		checked int
	}{
		{to: []string{"+12125550100"}, want: Delivered},
		{to: []string{failed}, want: Failed, detail: "the sandbox always fails +15005550001"},
		{to: []string{"failed@example.com"}, want: Failed, detail: "the sandbox always fails failed@example.com"},
		{to: []string{fallback}, want: Fallback, detail: "Prospect's iMessage not available on +15005550002", checked: 1},
		{to: []string{fallback, fallbackMail}, want: Fallback, detail: "Prospect's iMessage not available on +15005550002, Fallback@Example.com", checked: 2},
		{to: []string{fallback, "a@b.test"}, want: Delivered},
		{to: []string{fallback, failed, "a@b.test"}, want: Failed, detail: "the sandbox always fails +15005550001"},
		{to: []string{"a@b.test", failed}, want: Delivered},
		{to: nil, want: Failed, detail: "no address to send to"},
	} {
		m := testMessage(1)
		m.To = tt.to
		got, err := sandbox{}.Send(t.Context(), m, ok)
		if err != nil || got.Outcome != tt.want || got.Detail != tt.detail || len(got.Checked) != tt.checked {
			t.Errorf("Send(to %q) = %+v, %v, want %v %q", tt.to, got, err, tt.want, tt.detail)
		}
	}
}
