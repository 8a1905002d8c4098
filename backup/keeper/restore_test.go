package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"tuco/backup"
	"tuco/backup/keeper"
	"tuco/engine"
)

// backedUp is a rig with one full backup.
func backedUp(t *testing.T) *rig {
	r := newRig(t)
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	must[backup.Name](t)(k.Full(context.Background()))
	k.Stop()
	return r
}

// TestForeignKeyFile: exported keys that can't be read are refused before anything is fetched.
func TestForeignKeyFile(t *testing.T) {
	r := backedUp(t)
	foreign := must[*age.X25519Identity](t)(age.GenerateX25519Identity())
	for name, change := range map[string]func(*keeper.RestoreOptions){
		"another key":        func(o *keeper.RestoreOptions) { o.KeyFileKeys = backup.Keys{Identities: []age.Identity{foreign}} },
		"not an export":      func(o *keeper.RestoreOptions) { o.KeyFile = strings.NewReader("AGE-SECRET-KEY-1…\n") },
		"an export, changed": func(o *keeper.RestoreOptions) { o.KeyFile = bytes.NewReader(flipped(r.keys(), 300)) },
	} {
		opt := r.restoring()
		change(&opt)
		opt.Progress = func(what string) { t.Errorf("%s: it went on with %s", name, what) }
		plan := must[keeper.RestorePlan](t)(keeper.PlanRestore(context.Background(), opt))
		if _, err := keeper.Restore(context.Background(), opt, plan); err == nil || !strings.Contains(err.Error(), "the exported keys: ") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(opt.Dir); err == nil {
			t.Errorf("%s: there is something in place", name)
		}
	}
}

// TestOneRestoreAtATime: a second restore to the same place takes nothing from the first.
func TestOneRestoreAtATime(t *testing.T) {
	r := backedUp(t)
	opt := r.restoring()
	plan := must[keeper.RestorePlan](t)(keeper.PlanRestore(context.Background(), opt))
	second := r.restoring()
	second.Dir = opt.Dir
	tried := 0
	opt.Progress = func(string) {
		tried++
		if _, err := keeper.Restore(context.Background(), second, plan); !errors.Is(err, backup.ErrExists) {
			t.Errorf("beside another one: %v", err)
		}
	}
	must[engine.Restored](t)(keeper.Restore(context.Background(), opt, plan))
	if tried == 0 {
		t.Error("it was not tried")
	}
	r.close()
	r.open(opt.Dir)
}

// TestPlanOfALaterTime: what is wanted of a time after the newest change is what there is then.
func TestPlanOfALaterTime(t *testing.T) {
	r := backedUp(t)
	opt := r.restoring()
	newest := must[keeper.RestorePlan](t)(keeper.PlanRestore(context.Background(), opt)).State
	for _, tt := range []struct{ to, want time.Time }{{newest.Add(87600 * time.Hour), newest}, {newest, newest}} {
		opt.To = tt.to
		if got := must[keeper.RestorePlan](t)(keeper.PlanRestore(context.Background(), opt)).State; !got.Equal(tt.want) {
			t.Errorf("to %v: the state of %v, want %v", tt.to, got, tt.want)
		}
	}
}
