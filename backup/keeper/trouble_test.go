package keeper_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"tuco/backup/keeper"
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
	for _, path := range objects(t, r.target) {
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
