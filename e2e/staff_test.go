package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStaffOnFullDisk: when the disk is really full, so that no entry can be made, no route shows staff anything; and when
// there is room again all of them do.
func TestStaffOnFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root may mount a small disk")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=20m"); err != nil {
		t.Skipf("no small disk can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	s := serve(t, filepath.Join(disk, "data"), "--reserve", "2MiB")
	c := newStaffCase(t, s)
	looks := c.looks(s)
	for _, path := range looks {
		var page struct{ AuditEntry uint64 }
		if s.get(c.staff, path, &page); page.AuditEntry == 0 {
			t.Errorf("%s: no entry", path)
		}
	}
	var free unix.Statfs_t
	if err := unix.Statfs(disk, &free); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, int64(free.Bavail)*free.Frsize), 0o600); err != nil {
		t.Fatal(err)
	}
	answered := 0
	for {
		a, err := call(client, http.MethodGet, s.url+c.look("leads"), c.staff, nil)
		if err != nil || a.status != http.StatusOK {
			c.refused("the first that is refused", a, err)
			break
		}
		if answered++; answered > 50_000 {
			t.Fatal("the disk does not get full")
		}
	}
	for range 3 {
		for _, path := range looks {
			a, err := call(client, http.MethodGet, s.url+path, c.staff, nil)
			c.refused(path, a, err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for _, path := range looks {
		var page struct{ AuditEntry uint64 }
		s.get(c.staff, path, &page)
	}
	// The applier, which had no room either, tries again each second.
	eventually(t, "changes are moved into the database again", func() bool { return s.try(nil, "check") == nil })
	s.check()
	t.Logf("%d looks were recorded on a disk without a free block, in what the log had taken of it before", answered)
}

// TestOlderDatabase: yesterday's copy of the database is noticed at the start: staff access is refused, /readyz and the log of
// the server say why, and the rest works. With the right database all is as before.
func TestOlderDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	database, yesterday := filepath.Join(dir, "tuco.db"), filepath.Join(t.TempDir(), "yesterday.db")
	today := yesterday + ".today"
	s := serve(t, dir)
	c := newStaffCase(t, s)
	looks := c.looks(s)
	s.stop(unix.SIGTERM)
	copyOf(t, database, yesterday)
	s = serve(t, dir)
	for _, path := range looks {
		s.get(c.staff, path, new(any))
	}
	s.stop(unix.SIGTERM)
	copyOf(t, database, today)
	copyOf(t, yesterday, database)

	s = serve(t, dir)
	for _, path := range looks {
		a, err := call(client, http.MethodGet, s.url+path, c.staff, nil)
		c.refused(path, a, err)
	}
	var ready struct {
		Status   string
		Warnings []string
	}
	s.get("", "/readyz", &ready)
	if ready.Status != "ready" || len(ready.Warnings) != 1 || !strings.Contains(ready.Warnings[0], "its end was cut off, or an older copy of the database was put in its place") {
		t.Errorf("readyz: %+v", ready)
	}
	if !strings.Contains(s.logged(), "staff access is refused") {
		t.Error("the server's log does not say it")
	}
	s.get(c.owner, "/api/leads", new(any))
	c.entries(s)
	if a, err := call(client, http.MethodGet, s.url+"/audit/checkpoint", c.auditor, nil); err != nil || a.status < 500 {
		t.Errorf("a checkpoint is signed that contradicts another: %v %d %s", err, a.status, a.body)
	}
	s.stop(unix.SIGTERM)

	copyOf(t, today, database)
	s = serve(t, dir)
	for _, path := range looks {
		s.get(c.staff, path, new(any))
	}
	s.check()
}

func copyOf(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
