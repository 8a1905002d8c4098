package bundle

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// A pass goes through the lines once.
type pass struct {
	v           *verification
	derived     *derivation
	comparisons []*comparison // one a format
	page        *comparison
	proofs      *proofReader // nil for the whole installation
	proofsHash  hash.Hash
	lines       *lineReader
	linesDone   int64
	room        []byte
}

func newPass(v *verification) *pass {
	p := &pass{v: v, derived: newDerivation(v.manifest)}
	for _, f := range p.derived.formats {
		p.comparisons = append(p.comparisons, v.comparison(f.file))
	}
	p.page = v.comparison(pageFile)
	if section := v.large[proofsFile]; section != nil {
		p.proofsHash = sha256.New()
		p.proofs = newProofReader(io.TeeReader(section, p.proofsHash), v.small[checkpointFile])
	}
	return p
}

func (v *verification) comparison(name string) *comparison {
	f, _ := v.manifest.file(name)
	return newComparison(f, v.large[name])
}

func (p *pass) run() error {
	if err := p.heads(); err != nil {
		return err
	}
	p.lines = readLines(p.v.large[linesFile])
	defer p.lines.close()
	if err := p.meet(); err != nil {
		return err
	}
	for b := range p.lines.batches {
		for i := range b.records {
			if err := p.line(&b.records[i]); err != nil {
				return err
			}
		}
		if b.err != nil {
			return b.err
		}
		if b.bad != "" {
			return p.v.order.badLine(b.bad)
		}
		p.report()
		p.lines.free <- b
	}
	return p.v.order.end()
}

func (p *pass) heads() error {
	for i, f := range p.derived.formats {
		same, err := p.comparisons[i].next([]byte(f.head))
		if err != nil {
			return err
		}
		if !same {
			return damaged(f.file, "its head is not as it must be")
		}
	}
	return nil
}

// line checks the next line.
func (p *pass) line(r *record) error {
	proof, err := p.proof(r)
	if err != nil {
		return err
	}
	if err := p.v.order.add(r, proof); err != nil {
		return err
	}
	if err := p.meet(); err != nil {
		return err
	}
	p.linesDone += int64(len(r.text))
	p.derived.tally.add(r)
	for i := range p.derived.formats {
		p.room = p.derived.formats[i].append(p.room[:0], r)
		same, err := p.comparisons[i].next(p.room)
		if err != nil {
			return err
		}
		if !same {
			return damagedAt(r.seq, p.derived.formats[i].file,
				"what it says of the line does not come from the one in %s: one of the two is not as it was; %s", linesFile, p.otherVersion())
		}
	}
	return nil
}

// otherVersion is said where a file was rebuilt in vain: the lines may be whole, and their forms those of another version.
func (p *pass) otherVersion() string {
	return fmt.Sprintf("the bundle names version %q of tuco: where that is not this one, verify with it before you judge", p.v.manifest.Product)
}

// meet compares the lines so far with the checkpoint that was given.
func (p *pass) meet() error {
	if p.v.order.tree == nil {
		return nil
	}
	return p.v.anchor.pass(p.v.order.tree, p.v.checkpoint)
}

// proof returns the hashes that lead from a line to the root.
func (p *pass) proof(r *record) (tlog.RecordProof, error) {
	if p.proofs == nil {
		return nil, nil
	}
	seq, hashes, reason := p.proofs.next(proofHead)
	if reason == "" && seq != r.seq {
		reason = fmt.Sprintf("found the proof of line %d", seq)
	}
	if reason != "" {
		return nil, damagedAt(r.seq, proofsFile, "%s", reason)
	}
	return hashes, nil
}

// end checks the files as wholes.
func (p *pass) end() error {
	same, err := p.page.next(pageOf(p.v.manifest, p.derived.tally, p.v.staff))
	if err != nil {
		return err
	}
	if !same {
		return damaged(pageFile, "it is not what comes from the lines; %s", p.otherVersion())
	}
	for _, c := range append(p.comparisons, p.page) {
		if err := c.end(); err != nil {
			return err
		}
	}
	lines, _ := p.v.manifest.file(linesFile)
	if err := checkHash(lines, p.lines.hash); err != nil {
		return err
	}
	if p.proofs != nil {
		if !p.proofs.atEnd() {
			return damaged(proofsFile, "something follows the last proof")
		}
		proofs, _ := p.v.manifest.file(proofsFile)
		return checkHash(proofs, p.proofsHash)
	}
	return nil
}

// report tells how far the pass is.
func (p *pass) report() {
	if p.v.progress == nil {
		return
	}
	done := p.linesDone
	for _, c := range p.comparisons {
		done += c.done
	}
	p.v.progress(done, p.v.size)
}
