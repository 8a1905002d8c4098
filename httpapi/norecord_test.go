package httpapi

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"tuco/engine"
)

// replaceLog puts another file in the place of the redo log of the database in dir, where it is open.
func replaceLog(t *testing.T, dir, file string, mode int) {
	t.Helper()
	other, err := unix.Open(file, mode|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(other)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	replaced := 0
	for _, entry := range fds {
		path, err := os.Readlink("/proc/self/fd/" + entry.Name())
		fd, numberErr := strconv.Atoi(entry.Name())
		if err != nil || numberErr != nil || !strings.HasPrefix(path, filepath.Join(dir, engine.DatabaseName)+"-redo/") {
			continue
		}
		if err := unix.Dup3(other, fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		replaced++
	}
	if replaced == 0 {
		t.Fatal("the redo log is not open")
	}
}

// TestNoRecordNoByte: on every route by which staff look, also one that comes later, no byte of what it would show leaves if
// the entry can't be written, or can't be made durable. The grant shows every field, so that there is something to lose.
func TestNoRecordNoByte(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name, file string
		mode       int
		code       string
	}{
		{"the write fails", "/dev/null", unix.O_RDONLY, engine.CodeOutcomeUnknown},
		{"the sync fails", "/dev/null", unix.O_RDWR, engine.CodeOutcomeUnknown},
		{"the disk is full in the middle of the write", "/dev/full", unix.O_RDWR, ""},
	}
	n := len(newWorld(t).looks())
	for first := 0; first < n; {
		last := first + 1
		if raceEnabled {
			last = n // all at the same time: the race detector has more to see, and less to do
		}
		for _, fault := range faults {
			dir := t.TempDir()
			w := newWorld(t, func(o *engine.Options, _ *Options) { o.Dir = dir })
			f := w.workspace("A").marked(engine.Production)
			sam := w.staff("Sam")
			sam.granted(t, f, allFields())
			looks := w.looks()[first:last]
			for _, r := range looks {
				before := w.do(f.lookBy(r, sam.token)).is(t, r.id+", before", 200)
				if before.num("auditEntry")+1 != float64(w.entries()) {
					t.Errorf("%s: the entry is %v of %d", r.id, before.num("auditEntry"), w.entries())
				}
			}
			quiet := len(w.logged.String())
			replaceLog(t, dir, fault.file, fault.mode)
			for _, when := range []string{"", ", again"} {
				answers := make([]answer, len(looks))
				var all sync.WaitGroup
				for i, r := range looks {
					all.Go(func() { answers[i], _ = w.send(f.lookBy(r, sam.token)) })
				}
				all.Wait()
				for i, a := range answers {
					code := fault.code
					if code == "" || when != "" || len(looks) > 1 {
						code = a.str("code") // it is known to be full, or not known what was written; or nothing is written any more
					}
					a.showsNothing(t, looks[i].id+", "+fault.name+when, f, code)
				}
			}
			if logged := w.logged.String()[quiet:]; strings.Contains(logged, marker) || strings.Contains(logged, "2025550171") {
				t.Errorf("%s, %s: what would have been shown is in the server's log: %s", looks[0].id, fault.name, logged)
			}
		}
		first = last
	}
}

// TestLogInTrouble: while the log is behind its anchor no route shows staff anything, and the rest works.
func TestLogInTrouble(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(o *engine.Options, _ *Options) { o.Dir = dir }
	database, older := filepath.Join(dir, engine.DatabaseName), filepath.Join(t.TempDir(), "older")
	var f fixture
	var sam staffMember
	var owner, ada string
	t.Run("before", func(t *testing.T) {
		w := newWorld(t, in)
		f = w.workspace("A").marked(engine.Production)
		sam, ada, owner = w.staff("Sam"), w.auditor("Ada"), f.ws.key(f.env, engine.RoleOwner)
		sam.granted(t, f, allFields())
	})
	copyFile(t, database, older)
	t.Run("more", func(t *testing.T) {
		w := newWorld(t, in)
		for _, r := range w.looks() {
			w.do(f.lookBy(r, sam.token)).is(t, r.id, 200)
		}
		if err := w.eng.KeepAudit(); err != nil {
			t.Fatal(err)
		}
	})
	copyFile(t, older, database)
	w := newWorld(t, in)
	n := w.entries()
	for _, r := range w.looks() {
		a := w.do(f.lookBy(r, sam.token))
		a.showsNothing(t, r.id, f, engine.CodeAuditUnavailable)
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", r.id)
		}
	}
	if got := w.entries(); got != n {
		t.Errorf("%d entries were made of looks that there were not", got-n)
	}
	if a := w.get("", "/readyz").is(t, "readyz", 200); !strings.Contains(a.str("warnings", "0"), "Staff access is refused") {
		t.Errorf("readyz: %s", a.text)
	}
	w.get(ada, "/audit/log").is(t, "the auditor", 200)
	if a := w.get(ada, "/audit/checkpoint"); a.status < 500 {
		t.Errorf("a checkpoint that contradicts another is signed: %s", a.text)
	}
	w.get(owner, "/api/leads").is(t, "the customer", 200)
	w.post(owner, "/api/lists", obj{"name": "x"}).is(t, "the customer writes", 201)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
