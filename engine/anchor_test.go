package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
