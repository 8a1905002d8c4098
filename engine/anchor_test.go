package engine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tuco/engine/auditlog"
)

// TestMissingAnchorWarns: an anchor that is not there, although the log has entries, is said until the next start.
func TestMissingAnchorWarns(t *testing.T) {
	w := newWorld(t, unlimited())
	warned := func(want bool) {
		t.Helper()
		got := w.Warnings()
		if found := slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "anchor of the audit log was missing") }); found != want || len(got) > 1 {
			t.Errorf("warnings %q, want one of the anchor: %v", got, want)
		}
	}
	warned(false) // a log that begins
	w.grow(1)
	w.close()
	if err := os.Remove(filepath.Join(w.opt.Dir, AnchorName)); err != nil {
		t.Fatal(err)
	}
	w.open()
	warned(true)
	w.grow(1)
	warned(true)
	w.reopen()
	warned(false)
	w.opt.Anchors = []string{filepath.Join(w.opt.Dir, AnchorName), filepath.Join(t.TempDir(), "second")}
	w.reopen()
	warned(true)
	w.grow(1)
	w.reopen()
	warned(false)
}

// TestUnusableAnchorWarns: an anchor that can't be read, or written, is said with what to do until it can be; then it is compared.
func TestUnusableAnchorWarns(t *testing.T) {
	mount := filepath.Join(t.TempDir(), "mount")
	place := filepath.Join(mount, "anchor")
	w := newWorldIn(t, unlimited(), "UTC", Options{Anchors: []string{place, filepath.Join(t.TempDir(), "other")}})
	away := func() {
		t.Helper()
		if err := errors.Join(os.RemoveAll(mount), os.WriteFile(mount, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	back := func() {
		t.Helper()
		if err := errors.Join(os.RemoveAll(mount), os.Mkdir(mount, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	warned := func(when string, want bool) {
		t.Helper()
		got := slices.ContainsFunc(w.Warnings(), func(s string) bool { return strings.Contains(s, place) && strings.Contains(s, "Mount it") })
		if got != want {
			t.Errorf("%s: warnings %q, want one of the anchor: %v", when, w.Warnings(), want)
		}
	}
	away()
	w.reopen()
	warned("at the start", true)
	if err := w.KeepAudit(); err == nil {
		t.Error("it was written")
	}
	warned("as long as it is away", true)
	back()
	w.grow(1)
	warned("when it is back", false)
	away()
	if err := w.recordAlone(auditlog.Entry{Event: "test", Actor: systemActor}); err != nil {
		t.Fatal(err)
	}
	if err := w.KeepAudit(); err == nil {
		t.Error("it was written")
	}
	warned("when it goes later", true)
	back()
	w.grow(1)
	warned("when it is back again", false)
}
