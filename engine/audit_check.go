package engine

import (
	"bytes"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"tuco/engine/auditlog"
)

// audit reads the whole log: each line follows the one before it, the tree is that of the lines, and each workspace's places
// are those of its entries. Against who wrote all of it anew, only a checkpoint from outside helps.
func (c *checker) audit() {
	c.where = "audit log"
	first, size := auditLines.First(c.tx), auditNodes.Len(c.tx)
	if lines := auditLines.Len(c.tx); lines != size {
		c.report("there are lines up to %d, and hashes up to %d", lines, size)
	}
	if d, _ := auditDrops.Get(c.tx, auditDropKey); first != d.To {
		c.report("its lines begin with number %d, and those before %d were dropped", first, d.To)
	}
	c.droppedNodes(first)
	chain, ends := auditlog.ChainFrom(first), map[WorkspaceID]uint64{}
	for seq, line := range auditLines.Scan(c.tx, first, size) {
		entry, ok := c.auditLine(chain, seq, line)
		if !ok {
			return // what follows it can't be right either
		}
		if w := WorkspaceID(entry.Workspace); w != "" {
			ends[w] = entry.WsSeq + 1
		}
	}
	c.auditPlaces(first, ends)
}

// auditLine compares a line with those before it, with what is stored of the tree, and with its place among those of its
// workspace. It returns false if it is no line that can come next.
func (c *checker) auditLine(chain *auditlog.Chain, seq uint64, line []byte) (auditlog.Entry, bool) {
	entry, err := auditlog.ParseLine(line)
	if err == nil {
		err = chain.Add(&entry, auditlog.LineHash(line))
	}
	if err != nil {
		c.report("line %d: %v", seq, err)
		return entry, false
	}
	c.auditNode(seq, line)
	if w := WorkspaceID(entry.Workspace); w != "" {
		if place, err := auditSeq(c.tx, w, entry.WsSeq); err != nil || place != seq {
			c.report("line %d is not at its place among the entries of workspace %s", seq, w)
		}
	}
	return entry, true
}

// droppedNodes compares what is stored of the tree for lines that are no longer kept with what was stored before it.
func (c *checker) droppedNodes(first uint64) {
	for seq, node := range auditNodes.Scan(c.tx, 0, first) {
		leaf, err := auditNode(node).hash(1)
		var completed []auditlog.Hash
		if err == nil {
			completed, err = tlog.StoredHashesForRecordHash(int64(seq), leaf, auditHashes{c.tx})
		}
		line, _ := auditNode(node).hash(0)
		if err != nil || !bytes.Equal(node, newAuditNode(line, completed)) {
			c.report("the hashes of line %d are not those of the lines", seq)
			return
		}
	}
}

// auditNode compares what is stored of the tree with the line that it comes from, and with what was stored before it.
func (c *checker) auditNode(seq uint64, line []byte) {
	node, _ := auditNodes.Get(c.tx, seq)
	completed, err := auditlog.Append(seq, line, auditHashes{c.tx})
	if err != nil || !bytes.Equal(node, newAuditNode(auditlog.LineHash(line), completed)) {
		c.report("the hashes of line %d are not those of the lines", seq)
	}
}

// auditPlaces reports workspaces with places beyond those of their lines. A workspace without a line that is kept may have
// places before the first one.
func (c *checker) auditPlaces(first uint64, ends map[WorkspaceID]uint64) {
	for _, name := range c.tx.Children(auditPath) {
		id, _ := strings.CutSuffix(name, "+")
		w := WorkspaceID(id)
		if !isSystemID(id, "org") {
			continue
		}
		n, end := auditOf(w).Len(c.tx), ends[w]
		if end == 0 && n > 0 {
			if last, err := auditSeq(c.tx, w, n-1); err == nil && last < first {
				continue
			}
		}
		if n != end {
			c.report("workspace %s has places of %d entries, and lines of %d", w, n, end)
		}
	}
}
