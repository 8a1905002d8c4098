package bench

import (
	"bytes"
	"errors"
	"net"
	"strconv"
)

// conn is one kept connection. It writes bytes that were prepared, and reads of an answer only what a load needs.
type conn struct {
	net.Conn
	buf []byte
}

// An answer is valid until the next request.
type answer struct {
	status int
	body   []byte
	last   bool // the server closes the connection
}

// do sends a request and reads the answer.
func (c *conn) do(request []byte) (answer, error) {
	if _, err := c.Write(request); err != nil {
		return answer{}, err
	}
	for have := 0; ; {
		if have == len(c.buf) {
			c.buf = append(c.buf, make([]byte, max(16<<10, len(c.buf)))...)
		}
		n, err := c.Read(c.buf[have:])
		have += n
		if a, whole, parseErr := parseAnswer(c.buf[:have]); whole || parseErr != nil {
			return a, parseErr
		}
		if err != nil {
			return answer{}, err
		}
	}
}

var (
	errNotHTTP  = errors.New("the answer is not HTTP/1.1")
	errNoLength = errors.New("the answer has no Content-Length; other answers are not read by this load")
)

// parseAnswer reads an answer out of what has arrived so far; whole tells whether that is all of it.
func parseAnswer(data []byte) (a answer, whole bool, err error) {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		return a, false, nil
	}
	head := data[:end+2]
	if len(head) < len("HTTP/1.1 200") || string(head[:len("HTTP/1.1 ")]) != "HTTP/1.1 " {
		return a, false, errNotHTTP
	}
	if a.status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return a, false, errNotHTTP
	}
	length, err := strconv.ParseUint(string(headerValue(head, "Content-Length")), 10, 31)
	if err != nil {
		return a, false, errNoLength
	}
	if a.body = data[end+4:]; len(a.body) < int(length) {
		return a, false, nil
	}
	a.last = bytes.EqualFold(headerValue(head, "Connection"), []byte("close"))
	return a, true, nil
}

// headerValue is the value of a field in the head of an answer; nil if it is not there.
func headerValue(head []byte, name string) []byte {
	for {
		at := bytes.Index(head, []byte("\r\n"))
		if at < 0 || len(head) < at+len(name)+3 {
			return nil
		}
		head = head[at+2:]
		if head[len(name)] == ':' && bytes.EqualFold(head[:len(name)], []byte(name)) {
			value, _, _ := bytes.Cut(head[len(name)+1:], []byte("\r\n"))
			return bytes.TrimSpace(value)
		}
	}
}
