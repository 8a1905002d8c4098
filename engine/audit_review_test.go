package engine

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// TestPlacesTakenAway: no bundle says that it is complete when the last places of its workspace were taken out of the file. Who
// asks for one is refused, before anything is recorded; if nobody asks, the server finds it by itself.
func TestPlacesTakenAway(t *testing.T) {
	a := newAttacked(t)
	for name, change := range map[string]func(f *forger){
		"the last place":  func(f *forger) { f.places[f.first] = f.places[f.first][:len(f.places[f.first])-1] },
		"the last places": func(f *forger) { f.places[f.first] = f.places[f.first][:10] },
		"all places":      func(f *forger) { f.places[f.first] = nil },
	} {
		opt := a.opt
		opt.Dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(opt.Dir, DatabaseName), a.forge(change), 0o600); err != nil {
			t.Fatal(err)
		}
		open := func() *Engine {
			e, err := Open(opt)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		e := open()
		before, _ := e.AuditEntries()
		for id := range a.own {
			if _, err := (Admin{e}).ExportAudit(io.Discard, "1.2.3", AuditRange{Workspace: id}); !isKind(err, Unavailable) && !isKind(err, NotFound) {
				t.Errorf("%s: the bundle of %s: %v", name, id, err)
			}
		}
		if after, _ := e.AuditEntries(); after != before || e.AuditTrouble() == nil {
			t.Errorf("%s: %d entries more, and the log is trusted: %v", name, after-before, e.AuditTrouble() == nil)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e = open()
		if err := e.KeepAudit(); err == nil || e.AuditTrouble() == nil {
			t.Errorf("%s: the server does not find it: %v", name, err)
		}
		if err := e.KeepAudit(); err != nil {
			t.Errorf("%s: it is said again: %v", name, err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOwnExportReadsItsOwn: what the bundle of a small workspace costs does not grow with the log. The lines of before the
// opening are read for it once, a part at a time.
func TestOwnExportReadsItsOwn(t *testing.T) {
	w := newWorld(t, unlimited())
	cost := func() float64 {
		return testing.AllocsPerRun(3, func() {
			if _, err := w.Admin().ExportAudit(io.Discard, "1.2.3", AuditRange{Workspace: w.id}); err != nil {
				t.Fatal(err)
			}
		})
	}
	small := cost()
	for range 10 {
		w.forge(func(tx *kv.Tx) {
			for range auditChunk {
				if err := w.record(tx, auditlog.Entry{Event: "test", Actor: systemActor}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	const more = 4000 // proofs are longer, and each bundle has an entry more; to read the rest takes 10,000
	if now := cost(); now > small+more {
		t.Errorf("%.0f allocations in a long log, %.0f in a short one", now, small)
	}
	w.reopen()
	r := &w.audit.review
	for done := r.next; done < r.end; done = r.next {
		if err := w.reviewAudit(3000); err != nil || r.next <= done || r.next > done+3000 {
			t.Fatalf("the review went on from %d to %d of %d: %v", done, r.next, r.end, err)
		}
	}
	if now := cost(); now > small+more {
		t.Errorf("%.0f allocations in a long log of before, %.0f in a short one", now, small)
	}
}

// TestReviewBesideRetention: bodies that are dropped while the lines are read are no damage.
func TestReviewBesideRetention(t *testing.T) {
	w := newWorldIn(t, unlimited(), "UTC", Options{AuditRetention: MinAuditRetention})
	w.grow(10 * auditlog.SegmentSize)
	w.reopen()
	if err := w.reviewAudit(100); err != nil {
		t.Fatal(err)
	}
	w.clock.pass(2 * MinAuditRetention)
	if err := errors.Join(w.Anchor(), w.retire()); err != nil || w.kept() == 0 {
		t.Fatalf("nothing was dropped: %v", err)
	}
	if err := w.reviewAudit(reviewAll); err != nil || w.audit.review.next != w.audit.review.end {
		t.Errorf("the review got to %d of %d: %v", w.audit.review.next, w.audit.review.end, err)
	}
}
