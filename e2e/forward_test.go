package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// collected are the numbers of the entries that a syslog server read, in the order in which they came.
type collected struct {
	mu   sync.Mutex
	seqs []int
	last string
}

// collect runs a syslog server.
func collect(t *testing.T, ln net.Listener) *collected {
	c := &collected{}
	seq := regexp.MustCompile(`^<10\d>1 \S+ \S+ tuco \d+ \S+ \[tuco@32473 seq="(\d+)" leaf="[0-9a-f]{64}" origin="tuco\.local/\S+/0"\] \{"seq"`)
	var conns sync.WaitGroup
	read := func(conn net.Conn) {
		defer conn.Close()
		for r := bufio.NewReader(conn); ; {
			length, err := r.ReadString(' ')
			if err != nil {
				return // a killed server may leave half of one
			}
			n, _ := strconv.Atoi(strings.TrimSpace(length))
			text := make([]byte, n)
			if _, err := io.ReadFull(r, text); err != nil {
				return
			}
			found := seq.FindSubmatch(text)
			if found == nil {
				t.Errorf("message %q", text)
				return
			}
			n, _ = strconv.Atoi(string(found[1]))
			c.mu.Lock()
			c.seqs, c.last = append(c.seqs, n), string(text)
			c.mu.Unlock()
		}
	}
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { read(conn) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		conns.Wait()
	})
	return c
}

// most returns how many different entries have come, and checks that none before the last is missing.
func (c *collected) most(t *testing.T) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Compact(slices.Sorted(slices.Values(c.seqs)))
	for i, seq := range all {
		if seq != i {
			t.Fatalf("entry %d has not come, and %d has", i, seq)
		}
	}
	return len(all)
}

// TestForward kills the server again and again while entries are made. In the end the directory has every entry once, and a
// syslog server, which comes late, has seen each.
func TestForward(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	flags := []string{"--audit-forward", "file://" + out, "--audit-forward", "syslog://" + address}
	var c *collected
	for i := range 5 {
		s := serve(t, dir, flags...)
		for range 3 {
			s.tuco(nil, "workspace", "create", "Acme")
		}
		if i == 0 {
			eventually(t, "it warns", func() bool {
				var ready struct{ Warnings []string }
				s.get("", "/readyz", &ready)
				return len(ready.Warnings) == 1 && strings.Contains(ready.Warnings[0], "is not forwarded to syslog://"+address)
			})
			a, err := call(client, http.MethodGet, s.url+"/metrics", "", nil)
			if err != nil || !strings.Contains(string(a.body), `tuco_audit_forward_failed{sink="syslog://`+address+`"} 1`) ||
				!strings.Contains(string(a.body), `tuco_audit_forward_behind{sink="syslog://`+address+`"} 4`) {
				t.Errorf("metrics: %v, %s", err, a.body)
			}
			if ln, err = net.Listen("tcp", address); err != nil {
				t.Fatal(err)
			}
			c = collect(t, ln)
		}
		s.kill()
	}
	s := serve(t, dir, flags...)
	var log struct{ Entries []struct{ Seq int } }
	if code := s.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("the server ended with %d:\n%s", code, s.lastWords())
	}
	files, err := filepath.Glob(filepath.Join(out, "audit-*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, `{"seq":`+strconv.Itoa(i)+`,"leaf":"`) {
			t.Fatalf("line %d is %s", i, line)
		}
	}
	if !strings.Contains(lines[len(lines)-1], `"event":"server.stopped"`) {
		t.Errorf("the last entry is %s", lines[len(lines)-1])
	}
	eventually(t, "all has come", func() bool { return c.most(t) == len(lines) })
	s = serve(t, dir, "--audit-forward", "file://"+out)
	s.tuco(&log, "audit", "log", "--limit", "1000")
	if n := len(log.Entries); n != len(lines)+1 { // and the start
		t.Errorf("the log has %d entries, and %d were exported", n, len(lines))
	}
}
