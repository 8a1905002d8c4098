package backup

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	testAccess = "tuco-test-access"
	testSecret = "tuco-test-secret-that-no-error-shows"
)

// An s3Server is a process that serves a directory as an S3 service.
type s3Server struct {
	t       testing.TB
	binary  string
	dir     string // its buckets are the directories in it
	sidecar string
	address string
	cmd     *exec.Cmd
}

// startS3 starts a server that has the bucket "backups", and sets the credentials for it.
func startS3(t testing.TB) *s3Server {
	t.Helper()
	binary := os.Getenv("TUCO_TEST_VERSITYGW")
	if binary == "" {
		var err error
		if binary, err = exec.LookPath("versitygw"); err != nil {
			t.Skip("no versitygw: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0, and have it on PATH or in TUCO_TEST_VERSITYGW")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &s3Server{t: t, binary: binary, dir: t.TempDir(), sidecar: t.TempDir(), address: l.Addr().String()}
	l.Close()
	if err := os.Mkdir(filepath.Join(s.dir, "backups"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", testAccess)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	t.Cleanup(s.kill)
	s.start()
	return s
}

func (s *s3Server) start() {
	s.t.Helper()
	s.cmd = exec.Command(s.binary, "--port", s.address, "--quiet", "posix", "--sidecar", s.sidecar, s.dir)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+testAccess, "ROOT_SECRET_KEY="+testSecret)
	s.cmd.Dir = s.t.TempDir()
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // polls
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("versitygw does not answer: %v", err)
		}
	}
}

// kill ends the process as a power cut would.
func (s *s3Server) kill() {
	if s.cmd == nil {
		return
	}
	err := s.cmd.Process.Kill()
	var exit *exec.ExitError
	if waitErr := s.cmd.Wait(); err != nil || waitErr != nil && !errors.As(waitErr, &exit) {
		s.t.Error(err, waitErr)
	}
	s.cmd = nil
}

func (s *s3Server) location(path string) string {
	return "s3://backups" + path + "?endpoint=" + s.address + "&region=us-east-1&insecure=1"
}

func (s *s3Server) target(path string) *bucket {
	s.t.Helper()
	target, err := OpenTarget(s.location(path))
	if err != nil {
		s.t.Fatal(err)
	}
	return target.(*bucket)
}
