package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"

	"tuco/kv"
)

var update = flag.Bool("update", false, "write what is generated in docs anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tuco": main})
}

// TestScripts runs the program as operators do.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // a race build would end every command a second late
			if filepath.Base(env.WorkDir) != "script-config" {
				env.Setenv("TUCO_LISTEN", "127.0.0.1:0")
				env.Setenv("TUCO_RESERVE", "1MiB") // whatever the disk of the machine has left
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start":    scriptStart,
			"grab":     scriptGrab,
			"code":     scriptCode,
			"occupy":   scriptOccupy,
			"newer":    scriptNewer,
			"http":     scriptHTTP,
			"waitfor":  scriptWaitFor,
			"truncate": scriptTruncate,
			"smash":    scriptSmash,
		},
	})
}

// patience bounds every wait: long, since a test machine may be busy.
const patience = 30 * time.Second

// eventually asks until fn is content.
func eventually(ts *testscript.TestScript, what string, fn func() bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !fn() {
		select {
		case <-deadline:
			ts.Fatalf("%s: not within %v", what, patience)
		case <-tick.C:
		}
	}
}

// scriptStart waits until a server that was started in the background on a directory answers: start DIR.
func scriptStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: start DIR")
	}
	dir := ts.MkAbs(args[0])
	eventually(ts, "the server on "+dir, func() bool {
		_, err := os.Stat(filepath.Join(dir, socketName))
		return err == nil && ts.Exec("tuco", "workspace", "list", "--data", dir) == nil
	})
}

// scriptGrab sets a variable to what a pattern's group finds in a file: grab NAME PATTERN FILE.
func scriptGrab(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: grab NAME PATTERN FILE")
	}
	pattern := regexp.MustCompile(args[1])
	var found []string
	eventually(ts, args[1]+" in "+args[2], func() bool {
		found = pattern.FindStringSubmatch(ts.ReadFile(args[2]))
		return len(found) == 2 || args[2] == "stdout"
	})
	if len(found) != 2 {
		ts.Fatalf("%s does not match %s", args[1], args[2])
	}
	ts.Setenv(args[0], found[1])
}

// scriptCode runs the program and wants an exit code: code N ARG….
func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: code N ARG...")
	}
	err := ts.Exec("tuco", args[1:]...)
	code := 0
	if exit := (interface{ ExitCode() int })(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("tuco %s ended with code %d, not %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// scriptOccupy listens on a port until the script ends, and sets a variable to its address: occupy NAME.
func scriptOccupy(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
	ts.Setenv(args[0], ln.Addr().String())
}

// scriptNewer makes a data directory of a later version of the program: newer DIR.
func scriptNewer(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	db, err := kv.Open(filepath.Join(dir, "tuco.db"), kv.Options{Schema: 1000})
	ts.Check(err)
	ts.Check(db.Close())
}

// scriptHTTP sends a request and wants a status: http STATUS METHOD URL [KEY [BODY]]. The body of the
// answer is in the file answer.
func scriptHTTP(ts *testscript.TestScript, _ bool, args []string) {
	var body, key string
	if len(args) > 3 {
		key = args[3]
	}
	if len(args) > 4 {
		body = args[4]
	}
	req, err := http.NewRequest(args[1], args[2], strings.NewReader(body))
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{Timeout: patience}
	resp, err := client.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	file, err := os.Create(ts.MkAbs("answer"))
	ts.Check(err)
	defer file.Close()
	_, err = file.ReadFrom(resp.Body)
	ts.Check(err)
	if fmt.Sprint(resp.StatusCode) != args[0] {
		ts.Fatalf("%s %s answered %s: %s", args[1], args[2], resp.Status, ts.ReadFile("answer"))
	}
}

// scriptWaitFor waits until a file is there, or with ! until none is: waitfor PATTERN.
func scriptWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	pattern := ts.MkAbs(args[0])
	eventually(ts, pattern, func() bool {
		found, err := filepath.Glob(pattern)
		ts.Check(err)
		return len(found) == 0 == neg
	})
}

// scriptTruncate cuts a file to a quarter: truncate FILE.
func scriptTruncate(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	info, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, min(info.Size()/4, 16<<10)))
}

// scriptSmash overwrites a file, from its beginning or from the byte that is named: smash FILE [AT].
func scriptSmash(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	defer f.Close()
	var at int64
	if len(args) > 1 {
		_, err := fmt.Sscan(args[1], &at)
		ts.Check(err)
	}
	_, err = f.WriteAt([]byte(strings.Repeat("this is not what was written here ", 100)), at)
	ts.Check(err)
}

// TestConfigurationReference keeps the page true to the code; -update writes it.
func TestConfigurationReference(t *testing.T) {
	var c cli
	parser, err := kong.New(&c, kong.Name("tuco"), kong.DefaultEnvars("TUCO"))
	if err != nil {
		t.Fatal(err)
	}
	const name = "docs/configuration.md"
	want := reference(parser.Model)
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the code says: run 'go test . -run TestConfigurationReference -update'", name)
	}
}

// TestSocketMode: nobody but the owner may ever reach the admin socket.
func TestSocketMode(t *testing.T) {
	dir := t.TempDir()
	ln, err := listenAdmin(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	info, err := os.Stat(filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), os.ModeSocket|0o600; got != want {
		t.Errorf("the socket's mode is %v, want %v", got, want)
	}
	if got := syscall.Umask(0o022); got == 0o177 {
		t.Error("the umask was not put back")
	} else {
		syscall.Umask(got)
	}
}
