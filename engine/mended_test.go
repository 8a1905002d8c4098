package engine

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"tuco/engine/auditlog"
	"tuco/engine/auditlog/bundle"
)

// TestRestoreOfAnotherBranch: a database whose log is as long as its anchor, or longer, but has other entries, is refused like one that is
// behind it.
func TestRestoreOfAnotherBranch(t *testing.T) {
	for _, shorter := range []uint64{0, 1, 3} {
		w := newWorld(t, unlimited())
		w.grow(5)
		opt := w.copied()
		anchor := w.anchor()
		before := anchor.Size
		anchor.Size -= shorter
		anchor.Root[0] ^= 1
		_, err := Compare(filepath.Join(opt.Dir, DatabaseName), anchor, "")
		if r := (*RewindError)(nil); !errors.As(err, &r) || r.Anchored != anchor.Size {
			t.Errorf("an anchor of %d entries and another root, of a log of %d: %v", anchor.Size, before, err)
		}
		w.reopen()
		w.audited(0)
	}
}

// TestHugeReserve: a reserve beyond the disk makes every workspace READ_ONLY, and does not turn entries of reads into sums.
func TestHugeReserve(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, _ := w.populate(w.id, Production, "marker")
	s, _ := w.granted(owner)
	_, secret := w.key(w.id, Production, NewKey{Name: "operator's", Role: RoleViewer})
	w.opt.Reserve = 100 << 40
	w.reopen()
	if !w.StorageLow() {
		t.Fatal("there is a disk with so much room")
	}
	before := uint64(len(w.audited(0)))
	operators := w.auth(secret)
	for range 3 {
		if err := w.RecordKeyRead(operators, KeyRead{Operation: "GET /api/leads", Kind: KindLeads, Records: 1}); err != nil {
			t.Fatal(err)
		}
		w.read(s, w.look(KindLists))
	}
	if got := events(w.audited(before)); len(got) != 6 || got[0] != "key.read" || got[1] != "staff.read" {
		t.Errorf("recorded %q", got)
	}
}

// A hookWriter calls hook before the first byte.
type hookWriter struct {
	bytes.Buffer
	hook func()
}

func (h *hookWriter) Write(p []byte) (int, error) {
	if h.hook != nil {
		h.hook()
		h.hook = nil
	}
	return h.Buffer.Write(p)
}

// TestDropBesideExport: while a bundle is made no body goes that is to be in it; afterwards it does.
func TestDropBesideExport(t *testing.T) {
	w := newWorldIn(t, unlimited(), "UTC", Options{AuditRetention: MinAuditRetention})
	w.grow(2 * auditlog.SegmentSize)
	w.clock.pass(MinAuditRetention + time.Hour)
	out := &hookWriter{hook: func() {
		if err := w.retire(); err != nil || w.kept() != 0 {
			t.Errorf("the lines before %d were dropped from under the export: %v", w.kept(), err)
		}
	}}
	if _, err := w.Admin().ExportAudit(out, "1.2.3", AuditRange{}); err != nil || out.hook != nil {
		t.Fatalf("%v", err)
	}
	report, err := bundle.Verify(bytes.NewReader(out.Bytes()), int64(out.Len()), w.auditVerifiers(), nil, nil)
	if err != nil || !report.Complete || len(report.Manifest.Pruned) > 0 {
		t.Errorf("%+v, %v", report, err)
	}
	if w.keepAudit(); w.kept() == 0 {
		t.Error("nothing is dropped after it")
	}
}
