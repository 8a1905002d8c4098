package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A shown answer is one that staff got, by what its entry must say.
type shownAnswer struct {
	entry   uint64
	request string
	path    string
}

// TestStaffReadsKilled kills the process at random moments while 64 connections of staff read. After the next start every
// answer that anybody got has its entry.
func TestStaffReadsKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, dir)
	c := newStaffCase(t, s)
	looks := c.looks(s)
	var shown []shownAnswer
	for range killRounds {
		shown = append(shown, c.readUntilKilled(s, looks)...)
		s = serve(t, dir)
	}
	if len(shown) < 64 {
		t.Errorf("only %d answers in %d rounds", len(shown), killRounds)
	}
	entries := c.entries(s)
	for _, a := range shown {
		if a.entry >= uint64(len(entries)) {
			t.Errorf("%s was answered, and its entry %d is not there: there are %d", a.path, a.entry, len(entries))
		} else if e := entries[a.entry]; e.Event != "staff.read" || e.Request != a.request || e.Seq != a.entry {
			t.Errorf("%s was answered by request %s, and entry %d is %+v", a.path, a.request, a.entry, e)
		}
	}
	reads := 0
	for _, e := range entries {
		if e.Event == "staff.read" {
			reads++
		}
	}
	s.check()
	t.Logf("%d kills: %d answers, each with its entry; %d looks recorded, %d of them without an answer", killRounds, len(shown), reads, reads-len(shown))
}

// readUntilKilled lets staff read over 64 connections, kills the server a moment after they began, and returns the answers.
func (c *staffCase) readUntilKilled(s *server, looks []string) (shown []shownAnswer) {
	c.t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var began atomic.Int64
	var all sync.WaitGroup
	for worker := range 64 {
		all.Go(func() {
			for i := worker; ; i++ {
				path := looks[i%len(looks)]
				a, request, err := c.lookAt(client, s.url+path)
				if err != nil {
					return // killed
				}
				began.Add(1)
				if a.status != http.StatusOK {
					c.t.Errorf("%s: %d %s", path, a.status, a.body)
					return
				}
				var page struct{ AuditEntry uint64 }
				if err := json.Unmarshal(a.body, &page); err != nil {
					c.t.Errorf("%s: %v in %s", path, err, a.body)
					return
				}
				mu.Lock()
				shown = append(shown, shownAnswer{page.AuditEntry, request, path})
				mu.Unlock()
			}
		})
	}
	eventually(c.t, "they read", func() bool { return began.Load() > 0 })
	<-time.After(rand.N(150 * time.Millisecond))
	s.kill()
	all.Wait()
	return shown
}

// lookAt sends a request of staff's and returns the whole answer, and its id. An error says that there was none.
func (c *staffCase) lookAt(client *http.Client, url string) (a answer, request string, err error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return a, "", err
	}
	req.Header.Set("Authorization", "Bearer "+c.staff)
	resp, err := client.Do(req)
	if err != nil {
		return a, "", err
	}
	defer resp.Body.Close()
	a.status = resp.StatusCode
	a.body, err = io.ReadAll(resp.Body)
	return a, resp.Header.Get("X-Request-Id"), err
}

// TestKilledBeforeTheAnswer kills the process at the very call that sends an answer to staff. Nobody got that, and its entry
// is there.
func TestKilledBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	dir := t.TempDir()
	s := serve(t, dir)
	c := newStaffCase(t, s)
	for _, path := range c.looks(s) {
		before := len(c.entries(s))
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		ask := func(path string) (*http.Response, error) {
			_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path, c.staff)
			if err != nil {
				return nil, err
			}
			return http.ReadResponse(bufio.NewReader(conn), nil)
		}
		if resp, err := ask("/livez"); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("a first request: %v", err)
		}
		killAtWrite(t, strace, s, conn)
		if resp, err := ask(path); err == nil {
			t.Errorf("%s: the answer came: %v", path, resp.Status)
		}
		conn.Close()
		s.exit()
		s = serve(t, dir)
		reads := []auditEntry{}
		for _, e := range c.entries(s)[before:] {
			if e.Event == "staff.read" {
				reads = append(reads, e)
			}
		}
		if len(reads) != 1 || reads[0].Request == "" {
			t.Errorf("%s: after the restart the entries are %+v", path, reads)
		}
	}
	s.check()
}

// killAtWrite attaches strace to the server, which kills it when it writes to its end of the connection.
func killAtWrite(t *testing.T, strace string, s *server, conn net.Conn) {
	t.Helper()
	socket := socketOf(t, s, conn)
	cmd := exec.Command(strace, "-f", "-p", fmt.Sprint(s.cmd.Process.Pid), "-P", socket, "-e", "trace=write,writev,sendto,sendmsg", "-e", "inject=write,writev,sendto,sendmsg:signal=SIGKILL")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	attached, ended := make(chan bool, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if strings.Contains(lines.Text(), " attached") {
				select {
				case attached <- true:
				default:
				}
			}
		}
		cmd.Wait() //nolint:errcheck // it ends with the server
	}()
	t.Cleanup(func() {
		s.kill()
		<-ended
	})
	select {
	case <-attached:
	case <-ended:
		t.Skip("strace may not attach to a process here")
	}
}

// socketOf names the server's end of a connection as /proc does.
func socketOf(t *testing.T, s *server, conn net.Conn) string {
	t.Helper()
	port := func(a net.Addr) string { return fmt.Sprintf(":%04X", a.(*net.TCPAddr).Port) }
	pid := fmt.Sprint(s.cmd.Process.Pid)
	table, err := os.ReadFile(filepath.Join("/proc", pid, "net/tcp"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line) // number, local, remote, state, …, inode
		if len(fields) > 9 && strings.HasSuffix(fields[1], port(conn.RemoteAddr())) && strings.HasSuffix(fields[2], port(conn.LocalAddr())) {
			return "socket:[" + fields[9] + "]"
		}
	}
	t.Fatal("the server's end of the connection is not there")
	return ""
}
