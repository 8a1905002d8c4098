package bundle

import (
	"fmt"
	"strings"

	"tuco/engine/auditlog"
)

// A Report says what the checking of a bundle without damage has shown. Its sentences are for people.
type Report struct {
	Manifest   Manifest
	Checkpoint auditlog.Checkpoint
	Keys       []string // name and hash of those that signed
	Complete   bool     // nothing of the log, or of the workspace, up to the checkpoint is left out
	Checked    []string
	Proven     []string
	NotProven  []string
}

func (v *verification) report() Report {
	r := Report{Manifest: *v.manifest, Checkpoint: v.checkpoint, Keys: v.keys}
	r.checked(v)
	if v.manifest.Workspace == "" {
		r.wholeLog(v)
	} else {
		r.oneWorkspace(v)
	}
	r.outside(v)
	r.notProven(v)
	return r
}

func say(list *[]string, format string, args ...any) {
	*list = append(*list, fmt.Sprintf(format, args...))
}

func (r *Report) checked(v *verification) {
	m := v.manifest
	say(&r.Checked, "The archive, its manifest and every line are in the one encoding that they have, and nothing follows them.")
	say(&r.Checked, "The %d files have the sizes and SHA-256 hashes of the manifest, which is signed by %s.",
		len(m.Files), strings.Join(v.keys, " and "))
	say(&r.Checked, "The checkpoint of %s, size %d, is signed by the same and no other keys.", v.checkpoint.Origin, v.checkpoint.Size)
	if len(v.trust.followed) > 0 {
		say(&r.Checked, "The keys %s were not given; signed rotations lead to them.", strings.Join(v.trust.followed, " and "))
	}
	say(&r.Checked, "%s, %s, %s and %s were made again from the lines and are the same.", csvFile, ocsfFile, cefFile, pageFile)
}

func (r *Report) wholeLog(v *verification) {
	m := v.manifest
	r.Complete = m.From == 0 && m.To == v.checkpoint.Size && m.Dropped == 0
	say(&r.Checked, "Each line holds the hash of the line before it, in the log and in its workspace, where that is in the file.")
	say(&r.Proven, "The lines %d to %d, the last not included, are those of the log of the checkpoint: none was changed, added, "+
		"removed or moved.", m.From, m.To)
	if m.Dropped > 0 {
		say(&r.Proven, "Of %d of them only the hash is kept: they existed, and could be recognised.", m.Dropped)
		say(&r.NotProven, "What the %d lines said of which only the hash is kept.", m.Dropped)
	}
	if m.From > 0 {
		say(&r.NotProven, "What the %d lines before these say.", m.From)
	}
	if later := v.checkpoint.Size - m.To; later > 0 {
		say(&r.NotProven, "What the %d lines say that follow these in the log.", later)
	}
}

func (r *Report) oneWorkspace(v *verification) {
	m, o := v.manifest, v.order
	say(&r.Checked, "Each line has a proof that leads to the root of the checkpoint, and holds the hash of the line before it in "+
		"its workspace, where that is in the file.")
	say(&r.Proven, "All %d lines are in the log of the checkpoint, unchanged.", m.Entries)
	fromStart := o.workspace != nil && o.start == 0
	if fromStart && o.missing == 0 {
		say(&r.Proven, "They are the first of the workspace, without a gap up to the last in the file.")
	}
	if o.missing > 0 {
		say(&r.NotProven, "What %d lines of the workspace say that are missing. The pruned ranges have room for them, but nothing shows "+
			"that they were in these.", o.missing)
	}
	if o.start > 0 {
		say(&r.NotProven, "What the %d lines of the workspace before these say.", o.start)
	}
	atEnd := o.workspace != nil && o.lastSeq == v.checkpoint.Size-1
	r.Complete = fromStart && o.missing == 0 && atEnd
	if atEnd {
		say(&r.Proven, "The last line in the file is the newest of the whole log at the checkpoint, so no line of the workspace "+
			"comes after it.")
	} else {
		say(&r.NotProven, "That the workspace has no lines after those in the file: the last one is not the newest of the log.")
	}
}

func (r *Report) outside(v *verification) {
	switch {
	case v.anchor.given:
		say(&r.Proven, "The log continues the checkpoint of size %d that was given: what it held then was not changed since, not "+
			"even by who holds the key.", v.anchor.Size)
	default:
		say(&r.NotProven, "That whoever holds the signing key did not write the whole log anew: only a checkpoint that was kept "+
			"elsewhere shows that. None was given.")
	}
}

func (r *Report) notProven(v *verification) {
	say(&r.NotProven, "That the log says all that happened, and that its times are right: it proves what was recorded, in which order.")
	say(&r.NotProven, "That the staff accounts, pruned ranges, product version and time of export are right: they are what the "+
		"installation signed.")
	if v.anchor.given && v.anchor.Size < v.checkpoint.Size {
		say(&r.NotProven, "That who holds the key did not change lines from %d on since they were recorded.", v.anchor.Size)
	}
}
