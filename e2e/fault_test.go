package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inject attaches strace to the server, so that its calls of fdatasync fail as when says, for each thread.
func inject(t *testing.T, s *server, when string) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	cmd := exec.Command(strace, "-f", "-p", fmt.Sprint(s.cmd.Process.Pid), "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when="+when)
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
		s.kill() // first: strace ends with it
		<-ended
	})
	select {
	case <-attached:
	case <-ended:
		t.Skip("strace may not attach to a process here")
	}
}

// TestDiskError: when a sync fails, the requests in flight learn that their outcome is not known, the
// process ends, and the next start finds out. Nothing that was answered is lost, and the counters equal
// the records.
func TestDiskError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, when string }{
		{"the first sync of a commit, of its data", "1+"},
		{"the second sync of a commit, which makes it count", "2+"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := serve(t, dir)
			who := newTenant(s, "--requests-per-minute", "0")
			line := newLine(s, who, "--type", "imessage", "--phone", "+12025550100")
			acked := map[string]bool{}
			post := func(i int) (string, answer, error) {
				return send(fresh, s.url, who.key, map[string]any{"message": "Hello", "fromLineId": line, "recipientPhone": fmt.Sprintf("+1202555%04d", 1000+i), "scheduledDate": "2099-01-01T00:00:00Z"})
			}
			for i := range 20 {
				id, a, err := post(i)
				if id == "" {
					t.Fatalf("not accepted: %v %d %s", err, a.status, a.body)
				}
				acked[id] = true
			}
			inject(t, s, tt.when)
			var last answer
			for i := range 50 {
				id, a, err := post(100 + i)
				if err != nil {
					t.Fatalf("no answer: %v", err)
				}
				if last = a; id == "" {
					break
				}
				acked[id] = true
			}
			var body struct{ Error, Code string }
			if err := json.Unmarshal(last.body, &body); err != nil || last.status != http.StatusServiceUnavailable || body.Code != "OUTCOME_UNKNOWN" {
				t.Errorf("the request whose commit failed was answered with %d %s", last.status, last.body)
			}
			if code := s.exit(); code != 1 {
				t.Errorf("the process ended with %d, want 1", code)
			}
			if want := "tuco: the outcome of a write is not known; start again to recover"; !strings.Contains(s.logged(), want) {
				t.Errorf("the last words are not %q:\n%s", want, s.lastWords())
			}

			s = serve(t, dir)
			s.check()
			rows := s.messages(who.key, "")
			for _, m := range rows {
				delete(acked, m.ID)
			}
			if len(acked) > 0 {
				t.Errorf("%d messages that were answered with 201 are gone", len(acked))
			}
			if id, a, err := post(200); id == "" {
				t.Errorf("after the restart: %v %d %s", err, a.status, a.body)
			}
			t.Logf("%d messages after the restart; the request was told: %s", len(rows), body.Error)
		})
	}
}

// TestDiskFull: before the disk is full, writes are refused with a reason; reads and the revoking of keys
// go on; and when there is room again, so do writes, without a restart.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root may mount a small disk")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("no small disk can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(disk, "data")
	s := serve(t, dir, "--reserve", "2MiB")
	who := newTenant(s, "--requests-per-minute", "0")
	newLine(s, who, "--type", "imessage", "--phone", "+12025550100")
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}

	text := strings.Repeat("A long message. ", 200)
	accepted := 0
	post := func() (string, answer) {
		t.Helper()
		id, a, err := send(client, s.url, who.key, map[string]any{"message": text, "recipientPhone": "+12025550142"})
		if err != nil {
			t.Fatalf("after %d messages: %v\n%s", accepted, err, s.lastWords())
		}
		return id, a
	}
	var refusal answer
	for {
		id, a := post()
		if refusal = a; id == "" {
			break
		}
		if accepted++; accepted > 20_000 {
			t.Fatal("the disk does not get full")
		}
	}
	var body struct{ Error, Code, Reason string }
	if err := json.Unmarshal(refusal.body, &body); err != nil || refusal.status != http.StatusPaymentRequired || body.Reason != "storage" || body.Code != "READ_ONLY" {
		t.Fatalf("a write on a full disk is answered with %d %s", refusal.status, refusal.body)
	}
	// That one may have been refused for its size, and the log may have given some room back. Now there is none for
	// anything, but enough of the reserve.
	var free unix.Statfs_t
	if err := unix.Statfs(disk, &free); err != nil {
		t.Fatal(err)
	}
	if rest := int64(free.Bavail)*free.Frsize - 1536<<10; rest > 0 {
		if err := os.WriteFile(filepath.Join(disk, "more"), make([]byte, rest), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var w struct{ State, Reason, Message string }
	s.get(who.key, "/api/workspace", &w)
	if w.State != "read_only" || w.Reason != "storage" {
		t.Errorf("the workspace on a full disk: %+v", w)
	}
	if rows := s.messages(who.key, ""); len(rows) < accepted {
		t.Errorf("%d messages can be read, %d were accepted", len(rows), accepted)
	}
	var ready struct {
		Status   string
		Warnings []string
	}
	s.get("", "/readyz", &ready)
	if ready.Status != "ready" || len(ready.Warnings) != 1 || !strings.Contains(ready.Warnings[0], "disk is nearly full") {
		t.Errorf("readyz on a full disk: %+v", ready)
	}
	var other struct{ ID, Secret string }
	if err := s.try(&other, "key", "create", "--workspace", who.workspace, "--env", "production", "--name", "late"); err == nil {
		t.Error("a key was made on a full disk")
	} else if !strings.Contains(err.Error(), "disk is nearly full; the operator must free space") {
		t.Errorf("on a full disk the operator reads: %v", err)
	}
	s.tuco(nil, "key", "revoke", who.keyID)
	if a, err := call(client, http.MethodGet, s.url+"/api/workspace", who.key, nil); err != nil || a.status != http.StatusUnauthorized {
		t.Errorf("a key revoked on a full disk: %v %d %s", err, a.status, a.body)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.tuco(&other, "key", "create", "--workspace", who.workspace, "--env", "production", "--name", "after")
	who.key = other.Secret
	if id, a := post(); id == "" {
		t.Errorf("after room was made: %d %s", a.status, a.body)
	}
	s.get("", "/readyz", &ready)
	if len(ready.Warnings) != 0 {
		t.Errorf("readyz after room was made: %+v", ready)
	}
	eventually(t, "all are delivered", func() bool { return s.underWay(who) == 0 })
	s.check()
	if code := s.stop(unix.SIGTERM); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	t.Logf("%d messages before the disk was full", accepted)
}
