package forward

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tuco/engine/auditlog"
)

// A syslog sends entries as messages of RFC 5424 over TCP or TLS. Nobody acknowledges a message. So an entry counts as arrived
// when the peer's TCP acknowledged it and the connection was still good some seconds later; that is what the cursor says.
// After a break the entries from the cursor on are sent again.
type syslog struct {
	sink Sink
	src  Source
	enc  encoder
	pace pace
	head []byte // of each message, from the host on to the MSGID

	wire     *wire
	next     uint64    // the next entry
	cursor   uint64    // as it is stored
	settled  uint64    // where the cursor may move to
	sent     []mark    // not acknowledged yet, in order
	settling []mark    // acknowledged
	acked    int64     // bytes that were acknowledged
	moved    time.Time // when more was, or nothing waited for it
	buf, msg []byte
}

// A mark is a place in what was sent.
type mark struct {
	next uint64    // the entry that follows
	end  int64     // in bytes of the connection
	at   time.Time // when it was acknowledged
}

func newSyslog(s Sink, src Source, enc encoder, p pace) *syslog {
	host, _ := os.Hostname()
	if host == "" || len(host) > 255 || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' }) {
		host = "-"
	}
	return &syslog{sink: s, src: src, enc: enc, pace: p, head: fmt.Appendf(nil, " %s tuco %d ", host, os.Getpid())}
}

func (s *syslog) open(ctx context.Context) (next uint64, err error) {
	s.next, err = s.src.Cursor(s.sink.Name)
	if err != nil {
		return 0, err
	}
	s.cursor, s.settled, s.sent, s.settling, s.acked, s.moved = s.next, s.next, nil, nil, 0, time.Now()
	s.wire, err = dial(ctx, s.sink, s.pace)
	return s.next, err
}

// send writes entries in pieces, so that a mark is never much behind.
func (s *syslog) send(entries []Entry) (err error) {
	s.buf = s.buf[:0]
	for i, e := range entries {
		if s.buf, err = s.appendFrame(s.buf, e); err != nil {
			return err
		}
		if len(s.buf) < piece && i < len(entries)-1 {
			continue
		}
		if err := s.wire.write(s.buf); err != nil {
			return err
		}
		s.buf, s.next = s.buf[:0], e.Seq+1
		s.sent = append(s.sent, mark{next: s.next, end: s.wire.sent.Load()})
		if err := s.acknowledge(time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// acknowledge moves the marks that the peer's TCP has acknowledged. As long as something waits for that, it must go on.
func (s *syslog) acknowledge(now time.Time) error {
	n, err := s.wire.acknowledged()
	if broke := s.wire.trouble(); broke != nil {
		return broke
	}
	if err != nil {
		return err
	}
	if len(s.sent) == 0 || n > s.acked {
		s.acked, s.moved = n, now
	}
	for len(s.sent) > 0 && s.sent[0].end <= n {
		m := s.sent[0]
		m.at, s.sent = now, s.sent[1:]
		// One mark in each tenth of the time to settle is enough.
		if k := len(s.settling); k > 1 && now.Sub(s.settling[k-2].at) < s.pace.settle/10 {
			s.settling[k-1] = m
		} else {
			s.settling = append(s.settling, m)
		}
	}
	if now.Sub(s.moved) > s.pace.stall {
		return errors.New("the server takes nothing any more")
	}
	return nil
}

func (s *syslog) arrived() (uint64, error) {
	now := time.Now()
	if err := s.acknowledge(now); err != nil {
		return 0, err
	}
	for len(s.settling) > 0 && now.Sub(s.settling[0].at) >= s.pace.settle {
		s.settled, s.settling = s.settling[0].next, s.settling[1:]
	}
	// While the database takes nothing, the connection is kept: a new one would only repeat what this one carried.
	if s.settled > s.cursor && s.src.SetCursor(s.sink.Name, s.settled) == nil {
		s.cursor = s.settled
	}
	return s.cursor, nil
}

func (s *syslog) broken() <-chan struct{} { return s.wire.broken }

func (s *syslog) part(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.pace.part)
	defer cancel()
	return s.wire.end(ctx)
}

func (s *syslog) close() {
	if s.wire != nil {
		s.wire.close()
		s.wire = nil
	}
}

// severities of RFC 5424. An entry that is no longer kept is informational.
var severities = map[auditlog.Outcome]int{auditlog.Done: 5, auditlog.Denied: 4, auditlog.Failed: 3, "": 6}

const (
	logAudit  = 13 // a facility of RFC 5424
	maxMSGID  = 32
	byteOrder = "\ufeff"
)

// appendFrame appends the message of an entry after its length.
func (s *syslog) appendFrame(dst []byte, e Entry) (_ []byte, err error) {
	if s.msg, err = s.appendMessage(s.msg[:0], e); err != nil {
		return dst, err
	}
	dst = append(strconv.AppendInt(dst, int64(len(s.msg)), 10), ' ')
	return append(dst, s.msg...), nil
}

// appendMessage appends a message. Nothing in its head needs an escape: it has digits, hashes, and words of this program.
func (s *syslog) appendMessage(dst []byte, e Entry) (_ []byte, err error) {
	var entry auditlog.Entry
	if e.Line != nil {
		if entry, err = auditlog.ParseLine(e.Line); err != nil {
			return dst, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
	}
	dst = strconv.AppendInt(append(dst, '<'), int64(8*logAudit+severities[entry.Outcome]), 10)
	dst = append(dst, ">1 "...)
	if e.Line != nil {
		dst = entry.Time.AppendFormat(dst, "2006-01-02T15:04:05.000000Z07:00")
	} else {
		dst = append(dst, '-')
		entry.Event = "dropped"
	}
	dst = append(append(dst, s.head...), entry.Event[:min(len(entry.Event), maxMSGID)]...)
	dst = strconv.AppendUint(append(dst, " [tuco@"...), s.sink.enterprise, 10)
	dst = strconv.AppendUint(append(dst, ` seq="`...), e.Seq, 10)
	dst = hex.AppendEncode(append(dst, `" leaf="`...), e.Leaf[:])
	dst = append(append(dst, `" origin="`...), s.src.Origin()...)
	dst = append(dst, `"] `...)
	return s.appendBody(dst, e)
}

// appendBody appends what the format has of an entry. ASCII is sent as it is, since JSON parsers take no byte order mark; of
// anything else it tells that it is UTF-8, as RFC 5424 asks for.
func (s *syslog) appendBody(dst []byte, e Entry) ([]byte, error) {
	start := len(dst)
	dst, err := s.enc.append(dst, e)
	if err != nil {
		return dst, err
	}
	body := strings.TrimRight(string(dst[start:]), "\r\n")
	dst = dst[:start]
	if strings.ContainsFunc(body, func(r rune) bool { return r >= utf8.RuneSelf }) {
		dst = append(dst, byteOrder...)
	}
	return append(dst, body...), nil
}
