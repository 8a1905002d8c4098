package engine

import (
	"errors"
	"slices"
	"time"

	"tuco/engine/quota"
	"tuco/kv"
)

// releaseAtOnce bounds how many messages one look, and one change of many, takes.
const releaseAtOnce = 100

// Release moves messages whose time has come to a line that has room, in order of their due time, then
// id. It returns when the next one is due, zero if none is; that may be in the past if there are more.
func (q Queue) Release() (next time.Time, err error) {
	if !q.Open() {
		return q.lookAgain(), nil
	}
	ids, next, err := q.dueNow(q.env.engine.opt.Now().UTC())
	for tries := 0; err == nil && len(ids) > 0; tries++ {
		left, err := q.release(ids)
		if err != nil {
			return next, err
		}
		if len(left) < len(ids) {
			tries = 0
		}
		if tries == maxTries {
			return next, errAgain
		}
		ids = left
	}
	return next, err
}

// dueNow returns what is due at now, at most releaseAtOnce, and the time of the first that is left.
func (q Queue) dueNow(now time.Time) (ids []MessageID, next time.Time, err error) {
	_, err = kv.View(q.env.engine.db, func(tx *kv.Tx) (struct{}, error) {
		for key := range q.env.store.due.Scan(tx, kv.Range{}) {
			if next = keyTime(key); next.After(now) || len(ids) == releaseAtOnce {
				return struct{}{}, nil
			}
			ids = append(ids, idOf[messageKind](key))
		}
		next = time.Time{}
		return struct{}{}, nil
	})
	return ids, next, err
}

// dueMessage is a due message with what it lacks.
type dueMessage struct {
	Message
	draft
	lost bool // its line is gone: the unit that it has of it goes back
}

// lookDue returns a due message and what it lacks.
func (env *environment) lookDue(tx *kv.Tx, id MessageID, turn uint64) (v dueMessage, err error) {
	m, ok := env.store.messages.Get(tx, id.key())
	if !ok || m.Place != inDue {
		return v, errWithdrawn
	}
	v.Message, v.to = m, m.To
	set := env.lines.Load()
	own := set.find(m.Line)
	v.lost = m.Unit.Day != 0 && (own == nil || !own.Active)
	var lines []*lineState
	switch {
	case own != nil && own.Active && (m.Pinned || m.Unit.Day != 0):
		lines = []*lineState{own}
	case !m.Pinned:
		lines = set.active(m.Channel)
	}
	people := personReader{store: &env.store, tx: tx}
	v.newContact, v.lines = people.history(m.To, lines, turn)
	v.newContact = v.newContact && m.Plan.Day == 0
	return v, nil
}

// A releasing is a due message on its way to its line, with what was reserved for it.
type releasing struct {
	dueMessage
	turn uint64
	hold *hold
	wait *LimitState // the plan is spent: until when
}

// release charges due messages what they lack and puts them into their lines' queues, or puts them off:
// as many of the first as can be judged at once. It returns those that are left: what changed meanwhile,
// and what needs to know first how the others end.
func (q Queue) release(ids []MessageID) (left []MessageID, err error) {
	batch, left, err := q.prepare(ids)
	if err != nil || len(batch) == 0 {
		return left, err
	}
	changed, err := q.commit(batch)
	return append(changed, left...), err
}

// prepare looks at due messages and reserves what they lack, in their order. It goes no further than it
// can judge without knowing how those before end: not past one that needs what they hold, nor past one
// that gives something back. What was withdrawn is in neither list.
func (q Queue) prepare(ids []MessageID) (batch []*releasing, left []MessageID, err error) {
	env := q.env
	seen, err := kv.View(env.engine.db, func(tx *kv.Tx) ([]*releasing, error) {
		seen := make([]*releasing, 0, len(ids))
		for _, id := range ids {
			turn := env.turn.Add(1)
			due, err := env.lookDue(tx, id, turn)
			if errors.Is(err, errWithdrawn) {
				continue
			}
			if err != nil {
				return nil, err
			}
			seen = append(seen, &releasing{dueMessage: due, turn: turn, hold: new(hold)})
		}
		return seen, nil
	})
	if err != nil {
		return nil, nil, err
	}
	for n, r := range seen {
		busy, err := q.reserve(r, n == 0)
		if err != nil {
			for _, before := range seen[:n] {
				before.hold.release()
			}
			return nil, nil, err
		}
		if !busy {
			n++
		}
		if busy || r.lost {
			for _, after := range seen[n:] {
				left = append(left, after.ID)
			}
			return seen[:n], left, nil
		}
	}
	return seen, nil, nil
}

// commit stores what becomes of prepared messages, in one transaction. Each is looked at again: one that
// was withdrawn stays as it is, and one that needs other than what was reserved for it is returned.
func (q Queue) commit(batch []*releasing) (changed []MessageID, err error) {
	type done struct {
		used, changed bool // neither if it was withdrawn
		m             Message
		returned      []refund
	}
	env := q.env
	store := func(tx *kv.Tx) ([]done, error) {
		all := make([]done, len(batch))
		for i, r := range batch {
			d := &all[i]
			now, err := env.lookDue(tx, r.ID, r.turn)
			switch {
			case errors.Is(err, errWithdrawn):
			case err != nil:
				return nil, err
			case !now.Due.Equal(r.Due), now.lost != r.lost, !now.needsSame(&r.draft, r.hold.line):
				d.changed = true
			default:
				d.used = true
				d.m, d.returned = env.released(tx, &now, r.hold, r.wait)
			}
		}
		return all, nil
	}
	holds := make([]*hold, len(batch))
	for i, r := range batch {
		holds[i] = r.hold
	}
	all, err := spend(holds, func() ([]done, error) { return writing(env, store) }, func(all []done, i int) bool { return all[i].used })
	for i, d := range all {
		switch {
		case d.changed:
			changed = append(changed, batch[i].ID)
		case d.used:
			env.refund(d.returned)
			env.engine.work.wakeFor(env, &d.m)
		}
	}
	return changed, err
}

// errWithdrawn says that a message is no longer where it was: cancelled, changed or sent.
var errWithdrawn = errors.New("the message was withdrawn")

// reserve takes what a due message lacks: plan units if it was never charged, a line unit if it has
// none. If others hold what may come free it waits, or takes nothing and says that it is busy.
func (q Queue) reserve(r *releasing, wait bool) (busy bool, err error) {
	if len(r.lines) == 0 {
		return false, nil
	}
	for {
		if busy, err = q.tryReserve(r); !busy || !wait {
			return busy, err
		}
		if err := q.env.engine.othersEnd(); err != nil {
			return false, err
		}
	}
}

func (q Queue) tryReserve(r *releasing) (busy bool, err error) {
	now, _ := q.env.engine.clock.trusted()
	if r.Plan.Day == 0 {
		busy, err = q.env.reservePlan(r.hold, now, r.newContact)
	}
	if denied := (*Error)(nil); !busy && errors.As(err, &denied) {
		r.hold.release()
		r.wait = denied.Limit
		return false, nil
	}
	if !busy && (r.Unit.Day == 0 || r.lost) {
		busy = r.hold.reserveLine(quota.DayOf(now, time.UTC), r.lines)
	}
	if busy {
		r.hold.release()
	}
	return busy, nil
}

// released stores what became of a due message, and returns the unit that it gave back.
func (env *environment) released(tx *kv.Tx, d *dueMessage, h *hold, wait *LimitState) (m Message, returned []refund) {
	old := d.Message
	m = old
	m.Updated = tx.Now
	if d.lost {
		returned = append(returned, env.dropUnit(tx, &m, env.passFirst(tx, &m)))
	}
	switch {
	case wait != nil:
		until := notBefore(tx.Now.Add(nextLook), wait.ResetsAt)
		m.wait(until, planSentences[wait.Name]+" It waits until "+until.Format(time.RFC3339)+".")
	case len(d.lines) == 0 && m.Pinned && env.gone(tx, m.Line):
		m.Status, m.Place, m.Reason, m.Error = Failed, nowhere, "", "The line that was asked for was deleted."
	case len(d.lines) == 0:
		m.wait(tx.Now.Add(nextLook), "Waits for an active line.")
	default:
		m.Plan.Released = m.Plan.Released || m.Plan.Day == 0
		m.charge(tx, env, h)
		if m.Unit.Day == 0 {
			m.putOff(tx.Now, h.spent)
			break
		}
		m.Status, m.Place, m.Reason = Pending, inReady, ""
	}
	env.putMessage(tx, &old, &m)
	return m, returned
}

// wait puts the message back to wait for a time.
func (m *Message) wait(until time.Time, reason string) {
	m.Status, m.Place, m.Due, m.Reason = Queued, inDue, until.UTC(), reason
}

// hurry makes due at once what waits because the plan was spent: it may have room now.
func (env *environment) hurry() error {
	ids, err := kv.View(env.engine.db, func(tx *kv.Tx) (ids []MessageID, err error) {
		for key := range env.store.messageByStatus.Scan(tx, kv.Prefix([]byte{statusCodes[Queued]})) {
			if m, _ := env.store.messages.Get(tx, idOf[messageKind](key).key()); m.waitsForPlan(tx.Now) {
				ids = append(ids, m.ID)
			}
		}
		return ids, nil
	})
	for some := range slices.Chunk(ids, releaseAtOnce) {
		if err != nil {
			return err
		}
		_, err = writing(env, func(tx *kv.Tx) (struct{}, error) {
			for _, id := range some {
				if m, _ := env.store.messages.Get(tx, id.key()); m.waitsForPlan(tx.Now) {
					old := m
					m.Due = tx.Now
					env.putMessage(tx, &old, &m)
				}
			}
			return struct{}{}, nil
		})
	}
	return err
}

// waitsForPlan tells whether a message was not charged yet and waits for a time to come.
func (m *Message) waitsForPlan(now time.Time) bool {
	return m.Status == Queued && m.Plan.Day == 0 && m.Due.After(now)
}

// gone tells whether a line was deleted.
func (env *environment) gone(tx *kv.Tx, id LineID) bool {
	_, ok := env.line(tx, id)
	return !ok
}
