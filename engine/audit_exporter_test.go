package engine

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// auditor returns an auditor with a good token.
func (w *world) auditor() (AuditorCaller, Auditor) {
	w.t.Helper()
	u, token, err := w.Admin().AddAuditor(NewAuditor{Name: "Ada", Email: "ada@audit.example"})
	if err != nil {
		w.t.Fatal(err)
	}
	who, err := w.AuthenticateAuditor(token, home)
	if err != nil {
		w.t.Fatal(err)
	}
	return who, u
}

// TestExportHoldsInItsTransaction: who lost the right after having been authenticated takes nothing away.
func TestExportHoldsInItsTransaction(t *testing.T) {
	w := newWorld(t, unlimited())
	owner := w.in(Production)
	who, u := w.auditor()
	second := w.approver(owner, NewKey{Name: "second", Role: RoleOwner})
	if _, err := w.Admin().DisableAuditor(u.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.RevokeKey(owner, second.Key().String()); err != nil {
		t.Fatal(err)
	}
	before := uint64(len(w.audited(0)))
	var out bytes.Buffer
	_, err := w.ExportAudit(who, &out, "1.2.3", AuditRange{})
	refused(t, "a disabled auditor", err, Unauthorized, "", "")
	_, err = w.ExportOwnAudit(second, &out, "1.2.3", nil)
	refused(t, "a revoked key", err, Unauthorized, "", "")
	if got := events(w.audited(before)); out.Len() > 0 || len(got) > 0 {
		t.Errorf("%d bytes, and %q in the log", out.Len(), got)
	}
}

// TestExportWithoutRoom: when not even the reserve takes the record of an export, nothing leaves.
func TestExportWithoutRoom(t *testing.T) {
	w := newWorldIn(t, unlimited(), "UTC", Options{MaxSize: 12 << 20, Reserve: 1 << 20})
	owner, _ := w.populate(w.id, Production, "marker")
	auditor, _ := w.auditor()
	notes, err := strings.Repeat("x", maxNotesBytes), error(nil)
	for err == nil {
		_, err = w.CreateLeads(owner, nil, LeadBatch{Leads: []LeadInput{{Phone: ptr(phone()), Notes: &notes}}})
	}
	var out bytes.Buffer
	if _, err := w.ExportOwnAudit(owner, &out, "1.2.3", nil); err != nil || out.Len() == 0 {
		t.Fatalf("in the reserve: %d bytes, %v", out.Len(), err)
	}
	s, _ := w.granted(owner)
	for err, n := error(nil), 0; err == nil && n < 50_000; n++ {
		_, err = w.StaffRead(s, w.look(KindLists))
	}
	out.Reset()
	_, err = w.ExportOwnAudit(owner, &out, "1.2.3", nil)
	refused(t, "the customer", err, Unavailable, CodeAuditUnavailable, "")
	_, err = w.ExportAudit(auditor, &out, "1.2.3", AuditRange{})
	refused(t, "the auditor", err, Unavailable, CodeAuditUnavailable, "")
	if out.Len() > 0 {
		t.Errorf("%d bytes left all the same", out.Len())
	}
}

// TestExportLeavesAMargin: an export stops before it makes the workspaces READ_ONLY: what it leaves of the disk is more than the
// reserve. The first refusal comes before the record.
func TestExportLeavesAMargin(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	for range 20 { // others use the disk, too
		w.opt.Reserve = w.db.Room().Free - kv.FilesMargin/2
		w.reopen()
		before := uint64(len(w.audited(0)))
		_, own := w.ExportOwnAudit(who, io.Discard, "1.2.3", nil)
		_, all := w.Admin().ExportAudit(io.Discard, "1.2.3", AuditRange{})
		_, err := w.Admin().RotateAuditKey()
		room := w.db.Room()
		if room.Low() || room.Free-room.Reserve > kv.FilesMargin*3/4 {
			continue
		}
		refused(t, "a customer's", own, Unavailable, CodeAuditUnavailable, "")
		refused(t, "all of it", all, Unavailable, CodeAuditUnavailable, "")
		if !strings.Contains(fmt.Sprint(own), "has to free space") {
			t.Errorf("it does not say what to do: %v", own)
		}
		if err != nil {
			t.Errorf("nothing else is refused: %v", err)
		}
		if got := events(w.audited(before)); len(got) != 1 {
			t.Errorf("recorded %q", got)
		}
		return
	}
	t.Fatal("the free space of the disk changes too fast to tell")
}

// TestExportByTimes: a range of time begins with the first entry that is not before it and ends before the first that is not before its
// end, wherever parts of the log begin, and also when the clock was set back.
func TestExportByTimes(t *testing.T) {
	w := newWorld(t, unlimited())
	first := len(w.audited(0))
	begun := w.clock.now()
	at := func(h int) time.Time { return begun.Add(time.Duration(h) * time.Hour) }
	hours := []int{1, 2, 5, 3, 4, 6} // the clock was set back after 5
	for _, h := range hours {
		w.clock.set(at(h))
		w.forge(func(tx *kv.Tx) {
			for range 400 {
				if err := w.record(tx, auditlog.Entry{Event: "test", Actor: systemActor}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	size := uint64(len(w.audited(0)))
	entry := func(i int) uint64 { return uint64(first + 400*i) }
	for _, tt := range []struct {
		r        AuditRange
		from, to uint64
	}{
		{AuditRange{}, 0, size},
		{AuditRange{From: at(1)}, entry(0), size},
		{AuditRange{From: at(3)}, entry(2), size},
		{AuditRange{From: at(3), To: at(5)}, entry(2), entry(2)},
		{AuditRange{From: at(2), To: at(5)}, entry(1), entry(2)},
		{AuditRange{From: at(2), To: at(6)}, entry(1), entry(5)},
		{AuditRange{To: at(4)}, 0, entry(2)},
		{AuditRange{To: at(7)}, 0, size},
		{AuditRange{From: at(7)}, size, size},
	} {
		if from, to, err := w.auditSeqs(tt.r, size); err != nil || from != tt.from || to != tt.to {
			t.Errorf("from %v to %v: entries %d to %d, %v; want %d to %d", tt.r.From, tt.r.To, from, to, err, tt.from, tt.to)
		}
	}
}
