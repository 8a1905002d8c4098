package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"tuco/engine"
)

// raw writes bytes to a new connection and returns all that comes back until it is closed.
func (w *world) raw(t *testing.T, chunks ...string) string {
	t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Error(err)
	}
	for _, text := range chunks {
		if _, err := io.WriteString(c, text); err != nil {
			break // the server has heard enough
		}
	}
	got, _ := io.ReadAll(c) // a reset ends it too
	return string(got)
}

var statusLine = regexp.MustCompile(`HTTP/1\.1 (\d{3}) `)

func statuses(text string) (list []string) {
	for _, m := range statusLine.FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

func impatient(_ *engine.Options, o *Options) {
	o.ReadTimeout, o.IdleTimeout = 300*time.Millisecond, 300*time.Millisecond
}

// TestSmuggling: pitfalls.md 4.2. Whatever a stream looks like, the request hidden in it is not handled.
func TestSmuggling(t *testing.T) {
	w := newWorld(t, impatient)
	const hidden = "GET /livez HTTP/1.1\r\nHost: a\r\nX-Request-Id: hidden\r\n\r\n"
	const first = "POST /api/messages HTTP/1.1\r\nHost: a\r\n"
	body := fmt.Sprint(len(hidden))
	var wg sync.WaitGroup
	for _, p := range []struct {
		name, text string
		want       string // statuses
	}{
		{"Content-Length and chunked", first + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, "401 or 400"},
		{"chunked and Content-Length", first + "Transfer-Encoding: chunked\r\nContent-Length: " + body + "\r\n\r\n" + hidden, "401 or 400"},
		{"two Transfer-Encoding lines", first + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden, "400"},
		{"xchunked and Content-Length", first + "Transfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + hidden, "400"},
		{"chunked, with a tab", first + "Transfer-Encoding:\tchunked, identity\r\n\r\n0\r\n\r\n" + hidden, "400"},
		{"chunked on HTTP/1.0", "POST /api/messages HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, "400"},
		{"a newline in a chunk extension", first + "Transfer-Encoding: chunked\r\n\r\n0;x\nX: y\r\n\r\n" + hidden, "401 or 400"},
		{"a negative chunk", first + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + hidden, "401 or 400"},
		{"a huge chunk", first + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n\r\n" + hidden, "401 or 400"},
		{"a space before the colon", first + "Content-Length : 0\r\n\r\n" + hidden, "400"},
		{"two different lengths", first + "Content-Length: 0\r\nContent-Length: " + body + "\r\n\r\n" + hidden, "400"},
		{"a list of lengths", first + "Content-Length: 0, " + body + "\r\n\r\n" + hidden, "400"},
		{"a signed length", first + "Content-Length: +0\r\n\r\n" + hidden, "400"},
		{"a negative length", first + "Content-Length: -1\r\n\r\n" + hidden, "400"},
		{"a hexadecimal length", first + "Content-Length: 0x0\r\n\r\n" + hidden, "400"},
		{"no Host", "GET /livez HTTP/1.1\r\n\r\n" + hidden, "400"},
		{"two Hosts", "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + hidden, "400"},
		{"NUL in a header", "GET /livez HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n" + hidden, "400"},
		{"a space in the path", "GET /livez x HTTP/1.1\r\nHost: a\r\n\r\n" + hidden, "400"},
		{"a carriage return alone", "GET /livez HTTP/1.1\r\nHost: a\rX: y\r\n\r\n" + hidden, "400"},
	} {
		wg.Go(func() {
			got := w.raw(t, p.text)
			if list := statuses(got); len(list) != 1 || !strings.Contains(p.want, list[0]) {
				t.Errorf("%s: answered %v, want %s\n%s", p.name, list, p.want, got)
			}
		})
	}
	wg.Wait()
	if s := w.logged.String(); strings.Contains(s, `"hidden"`) {
		t.Errorf("a hidden request was handled: %s", s)
	}

	// What is one request after the other is handled as such, and each body stays its own.
	for _, p := range []struct{ name, text, want string }{
		{"two in a row", "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" + hidden, "200 200"},
		{"an absolute target", "GET http://evil/livez HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		{"a target that is *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		{"HTTP/9.9", "GET /livez HTTP/9.9\r\nHost: a\r\n\r\n", "505"},
		{"GET with a body", "GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: " + body + "\r\n\r\n" + hidden, "400"},
		{"GET with chunks", "GET /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "400"},
		{"DELETE with a body that nobody reads", "DELETE /api/keys/x HTTP/1.1\r\nHost: a\r\nContent-Length: " + body + "\r\n\r\n" + hidden, "401"},
		{"a refused body", first + "Content-Length: " + body + "\r\n\r\n" + hidden, "401"},
		{"refused chunks", first + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + hidden, "401 200"},
		{"lines that end with LF alone", "GET /livez HTTP/1.1\nHost: a\n\n", "408 or 400 or 200"},
		{"two Authorization headers", "GET /api/usage HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", "400"},
		{"headers over 16 KiB", "GET /livez HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", headerBytes) + "\r\n\r\n", "431"},
		{"a method that nobody knows", "BREW /livez HTTP/1.1\r\nHost: a\r\nContent-Length: " + body + "\r\n\r\n" + hidden, "501"},
		{"TRACE", "TRACE /livez HTTP/1.1\r\nHost: a\r\n\r\n", "405"},
		{"half a header", "GET /livez HTTP/1.1\r\nHos", "408"},
		{"nothing", "", "408 or "},
	} {
		wg.Go(func() {
			list := statuses(w.raw(t, p.text))
			if got := strings.Join(list, " "); got != p.want && !slices.Contains(strings.Split(p.want, " or "), got) {
				t.Errorf("%s: answered %q, want %s", p.name, got, p.want)
			}
		})
	}
	wg.Wait()
	var single []string
	for _, b := range []byte("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n") {
		single = append(single, string(b))
	}
	if list := statuses(w.raw(t, single...)); !slices.Equal(list, []string{"200"}) {
		t.Errorf("byte by byte: %v", list)
	}
}

// TestUnreadableRequestsAreAnsweredLikeOthers: also what fasthttp or fiber refuse is JSON, with ids, and the
// log names no path.
func TestUnreadableRequestsAreAnsweredLikeOthers(t *testing.T) {
	w := newWorld(t, impatient)
	for _, tt := range []struct {
		name, text string
		status     int
		want       string
	}{
		{"large headers", "GET /api/secret-path HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", headerBytes) + "\r\n\r\n", 431, "The request's headers are too large"},
		{"a method that nobody knows", "FOO /api/secret-path HTTP/1.1\r\nHost: a\r\n\r\n", 501, "Unknown method"},
		{"one that fiber doesn't know", "PROPFIND /api/usage HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 501, "Unknown method"},
		{"a method in lower case", "get /livez HTTP/1.1\r\nHost: a\r\n\r\n", 501, "Unknown method"},
		{"a method that no path has", "TRACE /livez HTTP/1.1\r\nHost: a\r\n\r\n", 405, "Method not allowed"},
	} {
		got := w.raw(t, tt.text)
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		defer resp.Body.Close()
		var e errorResponse
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.Error != tt.want || resp.StatusCode != tt.status {
			t.Errorf("%s: %v %+v in %s", tt.name, err, e, got)
		}
		if resp.Header.Get(headerRequestID) == "" || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", tt.name, resp.Header)
		}
	}
	if s := w.logged.String(); strings.Contains(s, "secret-path") {
		t.Errorf("the log names a path: %s", s)
	}
}

func TestSlowClientsAreCut(t *testing.T) {
	w := newWorld(t, impatient)
	key := w.workspace("A").key(engine.Production, engine.RoleMember)
	for name, text := range map[string]string{
		"a slow body": "Content-Length: 100\r\n\r\n{",
		"slow chunks": "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
	} {
		got := w.raw(t, "POST /api/messages HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+key+"\r\n"+text)
		if list := statuses(got); !slices.Equal(list, []string{"408"}) {
			t.Errorf("%s: %v\n%s", name, list, got)
		}
	}
}

// TestACutOffBodyIsNotHandled: a client that dies in the middle of its request asked for nothing.
func TestACutOffBodyIsNotHandled(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	ws.line(engine.Production, person(1), 0)
	key := ws.key(engine.Production, engine.RoleMember)
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Longer than what fasthttp reads before it calls the handler.
	fmt.Fprintf(c, "POST /api/messages HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: 20000\r\n\r\n%-10000s", key, `{"message":"x","recipientPhone":"+12025550002"}`)
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(c)
	if list := statuses(string(got)); !slices.Equal(list, []string{"400"}) {
		t.Errorf("answered %v", list)
	}
	if got := w.get(key, "/api/messages").text; got != `{"messages":[],"nextCursor":null}` {
		t.Errorf("a cut off request was handled: %s", got)
	}
}

func TestBodySizes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	key := ws.key(engine.Production, engine.RoleOwner)
	padded := func(body string, n int) string { return body + strings.Repeat(" ", n-len(body)) }
	for _, r := range w.srv.routes {
		if r.input == nil || r.scope == "" || !newBinder(reflect.TypeOf(r.input)).hasBody || r.bulk {
			continue
		}
		req, status := f.valid(r.id)
		text, err := json.Marshal(req.body)
		if err != nil {
			t.Fatal(err)
		}
		req.key = key
		req.body = padded(string(text), bodyBytes)
		w.do(req).is(t, r.id+" with 1 MiB", status)
		req.body = padded(string(text), bodyBytes+1)
		w.do(req).fails(t, r.id+" with one byte more", 413, "The request body is larger than 1048576 bytes")
		got := w.raw(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
			req.method, req.path, key, bodyBytes+1, padded("{}", bodyBytes+1)))
		if list := statuses(got); !slices.Equal(list, []string{"413"}) {
			t.Errorf("%s with one byte more, in chunks: %v", r.id, list)
		}
	}
	w.do(request{method: post, path: "/api/leads", key: key, body: padded(`{"leads":[{"email":"a@example.com"}]}`, 8<<20)}).is(t, "leads with 8 MiB", 201)
	w.do(request{method: post, path: "/api/leads", key: key, body: padded("{}", bulkBodyBytes+1)}).fails(t, "leads with 32 MiB and a byte", 413, "The request body is larger than 33554432 bytes")
	// The declared length decides, before the body has come.
	got := w.raw(t, "POST /api/lists HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+key+"\r\nContent-Length: 99999999999\r\n\r\n"+strings.Repeat(" ", 8<<10))
	if list := statuses(got); !slices.Equal(list, []string{"413"}) {
		t.Errorf("a declared length of 100 GB: %v", list)
	}
}

func TestContentTypes(t *testing.T) {
	w := newWorld(t)
	key := w.workspace("A").key(engine.Production, engine.RoleMember)
	i := 0
	create := func(header map[string]string) answer {
		i++
		a, err := w.send(request{method: post, path: "/api/lists", key: key, body: obj{"name": fmt.Sprint("l", i)}, header: header})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, kind := range []string{"application/json", "APPLICATION/JSON", "application/json;charset=UTF-8", `application/json; charset="utf-8"`, "application/json; profile=x", ""} {
		create(map[string]string{"Content-Type": kind}).is(t, kind, 201)
	}
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "application/jsonx", "application/json; charset=latin1", "application/json, text/plain", "json", "/"} {
		create(map[string]string{"Content-Type": kind}).fails(t, kind, 415, "The Content-Type must be application/json")
	}
	create(map[string]string{"Content-Encoding": "identity"}).is(t, "identity", 201)
	for _, coding := range []string{"gzip", "br", "deflate", "identity, gzip"} {
		create(map[string]string{"Content-Encoding": coding}).fails(t, coding, 415, "Content-Encoding is not taken; send the JSON as it is")
	}
}

// TestStrictJSON: what two readers could understand differently is refused, and the refusal says where.
func TestStrictJSON(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	ws.line(engine.Production, person(1), 0)
	key := ws.key(engine.Production, engine.RoleMember)
	const noJSON = "Invalid request body (JSON required)"
	for _, tt := range []struct{ name, body, text, where string }{
		{"a key twice", `{"message":"a","message":"b"}`, noJSON, `duplicate key "message", byte 15`},
		{"a key twice in what nobody asked for", `{"x":{"y":1,"y":2}}`, noJSON, `duplicate key "y" at /x, byte 12`},
		{"text after the end", `{} x`, noJSON, "text after the end of the JSON value, byte 3"},
		{"two objects", `{}{}`, noJSON, "text after the end of the JSON value, byte 2"},
		{"33 levels", strings.Repeat(`{"x":`, 33) + "1" + strings.Repeat("}", 33), noJSON, "nested deeper than 32 levels"},
		{"10001 levels", strings.Repeat("[", 10001), noJSON, "nested deeper than 32 levels"},
		{"invalid UTF-8", "{\"message\":\"\xff\"}", noJSON, "invalid UTF-8 at /message, byte 12"},
		{"half a surrogate pair", `{"message":"\ud800"}`, noJSON, `lone surrogate \ud800`},
		{"a byte order mark", "\ufeff{}", noJSON, "byte order mark, byte 0"},
		{"a comment", `{"message":"x"/**/}`, noJSON, "unexpected '/'"},
		{"single quotes", `{'message':'x'}`, noJSON, "unexpected '\\''"},
		{"a line break in a text", "{\"message\":\"a\nb\"}", noJSON, "byte 13"},
		{"a number for a text", `{"message":5}`, "message must be a string", ""},
		{"a text for a list", `{"allowedDaysOfWeek":"1"}`, "allowedDaysOfWeek must be an array", ""},
		{"a fraction for a day", `{"allowedDaysOfWeek":[1.5]}`, "allowedDaysOfWeek/0 must be a whole number", ""},
		{"an exponent for a day", `{"allowedDaysOfWeek":[1e0]}`, "allowedDaysOfWeek/0 must be a whole number", ""},
		{"a number that is too big", `{"allowedDaysOfWeek":[1e400]}`, "allowedDaysOfWeek/0 must be a whole number", ""},
		{"a word for yes", `{"sendFallbackSmsOnFailed":"true"}`, "sendFallbackSmsOnFailed must be true or false", ""},
		{"a list for settings", `{"settings":[]}`, "settings must be an object", ""},
	} {
		a := w.post(key, "/api/messages", tt.body).fails(t, tt.name, 400, tt.text)
		if got := a.str("reason"); !strings.Contains(got, tt.where) {
			t.Errorf("%s: reason %q, want %q in it", tt.name, got, tt.where)
		}
	}
	// Keys are matched byte for byte: others are unknown, and ignored.
	for _, body := range []string{`{"MESSAGE":"x","recipientPhone":"+12025550002"}`, `{"me\u017f\u017fage":"x","recipientPhone":"+12025550002"}`} {
		w.post(key, "/api/messages", body).fails(t, body, 400, "Message and attachmentUrls cannot both be empty")
	}
	w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(2), "WorkspaceId": "org_other", "wor\u212aspaceId": "org_other"}).is(t, "a look-alike of workspaceId", 201)
	w.post(key, "/api/messages", `{"message":"x","recipientPhone":"+12025550002","allowedDaysOfWeek":[],"n":9007199254740993,"f":-0}`).is(t, "numbers that nobody reads", 201)
}

var nasty = []string{
	"\x00", "a\x00b", "\x1b[2J", "a\r\nSet-Cookie: x=y", "\u202Eevil", "\u200b", "e\u0301", "👩‍👩‍👧‍👦", "\ufffd", "=1+1", "<script>alert(1)</script>",
	"' OR 1=1 --", "../../etc/passwd", "%00", "{{firstName}}", "{{", strings.Repeat("é", 300), strings.Repeat("x", 10_000), " ", "\u00a0", "org_x", "6b03d3c2cceb160000000005", "١٢٣", "null", "-1",
}

// TestNoTextIsA500: whatever stands in a string, the answer is JSON and no 5xx, and no line of the log
// holds a line break of it.
func TestNoTextIsA500(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	key := ws.key(engine.Production, engine.RoleAdmin)
	ask := func(r request) {
		t.Helper()
		r.key = key
		a, err := w.send(r)
		if err != nil {
			t.Fatalf("%s %s %v: %v", r.method, r.path, r.body, err)
		}
		if a.status >= 500 || !json.Valid([]byte(a.text)) {
			t.Errorf("%s %s %.100v: %d %s", r.method, r.path, r.body, a.status, a.text)
		}
	}
	fields := map[string][]string{
		"sendMessage": {"message", "messageType", "recipientPhone", "recipientEmail", "recipientName", "fromLineId", "leadId", "altPhone1", "altEmail1", "scheduledDate", "timezone",
			"sendWindowStart", "batchId", "correlationId", "contactOwnerEmail", "ghlContactId", "workspaceId"},
		"cancelForLead": {"leadId", "recipientPhone", "recipientEmail"},
		"setLead":       {"firstName", "email", "phone", "altPhone2", "notes", "linkedinUrl", "listId", "defaultCountryCode", "externalId"},
		"createLeads":   {"listId", "source", "defaultCountryCode", "contactOwnerEmail", "ghlLocationId"},
		"createList":    {"name", "description"},
		"setList":       {"name", "description"},
		"createLine":    {"channel", "phone", "email", "firstName", "transport"},
		"setLine":       {"firstName", "transport"},
		"createKey":     {"name", "role", "expiresAt"},
		"setKey":        {"name", "role"},
		"rotateKey":     {"overlap"},
	}
	for id, names := range fields {
		for _, name := range names {
			for _, text := range nasty {
				r, _ := f.valid(id)
				body := obj{}
				for k, v := range r.body.(obj) {
					body[k] = v
				}
				body[name], r.body = text, body
				ask(r)
			}
		}
	}
	for _, text := range nasty {
		escaped := strings.NewReplacer("%", "%25", " ", "%20", "\r", "%0D", "\n", "%0A", "\x00", "%00", "\x1b", "%1B", "?", "%3F", "#", "%23").Replace(text)
		for _, path := range []string{"/api/messages/", "/api/leads/", "/api/keys/"} {
			ask(request{method: get, path: path + escaped})
			ask(request{method: remove, path: path + escaped})
		}
		for _, name := range []string{"status", "lineId", "batchId", "dateFrom", "cursor", "limit"} {
			ask(request{method: get, path: "/api/messages?" + name + "=" + escaped})
		}
		for _, name := range []string{"id", "search", "listId", "page", "limit"} {
			ask(request{method: get, path: "/api/leads?" + name + "=" + escaped})
		}
		if strings.ContainsAny(text, "\x00\r\x1b") {
			continue // no HTTP client sends them in a header
		}
		for _, name := range []string{"Idempotency-Key", headerRequestID, headerCorrelationID, "Accept", "Content-Type", "User-Agent"} {
			r, _ := f.valid("createList")
			r.header = map[string]string{name: text}
			if len(text) < 9000 {
				ask(r)
			}
		}
	}
	for line := range strings.Lines(w.logged.String()) {
		if !json.Valid([]byte(line)) {
			t.Fatalf("a broken line in the log: %q", line)
		}
	}
}

func TestPathsAreMatchedByteForByte(t *testing.T) {
	w := newWorld(t)
	key := w.workspace("A").key(engine.Production, engine.RoleMember)
	for _, path := range []string{"/api/messages/", "/API/messages", "/api/Messages", "//api/messages", "/api//messages", "/api/./messages", "/api/x/../messages", "/api%2fmessages", "/api/messages;x=y", "/api/messages%00", "/"} {
		w.get(key, path).fails(t, path, 404, "Not found")
	}
	for _, path := range []string{"%2f", "%252e%252e", "..", "%00", "..;", "a%2fb", strings.Repeat("a", 10_000), "６b03d3c2cceb160000000005"} {
		a, err := w.send(request{method: get, path: "/api/messages/" + path, key: key})
		if err != nil || a.status != 400 || a.str("error") != "Invalid messageId" {
			t.Errorf("%.50s: %v %d %s", path, err, a.status, a.text)
		}
	}
	for _, path := range []string{"/livez", "/api/usage", "/api/messages", "/openapi.json", "/metrics"} {
		a := w.do(request{method: http.MethodHead, path: path, key: key}).is(t, "HEAD "+path, 200)
		if a.text != "" || a.header.Get("Content-Length") == "0" {
			t.Errorf("HEAD %s: %v %q", path, a.header, a.text)
		}
	}
	w.do(request{method: http.MethodHead, path: "/api/usage"}).is(t, "HEAD without a key", 401)
	w.get(key, "/api/usage?anything=x&anything=y&%ff=%ff").is(t, "unknown parameters", 200)
}

func TestRequestIDsAreEchoed(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	ws.line(engine.Production, person(1), 0)
	key := ws.key(engine.Production, engine.RoleMember)
	send := func(body obj, header map[string]string) answer {
		full := obj{"message": "x", "recipientPhone": person(2)}
		for k, v := range body {
			full[k] = v
		}
		return w.do(request{method: post, path: "/api/messages", key: key, body: full, header: header}).is(t, fmt.Sprint(body, header), 201)
	}
	a := send(nil, map[string]string{"x-correlation-id": "trace:1", "X-Request-Id": "req-1"})
	if a.header.Get(headerCorrelationID) != "trace:1" || a.header.Get(headerRequestID) != "req-1" || a.str("message", "correlationId") != "trace:1" {
		t.Errorf("%v %s", a.header, a.text)
	}
	if a := send(obj{"correlationId": "body-1"}, nil); a.header.Get(headerCorrelationID) != "body-1" || a.str("message", "correlationId") != "body-1" {
		t.Errorf("from the body: %v %s", a.header, a.text)
	}
	if a := send(obj{"correlationId": "body-1"}, map[string]string{"x-correlation-id": "trace:2"}); a.str("message", "correlationId") != "trace:2" {
		t.Errorf("the header comes first: %s", a.text)
	}
	if a := send(nil, nil); !strings.HasPrefix(a.header.Get(headerCorrelationID), "app_") || a.header.Get(headerCorrelationID) != a.str("message", "correlationId") {
		t.Errorf("made: %v %s", a.header, a.text)
	}
	for _, bad := range []string{"a b", strings.Repeat("x", 129), "ä", "a\"b", "tuco_sk_prod_abcdefgh"} {
		if a := send(obj{"correlationId": bad}, map[string]string{"X-Request-Id": bad}); a.header.Get(headerRequestID) == bad || !strings.HasPrefix(a.str("message", "correlationId"), "app_") {
			t.Errorf("%q was taken over: %v %s", bad, a.header, a.text)
		}
	}
	for _, event := range []string{"message.api.request", "message.api.create_message_returned"} {
		if !regexp.MustCompile(`"request":"req-1","correlation":"trace:1".*"message":"` + regexp.QuoteMeta(event)).MatchString(w.logged.String()) {
			t.Errorf("the log has no %s with the request's ids", event)
		}
	}
	// Refusals carry them too.
	if a := w.do(request{method: get, path: "/nowhere", header: map[string]string{"X-Request-Id": "req-2"}}); a.header.Get(headerRequestID) != "req-2" {
		t.Errorf("404: %v", a.header)
	}
}

// TestAPanicEndsItsRequestOnly: 500, one event in the log with where it was, and the next request is served.
func TestAPanicEndsItsRequestOnly(t *testing.T) {
	w := newWorld(t)
	logged := new(logBuffer)
	srv, err := New(Options{Engine: w.eng, Log: w.srv.log.Output(logged)})
	if err != nil {
		t.Fatal(err)
	}
	srv.app.Get("/panic/:id", func(*fiber.Ctx) error { panic("the handler broke") })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	defer func() {
		w.client.CloseIdleConnections()
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	}()
	w.addr = ln.Addr().String()
	for range 2 {
		a, err := w.send(request{method: get, path: "/panic/secret-id"})
		if err != nil || a.text != `{"error":"Internal server error"}` {
			t.Fatalf("%v %s", err, a.text)
		}
		a.is(t, "a panic", 500)
	}
	if s := logged.String(); strings.Count(s, "the handler broke") != 2 || !strings.Contains(s, "manners_test.go") || strings.Contains(s, "secret-id") {
		t.Errorf("logged %s", s)
	}
	w.get("", "/livez").is(t, "afterwards", 200)
}

// FuzzSendMessage: no body whatever makes a 5xx.
func FuzzSendMessage(f *testing.F) {
	for _, body := range []string{
		`{"message":"x","recipientPhone":"+12025550002"}`, `{"message":"{{x}}","recipientEmail":"a@example.com","scheduledDate":"2099-01-01"}`, `[]`, `null`, ``, `{"a":{"b":[]}}`,
		`{"message":"x","leadId":"6b03d3c2cceb160000000005","fromLineId":"6b03d3c2cceb160000000005","timezone":"Europe/Berlin","sendWindowStart":"22:00","sendWindowEnd":"06:00","allowedDaysOfWeek":[0,6]}`,
		`{"attachmentUrls":["https://example.com/a.png"],"attachmentNames":["a"],"settings":{"timezone":"UTC"},"altPhone1":"","altEmail3":"a@b.co","batchId":"b","recipientPhone":"2025550002"}`,
	} {
		f.Add([]byte(body))
	}
	w, key := fuzzed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := w.send(request{method: post, path: "/api/messages", key: key, body: string(body)})
		if err != nil || a.status >= 500 || !json.Valid([]byte(a.text)) {
			t.Errorf("%q: %v %d %s", body, err, a.status, a.text)
		}
	})
}
