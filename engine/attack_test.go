package engine

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"tuco/engine/auditlog"
	"tuco/engine/auditlog/bundle"
	"tuco/kv"
)

// An attacked data directory is one that was stopped and whose database somebody then changed. What is kept of it outside:
// the verifier keys, a checkpoint, and, to compare, the log as it was.
type attacked struct {
	t         testing.TB
	opt       Options
	db, older []byte // the database, and what it was when it had about half of the entries
	lines     []byte
	own       map[WorkspaceID][]byte // of each workspace
	verifiers []note.Verifier
	signed    []byte // a checkpoint of all lines
	outside   auditlog.Checkpoint
}

// newAttacked makes a log of a hundred entries of three workspaces.
func newAttacked(t testing.TB) *attacked {
	t.Helper()
	w := newWorld(t, unlimited())
	a := &attacked{t: t, own: map[WorkspaceID][]byte{}}
	ids := []WorkspaceID{w.id, w.workspace("Second", "UTC"), w.workspace("Third", "UTC")}
	s := w.staff()
	for _, id := range ids {
		in := w.wish()
		in.Workspace, in.Scopes = id, scopesToRead
		owner, _ := w.populate(id, Production, "marker")
		w.approve(owner, w.ask(s, in))
	}
	look := func(n int) {
		for i := range n {
			q := w.look(RecordKinds[i%len(RecordKinds)])
			q.Workspace = ids[i%len(ids)]
			w.read(s, q)
			w.clock.pass(time.Second)
		}
	}
	look(35)
	w.close()
	a.older = a.database(w.opt.Dir)
	w.open()
	look(50)
	if err := w.KeepAudit(); err != nil {
		t.Fatal(err)
	}
	var err error
	if a.signed, err = w.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	a.verifiers = w.auditVerifiers()
	if a.outside, err = auditlog.OpenCheckpoint(a.signed, a.verifiers...); err != nil {
		t.Fatal(err)
	}
	for _, e := range w.entries("") {
		a.own[WorkspaceID(e.Workspace)] = append(a.own[WorkspaceID(e.Workspace)], w.lines()[e.Seq]...)
	}
	delete(a.own, "")
	a.lines = []byte(strings.Join(w.lines(), ""))
	a.opt = Options{Now: w.clock.now, KeysDir: filepath.Join(w.opt.Dir, "keys"), Anchors: []string{filepath.Join(w.opt.Dir, AnchorName)}}
	w.close()
	a.db = a.database(w.opt.Dir)
	return a
}

func (a *attacked) database(dir string) []byte {
	a.t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, DatabaseName))
	if err != nil {
		a.t.Fatal(err)
	}
	return data
}

// judge opens a data directory with this database and asks everyone who may find that it was changed: the opening with the
// anchors, an auditor with the whole log, each customer with its part of it, and the operator's check. It returns who did,
// and why; if nobody did, all that was shown is what was there before, and nothing else is claimed. It fails if something
// else was shown, whoever else found the change, or if the program broke.
func (a *attacked) judge(dir string, db []byte, anchors ...string) (finder string, why error) {
	broken := func(err error) (string, error) { return "", fmt.Errorf("the program broke: %w", err) }
	if err := os.RemoveAll(dir); err != nil {
		return broken(err)
	}
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, DatabaseName), db, 0o600)); err != nil {
		return broken(err)
	}
	opt := a.opt
	opt.Dir, opt.Anchors = dir, anchors
	e, err := Open(opt)
	if err != nil {
		return "opening", err
	}
	defer e.close() //nolint:errcheck // the database is damaged
	if err := e.AuditTrouble(); err != nil {
		return "anchor", err
	}
	got, claims, auditor := a.export(e, AuditRange{})
	if auditor == nil {
		rest, same := bytes.CutPrefix(got, a.lines)
		if !same || bytes.Count(rest, []byte("\n")) != 1 || !bytes.Contains(rest, []byte(`"event":"audit.exported"`)) || !claims.Complete {
			return "", fmt.Errorf("%w: the bundle has %d bytes of lines, with %d new ones", errFooled, len(got), bytes.Count(rest, []byte("\n")))
		}
	}
	for id, was := range a.own {
		got, _, err := a.export(e, AuditRange{Workspace: id, Earlier: a.signed})
		if err != nil {
			finder, why = "customer", err
		} else if rest, same := bytes.CutPrefix(got, was); !same || bytes.Count(rest, []byte("\n")) != 1 {
			return "", fmt.Errorf("%w: the bundle of workspace %s is another", errFooled, id)
		}
	}
	faults, err := e.Check()
	switch {
	case err != nil:
		return "check", err
	case len(faults) > 0:
		return "check", errors.New(faults[0])
	case auditor != nil:
		return "auditor", auditor
	}
	return finder, why
}

var errFooled = errors.New("a changed database was taken for the one that was")

// export makes a bundle, verifies it as somebody does who kept the checkpoint, and returns its lines.
func (a *attacked) export(e *Engine, r AuditRange) (lines []byte, claims bundle.Report, err error) {
	var file bytes.Buffer
	if _, err := (Admin{e}).ExportAudit(&file, "1.2.3", r); err != nil {
		return nil, claims, err
	}
	if claims, err = bundle.Verify(bytes.NewReader(file.Bytes()), int64(file.Len()), a.verifiers, &a.outside, nil); err != nil {
		return nil, claims, err
	}
	for files := tar.NewReader(&file); ; {
		h, err := files.Next()
		if err != nil {
			return nil, claims, fmt.Errorf("there are no lines in the bundle: %w", err)
		}
		if h.Name == "entries.jsonl" {
			lines, err = io.ReadAll(files)
			return lines, claims, err
		}
	}
}

// inTime runs judge, and takes one that does not come back, or that panics, for a fault of the program.
func (a *attacked) inTime(dir string, db []byte, anchors ...string) (finder string, why error) {
	type verdict struct {
		finder string
		why    error
	}
	told := make(chan verdict, 1)
	go func() {
		var v verdict
		defer func() {
			if p := recover(); p != nil {
				v = verdict{"", fmt.Errorf("it panics: %v\n%s", p, debug.Stack())}
			}
			told <- v
		}()
		v.finder, v.why = a.judge(dir, db, anchors...)
	}()
	select {
	case v := <-told:
		return v.finder, v.why
	case <-time.After(time.Minute):
		return "", errors.New("it hangs")
	}
}

// saysWhat tells whether an error of an opening names what is wrong, so that the operator is told what to do.
func saysWhat(err error) bool {
	return errors.Is(err, kv.ErrDamaged) || errors.Is(err, kv.ErrForeign) || errors.Is(err, kv.ErrNewer)
}
