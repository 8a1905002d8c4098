package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
)

// A vault is where the backups of a server go, and what it takes to get it back.
type vault struct {
	t        *testing.T
	target   string
	identity string // file
	to       string // the public key
	keys     string // the exported key files
	anchor   string // of the audit log, on another machine as it were
	verifier string // file
}

func newVault(t *testing.T) *vault {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	v := &vault{
		t: t, target: filepath.Join(dir, "target"), identity: filepath.Join(dir, "identity"), to: id.Recipient().String(),
		keys: filepath.Join(dir, "keys.age"), anchor: filepath.Join(dir, "anchor"), verifier: filepath.Join(dir, "verifier"),
	}
	if err := os.Mkdir(v.target, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, v.identity, id.String()+"\n")
	return v
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ship is how far the changes may be behind in these tests.
const ship = time.Second

// flags are those of a server that makes its backups here.
func (v *vault) flags(more ...string) []string {
	return append([]string{
		"--backup-to", v.target, "--backup-recipient", v.to, "--backup-identity", v.identity, "--backup-ship", ship.String(), "--anchor", v.anchor,
	}, more...)
}

// open waits for the first full backup, and takes the keys and the verifier out.
func (v *vault) open(s *server) {
	v.t.Helper()
	eventually(v.t, "the first full backup", func() bool { return s.metric("tuco_backup_last_success_timestamp_seconds") > 0 })
	s.tuco(nil, "keys", "export", "--recipient", v.to, "--out", v.keys)
	var key struct{ Keys []string }
	s.tuco(&key, "audit", "key")
	write(v.t, v.verifier, strings.Join(key.Keys, "\n")+"\n")
}

// metric returns a metric without labels; -1 if there is none.
func (s *server) metric(name string) float64 {
	s.t.Helper()
	a, err := call(client, http.MethodGet, s.url+"/metrics", "", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(a.body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return n
		}
	}
	return -1
}

// shipped is the moment up to which everything is in the target.
func (s *server) shipped() time.Time {
	s.t.Helper()
	return time.UnixMilli(int64(s.metric("tuco_backup_shipped_timestamp_seconds") * 1000))
}

// allShipped waits until everything that was committed by now is in the target.
func (s *server) allShipped() {
	s.t.Helper()
	now := time.Now()
	eventually(s.t, "all is shipped", func() bool { return s.shipped().After(now) })
}

func (s *server) warnings() string {
	s.t.Helper()
	var ready struct{ Warnings []string }
	s.get("", "/readyz", &ready)
	return strings.Join(ready.Warnings, "\n")
}

// run runs a command that needs no server.
func run(t *testing.T, out any, args ...string) (stderr string, code int) {
	t.Helper()
	cmd := exec.Command(binary, append(args, "--json")...)
	var words bytes.Buffer
	cmd.Stderr = &words
	data, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if out != nil && err == nil {
		if err := json.Unmarshal(data, out); err != nil {
			t.Fatalf("%q: %v in %s", args, err, data)
		}
	}
	return words.String(), cmd.ProcessState.ExitCode()
}

type restored struct {
	Epoch, Workspaces                            int
	UnknownMessages, KeysDisabled, StaffDisabled int
}

// verified is what a verification says.
type verified struct {
	Backups []struct {
		Name, Kind, Result, Depth string
		Faults                    []string
	}
}

// restoring is the command that restores into dir.
func (v *vault) restoring(dir string, more ...string) []string {
	return append([]string{
		"backup", "restore", v.target, "--data", dir, "--identity-file", v.identity, "--keys", v.keys, "--anchor", v.anchor, "--yes",
	}, more...)
}

// restore restores into a new directory. An anchor that is ahead must have been refused before it is overruled.
func (v *vault) restore(more ...string) (dir string, out restored, rewound bool) {
	v.t.Helper()
	dir = filepath.Join(v.t.TempDir(), "restored")
	words, code := run(v.t, &out, v.restoring(dir, more...)...)
	if code == 1 && strings.Contains(words, "--accept-rewind REASON") {
		if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) > 0 {
			v.t.Fatalf("a refused restore left %v, %v", left, err)
		}
		rewound = true
		words, code = run(v.t, &out, v.restoring(dir, append(more, "--accept-rewind", "the disk is gone")...)...)
	}
	if code != 0 {
		v.t.Fatalf("restore ended with %d: %s", code, words)
	}
	return dir, out, rewound
}

// A sent message is what a client knows of it.
type sent struct {
	id           string // empty without an answer
	begun, acked time.Time
}

// A load sends messages over 64 connections, each one after the other, and remembers when.
type load struct {
	who     tenant
	running sync.WaitGroup
	stop    chan struct{}

	mu   sync.Mutex
	url  string
	all  map[string]sent // by text
	odd  []string
	next int // begins with, so that no text comes twice
}

const connections = 64

func startLoad(url string, who tenant, before int) *load {
	l := &load{who: who, stop: make(chan struct{}), url: url, all: map[string]sent{}, next: before}
	for worker := range connections {
		l.running.Go(func() { l.run(worker) })
	}
	return l
}

func (l *load) run(worker int) {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for i := l.next; ; i++ {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		text := fmt.Sprintf("Message %d of %d", i, worker)
		begun := time.Now()
		id, a, err := send(client, l.url, l.who.key, map[string]any{"message": text, "recipientPhone": fmt.Sprintf("+1202555%04d", 1000+worker)})
		l.mu.Lock()
		l.all[text] = sent{id, begun, time.Now()}
		if id == "" && err == nil {
			l.odd = append(l.odd, fmt.Sprintf("%d %s", a.status, a.body))
		}
		l.mu.Unlock()
		if err != nil {
			return // killed
		}
	}
}

// end waits for all connections, and adds what was sent to all.
func (l *load) end(t *testing.T, all map[string]sent) {
	t.Helper()
	close(l.stop)
	l.running.Wait()
	for _, odd := range l.odd[:min(3, len(l.odd))] {
		t.Errorf("an odd answer: %s", odd)
	}
	for text, m := range l.all {
		all[text] = m
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// compare holds what a store has against what clients know: everything that was acknowledged before surely, nothing that was
// begun after late, and one moment between: what is there leaves out nothing that was acknowledged before it was begun. It returns
// the messages that are lost.
func compare(t *testing.T, kept map[string]string, all map[string]sent, surely, late time.Time) (lost []sent) {
	t.Helper()
	var newest time.Time
	for text, id := range kept {
		m, ok := all[text]
		if !ok || m.id != "" && m.id != id {
			t.Errorf("message %q is there with id %s, and was acknowledged with %q", text, id, m.id)
		}
		if m.begun.After(late) {
			t.Errorf("message %q was begun %v after the moment, and is there", text, m.begun.Sub(late))
		}
		if m.begun.After(newest) {
			newest = m.begun
		}
	}
	holes, missing := 0, 0
	for text, m := range all {
		if _, ok := kept[text]; ok || m.id == "" {
			continue
		}
		lost = append(lost, m)
		if m.acked.Before(newest) {
			holes++
		}
		if m.acked.Before(surely) {
			missing++
		}
	}
	if holes > 0 || missing > 0 {
		t.Errorf("of %d acknowledged messages %d are lost; %d of them though later ones are there, %d though shipped", len(all), len(lost), holes, missing)
	}
	return lost
}

// kept are the ids of a store's messages, by text.
func (s *server) kept(who tenant) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, m := range s.messages(who.key, "") {
		all[m.Message] = m.ID
	}
	return all
}

// serveRestored starts a server on what was restored, and makes its key usable if the restore disabled it.
func serveRestored(t *testing.T, dir string, who tenant, out restored, flags ...string) *server {
	t.Helper()
	s := serve(t, dir, flags...)
	s.check()
	if out.KeysDisabled > 0 {
		if a, err := call(client, http.MethodGet, s.url+"/api/messages", who.key, nil); err != nil || a.status != http.StatusUnauthorized {
			t.Errorf("with a key that the restore disabled: %d, %v", a.status, err)
		}
		s.tuco(nil, "workspace", "active", who.workspace)
		s.tuco(nil, "key", "enable", who.keyID)
	}
	return s
}

// proves checks the restored audit log as an auditor would: it must continue a checkpoint of before.
func (v *vault) proves(s *server, checkpoint string) {
	v.t.Helper()
	bundle := filepath.Join(v.t.TempDir(), "bundle")
	s.tuco(nil, "audit", "export", "--out", bundle, "--checkpoint", checkpoint)
	if words, code := run(v.t, nil, "audit", "verify", bundle, "--key", v.verifier, "--checkpoint", checkpoint); code != 0 {
		v.t.Errorf("the bundle of the restored log: %s", words)
	}
}

// checkpoint keeps the newest checkpoint of the audit log.
func (v *vault) checkpoint(s *server) (file string) {
	v.t.Helper()
	var c struct{ Checkpoint string }
	s.tuco(&c, "audit", "checkpoint")
	file = filepath.Join(v.t.TempDir(), "checkpoint")
	write(v.t, file, c.Checkpoint)
	return file
}
