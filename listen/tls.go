package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// tlsListener makes TLS connections. The handshake is made by whoever serves one.
type tlsListener struct {
	net.Listener
	config *tls.Config
}

func (l tlsListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tlsConn{tls.Server(c, l.config), c}, nil
}

// tlsConn answers a client that speaks plain HTTP in its own language.
type tlsConn struct {
	*tls.Conn
	plain net.Conn
}

// Handshake makes the handshake, unless it is made.
func (c *tlsConn) Handshake() error {
	err := c.Conn.Handshake()
	var bad tls.RecordHeaderError
	if errors.As(err, &bad) && bad.Conn != nil && isHTTP(bad.RecordHeader) {
		answerPlain(c.plain)
	}
	return err
}

// isHTTP tells whether the first bytes that a client sent begin a request.
func isHTTP(begin [5]byte) bool {
	switch string(begin[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO":
		return true
	}
	return false
}

const plainAnswer = `{"error":"This port speaks HTTPS: write https:// in the URL","code":"HTTPS_REQUIRED"}`

// answerPlain answers and hangs up. What the client still sends is read for a moment: an unread rest would make the
// kernel reset the connection, and the answer be lost.
func answerPlain(c net.Conn) {
	defer c.Close()
	if c.SetDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	_, err := fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(plainAnswer), plainAnswer)
	half, ok := c.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c, 1<<20) // whatever comes of it
}
