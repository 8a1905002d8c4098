package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"tuco/engine/auditlog"
)

var updateGolden = flag.Bool("update", false, "write the golden files")

// shapes are exports of every kind.
func shapes(t testing.TB) map[string]*Export {
	empty, one, some, many := newLog(t, 0), newLog(t, 1), newLog(t, 40), newLog(t, 1000)
	pruned := []Pruned{{0, 256, exportTime, "retention <30 days>"}, {512, 768, exportTime, "retention"}}

	dropped := many.export(0, 1000, 1000)
	dropped.Pruned = pruned
	allDropped := many.export(0, 256, 1000)
	allDropped.Pruned = pruned
	rotated := some.export(0, 40, 40)
	next := newKey(t, 2)
	rotation, err := auditlog.SignRotation(some.key.skey, next.skey)
	must(t, err)
	rotated.Rotations, rotated.Signers = [][]byte{rotation}, []Signer{some.key.signer, next.signer}
	rotated.Checkpoint = some.sign(40, rotated.Signers...)
	workspaceGap := many.exportWorkspace("656f00aa01", 0, 1000, 1000)
	workspaceGap.Pruned = pruned

	return map[string]*Export{
		"empty":           empty.export(0, 0, 0),
		"empty range":     some.export(7, 7, 40),
		"nothing of some": some.export(0, 0, 40),
		"one line":        one.export(0, 1, 1),
		"some":            some.export(0, 40, 40),
		"many":            many.export(0, 1000, 1000),
		"from":            many.export(300, 1000, 1000),
		"from and to":     many.export(300, 700, 1000),
		"to":              many.export(0, 700, 1000),
		"dropped":         dropped,
		"all dropped":     allDropped,
		"workspace":       many.exportWorkspace("656f00aa01", 0, 1000, 1000),
		"workspace part":  many.exportWorkspace("656f00aa01", 100, 500, 1000),
		"workspace gap":   workspaceGap,
		"other workspace": many.exportWorkspace("none", 0, 1000, 1000),
		"rotated":         rotated,
		"consistency":     withConsistency(some.export(0, 40, 40), some, 25),
		"from anew":       withConsistency(some.export(30, 35, 40), some, 25),
	}
}

func withConsistency(x *Export, l *testLog, size int) *Export {
	var err error
	x.Consistency, err = auditlog.ProveConsistency(uint64(size), l.hashes, x.Checkpoint)
	must(l.t, err)
	return x
}

func TestRoundTrip(t *testing.T) {
	key := newKey(t, 1)
	for name, x := range shapes(t) {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			m, err := Write(&b, x)
			must(t, err)
			r, err := verify(b.Bytes(), nil, key)
			must(t, err)
			if r.Manifest.Entries != m.Entries || r.Manifest.To != x.To || len(r.Checked) < 4 || len(r.Proven) == 0 || len(r.NotProven) == 0 {
				t.Errorf("report %+v of manifest %+v", r, m)
			}
			if !bytes.Equal(bundleOf(t, x), b.Bytes()) {
				t.Error("two exports of the same differ")
			}
			left, err := os.ReadDir(x.TempDir)
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

func TestComplete(t *testing.T) {
	l := newLog(t, 40)
	l.add(auditlog.Entry{Time: exportTime, Workspace: "656f00aa01", Event: "audit.exported", Outcome: auditlog.Done,
		Actor: auditlog.Actor{Kind: auditlog.Auditor, ID: "a1"}})
	gap := l.export(0, 41, 41)
	gap.Pruned = []Pruned{{0, 5, exportTime, "retention"}}
	workspaceGap := l.exportWorkspace("656f00aa01", 0, 41, 41)
	workspaceGap.Pruned = gap.Pruned
	for _, tt := range []struct {
		about string
		x     *Export
		want  bool
	}{
		{"the whole log", l.export(0, 41, 41), true},
		{"a log with dropped lines", gap, false},
		{"the end of a log", l.export(5, 41, 41), false},
		{"the beginning of a log", l.export(0, 40, 41), false},
		{"a workspace up to its export", l.exportWorkspace("656f00aa01", 0, 41, 41), true},
		{"a workspace with dropped lines", workspaceGap, false},
		{"a workspace whose last line is not the log's", l.exportWorkspace("656f00aa01", 0, 40, 41), false},
		{"another workspace", l.exportWorkspace("656f00aa02", 0, 41, 41), false},
		{"the end of a workspace", l.exportWorkspace("656f00aa01", 20, 41, 41), false},
	} {
		r, err := verify(bundleOf(t, tt.x), nil, l.key)
		if err != nil || r.Complete != tt.want {
			t.Errorf("%s: complete %v, %v, want %v", tt.about, r.Complete, err, tt.want)
		}
	}
}

func TestEarlierCheckpoint(t *testing.T) {
	l, other := newLog(t, 40), newLog(t, 20)
	for i := range 20 {
		other.add(storyEntry(i))
	}
	later := l.checkpoint(40)
	later.Size = 50
	plain := bundleOf(t, l.export(30, 35, 40))
	with := bundleOf(t, withConsistency(l.export(30, 35, 40), l, 25))
	workspace := bundleOf(t, withConsistency(l.exportWorkspace("656f00aa01", 0, 40, 40), l, 25))
	for _, tt := range []struct {
		about   string
		bundle  []byte
		earlier auditlog.Checkpoint
		want    string
	}{
		{"empty", plain, l.checkpoint(0), ""},
		{"within the lines", plain, l.checkpoint(33), ""},
		{"just before the lines", plain, l.checkpoint(30), ""},
		{"at the end of the lines", plain, l.checkpoint(35), ""},
		{"the same", plain, l.checkpoint(40), ""},
		{"the same, of a workspace", workspace, l.checkpoint(40), ""},
		{"with a proof", with, l.checkpoint(25), ""},
		{"of a workspace, with a proof", workspace, l.checkpoint(25), ""},
		{"without a proof", plain, l.checkpoint(25), "has nothing that leads"},
		{"with another proof", with, l.checkpoint(24), "has nothing that leads"},
		{"after the lines", plain, l.checkpoint(37), "has nothing that leads"},
		{"later", plain, later, "has nothing that leads"},
		{"another log within the lines", plain, other.checkpoint(33), "does not continue"},
		{"another log of the same size", plain, other.checkpoint(40), "does not continue"},
		{"another log with a proof", with, other.checkpoint(25), "does not continue"},
		{"another installation", plain, auditlog.Checkpoint{Origin: auditlog.Origin("b", 0), Size: 33, Root: l.checkpoint(33).Root}, "two logs"},
		{"a later epoch", plain, auditlog.Checkpoint{Origin: auditlog.Origin(installation, 1), Size: 33, Root: l.checkpoint(33).Root}, "epoch"},
	} {
		_, err := verify(tt.bundle, &tt.earlier, l.key)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.about, err, tt.want)
		}
		if strings.HasPrefix(tt.want, "has nothing") && !errors.Is(err, auditlog.ErrNotProven) {
			t.Errorf("%s: %v, want ErrNotProven", tt.about, err)
		}
	}
}

func TestKeys(t *testing.T) {
	old, next, third := newKey(t, 1), newKey(t, 2), newKey(t, 3)
	l := newLog(t, 10)
	x := l.export(0, 10, 10)
	rotation, err := auditlog.SignRotation(old.skey, next.skey)
	must(t, err)
	sign := func(rotations [][]byte, signers ...note.Signer) []byte {
		y := *x
		y.Rotations, y.Signers, y.Checkpoint = rotations, signers, l.sign(10, signers...)
		return bundleOf(t, &y)
	}
	second, err := auditlog.SignRotation(next.skey, third.skey)
	must(t, err)
	for _, tt := range []struct {
		about  string
		bundle []byte
		keys   []testKey
		ok     bool
	}{
		{"its key", sign(nil, old.signer), []testKey{old}, true},
		{"its key twice", sign(nil, old.signer), []testKey{old, old}, true},
		{"its key and another", sign(nil, old.signer), []testKey{next, old}, true},
		{"no key", sign(nil, old.signer), nil, false},
		{"another key", sign(nil, old.signer), []testKey{next}, false},
		{"one of two keys", sign(nil, old.signer, next.signer), []testKey{old}, false},
		{"two keys", sign(nil, next.signer, old.signer), []testKey{old, next}, true},
		{"a rotation to its key", sign([][]byte{rotation}, next.signer), []testKey{old}, true},
		{"a rotation to one of two keys", sign([][]byte{rotation}, old.signer, next.signer), []testKey{old}, true},
		{"two rotations", sign([][]byte{rotation, second}, third.signer), []testKey{old}, true},
		{"two rotations, the wrong way", sign([][]byte{second, rotation}, third.signer), []testKey{old}, false},
		{"the newest key", sign([][]byte{rotation, second}, third.signer), []testKey{third}, true},
		{"a key that no rotation leads from", sign([][]byte{rotation}, next.signer), []testKey{third}, false},
	} {
		if _, err := verify(tt.bundle, nil, tt.keys...); (err == nil) != tt.ok {
			t.Errorf("%s: %v, want ok %v", tt.about, err, tt.ok)
		}
	}
}

func TestProgress(t *testing.T) {
	l := newLog(t, 1000)
	b := bundleOf(t, l.export(0, 1000, 1000))
	var last, calls int64
	_, err := Verify(bytes.NewReader(b), int64(len(b)), []note.Verifier{l.key.verifier}, nil, func(done, total int64) {
		if done < last || done > total || total != int64(len(b)) {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last = done
		calls++
	})
	must(t, err)
	if last != int64(len(b)) || calls < 2 {
		t.Errorf("%d of %d bytes after %d calls", last, len(b), calls)
	}
}

// TestTar: any tar can read it.
func TestTar(t *testing.T) {
	for name, x := range shapes(t) {
		r := tar.NewReader(bytes.NewReader(bundleOf(t, x)))
		for {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			must(t, err)
			content, err := io.ReadAll(r)
			must(t, err)
			if h.Mode != 0o644 || h.Uid != 0 || !h.ModTime.Equal(exportTime) || int64(len(content)) != h.Size || h.Format != tar.FormatUSTAR {
				t.Errorf("%s: header %+v", name, h)
			}
		}
	}
}

// TestWriteRefuses: Write makes nothing that would not verify.
func TestWriteRefuses(t *testing.T) {
	l := newLog(t, 40)
	one := func(line Line) func(x *Export) {
		return func(x *Export) { x.Lines = func(yield func(Line, error) bool) { yield(line, nil) } }
	}
	for about, change := range map[string]func(x *Export){
		"no product":              func(x *Export) { x.Product = "" },
		"a range that ends early": func(x *Export) { x.From = 36 },
		"too few lines":           func(x *Export) { x.Lines = nil },
		"a line too many":         func(x *Export) { x.To = 34 },
		"a line from elsewhere":   one(Line{Text: l.lines[3]}),
		"a line that is none":     one(Line{Text: []byte("{}\n")}),
		"a dropped line as text":  one(Line{Text: appendDropped(nil, 30, auditlog.Hash{})}),
		"a dropped line":          one(Line{Seq: 30}),
		"a proof":                 one(Line{Text: l.lines[30], Proof: []byte("x")}),
		"an error": func(x *Export) {
			x.Lines = func(yield func(Line, error) bool) { yield(Line{}, io.ErrClosedPipe) }
		},
		"no edge":                        func(x *Export) { x.Edge = nil },
		"a wrong edge":                   func(x *Export) { x.Edge[0][0] ^= 1 },
		"no range proof":                 func(x *Export) { x.RangeProof = nil },
		"a consistency proof as a range": func(x *Export) { x.RangeProof = withConsistency(l.export(30, 35, 40), l, 25).Consistency },
		"a consistency proof that isn't": func(x *Export) { x.Consistency = []byte("old 1\n") },
		"a rotation that isn't":          func(x *Export) { x.Rotations = [][]byte{[]byte("x")} },
		"two accounts of one id":         func(x *Export) { x.Staff[0].ID = "s1" },
		"a control character":            func(x *Export) { x.Staff[0].Role = "a\nb" },
		"a pruned range without dropped": func(x *Export) { y := *x; *x = *prunedOnly(l, &y) },
		"pruned ranges out of order":     func(x *Export) { x.Pruned = []Pruned{{5, 6, exportTime, ""}, {1, 2, exportTime, ""}} },
		"another signer":                 func(x *Export) { x.Signers = []Signer{newKey(t, 2).signer} },
		"no signer":                      func(x *Export) { x.Signers = nil },
		"a checkpoint too small":         func(x *Export) { x.Checkpoint = l.sign(34, l.key.signer) },
		"a time before 1970":             func(x *Export) { x.Time = exportTime.AddDate(-100, 0, 0) },
		"a workspace with an edge":       func(x *Export) { x.Workspace = "w" },
	} {
		x := l.export(30, 35, 40)
		change(x)
		var b bytes.Buffer
		if _, err := Write(&b, x); err == nil || b.Len() > 0 {
			t.Errorf("with %s: written %d bytes, %v", about, b.Len(), err)
		}
		if left, err := os.ReadDir(x.TempDir); err != nil || len(left) > 0 {
			t.Errorf("with %s: left behind: %v %v", about, left, err)
		}
	}
	if _, err := Write(failingWriter{}, l.export(0, 40, 40)); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("to a writer that fails: %v", err)
	}
}

// prunedOnly returns x with a pruned range of which the lines are there.
func prunedOnly(l *testLog, x *Export) *Export {
	y := *x
	y.Pruned = []Pruned{{31, 32, exportTime, ""}}
	y.Lines = l.each(x)
	return &y
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// TestGolden: the encoding never changes by accident.
func TestGolden(t *testing.T) {
	l := goldenLog(t)
	workspace := l.exportWorkspace("656f00aa01", 0, 31, 31)
	for name, x := range map[string]*Export{"log.tar": goldenExport(l), "workspace.tar": workspace} {
		path := filepath.Join("testdata", name)
		got := bundleOf(t, x)
		if *updateGolden {
			must(t, os.WriteFile(path, got, 0o644))
		}
		want, err := os.ReadFile(path)
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s changed, first in %s", name, firstFile(t, got, want))
		}
	}
}

func goldenLog(t testing.TB) *testLog {
	l := newLog(t, 30)
	l.add(auditlog.Entry{
		Time: exportTime, Epoch: 1, Workspace: "656f00aa01", Event: "something.new", Outcome: auditlog.Failed,
		Actor:   auditlog.Actor{Kind: auditlog.Auditor, ID: "=a1", Employer: "<script>alert(1)</script>", Country: "é"},
		Address: "unix", Operation: "a=b\\c|d\ne", Kind: "+1", Object: "x,y", Access: "ar\"1", Ticket: "-\r\n\x01", Fields: []string{"@f", "g"},
		Detail: map[string]string{"b": "2", "=a": "\"1\""},
	})
	return l
}

func goldenExport(l *testLog) *Export {
	x := withConsistency(l.export(5, 31, 31), l, 4)
	x.Pruned = []Pruned{{0, 8, exportTime, "retention <30 days>"}}
	return x
}

// firstFile returns the name of the first file in which two bundles differ.
func firstFile(t testing.TB, a, b []byte) string {
	files := unpack(t, b)
	for _, f := range unpack(t, a) {
		if i := slices.IndexFunc(files, func(g unpacked) bool { return g.name == f.name }); i < 0 || !bytes.Equal(files[i].content, f.content) {
			return f.name
		}
	}
	return "the archive"
}

// An unpacked is a file of a bundle.
type unpacked struct {
	name    string
	content []byte
}

func unpack(t testing.TB, bundle []byte) (files []unpacked) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(bundle))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		must(t, err)
		content, err := io.ReadAll(r)
		must(t, err)
		files = append(files, unpacked{h.Name, content})
	}
}

// fileIn returns a file of a bundle.
func fileIn(t testing.TB, bundle []byte, name string) []byte {
	t.Helper()
	for _, f := range unpack(t, bundle) {
		if f.name == name {
			return f.content
		}
	}
	t.Fatalf("no file %s", name)
	return nil
}

// TestPageTellsDecisions: a first of two approvals is no grant, and a request that ended without a decision says how.
func TestPageTellsDecisions(t *testing.T) {
	l := newLog(t, 0)
	minute := 0
	add := func(request, event string, detail map[string]string) {
		minute++
		l.add(auditlog.Entry{
			Time: time.Date(2026, 6, 1, 8, minute, 0, 0, time.UTC), Workspace: "656f00aa01", Event: event, Outcome: auditlog.Done,
			Actor: auditlog.Actor{Kind: auditlog.Key, ID: "k9"}, Access: request, Detail: detail,
		})
	}
	asked := map[string]string{"staff": "s1"}
	half := map[string]string{"staff": "s1", "approversNeeded": "2", "status": "pending"}
	whole := map[string]string{"staff": "s1", "approversNeeded": "2", "status": "approved"}
	for _, r := range []string{"both", "half", "half-expired", "withdrawn", "closed"} {
		add(r, "access.requested", asked)
	}
	add("both", "access.approved", half)
	add("both", "access.approved", whole)
	add("half", "access.approved", half)
	add("half-expired", "access.approved", half)
	add("half-expired", "access.expired", asked)
	add("withdrawn", "access.withdrawn", asked)
	add("closed", "access.ended", asked)
	add("earlier", "access.revoked", asked)

	page := fileIn(t, bundleOf(t, l.export(0, len(l.lines), len(l.lines))), "report.html")
	requests, grants, _ := strings.Cut(string(page), "Grants and when they ended")
	for request, decision := range map[string]string{
		"both":         "approved 2026-06-01 08:07:00",
		"half":         "not enough approvals in these lines",
		"half-expired": "expired 2026-06-01 08:10:00",
		"withdrawn":    "withdrawn 2026-06-01 08:11:00",
		"closed":       "ended 2026-06-01 08:12:00",
		"earlier":      "none in these lines",
	} {
		_, row, _ := strings.Cut(requests, "<td>"+request+"</td>")
		row, _, _ = strings.Cut(row, "</tr>")
		if !strings.Contains(row, "<td>"+decision+"</td>") {
			t.Errorf("%s: the row %q does not say %q", request, row, decision)
		}
		if got, want := strings.Contains(grants, "<td>"+request+"</td>"), request == "both"; got != want {
			t.Errorf("%s is among the grants: %v, want %v", request, got, want)
		}
	}
}
