package bundle

import (
	"bytes"
	"errors"
	"io"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"tuco/engine/auditlog"
)

// Write writes the bundle of x to w. It checks what it is given as [Verify] would, but for the signatures, so that it never
// writes what will not verify. It holds a line at a time in memory; the parts are kept in temporary files meanwhile. If it
// fails, w may have got a part of the bundle, which does not verify.
//
// Errors: [auditlog.ErrInvalid], [auditlog.ErrMalformed], [*DamageError] for lines or proofs that don't fit together, and
// what Lines or w return.
func Write(w io.Writer, x *Export) (Manifest, error) {
	b, err := newWriter(x)
	if err != nil {
		return Manifest{}, err
	}
	defer b.removeParts()
	if err := b.lines(); err != nil {
		return Manifest{}, err
	}
	if err := b.others(); err != nil {
		return Manifest{}, err
	}
	if err := b.archive(w); err != nil {
		return Manifest{}, err
	}
	return *b.manifest, nil
}

// A writer makes one bundle.
type writer struct {
	x          *Export
	manifest   *Manifest
	checkpoint auditlog.Checkpoint
	order      *order
	derived    *derivation
	parts      map[string]*part
	room       []byte // for a row
}

func newWriter(x *Export) (*writer, error) {
	c, err := x.checkpoint()
	if err != nil {
		return nil, err
	}
	m, err := x.manifest(c.Origin)
	if err != nil {
		return nil, err
	}
	if x.To > c.Size {
		return nil, invalid("lines to %d of a checkpoint of %d", x.To, c.Size)
	}
	if x.Workspace != "" && len(x.Edge) > 0 {
		return nil, invalid("an edge is for the whole installation")
	}
	o, err := newOrder(m, x.Edge, c)
	if err != nil {
		return nil, err
	}
	return &writer{x: x, manifest: m, checkpoint: c, order: o, derived: newDerivation(m), parts: map[string]*part{}}, nil
}

// checkpoint returns what the signed checkpoint says, if it is by the signers in their order. The signatures themselves are
// not checked, as there are no verifiers.
func (x *Export) checkpoint() (auditlog.Checkpoint, error) {
	c, err := auditlog.UnsignedCheckpoint(x.Checkpoint)
	if err != nil {
		return c, err
	}
	again, err := auditlog.SignCheckpoint(c, x.Signers...)
	if err != nil {
		return c, err
	}
	if !bytes.Equal(again, x.Checkpoint) {
		return c, invalid("the checkpoint is not signed by the signers in their order")
	}
	return c, nil
}

// lines writes entries.jsonl and what comes from it.
func (b *writer) lines() error {
	if err := b.begin(); err != nil {
		return err
	}
	if b.x.Lines != nil {
		for line, err := range b.x.Lines {
			if err != nil {
				return err
			}
			if err := b.line(&line); err != nil {
				return err
			}
		}
	}
	return b.order.end()
}

func (b *writer) begin() error {
	if b.x.Workspace != "" {
		b.part(proofsFile)
	}
	b.part(linesFile)
	for _, f := range b.derived.formats {
		b.part(f.file).write([]byte(f.head))
	}
	for _, p := range b.parts {
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

func (b *writer) part(name string) *part {
	p := newPart(b.x.TempDir)
	b.parts[name] = p
	return p
}

// line takes one line, and writes what comes from it.
func (b *writer) line(line *Line) error {
	text := line.Text
	if text == nil {
		text = appendDropped(nil, line.Seq, line.Leaf)
	}
	var r record
	if reason := r.parse(text); reason != "" {
		return b.order.badLine(reason)
	}
	if r.dropped != (line.Text == nil) {
		return b.order.badLine("its text is not that of a line of the log")
	}
	proof, err := b.proof(&r, line.Proof)
	if err != nil {
		return err
	}
	if err := b.order.add(&r, proof); err != nil {
		return err
	}
	return b.write(&r, line.Proof)
}

// proof returns the hashes in the proof of a line.
func (b *writer) proof(r *record, text []byte) (tlog.RecordProof, error) {
	if b.x.Workspace == "" {
		if text != nil {
			return nil, invalid("proof of line %d: proofs are for one workspace", r.seq)
		}
		return nil, nil
	}
	p := newProofReader(bytes.NewReader(text), b.x.Checkpoint)
	seq, hashes, reason := p.next(proofHead)
	if reason != "" || seq != r.seq || !p.atEnd() {
		return nil, damagedAt(r.seq, proofsFile, "it is not the proof of the line: %s", reason)
	}
	return hashes, nil
}

// write writes a line, its proof if there is one, and its rows.
func (b *writer) write(r *record, proof []byte) error {
	b.derived.tally.add(r)
	err := b.parts[linesFile].write(r.text)
	if proof != nil {
		err = errors.Join(err, b.parts[proofsFile].write(proof))
	}
	for _, f := range b.derived.formats {
		b.room = f.append(b.room[:0], r)
		err = errors.Join(err, b.parts[f.file].write(b.room))
	}
	return err
}

// others makes the files that are small, and lists all files in the manifest.
func (b *writer) others() error {
	small, err := b.small()
	if err != nil {
		return err
	}
	for _, o := range fileOrder {
		content, ok := small[o.name]
		if p := b.parts[o.name]; p != nil {
			file, err := p.end(o.name)
			if err != nil {
				return err
			}
			b.manifest.Files = append(b.manifest.Files, file)
		} else if ok {
			if len(content) > maxSmallBytes && !isLarge(o.name) {
				return invalid("%s would have %d bytes", o.name, len(content))
			}
			b.parts[o.name] = &part{content: content}
			b.manifest.Files = append(b.manifest.Files, fileOf(o.name, content))
		}
	}
	if reason := b.manifest.checkFiles(); reason != "" {
		return invalid("%s", reason)
	}
	return checkShape(b.manifest, b.checkpoint)
}

// small returns the files that are kept in memory.
func (b *writer) small() (map[string][]byte, error) {
	x := b.x
	staff := x.staff()
	if reason := checkStaff(staff); reason != "" {
		return nil, invalid("%s", reason)
	}
	list, err := encodeJSON(staff)
	if err != nil {
		return nil, err
	}
	small := map[string][]byte{
		checkpointFile: x.Checkpoint, staffFile: list, pageFile: pageOf(b.manifest, b.derived.tally, staff),
	}
	for name, content := range map[string][]byte{
		consistencyFile: x.Consistency, rangeProofFile: x.RangeProof, edgeFile: edgeText(x.Edge),
		rotationsFile: bytes.Join(x.Rotations, nil),
	} {
		if len(content) > 0 {
			small[name] = content
		}
	}
	return small, b.checkProofs()
}

// checkProofs checks what leads from and to other checkpoints, and the rotations.
func (b *writer) checkProofs() error {
	if b.x.Consistency != nil {
		if _, _, err := readConsistency(consistencyFile, b.x.Consistency, b.x.Checkpoint); err != nil {
			return err
		}
	}
	for _, signed := range b.x.Rotations {
		if err := checkRotation(signed); err != nil {
			return err
		}
	}
	if b.x.Workspace != "" {
		return nil
	}
	return checkRoot(b.order.tree, b.checkpoint, b.x.Checkpoint, b.x.RangeProof)
}

// archive writes all parts.
func (b *writer) archive(w io.Writer) error {
	manifest, err := encodeJSON(b.manifest)
	if err != nil {
		return err
	}
	if len(manifest) > maxSmallBytes {
		return invalid("a manifest of %d bytes", len(manifest))
	}
	signature, err := note.Sign(&note.Note{Text: signedText(manifest)}, b.x.Signers...)
	if err != nil {
		return err
	}
	a := archiveWriter{w: w, modified: b.manifest.Time}
	a.file(manifestFile, int64(len(manifest)), bytes.NewReader(manifest))
	a.file(signatureFile, int64(len(signature)), bytes.NewReader(signature))
	for _, f := range b.manifest.Files {
		a.file(f.Name, f.Size, b.parts[f.Name].reader())
	}
	return a.end()
}

func (b *writer) removeParts() {
	for _, p := range b.parts {
		p.remove()
	}
}
