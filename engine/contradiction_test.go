package engine

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"tuco/engine/auditlog"
)

// signedBy signs a checkpoint of the world's log.
func (w *world) signedBy(signer note.Signer, size uint64, root auditlog.Hash, epoch uint64) []byte {
	w.t.Helper()
	c := auditlog.Checkpoint{Origin: auditlog.Origin(w.audit.state.Load().Installation, epoch), Size: size, Root: root}
	signed, err := auditlog.SignCheckpoint(c, signer)
	if err != nil {
		w.t.Fatal(err)
	}
	return signed
}

// TestContradictions: a checkpoint that the log's own key signed, of a log that this one does not continue, is told apart from all others:
// to who presents it, in the log, to the operator, also after a restart; and the log goes on and is signed, so that there
// are two notes to compare.
func TestContradictions(t *testing.T) {
	for name, tt := range map[string]struct {
		size, epoch uint64
		says        string
	}{
		"other entries":              {3, 0, "the first 3 entries are not those that the log had"},
		"a longer log":               {1000, 0, "and had 1000: its end was cut off"},
		"a log after a restore":      {3, 1, "it is of restore epoch 1, and the log of 0"},
		"no entry with another root": {0, 0, "the first 0 entries"},
	} {
		w := newWorld(t, unlimited())
		out := new(syncBuffer)
		w.log = w.log.Output(out)
		w.grow(5)
		owner := w.in(Production)
		who, _ := w.auditor()
		before := uint64(len(w.audited(0)))
		signed := w.signedBy(w.audit.signer, tt.size, auditlog.Hash{1}, tt.epoch)
		present := map[string]func() error{
			"operator": func() error {
				_, err := w.Admin().ExportAudit(io.Discard, "1.2.3", AuditRange{Earlier: signed})
				return err
			},
			"auditor": func() error {
				_, err := w.ExportAudit(who, io.Discard, "1.2.3", AuditRange{Earlier: signed})
				return err
			},
			"customer": func() error { _, err := w.ExportOwnAudit(owner, io.Discard, "1.2.3", signed); return err },
		}
		for i, by := range []string{"customer", "auditor", "operator"} {
			err := present[by]()
			refused(t, name+" by the "+by, err, Conflict, CodeContradicted, "")
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %v", name, err)
			}
			got := w.audited(before)
			if len(got) != 1 {
				t.Fatalf("%s, presented %d times: recorded %q", name, i+1, events(got))
			}
			if e := got[0]; e.Event != "audit.contradicted" || e.Outcome != auditlog.Failed || e.Credential != owner.Key().String() || e.Workspace != string(w.id) ||
				e.Detail["root"] != (auditlog.Hash{1}).String() || !strings.Contains(e.Detail["reason"], tt.says) {
				t.Errorf("%s: %+v", name, e)
			}
		}
		if told := out.String(); strings.Count(told, `"level":"error"`) != 1 || !strings.Contains(told, "CONTRADICTS") || !strings.Contains(told, strings.Split(string(signed), "\n")[0]) {
			t.Errorf("%s: the log of the server says %q", name, told)
		}
		for range 2 {
			if warns := slices.ContainsFunc(w.Warnings(), func(s string) bool { return strings.Contains(s, "contradicts a checkpoint") }); !warns || w.Contradictions() != 1 {
				t.Errorf("%s: %d, warnings %q", name, w.Contradictions(), w.Warnings())
			}
			if w.AuditTrouble() != nil {
				t.Errorf("%s: the log is signed no more: %v", name, w.AuditTrouble())
			}
			w.exported(AuditRange{}, nil)
			w.reopen()
		}
	}
}

// TestNoContradiction: what the log's key did not sign, or what the log says itself was lost, is no finding, whoever presents it.
func TestNoContradiction(t *testing.T) {
	w := newWorld(t, unlimited())
	w.grow(5)
	skey, _, err := auditlog.NewSigner(bytes.NewReader(bytes.Repeat([]byte{7}, 64)), auditlog.KeyName(w.audit.state.Load().Installation))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	good, err := w.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-20] ^= 1
	text, _, _ := strings.Cut(string(w.signedBy(w.audit.signer, 3, auditlog.Hash{1}, 0)), "\n\n")
	_, signatures, _ := strings.Cut(string(good), "\n\n")
	owner := w.in(Production)
	before := uint64(len(w.audited(0)))
	refuse := func(name string, signed []byte) {
		t.Helper()
		_, err := w.ExportOwnAudit(owner, io.Discard, "1.2.3", signed)
		refused(t, name, err, Invalid, CodeWrongCheckpoint, "")
	}
	refuse("by another key of that name", w.signedBy(stranger, 3, auditlog.Hash{1}, 0))
	refuse("with the signature of another", []byte(text+"\n\n"+signatures))
	refuse("with a changed signature", flipped)
	refuse("with no signature", []byte(text+"\n\n"))
	state := *w.audit.state.Load()
	state.Epoch, state.Restores = 1, []auditRestore{{Epoch: 0, Size: 4}}
	signed := w.signedBy(w.audit.signer, 5, auditlog.Hash{1}, 0)
	w.audit.state.Store(&state)
	refuse("of what a restore lost", signed)
	if got := events(w.audited(before)); len(got) > 0 || w.Contradictions() > 0 {
		t.Errorf("recorded %q, %d", got, w.Contradictions())
	}
}

// TestContradictionsAreBounded: however many there are, the log grows by a bounded number of entries.
func TestContradictionsAreBounded(t *testing.T) {
	w := newWorld(t, unlimited())
	w.grow(1)
	before := uint64(len(w.audited(0)))
	for i := range uint64(maxContradictions + 5) {
		_, err := w.Admin().ExportAudit(io.Discard, "1.2.3", AuditRange{Earlier: w.signedBy(w.audit.signer, 1000+i, auditlog.Hash{1}, 0)})
		refused(t, "one of many", err, Conflict, CodeContradicted, "")
	}
	if n := len(w.audited(before)); n != maxContradictions {
		t.Errorf("%d entries", n)
	}
}
