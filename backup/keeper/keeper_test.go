package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"tuco/backup"
	"tuco/backup/keeper"
	"tuco/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rig is an engine with a target for its backups.
type rig struct {
	t      *testing.T
	eng    *engine.Engine
	opt    keeper.Options
	dir    string
	target string
	ws     engine.WorkspaceID
	phones int
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

var identity, _ = age.GenerateX25519Identity()

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "data"), target: t.TempDir()}
	r.open(r.dir)
	t.Cleanup(func() { r.close() })
	no := int64(0)
	must[engine.Plan](t)(r.eng.Admin().SetPlan("test", engine.PlanChange{RequestsPerMinute: &no}))
	r.ws = must[engine.Workspace](t)(r.eng.Admin().CreateWorkspace("First", "test", "UTC")).ID
	number := "+12025550100"
	must[engine.Line](t)(r.eng.CreateLine(r.who(), engine.IMessage, engine.LineChange{Phone: &number}))
	return r
}

func (r *rig) open(dir string) {
	r.t.Helper()
	r.dir = dir
	r.eng = must[*engine.Engine](r.t)(engine.Open(engine.Options{Dir: dir, KeepLog: 64 << 20}))
	r.opt = keeper.Options{
		Engine: r.eng, Product: "test", Dir: dir, Target: must[backup.Target](r.t)(backup.OpenTarget(r.target)),
		Encryption: backup.Encryption{Recipients: []string{identity.Recipient().String()}}, Keys: backup.Keys{Identities: []age.Identity{identity}},
		Ship: 50 * time.Millisecond, Log: zerolog.Nop(),
	}
}

func (r *rig) close() {
	if r.eng == nil {
		return
	}
	if err := r.eng.Close(); err != nil {
		r.t.Error(err)
	}
	r.eng = nil
}

func (r *rig) who() engine.Caller {
	r.t.Helper()
	return must[engine.Caller](r.t)(r.eng.Admin().In(r.ws, engine.Production))
}

func (r *rig) send(text ...string) {
	r.t.Helper()
	r.phones++
	must[*engine.SendResult](r.t)(r.eng.Send(r.who(), nil, engine.SendRequest{Text: strings.Join(append(text, "hello"), " "), Phone: fmt.Sprintf("+1202555%04d", r.phones)}))
}

func (r *rig) messages() int {
	r.t.Helper()
	n := 0
	for q := (engine.MessageQuery{Limit: 100}); ; {
		page := must[engine.MessagePage](r.t)(r.eng.Messages(r.who(), q))
		n += len(page.Messages)
		if q.Cursor = page.Next; q.Cursor == "" {
			return n
		}
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// keys are the exported key files.
func (r *rig) keys() []byte {
	r.t.Helper()
	var out bytes.Buffer
	if err := backup.ExportKeys(&out, filepath.Join(r.dir, "keys"), backup.Encryption{Recipients: []string{identity.Recipient().String()}}); err != nil {
		r.t.Fatal(err)
	}
	return out.Bytes()
}

// anchor is where the newest checkpoint is kept beside the database.
func (r *rig) anchor() string { return filepath.Join(r.dir, engine.AnchorName) }

// restoring is what the target is restored with.
func (r *rig) restoring() keeper.RestoreOptions {
	r.t.Helper()
	return keeper.RestoreOptions{
		Target: r.opt.Target, Keys: r.opt.Keys, Dir: filepath.Join(r.t.TempDir(), "new"), KeyFile: bytes.NewReader(r.keys()), KeyFileKeys: r.opt.Keys,
	}
}

// restored restores the target into a new directory, and opens that in place of what was there.
func (r *rig) restored(change func(*keeper.RestoreOptions)) engine.Restored {
	r.t.Helper()
	opt := r.restoring()
	if change != nil {
		change(&opt)
	}
	plan := must[keeper.RestorePlan](r.t)(keeper.PlanRestore(context.Background(), opt))
	done := must[engine.Restored](r.t)(keeper.Restore(context.Background(), opt, plan))
	r.close()
	r.open(opt.Dir)
	if faults, err := r.eng.Check(); err != nil || len(faults) > 0 {
		r.t.Fatalf("what was restored: %q, %v", faults, err)
	}
	return done
}

// TestBackupAndRestore: a full backup and what was shipped after it, restored elsewhere, is what there was; a stop that shipped
// everything loses nothing and takes nothing away.
func TestBackupAndRestore(t *testing.T) {
	r := newRig(t)
	r.send()
	if err := r.eng.StartAudit("test"); err != nil {
		t.Fatal(err)
	}
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	eventually(t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	for range 20 {
		r.send()
	}
	eventually(t, "all is shipped", func() bool { return k.Status().ShippedTo >= r.eng.Position() })
	v := must[keeper.Verification](t)(k.Verify(context.Background()))
	if v.Depth != "records" || len(v.Faults) > 0 || v.Records["messages"] != 21 || v.Entries == 0 {
		t.Errorf("%+v", v)
	}
	r.send()
	if err := r.eng.StopAudit(); err != nil {
		t.Fatal(err)
	}
	if err := k.Finish(context.Background()); err != nil {
		t.Fatal(err)
	}
	done := r.restored(func(o *keeper.RestoreOptions) { o.Anchors = []string{r.anchor()} })
	if got := r.messages(); got != 22 || done.Unknown > 0 || done.KeysOff > 0 || done.Epoch == 0 {
		t.Errorf("%d messages, %+v", got, done)
	}

	k = must[*keeper.Keeper](t)(keeper.Start(r.opt)) // another epoch: it begins anew
	eventually(t, "a full backup after the restore", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	k.Stop()
	if k.Status().Error != "" {
		t.Error(k.Status().Error)
	}
}

// TestStoppedAndStartedAgain: that everything was shipped when the server stopped says nothing of a later start, of which nothing
// was shipped. An anchor tells; without one the restore takes it that there was one.
func TestStoppedAndStartedAgain(t *testing.T) {
	r := newRig(t)
	if err := r.eng.StartAudit("test"); err != nil {
		t.Fatal(err)
	}
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	eventually(t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	r.send()
	if err := r.eng.StopAudit(); err != nil {
		t.Fatal(err)
	}
	if err := k.Finish(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.open(r.dir)
	if err := errors.Join(r.eng.StartAudit("test"), r.eng.KeepAudit()); err != nil {
		t.Fatal(err)
	}
	r.send()
	opt := r.restoring()
	opt.Anchors = []string{r.anchor()}
	plan := must[keeper.RestorePlan](t)(keeper.PlanRestore(context.Background(), opt))
	if _, err := keeper.Restore(context.Background(), opt, plan); !errors.As(err, new(*engine.RewindError)) || plan.Anchors() != keeper.Ahead {
		t.Errorf("with an anchor that saw the start: %v, %v", plan.Anchors(), err)
	}
	if done := r.restored(nil); done.Unknown != 1 {
		t.Errorf("without an anchor: %+v", done)
	}
}

// TestRestoreAfterLoss: what was not shipped is lost, and the restore is strict about it.
func TestRestoreAfterLoss(t *testing.T) {
	r := newRig(t)
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	eventually(t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	for range 5 {
		r.send()
	}
	eventually(t, "all is shipped", func() bool { return k.Status().ShippedTo >= r.eng.Position() })
	k.Stop()
	r.send()
	done := r.restored(nil)
	if got := r.messages(); got != 5 || done.Unknown != 5 {
		t.Errorf("%d messages, %+v", got, done)
	}
	if w := must[engine.Workspace](t)(r.eng.Admin().Workspace(r.ws)); w.ReadOnly != engine.ReadOnlyMaintenance {
		t.Errorf("%+v", w)
	}
}

// TestRestoreToATime: exactly what there was at that moment.
func TestRestoreToATime(t *testing.T) {
	r := newRig(t)
	var now atomic.Int64
	now.Store(time.Now().UnixMilli())
	r.opt.Now = func() time.Time { return time.UnixMilli(now.Load()) }
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	eventually(t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	moments := map[int]time.Time{}
	for i := range 12 {
		now.Add(10_000)
		r.send()
		eventually(t, "it is shipped", func() bool { now.Add(100); return k.Status().ShippedTo >= r.eng.Position() })
		now.Add(1000)
		moments[i+1] = time.UnixMilli(now.Load())
	}
	k.Stop()
	data, keys := r.dir, r.keys()
	_ = data
	for _, n := range []int{3, 7, 12} {
		r.restored(func(o *keeper.RestoreOptions) { o.To, o.KeyFile = moments[n], bytes.NewReader(keys) })
		if got := r.messages(); got != n {
			t.Errorf("%d messages, want %d", got, n)
		}
	}
}

// TestWithoutKeys: the data come back without the key files, and a new log begins.
func TestWithoutKeys(t *testing.T) {
	r := newRig(t)
	r.send()
	before, _ := r.eng.Installation()
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	eventually(t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	k.Stop()
	r.restored(func(o *keeper.RestoreOptions) { o.KeyFile = nil })
	if after, _ := r.eng.Installation(); after == before || r.messages() != 1 {
		t.Errorf("installation %s, %d messages", after, r.messages())
	}
}

// TestDamagedTarget: whatever object is damaged, the restore is refused, and nothing is at its place.
func TestDamagedTarget(t *testing.T) {
	r := newRig(t)
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	eventually(t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	for range 3 {
		r.send()
		eventually(t, "it is shipped", func() bool { return k.Status().ShippedTo >= r.eng.Position() })
	}
	k.Stop()
	keys := r.keys()
	var objects []string
	err := filepath.Walk(r.target, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && filepath.Ext(path) == ".tuco" {
			objects = append(objects, path)
		}
		return err
	})
	if err != nil || len(objects) < 3 {
		t.Fatalf("%q, %v", objects, err)
	}
	for _, path := range objects {
		good := must[[]byte](t)(os.ReadFile(path))
		for name, bad := range map[string][]byte{"flipped": flipped(good, len(good)/2), "cut": good[:len(good)-1], "empty": nil} {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			opt := keeper.RestoreOptions{
				Target: r.opt.Target, Keys: r.opt.Keys, Dir: filepath.Join(t.TempDir(), "new"), KeyFile: bytes.NewReader(keys), KeyFileKeys: r.opt.Keys,
			}
			plan, err := keeper.PlanRestore(context.Background(), opt)
			if err == nil {
				_, err = keeper.Restore(context.Background(), opt, plan)
			}
			if !errors.Is(err, backup.ErrDamaged) {
				t.Errorf("%s %s: %v", filepath.Base(path), name, err)
			}
			if _, err := os.Stat(opt.Dir); !os.IsNotExist(err) {
				t.Errorf("%s %s: something is there", filepath.Base(path), name)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func flipped(data []byte, at int) []byte {
	bad := bytes.Clone(data)
	bad[at] ^= 1
	return bad
}
