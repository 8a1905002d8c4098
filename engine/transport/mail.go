package transport

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"net/url"
	"path"
	"strings"

	"github.com/wneessen/go-mail"
)

const maxHeaderTextBytes = 200 // of a name or a subject; far below the 998 bytes that a line may have

// envelope is a message ready for an SMTP transaction.
type envelope struct {
	from, to string
	utf8     bool   // an address needs SMTPUTF8
	id       string // the Message-ID, without its angle brackets
	content  []byte // headers and body, 7 bit
}

// compose makes the e-mail for m, which takes the fetching of its attachments. It fails with a finalError, a
// *TemporaryError or ctx's error.
func (t *smtpTransport) compose(ctx context.Context, m Message) (envelope, error) {
	env, err := t.address(m)
	if err != nil {
		return envelope{}, err
	}
	fromName := oneLine(m.From.Name, maxHeaderTextBytes)
	subject := t.subject
	if subject == "" {
		subject = "Message from " + cmp.Or(fromName, env.from)
	}

	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	msg.FromMailAddress(&netmail.Address{Name: fromName, Address: env.from})
	msg.ToMailAddress(&netmail.Address{Name: oneLine(m.ToName, maxHeaderTextBytes), Address: env.to})
	msg.Subject(oneLine(subject, maxHeaderTextBytes))
	msg.SetMessageIDWithValue(env.id)
	msg.SetDateWithValue(t.now()) // not m.Created: a message that waited for weeks would look forged
	msg.SetBodyString(mail.TypeTextPlain, m.Text)
	for i, a := range m.Attachments {
		if err := t.attach(ctx, msg, a); err != nil {
			return envelope{}, attachmentError(i, err)
		}
	}

	var content bytes.Buffer
	if _, err := msg.WriteTo(&content); err != nil {
		return envelope{}, finalError("the e-mail can't be built: " + oneLine(err.Error(), maxHeaderTextBytes))
	}
	env.content = content.Bytes()
	return env, nil
}

// address finds out who writes to whom, and under which Message-ID.
func (t *smtpTransport) address(m Message) (envelope, error) {
	env := envelope{from: cmp.Or(t.from, m.From.Email)}
	for _, addr := range m.To {
		if strings.Contains(addr, "@") {
			env.to = addr
			break
		}
	}
	switch {
	case env.to == "":
		return env, finalError("no e-mail address")
	case !validEmail(env.to):
		return env, finalError("the recipient's e-mail address is not valid")
	case !validEmail(env.from):
		return env, finalError("the line has no valid e-mail address")
	}
	env.utf8 = !isASCII(env.from) || !isASCII(env.to)
	domain := env.from[strings.LastIndexByte(env.from, '@')+1:]
	if !isASCII(domain) {
		domain = t.host // a Message-ID is ASCII
	}
	env.id = m.ID + "@" + domain
	return env, nil
}

func (t *smtpTransport) attach(ctx context.Context, msg *mail.Msg, a Attachment) error {
	content, mediaType, err := t.fetcher.fetch(ctx, a.URL)
	if err != nil {
		return err
	}
	name := oneLine(a.Name, maxHeaderTextBytes)
	if u, err := url.Parse(a.URL); err == nil && name == "" {
		name = oneLine(path.Base(u.Path), maxHeaderTextBytes)
	}
	if strings.Trim(name, "./ ") == "" {
		name = "attachment"
	}
	var opts []mail.FileOption
	if mediaType != "" {
		opts = append(opts, mail.WithFileContentType(mail.ContentType(mediaType)))
	}
	msg.AttachReadSeeker(name, bytes.NewReader(content), opts...)
	return nil
}

// attachmentError says which attachment it was that err, from fetch, is about.
func attachmentError(i int, err error) error {
	var final finalError
	var temporary *TemporaryError
	switch {
	case errors.As(err, &final):
		return finalError(fmt.Sprintf("attachment %d: %s", i+1, final))
	case errors.As(err, &temporary):
		return &TemporaryError{fmt.Sprintf("attachment %d: %s", i+1, temporary.Detail)}
	}
	return fmt.Errorf("fetching attachment %d: %w", i+1, err)
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > '~' })
}
