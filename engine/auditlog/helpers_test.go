package auditlog

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

const installation = "7f3c9a"

// A testKey is a signing key of the installation, or of another one.
type testKey struct {
	skey, vkey string
	signer     note.Signer
	verifier   note.Verifier
}

// newKey returns the key made from a seed of which every byte is b.
func newKey(t testing.TB, installation string, b byte) (k testKey) {
	t.Helper()
	var err error
	k.skey, k.vkey, err = NewSigner(bytes.NewReader(bytes.Repeat([]byte{b}, 32)), KeyName(installation))
	must(t, err)
	k.signer, err = note.NewSigner(k.skey)
	must(t, err)
	k.verifier, err = ParseVerifier(k.vkey)
	must(t, err)
	return k
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fullEntry returns an entry without a zero field.
func fullEntry() Entry {
	return Entry{
		Seq:       41,
		Time:      time.Date(2026, 11, 23, 14, 5, 6, 70_000, time.UTC),
		Epoch:     1,
		Prev:      LineHash([]byte("a")),
		Workspace: "656f00aa01",
		WsSeq:     7,
		WsPrev:    LineHash([]byte("b")),
		Event:     "staff.read",
		Outcome:   Done,
		Actor:     Actor{Kind: Staff, ID: "s1", Employer: "Tuco GmbH", Country: "DE", Role: "support"},

		Credential:  "tok1",
		Address:     "192.0.2.7",
		Request:     "r-99",
		Operation:   "GET /staff/workspaces/{id}/messages",
		Environment: "production",
		Kind:        "message",
		Object:      "m1",
		Access:      "ar1",
		ReasonType:  "incident",
		Ticket:      "T-\"5\"\\\b\f\n\r\t\x01\u007f é\u2028/",
		Approvers:   []string{"u1", "u2"},
		Fields:      []string{"body"},
		Records:     2,
		Persons:     []Digest{{0xab, 15: 1}, {}},
		Position:    1234,
		Detail:      map[string]string{"b": "", "a": "1", "B": "2"},
	}
}

// fullLine is the line of fullEntry.
const fullLine = `{"v":1,"seq":41,"time":"2026-11-23T14:05:06.000070Z","epoch":1,` +
	`"prev":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",` +
	`"workspace":"656f00aa01","wsSeq":7,` +
	`"wsPrev":"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",` +
	`"event":"staff.read","outcome":"done",` +
	`"actor":{"kind":"staff","id":"s1","employer":"Tuco GmbH","country":"DE","role":"support"},` +
	`"credential":"tok1","address":"192.0.2.7","request":"r-99","operation":"GET /staff/workspaces/{id}/messages",` +
	`"environment":"production","kind":"message","object":"m1","access":"ar1","reasonType":"incident",` +
	`"ticket":"T-\"5\"\\\b\f\n\r\t\u0001` + "\u007f é\u2028/" + `","approvers":["u1","u2"],"fields":["body"],"records":2,` +
	`"persons":["ab000000000000000000000000000001","00000000000000000000000000000000"],"position":1234,` +
	`"detail":{"B":"2","a":"1","b":""}}` + "\n"

// leastEntry returns an entry in which only what must be set is.
func leastEntry() Entry {
	return Entry{Time: time.Unix(0, 0), Event: "start", Outcome: Done, Actor: Actor{Kind: System}}
}

const leastLine = `{"v":1,"seq":0,"time":"1970-01-01T00:00:00.000000Z",` +
	`"prev":"0000000000000000000000000000000000000000000000000000000000000000",` +
	`"event":"start","outcome":"done","actor":{"kind":"system"}}` + "\n"

// A testLog is a log that is kept in memory.
type testLog struct {
	lines      [][]byte
	hashes     Hashes
	head       Head
	workspaces map[string]Head
}

// newLog returns a log of n lines, of which every fourth is of no workspace.
func newLog(t testing.TB, n int) *testLog {
	l := &testLog{workspaces: map[string]Head{}}
	for i := range n {
		e := fullEntry()
		e.Workspace = []string{"w1", "w2", "", "w1"}[i%4]
		e.Object = fmt.Sprint("m", i)
		l.add(t, e)
	}
	return l
}

func (l *testLog) add(t testing.TB, e Entry) {
	t.Helper()
	line, next, workspace, err := Seal(&e, l.head, l.workspaces[e.Workspace])
	must(t, err)
	kept, err := Append(l.head.Seq, line, l.hashes)
	must(t, err)
	l.lines = append(l.lines, line)
	l.hashes = append(l.hashes, kept...)
	l.head = next
	l.workspaces[e.Workspace] = workspace
}

// checkpoint returns the checkpoint of the first size lines.
func (l *testLog) checkpoint(t testing.TB, size int) Checkpoint {
	t.Helper()
	root, err := Root(uint64(size), l.hashes)
	must(t, err)
	return Checkpoint{Origin(installation, 0), uint64(size), root}
}

func (l *testLog) sign(t testing.TB, size int, keys ...testKey) []byte {
	t.Helper()
	return sign(t, l.checkpoint(t, size), keys...)
}

func sign(t testing.TB, c Checkpoint, keys ...testKey) []byte {
	t.Helper()
	var signers []note.Signer
	for _, k := range keys {
		signers = append(signers, k.signer)
	}
	signed, err := SignCheckpoint(c, signers...)
	must(t, err)
	return signed
}

// signText signs a text that need not be a checkpoint.
func signText(t testing.TB, text string, keys ...testKey) []byte {
	t.Helper()
	var signers []note.Signer
	for _, k := range keys {
		signers = append(signers, k.signer)
	}
	signed, err := note.Sign(&note.Note{Text: text}, signers...)
	must(t, err)
	return signed
}

// everyByteCounts checks that text is accepted, and nothing that differs from it in one byte.
func everyByteCounts(t *testing.T, text []byte, accepts func([]byte) error) {
	t.Helper()
	must(t, accepts(text))
	for i := range text {
		for _, flip := range []byte{1, 0x20, 0x80} {
			other := bytes.Clone(text)
			other[i] ^= flip
			if accepts(other) == nil {
				t.Errorf("accepted with %q instead of %q at byte %d of %q", other[i], text[i], i, text)
			}
		}
		if cut := append(bytes.Clone(text[:i]), text[i+1:]...); accepts(cut) == nil {
			t.Errorf("accepted without byte %d of %q", i, text)
		}
	}
	if accepts(append(bytes.Clone(text), '\n')) == nil || accepts(nil) == nil {
		t.Errorf("accepted with a newline more, or empty: %q", text)
	}
}
