package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// filled makes a workspace with so many thousands of leads, and some messages.
func filled(s *server, thousands int) tenant {
	s.t.Helper()
	who := newTenant(s, "--requests-per-minute", "0")
	line := newLine(s, who, "--type", "imessage", "--phone", "+12025550100")
	for batch := range thousands {
		var leads []map[string]any
		for i := range 1000 {
			leads = append(leads, map[string]any{"firstName": "Kim", "email": fmt.Sprintf("kim%d.%d@example.com", batch, i)})
		}
		a, err := call(client, http.MethodPost, s.url+"/api/leads", who.key, map[string]any{"leads": leads})
		if err != nil || a.status != http.StatusCreated {
			s.t.Fatalf("%d %.200s %v", a.status, a.body, err)
		}
	}
	for i := range 3 {
		if id, a, err := send(client, s.url, who.key, map[string]any{"message": "hello", "fromLineId": line, "recipientPhone": fmt.Sprintf("+1202555010%d", i)}); id == "" {
			s.t.Fatalf("%d %s %v", a.status, a.body, err)
		}
	}
	return who
}

// imported is what an import says.
type imported struct {
	ID, IDs, Source string
	Records         map[string]int64
}

// workspaces are the ids of all.
func (s *server) workspaces() (ids []string) {
	s.t.Helper()
	var list struct{ Workspaces []struct{ ID string } }
	s.tuco(&list, "workspace", "list")
	for _, w := range list.Workspaces {
		ids = append(ids, w.ID)
	}
	return ids
}

// TestMoveByS3: a workspace goes to a bucket and comes back from there on another installation. While the bucket is away, or has no such
// object, there is no workspace, and the error says why.
func TestMoveByS3(t *testing.T) {
	s3 := newS3(t)
	v := newVault(t)
	v.target = s3.location("/tuco")
	s := serve(t, t.TempDir(), v.flags()...)
	v.open(s)
	who := filled(s, 2)
	var made struct {
		Name    string
		Records map[string]int64
	}
	s.tuco(&made, "backup", "create", "--workspace", who.workspace)
	var list struct {
		Exports []struct{ Name, Workspace, Kept string }
	}
	if words, code := run(t, &list, "backup", "list", v.target); code != 0 || len(list.Exports) != 1 || list.Exports[0].Name != made.Name || list.Exports[0].Workspace != who.workspace {
		t.Errorf("%s: %+v, want %s", words, list, made.Name)
	}
	var found verified
	if words, code := run(t, &found, "backup", "verify", v.target, "--identity-file", v.identity); code != 0 || len(found.Backups) < 2 {
		t.Errorf("%s: %+v", words, found)
	}

	other := serve(t, t.TempDir())
	object := s3.location("/tuco/" + made.Name)
	refused := func(why, want string, args ...string) {
		t.Helper()
		err := other.try(nil, append([]string{"workspace", "import"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", why, err)
		}
		if ids := other.workspaces(); len(ids) > 0 {
			t.Errorf("%s: there is %q", why, ids)
		}
	}
	refused("without a key", "cannot be decrypted", object)
	refused("without an object", "not found", strings.Replace(object, ".tuco", "0.tuco", 1), "--identity-file", v.identity)
	refused("another object", "the URL has to end with the name of a workspace's object", s3.location("/tuco/"+found.Backups[0].Name), "--identity-file", v.identity)
	s3.kill()
	refused("while it is away", "unavailable", object, "--identity-file", v.identity)
	s3.start()
	var got imported
	other.tuco(&got, "workspace", "import", object, "--identity-file", v.identity)
	if got.Source != who.workspace || got.Records["leads"] < 2000 || got.Records["messages"] != 3 || got.Records["leads"] != made.Records["leads"] {
		t.Errorf("%+v, want %+v", got, made)
	}
	other.check()
}

// TestKilledInAnImport kills the server later and later while it imports a workspace. Nothing of it is visible after the next start,
// nor left, until all of it is; and the next import succeeds.
func TestKilledInAnImport(t *testing.T) {
	t.Parallel()
	from, target := serve(t, t.TempDir()), t.TempDir()
	who := filled(from, 30)
	var made struct {
		Name    string
		Records map[string]int64
	}
	from.tuco(&made, "backup", "create", "--workspace", who.workspace, "--to", target, "--plain")
	from.kill()

	dir := t.TempDir()
	flags := []string{"--overlay", "4MiB"} // the file follows at once
	s := serve(t, dir, flags...)
	there := newTenant(s, "--requests-per-minute", "0").workspace
	ids := filepath.Join(dir, "import-ids")
	left := func() (all []string) {
		for _, pattern := range []string{filepath.Join(dir, "import", "*"), filepath.Join(ids, "*")} {
			found, err := filepath.Glob(pattern)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, found...)
		}
		return all
	}
	unpacked, written := 0, 0
	for bytes := int64(1); ; bytes *= 4 { // of the file of ids, which grows with what is written
		ended := make(chan struct{})
		var failed error
		go func() {
			defer close(ended)
			failed = s.try(nil, "workspace", "import", filepath.Join(target, made.Name))
		}()
		for running(ended) && (bytes > 1 || len(left()) == 0) && size(ids) < bytes { // nothing is waited for but the disk
		}
		if !running(ended) && failed != nil {
			t.Fatal(failed)
		}
		s.kill()
		<-ended
		begun, files := size(ids) > 0, len(left())
		s = serve(t, dir, flags...)
		all := s.workspaces()
		if len(all) == 2 {
			break
		}
		switch {
		case begun:
			written++
		case files > 0:
			unpacked++
		}
		if len(all) != 1 || all[0] != there {
			t.Fatalf("there is %q, want %s alone", all, there)
		}
		if files := left(); len(files) > 0 {
			t.Errorf("after the start there is %q", files)
		}
		s.check()
	}
	if unpacked == 0 || written < 3 {
		t.Errorf("killed %d times before records were written, %d times after", unpacked, written)
	}
	s.check()
	var got imported
	s.tuco(&got, "workspace", "import", filepath.Join(target, made.Name), "--name", "Again")
	for _, kind := range []string{"leads", "messages", "lines"} {
		if n := made.Records[kind]; got.Records[kind] != n || n == 0 {
			t.Errorf("%d %s came, of %d", got.Records[kind], kind, n)
		}
	}
	var log struct {
		Entries []struct{ Event, Outcome, Object string }
	}
	s.tuco(&log, "audit", "log", "--limit", "1000")
	failed := 0
	for _, e := range log.Entries {
		if e.Event == "workspace.imported" && e.Outcome == "failed" {
			failed++
		}
	}
	if failed < written {
		t.Errorf("the log shows %d imports that failed, want %d", failed, written)
	}
	if files := left(); len(files) != 2 {
		t.Errorf("there is %q, want the ids of two workspaces", files)
	}
	s.check()
	t.Logf("killed %d times before records were written, %d times after", unpacked, written)
}

// size is that of all files in a directory.
func size(dir string) (n int64) {
	entries, _ := os.ReadDir(dir) // it may not be there yet
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}
