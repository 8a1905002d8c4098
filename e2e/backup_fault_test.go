package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTargetAway: while the target is away, or full, the server goes on and says so. Afterwards everything is shipped.
func TestTargetAway(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	away := v.target + ".away"
	v.outage(func() {
		if err := os.Rename(v.target, away); err != nil {
			t.Error(err)
		}
	}, func() {
		if err := os.Rename(away, v.target); err != nil {
			t.Error(err)
		}
	})
}

func TestTargetFull(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	v.target = small(t, "16m")
	balloon := filepath.Join(v.target, "balloon")
	v.outage(func() { fill(t, balloon, 1<<19) }, func() {
		if err := os.Remove(balloon); err != nil {
			t.Error(err)
		}
	})
}

// TestS3Away is the same with a bucket whose server is killed.
func TestS3Away(t *testing.T) {
	s3 := newS3(t)
	v := newVault(t)
	v.target = s3.location("/tuco")
	v.outage(s3.kill, s3.start)
}

// An s3 is a process that serves a directory as an S3 service with the bucket "backups".
type s3 struct {
	t                             *testing.T
	binary, address, dir, sidecar string
	cmd                           *exec.Cmd
}

// newS3 starts one, and sets the credentials for it.
func newS3(t *testing.T) *s3 {
	t.Helper()
	path := os.Getenv("TUCO_TEST_VERSITYGW")
	if path == "" {
		var err error
		if path, err = exec.LookPath("versitygw"); err != nil {
			t.Skip("no versitygw: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0, and have it on PATH or in TUCO_TEST_VERSITYGW")
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "tuco-test-access")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "tuco-test-secret")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &s3{t: t, binary: path, address: ln.Addr().String(), dir: t.TempDir(), sidecar: t.TempDir()}
	ln.Close()
	if err := os.Mkdir(filepath.Join(s.dir, "backups"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	s.start()
	return s
}

func (s *s3) start() {
	s.cmd = exec.Command(s.binary, "--port", s.address, "--quiet", "posix", "--sidecar", s.sidecar, s.dir)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY=tuco-test-access", "ROOT_SECRET_KEY=tuco-test-secret")
	s.cmd.Dir = s.sidecar
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "versitygw answers", func() bool {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (s *s3) kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait() //nolint:errcheck // it was killed
		s.cmd = nil
	}
}

// location is a target, or an object in one.
func (s *s3) location(path string) string {
	return "s3://backups" + path + "?endpoint=" + s.address + "&region=us-east-1&insecure=1"
}

// outage has a server under load lose its target for a while, and once more over a kill of its own. Nothing is lost by it.
func (v *vault) outage(away, back func()) {
	t, dir := v.t, v.t.TempDir()
	s := serve(t, dir, v.flags()...)
	v.open(s)
	who := newTenant(s, "--requests-per-minute", "0")
	newLine(s, who, "--type", "imessage", "--phone", "+12025550100")
	if w := s.warnings(); w != "" {
		t.Errorf("before: %q", w)
	}
	all := map[string]sent{}
	load := startLoad(s.url, who, 0)
	eventually(t, "the load runs", func() bool { return load.count() > 2*connections })
	away()
	eventually(t, "it says that the target is away", func() bool {
		return strings.Contains(s.warnings(), "Backups fail: Shipping the changes: ") && s.metric("tuco_backup_failed") == 1 && s.metric("tuco_backup_behind_bytes") > 0
	})
	enough := load.count() + 10*connections
	eventually(t, "the load goes on", func() bool { return load.count() > enough })
	if err := s.try(nil, "backup", "create"); err == nil {
		t.Error("a full backup to a target that is away")
	}
	load.end(t, all)
	s.kill()
	s = serve(t, dir, v.flags()...)
	eventually(t, "it says so again after a start", func() bool { return strings.Contains(s.warnings(), "Backups fail: ") })
	if strings.Contains(s.warnings(), "There is no backup yet") {
		t.Errorf("it says that there is no backup, and can't know: %q", s.warnings())
	}
	back()
	eventually(t, "all is shipped", func() bool {
		return s.metric("tuco_backup_failed") == 0 && s.metric("tuco_backup_behind_bytes") == 0 && s.metric("tuco_backup_last_success_timestamp_seconds") > 0
	})
	if w := s.warnings(); w != "" {
		t.Errorf("after: %q", w)
	}
	var found verified
	s.tuco(&found, "backup", "verify")
	if len(found.Backups) != 1 || found.Backups[0].Depth != "records" || found.Backups[0].Result != "good" {
		t.Errorf("verified: %+v", found)
	}
	shipped := s.shipped()
	s.kill()
	restored, out, _ := v.restore()
	r := serveRestored(t, restored, who, out)
	if lost := compare(t, r.kept(who), all, shipped, shipped); len(lost) > 0 {
		t.Errorf("%d of %d messages are lost", len(lost), len(all))
	}
}
