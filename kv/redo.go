package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Position is a place in the redo log: the number of bytes that were logged before it, ever.
type Position uint64

// redo is the log that makes commits durable: an append to a file that was filled with zeros before,
// and one sync of its data. What lies in the database file since is released.
//
// The log is a row of segments, each a file named by the position of its first record. A segment begins
// with a header and goes on with records, one for each group of transactions that was committed
// together:
//
//	length 4, checksum 4, position 8, payload
//
// The checksum covers the log's id, position and payload, so that what an earlier use of the file left
// behind is no record, nor is anything that a caller stored. The first place without a valid record ends
// the segment; the log goes on if there is a segment that begins at just this position.
type redo struct {
	disk         disk
	homes        *homes
	dir          string
	id           uint64 // of the database whose log this is, drawn at random
	segmentBytes int64  // at which a segment ends; the record that reaches beyond it is still in it

	file   logFile  // the newest segment
	base   Position // where it begins
	at     Position // where the next record goes
	filled int64    // bytes of file that can be written to without a need for room
	ended  bool     // nothing more goes into file: the disk may have a segment that begins at at
	names  uint64   // how many buckets have a number in it
	record []byte   // the next one
	named  []*home  // in it
	memory [][]byte // for the ones after it: one is put together while one is written

	durable atomic.Uint64 // the position behind the last synced record
	syncs   histogram     // of its records, in nanoseconds

	mu       sync.Mutex // guards what the writer shares with the applier and with readers of changes
	segments []Position // oldest first
	spares   []string   // names of files to use again
	pins     map[*Position]struct{}
}

const (
	segmentHeader       = 32
	recordHeader        = 16
	defaultSegmentBytes = 16 << 20
	// maxSpares is about how many segments one table of changes lets go at once. To fill the next one with
	// zeros costs as much as to write it.
	maxSpares = 5
	// A segment grows by at least minFill and at most maxFill bytes of zeros.
	minFill = 64 << 10
	maxFill = 256 << 10
)

var redoMagic = [8]byte{'t', 'u', 'c', 'o', 'r', 'e', 'd', 'o'}

const redoVersion = 1

func newRedo(d disk, homes *homes, path string, id uint64, segmentBytes int64) *redo {
	return &redo{disk: d, homes: homes, dir: path + redoSuffix, id: id, segmentBytes: segmentBytes, pins: map[*Position]struct{}{}}
}

func segmentName(base Position) string { return fmt.Sprintf("%016x.redo", uint64(base)) }

const sparePrefix = "spare-"

func (l *redo) path(name string) string { return filepath.Join(l.dir, name) }

// begin makes the log ready for a first record at the position at, unless it goes on with what was kept.
func (l *redo) begin(at Position) error {
	if l.file != nil {
		return nil
	}
	if err := l.disk.makeDir(l.dir); err != nil {
		return err
	}
	if err := l.disk.syncDir(filepath.Dir(l.dir)); err != nil {
		return err
	}
	return l.roll(at)
}

// roll starts a segment at the position at. Its file, name and header are durable when roll returns.
func (l *redo) roll(at Position) error {
	name := segmentName(at)
	if spare := l.takeSpare(); spare != "" {
		if err := l.disk.rename(l.path(spare), l.path(name)); err != nil {
			return err
		}
	}
	file, err := l.disk.open(l.path(name), true)
	if err != nil {
		return err
	}
	filled, err := file.size()
	if err == nil && filled < minFill {
		err, filled = fillWithZeros(file, filled, minFill), minFill
	}
	if err == nil {
		l.ended = true
		_, err = file.WriteAt(l.header(at), 0)
	}
	if err == nil {
		err = l.syncWithName(file)
	}
	if err != nil {
		file.Close()
		_ = l.disk.remove(l.path(name)) // if it stays, it is an empty segment
		return err
	}
	if l.file != nil {
		l.file.Close() // all of it is synced
	}
	l.file, l.base, l.at, l.filled, l.ended, l.names = file, at, at, filled, false, 0
	l.durable.Store(uint64(at))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, at)
	return nil
}

// syncWithName makes a segment's file durable, and that it has its name.
func (l *redo) syncWithName(file logFile) error {
	if err := file.sync(); err != nil {
		return err
	}
	return l.disk.syncDir(l.dir)
}

func (l *redo) takeSpare() (name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.spares); n > 0 {
		name = l.spares[n-1]
		l.spares = l.spares[:n-1]
	}
	return name
}

func (l *redo) header(base Position) []byte {
	h := make([]byte, segmentHeader)
	copy(h, redoMagic[:])
	binary.BigEndian.PutUint32(h[8:], redoVersion)
	binary.BigEndian.PutUint64(h[16:], l.id)
	binary.BigEndian.PutUint64(h[24:], uint64(base))
	binary.BigEndian.PutUint32(h[12:], crc32.Checksum(h[16:], castagnoli))
	return h
}

var zeros [maxFill]byte

// fillWithZeros writes zeros over a file from its size up to another.
func fillWithZeros(file logFile, from, to int64) error {
	for from < to {
		n, err := file.WriteAt(zeros[:min(to-from, maxFill)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// offset is where a position lies in the newest segment.
func (l *redo) offset(p Position) int64 { return segmentHeader + int64(p-l.base) }

// rolls tells whether the next record begins a segment.
func (l *redo) rolls() bool { return l.ended || int64(l.at-l.base) >= l.segmentBytes }

// start begins the next record.
func (l *redo) start() error {
	if l.rolls() {
		if err := l.roll(l.at); err != nil {
			return fmt.Errorf("the next part of the redo log: %w", err)
		}
	}
	if n := len(l.memory); l.record == nil && n > 0 {
		l.record, l.memory = l.memory[n-1], l.memory[:n-1]
	}
	l.record = append(l.record[:0], make([]byte, recordHeader)...)
	return nil
}

// empty tells whether there is nothing in the record yet.
func (l *redo) empty() bool { return len(l.record) == recordHeader }

// The kinds of entries of a record. A transaction's end with opCommit.
const (
	opName   = 1 // path: the next number, from 0 on in each segment, stands for this bucket
	opPut    = 2 // number, key, value
	opDelete = 3 // number, key
	opDrop   = 4 // path
	opCommit = 5
)

// add puts a transaction's changes into the record, or nothing of them.
func (l *redo) add(c *changeSet) error {
	before := len(l.record)
	l.named = l.named[:0]
	for _, path := range c.dropped {
		l.record = appendBytes(append(l.record, opDrop), []byte(path))
	}
	c.each(func(o *op) {
		number := l.number(o.home)
		if o.value == nil {
			l.record = appendBytes(binary.AppendUvarint(append(l.record, opDelete), number), o.key)
			return
		}
		l.record = appendBytes(binary.AppendUvarint(append(l.record, opPut), number), o.key)
		l.record = appendBytes(l.record, o.value)
	})
	l.record = append(l.record, opCommit)
	if err := l.reserve(); err != nil {
		l.record = l.record[:before]
		for _, h := range l.named {
			h.segment = 0
		}
		l.names -= uint64(len(l.named))
		return err
	}
	return nil
}

func appendBytes(to, b []byte) []byte {
	return append(binary.AppendUvarint(to, uint64(len(b))), b...)
}

// number returns what stands for the bucket in this segment.
func (l *redo) number(h *home) uint64 {
	if segment := l.base + 1; h.segment != segment {
		h.segment, h.number = segment, l.names
		l.names++
		l.named = append(l.named, h)
		l.record = appendBytes(append(l.record, opName), []byte(h.path))
	}
	return h.number
}

// reserve makes sure that the record can be written without a need for room.
func (l *redo) reserve() error {
	end := l.offset(l.at) + int64(len(l.record))
	if end <= l.filled {
		return nil
	}
	to := end + min(max(l.filled, minFill), maxFill)
	if err := fillWithZeros(l.file, l.filled, to); err != nil {
		return fmt.Errorf("the redo log: %w", err)
	}
	l.filled = to
	return nil
}

// A record is one that is to be written: its bytes, and where they go.
type record struct {
	data   []byte
	offset int64
	end    Position
}

// seal ends the record that was put together. The next one comes behind it.
func (l *redo) seal() record {
	data := l.record
	binary.BigEndian.PutUint32(data, uint32(len(data)-recordHeader))
	binary.BigEndian.PutUint64(data[8:], uint64(l.at))
	binary.BigEndian.PutUint32(data[4:], l.checksum(data))
	r := record{data, l.offset(l.at), l.at + Position(len(data))}
	l.record, l.at = nil, r.end
	return r
}

// write writes a record and syncs it. After an error its outcome is unknown. The next one may be put together
// meanwhile, but no segment begun.
func (l *redo) write(r record) error {
	if _, err := l.file.WriteAt(r.data, r.offset); err != nil {
		return err
	}
	began := time.Now()
	if err := l.file.sync(); err != nil {
		return err
	}
	l.syncs.observe(timeBounds, int64(time.Since(began)))
	l.durable.Store(uint64(r.end))
	return nil
}

// keep takes the memory of a record that was written, unless it was a large one.
func (l *redo) keep(r record) {
	if len(l.memory) < 2 && cap(r.data) > 0 && cap(r.data) <= maxFill {
		l.memory = append(l.memory, r.data)
	}
}

// checksum is over a whole record but for itself.
func (l *redo) checksum(record []byte) uint32 {
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], l.id)
	sum := crc32.Update(0, castagnoli, id[:])
	sum = crc32.Update(sum, castagnoli, record[:4])
	return crc32.Update(sum, castagnoli, record[8:])
}

// release gives back the segments that end at upTo or before, but for those in the last keep bytes. The
// changes in them are durable elsewhere.
func (l *redo) release(upTo Position, keep int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if upTo -= min(upTo, Position(keep)); len(l.pins) > 0 {
		for pin := range l.pins {
			upTo = min(upTo, *pin)
		}
	}
	for len(l.segments) > 1 && l.segments[1] <= upTo {
		if err := l.retire(l.segments[0]); err != nil {
			return err
		}
		l.segments = l.segments[1:]
	}
	return nil
}

// retire keeps the file of a segment for another use, or removes it.
func (l *redo) retire(base Position) error {
	name := segmentName(base)
	spare := sparePrefix + name
	if len(l.spares) >= maxSpares || slices.Contains(l.spares, spare) { // one made twice after crashes
		return l.disk.remove(l.path(name))
	}
	if err := l.disk.rename(l.path(name), l.path(spare)); err != nil {
		return err
	}
	l.spares = append(l.spares, spare)
	return nil
}

// shrink begins a new segment, which is small, and removes the files of those before. All that was logged
// is durable elsewhere. A segment in which nothing was logged yet stays: the next one would have its name.
func (l *redo) shrink(keep int64) error {
	if err := l.removeSpares(); err != nil || l.filled <= 2*minFill || l.at == l.base {
		return err
	}
	if err := l.roll(l.at); err != nil {
		return err
	}
	if err := l.release(l.at, keep); err != nil {
		return err
	}
	return l.removeSpares()
}

// clear removes what is left of a log that the file needs no more. If the log ends where the file does, the
// last keep bytes of it stay, for readers of changes.
func (l *redo) clear(end Position, keep int64) error {
	if keep > 0 {
		if err := l.recover(end, keep, func([]changeSet, Position) error { return errLeftOver }); err == nil {
			return nil
		}
		_ = l.close()
		l.segments, l.spares = nil, nil
	}
	return l.removeAll()
}

// errLeftOver says that a log has more than its file: it is older than the file's end.
var errLeftOver = errors.New("the redo log goes on behind the file's end")

// end closes the log and removes its files, but for the segments in the last keep bytes.
func (l *redo) end(keep int64) error {
	err := l.close()
	if keep > 0 {
		return errors.Join(err, l.removeSpares())
	}
	return errors.Join(err, l.removeAll())
}

func (l *redo) removeAll() error {
	names, err := l.disk.list(l.dir)
	for _, name := range names {
		err = errors.Join(err, l.disk.remove(l.path(name)))
	}
	if err == nil && len(names) > 0 {
		err = l.disk.remove(l.dir)
	}
	return err
}

func (l *redo) removeSpares() (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range l.spares {
		err = errors.Join(err, l.disk.remove(l.path(name)))
	}
	l.spares = nil
	return err
}

func (l *redo) close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// bytes is how much of the disk the log takes.
func (l *redo) bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return 0
	}
	return int64(l.durable.Load()) - int64(l.segments[0]) + int64(len(l.spares))*l.segmentBytes
}
