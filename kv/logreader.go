package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// A LogReader reads the redo log as it grows, as it is stored: what [DB.CopyTo] left out, to be shipped elsewhere. What it has
// not read yet the log keeps, until the reader is closed. One goroutine uses it at a time.
type LogReader struct {
	db  *DB
	pin Position // changed under the log's lock
}

// A LogPiece is whole records of the log.
type LogPiece struct {
	Log  uint64   // the id of the log that it is of
	Base Position // where the segment begins that it is in
	From Position // where the piece begins
	Data []byte
}

// To is where the piece ends, and the next one begins.
func (p LogPiece) To() Position { return p.From + Position(len(p.Data)) }

// ReadLog returns a reader of what the log has from the position from on, which [LogReader.Position] gave in this or an
// earlier process.
//
// Errors: [ErrGone] if the log does not reach back so far, or not so far ahead: it is another one.
func (db *DB) ReadLog(from Position) (*LogReader, error) {
	if end := db.Position(); from > end {
		return nil, fmt.Errorf("%w: position %d lies behind the newest change, at %d", ErrGone, from, end)
	}
	return db.readLog(func(*redo) Position { return from })
}

// oldest is where the log begins.
func (l *redo) oldest() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0]
}

func (db *DB) readLog(from func(*redo) Position) (*LogReader, error) {
	l := db.log
	r := &LogReader{db: db, pin: from(l)}
	if _, err := l.pin(&r.pin); err != nil {
		l.unpin(&r.pin)
		return nil, err
	}
	return r, nil
}

// Position is where the next piece begins.
func (r *LogReader) Position() Position { return r.pin }

// Behind returns how many bytes of the log are durable and were not read yet.
func (r *LogReader) Behind() int64 { return int64(r.db.Position()) - int64(r.pin) }

// Close lets the log go what was not read.
func (r *LogReader) Close() { r.db.log.unpin(&r.pin) }

// seek goes on to a position at which a record begins.
func (r *LogReader) seek(to Position) error {
	if to < r.pin {
		return fmt.Errorf("%w: position %d", ErrGone, to)
	}
	r.db.log.movePin(&r.pin, to)
	return nil
}

// Next returns the durable records from the reader's position on, up to about most bytes of one segment, at least one of
// them. Its Data is empty if there is none yet. The reader stays where it is until [LogReader.Advance].
func (r *LogReader) Next(most int64) (LogPiece, error) { return r.piece(r.pin, r.db.Position(), most) }

// ReadAt returns the durable records from at on, which is not before the reader's position, up to end, as [LogReader.Next] does.
func (r *LogReader) ReadAt(at, end Position, most int64) (LogPiece, error) {
	return r.piece(at, min(end, r.db.Position()), most)
}

// Advance goes on behind a piece, which the log may let go.
func (r *LogReader) Advance(p LogPiece) { r.db.log.movePin(&r.pin, p.To()) }

// piece reads records from from on, none of which reaches beyond end.
func (r *LogReader) piece(from, end Position, most int64) (p LogPiece, err error) {
	l := r.db.log
	p = LogPiece{Log: l.id, From: from}
	if from >= end {
		return p, nil
	}
	l.mu.Lock()
	segments := slices.Clone(l.segments)
	l.mu.Unlock()
	i, found := slices.BinarySearch(segments, from)
	if !found {
		i--
	}
	if i < 0 {
		return p, fmt.Errorf("%w: before position %d", ErrGone, from)
	}
	p.Base = segments[i]
	if i+1 < len(segments) {
		end = min(end, segments[i+1])
	}
	file, err := l.disk.open(l.path(segmentName(p.Base)), false)
	if err != nil {
		return p, err
	}
	defer file.Close()
	p.Data = make([]byte, min(int64(end-from), max(most, maxFill)))
	if _, err := file.ReadAt(p.Data, segmentHeader+int64(from-p.Base)); err != nil {
		return p, err
	}
	whole, next := l.wholeRecords(p.Data, from)
	if whole == 0 && next > len(p.Data) { // one large record
		p.Data = make([]byte, next)
		if _, err := file.ReadAt(p.Data, segmentHeader+int64(from-p.Base)); err != nil {
			return p, err
		}
		whole, _ = l.wholeRecords(p.Data, from)
	}
	if whole == 0 || Position(whole) > end-from {
		return p, damaged("the redo log has no valid record at position %d", from)
	}
	p.Data = p.Data[:whole]
	return p, nil
}

// wholeRecords returns how many bytes of data are valid records one after the other, from the position at on, and how many
// it would be with the one after them.
func (l *redo) wholeRecords(data []byte, at Position) (whole, next int) {
	for {
		rest := data[whole:]
		if len(rest) < recordHeader {
			return whole, whole + recordHeader
		}
		size := recordHeader + int(binary.BigEndian.Uint32(rest))
		switch {
		case binary.BigEndian.Uint64(rest[8:]) != uint64(at)+uint64(whole):
			return whole, whole
		case size > len(rest):
			return whole, whole + size
		case l.checksum(rest[:size]) != binary.BigEndian.Uint32(rest[4:]):
			return whole, whole
		}
		whole += size
	}
}

const redoSuffix = "-redo"

// copyLog writes the records up to end into files of a directory that it makes, and goes on behind them.
func (r *LogReader) copyLog(dir string, end Position) error {
	w, err := newLogWriter(dir)
	if err != nil {
		return err
	}
	// The file needs the whole of its segment: names of buckets are given at its beginning.
	l := r.db.log
	l.mu.Lock()
	i, found := slices.BinarySearch(l.segments, r.pin)
	if !found {
		i--
	}
	at := l.segments[i]
	l.mu.Unlock()
	for err == nil {
		var p LogPiece
		if p, err = r.piece(at, end, steadyBytes); err == nil && len(p.Data) == 0 {
			break
		}
		if err == nil {
			err = w.Add(p)
		}
		at = p.To()
	}
	if err == nil && w.file == nil { // nothing was logged since it began
		err = w.begin(LogPiece{Log: l.id, Base: at, From: at})
	}
	r.db.log.movePin(&r.pin, at)
	return errors.Join(err, w.Close())
}

// A LogWriter puts pieces of a log behind a copy that [DB.CopyTo] made, as if they had been logged there. Nothing is checked
// but that they follow each other: opening the database checks them.
type LogWriter struct {
	dir  string
	file *os.File
	base Position
	at   Position
}

func newLogWriter(dir string) (*LogWriter, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return &LogWriter{dir: dir}, nil
}

// ExtendLog returns a writer that goes on at the end of a copy's log. The database must not be open.
func ExtendLog(path string) (*LogWriter, error) {
	w := &LogWriter{dir: path + redoSuffix}
	names, err := osDisk{}.list(w.dir)
	if err != nil {
		return nil, err
	}
	l := &redo{disk: osDisk{}, dir: w.dir}
	if err := l.find(); err != nil || len(l.segments) == 0 {
		return nil, errors.Join(err, damaged("there is no redo log among %q in %q", names, w.dir))
	}
	w.base = l.segments[len(l.segments)-1]
	if w.file, err = os.OpenFile(l.path(segmentName(w.base)), os.O_RDWR, 0); err != nil {
		return nil, err
	}
	info, err := w.file.Stat()
	if err != nil {
		return nil, err
	}
	w.at = w.base + Position(info.Size()-segmentHeader)
	return w, nil
}

// Position is where the next piece must begin.
func (w *LogWriter) Position() Position { return w.at }

// Add puts a piece behind what is there.
func (w *LogWriter) Add(p LogPiece) error {
	if w.file == nil || p.From == p.Base && p.Base != w.base {
		if err := w.begin(p); err != nil {
			return err
		}
	}
	if p.Base != w.base || p.From != w.at {
		return damaged("a piece of the redo log begins at position %d of the segment %d, and the one before it ends at %d of %d", p.From, p.Base, w.at, w.base)
	}
	if _, err := w.file.WriteAt(p.Data, segmentHeader+int64(p.From-p.Base)); err != nil {
		return err
	}
	w.at = p.To()
	return nil
}

// begin begins a segment.
func (w *LogWriter) begin(p LogPiece) error {
	if w.file != nil {
		if p.Base != w.at {
			return damaged("a segment of the redo log begins at position %d, and the one before it ends at %d", p.Base, w.at)
		}
		if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
			return err
		}
	}
	file, err := os.OpenFile(filepath.Join(w.dir, segmentName(p.Base)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w.file, w.base, w.at = file, p.Base, p.Base
	_, err = file.WriteAt((&redo{id: p.Log}).header(p.Base), 0)
	return err
}

// Close makes it durable.
func (w *LogWriter) Close() error {
	if w.file == nil {
		return nil
	}
	err := errors.Join(w.file.Sync(), w.file.Close(), SyncDir(w.dir))
	w.file = nil
	return err
}
