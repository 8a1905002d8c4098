package bench

import (
	"errors"
	"fmt"
	"testing"
)

// TestParseAnswer: an answer is read when all of it has come, and not before.
func TestParseAnswer(t *testing.T) {
	for _, tt := range []struct {
		head, body string
		status     int
		last       bool
	}{
		{"HTTP/1.1 201 Created\r\nDate: now\r\nContent-Length: 7\r\nX-Request-Id: 1\r\n", `{"a":1}`, 201, false},
		{"HTTP/1.1 200 OK\r\ncontent-length:2\r\n", "{}", 200, false},
		{"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n", "", 503, true},
	} {
		whole := tt.head + "\r\n" + tt.body
		for n := range whole {
			if _, all, err := parseAnswer([]byte(whole[:n])); all || err != nil {
				t.Errorf("%q is taken as a whole answer, or not at all: %v", whole[:n], err)
			}
		}
		a, all, err := parseAnswer([]byte(whole))
		if !all || err != nil || a.status != tt.status || string(a.body) != tt.body || a.last != tt.last {
			t.Errorf("%q is read as %d %q, last %v, %v", whole, a.status, a.body, a.last, err)
		}
	}
}

func TestParseAnswerRefuses(t *testing.T) {
	for text, want := range map[string]error{
		"SSH-2.0-OpenSSH_9.2\r\n\r\n":                           errNotHTTP,
		"HTTP/1.1 two\r\n\r\n":                                  errNotHTTP,
		"HTTP/1.1\r\n\r\n":                                      errNotHTTP,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n": errNoLength,
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n":          errNoLength,
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n":         errNoLength,
	} {
		if _, all, err := parseAnswer([]byte(text)); all || !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
	}
}

func TestMessageID(t *testing.T) {
	const id = "6b03d08e97cd740000000003"
	for _, body := range []string{
		fmt.Sprintf(`{"success":true,"message":{"_id":"%s","leadId":"x"}}`, id),
		fmt.Sprintf(`{"collectionId":"c","id":"%s","message":"m"}`, id),
	} {
		if got := messageID([]byte(body)); got != id {
			t.Errorf("the id in %s is %q, want %s", body, got, id)
		}
	}
}
