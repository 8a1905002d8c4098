package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestOldBackup restores a backup of before, while an anchor has seen what came after it. That is refused without a reason. With
// one nothing that happened since is undone in silence: the log shows the gap, usage is not refilled, no revoked key and no staff
// get in, and what was sent since is not sent again.
func TestOldBackup(t *testing.T) {
	t.Parallel()
	dir, v := t.TempDir(), newVault(t)
	box := openMailbox(t, "", 0)
	s := serve(t, dir, v.flags()...)
	v.open(s)
	c := newStaffCase(t, s)
	who := newTenant(s, "--email-lines", "1", "--messages-per-day", "100", "--requests-per-minute", "0")
	line := newLine(s, who, "--type", "email", "--email", "ann@sender.test", "--transport", box.url())
	var revoked struct{ ID, Secret string }
	s.tuco(&revoked, "key", "create", "--workspace", who.workspace, "--env", "production", "--name", "other", "--role", "admin")
	mail := func(i int) string {
		id, a, err := send(client, s.url, who.key, mailTo(fmt.Sprintf("p%d@example.com", i), "Hello"))
		if id == "" {
			t.Fatalf("%v %d %s", err, a.status, a.body)
		}
		return id
	}
	sentBefore := mail(0)
	eventually(t, "it is sent", func() bool { return len(box.find(sentBefore)) == 1 })
	eventually(t, "and that is recorded", func() bool { return s.underWay(who) == 0 })
	s.tuco(nil, "line", "set", line, "--transport", "smtp://127.0.0.1:1?starttls=none") // away: what comes now waits
	var waiting []string
	for i := range 5 {
		waiting = append(waiting, mail(1+i))
	}
	checkpoint := v.checkpoint(s)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	s.tuco(nil, "backup", "create", "--to", old, "--recipient", v.to) // last week's

	s.tuco(nil, "line", "set", line, "--transport", box.url())
	eventually(t, "what waited is sent", func() bool { return len(box.deliveries()) == 1+len(waiting) })
	after := mail(50)
	eventually(t, "all is sent", func() bool { return len(box.find(after)) == 1 })
	s.tuco(nil, "key", "revoke", revoked.ID)
	today := v.checkpoint(s)
	eventually(t, "the anchor has seen it", func() bool {
		text, err := os.ReadFile(v.anchor)
		return err == nil && entriesOf(t, string(text)) >= entriesOf(t, read(t, today))
	})
	s.kill()
	seen := entriesOf(t, read(t, v.anchor))
	v.target = old

	restored, out, rewound := v.restore()
	if !rewound {
		t.Error("it was restored without a reason")
	}
	if out.UnknownMessages < len(waiting) || out.KeysDisabled < 4 || out.StaffDisabled != 2 || out.Workspaces != 2 || out.Epoch == 0 {
		t.Errorf("%+v", out)
	}
	r := serve(t, restored, "--anchor", v.anchor)
	r.check()
	v.proves(r, checkpoint)
	var log struct{ Entries []auditEntry }
	r.tuco(&log, "audit", "log", "--limit", "1000")
	i := slices.IndexFunc(log.Entries, func(e auditEntry) bool { return e.Event == "restore" })
	if i < 0 {
		t.Fatal("the log does not show the restore")
	}
	if d := log.Entries[i].Detail; d["rewindReason"] != "the disk is gone" || d["entries"] != strconv.Itoa(i) || d["anchorSize"] != strconv.Itoa(seen) || seen <= i {
		t.Errorf("the gap: %+v; the anchor has seen %d entries", d, seen)
	}
	for what, key := range map[string]string{"a key": who.key, "a revoked key": revoked.Secret, "an owner's key": c.owner} {
		if a, err := call(client, http.MethodGet, r.url+"/api/messages", key, nil); err != nil || a.status != http.StatusUnauthorized {
			t.Errorf("with %s: %d %s, %v", what, a.status, a.body, err)
		}
	}
	if a, err := call(client, http.MethodGet, r.url+"/staff/workspaces/"+c.workspace+"/leads?environment=production", c.staff, nil); err != nil || a.status != http.StatusUnauthorized {
		t.Errorf("staff: %d %s, %v", a.status, a.body, err)
	}
	var requests struct{ Requests []struct{ Status string } }
	r.tuco(&requests, "access", "requests", "--workspace", c.workspace)
	for _, q := range requests.Requests {
		if q.Status != "ended" {
			t.Errorf("a grant is %s", q.Status)
		}
	}
	if len(requests.Requests) != 1 {
		t.Errorf("%d requests for access", len(requests.Requests))
	}

	// The operator lets the workspace go on. Nothing goes out by itself, and the plan is spent for today.
	r.tuco(nil, "workspace", "active", who.workspace)
	r.tuco(nil, "line", "set", line, "--transport", box.url()) // as of the backup it is away
	r.tuco(nil, "key", "enable", who.keyID)
	if used := r.used(who, "messages_per_day"); used != 100 {
		t.Errorf("the day's usage is %d, want 100", used)
	}
	if _, a, err := send(client, r.url, who.key, mailTo("late@example.com", "Hello")); err != nil || a.status != http.StatusTooManyRequests {
		t.Errorf("a message today: %d %s, %v", a.status, a.body, err)
	}
	eventually(t, "all that waited is unknown", func() bool { return r.underWay(who) == 0 })
	unknown := r.unknown(who)
	for _, id := range waiting {
		if !slices.Contains(unknown, id) {
			t.Errorf("message %s, which waited in the backup, is not among the unknown %v", id, unknown)
		}
	}
	// What the operator says is to be sent goes out, and with it would have gone what else there was.
	r.tuco(nil, "message", "settle", waiting[0], "--as", "pending")
	eventually(t, "what was settled as pending arrives", func() bool { return len(box.find(waiting[0])) == 2 && r.underWay(who) == 0 })
	for id, n := range box.deliveries() {
		if want := map[bool]int{true: 2, false: 1}[id == waiting[0]]; n != want {
			t.Errorf("message %s arrived %d times, want %d", id, n, want)
		}
	}
	r.check()
	if a, err := call(client, http.MethodGet, r.url+"/api/messages", revoked.Secret, nil); err != nil || a.status != http.StatusUnauthorized {
		t.Errorf("with the revoked key: %d %s, %v", a.status, a.body, err)
	}
	r.kill()
	serve(t, restored, "--anchor", v.anchor).check()
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// entriesOf is how many entries a checkpoint is of.
func entriesOf(t *testing.T, checkpoint string) int {
	t.Helper()
	lines := strings.Split(checkpoint, "\n")
	n, err := strconv.Atoi(lines[min(1, len(lines)-1)])
	if err != nil {
		t.Fatalf("checkpoint %q: %v", checkpoint, err)
	}
	return n
}
