package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tuco/engine/auditlog"
	"tuco/engine/auditlog/forward"
	"tuco/kv"
)

// forwarding runs a forwarder of the audit log; stop lets it send what is there.
func (w *world) forwarding(urls ...string) (f *forward.Forwarder, stop func()) {
	w.t.Helper()
	sinks, err := forward.ParseAll(urls)
	if err != nil {
		w.t.Fatal(err)
	}
	if f, err = w.ForwardAudit(sinks, forward.Options{Product: "test"}); err != nil {
		w.t.Fatal(err)
	}
	return f, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		f.Stop(ctx)
	}
}

// forwarded returns the leaf hashes in the files of a directory, by epoch and in order. It computes them from the lines.
func forwarded(t *testing.T, dir string) map[string][]auditlog.Hash {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	leaves := map[string][]auditlog.Hash{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var o struct {
				Seq   int
				Leaf  string
				Entry json.RawMessage
			}
			if err := json.Unmarshal(line, &o); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			epoch := strings.Split(filepath.Base(name), "-")[2]
			leaf := auditlog.LeafHash(append(o.Entry, '\n'))
			if o.Seq != len(leaves[epoch]) || o.Leaf != fmt.Sprintf("%x", leaf[:]) {
				t.Errorf("%s: %s", name, line)
			}
			leaves[epoch] = append(leaves[epoch], leaf)
		}
	}
	return leaves
}

// TestForwardAudit: a directory has the whole log, over restarts, and after a restore that of the new epoch from its beginning.
func TestForwardAudit(t *testing.T) {
	w, dir := newWorld(t, unlimited()), t.TempDir()
	all := func() (leaves []auditlog.Hash) {
		lines, _, err := w.Admin().AuditLines(0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			leaves = append(leaves, auditlog.LeafHash(line))
		}
		return leaves
	}
	check := func(epoch string) {
		t.Helper()
		if got, want := fmt.Sprint(forwarded(t, dir)[epoch]), fmt.Sprint(all()); got != want || len(all()) < 3 {
			t.Errorf("forwarded: %s\nwant: %s", got, want)
		}
	}
	for i := range 3 {
		_, stop := w.forwarding("file://" + dir)
		if err := w.StartAudit("test"); err != nil {
			t.Fatal(err)
		}
		w.workspace(fmt.Sprint("Workspace ", i), "UTC")
		if err := w.StopAudit(); err != nil {
			t.Fatal(err)
		}
		stop()
		check("0")
		w.reopen()
	}
	before := len(all())
	if _, err := kv.Update(w.db, func(tx *kv.Tx) (struct{}, error) {
		state, _ := auditStates.Get(tx, auditStateKey)
		state.Epoch++
		auditStates.Put(tx, auditStateKey, state)
		return struct{}{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	w.workspace("Restored", "UTC")
	_, stop := w.forwarding("file://" + dir)
	stop()
	check("1")
	if n := len(forwarded(t, dir)["0"]); n != before {
		t.Errorf("the files of the epoch before have %d entries, had %d", n, before)
	}
}

// TestForwardCursor: how far a syslog server is outlives a restart, and is known for each restore epoch.
func TestForwardCursor(t *testing.T) {
	w := newWorld(t, unlimited())
	feed := func() auditFeed {
		s := w.audit.state.Load()
		return auditFeed{w.Engine, auditlog.Origin(s.Installation, s.Epoch)}
	}
	is := func(f auditFeed, sink string, want uint64) {
		t.Helper()
		if got, err := f.Cursor(sink); got != want || err != nil {
			t.Errorf("the cursor of %s is at %d, %v; want %d", sink, got, err, want)
		}
	}
	if err := feed().SetCursor("syslog://a:601", 3); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	is(feed(), "syslog://a:601", 3)
	is(feed(), "syslog://b:601", 0)
	next := feed()
	next.origin = auditlog.Origin(w.audit.state.Load().Installation, 1)
	is(next, "syslog://a:601", 0)
}

// TestForwardWarnings: a server that can't be reached is a warning, until it can.
func TestForwardWarnings(t *testing.T) {
	w := newWorld(t, unlimited())
	w.workspace("Acme", "UTC")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	_, stop := w.forwarding("syslog://" + address + "?format=cef")
	defer stop()
	eventually(t, "the warnings follow", func() bool {
		warnings := strings.Join(w.Warnings(), "\n")
		return strings.Contains(warnings, "The audit log is not forwarded to syslog://"+address+", which is ") && strings.Contains(warnings, "connection refused")
	})
	if ln, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			defer c.Close()
			io.Copy(io.Discard, bufio.NewReader(c)) //nolint:errcheck // until the end
		}
	}()
	eventually(t, "the warnings follow", func() bool { return len(w.Warnings()) == 0 })
}

// TestFeedOfDroppedEntries: an entry whose line is no longer kept has its leaf hash; a line that is not the tree's is an error.
func TestFeedOfDroppedEntries(t *testing.T) {
	w := newWorld(t, unlimited())
	for i := range 5 {
		w.workspace(fmt.Sprint("Workspace ", i), "UTC")
	}
	feed := auditFeed{w.Engine, ""}
	before, err := feed.Entries(0, 1<<20)
	if err != nil || len(before) < 5 {
		t.Fatalf("%d entries, %v", len(before), err)
	}
	if few, err := feed.Entries(1, 1); err != nil || len(few) != 1 || few[0].Seq != 1 {
		t.Errorf("entries of one byte: %v, %v", few, err)
	}
	if _, err := kv.Update(w.db, func(tx *kv.Tx) (struct{}, error) { auditLines.DropSegment(tx, 2, 0); return struct{}{}, nil }); err != nil {
		t.Fatal(err)
	}
	after, err := feed.Entries(0, 1<<20)
	if err != nil || len(after) != len(before) {
		t.Fatalf("%d entries, %v", len(after), err)
	}
	for i, e := range after {
		if e.Seq != uint64(i) || e.Leaf != before[i].Leaf || (e.Line == nil) != (i < 2) {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	if _, err := kv.Update(w.db, func(tx *kv.Tx) (struct{}, error) {
		auditLines.Append(tx, []byte("not what is recorded\n"))
		auditNodes.Append(tx, newAuditNode(auditlog.Hash{}, []auditlog.Hash{{}}))
		return struct{}{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Entries(0, 1<<20); !errors.Is(err, kv.ErrDamaged) {
		t.Errorf("a line that is not the tree's: %v", err)
	}
	w.close() // without the check at the end, which finds it, too
}
