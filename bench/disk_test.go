package bench

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAppends(t *testing.T) {
	dir := t.TempDir()
	for _, writers := range []int{1, 8} {
		h, took, err := appends(dir, []byte("record"), writers, 50*time.Millisecond)
		if err != nil || h.n == 0 || took < 50*time.Millisecond {
			t.Errorf("%d writers: %d appends in %v, %v", writers, h.n, took, err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestClaim: a directory of somebody else is left alone, and one's own remembers what is in it.
func TestClaim(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	c, err := claim(dir)
	if err != nil || len(c.Tenants) > 0 {
		t.Fatalf("claiming a directory that is not there: %+v, %v", c, err)
	}
	c.Tenants, c.Messages = []Tenant{{ID: "w", Key: "k", Messages: []string{"m"}}}, 5
	if err := c.save(dir); err != nil {
		t.Fatal(err)
	}
	if again, err := claim(dir); err != nil || again.Messages != 5 || len(again.Tenants) != 1 {
		t.Errorf("claimed again: %+v, %v", again, err)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "tuco.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := claim(foreign); !errors.Is(err, ErrNotOurs) {
		t.Errorf("claiming somebody's data: %v, want ErrNotOurs", err)
	}
	if _, err := os.Stat(filepath.Join(foreign, mark)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("somebody's directory was written to: %v", err)
	}
}
