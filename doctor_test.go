package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLosesFastCommits(t *testing.T) {
	for release, want := range map[string]bool{
		"5.9.16": false, "5.10.93-generic": true, "5.10.94": false, "5.10.0-30-amd64": true, "5.11.0": true, "5.15.26": true, "5.15.27": false,
		"5.16.20": true, "5.17.0": false, "6.1.0-21-amd64": false, "4.19.0": false, "6": false, "": false,
	} {
		if got := losesFastCommits(release); got != want {
			t.Errorf("kernel %q: %v, want %v", release, got, want)
		}
	}
}

// found are the levels of what a check finds, with what.
func found(d *doctor, name string) (list []string) {
	for _, c := range checks {
		if c.name == name {
			for _, f := range c.look(d) {
				list = append(list, f.Level+": "+f.What)
			}
		}
	}
	return list
}

// TestDoctorChecks: what each check says of one thing that is wrong, and nothing when it is put right.
func TestDoctorChecks(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("tuco.db", 0o600)
	write("keys/pepper.key", 0o600)
	healthy := func() *doctor {
		return &doctor{data: dir, flags: checkedFlags{Concurrency: 1, Anchor: []string{filepath.Join(dir, "anchor"), "/mnt/elsewhere"}}}
	}
	for _, tt := range []struct {
		check, want string
		spoil       func(*doctor) (restore func())
	}{
		{"disk", "error: ", func(d *doctor) func() { d.flags.Reserve = 1 << 60; return nil }},
		{"file-system", "error: the data directory is in memory", func(d *doctor) func() { d.data = "/dev/shm"; return nil }},
		{"permissions", "error: " + dir + " has mode 0750", func(*doctor) func() {
			os.Chmod(dir, 0o750)
			return func() { os.Chmod(dir, 0o700) }
		}},
		{"permissions", "error: " + filepath.Join(dir, "keys/pepper.key") + " has mode 0640", func(*doctor) func() {
			path := write("keys/pepper.key", 0o640)
			return func() { os.Chmod(path, 0o600) }
		}},
		{"permissions", "error: " + filepath.Join(dir, "tls.key") + " has mode 0604", func(d *doctor) func() {
			d.flags.TLSKey = write("tls.key", 0o604)
			return nil
		}},
		{"permissions", "warning: there is no data directory", func(d *doctor) func() { d.data = filepath.Join(dir, "none"); return nil }},
		{"open-files", "warning: at most", func(d *doctor) func() { d.flags.Concurrency = 1 << 40; return nil }},
		{"memory", "warning: the server aims at", func(d *doctor) func() { d.flags.Overlay = 1 << 50; return nil }},
		{"sandbox", "warning: 2 active lines", func(d *doctor) func() { d.server = &processOutput{PID: os.Getpid(), SandboxLines: 2}; return nil }},
		{"clock", "error: the clock jumped ahead", func(d *doctor) func() { d.server = &processOutput{PID: os.Getpid(), ClockHeld: true}; return nil }},
		{"certificate", "error: the TLS certificate can't be used", func(d *doctor) func() { d.flags.TLSCert = filepath.Join(dir, "none.pem"); return nil }},
		{"anchor", "warning: the audit log's only anchor", func(d *doctor) func() { d.flags.Anchor = nil; return nil }},
		{"anchor", "warning: the audit log's only anchor", func(d *doctor) func() { d.flags.Anchor = []string{"+" + dir + "/keys/../x"}; return nil }},
		{"variables", "warning: TUCO_LISTEM is set, and no setting has that name", func(*doctor) func() {
			os.Setenv("TUCO_LISTEM", "x")
			return func() { os.Unsetenv("TUCO_LISTEM") }
		}},
		{"variables", "warning: TUCO_TRANSPORT_FILE is set", func(*doctor) func() {
			os.Setenv("TUCO_TRANSPORT_FILE", "x")
			return func() { os.Unsetenv("TUCO_TRANSPORT_FILE") }
		}},
		{"warnings", "error: the server warns: Staff access is refused", func(d *doctor) func() {
			d.server = &processOutput{PID: os.Getpid(), Warnings: []string{"Staff access is refused: x."}}
			return nil
		}},
	} {
		says := func(list []string) bool {
			return slices.ContainsFunc(list, func(f string) bool { return strings.HasPrefix(f, tt.want) })
		}
		if list := found(healthy(), tt.check); says(list) && tt.check != "file-system" { // tests may run in memory
			t.Errorf("%s: finds %q where nothing is wrong", tt.check, list)
		}
		d := healthy()
		restore := tt.spoil(d)
		if list := found(d, tt.check); !says(list) {
			t.Errorf("%s: finds %q, want %q", tt.check, list, tt.want)
		}
		if restore != nil {
			restore()
		}
	}
}
