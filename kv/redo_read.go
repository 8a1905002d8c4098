package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"
)

// recover reads the log from the position from on, gives each record's transactions to apply, with the
// record's end, and makes the log ready to go on behind the last one. Segments that end keep bytes before
// from, or earlier, are released.
//
// What a crash cut short at the log's end was never acknowledged and is left out. If there is a valid
// record behind a place without one, an acknowledged one was lost: the log is damaged.
func (l *redo) recover(from Position, keep int64, apply func(group []changeSet, end Position) error) (err error) {
	if err := l.find(); err != nil {
		return err
	}
	newest, err := l.leaveOutUnfinished()
	if err != nil {
		return err
	}
	if len(l.segments) == 0 || l.segments[0] > from {
		return damaged("the redo log in %q does not reach back to position %d: its files are missing, or another database's", l.dir, from)
	}
	needed := l.segments
	for len(needed) > 1 && needed[1] <= from {
		needed = needed[1:]
	}
	last := needed[0] // where the last record begins
	var tail *segment
	for i, base := range needed {
		s := newest
		if s == nil || s.base != base {
			if s, err = l.read(base); err != nil {
				return err
			}
		}
		if i > 0 && base != tail.end() {
			return damaged("the redo log goes on at position %d, not at %d", base, tail.end())
		}
		if err := s.each(from, func(at, end Position, sets []changeSet) error {
			last = at
			return apply(sets, end)
		}); err != nil {
			return err
		}
		tail = s
	}
	if at, ok := tail.later(); ok {
		return damaged("the redo log has no valid record at position %d, but one behind it at %d", tail.end(), at)
	}
	if tail.end() < from {
		return damaged("the redo log ends at position %d, before what it was applied to, %d", tail.end(), from)
	}
	if err := l.resume(tail, last); err != nil {
		return err
	}
	return l.release(from, keep) // not before tail is durable: the process before this one may not have got so far
}

// find lists the log's files.
func (l *redo) find() error {
	names, err := l.disk.list(l.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		number, ok := strings.CutSuffix(name, ".redo")
		base, err := strconv.ParseUint(number, 16, 64)
		switch {
		case strings.HasPrefix(name, sparePrefix):
			l.spares = append(l.spares, name)
		case ok && err == nil:
			l.segments = append(l.segments, Position(base))
		}
	}
	slices.Sort(l.segments)
	return nil
}

// leaveOutUnfinished retires the newest segment if a crash cut its making short. This comes first: the one
// before it is needed then, even if all in it was applied. It returns the newest segment if it has read it.
func (l *redo) leaveOutUnfinished() (newest *segment, err error) {
	last := len(l.segments) - 1
	if last < 1 {
		return nil, nil
	}
	base := l.segments[last]
	if newest, err = l.read(base); !errors.Is(err, errNoSegment) {
		return newest, err
	}
	l.segments = l.segments[:last]
	return nil, l.retire(base)
}

// resume makes the log go on behind tail. If the last sync failed or was cut short, the disk may not
// have the last record, although it could be read: so it is written once more before it counts.
func (l *redo) resume(tail *segment, last Position) error {
	file, err := l.disk.open(l.path(segmentName(tail.base)), false)
	if err != nil {
		return err
	}
	at := max(last, tail.base)
	if at == tail.base {
		_, err = file.WriteAt(tail.data[:segmentHeader], 0)
	}
	if err == nil {
		_, err = file.WriteAt(tail.data[tail.offset(at):tail.good], tail.offset(at))
	}
	if err == nil {
		err = l.syncWithName(file)
	}
	if err != nil {
		file.Close()
		return err
	}
	l.file, l.base, l.at, l.filled = file, tail.base, tail.end(), int64(len(tail.data))
	l.names = uint64(len(tail.names))
	for i, h := range tail.names {
		h.segment, h.number = l.base+1, uint64(i)
	}
	l.durable.Store(uint64(l.at))
	return nil
}

// A segment is one file of the log as it was read.
type segment struct {
	log   *redo
	base  Position
	data  []byte
	good  int64 // bytes of it, up to the end of the last valid record
	names []*home
}

// errNoSegment says that a file has no valid header.
var errNoSegment = errors.New("no segment of the redo log")

func (l *redo) read(base Position) (*segment, error) {
	name := segmentName(base)
	file, err := l.disk.open(l.path(name), false)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size, err := file.size()
	if err != nil {
		return nil, err
	}
	s := &segment{log: l, base: base, data: make([]byte, size), good: segmentHeader}
	if _, err := file.ReadAt(s.data, 0); err != nil && err != io.EOF {
		return nil, damaged("reading %q: %v", name, err)
	}
	switch want := l.header(base); {
	case size < segmentHeader:
		return nil, fmt.Errorf("%w: %q: %w", ErrDamaged, name, errNoSegment)
	case bytes.Equal(s.data[:segmentHeader], want):
		return s, nil
	case bytes.Equal(s.data[:8], want[:8]) && crc32.Checksum(s.data[16:segmentHeader], castagnoli) == binary.BigEndian.Uint32(s.data[12:]) &&
		binary.BigEndian.Uint32(s.data[8:]) > redoVersion:
		return nil, fmt.Errorf("%w: the redo log's version is %d", ErrNewer, binary.BigEndian.Uint32(s.data[8:]))
	}
	s.good = segmentHeader - 1
	if at, ok := s.later(); ok {
		return nil, damaged("the redo log's file %q has a valid record at position %d, but no valid beginning", name, at)
	}
	return nil, fmt.Errorf("%w: %q: %w", ErrDamaged, name, errNoSegment)
}

func (s *segment) offset(p Position) int64 { return segmentHeader + int64(p-s.base) }

// end is the position behind the last valid record.
func (s *segment) end() Position { return s.base + Position(s.good-segmentHeader) }

// each gives fn the records in their order, those from the position from on.
func (s *segment) each(from Position, fn func(at, end Position, sets []changeSet) error) error {
	for {
		payload, ok := s.record(s.good)
		if !ok {
			return nil
		}
		at := s.end()
		sets, err := s.decode(payload)
		if err != nil {
			return damaged("the redo log's record at position %d: %v", at, err)
		}
		s.good += recordHeader + int64(len(payload))
		if at >= from {
			if err := fn(at, s.end(), sets); err != nil {
				return err
			}
		}
	}
}

// record returns the payload of the valid record at offset.
func (s *segment) record(offset int64) (payload []byte, ok bool) {
	if offset+recordHeader > int64(len(s.data)) {
		return nil, false
	}
	head := s.data[offset:]
	size := int64(binary.BigEndian.Uint32(head))
	if binary.BigEndian.Uint64(head[8:]) != uint64(s.base)+uint64(offset-segmentHeader) || offset+recordHeader+size > int64(len(s.data)) {
		return nil, false
	}
	record := head[:recordHeader+size]
	return record[recordHeader:], s.log.checksum(record) == binary.BigEndian.Uint32(head[4:])
}

// later returns the position of a valid record behind the end.
func (s *segment) later() (at Position, ok bool) {
	for offset := s.good + 1; offset+recordHeader <= int64(len(s.data)); offset++ {
		if _, ok := s.record(offset); ok {
			return s.base + Position(offset-segmentHeader), true
		}
	}
	return 0, false
}

var errPayload = errors.New("it is not what was written, although its checksum is right")

// decode returns the transactions of a record's payload. Their keys and values lie in it.
func (s *segment) decode(payload []byte) (sets []changeSet, err error) {
	d := decoder{payload}
	var set changeSet
	for len(d.rest) > 0 {
		kind := d.rest[0]
		d.rest = d.rest[1:]
		switch kind {
		case opName:
			s.names = append(s.names, s.log.homes.home(Path(d.bytes())))
		case opDrop:
			set.dropped = append(set.dropped, Path(d.bytes()))
		case opPut, opDelete:
			number := d.number()
			if number >= uint64(len(s.names)) {
				return nil, errPayload
			}
			o := op{home: s.names[number], key: d.bytes()}
			if kind == opPut {
				o.value = d.bytes()
			}
			set.set(o)
			set.bytes += int64(len(o.key) + len(o.value))
		case opCommit:
			sets = append(sets, set)
			set = changeSet{}
		default:
			return nil, errPayload
		}
		if d.rest == nil {
			return nil, errPayload
		}
	}
	return sets, nil
}

// A decoder reads a payload. Its rest is nil after a fault.
type decoder struct{ rest []byte }

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.rest = nil
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) bytes() []byte {
	n := d.number()
	if n > uint64(len(d.rest)) {
		d.rest = nil
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}
