package bundle

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"

	"tuco/engine/auditlog"
)

// A lineReader reads entries.jsonl and takes its lines apart, in a goroutine of its own.
type lineReader struct {
	batches chan *batch // closed at the end
	free    chan *batch
	stop    chan struct{}
	hash    hash.Hash // of all that was read; after the end
}

// A batch is some lines that follow each other.
type batch struct {
	text    [batchBytes]byte
	records []record
	bad     string // why the line after the records is none
	err     error  // of reading, after the records
}

const batchBytes = 4 * auditlog.MaxLineBytes

// readLines starts the reading. What it returns must be closed.
func readLines(r io.Reader) *lineReader {
	l := &lineReader{make(chan *batch, 3), make(chan *batch, 3), make(chan struct{}), sha256.New()}
	for range cap(l.free) {
		l.free <- new(batch)
	}
	go l.run(r)
	return l
}

// close ends the reading, and waits until it has ended.
func (l *lineReader) close() {
	close(l.stop)
	for range l.batches {
	}
}

func (l *lineReader) run(r io.Reader) {
	defer close(l.batches)
	var rest []byte // the beginning of a line
	for {
		var b *batch
		select {
		case b = <-l.free:
		case <-l.stop:
			return
		}
		var more bool
		rest, more = l.fill(b, rest, r)
		l.batches <- b // there is room for all there are
		if !more {
			return
		}
	}
}

// fill reads a batch, which begins with rest. It returns the beginning of the next one, and whether there is one.
func (l *lineReader) fill(b *batch, rest []byte, r io.Reader) (next []byte, more bool) {
	b.records, b.bad, b.err = b.records[:0], "", nil
	n := copy(b.text[:], rest)
	read, err := io.ReadFull(r, b.text[n:])
	text := b.text[:n+read]
	l.hash.Write(text[n:])
	atEnd := err == io.EOF || err == io.ErrUnexpectedEOF
	if err != nil && !atEnd {
		b.err = err
		return nil, false
	}
	for len(text) > 0 {
		end := bytes.IndexByte(text, '\n') + 1
		if end == 0 && !atEnd && len(text) <= auditlog.MaxLineBytes {
			return bytes.Clone(text), true
		}
		if end == 0 {
			b.bad = "a line is too long, or has no end"
			return nil, false
		}
		if b.bad = b.add(text[:end]); b.bad != "" {
			return nil, false
		}
		text = text[end:]
	}
	return nil, !atEnd
}

// add takes a line apart. It returns a reason why it is none, or "".
func (b *batch) add(text []byte) string {
	if len(b.records) < cap(b.records) {
		b.records = b.records[:len(b.records)+1]
	} else {
		b.records = append(b.records, record{})
	}
	reason := b.records[len(b.records)-1].parse(text)
	if reason != "" {
		b.records = b.records[:len(b.records)-1]
	}
	return reason
}
