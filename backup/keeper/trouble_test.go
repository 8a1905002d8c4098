package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"tuco/backup"
	"tuco/backup/keeper"
	"tuco/engine"
)

// TestSharedTarget: a server verifies its own backups in a target that holds those of others, too.
func TestSharedTarget(t *testing.T) {
	first, second := newRig(t), newRig(t)
	second.target, second.opt.Target = first.target, first.opt.Target
	for _, r := range []*rig{first, second} {
		k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
		eventually(t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
		k.Stop()
	}
	for _, r := range []*rig{first, second} {
		k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
		v, err := k.Verify(context.Background())
		installation, _ := r.eng.Installation()
		if err != nil || !strings.HasPrefix(v.Name, installation+"/") {
			t.Errorf("of installation %s it verified %q: %v", installation, v.Name, err)
		}
		k.Stop()
	}
}

// TestLostInstallation: where a service that starts by itself began anew in the place of what was lost, it says so until somebody uses it.
func TestLostInstallation(t *testing.T) {
	r := newRig(t)
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	eventually(t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	if s := k.Status(); s.Other != (backup.Name{}) {
		t.Errorf("in an empty target it found %+v", s.Other)
	}
	k.Stop()
	lost, _ := r.eng.Installation()
	r.close()
	r.open(t.TempDir())
	k = must[*keeper.Keeper](t)(keeper.Start(r.opt))
	defer k.Stop()
	eventually(t, "the target is listed", func() bool { return k.Status().Connected })
	warns := func() bool {
		return slices.ContainsFunc(k.Warnings(), func(w string) bool { return strings.Contains(w, "backups of another, "+lost+",") })
	}
	if !warns() {
		t.Errorf("an empty installation beside the backups of another: %q", k.Warnings())
	}
	must[engine.Workspace](t)(r.eng.Admin().CreateWorkspace("First", "mini", "UTC"))
	if warns() {
		t.Errorf("with a workspace: %q", k.Warnings())
	}
}

// TestVerificationIsPaced: a verification leaves the disk to the server, as a full backup does.
func TestVerificationIsPaced(t *testing.T) {
	r := newRig(t)
	for range 3 { // 6 MB
		r.sendMany(100, strings.Repeat("A long text. ", 1500))
	}
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	must[backup.Name](t)(k.Full(context.Background()))
	k.Stop()
	r.opt.Pace = 4 << 20
	k = must[*keeper.Keeper](t)(keeper.Start(r.opt))
	defer k.Stop()
	// The last megabyte of a file is not waited for.
	if v := must[keeper.Verification](t)(k.Verify(context.Background())); v.Took < time.Second {
		t.Errorf("it took %v to write 6 MB at %d bytes a second", v.Took, r.opt.Pace)
	}
}

// TestVerificationIsRemembered: what the last verification found is known after a restart.
func TestVerificationIsRemembered(t *testing.T) {
	r := newRig(t)
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	eventually(t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	must[keeper.Verification](t)(k.Verify(context.Background()))
	k.Stop()
	k = must[*keeper.Keeper](t)(keeper.Start(r.opt))
	if s := k.Status(); s.VerifiedAt.IsZero() || s.VerifyError != "" {
		t.Errorf("after a good one: %+v", s)
	}
	for _, path := range r.files() {
		if err := os.WriteFile(path, flipped(must[[]byte](t)(os.ReadFile(path)), 2000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.Verify(context.Background()); err == nil {
		t.Error("a damaged backup is verified")
	}
	k.Stop()
	k = must[*keeper.Keeper](t)(keeper.Start(r.opt))
	defer k.Stop()
	warns := func(text string) bool {
		return strings.Contains(text, "The verification of the newest backup failed: ")
	}
	if !slices.ContainsFunc(k.Warnings(), warns) {
		t.Errorf("after a bad one it warns of %q", k.Warnings())
	}
}

// TestFailedFullIsMadeAgain: a full backup that failed is tried again by itself, not at the next day's hour.
func TestFailedFullIsMadeAgain(t *testing.T) {
	r := newRig(t)
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	defer k.Stop()
	eventually(t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	before := k.Status().FullAt
	r.send()
	if _, err := k.Full(cancelled()); err == nil {
		t.Fatal("a full backup whose context has ended")
	}
	shipped := r.eng.Position()
	eventually(t, "what was sent is shipped", func() bool { return k.Status().ShippedTo >= shipped })
	eventually(t, "it is made by itself", func() bool { return k.Status().FullAt.After(before) && !k.Status().FullDue && k.Status().Error == "" })
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestVerifiedAgain: a verification that finds no target is made again by itself once the target is back.
func TestVerifiedAgain(t *testing.T) {
	r := newRig(t)
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	defer k.Stop()
	eventually(t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	away := r.target + "-away"
	if err := os.Rename(r.target, away); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Verify(context.Background()); !errors.Is(err, backup.ErrUnavailable) {
		t.Errorf("without the target: %v", err)
	}
	if s := k.Status(); s.VerifyError == "" || !s.VerifyDue {
		t.Errorf("without the target: %+v", s)
	}
	if err := os.Rename(away, r.target); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is verified by itself", func() bool { s := k.Status(); return s.VerifyError == "" && !s.VerifyDue && !s.VerifiedAt.IsZero() })
}

// TestVerifyWithAForeignKey: a key that does not open the backup is no reason to look at less.
func TestVerifyWithAForeignKey(t *testing.T) {
	r := newRig(t)
	foreign := must[*age.X25519Identity](t)(age.GenerateX25519Identity())
	for _, tt := range []struct {
		keys backup.Keys
		err  error
	}{{backup.Keys{Identities: []age.Identity{foreign}}, backup.ErrKey}, {backup.Keys{}, nil}} {
		r.opt.Keys = tt.keys
		k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
		must[backup.Name](t)(k.Full(context.Background()))
		if v, err := k.Verify(context.Background()); !errors.Is(err, tt.err) || v.Depth != keeper.DepthDigests {
			t.Errorf("with %v: it looked at %q: %v, want %v", tt.keys, v.Depth, err, tt.err)
		}
		k.Stop()
	}
}

// TestVerifyWithoutCheckpoint: what is backed up while the audit log does not agree with its anchor has no checkpoint, and is
// whole all the same.
func TestVerifyWithoutCheckpoint(t *testing.T) {
	r := newRig(t)
	r.close()
	path := filepath.Join(r.dir, engine.DatabaseName)
	older := must[[]byte](t)(os.ReadFile(path))
	r.open(r.dir)
	must[engine.Workspace](t)(r.eng.Admin().CreateWorkspace("Second", "test", "UTC"))
	seen := must[[]byte](t)(r.eng.Checkpoint())
	r.close()
	for path, content := range map[string][]byte{path: older, filepath.Join(r.dir, engine.AnchorName): seen} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.open(r.dir)
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	defer k.Stop()
	must[backup.Name](t)(k.Full(context.Background()))
	for _, path := range r.files() {
		if bytes.Contains(must[[]byte](t)(os.ReadFile(path)), []byte(`"checkpoint":`)) {
			t.Fatal("the backup has a checkpoint")
		}
	}
	if v, err := k.Verify(context.Background()); err != nil || v.Depth != "records" {
		t.Errorf("it looked at %q: %v", v.Depth, err)
	}
}
