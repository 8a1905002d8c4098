package keeper_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"tuco/backup"
	"tuco/backup/keeper"
)

// TestEveryByte flips each byte of a full object and of one with changes, and cuts both at every 4 KiB: each time the restore is
// refused, nothing is at its place, nor left beside it, and the live data directory is as it was.
func TestEveryByte(t *testing.T) {
	r := newRig(t)
	for range 20 {
		r.send(rand.Text() + rand.Text() + rand.Text()) // which can't be compressed
	}
	k := must[*keeper.Keeper](t)(keeper.Start(r.opt))
	eventually(t, "the first full backup", func() bool { return !k.Status().FullAt.IsZero() && !k.Status().FullDue })
	r.send()
	eventually(t, "it is shipped", func() bool { return k.Status().ShippedTo >= r.eng.Position() })
	k.Stop()
	opt := r.restoring()
	keys := must[[]byte](t)(io.ReadAll(opt.KeyFile))
	r.close()
	live := digest(t, r.dir)
	tries := 0
	for _, path := range r.files() {
		good := must[[]byte](t)(os.ReadFile(path))
		refused := func(what string, at int, bad []byte) {
			t.Helper()
			tries++
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			opt.KeyFile = bytes.NewReader(keys)
			plan, err := keeper.PlanRestore(context.Background(), opt)
			if err == nil {
				_, err = keeper.Restore(context.Background(), opt, plan)
			}
			// A flipped byte can also make the format a newer one, or its keys others.
			if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrNewer) && !errors.Is(err, backup.ErrKey) {
				t.Errorf("%s, %s %d: %v", filepath.Base(path), what, at, err)
			}
			if left, err := os.ReadDir(filepath.Dir(opt.Dir)); err != nil || len(left) > 0 {
				t.Fatalf("%s, %s %d: there is %v, %v", filepath.Base(path), what, at, left, err)
			}
		}
		for at := 0; at < len(good); at += flipEvery {
			refused("flipped at", at, flipped(good, at))
		}
		for at := 0; at < len(good); at += 4096 {
			refused("cut at", at, good[:at])
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if digest(t, r.dir) != live {
		t.Error("the live data directory has changed")
	}
	opt.KeyFile = bytes.NewReader(keys)
	plan := must[keeper.RestorePlan](t)(keeper.PlanRestore(context.Background(), opt))
	if _, err := keeper.Restore(context.Background(), opt, plan); err != nil {
		t.Errorf("and without damage: %v", err)
	}
	t.Logf("%d damaged objects, each refused", tries)
}

// digest is of all that is in a directory: names, sizes, times and contents.
func digest(t *testing.T, dir string) (sum [sha256.Size]byte) {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			_, err = h.Write([]byte(path + info.ModTime().String() + info.Mode().String()))
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		h.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Sum(sum[:0])
	return sum
}
