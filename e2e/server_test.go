package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// binary is the program, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "tuco-e2e-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "tuco")
		build := exec.Command("go", "build", "-o", binary, "tuco")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// TestSources looks at every source file of the program, so that go test knows what these tests depend on,
// and does not give a cached result when one has changed. Only what a test looks at counts for that.
func TestSources(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// patience bounds every wait: long, since a test machine may be busy.
const patience = 60 * time.Second

// eventually asks until fn is content.
func eventually(t testing.TB, what string, fn func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !fn() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		case <-tick.C:
		}
	}
}

// A server is a running program.
type server struct {
	t    testing.TB
	dir  string
	url  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu  sync.Mutex
	log bytes.Buffer
}

// serve starts a server on dir and waits until it serves.
func serve(t testing.TB, dir string, flags ...string) *server {
	t.Helper()
	args := append([]string{"serve", "--data", dir, "--listen", "127.0.0.1:0", "--reserve", "1MiB"}, flags...)
	return launch(t, dir, exec.Command(binary, args...))
}

// launch starts a server by cmd and waits until it serves.
func launch(t testing.TB, dir string, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{t: t, dir: dir, cmd: cmd, done: make(chan struct{})}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	go func() {
		defer close(s.done)
		s.follow(stderr, address)
		cmd.Wait() //nolint:errcheck // its state tells
	}()
	t.Cleanup(func() {
		select {
		case <-s.done: // as the test wanted
		default:
			s.kill()
			if t.Failed() {
				t.Logf("the server's last words:\n%s", s.lastWords())
			}
		}
	})
	select {
	case addr := <-address:
		s.url = "http://" + addr
	case <-s.done:
		t.Fatalf("the server ended with %v:\n%s", cmd.ProcessState, s.lastWords())
	case <-time.After(patience):
		t.Fatalf("the server does not serve:\n%s", s.lastWords())
	}
	return s
}

// follow keeps the log, and reads from it where the server listens.
func (s *server) follow(log io.Reader, address chan<- string) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		s.mu.Lock()
		s.log.Write(lines.Bytes())
		s.log.WriteByte('\n')
		s.mu.Unlock()
		var event struct{ Message, Address string }
		if json.Unmarshal(lines.Bytes(), &event) == nil && event.Message == "serving" {
			address <- event.Address
		}
	}
}

func (s *server) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func (s *server) lastWords() string {
	all := s.logged()
	return all[max(0, len(all)-4000):]
}

// kill ends the process as a crash would, and waits for its end.
func (s *server) kill() {
	s.cmd.Process.Kill()
	<-s.done
}

// stop asks the process to end and returns its exit code.
func (s *server) stop(sig os.Signal) int {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
	return s.exit()
}

// exit waits for the process's end and returns its exit code.
func (s *server) exit() int {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatalf("the process does not end:\n%s", s.lastWords())
	}
	return s.cmd.ProcessState.ExitCode()
}

// tuco runs a command and decodes its JSON into out.
func (s *server) tuco(out any, args ...string) {
	s.t.Helper()
	if err := s.try(out, args...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) try(out any, args ...string) error {
	cmd := exec.Command(binary, append(args, "--data", s.dir, "--json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	data, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("tuco %s: %w: %s%s", strings.Join(args, " "), err, stderr.Bytes(), data)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// check lets the program look for faults.
func (s *server) check() {
	s.t.Helper()
	var found struct{ Faults []string }
	s.tuco(&found, "check")
	if len(found.Faults) > 0 {
		s.t.Errorf("check found %d faults:\n%s", len(found.Faults), strings.Join(found.Faults, "\n"))
	}
}

// A tenant is a workspace with a key of its production.
type tenant struct{ workspace, key, keyID string }

// newTenant makes a workspace on a plan of its own, which flags describe.
func newTenant(s *server, planFlags ...string) (t tenant) {
	s.t.Helper()
	s.tuco(nil, append([]string{"plan", "set", "test"}, planFlags...)...)
	var w struct{ ID string }
	s.tuco(&w, "workspace", "create", "Test", "--plan", "test")
	var k struct{ ID, Secret string }
	s.tuco(&k, "key", "create", "--workspace", w.ID, "--env", "production", "--name", "test", "--role", "admin")
	return tenant{w.ID, k.Secret, k.ID}
}

// newLine makes a line of production without gaps.
func newLine(s *server, t tenant, flags ...string) string {
	s.t.Helper()
	var l struct {
		ID string `json:"_id"`
	}
	s.tuco(&l, append([]string{"line", "create", "--workspace", t.workspace, "--env", "production", "--device-gap", "0s", "--contact-gap", "0s"}, flags...)...)
	return l.ID
}

// client keeps its connections; fresh does not.
var (
	client = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	fresh  = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
)

// An answer is a status and a body.
type answer struct {
	status int
	body   []byte
}

// call sends a request. An error says that there was no answer.
func call(c *http.Client, method, url, key string, body any) (answer, error) {
	var r io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		r = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, url, r)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, data}, err
}

// get asks for path and decodes a 200 into out.
func (s *server) get(key, path string, out any) {
	s.t.Helper()
	a, err := call(client, http.MethodGet, s.url+path, key, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if a.status != http.StatusOK {
		s.t.Fatalf("GET %s: %d %s", path, a.status, a.body)
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		s.t.Fatalf("GET %s: %v: %s", path, err, a.body)
	}
}

// A message is what tests read of a message.
type message struct {
	ID             string `json:"_id"`
	Message        string
	Status         string
	OutcomeUnknown bool
	Reason         string
	ScheduledDate  string
	FromLineID     string
}

// send posts a message and returns its id, empty if it was not accepted.
func send(c *http.Client, url, key string, body map[string]any) (id string, a answer, err error) {
	a, err = call(c, http.MethodPost, url+"/api/messages", key, body)
	if err != nil || a.status != http.StatusCreated {
		return "", a, err
	}
	var created struct{ Message message }
	err = json.Unmarshal(a.body, &created)
	return created.Message.ID, a, err
}

// messages returns every message that the filter lets through.
func (s *server) messages(key, filter string) (all []message) {
	s.t.Helper()
	for cursor := ""; ; {
		var page struct {
			Messages   []message
			NextCursor string
		}
		s.get(key, "/api/messages?limit=100"+filter+cursor, &page)
		all = append(all, page.Messages...)
		if page.NextCursor == "" {
			return all
		}
		cursor = "&cursor=" + page.NextCursor
	}
}

// unknown returns the ids of the messages whose outcome the operator has to settle.
func (s *server) unknown(t tenant) (ids []string) {
	s.t.Helper()
	var list struct{ Messages []message }
	s.tuco(&list, "message", "unknown", "--workspace", t.workspace)
	for _, m := range list.Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// used returns what is used of a limit of the production of a workspace, over all lines.
func (s *server) used(t tenant, limit string) (n int64) {
	s.t.Helper()
	var usage map[string][]struct {
		Name string
		Used int64
	}
	s.tuco(&usage, "usage", "--workspace", t.workspace)
	for _, l := range usage["production"] {
		if l.Name == limit {
			n += l.Used
		}
	}
	return n
}

// refused tells whether there was no connection: the request was certainly not begun.
func refused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
