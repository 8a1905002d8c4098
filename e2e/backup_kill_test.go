package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKilledInABackup kills the server in the middle of a full backup, and in the middle of a verification. The next start removes
// what they left, the target has nothing half, and the next backup is made as if nothing had been.
func TestKilledInABackup(t *testing.T) {
	t.Parallel()
	dir, v := t.TempDir(), newVault(t)
	flags := v.flags("--backup-pace", "4MiB", "--overlay", "4MiB")
	s := serve(t, dir, flags...)
	v.open(s)
	who := newTenant(s, "--requests-per-minute", "0")
	line := newLine(s, who, "--type", "imessage", "--phone", "+12025550100")
	s.fatten(who, line)
	for _, what := range []string{"create", "verify"} {
		ended := make(chan error, 1)
		go func() { ended <- s.try(nil, "backup", what) }()
		eventually(t, what+" is under way", func() bool { return len(temporary(t, dir)) > 0 })
		s.kill()
		if err := <-ended; err == nil {
			t.Errorf("%s ended before the kill", what)
		}
		if len(temporary(t, dir)) == 0 {
			t.Errorf("%s: nothing was left to be removed", what)
		}
		s = serve(t, dir, flags...)
		if left := temporary(t, dir); len(left) > 0 {
			t.Errorf("%s: after the next start there is %v", what, left)
		}
		var made struct{ Name string }
		s.tuco(&made, "backup", "create")
		for _, path := range files(t, v.target) {
			if !strings.HasSuffix(path, ".tuco") {
				t.Errorf("%s: the target has %s", what, path)
			}
		}
		words, code := run(t, nil, "backup", "verify", v.target, "--identity-file", v.identity)
		if code != 0 {
			t.Errorf("%s: what was made next: %s", what, words)
		}
	}
	s.check()
}

func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestKilledInARestore kills a restore later and later. There is nothing in its place, or all; and the next one succeeds, and
// removes what the killed one left.
func TestKilledInARestore(t *testing.T) {
	t.Parallel()
	dir, v := t.TempDir(), newVault(t)
	s := serve(t, dir, v.flags("--overlay", "4MiB")...)
	v.open(s)
	who := newTenant(s, "--requests-per-minute", "0")
	line := newLine(s, who, "--type", "imessage", "--phone", "+12025550100")
	s.fatten(who, line)
	s.allShipped()
	kept := s.kept(who)
	s.kill()

	place := filepath.Join(t.TempDir(), "restored")
	half, whole := 0, 0
	for wait := time.Duration(0); whole == 0; wait = wait*3/2 + 5*time.Millisecond {
		cmd := exec.Command(binary, v.restoring(place, "--accept-rewind", "a test")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { defer close(ended); cmd.Wait() }() //nolint:errcheck // its state tells
		eventually(t, "it is under way", func() bool {
			_, err := os.Stat(place + ".restoring")
			return err == nil || !running(ended)
		})
		select {
		case <-ended:
		case <-time.After(wait):
		}
		cmd.Process.Kill()
		<-ended
		if _, err := os.Stat(place); err == nil {
			whole++
		} else if half++; cmd.ProcessState.Success() {
			t.Fatal("a restore succeeded, and nothing is there")
		}
	}
	if half == 0 {
		t.Error("no restore was killed in the middle")
	}
	r := serve(t, place)
	r.check()
	r.kill()
	var out restored
	words, code := run(t, &out, v.restoring(place+"2", "--accept-rewind", "a test")...)
	if code != 0 {
		t.Fatal(words)
	}
	for _, path := range []string{place + ".restoring", place + "2.restoring"} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("there is %s, %v", path, err)
		}
	}
	r = serveRestored(t, place+"2", who, out)
	if got := r.kept(who); len(got) != len(kept) {
		t.Errorf("%d messages are restored, and there were %d", len(got), len(kept))
	}
	t.Logf("%d restores killed in the middle", half)
}

func running(ended chan struct{}) bool {
	select {
	case <-ended:
		return false
	default:
		return true
	}
}
