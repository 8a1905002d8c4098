package engine

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"tuco/engine/auditlog"
	"tuco/kv"
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
		e, err := auditlog.ParseLine(line)
		if err == nil {
			err = chain.Add(&e, auditlog.LineHash(line))
		}
		if err != nil {
			c.report("line %d: %v", seq, err)
			return // what follows it can't be right either
		}
		c.auditNode(seq, line)
		if w := WorkspaceID(e.Workspace); w != "" {
			ends[w] = e.WsSeq + 1
			if place, err := auditSeq(c.tx, w, e.WsSeq); err != nil || place != seq {
				c.report("line %d is not at its place among the entries of workspace %s", seq, w)
			}
		}
	}
	c.auditPlaces(first, ends)
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

// checkPlaces compares the places of a workspace with its lines below size. Its bundle would be sound without those whose
// places somebody took away, and say that it is complete.
func (e *Engine) checkPlaces(w WorkspaceID, size uint64) error {
	named := []byte(`"workspace":"` + string(w) + `"`)
	for from := uint64(0); from < size; from += auditChunk {
		_, err := kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
			for seq, line := range auditLines.Scan(tx, from, min(size, from+auditChunk)) {
				if !bytes.Contains(line, named) {
					continue
				}
				entry, err := auditlog.ParseLine(line)
				if err != nil {
					return struct{}{}, &auditlog.BadEntryError{Seq: seq, Reason: err.Error()}
				}
				if place, err := auditSeq(tx, w, entry.WsSeq); err != nil || place != seq {
					return struct{}{}, fmt.Errorf("%w: entry %d is not at its place among those of workspace %s: the audit log is damaged", kv.ErrDamaged, seq, w)
				}
			}
			return struct{}{}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
