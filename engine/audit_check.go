package engine

import (
	"golang.org/x/mod/sumdb/tlog"

	"tuco/engine/auditlog"
)

// audit reads the whole audit log again: the lines against the hashes and the chains, every hash of the tree against those
// below it, and the places of each workspace against the lines.
func (c *checker) audit() {
	c.where = "audit log"
	size, first := auditNodes.Len(c.tx), auditLines.First(c.tx)
	if kept := auditLines.Len(c.tx); kept != size {
		c.report("it has %d lines and %d hashes", kept, size)
		return
	}
	if d, _ := auditDrops.Get(c.tx, auditDropKey); first != d.To {
		c.report("its lines begin with number %d; those before %d were dropped", first, d.To)
	}
	for seq, node := range auditNodes.Scan(c.tx, 0, size) {
		if !c.auditNode(seq, node) {
			return // every hash after it would be wrong, too
		}
	}
	chain, own := auditlog.ChainFrom(first), map[WorkspaceID]uint64{}
	for seq, line := range auditLines.Scan(c.tx, first, size) {
		entry, err := auditlog.ParseLine(line)
		if err == nil {
			err = chain.Add(&entry, auditlog.LineHash(line))
		}
		if err != nil {
			c.report("line %d: %v", seq, err)
			return
		}
		c.auditLine(seq, line, &entry)
		if w := WorkspaceID(entry.Workspace); w != "" {
			own[w] = entry.WsSeq + 1
		}
	}
	for w, n := range own {
		if stored := auditOf(w).Len(c.tx); stored != n {
			c.report("workspace %s has %d places, the lines say %d", w, stored, n)
		}
	}
}

// auditNode compares what an entry's node says of the tree with the nodes before it.
func (c *checker) auditNode(seq uint64, node auditNode) bool {
	leaf, err := node.hash(1)
	var completed []auditlog.Hash
	if err == nil {
		completed, err = tlog.StoredHashesForRecordHash(int64(seq), leaf, auditHashes{c.tx})
	}
	for i, h := range completed {
		if stored, missing := node.hash(i + 1); missing != nil || stored != h {
			c.report("hash %d of node %d is not that of the hashes below it", i, seq)
			return false
		}
	}
	if err != nil {
		c.report("node %d: %v", seq, err)
	}
	return err == nil
}

func (c *checker) auditLine(seq uint64, line []byte, entry *auditlog.Entry) {
	if h, err := auditHash(c.tx, seq, 0); err != nil || h != auditlog.LineHash(line) {
		c.report("line %d is not the one that its node has the hash of", seq)
	}
	if h, err := auditHash(c.tx, seq, 1); err != nil || h != auditlog.LeafHash(line) {
		c.report("line %d is not the leaf of the tree", seq)
	}
	if entry.Workspace == "" {
		return
	}
	if place, err := auditSeq(c.tx, WorkspaceID(entry.Workspace), entry.WsSeq); err != nil || place != seq {
		c.report("line %d is entry %d of workspace %s, which has another there", seq, entry.WsSeq, entry.Workspace)
	}
}
