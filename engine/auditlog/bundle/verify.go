package bundle

import (
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"tuco/engine/auditlog"
)

// Verify checks a bundle of this size that r holds, with the keys of the log in verifiers. It accepts what [Write] writes, and
// nothing else. If earlier is not nil, the log must continue that checkpoint: then it also finds what whoever holds the key
// has changed since. If progress is not nil, it is called now and then, from one goroutine, with how many bytes were looked
// at of how many.
//
// Errors: [*DamageError]; [auditlog.ErrNotProven] if the bundle has nothing that leads from the earlier checkpoint to its own;
// and those of r.
func Verify(r io.ReaderAt, size int64, verifiers []note.Verifier, earlier *auditlog.Checkpoint, progress func(done, total int64),
) (Report, error) {
	v := &verification{progress: progress, trust: newTrust(verifiers)}
	if earlier != nil {
		v.anchor = anchor{Checkpoint: *earlier, given: true}
	}
	if err := v.open(r, size); err != nil {
		return Report{}, err
	}
	if err := v.checkAll(); err != nil {
		return Report{}, err
	}
	if progress != nil {
		progress(size, size)
	}
	return v.report(), nil
}

// A verification is the checking of one bundle.
type verification struct {
	progress func(done, total int64)
	size     int64
	trust    *trust
	anchor   anchor

	manifest     *Manifest
	manifestText []byte
	signature    []byte
	small        map[string][]byte
	large        map[string]*io.SectionReader

	checkpoint auditlog.Checkpoint
	keys       []string // that signed
	staff      []Staff
	order      *order
}

// open reads the archive, but for the files that can be large.
func (v *verification) open(r io.ReaderAt, size int64) error {
	v.size = size
	a := &archive{r: io.NewSectionReader(r, 0, size), size: size}
	if err := v.openManifest(a); err != nil {
		return err
	}
	v.small, v.large = map[string][]byte{}, map[string]*io.SectionReader{}
	for _, f := range v.manifest.Files {
		var err error
		if isLarge(f.Name) {
			v.large[f.Name], err = a.next(f.Name, f.Size)
		} else {
			v.small[f.Name], err = a.small(f.Name, f.Size)
		}
		if err != nil {
			return err
		}
	}
	return a.end()
}

func isLarge(name string) bool {
	return slices.Contains([]string{linesFile, proofsFile, csvFile, ocsfFile, cefFile, pageFile}, name)
}

// openManifest reads the two files that are not in the manifest.
func (v *verification) openManifest(a *archive) error {
	size, modified, err := a.sizeOf()
	if err != nil {
		return err
	}
	a.modified = time.Unix(modified, 0)
	if v.manifestText, err = a.small(manifestFile, size); err != nil {
		return err
	}
	if v.manifest, err = parseManifest(v.manifestText); err != nil {
		return err
	}
	if !v.manifest.Time.Equal(a.modified) {
		return damaged(manifestFile, "its time is not that of the files")
	}
	if size, _, err = a.sizeOf(); err != nil {
		return err
	}
	v.signature, err = a.small(signatureFile, size)
	return err
}

// checkAll checks the lines even if the signatures don't hold, as only the lines can tell which of them is bad.
func (v *verification) checkAll() error {
	err := v.checkSmall()
	if v.order == nil {
		return err // the lines have no place
	}
	if lines := v.checkLines(); lines != nil && (err == nil || namesLine(lines)) {
		return lines
	}
	if err != nil {
		return err
	}
	return v.checkLog()
}

// checkSmall checks all but the lines and what comes from them.
func (v *verification) checkSmall() error {
	edge, err := parseEdge(v.small[edgeFile])
	if err != nil {
		return err
	}
	c, err := auditlog.UnsignedCheckpoint(v.small[checkpointFile])
	if err != nil {
		return inFile(checkpointFile, err)
	}
	if err := checkShape(v.manifest, c); err != nil {
		return err
	}
	if err := parseJSON(staffFile, v.small[staffFile], &v.staff); err != nil {
		return err
	}
	if reason := checkStaff(v.staff); reason != "" || v.staff == nil {
		return damaged(staffFile, "%s", reason)
	}
	counted := *v.manifest
	counted.Entries, counted.Dropped, counted.FirstLine, counted.LastLine = 0, 0, "", ""
	o, err := newOrder(&counted, edge, c)
	if err != nil {
		return inFile(edgeFile, err)
	}
	v.checkpoint, v.order = c, o
	return v.checkSigned()
}

// checkSigned checks signatures, and that the manifest has the hashes of the small files.
func (v *verification) checkSigned() error {
	for _, f := range v.manifest.Files {
		if content, ok := v.small[f.Name]; ok && fileOf(f.Name, content) != f {
			return damaged(f.Name, "its SHA-256 is not that of the manifest")
		}
	}
	if err := v.trust.follow(v.small[rotationsFile]); err != nil {
		return err
	}
	var err error
	if _, v.keys, err = v.trust.openCheckpoint(v.small[checkpointFile]); err != nil {
		return err
	}
	return v.trust.openSignature(v.signature, v.manifestText, v.keys)
}

// checkLines checks the lines, and what comes from them.
func (v *verification) checkLines() error {
	p := newPass(v)
	if err := p.run(); err != nil {
		return err
	}
	counted := v.order.manifest
	if counted.Entries != v.manifest.Entries || counted.Dropped != v.manifest.Dropped ||
		counted.FirstLine != v.manifest.FirstLine || counted.LastLine != v.manifest.LastLine {
		return damaged(manifestFile, "its counts are not those of the lines")
	}
	return p.end()
}

// checkLog checks that the lines lead to the checkpoint, and that leads on from the one that was given.
func (v *verification) checkLog() error {
	signed := v.small[checkpointFile]
	if v.manifest.Workspace == "" {
		if err := checkRoot(v.order.tree, v.checkpoint, signed, v.small[rangeProofFile]); err != nil {
			return err
		}
	}
	size, hashes, err := uint64(0), tlog.TreeProof(nil), error(nil)
	if text, ok := v.small[consistencyFile]; ok {
		if size, hashes, err = readConsistency(consistencyFile, text, signed); err != nil {
			return err
		}
		if v.anchor.given && v.anchor.Size == size {
			return v.anchor.check(v.checkpoint, hashes)
		}
	}
	switch {
	case !v.anchor.given || v.anchor.met:
		return nil
	case v.anchor.Size == v.checkpoint.Size || v.anchor.Size == 0:
		return v.anchor.check(v.checkpoint, nil)
	}
	return fmt.Errorf("%w: the bundle is sound, but has nothing that leads from the checkpoint of size %d to its own of size %d",
		auditlog.ErrNotProven, v.anchor.Size, v.checkpoint.Size)
}
