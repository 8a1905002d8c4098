package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// activated is a command that gets sockets as systemd hands them over.
func activated(t *testing.T, dir string, sockets ...*os.File) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, binary, "serve", "--data", dir, "--listen", "127.0.0.1:99999", "--reserve", "1MiB")
	cmd.ExtraFiles = sockets
	cmd.Env = append(os.Environ(), fmt.Sprintf("LISTEN_FDS=%d", len(sockets)))
	return cmd
}

// TestRestartRefusesNobody restarts the server three times under load, while somebody else holds its socket. Not one
// connection is refused, and over fresh connections not one request goes without its answer.
func TestRestartRefusesNobody(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	socket, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	dir := t.TempDir()
	s := launch(t, dir, activated(t, dir, socket))
	if want := "http://" + ln.Addr().String(); s.url != want {
		t.Fatalf("it serves on %s, not on %s", s.url, want)
	}
	who := newTenant(s, "--requests-per-minute", "0")
	newLine(s, who, "--type", "imessage", "--phone", "+12025550100")

	var mu sync.Mutex
	acked := map[string]string{}
	failed := map[*http.Client][]error{}
	answers := map[int]int{}
	done := make(chan struct{})
	var load sync.WaitGroup
	url := s.url // of the socket, which stays
	for worker := range 16 {
		c := []*http.Client{fresh, client}[worker%2]
		load.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				text := fmt.Sprintf("%d of %d", i, worker)
				id, a, err := send(c, url, who.key, map[string]any{"message": text, "recipientPhone": fmt.Sprintf("+1202555%04d", 1000+worker)})
				mu.Lock()
				answers[a.status]++
				if id != "" {
					acked[text] = id
				}
				if err != nil {
					failed[c] = append(failed[c], err)
				}
				mu.Unlock()
			}
		})
	}
	stop := sync.OnceFunc(func() { close(done); load.Wait() })
	defer stop()
	for range 3 {
		mu.Lock()
		before := len(acked)
		mu.Unlock()
		eventually(t, "the load runs", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(acked) > before+200
		})
		if code := s.stop(syscall.SIGTERM); code != 0 {
			t.Fatalf("the server ended with %d:\n%s", code, s.lastWords())
		}
		s = launch(t, dir, activated(t, dir, socket))
	}
	stop()

	for c, all := range failed {
		for _, err := range all {
			if refused(err) {
				t.Errorf("a connection was refused: %v", err)
			}
		}
		if c == fresh {
			t.Errorf("%d requests over fresh connections failed, the first with %v", len(all), all[0])
		}
	}
	if n := answers[http.StatusServiceUnavailable]; n > 0 {
		t.Errorf("%d answers with 503", n)
	}
	kept := map[string]string{}
	for _, m := range s.messages(who.key, "") {
		kept[m.Message] = m.ID
	}
	for text, id := range acked {
		if kept[text] != id {
			t.Errorf("message %q was answered with id %s; now it has %q", text, id, kept[text])
		}
	}
	t.Logf("%d answered with 201, kept connections that were cut: %d, answers by status (0 is none): %v", len(acked), len(failed[client]), answers)
}

// TestSocketHandedOver: what is no listening socket is refused, and nothing is served.
func TestSocketHandedOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out, err := activated(t, filepath.Join(dir, "d"), file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "socket 1 that was handed over can't be listened on") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestNotify plays systemd: it hears when the server is ready, that it lives, and that it stops.
func TestNotify(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "notify")
	heard, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	var mu sync.Mutex
	var words []string
	go func() {
		for p := make([]byte, 4096); ; {
			n, err := heard.Read(p)
			if err != nil {
				return
			}
			mu.Lock()
			words = append(words, strings.Split(string(p[:n]), "\n")...)
			mu.Unlock()
		}
	}()
	count := func(word string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, w := range words {
			if w == word {
				n++
			}
		}
		return n
	}
	data := filepath.Join(dir, "d")
	cmd := exec.Command(binary, "serve", "--data", data, "--listen", "127.0.0.1:0", "--reserve", "1MiB")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=150000")
	s := launch(t, data, cmd)
	eventually(t, "it is ready", func() bool { return count("READY=1") == 1 })
	if a, err := call(fresh, http.MethodGet, s.url+"/readyz", "", nil); err != nil || a.status != http.StatusOK {
		t.Errorf("it says that it is ready, and answers %v, %v", a.status, err)
	}
	if n := count("STATUS=Serving on " + strings.TrimPrefix(s.url, "http://")); n != 1 {
		t.Errorf("it does not say where it serves: %q", words)
	}
	eventually(t, "it says that it lives", func() bool { return count("WATCHDOG=1") > 3 })
	if count("STOPPING=1") > 0 {
		t.Error("it says that it stops")
	}
	if code := s.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	eventually(t, "it says that it stops", func() bool { return count("STOPPING=1") == 1 })
	mu.Lock()
	defer mu.Unlock()
	if ready, stopping := slices.Index(words, "READY=1"), slices.Index(words, "STOPPING=1"); stopping < ready {
		t.Errorf("said in the wrong order: %q", words)
	}
}

// TestNoWordFromAStoppedProcess: a process that hangs does not say that it lives.
func TestNoWordFromAStoppedProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	heard, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	data := filepath.Join(dir, "d")
	cmd := exec.Command(binary, "serve", "--data", data, "--listen", "127.0.0.1:0", "--reserve", "1MiB")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"), "WATCHDOG_USEC=60000")
	s := launch(t, data, cmd)
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	quiet := 0
	for deadline := time.Now().Add(patience); quiet < 10; {
		if time.Now().After(deadline) {
			t.Fatal("it goes on saying that it lives")
		}
		if err := heard.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := heard.Read(make([]byte, 4096)); err != nil {
			quiet++
		} else {
			quiet = 0
		}
	}
}
