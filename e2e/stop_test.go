package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestDrain stops the server under load. What was answered is kept; what was not answered did not happen: a
// connection that the kernel made, but the server never took, is reset.
func TestDrain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		client *http.Client
	}{
		{"a connection for each request", fresh},
		{"connections that are kept", client},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := serve(t, dir)
			who := newTenant(s, "--requests-per-minute", "0")
			newLine(s, who, "--type", "imessage", "--phone", "+12025550100")

			var mu sync.Mutex
			acked, cut, answers := map[string]string{}, map[string]error{}, map[int]int{}
			var load sync.WaitGroup
			for worker := range 16 {
				load.Go(func() {
					for i := 0; ; i++ {
						text := fmt.Sprintf("%d of %d", i, worker)
						id, a, err := send(tt.client, s.url, who.key, map[string]any{"message": text, "recipientPhone": fmt.Sprintf("+1202555%04d", 1000+worker)})
						mu.Lock()
						switch {
						case id != "":
							acked[text] = id
						case refused(err):
						case err != nil:
							cut[text] = err
						}
						answers[a.status]++
						mu.Unlock()
						if err != nil {
							return
						}
					}
				})
			}
			eventually(t, "the load runs", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(acked) > 200
			})
			began := time.Now()
			if code := s.stop(syscall.SIGTERM); code != 0 {
				t.Errorf("the server ended with %d:\n%s", code, s.lastWords())
			}
			took := time.Since(began)
			load.Wait()
			if took > 10*time.Second {
				t.Errorf("it took %v to stop", took)
			}
			if _, err := os.Stat(filepath.Join(dir, "admin.sock")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the admin socket is still there: %v", err)
			}

			s = serve(t, dir)
			kept := map[string]string{}
			for _, m := range s.messages(who.key, "") {
				kept[m.Message] = m.ID
			}
			for text, id := range acked {
				if kept[text] != id {
					t.Errorf("message %q was answered with id %s; after the stop it has %q", text, id, kept[text])
				}
			}
			for text, err := range cut {
				if kept[text] != "" {
					t.Errorf("message %q was accepted, but its request was cut without an answer: %v", text, err)
				}
			}
			for status, n := range answers {
				if status != 0 && status != http.StatusCreated && status != http.StatusServiceUnavailable {
					t.Errorf("%d answers with status %d", n, status)
				}
			}
			s.check()
			t.Logf("stopped in %v: %d answered with 201, %d cut, answers by status (0 is none): %v", took.Round(time.Millisecond), len(acked), len(cut), answers)
		})
	}
}

// TestDrainMail stops the server while a mail server thinks about a message. The stop waits for it, but not
// for ever; and what it did not wait for is unknown, and not sent again.
func TestDrainMail(t *testing.T) {
	t.Parallel()
	box := openMailbox(t, "", 0)
	box.mute = make(chan struct{})
	answer := sync.OnceFunc(func() { close(box.mute) })
	defer answer()
	dir := t.TempDir()
	s := serve(t, dir, "--drain-timeout", "1s")
	who := newTenant(s, "--email-lines", "1")
	newLine(s, who, "--type", "email", "--email", "ann@sender.test", "--transport", box.url())
	id, a, err := send(client, s.url, who.key, mailTo("bob@example.com", "Hello"))
	if id == "" {
		t.Fatalf("not accepted: %v %d %s", err, a.status, a.body)
	}
	eventually(t, "the mail server has the message", func() bool { return len(box.find(id)) == 1 })
	began := time.Now()
	if code := s.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
	if took := time.Since(began); took < time.Second || took > 20*time.Second {
		t.Errorf("it stopped after %v, though it was told to wait for a second", took)
	}
	answer()

	s = serve(t, dir)
	eventually(t, "the message is unknown", func() bool { return len(s.unknown(who)) == 1 })
	s.tuco(nil, "message", "settle", id, "--as", "sent")
	if n := len(box.find(id)); n != 1 {
		t.Errorf("the message arrived %d times", n)
	}
	s.check()
}

// TestDevEnds: Ctrl-C ends the demo, and leaves no directory, no process and no lock.
func TestDevEnds(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	cmd := exec.Command(binary, "dev", "--listen", "127.0.0.1:0", "--json")
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var demo struct {
		URL, DataDir, AdminSocket, WorkspaceID, LineID string
		Keys                                           map[string]string
	}
	if err := json.Unmarshal(line, &demo); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if filepath.Dir(demo.DataDir) != temp {
		t.Errorf("its directory is %s, not in %s", demo.DataDir, temp)
	}
	s := &server{t: t, url: demo.URL, dir: demo.DataDir}
	for env, key := range demo.Keys {
		id, a, err := send(client, demo.URL, key, map[string]any{"message": "Hello {{firstName}}", "recipientPhone": "+12025550142", "recipientName": "Ana"})
		if id == "" {
			t.Fatalf("%s: %v %d %s", env, err, a.status, a.body)
		}
		eventually(t, env+": the message is delivered", func() bool {
			var got struct{ Message message }
			s.get(key, "/api/messages/"+id, &got)
			return got.Message.Status == "delivered" || got.Message.Status == "sent"
		})
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	if _, err := call(fresh, http.MethodGet, demo.URL+"/livez", "", nil); !refused(err) {
		t.Errorf("somebody still listens: %v", err)
	}
}
