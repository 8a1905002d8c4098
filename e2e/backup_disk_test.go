package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBackupOnAFullDisk: a full backup that has no room is refused, or given up, and seen; what is shipped goes on. When there is
// room again it is made by itself, and nothing is left of those before.
func TestBackupOnAFullDisk(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	disk := small(t, "160m")
	dir, balloon := filepath.Join(disk, "data"), filepath.Join(disk, "balloon")
	s := serve(t, dir, v.flags("--backup-pace", "4MiB", "--overlay", "4MiB")...)
	v.open(s)
	who := newTenant(s, "--requests-per-minute", "0")
	line := newLine(s, who, "--type", "imessage", "--phone", "+12025550100")
	s.fatten(who, line)

	fill(t, balloon, 24<<20)
	if err := s.try(nil, "backup", "create"); err == nil || !strings.Contains(err.Error(), "not enough space") {
		t.Errorf("a full backup without room: %v", err)
	}
	if w := s.warnings(); !strings.Contains(w, "Backups fail: The full backup: not enough space") || s.metric("tuco_backup_failed") != 1 || s.metric("tuco_backup_failures_total") == 0 {
		t.Errorf("it warns of %q", w)
	}
	if id, a, err := send(client, s.url, who.key, map[string]any{"message": "Still", "recipientPhone": "+12025551000"}); id == "" {
		t.Errorf("no message while there is little room: %d %s %v", a.status, a.body, err)
	}
	s.allShipped()
	if w := s.warnings(); !strings.Contains(w, "Backups fail: The full backup: not enough space") {
		t.Errorf("shipping hid the failure: %q", w)
	}
	before := s.metric("tuco_backup_last_success_timestamp_seconds")
	if err := os.Remove(balloon); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is made by itself", func() bool {
		return s.metric("tuco_backup_last_success_timestamp_seconds") > before && s.metric("tuco_backup_failed") == 0
	})

	// The disk fills up while one is made.
	if id, a, err := send(client, s.url, who.key, map[string]any{"message": "More", "recipientPhone": "+12025551001"}); id == "" {
		t.Fatalf("%d %s %v", a.status, a.body, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.try(nil, "backup", "create") }()
	eventually(t, "it is being made", func() bool { return len(temporary(t, dir)) > 0 })
	fill(t, balloon, 1<<18)
	if err := <-ended; err == nil {
		t.Error("a full backup on a full disk")
	}
	eventually(t, "it is gone", func() bool { return len(temporary(t, dir)) == 0 })
	if w := s.warnings(); !strings.Contains(w, "Backups fail: The full backup: ") {
		t.Errorf("it warns of %q", w)
	}
	before = s.metric("tuco_backup_last_success_timestamp_seconds")
	if err := os.Remove(balloon); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is made by itself", func() bool {
		return s.metric("tuco_backup_last_success_timestamp_seconds") > before && s.metric("tuco_backup_failed") == 0
	})
	eventually(t, "writes go on", func() bool {
		id, _, _ := send(client, s.url, who.key, map[string]any{"message": "Again", "recipientPhone": "+12025551002"})
		return id != ""
	})
	s.allShipped()
	if w := s.warnings(); w != "" {
		t.Errorf("it warns of %q", w)
	}
	s.check()
	kept := s.kept(who)
	s.kill()
	restored, out, _ := v.restore()
	r := serveRestored(t, restored, who, out)
	if got := r.kept(who); len(got) != len(kept) {
		t.Errorf("%d messages are restored, and there were %d", len(got), len(kept))
	}
}

// temporary are the files of backups and verifications in the works.
func temporary(t *testing.T, dir string) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "backup-*"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(dir, ".payload-*"))
	if err != nil {
		t.Fatal(err)
	}
	return append(left, more...)
}

// fatten stores messages until the database has more than a paced copy takes at once.
func (s *server) fatten(who tenant, line string) {
	s.t.Helper()
	filler := strings.Repeat("A long text. ", 1000)
	for batch := 0; ; batch++ {
		for i := range 100 {
			id, a, err := send(client, s.url, who.key, map[string]any{"message": fmt.Sprint(batch, i, filler), "fromLineId": line, "recipientPhone": fmt.Sprintf("+1202555%04d", 1000+i), "scheduledDate": "2099-01-01T00:00:00Z"})
			if id == "" {
				s.t.Fatalf("%d %s %v", a.status, a.body, err)
			}
		}
		info, err := os.Stat(filepath.Join(s.dir, "tuco.db"))
		if err != nil {
			s.t.Fatal(err)
		}
		if batch >= 12 && info.Size() > 12<<20 || batch == 100 {
			return
		}
	}
}

// small is a file system of so many bytes.
func small(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tuco-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill makes a file that leaves so many bytes of its file system.
func fill(t *testing.T, path string, leave int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // what is counted as free may be taken before it is ours
		var fs unix.Statfs_t
		if err = unix.Fstatfs(int(f.Fd()), &fs); err == nil {
			err = unix.Fallocate(int(f.Fd()), 0, 0, int64(fs.Bavail)*fs.Frsize-leave)
		}
		if !errors.Is(err, unix.ENOSPC) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
