package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A directory whose database is gone is not begun anew beside the keys of what was there.
func TestDatabaseIsGone(t *testing.T) {
	w := newWorld(t, unlimited())
	w.close()
	keys := filepath.Join(w.opt.Dir, "keys")
	for _, name := range []string{DatabaseName, DatabaseName + "-redo"} {
		if err := os.RemoveAll(filepath.Join(w.opt.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := Open(w.opt); err == nil || !strings.Contains(err.Error(), "its database is gone") {
		t.Errorf("Open = %v, %v", e, err)
	}
	if _, err := os.Stat(filepath.Join(w.opt.Dir, DatabaseName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a database was made: %v", err)
	}
	elsewhere := Options{Dir: filepath.Join(t.TempDir(), "data"), KeysDir: keys}
	if e, err := Open(elsewhere); err == nil {
		t.Errorf("with the keys in another place: %v", e)
	}
	if err := os.Rename(keys, keys+"-of-before"); err != nil {
		t.Fatal(err)
	}
	w.open()
	if all, err := w.Admin().Workspaces(); err != nil || len(all) != 0 {
		t.Errorf("it has %d workspaces, %v", len(all), err)
	}
}
