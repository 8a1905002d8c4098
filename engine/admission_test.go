package engine

import (
	"testing"
	"time"

	"tuco/engine/quota"
)

// admission is the way of a request as far as the disk, with everything that is asked on it and all of it
// warm. It ends with the release of what was reserved, so that it can be repeated.
type admission struct {
	*Engine
	secret string
	draft  draft
}

// newAdmission is a request for one message from a new line. Its rate is counted, but is so high that no
// repetition reaches it, also when one is held up for half a second after it read the clock.
func (w *world) newAdmission() *admission {
	w.t.Helper()
	line := w.line(Production, 1000, 1000)
	_, secret := w.key(w.id, Production, NewKey{Name: "busy", Role: RoleMember})
	who := w.auth(secret)
	w.keys.cache.Wait()
	fast := &rates{}
	fast.limits[RateMessages], fast.groups[RateMessages] = maxRate, quota.NewRate(maxRate, 100*time.Millisecond)
	who.tenant.rates.Store(fast)
	return &admission{w.Engine, secret, draft{newContact: true, lines: []candidate{{who.env.lines.Load().find(line.ID), true}}}}
}

// run admits the request. It returns false if anything is refused.
func (a *admission) run() bool {
	who, err := a.Authenticate(a.secret, home)
	if err != nil || who.write(MessagesWrite) != nil {
		return false
	}
	if _, err := a.takeRequest(who.tenant, RateMessages); err != nil {
		return false
	}
	var h hold
	busy, err := a.tryReserve(&h, who, &a.draft)
	admitted := !busy && err == nil && h.plan.Day() != 0 && h.contact.Day() != 0 && h.line != nil
	h.release()
	return admitted
}

// TestAdmissionAllocatesNothing: what a request passes before it gets to the disk makes no garbage. The
// race detector's pools forget on purpose, so with it there is nothing to see.
func TestAdmissionAllocatesNothing(t *testing.T) {
	w := newWorldIn(t, PlanChange{MessagesPerDay: n64(1000), MessagesPerMonth: n64(1000), NewContactsPerDay: n64(1000)}, "Europe/Berlin", Options{Reserve: 1 << 20})
	w.realTime()
	a := w.newAdmission()
	for range 100 {
		if !a.run() {
			t.Fatal("the request is refused")
		}
	}
	if raceEnabled {
		t.Skip("the race detector allocates memory of its own")
	}
	if got := testing.AllocsPerRun(10_000, func() { a.run() }); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}
