// Package transport is how a message leaves the appliance: one file a transport, one interface, one conformance test.
//
// A transport keeps nothing durable and never retries a message. It tells exactly what it knows about one attempt, and the
// caller's handOver hook runs right before the step after which the other side may have the message. So a caller that
// records the hand-over durably in that hook knows, after any crash, which messages can't have been sent.
package transport

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// Message is what a transport needs to know of one message.
type Message struct {
	ID          string       // 24 hex digits, unique for ever, the same on every attempt
	Type        string       // imessage, sms or email
	From        From         // the line
	To          []string     // addresses to try, in order: phones in E.164 form or e-mail addresses
	ToName      string       // the person's name, may be empty
	Text        string       // UTF-8
	Attachments []Attachment // in order
	Created     time.Time
}

// From is the sending line. What a transport doesn't use may be empty.
type From struct {
	Name, Phone, Email string
}

// Attachment is a file that the transport fetches or passes on.
type Attachment struct {
	URL  string // http or https
	Name string // file name; empty takes the one in the URL
}

// Outcome is what became of a message. The zero Outcome goes with an error.
type Outcome uint8

// The outcomes.
const (
	Sent      Outcome = iota + 1 // accepted by the provider
	Delivered                    // reached the person's device or mailbox
	Failed                       // refused for good: the same message will be refused again
	Fallback                     // the person can't be reached on this channel
)

func (o Outcome) String() string {
	switch o {
	case Sent:
		return "sent"
	case Delivered:
		return "delivered"
	case Failed:
		return "failed"
	case Fallback:
		return "fallback"
	}
	return "none"
}

// Result is the known end of an attempt.
type Result struct {
	Outcome    Outcome
	ExternalID string   // the provider's id for the message; empty unless it was accepted
	Detail     string   // for people: why it failed or fell back, one line, no secrets
	Checked    []string // addresses that were tried; only on Fallback
}

// The errors of a Transport, beside *[TemporaryError] and those of handOver and ctx. Each may be wrapped.
var (
	// ErrUnreachable: not sent. The line is down: connecting, TLS, greeting, authentication, or a broken connection.
	ErrUnreachable = errors.New("the transport's server can't be used")
	// ErrUnknown: handed over, and no answer tells whether the other side took the message.
	ErrUnknown = errors.New("not known whether the message was sent")
	// ErrCannotTell is Reconcile's answer where the other side can't be asked.
	ErrCannotTell = errors.New("this transport can't tell what became of a message")
)

// TemporaryError: not sent, and worth trying again later.
type TemporaryError struct {
	Detail string // for people, as in [Result]
}

func (e *TemporaryError) Error() string { return "not sent for now: " + e.Detail }

// Transport carries messages to one provider. All methods may be called concurrently.
type Transport interface {
	// Send makes one attempt. It prepares m and calls handOver once, right before the step after which the other side may
	// have accepted m, or never, if it doesn't get that far. If handOver fails, nothing is sent and Send returns its error.
	//
	// If ctx ends before that step, nothing is sent and the error wraps ctx.Err(). Only [ErrUnknown] leaves open whether
	// m was sent; any other error says that it was not, whether handOver was called or not. A final refusal is a
	// [Failed] Result, not an error.
	Send(ctx context.Context, m Message, handOver func() error) (Result, error)

	// Reconcile tells what became of a message whose Send ended in [ErrUnknown] or in a crash after handOver, or
	// [ErrCannotTell].
	Reconcile(ctx context.Context, m Message) (Result, error)

	// Check tells whether the other side can be reached and accepts this line's credentials. It sends no message.
	Check(ctx context.Context) error

	// Close drops idle connections. A Send under way ends on its own.
	Close() error
}

// Options are what transports share. The zero value works.
type Options struct {
	// Now tells the time that an e-mail's Date shows; nil is time.Now. Deadlines always use the real clock.
	Now func() time.Time

	// AllowFetch lists address ranges from which attachments may be fetched although they are not public, such as the
	// network of an internal file server. The metadata addresses of clouds stay refused. Nil allows public addresses only.
	AllowFetch []netip.Prefix
}

// Open makes the transport that rawURL names, see [Parse]. It connects to nothing; that is Check's work.
func Open(rawURL string, opt Options) (Transport, error) {
	settings, smtp, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	if settings.Kind == Sandbox {
		return sandbox{}, nil
	}
	t, err := newSMTP(smtp, opt)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// finalError ends an attempt during preparation: the message can't be sent, now or later. It becomes a Failed Result.
type finalError string

func (e finalError) Error() string { return string(e) }

// oneLine makes text from outside fit for a header or a Detail: no control characters, single spaces, at most maxBytes.
func oneLine(s string, maxBytes int) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	if len(s) > maxBytes {
		s = strings.ToValidUTF8(s[:maxBytes], "") // the cut may go through a character
	}
	return s
}
