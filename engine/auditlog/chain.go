package auditlog

import (
	"fmt"
	"strings"
	"time"
)

// A Head is where a chain goes on. The zero Head is that of an empty chain.
type Head struct {
	Seq  uint64 // of the next line; that many came before
	Line Hash   // of the line before; zero if there is none
}

// Seal puts e at the head of the log, and of its workspace's chain if it has a workspace, and returns its line and the heads
// after it. It sets Seq, Prev, WsSeq and WsPrev, and cuts Time as the line does. Without a workspace, the second head is
// returned as it is. If it fails, so are both.
//
// Errors: [ErrInvalid].
func Seal(e *Entry, log, workspace Head) (line []byte, nextLog, nextWorkspace Head, err error) {
	e.Time = e.Time.UTC().Truncate(time.Microsecond)
	e.Seq, e.Prev = log.Seq, log.Line
	e.WsSeq, e.WsPrev = 0, Hash{}
	if e.Workspace != "" {
		e.WsSeq, e.WsPrev = workspace.Seq, workspace.Line
	}
	line, err = AppendLine(nil, e)
	if err != nil {
		return nil, log, workspace, err
	}
	hash := LineHash(line)
	if e.Workspace != "" {
		workspace = Head{workspace.Seq + 1, hash}
	}
	return line, Head{log.Seq + 1, hash}, workspace, nil
}

// A BadEntryError says where a chain is broken first.
type BadEntryError struct {
	Seq    uint64 // of the log, or of the workspace for a [WorkspaceChain]: what should have come
	Reason string
}

func (e *BadEntryError) Error() string { return fmt.Sprintf("audit entry %d: %s", e.Seq, e.Reason) }

// A link is the end of a chain that is being checked.
type link struct {
	head Head
	open bool // nothing is known of the line before
}

// check returns why a line with this number and this hash of the line before can't come next, or "".
func (l *link) check(seq uint64, prev Hash) string {
	switch {
	case seq != l.head.Seq:
		return fmt.Sprintf("found number %d", seq)
	case prev != l.head.Line && !l.open:
		return "it doesn't hold the hash of the line before"
	}
	return ""
}

func (l *link) add(line Hash) {
	l.head = Head{l.head.Seq + 1, line}
	l.open = false
}

// A Chain checks the lines of a log one after the other. Its zero value starts at the first. It can tell neither that its
// last line was changed nor that more lines came, and all of a chain can be made anew: only the root of the tree, compared
// with a checkpoint from outside, shows that.
type Chain struct {
	log        link
	partial    bool
	workspaces map[string]*link
}

// ChainFrom returns a chain that starts in the middle of a log, at the line with seq. What the first line, and the first
// line of each workspace, hold about the line before is taken as it stands: only the tree vouches for it.
func ChainFrom(seq uint64) *Chain {
	return &Chain{log: link{head: Head{Seq: seq}, open: seq > 0}, partial: seq > 0}
}

// Head returns where the log goes on.
func (c *Chain) Head() Head { return c.log.head }

// Workspace returns where the chain of a workspace goes on. It is the zero Head if the chain has seen no line of it.
func (c *Chain) Workspace(id string) Head {
	if l := c.workspaces[id]; l != nil {
		return l.head
	}
	return Head{}
}

// Add checks that the next line is that of e, which [ParseLine] returned, and whose [LineHash] is line. If it isn't, the
// chain stays as it is. Times are not compared.
//
// Errors: [*BadEntryError].
func (c *Chain) Add(e *Entry, line Hash) error {
	if reason := c.log.check(e.Seq, e.Prev); reason != "" {
		return &BadEntryError{c.log.head.Seq, reason}
	}
	if e.Workspace != "" {
		l := c.workspaceLink(e)
		if reason := l.check(e.WsSeq, e.WsPrev); reason != "" {
			return &BadEntryError{c.log.head.Seq, "in its workspace, " + reason}
		}
		l.add(line)
	}
	c.log.add(line)
	return nil
}

// workspaceLink returns the end of the chain of e's workspace.
func (c *Chain) workspaceLink(e *Entry) *link {
	if l := c.workspaces[e.Workspace]; l != nil {
		return l
	}
	if c.workspaces == nil {
		c.workspaces = map[string]*link{}
	}
	l := new(link)
	if c.partial {
		l = &link{head: Head{Seq: e.WsSeq}, open: e.WsSeq > 0}
	}
	c.workspaces[strings.Clone(e.Workspace)] = l // a clone, as the id shares the memory of a line
	return l
}

// A WorkspaceChain checks the lines of one workspace, without the others of the log.
type WorkspaceChain struct {
	id    string
	chain link
	next  uint64 // the least seq of the next line
}

// NewWorkspaceChain returns the chain of workspace id, which starts at its first line.
func NewWorkspaceChain(id string) *WorkspaceChain { return &WorkspaceChain{id: id} }

// WorkspaceChainFrom is to NewWorkspaceChain what [ChainFrom] is to a Chain. It starts at the line with wsSeq.
func WorkspaceChainFrom(id string, wsSeq uint64) *WorkspaceChain {
	return &WorkspaceChain{id: id, chain: link{head: Head{Seq: wsSeq}, open: wsSeq > 0}}
}

// Head returns where the workspace's chain goes on.
func (c *WorkspaceChain) Head() Head { return c.chain.head }

// Add is as that of a [Chain]. That a line is in the log at all is for [VerifyProof] to show.
//
// Errors: [*BadEntryError].
func (c *WorkspaceChain) Add(e *Entry, line Hash) error {
	reason := c.chain.check(e.WsSeq, e.WsPrev)
	switch {
	case e.Workspace != c.id:
		reason = fmt.Sprintf("found workspace %q", e.Workspace)
	case reason == "" && e.Seq < c.next:
		reason = fmt.Sprintf("found number %d of the log, after %d", e.Seq, c.next-1)
	}
	if reason != "" {
		return &BadEntryError{c.chain.head.Seq, reason}
	}
	c.chain.add(line)
	c.next = e.Seq + 1
	return nil
}
