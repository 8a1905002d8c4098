package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tuco/backup"
	"tuco/backup/keeper"
)

// started makes a keeper that has its first full backup, and ships only when the test says so.
func (r *rig) started() *keeper.Keeper {
	r.t.Helper()
	k := must[*keeper.Keeper](r.t)(keeper.Start(r.opt))
	eventually(r.t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	return k
}

func (r *rig) shipped(k *keeper.Keeper) {
	r.t.Helper()
	eventually(r.t, "all is shipped", func() bool { return k.Status().ShippedTo >= r.eng.Position() })
}

// found are the results of a verification of all, by name.
func (r *rig) found(change func(*keeper.VerifyOptions)) map[string]keeper.Verification {
	r.t.Helper()
	opt := keeper.VerifyOptions{Target: r.opt.Target, Keys: r.opt.Keys, Dir: r.t.TempDir()}
	if change != nil {
		change(&opt)
	}
	all, told := map[string]keeper.Verification{}, 0
	opt.Found = func(keeper.Verification) { told++ }
	for _, v := range must[[]keeper.Verification](r.t)(keeper.VerifyAll(context.Background(), opt)) {
		all[v.Name] = v
	}
	if told != len(all) {
		r.t.Errorf("%d results were told, want %d", told, len(all))
	}
	if left := must[[]os.DirEntry](r.t)(os.ReadDir(opt.Dir)); len(left) > 0 {
		r.t.Errorf("the scratch directory holds %v", left)
	}
	return all
}

func bad(all map[string]keeper.Verification) (names []string) {
	for name, v := range all {
		if len(v.Faults) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// objects are those in the target, by name, in their order.
func (r *rig) objects() (names []string) {
	r.t.Helper()
	for _, o := range must[[]backup.Stored](r.t)(r.opt.Target.List(context.Background(), "")) {
		names = append(names, o.Name)
	}
	return names
}

// files are those of the objects: the target is a directory.
func (r *rig) files() (paths []string) {
	r.t.Helper()
	for _, name := range r.objects() {
		paths = append(paths, filepath.Join(r.target, name))
	}
	return paths
}

// logs are the objects of shipped changes.
func (r *rig) logs() []string {
	r.t.Helper()
	return slices.DeleteFunc(r.objects(), func(name string) bool { return !strings.Contains(name, "/log-") })
}

// TestVerifyAll: every backup in a target is restored and read, with all that was shipped after it, of every installation, and every
// export. Whatever object is damaged, the one that it belongs to is named, and no other.
func TestVerifyAll(t *testing.T) {
	r, other := newRig(t), newRig(t)
	k := r.started()
	r.send()
	r.shipped(k)
	r.send()
	first := must[backup.Name](t)(k.Full(context.Background()))
	r.send()
	r.shipped(k)
	k.Stop()
	other.target, other.opt.Target = r.target, r.opt.Target
	other.started().Stop()
	o := must[*backup.Object](t)(keeper.PackWorkspace(context.Background(), r.opt, r.ws))
	defer o.Close()
	if err := r.opt.Target.Put(context.Background(), o.Manifest.ObjectName(), o); err != nil {
		t.Fatal(err)
	}

	var bytes int64
	all := r.found(func(o *keeper.VerifyOptions) {
		o.Progress = func(_ string, done, total int64) {
			if done < bytes || done > total {
				t.Errorf("progress went from %d to %d of %d", bytes, done, total)
			}
			bytes = done
		}
	})
	fulls, logs := 0, 0
	for name, v := range all {
		switch {
		case len(v.Faults) > 0 || v.Gone:
			t.Errorf("%+v", v)
		case v.Kind == backup.Full:
			fulls++
			logs += v.Logs
			if v.Depth != "records" || v.Entries == 0 || v.Records["workspaces"] != 1 || v.State.IsZero() {
				t.Errorf("%s: %+v", name, v)
			}
		case v.Kind != backup.Workspace || v.Depth != "files" || v.Records["messages"] != 3:
			t.Errorf("%s: %+v", name, v)
		}
	}
	names := r.objects()
	if fulls != 3 || logs < 2 || fulls+logs+1 < len(names) || bytes == 0 {
		t.Errorf("%d full ones, %d logs, of %d objects; %d bytes read", fulls, logs, len(names), bytes)
	}
	if v := all[first.String()]; v.Records["messages"] != 3 {
		t.Errorf("the newest: %+v", v)
	}
	mine, _ := r.eng.Installation()
	for name := range r.found(func(o *keeper.VerifyOptions) { o.Installation = mine }) {
		if !strings.HasPrefix(name, mine+"/") {
			t.Errorf("%s is not of the one installation", name)
		}
	}
	for name, v := range r.found(func(o *keeper.VerifyOptions) { o.Keys = backup.Keys{} }) {
		if len(v.Faults) > 0 || v.Depth != "digests" {
			t.Errorf("%s without keys: %+v", name, v)
		}
	}

	for _, keys := range []backup.Keys{r.opt.Keys, {}} {
		for _, name := range names {
			path := filepath.Join(r.target, name)
			good := must[[]byte](t)(os.ReadFile(path))
			if err := os.WriteFile(path, flipped(good, len(good)-9), 0o600); err != nil {
				t.Fatal(err)
			}
			got := bad(r.found(func(o *keeper.VerifyOptions) { o.Keys = keys }))
			// A log that reaches beyond the next full one is of both.
			if len(got) == 0 || len(got) > 2 || len(got) == 2 && !strings.Contains(name, "/log-") || !strings.Contains(name, "/log-") && got[0] != name || !strings.HasPrefix(name, got[0][:16]) {
				t.Errorf("%s is damaged, and %q are bad", name, got)
			}
			if err := os.WriteFile(path, good, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestVerifyReadsRecords: an object whose digests are right, and that holds something else than its manifest says.
func TestVerifyReadsRecords(t *testing.T) {
	r := newRig(t)
	k := r.started()
	r.send()
	must[backup.Name](t)(k.Full(context.Background()))
	k.Stop()
	name := r.objects()[0] // the older one
	for _, n := range r.objects()[1:] {
		if strings.Contains(n, "/log-") {
			if err := r.opt.Target.Delete(context.Background(), n); err != nil {
				t.Fatal(err)
			}
		}
	}
	in := must[io.ReadCloser](t)(r.opt.Target.Get(context.Background(), name))
	o := must[*backup.Reader](t)(backup.Open(in, 1000))
	dir := filepath.Join(t.TempDir(), "files")
	if err := errors.Join(o.Unpack(context.Background(), r.opt.Keys, dir), in.Close()); err != nil {
		t.Fatal(err)
	}
	m := o.Manifest
	m.Records["leads"]++
	var inputs []backup.Input
	for _, f := range m.Files {
		inputs = append(inputs, backup.Input{Name: f.Name, Content: bytes.NewReader(must[[]byte](t)(os.ReadFile(filepath.Join(dir, f.Name))))})
	}
	forged := must[*backup.Object](t)(backup.Create(context.Background(), t.TempDir(), m, inputs, r.opt.Encryption))
	defer forged.Close()
	if err := errors.Join(r.opt.Target.Delete(context.Background(), name), r.opt.Target.Put(context.Background(), name, forged)); err != nil {
		t.Fatal(err)
	}
	if got := bad(r.found(nil)); !slices.Equal(got, []string{name}) {
		t.Errorf("%q are bad, want %s", got, name)
	}
}

// TestVerifyMissingChanges: the newest changes are there, and what leads to them is not; a backup that goes away meanwhile is no fault.
func TestVerifyMissingChanges(t *testing.T) {
	r := newRig(t)
	k := r.started()
	for range 3 {
		r.send()
		r.shipped(k)
	}
	k.Stop()
	logs := r.logs()
	if len(logs) < 3 {
		t.Fatalf("%q", logs)
	}
	opt := keeper.VerifyOptions{Target: vanishing{r.opt.Target, logs[0]}, Keys: r.opt.Keys, Dir: t.TempDir()}
	all := must[[]keeper.Verification](t)(keeper.VerifyAll(context.Background(), opt))
	if len(all) != 1 || !all[0].Gone || len(all[0].Faults) > 0 {
		t.Errorf("what was deleted meanwhile: %+v", all)
	}
	got := bad(r.found(nil))
	if len(got) != 1 || !strings.HasSuffix(got[0], "/log-*") {
		t.Errorf("changes are missing, and %q are bad", got)
	}
	for _, name := range r.objects() {
		if err := r.opt.Target.Delete(context.Background(), name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := keeper.VerifyAll(context.Background(), opt); !errors.Is(err, backup.ErrNotFound) {
		t.Errorf("of an empty target: %v", err)
	}
	if _, err := keeper.VerifyAll(t.Context(), keeper.VerifyOptions{Target: must[backup.Target](t)(backup.OpenTarget(filepath.Join(t.TempDir(), "none")))}); !errors.Is(err, backup.ErrUnavailable) {
		t.Errorf("of no target: %v", err)
	}
}

// vanishing is a target from which an object is deleted just before it is read.
type vanishing struct {
	backup.Target
	name string
}

func (v vanishing) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == v.name {
		if err := v.Delete(ctx, name); err != nil {
			return nil, err
		}
	}
	return v.Target.Get(ctx, name)
}
