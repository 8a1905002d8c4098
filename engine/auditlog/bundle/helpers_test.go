package bundle

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"tuco/engine/auditlog"
)

const installation = "7f3c9a"

var exportTime = time.Date(2026, 6, 23, 16, 0, 0, 0, time.UTC)

// A testKey is a signing key of the installation.
type testKey struct {
	skey, vkey string
	signer     note.Signer
	verifier   note.Verifier
}

// newKey returns the key made from a seed of which every byte is b.
func newKey(t testing.TB, b byte) (k testKey) {
	t.Helper()
	var err error
	k.skey, k.vkey, err = auditlog.NewSigner(bytes.NewReader(bytes.Repeat([]byte{b}, 32)), auditlog.KeyName(installation))
	must(t, err)
	k.signer, err = note.NewSigner(k.skey)
	must(t, err)
	k.verifier, err = auditlog.ParseVerifier(k.vkey)
	must(t, err)
	return k
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A testLog is a log that is kept in memory.
type testLog struct {
	t          testing.TB
	key        testKey
	lines      [][]byte
	hashes     auditlog.Hashes
	head       auditlog.Head
	workspaces map[string]auditlog.Head
}

// newLog returns a log of n lines. They tell of requests for access, of decisions, of reads and of what was refused.
func newLog(t testing.TB, n int) *testLog {
	l := &testLog{t: t, key: newKey(t, 1), workspaces: map[string]auditlog.Head{}}
	for i := range n {
		l.add(storyEntry(i))
	}
	return l
}

// storyEntry returns entry i of a log.
func storyEntry(i int) auditlog.Entry {
	round := i / 12
	e := auditlog.Entry{
		Time:      time.Date(2026, 6, 1, 8, 0, 0, 1000*i, time.UTC).Add(time.Duration(i) * 37 * time.Minute),
		Workspace: fmt.Sprintf("656f00aa0%d", i%3), Outcome: auditlog.Done,
		Actor: auditlog.Actor{Kind: auditlog.Staff, ID: "s1", Employer: "Tuco GmbH", Country: "DE", Role: "support"},

		Credential: "tok1", Address: "192.0.2.7", Request: fmt.Sprintf("r-%d", i), Environment: "production",
		Access: fmt.Sprintf("ar%d", 3*round+i%3), ReasonType: "incident", Ticket: "T-5",
	}
	switch i % 12 / 3 {
	case 0:
		e.Event, e.Detail = "access.requested", map[string]string{"scopes": "messages:read", "staff": "s1"}
	case 1:
		e.Event = "access.approved"
		e.Actor, e.Approvers = auditlog.Actor{Kind: auditlog.Key, ID: "k9"}, []string{"k9"}
		if i%3 == 2 {
			e.Event = "access.denied"
		}
	case 2:
		e.Event, e.Operation = "staff.read", "GET /staff/workspaces/{id}/messages"
		e.Kind, e.Fields, e.Records = "message", []string{"body", "to"}, int64(i%100)
		e.Persons, e.Position = []auditlog.Digest{{byte(i)}, {1, 2}}, uint64(i)
		if i%3 == 2 {
			e.Event, e.Outcome = "staff.refused", auditlog.Denied
		}
	default:
		e.Event, e.Actor = "access.expired", auditlog.Actor{Kind: auditlog.System}
		if i%3 == 2 {
			e = auditlog.Entry{Time: e.Time, Event: "server.started", Outcome: auditlog.Done, Actor: e.Actor}
		}
	}
	return e
}

func (l *testLog) add(e auditlog.Entry) {
	l.t.Helper()
	line, next, workspace, err := auditlog.Seal(&e, l.head, l.workspaces[e.Workspace])
	must(l.t, err)
	kept, err := auditlog.Append(l.head.Seq, line, l.hashes)
	must(l.t, err)
	l.lines = append(l.lines, line)
	l.hashes = append(l.hashes, kept...)
	l.head = next
	l.workspaces[e.Workspace] = workspace
}

func (l *testLog) checkpoint(size int) auditlog.Checkpoint {
	l.t.Helper()
	root, err := auditlog.Root(uint64(size), l.hashes)
	must(l.t, err)
	return auditlog.Checkpoint{Origin: auditlog.Origin(installation, 0), Size: uint64(size), Root: root}
}

func (l *testLog) sign(size int, signers ...note.Signer) []byte {
	l.t.Helper()
	signed, err := auditlog.SignCheckpoint(l.checkpoint(size), signers...)
	must(l.t, err)
	return signed
}

// export returns the export of the lines from, to of the whole log, with a checkpoint of size.
func (l *testLog) export(from, to, size int) *Export {
	l.t.Helper()
	x := &Export{
		Product: "1.2.3", Time: exportTime, From: uint64(from), To: uint64(to),
		Checkpoint: l.sign(size, l.key.signer), Signers: []Signer{l.key.signer}, TempDir: l.t.TempDir(),
		Staff: []Staff{
			{ID: "s2", Employer: "<b>Evil & Sons</b>", Country: "FR", Role: "support", Created: exportTime.AddDate(-1, 0, 0), Disabled: exportTime},
			{ID: "s1", Employer: "Tuco GmbH", Country: "DE", Role: "support", Created: exportTime.AddDate(-2, 0, 0)},
		},
	}
	x.Lines = l.each(x)
	var err error
	x.Edge, err = auditlog.Edge(uint64(from), l.hashes)
	must(l.t, err)
	if to < size {
		x.RangeProof, err = auditlog.ProveConsistency(uint64(to), l.hashes, x.Checkpoint)
		must(l.t, err)
	}
	return x
}

// each returns the lines of an export, and only the leaf hash of those that are pruned.
func (l *testLog) each(x *Export) func(yield func(Line, error) bool) {
	return func(yield func(Line, error) bool) {
		for seq := x.From; seq < x.To; seq++ {
			line := Line{Text: l.lines[seq]}
			if (&Manifest{Pruned: x.Pruned}).pruned(seq, seq+1) > 0 {
				line = Line{Seq: seq, Leaf: auditlog.LeafHash(l.lines[seq])}
			}
			if !yield(line, nil) {
				return
			}
		}
	}
}

// exportWorkspace returns the export of the lines from, to of one workspace.
func (l *testLog) exportWorkspace(id string, from, to, size int) *Export {
	l.t.Helper()
	x := l.export(from, to, size)
	x.Workspace, x.RangeProof, x.Edge = id, nil, nil
	all := l.each(x)
	x.Lines = func(yield func(Line, error) bool) {
		for line := range all {
			if line.Text == nil {
				continue
			}
			e, err := auditlog.ParseLine(line.Text)
			must(l.t, err)
			if e.Workspace != id {
				continue
			}
			line.Proof, err = auditlog.Prove(e.Seq, l.hashes, x.Checkpoint)
			must(l.t, err)
			if !yield(line, nil) {
				return
			}
		}
	}
	return x
}

// bundleOf returns the bundle of x.
func bundleOf(t testing.TB, x *Export) []byte {
	t.Helper()
	var b bytes.Buffer
	_, err := Write(&b, x)
	must(t, err)
	return b.Bytes()
}

// verify checks a bundle with the keys.
func verify(bundle []byte, earlier *auditlog.Checkpoint, keys ...testKey) (Report, error) {
	var verifiers []note.Verifier
	for _, k := range keys {
		verifiers = append(verifiers, k.verifier)
	}
	return Verify(bytes.NewReader(bundle), int64(len(bundle)), verifiers, earlier, nil)
}

// signManifest returns the signature of a manifest by the key of l.
func signManifest(t testing.TB, l *testLog, manifest []byte) []byte {
	t.Helper()
	signature, err := note.Sign(&note.Note{Text: signedText(manifest)}, l.key.signer)
	must(t, err)
	return signature
}
