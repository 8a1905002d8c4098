package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"filippo.io/age"

	"tuco/backup"
	"tuco/backup/keeper"
	"tuco/engine"
)

// TestMoveWorkspace: a workspace's object goes to a target and comes back as a workspace, only with the right key, and whichever
// byte of it is damaged there is no workspace.
func TestMoveWorkspace(t *testing.T) {
	r := newRig(t)
	r.send()
	opt := r.opt
	opt.Engine, opt.Encryption = r.eng, backup.Encryption{Recipients: []string{identity.Recipient().String()}}
	o := must[*backup.Object](t)(keeper.PackWorkspace(context.Background(), opt, r.ws))
	defer o.Close()
	m := o.Manifest
	if m.Kind != backup.Workspace || m.Workspace != string(r.ws) || m.Records["messages"] != 1 || m.Records["auditEntries"] == 0 || m.Checkpoint == "" || len(m.Quota) == 0 {
		t.Errorf("the manifest: %+v", m)
	}
	target := must[backup.Target](t)(backup.OpenTarget(r.target))
	if err := target.Put(context.Background(), m.WorkspaceName(), o); err != nil {
		t.Fatal(err)
	}
	stored := must[io.ReadCloser](t)(backup.OpenWorkspace(context.Background(), r.target+"/"+m.WorkspaceName()))
	data := must[[]byte](t)(io.ReadAll(stored))
	stored.Close()
	if _, ok := backup.ParseName(m.WorkspaceName()); ok {
		t.Error("it is taken for a backup of everything")
	}

	from := func(data []byte, keys backup.Keys) (engine.ImportedWorkspace, error) {
		return keeper.ImportWorkspace(context.Background(), r.eng, keeper.WorkspaceImport{Object: bytes.NewReader(data), Keys: keys, Name: "Second"})
	}
	right := backup.Keys{Identities: []age.Identity{identity}}
	other, _ := age.GenerateX25519Identity()
	for what, keys := range map[string]backup.Keys{"no key": {}, "another key": {Identities: []age.Identity{other}}} {
		if _, err := from(data, keys); !errors.Is(err, backup.ErrKey) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for at := 0; at < len(data); at += max(1, len(data)/60) {
		if _, err := from(flipped(data, at), right); !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrNewer) {
			t.Errorf("byte %d is another: %v", at, err)
		}
		if _, err := from(data[:at], right); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("cut at %d: %v", at, err)
		}
	}
	if all := must[[]engine.Workspace](t)(r.eng.Admin().Workspaces()); len(all) != 1 {
		t.Errorf("%d workspaces", len(all))
	}
	got := must[engine.ImportedWorkspace](t)(from(data, right))
	if got.Name != "Second" || got.Source != r.ws || got.Records["messages"] != 1 {
		t.Errorf("%+v", got)
	}
	if faults, err := r.eng.Check(); err != nil || len(faults) > 0 {
		t.Errorf("%q, %v", faults, err)
	}
}

// TestExportsStay: retention deletes old backups, and no export, however old: somebody asked for it.
func TestExportsStay(t *testing.T) {
	r := newRig(t)
	o := must[*backup.Object](t)(keeper.PackWorkspace(context.Background(), r.opt, r.ws))
	defer o.Close()
	export := o.Manifest.ObjectName()
	if err := r.opt.Target.Put(context.Background(), export, o); err != nil {
		t.Fatal(err)
	}
	r.opt.Keep = backup.Keep{Last: 1}
	k := r.started()
	defer k.Stop()
	first := r.objects()[0]
	r.send()
	must[backup.Name](t)(k.Full(context.Background()))
	if left := r.objects(); slices.Contains(left, first) || !slices.Contains(left, export) {
		t.Errorf("of %s and the export %s there are left %q", first, export, left)
	}
}
