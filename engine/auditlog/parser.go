package auditlog

import (
	"encoding/hex"
	"strings"
	"time"
)

// A parser takes a line from its front. It need not refuse all that isn't canonical, as ParseLine compares afterwards, but
// must get the canonical right, and end. Once something was not as expected, nothing more is taken.
type parser struct {
	line string
	at   int    // how much is taken
	want string // what was expected there; empty as long as all is well
}

// fail notes what was expected, unless something failed before.
func (p *parser) fail(want string) {
	if p.want == "" {
		p.want = want
	}
}

// has takes lit if it comes next.
func (p *parser) has(lit string) bool {
	if p.want != "" || !strings.HasPrefix(p.line[p.at:], lit) {
		return false
	}
	p.at += len(lit)
	return true
}

func (p *parser) must(lit string) {
	if !p.has(lit) {
		p.fail(lit)
	}
}

// take takes the next n bytes.
func (p *parser) take(n int, want string) string {
	if p.want != "" || len(p.line)-p.at < n {
		p.fail(want)
		return ""
	}
	p.at += n
	return p.line[p.at-n : p.at]
}

// The functions below take a field if it comes next.

func (p *parser) text(name string) string {
	if !p.has(name) {
		return ""
	}
	return p.quoted()
}

func (p *parser) number(name string) uint64 {
	if !p.has(name) {
		return 0
	}
	return p.digits(16)
}

func (p *parser) texts(name string) (texts []string) {
	p.items(name, "]", func() { texts = append(texts, p.quoted()) })
	return texts
}

func (p *parser) persons(name string) (persons []Digest) {
	p.items(name, "]", func() {
		var d Digest
		p.must(`"`)
		p.hex(d[:])
		p.must(`"`)
		persons = append(persons, d)
	})
	return persons
}

func (p *parser) detail(name string) (detail map[string]string) {
	p.items(name, "}", func() {
		if detail == nil {
			detail = map[string]string{}
		}
		key := p.quoted()
		p.must(":")
		detail[key] = p.quoted()
	})
	return detail
}

// items calls item for each item of the list that name begins, if it comes next.
func (p *parser) items(name, end string, item func()) {
	if !p.has(name) {
		return
	}
	for first := true; p.want == "" && (first || !p.has(end)); first = false {
		if !first {
			p.must(",")
		}
		item()
	}
}

// The functions below take a value, which must come next.

func (p *parser) hash(name string) (h Hash) {
	p.must(name)
	p.hex(h[:])
	p.must(`"`)
	return h
}

func (p *parser) hex(to []byte) {
	s := p.take(2*len(to), "a hash")
	if _, err := hex.Decode(to, []byte(s)); err != nil {
		p.fail("hex before here")
	}
}

// digits takes a number of 1 to most digits.
func (p *parser) digits(most int) (n uint64) {
	end := p.at
	for ; end < len(p.line) && end < p.at+most && isDigit(p.line[end]); end++ {
		n = 10*n + uint64(p.line[end]-'0')
	}
	if end == p.at {
		p.fail("a number")
	}
	p.take(end-p.at, "a number")
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// time takes a time and the quote after it.
func (p *parser) time() time.Time {
	part := func(digits int, end string) int {
		n := p.digits(digits)
		p.must(end)
		return int(n)
	}
	year, month, day := part(4, "-"), part(2, "-"), part(2, "T")
	hour, minute, second, micro := part(2, ":"), part(2, ":"), part(2, "."), part(6, `Z"`)
	return time.Date(year, time.Month(month), day, hour, minute, second, 1000*micro, time.UTC)
}

// quoted takes a string with its quotes.
func (p *parser) quoted() string {
	p.must(`"`)
	plain := p.plain()
	if p.has(`"`) {
		return plain
	}
	var room [64]byte
	s := append(room[:0], plain...)
	for p.want == "" && !p.has(`"`) {
		s = append(s, p.escape())
		s = append(s, p.plain()...)
	}
	return string(s)
}

// plain takes what comes before the next quote or backslash.
func (p *parser) plain() string {
	end := p.at
	for end < len(p.line) && p.line[end] != '"' && p.line[end] != '\\' {
		end++
	}
	return p.take(end-p.at, "a string")
}

// escape takes a character that is escaped.
func (p *parser) escape() byte {
	p.must(`\`)
	c := p.take(1, "an escape")
	switch c {
	case `"`, `\`:
		return c[0]
	case "b":
		return '\b'
	case "f":
		return '\f'
	case "n":
		return '\n'
	case "r":
		return '\r'
	case "t":
		return '\t'
	}
	var b [1]byte
	if c != "u" || !p.has("00") {
		p.fail("an escape before here")
	}
	p.hex(b[:])
	return b[0]
}
