package engine

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// breakDisk lets every further write to the redo log fail.
func (w *world) breakDisk() {
	w.t.Helper()
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer unix.Close(null)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		w.t.Fatal(err)
	}
	broken := 0
	for _, entry := range fds {
		var fd int
		for _, digit := range entry.Name() {
			fd = fd*10 + int(digit-'0')
		}
		if path, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && strings.HasPrefix(path, w.db.Path()+"-redo/") {
			if err := unix.Dup3(null, fd, unix.O_CLOEXEC); err != nil {
				w.t.Fatal(err)
			}
			broken++
		}
	}
	if broken == 0 {
		w.t.Fatal("the redo log is not open")
	}
}

// TestUnknownOutcome: when a commit fails nobody is told that it didn't happen, its units stay taken, a
// key that was revoked by it is refused, and the next start tells what is true.
func TestUnknownOutcome(t *testing.T) {
	w := newWorld(t, perDay(2))
	w.line(Production, 0, 0)
	who := w.in(Production)
	k, secret := w.key(w.id, Production, NewKey{Name: "k"})
	w.auth(secret)
	kept := w.send(who, to(phone())).Message
	epoch := w.tenant(w.id).epoch.Load()
	w.breakDisk()
	e := mustFail[*SendResult](t, "when the disk fails", Unknown, CodeOutcomeUnknown, "")(w.Send(who, once("k", "a"), to(phone())))
	if e.RetryAfter == 0 {
		t.Error("it says nothing of trying again")
	}
	select {
	case <-w.Failed():
	default:
		t.Error("the process is not told to end")
	}
	if l := w.usage(who, limitDay); l.Used != 1 || l.Reserved != 1 || l.Remaining() != 0 {
		t.Errorf("the unit stays taken: %+v", l)
	}
	mustFail[*SendResult](t, "a second one", Unavailable, "", "")(w.Send(who, nil, to(phone())))
	if err := w.RevokeKey(w.operator(Production), k.ID.String()); err == nil {
		t.Error("revoked without a disk")
	}
	if w.tenant(w.id).epoch.Load() == epoch {
		t.Error("a change of a key with an unknown outcome leaves the cache as it is")
	}
	if m := w.get(who, kept.ID); m.Status != Pending {
		t.Errorf("reads go on: %+v", m)
	}
	_ = w.Close()
	w.open()
	who = w.in(Production)
	if l := w.usage(who, limitDay); l.Used != 1 || l.Reserved != 0 {
		t.Errorf("after the next start: %+v", l)
	}
	if r, err := w.Send(who, once("k", "a"), to(phone())); err != nil || r.Replay != nil {
		t.Errorf("repeated with its key: %+v, %v", r.Replay, err)
	}
	mustFail[*SendResult](t, "the third of two", QuotaExceeded, "", "")(w.Send(who, nil, to(phone())))
}
