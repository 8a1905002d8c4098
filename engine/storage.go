package engine

import "time"

// roomKept is how long a measurement of the disk's room is good. Measuring is a system call, and may wait.
const roomKept = 100 * time.Millisecond

// StorageLow tells whether only what must be possible on a full disk is still taken. So that no request
// waits for the disk, the answer that there is room may be [roomKept] old, and as much older as measuring
// takes: whoever asks first after that measures, the others go by what was known. It is there to answer early.
// What is written is held against the room that there is, by the store itself. That there is none is
// measured again each time: when the operator has made room, that counts at once.
func (e *Engine) StorageLow() bool {
	known, now := e.room.Load(), e.clock.ticks()
	if (roomLow(known) || now-roomTime(known) >= roomKept) && e.room.CompareAndSwap(known, roomVerdict(now, roomLow(known))) {
		known = e.measureRoom(now)
	}
	return roomLow(known)
}

// noRoom is told that the store had no room: what was measured before doesn't hold any more.
func (e *Engine) noRoom() { e.room.Store(roomVerdict(e.clock.ticks(), true)) }

func (e *Engine) measureRoom(now time.Duration) (verdict int64) {
	verdict = roomVerdict(now, e.db.Room().Low())
	e.room.Store(verdict)
	return verdict
}

// A room verdict is when it was asked for, in ticks, and in the lowest bit whether the room is low.
func roomVerdict(at time.Duration, low bool) int64 {
	verdict := int64(at) << 1
	if low {
		verdict |= 1
	}
	return verdict
}

func roomTime(verdict int64) time.Duration { return time.Duration(verdict >> 1) }
func roomLow(verdict int64) bool           { return verdict&1 != 0 }
