package engine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// copied is a copy of the world's database and keys in a new directory, and what it is opened with.
func (w *world) copied() Options {
	w.t.Helper()
	opt := w.opt
	opt.Dir, opt.KeysDir = w.t.TempDir(), ""
	r, err := w.db.CopyTo(w.t.Context(), filepath.Join(opt.Dir, DatabaseName), 0)
	if err == nil {
		r.Close()
		err = os.CopyFS(filepath.Join(opt.Dir, "keys"), os.DirFS(w.Engine.opt.KeysDir))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return opt
}

// restored opens what was restored, in place of the world that it was copied from.
func (w *world) restored(opt Options) {
	w.t.Helper()
	w.close()
	w.opt = opt
	w.open()
	if faults, err := w.Check(); err != nil || len(faults) > 0 {
		w.t.Errorf("after the restore: %q, %v", faults, err)
	}
}

func (w *world) anchor() *auditlog.Checkpoint {
	w.t.Helper()
	signed, err := w.Checkpoint()
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := auditlog.OpenCheckpoint(signed, w.auditVerifiers()...)
	if err != nil {
		w.t.Fatal(err)
	}
	return &c
}

// TestFinishRestore: a backup that lacks what was done since is refused while an anchor is ahead of it; with the override
// nothing is refilled, nothing is sent by itself, what may have been revoked stays so, and the log says what happened.
func TestFinishRestore(t *testing.T) {
	limits := PlanChange{MessagesPerDay: n64(10), MessagesPerMonth: n64(25), NewContactsPerDay: n64(8), RequestsPerMinute: n64(0)}
	w := newWorld(t, limits)
	owner := w.ownerOf(w.id, Production)
	line := w.line(Production, 6, 5)
	who := w.in(Production)
	for range 3 {
		w.send(who, to(phone()))
	}
	sent, _ := w.deliver(Production, line.ID)
	old := w.send(who, to(phone()))
	s := w.staff()
	wish := w.wish()
	wish.Duration = 100 * time.Hour
	grant := w.approve(owner, w.ask(s, wish))
	opt := w.copied()
	w.clock.pass(25 * time.Hour)
	w.send(who, to(phone()))
	if _, err := w.RevokeAccess(owner, string(grant.ID)); err != nil {
		t.Fatal(err)
	}
	w.keepAudit()
	ahead := w.anchor()
	anchorFile := filepath.Join(t.TempDir(), "anchor")
	copyFile(t, filepath.Join(w.opt.Dir, AnchorName), anchorFile)

	opt.Anchors = []string{filepath.Join(t.TempDir(), "none")}
	before := opt.Dir
	path := filepath.Join(opt.Dir, DatabaseName)
	if _, err := Compare(path, ahead, ""); err == nil {
		t.Fatal("a log that is behind its anchor is accepted")
	} else if r := (*RewindError)(nil); !errors.As(err, &r) || r.Anchored != ahead.Size || r.Size >= ahead.Size {
		t.Fatalf("%v", err)
	}
	standing, err := Compare(path, ahead, "the disk died")
	if err != nil || !standing.Ahead || standing.Proves || standing.Whole() {
		t.Fatalf("%+v, %v", standing, err)
	}
	done, err := FinishRestore(opt, Restore{Backup: "b1", State: w.clock.now(), Newest: w.clock.now(), Standing: standing, Rewind: "the disk died"})
	if err != nil || opt.Dir != before {
		t.Fatal(err)
	}
	if done.Epoch == 0 || done.Workspaces != 1 || done.Unknown == 0 || done.KeysOff == 0 || done.StaffOff != 1 {
		t.Errorf("%+v", done)
	}
	opt.Anchors = []string{anchorFile}
	w.restored(opt)
	if err := w.AuditTrouble(); err != nil {
		t.Errorf("the anchor of before the restore: %v", err)
	}
	if e := w.last("restore"); e.Epoch != done.Epoch || e.Detail["rewindReason"] != "the disk died" || e.Detail["anchorSize"] == "" || e.Detail["anchorRoot"] != ahead.Root.String() {
		t.Errorf("the entry: %+v", e)
	}
	operator := w.operator(Production)
	for _, l := range operator.env.planLimits() {
		want := map[string]int64{limitDay: 10, limitMonth: 20, limitContacts: 8}[l.Name]
		if l.Used != want {
			t.Errorf("%s: %d used, want %d", l.Name, l.Used, want)
		}
	}
	if l := operator.env.lines.Load().all[0]; l.limits(w.lineDay())[0].Used != 6 || l.limits(w.lineDay())[1].Used != 5 {
		t.Errorf("the line: %+v", l.limits(w.lineDay()))
	}
	if m := w.get(operator, old.Message.ID); m.Status != Sending {
		t.Errorf("what waited is %s", m.Status)
	}
	if m := w.get(operator, sent.ID); m.Status != sent.Status {
		t.Errorf("what was sent is %s", m.Status)
	}
	_, err = w.StaffRead(s, w.look(KindLeads))
	if err == nil {
		t.Error("a grant lives on")
	}
	if w.tenant(w.id).record().ReadOnly != ReadOnlyMaintenance {
		t.Error("the workspace takes writes")
	}
	w.exported(AuditRange{}, nil)
	w.exported(AuditRange{Workspace: w.id}, nil)
	if got := now(w, grant); got != AccessEnded {
		t.Errorf("the grant is %s", got)
	}
}

func now(w *world, r AccessRequest) AccessStatus {
	w.t.Helper()
	got, err := w.Admin().AccessRequest(string(r.ID))
	if err != nil {
		w.t.Fatal(err)
	}
	return got.Status
}

// TestFinishRestoreOfAll: where nothing can be missing, nothing is taken away.
func TestFinishRestoreOfAll(t *testing.T) {
	w := newWorld(t, perDay(10))
	owner := w.ownerOf(w.id, Production)
	w.line(Production, 6, 5)
	w.send(w.in(Production), to(phone()))
	grant := w.approve(owner, w.ask(w.staff(), w.wish()))
	opt := w.copied()
	done, err := FinishRestore(opt, Restore{Backup: "b1", Complete: true})
	if err != nil || done.Unknown+done.KeysOff+done.StaffOff > 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	w.restored(opt)
	if l := w.operator(Production).env.planLimits()[0]; l.Used != 1 {
		t.Errorf("%d used", l.Used)
	}
	if got := now(w, grant); got != AccessApproved {
		t.Errorf("the grant is %s", got)
	}
}

// TestRestoreToAMoment: customer data are those of the moment; keys, grants, erasures and usage are the newest.
func TestRestoreToAMoment(t *testing.T) {
	w := newWorld(t, perDay(10))
	owner := w.ownerOf(w.id, Production)
	w.line(Production, 6, 5)
	w.send(w.in(Production), to("+12025550142"))
	key, secret := w.key(w.id, Production, NewKey{Name: "gone", Role: RoleMember})
	early := w.copied()
	w.send(w.in(Production), to("+12025550143"))
	if err := w.RevokeKey(owner, key.ID.String()); err != nil {
		t.Fatal(err)
	}
	late := w.copied()
	for _, opt := range []Options{early, late} {
		e, err := Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(opt.Dir, AnchorName)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if err := kv.GraftFrom(filepath.Join(early.Dir, DatabaseName), filepath.Join(late.Dir, DatabaseName), RestoreChoice); err != nil {
		t.Fatal(err)
	}
	if _, err := FinishRestore(early, Restore{Backup: "b1", Complete: true}); err != nil {
		t.Fatal(err)
	}
	w.restored(early)
	if l := w.operator(Production).env.planLimits()[0]; l.Used != 2 {
		t.Errorf("%d used", l.Used)
	}
	page, err := w.Messages(w.operator(Production), MessageQuery{})
	if err != nil || len(page.Messages) != 1 {
		t.Errorf("%d messages, %v", len(page.Messages), err)
	}
	if _, err := w.Authenticate(secret, home); !isKind(err, Unauthorized) {
		t.Errorf("a revoked key: %v", err)
	}
}
