package e2e

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
)

// marker is in everything that the test gives to the program.
const marker = "Quaxolot"

// rudeMailServer refuses everybody, or each recipient, and quotes the marker when it does.
func rudeMailServer(t *testing.T, everybody bool) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) {
		if everybody {
			return nil, &gosmtp.SMTPError{Code: 554, EnhancedCode: gosmtp.EnhancedCode{5, 7, 1}, Message: "no mail from " + marker + " <" + marker + "@sender.test>"}
		}
		return rudeSession{}, nil
	}))
	srv.Domain = "mail.test"
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(ln) //nolint:errcheck // it ends when it is closed
	}()
	t.Cleanup(func() { srv.Close(); <-done })
	return ln.Addr().String()
}

type rudeSession struct{}

func (rudeSession) Mail(string, *gosmtp.MailOptions) error { return nil }
func (rudeSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "user " + marker + " <" + to + "> unknown here"}
}
func (rudeSession) Data(io.Reader) error { return nil }
func (rudeSession) Reset()               {}
func (rudeSession) Logout() error        { return nil }

// unpacked reads a support bundle.
func unpacked(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(zip); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(header.Name, "tuco-support/")] = string(text)
	}
}

// TestSupportHoldsNoCustomerData puts a marker into every record and every request, lets things fail, and looks for it.
func TestSupportHoldsNoCustomerData(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	s := serve(t, filepath.Join(home, "d"), "--log-level", "debug")
	who, secrets := markedRecords(t, s)
	for _, event := range []string{"line is down; its messages wait", `"status":"failed"`, "admin command failed", marker} {
		eventually(t, event, func() bool { return strings.Contains(s.logged(), event) })
	}

	path := filepath.Join(home, "support.tar.gz")
	s.tuco(nil, "support", "--out", path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the bundle: %v, %v", info.Mode(), err)
	}
	files := unpacked(t, path)
	for name, wants := range map[string][]string{
		"version.json": {`"go"`}, "config.json": {`"drain-timeout"`}, "doctor.json": {`"permissions"`}, "process.json": {`"openFileLimit"`},
		"stats.json": {`"Commits"`}, "memory.json": {`"heap"`}, "metrics.txt": {"tuco_http_requests_total{", "tuco_commits_total"},
		"goroutines.txt": {"goroutine profile:", "httpapi"}, "build.txt": {"bbolt"},
		"log.jsonl": {`"message":"line is down; its messages wait"`, `"status":"failed"`, `"message":"request"`, who.workspace, `"route":"/api/leads"`, "554 \\\"5.7.1"},
	} {
		for _, want := range wants {
			if !strings.Contains(files[name], want) {
				t.Errorf("%s lacks %s:\n%s", name, want, files[name][:min(len(files[name]), 1000)])
			}
		}
	}
	for name, text := range files {
		for _, secret := range append(secrets, marker, "2025550", "202555") {
			if at := strings.Index(strings.ToLower(text), strings.ToLower(secret)); at >= 0 {
				t.Errorf("%s holds %q: …%s…", name, secret, text[max(0, at-200):min(len(text), at+100)])
			}
		}
	}
	if err := s.try(nil, "support", "--out", path); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a file that is there: %v", err)
	}
}

// markedRecords makes a record of each kind, and returns what else must not be seen.
func markedRecords(t *testing.T, s *server) (who tenant, secrets []string) {
	t.Helper()
	var w, line struct {
		ID   string
		Line string `json:"_id"`
	}
	s.tuco(nil, "plan", "set", "wide", "--email-lines", "2")
	s.tuco(&w, "workspace", "create", marker+" Ltd", "--plan", "wide")
	var k struct{ ID, Secret string }
	s.tuco(&k, "key", "create", "--workspace", w.ID, "--env", "production", "--name", marker, "--role", "owner")
	who = tenant{w.ID, k.Secret, k.ID}
	s.tuco(&line, "line", "create", "--workspace", w.ID, "--env", "production", "--type", "imessage", "--phone", "+12025550100", "--first-name", marker)
	for i, everybody := range []bool{true, false} {
		s.tuco(nil, "line", "create", "--workspace", w.ID, "--env", "production", "--type", "email", "--email", fmt.Sprintf("%s%d@sender.test", marker, i), "--last-name", marker,
			"--device-gap", "0s", "--contact-gap", "0s", "--transport", "smtp://"+rudeMailServer(t, everybody)+"?starttls=none&subject="+marker)
	}
	var staff struct{ ID, Token string }
	s.tuco(&staff, "staff", "add", marker, "--email", marker+"@staff.test", "--employer", marker, "--country", "DE", "--role", marker)
	var auditor struct{ Token string }
	s.tuco(&auditor, "auditor", "add", marker, "--email", marker+"@audit.test")
	secrets = []string{k.Secret, staff.Token, auditor.Token}
	if err := s.try(nil, "workspace", "show", marker); err == nil {
		t.Error("there is a workspace of that name")
	}
	if err := s.try(nil, "plan", "show", marker); err == nil {
		t.Error("there is a plan of that name")
	}

	ask := func(want int, method, path, key, body string) {
		t.Helper()
		req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body == "" {
			req.Body = http.NoBody
		}
		for name, value := range map[string]string{
			"Authorization": "Bearer " + key, "Content-Type": "application/json", "X-Request-Id": marker, "X-Correlation-Id": "app_" + marker, "User-Agent": marker,
		} {
			req.Header.Set(name, value)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
			t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
		}
	}
	ask(201, "POST", "/api/lists", k.Secret, `{"name":"`+marker+`","description":"`+marker+`"}`)
	ask(201, "POST", "/api/leads", k.Secret, `{"leads":[{"phone":"+12025550142","email":"`+marker+`@example.com","firstName":"`+marker+`","lastName":"`+marker+`"}]}`)
	ask(201, "POST", "/api/messages", k.Secret, `{"message":"`+marker+`","recipientPhone":"+12025550143","recipientName":"`+marker+`"}`)
	for range 4 { // to both mail servers
		ask(201, "POST", "/api/messages", k.Secret, `{"message":"`+marker+`","messageType":"email","recipientEmail":"`+marker+`@example.com","recipientName":"`+marker+`"}`)
	}
	ask(200, "GET", "/api/leads?search="+marker, k.Secret, "")
	ask(404, "GET", "/"+marker, k.Secret, "")
	ask(400, "POST", "/api/messages", k.Secret, `{"`+marker+`":`)
	ask(401, "GET", "/api/leads", "tuco_sk_prod_"+marker, "")
	ask(201, "POST", "/staff/access-requests", staff.Token, `{"workspaceId":"`+w.ID+`","environment":"production","scopes":["leads:read"],`+
		`"reasonType":"customer_initiated_support","reason":"`+marker+`","ticket":"`+marker+`","duration":"1h"}`)
	return who, secrets
}

// TestSupportWithoutServer has what can be had.
func TestSupportWithoutServer(t *testing.T) {
	t.Parallel()
	s := &server{t: t, dir: filepath.Join(t.TempDir(), "none")}
	path := filepath.Join(t.TempDir(), "support.tar.gz")
	s.tuco(nil, "support", "--out", path, "--acme-directory", "https://ops:"+marker+"@ca.test/dir")
	files := unpacked(t, path)
	if len(files) != 4 || !strings.Contains(files["doctor.json"], "there is no data directory") {
		t.Errorf("it holds %d files; doctor: %s", len(files), files["doctor.json"])
	}
	if strings.Contains(files["config.json"], marker) || !strings.Contains(files["config.json"], "ca.test") {
		t.Errorf("config: %s", files["config.json"])
	}
}
