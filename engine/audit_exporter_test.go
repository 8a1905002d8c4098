package engine

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"tuco/engine/auditlog"
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

// TestExportAfterAnotherHistory: a checkpoint that the right key signed, of a log that this one does not continue, is refused.
func TestExportAfterAnotherHistory(t *testing.T) {
	w := newWorld(t, unlimited())
	w.grow(5)
	state := w.audit.state.Load()
	before := uint64(len(w.audited(0)))
	for name, c := range map[string]auditlog.Checkpoint{
		"other entries": {Size: 3, Root: auditlog.Hash{1}},
		"a longer log":  {Size: 1000, Root: auditlog.Hash{1}},
	} {
		c.Origin = auditlog.Origin(state.Installation, state.Epoch)
		signed, err := auditlog.SignCheckpoint(c, w.audit.signer)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Admin().ExportAudit(io.Discard, "1.2.3", AuditRange{Earlier: signed})
		refused(t, name, err, Invalid, CodeWrongCheckpoint, "")
	}
	if got := events(w.audited(before)); len(got) > 0 {
		t.Errorf("recorded %q", got)
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
