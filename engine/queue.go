package engine

import (
	"errors"
	"fmt"
	"time"

	"tuco/kv"
)

// A Queue is one environment's messages as the dispatcher sees them. It is comparable.
//
// A message waits in one of two places: for a time (due), or for its line (ready). Release moves what
// is due to a line; Next gives what a line can send; HandOver, called by the transport at its last
// moment, makes the send durable before it happens; one of Finish, Retry and Lose ends it. If the
// process dies after HandOver, Interrupted finds the message at the next start.
type Queue struct{ env *environment }

// Workspace names the queue's workspace.
func (q Queue) Workspace() WorkspaceID { return q.env.tenant.id }

// Environment names the queue's environment.
func (q Queue) Environment() Environment { return q.env.name }

// Open tells whether messages may be sent: the workspace exists and is not READ_ONLY.
func (q Queue) Open() bool {
	t := q.env.tenant
	return !t.deleted.Load() && q.env.engine.readOnly(t) == ""
}

// lookAgain is when a queue that is not open may be so without a word: when the disk has room again.
// Other ends of READ_ONLY are told to [Engine.OnWork].
func (q Queue) lookAgain() time.Time {
	if t := q.env.tenant; t.deleted.Load() || t.record().ReadOnly != "" {
		return time.Time{}
	}
	return q.env.engine.opt.Now().Add(storageLook)
}

const (
	// nextLook is how long a due message that could not go waits for the next look, at least.
	nextLook    = time.Minute
	storageLook = 10 * time.Second
)

// Gone tells whether the workspace was deleted, or the line, if one is named. It will not come back.
func (q Queue) Gone(line LineID) bool {
	return q.env.tenant.deleted.Load() || !line.IsZero() && q.env.lines.Load().find(line) == nil
}

// Waiting tells whether anything waits in the queue.
func (q Queue) Waiting() (bool, error) {
	return kv.View(q.env.engine.db, func(tx *kv.Tx) (bool, error) {
		return q.env.store.due.Any(tx, kv.Range{}) || q.env.store.ready.Any(tx, kv.Range{}), nil
	})
}

// A Job is a message that its line can send now.
type Job struct {
	Message Message
	Line    Line
	Lead    Lead
	Text    string // with the lead's values in it
	Refused string // why it must not be sent but fail; empty for most
}

// A Look is when to ask a line again.
type Look struct {
	At   time.Time // there may be a message then; zero if none waits
	Firm bool      // whatever comes before At can't go earlier: the line rests
}

// Next returns up to most messages that the line can send now, without those that busy names; or when to
// ask again. While a gap is kept there is at most one.
func (q Queue) Next(line LineID, most int, busy func(MessageID) bool) (jobs []Job, again Look, err error) {
	l := q.env.lines.Load().find(line)
	switch {
	case l == nil || !l.Active:
		return nil, Look{}, nil
	case !q.Open():
		return nil, Look{At: q.lookAgain()}, nil
	}
	_, err = kv.View(q.env.engine.db, func(tx *kv.Tx) (struct{}, error) {
		jobs, again = q.next(tx, l.Line, most, busy)
		return struct{}{}, nil
	})
	return jobs, again, err
}

func (q Queue) next(tx *kv.Tx, l Line, most int, busy func(MessageID) bool) (jobs []Job, again Look) {
	u, _ := q.env.store.lineUsage.Get(tx, []byte(l.identity()))
	gap := max(l.DeviceGap, l.MinInterval)
	free := gapEnd(tx.Now, u.LastSend, gap)
	if free.After(tx.Now) {
		if q.env.store.ready.Any(tx, kv.Prefix(l.ID.key())) {
			return nil, Look{free, true}
		}
		return nil, Look{}
	}
	if gap > 0 || l.ContactGap > 0 {
		most = 1
	}
	first, _ := q.waiting(tx, readyKey(l.ID, true), most, busy)
	follow, crowded := q.waiting(tx, readyKey(l.ID, false), most, func(id MessageID) bool {
		return busy(id) || len(first) > 0 && q.behindFirst(tx, l, id)
	})
	freeFirst := gapEnd(tx.Now, u.LastFirst, l.ContactGap)
	for len(jobs) < most && len(follow)+len(first) > 0 {
		from := &follow
		if len(follow) == 0 || len(first) > 0 && earlier(first[0], follow[0]) && !freeFirst.After(tx.Now) {
			from = &first
			if freeFirst.After(tx.Now) {
				return jobs, Look{At: freeFirst, Firm: crowded}
			}
		}
		if job, ok := q.job(tx, l, idOf[messageKind]((*from)[0])); ok {
			jobs = append(jobs, job)
		}
		*from = (*from)[1:]
	}
	return jobs, Look{}
}

// gapEnd is when a gap since last ends. Where last lies further ahead than the gap is long, the clock was
// set back, and nobody knows: the line doesn't stand still until the clock has caught up.
func gapEnd(now, last time.Time, gap Gap) time.Time {
	if last.After(now.Add(time.Duration(gap))) {
		return now
	}
	return last.Add(time.Duration(gap))
}

// behindFirst tells whether a follow-up must wait because the line's first message to its person does.
func (q Queue) behindFirst(tx *kv.Tx, l Line, id MessageID) bool {
	m, _ := q.env.store.messages.Get(tx, id.key())
	if len(m.To) == 0 {
		return false
	}
	prefix := func(addr string) []byte { return personKey(addr, true, l.ID) }
	for other := range q.env.others(tx, &m, prefix) {
		if other.Unit.First {
			return other.Place == inReady
		}
	}
	return false
}

// earlier compares two entries of ready, of whichever kind: by due time, then id.
func earlier(a, b []byte) bool {
	const at = len(kv.ID{}) + 1
	return string(a[at:]) < string(b[at:])
}

// lookPast bounds how many messages that can't go are looked past for one that can. Behind so many, one
// waits until those before it have gone: a look must not take longer with everything that waits.
const lookPast = 16

// waiting returns the first entries below prefix, without those to leave out. It is crowded if so many are
// left out that one more message would not be looked at.
func (q Queue) waiting(tx *kv.Tx, prefix []byte, most int, leaveOut func(MessageID) bool) (keys [][]byte, crowded bool) {
	past := 0
	for key := range q.env.store.ready.Scan(tx, kv.Prefix(prefix)) {
		if leaveOut(idOf[messageKind](key)) {
			past++
		} else {
			keys = append(keys, key)
		}
		if len(keys) == most || past == lookPast {
			break
		}
	}
	return keys, past == lookPast
}

func (q Queue) job(tx *kv.Tx, l Line, id MessageID) (job Job, ok bool) {
	m, ok := q.env.store.messages.Get(tx, id.key())
	if !ok {
		return job, false
	}
	lead, _ := q.env.store.leads.Get(tx, m.Lead.key())
	job = Job{Message: m, Line: l, Lead: lead}
	if text, fits := fill(m.Text, &lead, maxChars[m.Channel]); fits {
		job.Text = text
	} else {
		job.Refused = fmt.Sprintf("The message is too long with its placeholders filled: at most %d characters for %s.", maxChars[m.Channel], m.Channel)
	}
	return job, true
}

// Transport returns the URL of a line's transport.
func (q Queue) Transport(l Line) (string, error) {
	return q.env.engine.secrets.open(l.Sealed, l.ID.String())
}

// ErrNotNow says that a message must not be handed over: it was cancelled, its line or workspace
// stopped, its window closed, or its line's day is spent. Nothing was sent.
var ErrNotNow = errors.New("not to be handed over now")

// HandOver makes it durable that the job is being sent: from here on nobody may assume that it was
// not. The transport calls it at its last moment.
func (q Queue) HandOver(job Job) error {
	err := q.handOver(job)
	if errors.Is(err, errAgain) {
		return ErrNotNow // the message changed since the line was given it: it is given it anew
	}
	return err
}

func (q Queue) handOver(job Job) error {
	e, env := q.env.engine, q.env
	h, err := q.renew(job.Message, job.Line)
	if err != nil {
		return err
	}
	store := func(tx *kv.Tx) (Message, error) {
		m, ok := env.store.messages.Get(tx, job.Message.ID.key())
		if !ok || m.Place != inReady || m.Line != job.Line.ID {
			return m, ErrNotNow
		}
		l, ok := env.line(tx, m.Line)
		if !ok || !l.Active || mustWrite(tx, env) != nil {
			return m, ErrNotNow
		}
		if m.Unit.Day != job.Message.Unit.Day || h.line != nil && h.line.first != m.Unit.First {
			return m, errAgain
		}
		return env.handOver(tx, m, l, h, job.Text), nil
	}
	m, err := spend([]*hold{h}, func() (Message, error) {
		m, err := kv.Update(e.db, store)
		return m, storageError(err)
	}, func(m Message, _ int) bool { return m.Status == Sending })
	if err == nil && m.Status != Sending {
		e.work.wakeFor(env, &m)
		return ErrNotNow
	}
	return err
}

// renew takes a unit of today for a message whose unit is of a day that is over. If no room is left, h
// says which day is spent.
func (q Queue) renew(m Message, l Line) (h *hold, err error) {
	e := q.env.engine
	state := q.env.lines.Load().find(l.ID)
	if state == nil {
		return nil, ErrNotNow
	}
	for {
		h = new(hold)
		today := e.lineDay()
		if m.Unit.Day >= max(today, state.counter.Day()) {
			return h, nil
		}
		if busy := h.reserveLine(today, []candidate{{state, m.Unit.First}}); !busy {
			return h, nil
		}
		if err := e.othersEnd(); err != nil {
			return nil, err
		}
	}
}

// handOver stores the message as being sent, or puts it back to wait.
func (env *environment) handOver(tx *kv.Tx, m Message, l Line, h *hold, text string) Message {
	old := m
	m.Updated = tx.Now
	if opens := m.Window.opens(tx.Now); opens.After(tx.Now) {
		m.wait(opens, windowReason(opens))
		env.putMessage(tx, &old, &m)
		return m
	}
	if h.line == nil && h.spent != 0 {
		env.dropUnit(tx, &m, env.passFirst(tx, &m)) // of a day that is over: nothing goes back in memory
		m.putOff(tx.Now, h.spent)
		env.putMessage(tx, &old, &m)
		return m
	}
	if h.line != nil {
		env.dropUnit(tx, &m, h.line.needs().Second)
		m.takeUnit(tx, env, h.line, h.unit.Day())
	}
	m.Status, m.Place, m.Reason, m.Text = Sending, nowhere, "", text
	env.putMessage(tx, &old, &m)
	u, _ := env.store.lineUsage.Get(tx, []byte(l.identity()))
	u.LastSend = tx.Now
	if m.Unit.First {
		u.LastFirst = tx.Now
	}
	env.store.lineUsage.Put(tx, []byte(l.identity()), u)
	return m
}

// dropUnit takes the message's line unit away, and out of the stored total with so many conversations.
func (env *environment) dropUnit(tx *kv.Tx, m *Message, conversations int64) refund {
	r := env.returnUnit(tx, m, conversations)
	m.Unit = LineUnit{}
	if !m.Pinned {
		m.Line = LineID{}
	}
	return r
}

// LineIDs names the queue's lines.
func (q Queue) LineIDs() (ids []LineID) {
	for _, l := range q.env.lines.Load().all {
		ids = append(ids, l.ID)
	}
	return ids
}
