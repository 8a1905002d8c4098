package e2e

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type compaction struct{ Before, After int64 }

// leads makes n leads with a text of so many letters each.
func (s *server) leads(t *testing.T, who tenant, first, n, letters int) answer {
	t.Helper()
	var all []map[string]string
	for i := first; i < first+n; i++ {
		all = append(all, map[string]string{"firstName": "Ann", "phone": fmt.Sprintf("+1202%07d", 5550000+i), "notes": strings.Repeat("x", letters)})
	}
	a, err := call(client, http.MethodPost, s.url+"/api/leads", who.key, map[string]any{"leads": all})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// leadIDs are those of all leads.
func (s *server) leadIDs(who tenant) (ids []string) {
	for page := 1; ; page++ {
		var got struct {
			Leads []struct {
				ID string `json:"_id"`
			}
		}
		s.get(who.key, fmt.Sprintf("/api/leads?limit=500&page=%d", page), &got)
		for _, l := range got.Leads {
			ids = append(ids, l.ID)
		}
		if len(got.Leads) < 500 {
			return ids
		}
	}
}

func (s *server) deleteLeads(t *testing.T, who tenant, ids []string) {
	t.Helper()
	if a, err := call(client, http.MethodDelete, s.url+"/api/leads", who.key, map[string]any{"ids": ids}); err != nil || a.status != http.StatusOK {
		t.Fatalf("deleting leads: %v, %d %s", err, a.status, a.body)
	}
}

// At its largest size, with every page half full of what was deleted around it, the database takes no writes. Compacting is the
// way out, without a restart.
func TestCompactAtLargestSize(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir(), "--max-size", "16MiB", "--reserve", "2MiB")
	who := newTenant(s, "--requests-per-minute", "0")
	made := 0
	grow := func(until int) (refusal answer) {
		for ; made < until; made += 100 {
			if refusal = s.leads(t, who, made, 100, 100); refusal.status != http.StatusCreated {
				break
			}
		}
		return refusal
	}
	if a := grow(16_000); made < 16_000 {
		t.Fatalf("after %d leads: %d %s", made, a.status, a.body)
	}
	var deleted []string
	for i, id := range s.leadIDs(who) {
		if i%2 == 0 {
			deleted = append(deleted, id)
		}
	}
	s.deleteLeads(t, who, deleted)
	if a := grow(100_000); a.status != http.StatusPaymentRequired || !strings.Contains(string(a.body), `"storage"`) {
		t.Fatalf("at the largest size: %d %s", a.status, a.body)
	}
	full := made
	var c compaction
	s.tuco(&c, "compact")
	if c.After >= c.Before {
		t.Errorf("%+v: nothing was gained", c)
	}
	if a := grow(full + 2000); made != full+2000 {
		t.Errorf("%d leads after the compaction (%+v): %d %.100s", made-full, c, a.status, a.body)
	}
	var found struct{ Records map[string]int64 }
	s.tuco(&found, "check")
	if want := int64(made - len(deleted)); found.Records["leads"] != want {
		t.Errorf("%d leads, want %d", found.Records["leads"], want)
	}
	s.check()
	t.Logf("full at %d leads, %+v", full, c)
}

// The server is killed while it is compacted under load, again and again. What was answered with 201 is there, and the next start
// leaves nothing behind.
func TestKilledInCare(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, dir, "--overlay", "8MiB")
	who := newTenant(s, "--requests-per-minute", "0")
	newLine(s, who, "--type", "email", "--email", "ann@sender.test")
	for i := range 20 {
		s.leads(t, who, i*200, 200, 2000)
	}
	kept := s.leadIDs(who)
	s.deleteLeads(t, who, kept[100:])
	kept = kept[:100]
	compacted, checked := 0, 0
	load := startSenders(4, who, s.url)
	for round := range killRounds {
		began := time.Now()
		for time.Since(began) < time.Duration(round%4)*100*time.Millisecond { // else the first one is cut short
			if s.try(nil, "compact") == nil {
				compacted++
			}
			if s.try(nil, "check") == nil {
				checked++
			}
		}
		var over atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			for !over.Load() {
				if s.try(nil, []string{"compact", "check"}[round%2]) == nil {
					compacted += 1 - round%2
					checked += round % 2
				}
			}
		}()
		temp := filepath.Join(dir, []string{"tuco.db.compact", "check.tmp"}[round%2])
		eventually(t, temp, func() bool { _, err := os.Stat(temp); return err == nil })
		s.kill()
		over.Store(true)
		<-done
		s = serve(t, dir, "--overlay", "8MiB")
		load.url.Store(&s.url)
		for _, name := range []string{"tuco.db.compact", "check.tmp"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				t.Errorf("round %d: %s is left", round, name)
			}
		}
	}
	acked := load.end(t)
	leads := map[string]bool{}
	for _, id := range s.leadIDs(who) {
		leads[id] = true
	}
	for _, id := range kept {
		if !leads[id] {
			t.Errorf("lead %s is lost", id)
		}
	}
	stored := map[string]bool{}
	for _, m := range s.messages(who.key, "") {
		stored[m.ID] = true
	}
	for _, id := range acked {
		if !stored[id] {
			t.Errorf("message %s was acknowledged, and is not there", id)
		}
	}
	s.tuco(nil, "compact")
	s.check()
	if code := s.stop(unix.SIGTERM); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(path, "compact") || strings.Contains(path, "check.tmp") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil || len(acked) < 50 {
		t.Errorf("%v; %d messages acknowledged", err, len(acked))
	}
	t.Logf("%d kills, %d compactions and %d checks beside %d acknowledged messages", killRounds, compacted, checked, len(acked))
}

// Where there is no room for a copy, a check says so and reads the database itself.
func TestCheckWithoutRoom(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root may mount a small disk")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("no small disk can be mounted here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, 0) }) //nolint:errcheck // the next reboot does
	s := serve(t, filepath.Join(disk, "data"))
	newTenant(s)
	var found struct {
		Faults  []string
		Records map[string]int64
		Note    string
	}
	s.tuco(&found, "check")
	if len(found.Faults) > 0 || found.Records["workspaces"] != 1 || !strings.Contains(found.Note, "no room for a copy") {
		t.Errorf("check says %+v", found)
	}
	if err := s.try(nil, "compact"); err == nil || !strings.Contains(err.Error(), "not enough free space on the disk; nothing was changed") {
		t.Errorf("compact says %v", err)
	}
	if code := s.stop(unix.SIGTERM); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}
