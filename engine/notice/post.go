package notice

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tuco/engine"
	"tuco/engine/transport"
)

const (
	firstPause = 5 * time.Second
	maxPause   = time.Hour

	maxAnswerBytes = 4 << 10 // that are read, and ignored
)

// pauseAfter is how long a webhook rests after so many failures in a row: twice as long each time, and each time anywhere
// in the second half of that, so that not all come back at once.
func pauseAfter(failures int) time.Duration {
	pause := min(firstPause<<min(failures-1, 10), maxPause)
	return pause/2 + rand.N(pause/2)
}

// clients make the connections. Plain HTTP is for networks that the operator allows.
type clients struct{ tls, plain *http.Client }

func newClients(allow []netip.Prefix, opt Options) clients {
	return clients{
		tls:   transport.Guard{Allow: allow}.Client(opt.Timeout, opt.Roots),
		plain: transport.Guard{Allow: allow, OnlyAllow: true}.Client(opt.Timeout, nil),
	}
}

// attempt delivers what is to be delivered to a workspace, once, and records what became of it.
func (d *Deliverer) attempt(w engine.WorkspaceID, s engine.NoticeState) (r result) {
	n, ok, err := d.queue.Next(w, s.Cut)
	if err == nil && !ok {
		return result{none: true}
	}
	r.told = int64(len(n.Entries))
	detail := ""
	if err == nil {
		r.outcome, detail, err = d.post(&n)
	}
	if d.posts.Err() != nil && r.outcome != Delivered {
		return result{none: true} // the program stops: this was no attempt
	}
	if err == nil && r.outcome == Delivered {
		err = d.queue.Delivered(n)
		r.stored = err == nil
	}
	if err != nil {
		d.opt.Log.Error().Err(err).Str("workspace", string(w)).Msg("a notice can't be made or recorded; it is tried again")
		r.outcome, detail = Failed, "it could not be made or recorded here"
	}
	if r.outcome != Delivered {
		r.again = d.now().Add(pauseAfter(s.Failures + 1))
		r.stored = n.ID != "" && d.queue.Failed(n, engine.NoticeFailure{Detail: detail, Again: r.again, Gone: r.outcome == Gone}) == nil
	}
	d.opt.Observe(r.outcome)
	n.Entries, n.Checkpoint = nil, nil
	r.notice = n
	return r
}

// post makes one attempt. err is of what went wrong here; detail says to the customer what did there.
func (d *Deliverer) post(n *engine.Notice) (outcome Outcome, detail string, err error) {
	body, err := d.opt.Render(n)
	if err != nil {
		return Failed, "", err
	}
	req, err := http.NewRequestWithContext(d.posts, http.MethodPost, n.URL, bytes.NewReader(body))
	if err != nil {
		return Failed, "", errors.New("the URL is none") // its own words would name it
	}
	now := d.now()
	req.Header = http.Header{
		"Content-Type":      {"application/json"},
		"User-Agent":        {"Tuco"},
		"Webhook-Id":        {n.ID},
		"Webhook-Timestamp": {strconv.FormatInt(now.Unix(), 10)},
		"Webhook-Signature": {n.Signature(now, body)},
	}
	client := d.client.tls
	if strings.HasPrefix(n.URL, "http://") {
		client = d.client.plain
	}
	resp, err := client.Do(req)
	if err != nil {
		outcome, detail = unanswered(err)
		return outcome, detail, nil
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswerBytes)
	switch code := resp.StatusCode; {
	case code/100 == 2:
		return Delivered, "", nil
	case code == http.StatusGone:
		return Gone, "it answered 410: nothing is sent until the webhook is set again", nil
	case code/100 == 3:
		return Refused, fmt.Sprintf("it answered %d; redirects are not followed", code), nil
	default:
		return Refused, fmt.Sprintf("it answered %d", code), nil
	}
}

// unanswered sorts what the HTTP client reports. Its own words name the URL and addresses.
func unanswered(err error) (outcome Outcome, detail string) {
	if errors.Is(err, transport.ErrForbiddenAddress) {
		return Forbidden, unreachable // which names there are in the operator's network is not the customer's to find out
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return TimedOut, "it took too long"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return Unreachable, "its certificate is not valid for it, or not trusted"
	}
	return Unreachable, unreachable
}

const unreachable = "it can't be reached, or its address may not be reached from here"
