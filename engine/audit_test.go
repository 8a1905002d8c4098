package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"tuco/engine/auditlog"
	"tuco/engine/auditlog/bundle"
	"tuco/kv"
)

// audited returns the entries of the log from seq on. Their chains and the tree must be right, and the newest checkpoint be
// that of all of them.
func (w *world) audited(from uint64) (entries []auditlog.Entry) {
	w.t.Helper()
	var chain auditlog.Chain
	var tree auditlog.Range
	for next := uint64(0); ; {
		lines, after, err := w.Admin().AuditLines(next, 100)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, line := range lines {
			entry, err := auditlog.ParseLine(line)
			if err == nil {
				err = chain.Add(&entry, auditlog.LineHash(line))
			}
			if err != nil {
				w.t.Fatalf("%s: %v", line, err)
			}
			tree.Append(auditlog.LeafHash(line))
			if entry.Seq >= from {
				entries = append(entries, entry)
			}
		}
		if next = after; len(lines) == 0 {
			break
		}
	}
	signed, err := w.Checkpoint()
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := auditlog.OpenCheckpoint(signed, w.auditVerifiers()...)
	if err != nil || c.Size != tree.Size() || c.Root != tree.Root() {
		w.t.Errorf("the checkpoint is %+v, %v; the log has %d entries with root %s", c, err, tree.Size(), tree.Root())
	}
	return entries
}

func (w *world) auditVerifiers() (all []note.Verifier) {
	w.t.Helper()
	for _, key := range w.AuditKeys() {
		v, err := auditlog.ParseVerifier(key)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func events(entries []auditlog.Entry) (names []string) {
	for _, e := range entries {
		names = append(names, e.Event)
	}
	return names
}

// TestWhatIsRecorded: each change of who may do what, or of what was bought, is an entry, and a refused one is none.
func TestWhatIsRecorded(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	other := w.workspace("Other", "UTC")
	var key Key
	var secret string
	revoke := func(err error) error { return errors.Join(err, w.RevokeKey(who, key.ID.String())) }
	for _, tt := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"a workspace", func() error { w.workspace("Third", "UTC"); return nil }, []string{"workspace.created"}},
		{"a plan", func() error { _, err := w.Admin().SetPlan("small", PlanChange{}); return err }, []string{"plan.changed"}},
		{"its name", func() error { _, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{Name: ptr("New")}); return err }, []string{"workspace.changed"}},
		{"nothing of it", func() error { _, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{Name: ptr("New")}); return err }, nil},
		{"READ_ONLY", func() error {
			_, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{ReadOnly: ptr(ReadOnlyPastDue), Plan: ptr("small")})
			return err
		}, []string{"workspace.changed", "workspace.read-only"}},
		{"active", func() error {
			_, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{ReadOnly: ptr(ReadOnlyReason(""))})
			return err
		}, []string{"workspace.active"}},
		{"a plan that is none", func() error {
			if _, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{Plan: ptr("none")}); err == nil {
				return errors.New("was accepted")
			}
			return nil
		}, nil},
		{"a key", func() (err error) {
			key, secret, err = w.CreateKey(who, NewKey{Name: "Ana's key", Role: RoleViewer})
			return err
		}, []string{"key.created"}},
		{"its name", func() error { _, err := w.SetKey(who, key.ID.String(), KeyChange{Name: ptr("Bo's key")}); return err }, []string{"key.changed"}},
		{"another secret", func() error { _, _, err := w.RotateKey(who, key.ID.String(), time.Hour); return err }, []string{"key.rotated"}},
		{"its end", func() error { return revoke(nil) }, []string{"key.revoked"}},
		{"a change of it after that", func() error {
			if _, err := w.SetKey(who, key.ID.String(), KeyChange{Disabled: ptr(false)}); err == nil {
				return errors.New("was accepted")
			}
			return nil
		}, nil},
		{"the end of a workspace", func() error { return w.Admin().DeleteWorkspace(other) }, []string{"workspace.deleted"}},
		{"the clock", func() error { return w.Admin().AcceptClock() }, []string{"clock.accepted"}},
	} {
		before := uint64(len(w.audited(0)))
		if err := tt.do(); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := events(w.audited(before)); !slices.Equal(got, tt.want) {
			t.Errorf("%s is recorded as %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, e := range w.audited(0) {
		line, err := auditlog.AppendLine(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		for _, private := range []string{secret, "Ana", "Bo's", "Third", "New"} {
			if strings.Contains(string(line), private) {
				t.Errorf("%q is in %s", private, line)
			}
		}
	}
	w.forge(func(tx *kv.Tx) { // what was said of a workspace outlives it
		if n := auditOf(other).Len(tx); n != 2 {
			t.Errorf("%d entries of the deleted workspace, want 2", n)
		}
	})
}

// TestServerIsRecorded: a server's start and end, and what was noticed meanwhile.
func TestServerIsRecorded(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	before := uint64(len(w.audited(0)))
	if err := w.StartAudit("1.2.3"); err != nil {
		t.Fatal(err)
	}
	key, secret, err := w.CreateKey(who, NewKey{Name: "k", Role: RoleViewer, Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		for _, wrong := range []string{"tuco_sk_prod_nobody", "tuco_st_somebody", secret} {
			if _, err := w.Authenticate(wrong, netip.MustParseAddr("192.0.2.1")); err == nil {
				t.Fatal("a wrong credential was accepted")
			}
		}
	}
	w.clock.set(noon.Add(24 * time.Hour))
	w.ClockHeld()
	for range 2 { // the second finds nothing more
		if err := w.KeepAudit(); err != nil {
			t.Fatal(err)
		}
	}
	w.reopen()
	got := w.audited(before)
	want := []string{"server.started", "key.created", "clock.jumped", "key.misused", "key.misused", "key.misused", "server.stopped"}
	if !slices.Equal(events(got), want) {
		t.Fatalf("recorded %q, want %q", events(got), want)
	}
	for i, reason := range []string{"another realm's", "unknown", "from another network"} {
		if e := got[3+i]; e.Detail["reason"] != reason || e.Records != 1000 || e.Outcome != auditlog.Denied {
			t.Errorf("misuse %d is %+v, want 1000 for %q", i, e, reason)
		}
	}
	if e := got[5]; e.Workspace != string(w.id) || e.Credential != key.ID.String() {
		t.Errorf("the key's misuse is %+v", e)
	}
}

// TestMisuseIsNoFlood: whatever is tried, the log grows by a bounded number of entries a minute.
func TestMisuseIsNoFlood(t *testing.T) {
	w := newWorld(t, unlimited())
	before := uint64(len(w.audited(0)))
	for i := range 10 * maxMisuses {
		w.audit.misuses.add(misuse{credential: strings.Repeat("x", 1+i%200), reason: "unknown"})
	}
	for range 3 {
		if err := w.KeepAudit(); err != nil {
			t.Fatal(err)
		}
		w.audit.misuses.add(misuse{reason: "unknown"})
		w.clock.pass(misuseEvery / 4)
	}
	entries := w.audited(before)
	var sum int64
	for _, e := range entries {
		sum += e.Records
	}
	if len(entries) != maxMisuses+1 || sum != 10*maxMisuses {
		t.Errorf("%d entries of %d attempts, want %d of %d", len(entries), sum, maxMisuses+1, 10*maxMisuses)
	}
}

// TestMisuseKeepsItsWorkspace: of more kinds than there may be entries, each workspace keeps what it has most of, whoever else makes how
// much noise; and reads are not counted as misuse.
func TestMisuseKeepsItsWorkspace(t *testing.T) {
	w := newWorld(t, unlimited())
	before := uint64(len(w.audited(0)))
	add := func(n int, u misuse) {
		for range n {
			w.audit.misuses.add(u)
		}
	}
	for i := range 300 {
		add(5+i, misuse{workspace: "noisy", credential: fmt.Sprint("noisy", i), reason: "disabled"})
		add(1, misuse{event: "key.read", workspace: "noisy", credential: fmt.Sprint("reader", i)})
	}
	add(1, misuse{workspace: "quiet", credential: "rare", reason: "expired"})
	add(2, misuse{workspace: "quiet", credential: "victim", reason: "disabled"})
	add(1, misuse{reason: "unknown"})
	w.keepAudit()
	entries := w.audited(before)
	sum, own := map[string]int64{}, map[string]int64{}
	for _, e := range entries {
		n := e.Records
		if e.Event == "key.read" {
			n, _ = strconv.ParseInt(e.Detail["reads"], 10, 64)
		}
		sum[e.Event] += n
		own[e.Credential] = n
	}
	if len(entries) != maxMisuses+2 || sum["key.misused"] != 300*5+299*150+4 || sum["key.read"] != 300 {
		t.Errorf("%d entries of %v", len(entries), sum)
	}
	if own["victim"] != 2 || own["rare"] != 1 || own["noisy299"] != 304 || own["noisy0"] != 0 {
		t.Errorf("own entries: victim %d, rare %d, noisy299 %d, noisy0 %d", own["victim"], own["rare"], own["noisy299"], own["noisy0"])
	}
	add(1, misuse{reason: "unknown"})
	for i := range 2 * maxCounted {
		add(1, misuse{credential: fmt.Sprint(i), reason: "disabled"})
	}
	if n := len(w.audit.misuses.count); n > maxCounted+1 {
		t.Errorf("%d kinds in memory", n)
	}
}

// TestAuditIsOneChain: entries of many at once are one chain, without gaps.
func TestAuditIsOneChain(t *testing.T) {
	w := newWorld(t, unlimited())
	before := uint64(len(w.audited(0)))
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 20 {
				if err := w.recordAlone(auditlog.Entry{Event: "test", Actor: systemActor, Workspace: string(w.id)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := len(w.audited(before)); got != 320 {
		t.Errorf("%d entries, want 320", got)
	}
	w.reopen()
	if got := len(w.audited(before)); got != 320 {
		t.Errorf("%d entries after the next opening, want 320", got)
	}
}

// TestAnchors: a database that is not the one that its anchor was made of is noticed when it is opened.
func TestAnchors(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(t *testing.T, w *world, old string)
		trouble string // "" is none
	}{
		{"as it was", func(*testing.T, *world, string) {}, ""},
		{"an older copy", func(t *testing.T, w *world, old string) {
			copyFile(t, old, filepath.Join(w.opt.Dir, DatabaseName))
		}, "its end was cut off"},
		{"another history", func(t *testing.T, w *world, old string) {
			anchor := filepath.Join(w.opt.Dir, AnchorName)
			kept, err := os.ReadFile(anchor)
			if err != nil {
				t.Fatal(err)
			}
			copyFile(t, old, filepath.Join(w.opt.Dir, DatabaseName))
			if err := os.Remove(anchor); err != nil {
				t.Fatal(err)
			}
			w.open()
			w.workspace("Other", "UTC")
			w.grow(10)
			w.close()
			if err := os.WriteFile(anchor, kept, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "are not those that the log had"},
		{"a changed anchor", func(t *testing.T, w *world, _ string) {
			anchor := filepath.Join(w.opt.Dir, AnchorName)
			data, err := os.ReadFile(anchor)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)-10] ^= 1
			if err := os.WriteFile(anchor, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "does not agree"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, unlimited())
			w.grow(3)
			w.close()
			old := filepath.Join(t.TempDir(), "old.db")
			copyFile(t, filepath.Join(w.opt.Dir, DatabaseName), old)
			w.open()
			w.grow(3)
			w.close()
			tt.change(t, w, old)
			w.open()
			switch err := w.AuditTrouble(); {
			case tt.trouble == "" && err != nil:
				t.Errorf("trouble: %v", err)
			case tt.trouble != "" && (err == nil || !strings.Contains(err.Error(), tt.trouble)):
				t.Errorf("trouble is %v, want %q", err, tt.trouble)
			case tt.trouble != "":
				if _, err := w.Checkpoint(); err == nil {
					t.Error("a checkpoint is signed that contradicts another")
				}
				if warnings := w.Warnings(); len(warnings) != 1 {
					t.Errorf("warnings %q", warnings)
				}
			default:
				w.audited(0)
			}
		})
	}
}

// grow appends entries to the log, and brings the anchors up to date.
func (w *world) grow(n int) {
	w.t.Helper()
	for range n {
		if err := w.recordAlone(auditlog.Entry{Event: "test", Actor: systemActor}); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.KeepAudit(); err != nil {
		w.t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAnchorThatWasAway: an anchor that could not be reached when an older copy was opened is not written over.
func TestAnchorThatWasAway(t *testing.T) {
	place := filepath.Join(t.TempDir(), "anchor")
	for _, prefix := range []string{"", "+"} {
		w := newWorldIn(t, unlimited(), "UTC", Options{Anchors: []string{prefix + place + prefix}})
		w.grow(3)
		w.close()
		old := filepath.Join(t.TempDir(), "old.db")
		copyFile(t, filepath.Join(w.opt.Dir, DatabaseName), old)
		w.open()
		w.grow(3)
		w.close()
		copyFile(t, old, filepath.Join(w.opt.Dir, DatabaseName))
		if err := os.Rename(place+prefix, place+"away"); err != nil {
			t.Fatal(err)
		}
		w.open()
		if err := os.Rename(place+"away", place+prefix); err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(place + prefix)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.recordAlone(auditlog.Entry{Event: "test", Actor: systemActor}); err != nil {
			t.Fatal(err)
		}
		if err := w.KeepAudit(); err == nil || w.AuditTrouble() == nil {
			t.Errorf("%q: an older history is anchored: %v", prefix, err)
		}
		if now, err := os.ReadFile(place + prefix); err != nil || string(now) != string(kept) {
			t.Errorf("%q: the anchor was changed: %v", prefix, err)
		}
	}
}

// TestAnchorPlaces: each kind of place gives back the newest checkpoint, whatever a crash left of the last one.
func TestAnchorPlaces(t *testing.T) {
	dir := t.TempDir()
	file, appended, folder := filepath.Join(dir, "file"), filepath.Join(dir, "appended"), filepath.Join(dir, "folder")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWorldIn(t, unlimited(), "UTC", Options{Anchors: []string{file, "+" + appended, folder}})
	installation := w.audit.state.Load().Installation
	for range 3 {
		w.grow(1)
		want, err := w.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range w.anchors() {
			if got, err := place.read(installation); err != nil || string(got) != string(want) {
				t.Errorf("%s has %q, %v, want %q", place, got, err, want)
			}
		}
	}
	whole, err := os.ReadFile(appended)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(whole), "— "); n != 3 {
		t.Errorf("the file that is appended to has %d checkpoints, want 3", n)
	}
	last := largestCheckpoint(whole, installation)
	for cut := range last {
		if got := largestCheckpoint(whole[:len(whole)-1-cut], installation); strings.HasPrefix(string(got), string(last)) || len(got) == 0 {
			t.Fatalf("with %d bytes cut off: %q", 1+cut, got)
		}
	}
	if _, err := os.Stat(filepath.Join(w.opt.Dir, AnchorName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is an anchor in the data directory, too: %v", err)
	}
	w.reopen()
	if w.audit.found != 3 {
		t.Errorf("%d anchors found, want 3", w.audit.found)
	}
}

// TestRotateDistrusted: no key vouches for a log that can't be relied on.
func TestRotateDistrusted(t *testing.T) {
	w := newWorld(t, unlimited())
	w.audit.distrust(errors.New("it was put back"))
	_, err := w.Admin().RotateAuditKey()
	refused(t, "another key", err, Unavailable, CodeAuditUnavailable, "")
	if keys := w.AuditKeys(); len(keys) != 1 {
		t.Errorf("there are %d keys", len(keys))
	}
}

// TestRotateAuditKey: after a new key everything that was signed before is still known, and an anchor of either key holds.
func TestRotateAuditKey(t *testing.T) {
	w := newWorld(t, unlimited())
	w.grow(3)
	first, err := w.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	before := uint64(len(w.audited(0)))
	vkey, err := w.Admin().RotateAuditKey()
	if err != nil {
		t.Fatal(err)
	}
	keys := w.auditVerifiers()
	if len(keys) != 2 || w.AuditKeys()[1] != vkey {
		t.Fatalf("keys %q, the new one is %q", w.AuditKeys(), vkey)
	}
	r, err := auditlog.OpenRotation(w.audit.state.Load().Rotations[0], keys[0])
	if err != nil || r.New != vkey {
		t.Errorf("whoever has the old key is told %+v, %v", r, err)
	}
	w.reopen() // the anchor is still of the old key
	if got := events(w.audited(before)); !slices.Equal(got, []string{"audit.key-rotated"}) {
		t.Errorf("recorded %q", got)
	}
	if err := w.Anchor(); err != nil {
		t.Fatal(err)
	}
	second, err := w.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	for i, signed := range [][]byte{first, second} {
		for j, key := range keys {
			if _, err := auditlog.OpenCheckpoint(signed, key); (err == nil) != (i == j) {
				t.Errorf("checkpoint %d with key %d: %v", i, j, err)
			}
		}
	}
	w.reopen()
	if err := w.AuditTrouble(); err != nil {
		t.Error(err)
	}
}

// exported makes a bundle and checks it as an auditor would.
func (w *world) exported(r AuditRange, earlier *auditlog.Checkpoint) bundle.Report {
	w.t.Helper()
	var file bytes.Buffer
	if _, err := w.Admin().ExportAudit(&file, "1.2.3", r); err != nil {
		w.t.Fatal(err)
	}
	report, err := bundle.Verify(bytes.NewReader(file.Bytes()), int64(file.Len()), w.auditVerifiers(), earlier, nil)
	if err != nil {
		w.t.Fatalf("a bundle of %+v: %v", r, err)
	}
	return report
}

// TestExportAudit: every range of the log can be exported, and proves itself, also while the log grows.
func TestExportAudit(t *testing.T) {
	w := newWorld(t, unlimited())
	w.clock.pass(time.Hour)
	from := w.clock.now()
	w.grow(5)
	signed, err := w.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	earlier, err := auditlog.OpenCheckpoint(signed, w.auditVerifiers()...)
	if err != nil {
		t.Fatal(err)
	}
	w.clock.pass(time.Hour)
	to := w.clock.now()
	w.grow(auditChunk + 5)

	var growing sync.WaitGroup
	stop := make(chan struct{})
	growing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := w.recordAlone(auditlog.Entry{Event: "test", Actor: systemActor, Workspace: string(w.id)}); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for _, tt := range []struct {
		name     string
		r        AuditRange
		entries  uint64 // 0: many
		complete bool
	}{
		{"all", AuditRange{}, 0, true},
		{"since an earlier checkpoint", AuditRange{Earlier: signed}, 0, true},
		{"from a time on", AuditRange{From: to}, 0, false},
		{"up to a time", AuditRange{To: from}, 2, false},
		{"between two", AuditRange{From: from, To: to}, 5, false},
		{"nothing yet", AuditRange{From: to.Add(24 * time.Hour)}, 0, false},
		{"a workspace", AuditRange{Workspace: w.id}, 0, true},
	} {
		var old *auditlog.Checkpoint
		if tt.r.Earlier != nil {
			old = &earlier
		}
		got := w.exported(tt.r, old)
		if got.Complete != tt.complete || tt.entries > 0 && got.Manifest.Entries != tt.entries {
			t.Errorf("%s: %d entries, complete: %v; want %d, %v", tt.name, got.Manifest.Entries, got.Complete, tt.entries, tt.complete)
		}
	}
	close(stop)
	growing.Wait()
	if _, err := w.Admin().ExportAudit(io.Discard, "", AuditRange{Earlier: []byte("none")}); !isKind(err, Invalid) {
		t.Errorf("an earlier checkpoint that is none: %v", err)
	}
	if got := events(w.audited(7)); !slices.Contains(got, "audit.exported") {
		t.Errorf("no export is recorded in %q", got[:min(len(got), 10)])
	}
}

// TestExportListsStaff: who reviews access finds every staff account in the bundle, without its name.
func TestExportListsStaff(t *testing.T) {
	w := newWorld(t, unlimited())
	s, _, err := w.Admin().AddStaff(NewStaff{Name: "Sam Marker", Email: "sam@vendor.example", Employer: "Vendor", Country: "DE", Role: "support"})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := w.Admin().ExportAudit(&file, "1.2.3", AuditRange{}); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`\{\s*"id": ?"` + string(s.ID) + `",\s*"employer": ?"Vendor"`).Match(file.Bytes()) {
		t.Error("the account is not in the bundle")
	}
	if strings.Contains(file.String(), "Marker") || strings.Contains(file.String(), "sam@") {
		t.Error("its name is")
	}
	w.exported(AuditRange{}, nil)
}
