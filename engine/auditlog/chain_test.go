package auditlog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// checkLog checks lines as a verifier does that was given c from outside.
func checkLog(lines [][]byte, c Checkpoint) error {
	var chain Chain
	var tree Range
	for i, line := range lines {
		e, err := ParseLine(line)
		if err != nil {
			return fmt.Errorf("line %d: %w", i, err)
		}
		if err := chain.Add(&e, LineHash(line)); err != nil {
			return err
		}
		tree.Append(LeafHash(line))
		if tree.Size() == c.Size && tree.Root() != c.Root {
			return errors.New("the root is another")
		}
	}
	if tree.Size() < c.Size {
		return fmt.Errorf("%d lines of %d", tree.Size(), c.Size)
	}
	return nil
}

// reseal returns lines with those from i on linked anew, as someone would who hides a change.
func reseal(t interface{ Fatal(...any) }, lines [][]byte, i int) [][]byte {
	var chain Chain
	var out [][]byte
	for n, line := range lines {
		e, err := ParseLine(line)
		if err != nil {
			t.Fatal(err)
		}
		if n >= i {
			line, _, _, err = Seal(&e, chain.Head(), chain.Workspace(e.Workspace))
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := chain.Add(&e, LineHash(line)); err != nil {
			t.Fatal(err)
		}
		out = append(out, line)
	}
	return out
}

func TestSeal(t *testing.T) {
	at := time.Date(2026, 11, 23, 1, 0, 0, 123456789, time.FixedZone("", 3600))
	e := leastEntry()
	e.Time = at
	log, workspace := Head{5, Hash{1}}, Head{3, Hash{2}}
	line, nextLog, nextWorkspace, err := Seal(&e, log, workspace)
	if err != nil || nextLog != (Head{6, LineHash(line)}) || nextWorkspace != workspace {
		t.Errorf("without workspace: %v, %v, %v", nextLog, nextWorkspace, err)
	}
	if got, err := ParseLine(line); err != nil || got.Time != e.Time || got.Seq != 5 || got.Prev != log.Line {
		t.Errorf("without workspace: %+v, %v", got, err)
	}
	if want := time.Date(2026, 11, 23, 0, 0, 0, 123456000, time.UTC); e.Time != want {
		t.Errorf("time %v, want %v", e.Time, want)
	}
	e.Workspace = "w"
	line, nextLog, nextWorkspace, err = Seal(&e, log, workspace)
	if err != nil || nextLog != (Head{6, LineHash(line)}) || nextWorkspace != (Head{4, LineHash(line)}) {
		t.Errorf("with workspace: %v, %v, %v", nextLog, nextWorkspace, err)
	}
	if e.WsSeq != 3 || e.WsPrev != workspace.Line {
		t.Errorf("with workspace: %+v", e)
	}
	e.Workspace = "" // what was sealed before may be sealed again
	if _, _, _, err = Seal(&e, log, workspace); err != nil {
		t.Errorf("without workspace again: %v", err)
	}
	e.Event = ""
	line, nextLog, nextWorkspace, err = Seal(&e, log, workspace)
	if !errors.Is(err, ErrInvalid) || line != nil || nextLog != log || nextWorkspace != workspace {
		t.Errorf("without event: %q, %v, %v, %v", line, nextLog, nextWorkspace, err)
	}
}

// Each kind of break is found at the line where it is, also when the line itself is well formed.
func TestChainFindsFirstBadEntry(t *testing.T) {
	const at = 6 // of workspace "", between lines of others; line 5 is the last of w2 before it
	good := newLog(t, 20).lines
	edit := func(i int, change func(e *Entry)) func() [][]byte {
		return func() [][]byte {
			e, err := ParseLine(good[i])
			must(t, err)
			change(&e)
			lines := slices.Clone(good)
			lines[i], err = AppendLine(nil, &e)
			must(t, err)
			return lines
		}
	}
	for _, tt := range []struct {
		about  string
		lines  func() [][]byte
		want   uint64
		reason string
	}{
		{"edited", edit(at, func(e *Entry) { e.Ticket = "other" }), at + 1, "hash of the line before"},
		{"another time", edit(at, func(e *Entry) { e.Time = e.Time.Add(-time.Hour) }), at + 1, "hash of the line before"},
		{"number too high", edit(at, func(e *Entry) { e.Seq++ }), at, "found number 7"},
		{"number too low", edit(at, func(e *Entry) { e.Seq-- }), at, "found number 5"},
		{"wrong prev", edit(at, func(e *Entry) { e.Prev[31]++ }), at, "hash of the line before"},
		{"first has a prev", edit(0, func(e *Entry) { e.Prev[0]++ }), 0, "hash of the line before"},
		{"wrong wsPrev", edit(5, func(e *Entry) { e.WsPrev[0]++ }), 5, "in its workspace, it doesn't hold"},
		{"first of its workspace has a wsPrev", edit(1, func(e *Entry) { e.WsPrev[0]++ }), 1,
			"in its workspace, it doesn't hold"},
		{"wsSeq too high", edit(5, func(e *Entry) { e.WsSeq++ }), 5, "in its workspace, found number 2"},
		{"first of its workspace isn't 0", edit(1, func(e *Entry) { e.WsSeq++ }), 1,
			"in its workspace, found number 1"},
		{"another workspace", edit(5, func(e *Entry) { e.Workspace = "w1" }), 5, "in its workspace, found number 1"},
		{"a new workspace", edit(5, func(e *Entry) { e.Workspace = "w3" }), 5, "in its workspace, found number 1"},
		{"without workspace", edit(5, func(e *Entry) {
			e.Workspace, e.WsSeq, e.WsPrev = "", 0, Hash{}
		}), 6, "hash of the line before"},
		{"removed", func() [][]byte { return slices.Delete(slices.Clone(good), at, at+1) }, at, "found number 7"},
		{"first removed", func() [][]byte { return good[1:] }, 0, "found number 1"},
		{"twice", func() [][]byte { return slices.Insert(slices.Clone(good), at, good[at]) }, at + 1, "found number 6"},
		{"of a log with another start", func() [][]byte {
			lines := slices.Clone(good)
			lines[0] = []byte(leastLine)
			return lines
		}, 1, "hash of the line before"},
		{"swapped", func() [][]byte {
			lines := slices.Clone(good)
			lines[at], lines[at+1] = lines[at+1], lines[at]
			return lines
		}, at, "found number 7"},
	} {
		var chain Chain
		var bad *BadEntryError
		for _, line := range tt.lines() {
			e, err := ParseLine(line)
			must(t, err)
			before := chain.Head()
			if err := chain.Add(&e, LineHash(line)); err != nil {
				if !errors.As(err, &bad) || chain.Head() != before {
					t.Errorf("%s: got %v, at %v", tt.about, err, chain.Head())
				}
				break
			}
		}
		if bad == nil || bad.Seq != tt.want || !strings.Contains(bad.Reason, tt.reason) {
			t.Errorf("%s: got %v, want entry %d and %q", tt.about, bad, tt.want, tt.reason)
		}
	}
}

// With a checkpoint from outside, no change of the lines that it covers goes unnoticed, however well it is made.
func TestEveryChangeIsFound(t *testing.T) {
	const size = 300
	log := newLog(t, size)
	must(t, checkLog(log.lines, log.checkpoint(t, size)))
	changes := []string{"byte", "field", "remove", "insert", "twice", "swap", "move", "cut the end"}
	rapid.Check(t, func(t *rapid.T) {
		lines := slices.Clone(log.lines)
		covered := rapid.IntRange(1, size).Draw(t, "size of the checkpoint")
		root, err := Root(uint64(covered), log.hashes)
		if err != nil {
			t.Fatal(err)
		}
		i := rapid.IntRange(0, covered-1).Draw(t, "line")
		j := rapid.IntRange(0, size-1).Filter(func(j int) bool { return j != i }).Draw(t, "other line")
		change := rapid.SampledFrom(changes).Draw(t, "change")
		switch change {
		case "byte":
			lines[i] = bytes.Clone(lines[i])
			lines[i][rapid.IntRange(0, len(lines[i])-1).Draw(t, "byte")] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
		case "field", "insert":
			e, err := ParseLine(lines[i])
			if err != nil {
				t.Fatal(err)
			}
			changeField(&e, rapid.IntRange(0, 5).Draw(t, "field"))
			line, err := AppendLine(nil, &e)
			if err != nil {
				t.Fatal(err)
			}
			if change == "insert" {
				lines = slices.Insert(lines, i, line)
			} else {
				lines[i] = line
			}
		case "remove":
			lines = slices.Delete(lines, i, i+1)
		case "twice":
			lines = slices.Insert(lines, i, lines[i])
		case "swap":
			lines[i], lines[j] = lines[j], lines[i]
		case "move":
			line := lines[i]
			lines = slices.Insert(slices.Delete(lines, i, i+1), j, line)
		case "cut the end":
			lines = lines[:i]
		}
		if change != "byte" && rapid.Bool().Draw(t, "linked anew") {
			lines = reseal(t, lines, min(i, j))
		}
		if len(lines) >= covered && slices.EqualFunc(lines[:covered], log.lines[:covered], bytes.Equal) {
			return // a copy of the last that is covered was put after it
		}
		if checkLog(lines, Checkpoint{Origin(installation, 0), uint64(covered), root}) == nil {
			t.Fatalf("%s of line %d is not found", change, i)
		}
	})
}

// changeField changes one thing that an entry tells.
func changeField(e *Entry, field int) {
	switch field {
	case 0:
		e.Time = e.Time.Add(time.Microsecond)
	case 1:
		e.Actor.ID += "0"
	case 2:
		e.Outcome = Failed
	case 3:
		e.Records++
	case 4:
		e.Persons = e.Persons[:1]
	default:
		e.Detail = nil
	}
}

// A chain that starts in the middle takes the first line, and the first of each workspace, as they stand.
func TestChainFrom(t *testing.T) {
	lines := newLog(t, 40).lines
	for start := range lines {
		chain := ChainFrom(uint64(start))
		for _, line := range lines[start:] {
			e, err := ParseLine(line)
			must(t, err)
			must(t, chain.Add(&e, LineHash(line)))
		}
		if want := (Head{40, LineHash(lines[39])}); chain.Head() != want {
			t.Errorf("from %d: ends at %v, want %v", start, chain.Head(), want)
		}
	}
	for _, tt := range []struct {
		start, line int
		change      func(e *Entry)
	}{
		{0, 0, func(e *Entry) { e.Prev[0]++ }},
		{20, 20, func(e *Entry) { e.Seq++ }},
		{20, 21, func(e *Entry) { e.Prev[0]++ }},
		{20, 25, func(e *Entry) { e.WsPrev[0]++ }},
		{20, 25, func(e *Entry) { e.WsSeq++ }},
		{20, 25, func(e *Entry) { e.Workspace, e.WsSeq = "new", 0 }}, // a wsPrev before the first
	} {
		chain := ChainFrom(uint64(tt.start))
		var bad *BadEntryError
		for i, line := range lines[tt.start : tt.line+1] {
			e, err := ParseLine(line)
			must(t, err)
			if tt.start+i == tt.line {
				tt.change(&e)
			}
			err = chain.Add(&e, LineHash(line))
			if found := errors.As(err, &bad); found != (tt.start+i == tt.line) {
				t.Errorf("from %d: line %d: %v", tt.start, tt.start+i, err)
			}
		}
		if bad == nil || bad.Seq != uint64(tt.line) {
			t.Errorf("from %d: got %v, want entry %d", tt.start, bad, tt.line)
		}
	}
}

// One workspace's lines are a chain of their own.
func TestWorkspaceChain(t *testing.T) {
	var entries []Entry
	var hashes []Hash
	for _, line := range newLog(t, 40).lines {
		if e, err := ParseLine(line); err == nil && e.Workspace == "w1" {
			entries = append(entries, e)
			hashes = append(hashes, LineHash(line))
		}
	}
	add := func(c *WorkspaceChain, entries []Entry, hashes []Hash) (bad *BadEntryError) {
		for i := range entries {
			if err := c.Add(&entries[i], hashes[i]); errors.As(err, &bad) {
				return bad
			}
		}
		return nil
	}
	for start := range entries {
		c := WorkspaceChainFrom("w1", uint64(start))
		bad := add(c, entries[start:], hashes[start:])
		if want := (Head{20, hashes[19]}); bad != nil || c.Head() != want {
			t.Errorf("from %d: %v, ends at %v, want %v", start, bad, c.Head(), want)
		}
	}
	for _, tt := range []struct {
		about  string
		change func(e *Entry)
		reason string
	}{
		{"another workspace", func(e *Entry) { e.Workspace = "w2" }, `found workspace "w2"`},
		{"without workspace", func(e *Entry) { e.Workspace = "" }, `found workspace ""`},
		{"gap", func(e *Entry) { e.WsSeq++ }, "found number 6"},
		{"wrong wsPrev", func(e *Entry) { e.WsPrev[0]++ }, "hash of the line before"},
		{"not later in the log", func(e *Entry) { e.Seq = entries[4].Seq }, "found number 8 of the log, after 8"},
	} {
		changed := slices.Clone(entries)
		tt.change(&changed[5])
		bad := add(NewWorkspaceChain("w1"), changed, hashes)
		if bad == nil || bad.Seq != 5 || !strings.Contains(bad.Error(), tt.reason) {
			t.Errorf("%s: got %v, want entry 5 and %q", tt.about, bad, tt.reason)
		}
	}
}
