package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// kept is the number of the first line that is still there.
func (w *world) kept() uint64 {
	w.t.Helper()
	first, err := kv.View(w.db, func(tx *kv.Tx) (uint64, error) { return auditLines.First(tx), nil })
	if err != nil {
		w.t.Fatal(err)
	}
	return first
}

func (w *world) keepAudit() {
	w.t.Helper()
	if err := w.KeepAudit(); err != nil {
		w.t.Fatal(err)
	}
}

// TestRetention: old bodies go by whole segments, and that is recorded; the log still proves itself, also after a restart and
// without its anchor, and what an agreement asks to keep is kept.
func TestRetention(t *testing.T) {
	w := newWorldIn(t, unlimited(), "UTC", Options{AuditRetention: 48 * time.Hour})
	w.grow(3 * auditlog.SegmentSize)
	begun := w.clock.now()
	w.keepAudit()
	w.clock.until(begun.Add(48*time.Hour - 1))
	w.keepAudit()
	if w.kept() != 0 {
		t.Fatal("it was dropped early")
	}
	w.clock.pass(dropEvery)
	w.grow(1)
	w.keepAudit()
	if got := w.kept(); got != 3*auditlog.SegmentSize {
		t.Fatalf("the first that is kept is %d", got)
	}
	if e := w.last("audit.dropped"); e.Records != 3*auditlog.SegmentSize || e.Detail["from"] != "0" || e.Detail["to"] != "768" || e.Detail["retention"] != "48h0m0s" {
		t.Errorf("the entry: %+v", e)
	}
	before, err := w.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	for _, anchored := range []bool{true, false} {
		if !anchored {
			if err := os.Remove(filepath.Join(w.opt.Dir, AnchorName)); err != nil {
				t.Fatal(err)
			}
		}
		w.reopen()
		earlier, err := auditlog.OpenCheckpoint(before, w.auditVerifiers()...)
		if err != nil {
			t.Fatal(err)
		}
		if r := w.exported(AuditRange{Earlier: before}, &earlier); !strings.Contains(strings.Join(r.NotProven, " "), "pruned") {
			t.Errorf("the report says nothing of what is missing: %q", r.NotProven)
		}
		w.exported(AuditRange{Workspace: w.id}, nil)
		w.keepAudit()
	}
	if faults, err := w.Check(); err != nil || len(faults) > 0 {
		t.Errorf("%q, %v", faults, err)
	}
}

// TestRetentionOfAgreements: what an agreement asked to keep when it was made is kept so long, also if the agreement is over.
func TestRetentionOfAgreements(t *testing.T) {
	w := newWorldIn(t, unlimited(), "UTC", Options{AuditRetention: 48 * time.Hour})
	owner := w.ownerOf(w.id, Production)
	a := w.agree(owner, Controls{Retention: 100 * 24 * time.Hour})
	for range 2 * auditlog.SegmentSize {
		if err := w.recordAlone(auditlog.Entry{Event: "test", Actor: systemActor, Workspace: string(w.id)}); err != nil {
			t.Fatal(err)
		}
	}
	begun := w.clock.now()
	w.keepAudit()
	w.clock.pass(time.Hour)
	if _, err := w.RemoveAgreement(owner, string(a.ID)); err != nil {
		t.Fatal(err)
	}
	for _, at := range []struct {
		after time.Duration
		kept  uint64
	}{{90 * 24 * time.Hour, 0}, {100*24*time.Hour - 1, 0}, {100*24*time.Hour + 2*time.Hour, 2 * auditlog.SegmentSize}} {
		w.clock.until(begun.Add(at.after))
		w.keepAudit()
		w.keepAudit()
		if got := w.kept(); got != at.kept {
			t.Errorf("after %v the first that is kept is %d", at.after, got)
		}
	}
}
