package bundle

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"io"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"tuco/engine/auditlog"
)

// The proofs in a bundle are those of package auditlog. All of them end with the checkpoint of the bundle, whose signature is
// looked at once.

const (
	proofHead       = "c2sp.org/tlog-proof@v1\nindex "
	consistencyHead = "old "
	maxProofHashes  = 64
)

// A proofReader reads proofs that follow each other.
type proofReader struct {
	r          *bufio.Reader
	checkpoint []byte // the signed note
}

func newProofReader(r io.Reader, checkpoint []byte) *proofReader {
	return &proofReader{bufio.NewReaderSize(r, 64<<10), checkpoint}
}

// next takes a proof, and returns the number in its head. It returns a reason why there is none, or "".
func (p *proofReader) next(head string) (number uint64, hashes []tlog.Hash, reason string) {
	if !p.take([]byte(head)) {
		return 0, nil, "the beginning of a proof is not there"
	}
	digits, _ := p.line()
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || number > auditlog.MaxNumber || strconv.FormatUint(number, 10) != digits {
		return 0, nil, "the number of a proof is none"
	}
	for range maxProofHashes {
		text, ok := p.line()
		if text == "" && ok {
			if !p.take(p.checkpoint) {
				return 0, nil, "a proof does not lead to the checkpoint of the bundle"
			}
			return number, hashes, ""
		}
		hash, err := tlog.ParseHash(text)
		if err != nil || !ok || hash.String() != text {
			return 0, nil, "a hash in a proof is none"
		}
		hashes = append(hashes, hash)
	}
	return 0, nil, "a proof is too long"
}

// take takes what must come next.
func (p *proofReader) take(want []byte) bool {
	got := make([]byte, len(want))
	_, err := io.ReadFull(p.r, got)
	return err == nil && bytes.Equal(got, want)
}

// line takes a line, which is short, without its end. It returns false if it has none.
func (p *proofReader) line() (string, bool) {
	line, err := p.r.ReadSlice('\n')
	if err != nil {
		return "", false
	}
	return string(line[:len(line)-1]), true
}

// atEnd reports whether nothing is left.
func (p *proofReader) atEnd() bool {
	_, err := p.r.Peek(1)
	return err == io.EOF
}

// readConsistency returns the proof of consistency that a file is.
func readConsistency(file string, text, checkpoint []byte) (oldSize uint64, hashes tlog.TreeProof, err error) {
	p := newProofReader(bytes.NewReader(text), checkpoint)
	oldSize, hashes, reason := p.next(consistencyHead)
	if reason == "" && !p.atEnd() {
		reason = "something follows the proof"
	}
	if reason != "" {
		return 0, nil, damaged(file, "%s", reason)
	}
	return oldSize, hashes, nil
}

// edgeText returns the file with the hashes of an edge.
func edgeText(edge []auditlog.Hash) []byte {
	var text []byte
	for _, h := range edge {
		text = append(hex.AppendEncode(text, h[:]), '\n')
	}
	return text
}

// parseEdge is the inverse of edgeText.
func parseEdge(text []byte) ([]auditlog.Hash, error) {
	var edge []auditlog.Hash
	for line := range strings.Lines(string(text)) {
		var h auditlog.Hash
		if b, err := hex.DecodeString(strings.TrimSuffix(line, "\n")); err != nil || copy(h[:], b) != len(b) {
			return nil, damaged(edgeFile, "%q is not a hash", line)
		}
		edge = append(edge, h)
	}
	if !bytes.Equal(edgeText(edge), text) {
		return nil, damaged(edgeFile, "not the one encoding of its hashes")
	}
	return edge, nil
}
