package forward

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/leodido/go-syslog/v4/rfc5424"
	"github.com/rs/zerolog"
)

// A peer is a syslog server on a real socket. It keeps the numbers of the messages that it read whole, by connection.
type peer struct {
	t    testing.TB
	ln   net.Listener
	conf *tls.Config                   // nil for TCP
	talk func(n int, c net.Conn) error // what to do with connection n before it is read; nil for nothing
	most func(n int) (bytes int64)     // how much of connection n to read before it is closed; nil or 0 for all
	wg   sync.WaitGroup

	narrow bool                    // take little that was not read yet
	tap    func(net.Conn) net.Conn // hears what comes below TLS; nil for nobody

	mu    sync.Mutex
	all   [][]uint64
	texts []string
	ends  []error
	conns []net.Conn
}

// listen starts a peer on an address.
func (p *peer) listen(address string) *peer {
	p.t.Helper()
	var err error
	var conf net.ListenConfig
	if p.narrow {
		conf.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			failed := raw.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
			})
			return errors.Join(failed, err)
		}
	}
	p.ln, err = conf.Listen(p.t.Context(), "tcp", address)
	must(p.t, err)
	p.wg.Go(p.accept)
	p.t.Cleanup(p.close)
	return p
}

func (p *peer) close() {
	p.ln.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *peer) url() string {
	if p.conf != nil {
		return "syslog+tls://" + p.ln.Addr().String()
	}
	return "syslog://" + p.ln.Addr().String()
}

func (p *peer) accept() {
	for n := 0; ; n++ {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		if p.tap != nil {
			c = p.tap(c)
		}
		if p.conf != nil {
			c = tls.Server(c, p.conf)
		}
		p.mu.Lock()
		p.conns, p.all, p.ends = append(p.conns, c), append(p.all, nil), append(p.ends, nil)
		p.mu.Unlock()
		p.wg.Go(func() {
			defer c.Close()
			err := p.serve(n, c)
			p.mu.Lock()
			p.ends[n] = err
			p.mu.Unlock()
		})
	}
}

func (p *peer) serve(n int, c net.Conn) error {
	if p.talk != nil {
		if err := p.talk(n, c); err != nil {
			return err
		}
	}
	var from io.Reader = c
	if p.most != nil && p.most(n) > 0 {
		from = io.LimitReader(c, p.most(n))
	}
	r := bufio.NewReaderSize(from, 16)
	for {
		text, err := readFrame(r)
		if err != nil {
			return err
		}
		seq := p.number(text)
		p.mu.Lock()
		p.all[n], p.texts = append(p.all[n], seq), append(p.texts, text)
		p.mu.Unlock()
	}
}

// readFrame reads a message after its length (RFC 6587, 3.4.1). The end of the connection is io.EOF only between messages.
func readFrame(r *bufio.Reader) (string, error) {
	length, err := r.ReadString(' ')
	if err != nil {
		if err == io.EOF && length != "" {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
	if err != nil || n < 1 || length[0] == '0' {
		return "", fmt.Errorf("length %q", length)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return "", io.ErrUnexpectedEOF
	}
	return string(text), nil
}

func (p *peer) number(text string) uint64 {
	_, rest, ok := strings.Cut(text, ` seq="`)
	digits, _, _ := strings.Cut(rest, `"`)
	n, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil {
		p.t.Errorf("message %q", text)
	}
	return n
}

// check wants all numbers below n to have arrived, those of each connection in a row, and each connection to begin where all
// before had arrived. It returns how many came more than once.
func (p *peer) check(n int) (twice int) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	next, count := uint64(0), 0
	for i, all := range p.all {
		for j, seq := range all {
			if j > 0 && seq != all[j-1]+1 {
				p.t.Fatalf("connection %d has %d after %d", i, seq, all[j-1])
			}
		}
		if len(all) == 0 {
			continue
		}
		if all[0] > next {
			p.t.Fatalf("connection %d begins with %d, and %d has not arrived", i, all[0], next)
		}
		next = max(next, all[len(all)-1]+1)
		count += len(all)
	}
	if next != uint64(n) {
		p.t.Fatalf("%d of %d arrived", next, n)
	}
	return count - n
}

func (p *peer) arrived() (next uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, all := range p.all {
		if len(all) > 0 {
			next = max(next, all[len(all)-1]+1)
		}
	}
	return next
}

func (p *peer) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

// TestMessages reads every message with a parser of others.
func TestMessages(t *testing.T) {
	l := newLog(t, 30)
	for _, format := range Formats {
		p := (&peer{t: t}).listen("127.0.0.1:0")
		_, stop := forwardTo(t, l, Options{Product: "1.2.3"}, p.url()+"?format="+format+"&enterprise=99999")
		eventually(t, "all has arrived", func() bool { return p.arrived() == 30 })
		stop()
		p.check(30)
		for i, text := range p.texts {
			e := l.entries[i]
			parsed, err := rfc5424.NewParser(rfc5424.WithCompliantMsg()).Parse([]byte(text))
			if err != nil {
				t.Fatalf("%s: %v: %q", format, err, text)
			}
			m := parsed.(*rfc5424.SyslogMessage)
			severity, id := []uint8{5, 4, 3}[i%3], "staff.read"
			if e.Line == nil {
				severity, id = 6, "dropped"
			} else if !m.Timestamp.Equal(time.Date(2026, 11, 23, 14, 5, 6, 1000*i, time.UTC)) || !strings.Contains(text, "Z ") {
				t.Errorf("%s: entry %d is of %v", format, i, m.Timestamp)
			}
			if (m.Timestamp == nil) != (e.Line == nil) || *m.Facility != 13 || *m.Severity != severity || m.Version != 1 ||
				*m.Appname != "tuco" || *m.MsgID != id || m.ProcID == nil {
				t.Errorf("%s: %q", format, text)
			}
			data := (*m.StructuredData)["tuco@99999"]
			if data["seq"] != fmt.Sprint(i) || data["leaf"] != hex.EncodeToString(e.Leaf[:]) || data["origin"] != l.origin {
				t.Errorf("%s: structured data %v", format, data)
			}
			body, marked := strings.CutPrefix(*m.Message, "\ufeff")
			ascii := strings.Trim(body, string(bytesFrom0To127())) == ""
			if marked == ascii || !utf8.ValidString(body) || strings.HasSuffix(body, "\n") {
				t.Errorf("%s: byte order mark %v in %q", format, marked, body)
			}
			enc, err := newEncoder(format, "1.2.3", l.origin)
			must(t, err)
			if rows := readRows(t, format, enc.head()+body+"\n"); len(rows) != 1 || rows[0].seq != fmt.Sprint(i) {
				t.Errorf("%s: %q has rows %v", format, body, rows)
			}
		}
	}
}

func bytesFrom0To127() []byte {
	all := make([]byte, 128)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}

// TestBreaks kills connections, after any number of bytes, with and without unread ones, while the log grows. In the end
// every entry has arrived.
func TestBreaks(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS ", secure), func(t *testing.T) {
			t.Parallel()
			const breaks = 60
			l := newLog(t, 400)
			p := &peer{t: t, most: func(n int) int64 {
				if n >= breaks {
					return 0
				}
				return int64(1 + n*n*7919%20000)
			}}
			query := ""
			if secure {
				p.conf, query = newAuthority(t).server(t, "127.0.0.1")
			}
			p.listen("127.0.0.1:0")
			f, stop := forwardTo(t, l, Options{}, p.url()+query)
			for range 20 {
				before := p.connections()
				l.grow(20)
				eventually(t, "another connection", func() bool { return p.connections() > min(before, breaks) || f.States()[0].Behind == 0 })
			}
			eventually(t, "all is there", func() bool { return f.States()[0].Behind == 0 && f.States()[0].Err == nil })
			stop()
			twice := p.check(800)
			t.Logf("%d connections, %d messages twice", p.connections(), twice)
			if p.connections() <= breaks || twice == 0 {
				t.Errorf("%d connections", p.connections())
			}
		})
	}
}

// TestAcknowledgedIsNotArrived: what the peer's kernel took, and the peer never read, is sent again.
func TestAcknowledgedIsNotArrived(t *testing.T) {
	l := newLog(t, 5)
	pace := quick
	pace.settle = time.Hour
	var sink string
	cursor := func() uint64 { n, _ := l.Cursor(sink); return n }
	release := make(chan struct{})
	p := &peer{t: t, talk: func(n int, c net.Conn) error {
		if n == 0 {
			<-release
			return errors.New("never read")
		}
		return nil
	}}
	p.listen("127.0.0.1:0")
	sink = p.url()
	f, stop := forwardTo(t, l, Options{pace: pace}, sink)
	eventually(t, "it was looked at often", func() bool { return p.connections() == 1 && l.looks() > 20 })
	if cursor() != 0 || f.States()[0].Behind != 5 {
		t.Errorf("the cursor is at %d", cursor())
	}
	close(release)
	eventually(t, "it is sent again", func() bool { return p.arrived() == 5 })
	stop()
	if cursor() != 0 {
		t.Errorf("the cursor is at %d before its time", cursor())
	}
	p.check(5)
}

// connect opens a destination by itself, at entry 0.
func connect(t testing.TB, l *testLog, url string) *syslog {
	t.Helper()
	sink, err := Parse(url)
	must(t, err)
	enc, err := newEncoder(sink.format, "", l.origin)
	must(t, err)
	s := newSyslog(sink, l, enc, quick)
	t.Cleanup(s.close)
	_, err = s.open(t.Context())
	must(t, err)
	return s
}

// TestUnacknowledged: what the peer's TCP has no room for does not count, however long the connection is good; but that is
// not for ever.
func TestUnacknowledged(t *testing.T) {
	const n = 100
	l := newLog(t, n)
	release := make(chan struct{})
	p := &peer{t: t, narrow: true, talk: func(int, net.Conn) error { <-release; return nil }}
	p.listen("127.0.0.1:0")
	s := connect(t, l, p.url())
	must(t, s.wire.tcp.SetWriteBuffer(1<<20)) // all of it, so that nothing waits
	entries, err := l.Entries(0, 1<<20)
	must(t, err)
	must(t, s.send(entries))
	arrived := func() uint64 {
		next, err := s.arrived()
		must(t, err)
		return next
	}
	begun := time.Now()
	eventually(t, "time has passed", func() bool { arrived(); return time.Since(begun) > 5*quick.settle })
	if next := arrived(); next == n {
		t.Error("all has arrived before it was read")
	}
	s.pace.stall = quick.settle
	if _, err := s.arrived(); err == nil || err.Error() != "the server takes nothing any more" {
		t.Errorf("after a long time: %v", err)
	}
	s.pace.stall = quick.stall
	close(release)
	eventually(t, "all has arrived", func() bool { return arrived() == n })
	eventually(t, "all was read", func() bool { return p.arrived() == n })
}

// TestRestarts kills the forwarder again and again, also between two looks of the cursor.
func TestRestarts(t *testing.T) {
	l := newLog(t, 0)
	p := (&peer{t: t}).listen("127.0.0.1:0")
	for i := range 40 {
		f, _ := forwardTo(t, l, Options{}, p.url())
		l.grow(13)
		if i%4 == 0 {
			eventually(t, "it counts on some", func() bool { n, _ := l.Cursor(p.url()); return n > uint64(13*i) })
		} else if i%4 == 1 {
			eventually(t, "all has arrived, just now", func() bool { return p.arrived() == uint64(13*(i+1)) })
		}
		kill(f)
	}
	f, stop := forwardTo(t, l, Options{}, p.url())
	eventually(t, "all is there", func() bool { return f.States()[0].Behind == 0 })
	stop()
	if p.check(40*13) == 0 {
		t.Error("nothing came twice")
	}
	f, stop = forwardTo(t, l, Options{}, p.url())
	before := p.connections()
	eventually(t, "it connects", func() bool { return p.connections() > before })
	stop()
	if s := f.States()[0]; s.Behind != 0 || len(p.all[p.connections()-1]) != 0 {
		t.Errorf("what had arrived was sent again: %v, %v", s, p.all[p.connections()-1])
	}
}

// TestClosedIsNoticed: nothing is to be sent, and the next look is far away.
func TestClosedIsNoticed(t *testing.T) {
	l := newLog(t, 3)
	pace := quick
	pace.look = time.Hour
	p := (&peer{t: t}).listen("127.0.0.1:0")
	forwardTo(t, l, Options{pace: pace}, p.url())
	for i := range 5 {
		eventually(t, "it is sent", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.all) == i+1 && len(p.all[i]) == 3
		})
		p.conns[i].Close()
	}
}

// TestStalled: a server that reads nothing holds up nobody else, and is left when it has taken nothing for a while.
func TestStalled(t *testing.T) {
	l := newLog(t, 20_000)
	pace := quick
	pace.stall = time.Second
	dir := t.TempDir()
	release := make(chan struct{})
	slow := &peer{t: t, talk: func(int, net.Conn) error { <-release; return nil }}
	slow.listen("127.0.0.1:0")
	var log logBuffer
	f, stop := forwardTo(t, l, Options{pace: pace, Log: zerolog.New(&log)}, slow.url(), "file://"+dir)
	eventually(t, "the other has all", func() bool { return f.States()[1].Behind == 0 })
	eventually(t, "it is left", func() bool { s := f.States()[0]; return s.Err != nil && s.Late && s.Behind > 0 })
	if s := f.States()[1]; s != (State{Sink: "file://" + dir}) {
		t.Errorf("the other is %+v", s)
	}
	close(release)
	eventually(t, "it has all", func() bool { s := f.States()[0]; return s.Err == nil && s.Behind == 0 })
	stop()
	slow.check(20_000)
	if log.count("tried again") != 1 || log.count("forwarded again") != 1 {
		t.Errorf("log: %s", &log.text)
	}
}

// TestDrain: what is there at the end is sent, and the end is an orderly one. A sink that can't be reached does not hold it up.
func TestDrain(t *testing.T) {
	l := newLog(t, 5000)
	authority := newAuthority(t)
	p := &peer{t: t}
	var query string
	p.conf, query = authority.server(t, "127.0.0.1")
	p.conf.MaxVersion = tls.VersionTLS12 // later ones don't show the types of their records
	wire := &tapped{}
	p.tap = func(c net.Conn) net.Conn { wire.Conn = c; return wire }
	p.listen("127.0.0.1:0")
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	dead.Close()
	pace := quick
	pace.retry, pace.longest = time.Hour, time.Hour
	f, stop := forwardTo(t, l, Options{pace: pace}, p.url()+query, "syslog://"+dead.Addr().String())
	eventually(t, "one is refused", func() bool { return f.States()[1].Err != nil })
	l.grow(100)
	stop()
	p.close()
	p.check(5100)
	const alert = 21
	if last := wire.lastRecord(); !errors.Is(p.ends[0], io.EOF) || last != alert {
		t.Errorf("the connection ended with %v and a record of type %d, and not with close_notify", p.ends[0], last)
	}
}

// A tapped connection keeps what came from it.
type tapped struct {
	net.Conn
	heard []byte
}

func (c *tapped) Read(to []byte) (int, error) {
	n, err := c.Conn.Read(to)
	c.heard = append(c.heard, to[:n]...)
	return n, err
}

// lastRecord returns the type of the last record of TLS; 0 if it is not whole.
func (c *tapped) lastRecord() (kind byte) {
	for rest := c.heard; len(rest) > 0; {
		end := 5 + int(binary.BigEndian.Uint16(rest[3:]))
		if len(rest) < end {
			return 0
		}
		kind, rest = rest[0], rest[end:]
	}
	return kind
}

// TestFloodIsBounded: what the cursor waits for is a few marks, however much is sent meanwhile.
func TestFloodIsBounded(t *testing.T) {
	l := newLog(t, 20_000)
	p := (&peer{t: t}).listen("127.0.0.1:0")
	s := connect(t, l, p.url())
	for next := uint64(0); next < 20_000; {
		entries, err := l.Entries(next, batchBytes)
		must(t, err)
		must(t, s.send(entries))
		next += uint64(len(entries))
		_, err = s.arrived()
		must(t, err)
		if len(s.settling) > 20 || cap(s.buf) > 4*batchBytes {
			t.Fatalf("%d marks, %d bytes", len(s.settling), cap(s.buf))
		}
	}
	eventually(t, "all is settled", func() bool { n, err := s.arrived(); must(t, err); return n == 20_000 })
}
