package keeper

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tuco/backup"
	"tuco/kv"
)

// A log object holds two files: pieces of the redo log, each with a head that says where it belongs, and moments, which say
// when which part of them was there.
const (
	piecesFile  = "pieces"
	momentsFile = "moments"
	pieceHead   = 32 // log, base, from, length
	// closedWord is the last line of moments if nothing came after: the server had stopped.
	closedWord = "closed"
)

// A moment says that at Time everything up to At, and nothing else, was durable.
type moment struct {
	Time time.Time
	At   kv.Position

	// Not stored in the list of moments:
	before     time.Time // just before, when it was looked: what was durable then is in it, too
	checkpoint []byte    // of the audit log, just before; nil if there is none
}

func appendPiece(to []byte, p kv.LogPiece) []byte {
	to = binary.BigEndian.AppendUint64(to, p.Log)
	to = binary.BigEndian.AppendUint64(to, uint64(p.Base))
	to = binary.BigEndian.AppendUint64(to, uint64(p.From))
	to = binary.BigEndian.AppendUint64(to, uint64(len(p.Data)))
	return append(to, p.Data...)
}

// readPiece returns the next piece, and [io.EOF] behind the last one.
func readPiece(r io.Reader, most int64) (p kv.LogPiece, err error) {
	var head [pieceHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: a piece of the log is cut off", backup.ErrDamaged)
		}
		return p, err
	}
	p.Log = binary.BigEndian.Uint64(head[:])
	p.Base, p.From = kv.Position(binary.BigEndian.Uint64(head[8:])), kv.Position(binary.BigEndian.Uint64(head[16:]))
	size := binary.BigEndian.Uint64(head[24:])
	if size > uint64(most) {
		return p, fmt.Errorf("%w: a piece of the log of %d bytes", backup.ErrDamaged, size)
	}
	p.Data = make([]byte, size)
	if _, err := io.ReadFull(r, p.Data); err != nil {
		return p, fmt.Errorf("%w: a piece of the log is cut off", backup.ErrDamaged)
	}
	return p, nil
}

func appendMoments(to []byte, all []moment, closed bool) []byte {
	for _, m := range all {
		to = fmt.Appendf(to, "%d %d\n", m.At, m.Time.UnixMilli())
	}
	if closed {
		to = append(to, closedWord+"\n"...)
	}
	return to
}

func parseMoments(text []byte) (all []moment, closed bool, err error) {
	for line := range strings.Lines(string(text)) {
		at, ms, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok && at == closedWord {
			closed = true
			continue
		}
		position, err1 := strconv.ParseUint(at, 10, 64)
		milli, err2 := strconv.ParseInt(ms, 10, 64)
		if err1 != nil || err2 != nil || closed {
			return nil, false, fmt.Errorf("%w: moments of the log: %q", backup.ErrDamaged, line)
		}
		all = append(all, moment{Time: time.UnixMilli(milli).UTC(), At: kv.Position(position)})
	}
	return all, closed, nil
}

// extend puts what dir has of a log behind a copy, up to the last moment that is not after until; all of it if that is zero.
// What is there already is left out.
func extend(w *kv.LogWriter, dir string, until time.Time) (newest moment, closed bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, momentsFile))
	if err != nil {
		return newest, false, err
	}
	moments, closed, err := parseMoments(text)
	if err != nil {
		return newest, false, err
	}
	for _, m := range moments {
		if !until.IsZero() && m.Time.After(until) {
			closed = false
			break
		}
		newest = m
	}
	f, err := os.Open(filepath.Join(dir, piecesFile))
	if err != nil {
		return newest, closed, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return newest, closed, err
	}
	for r := bufio.NewReaderSize(f, 1<<20); ; {
		p, err := readPiece(r, info.Size())
		if errors.Is(err, io.EOF) {
			return newest, closed, nil
		}
		if err == nil {
			err = add(w, p, newest.At)
		}
		if err != nil {
			return newest, closed, err
		}
	}
}

// add puts the part of a piece behind w that is not there yet and lies before end.
func add(w *kv.LogWriter, p kv.LogPiece, end kv.Position) error {
	if p.To() > end {
		if p.From >= end {
			return nil
		}
		p.Data = p.Data[:end-p.From]
	}
	if at := w.Position(); p.From < at {
		if p.To() <= at {
			return nil
		}
		p.Data = p.Data[at-p.From:]
		p.From = at
	}
	return w.Add(p)
}
