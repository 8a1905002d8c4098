package engine

import (
	"fmt"
	"time"

	"tuco/kv"
)

// An Outcome is how a message's sending ended.
type Outcome struct {
	Status     Status // Sent, Delivered, Failed or Fallback
	ExternalID string
	Detail     string   // why it failed or fell back
	Checked    []string // addresses that were tried
}

// Tries of an individual message, as documented.
const (
	maxAttempts = 5
	retryGap    = time.Minute
)

// Finish stores a message's outcome. It works in READ_ONLY and on a full disk: the send has happened.
func (q Queue) Finish(id MessageID, o Outcome) (Message, error) {
	return q.end(id, func(tx *kv.Tx, m *Message) {
		m.Status, m.ExternalID, m.Error, m.Checked, m.Reason = o.Status, o.ExternalID, o.Detail, o.Checked, ""
		switch o.Status {
		case Delivered:
			m.SentAt, m.DeliveredAt = tx.Now, tx.Now
		case Sent:
			m.SentAt = tx.Now
		}
		q.env.countOutcome(tx, m)
	})
}

// Retry puts a message that was provably not sent back to wait for another attempt; after the last one
// it has failed.
func (q Queue) Retry(id MessageID, detail string) (Message, error) {
	return q.end(id, func(tx *kv.Tx, m *Message) {
		if m.Attempts++; m.Attempts >= maxAttempts {
			m.Status, m.Reason = Failed, ""
			m.Error = fmt.Sprintf("Gave up after %d attempts: %s", m.Attempts, detail)
			q.env.countOutcome(tx, m)
			return
		}
		m.Status, m.Place, m.Due = Queued, inDue, tx.Now.Add(retryGap)
		m.Reason = fmt.Sprintf("Attempt %d of %d failed (%s); tries again at %s.", m.Attempts, maxAttempts, detail, m.Due.Format(time.RFC3339))
	})
}

// Lose stores that nobody can tell whether a message was sent. It keeps its units, and is sent again
// only if the operator says so.
func (q Queue) Lose(id MessageID, detail string) (Message, error) {
	return q.end(id, func(_ *kv.Tx, m *Message) {
		m.Status = Uncertain
		m.Error = "The outcome of the send is not known: " + detail
	})
}

// end changes a message whose sending has come to an end. It may have come to it before: then nothing
// changes.
func (q Queue) end(id MessageID, fn func(tx *kv.Tx, m *Message)) (Message, error) {
	m, err := kv.UpdateCritical(q.env.engine.db, func(tx *kv.Tx) (Message, error) {
		m, ok := q.env.store.messages.Get(tx, id.key())
		if !ok || m.Status != Sending && m.Status != Uncertain && m.Place != inReady {
			return m, nil
		}
		old := m
		m.Place, m.Updated = nowhere, tx.Now
		fn(tx, &m)
		q.env.putMessage(tx, &old, &m)
		return m, nil
	})
	if err == nil && m.Place == inDue {
		q.env.engine.work.wakeFor(q.env, &m)
	}
	return m, storageError(err)
}

// countOutcome counts for the spam monitor.
func (env *environment) countOutcome(tx *kv.Tx, m *Message) {
	key := hourKey(m.Line, tx.Now)
	hour, _ := env.store.lineHours.Get(tx, key)
	l, _ := env.store.lines.Get(tx, m.Line.key())
	u, _ := env.store.lineUsage.Get(tx, []byte(l.identity()))
	if m.Status == Failed {
		hour.Failed++
		u.Failures++
	} else {
		u.Failures = 0
	}
	hour.Sent++
	env.store.lineHours.Put(tx, key, hour)
	for old := range env.store.lineHours.Scan(tx, kv.Range{From: m.Line.key(), To: hourKey(m.Line, tx.Now.Add(-48*time.Hour))}) {
		env.store.lineHours.Delete(tx, old)
	}
	env.store.lineUsage.Put(tx, []byte(l.identity()), u)
}

// Interrupted returns the messages that were handed over when the process ended.
func (q Queue) Interrupted() ([]Job, error) {
	return kv.View(q.env.engine.db, func(tx *kv.Tx) (jobs []Job, err error) {
		for key := range q.env.store.messageByStatus.Scan(tx, kv.Prefix([]byte{statusCodes[Sending]})) {
			m, _ := q.env.store.messages.Get(tx, idOf[messageKind](key).key())
			l, _ := q.env.store.lines.Get(tx, m.Line.key())
			jobs = append(jobs, Job{Message: m, Line: l, Text: m.Text})
		}
		return jobs, nil
	})
}

// Health stores whether a line's transport can be reached. It reports whether that is news.
func (q Queue) Health(line LineID, healthy bool, detail string) (news bool, err error) {
	state := q.env.lines.Load().find(line)
	if state == nil || state.Healthy == healthy && state.HealthDetail == detail {
		return false, nil
	}
	news, err = kv.UpdateCritical(q.env.engine.db, func(tx *kv.Tx) (bool, error) {
		l, ok := q.env.line(tx, line)
		if !ok {
			return false, nil
		}
		news := l.Healthy != healthy
		l.Healthy, l.HealthDetail, l.HealthChecked = healthy, detail, tx.Now
		q.env.store.lines.Put(tx, line.key(), l)
		return news, nil
	})
	if err != nil {
		return false, storageError(err)
	}
	return news, q.env.reloadLines()
}

// Settle ends a message whose outcome is unknown, by what the operator found out: it was sent, it
// failed, or, with [Pending], it is to be sent again.
func (e *Engine) Settle(who Caller, id string, as Status) (Message, error) {
	if !who.operator {
		return Message{}, Errorf(Forbidden, "Only the operator can settle a message")
	}
	message, err := parseID[messageKind](who, id, "Invalid messageId", "Message not found")
	if err != nil {
		return Message{}, err
	}
	if as != Sent && as != Failed && as != Pending {
		return Message{}, Errorf(Invalid, "Settle a message as sent, failed or pending (to send it again)")
	}
	m, err := kv.UpdateCritical(e.db, func(tx *kv.Tx) (Message, error) {
		m, ok := who.env.store.messages.Get(tx, message.key())
		switch {
		case !ok:
			return m, Errorf(NotFound, "Message not found")
		case m.Status != Uncertain:
			return m, Errorf(Conflict, "The outcome of this message is known: it is %s", m.Status)
		}
		old := m
		m.Status, m.Updated, m.Reason = as, tx.Now, "Settled by the operator."
		switch as {
		case Sent:
			m.SentAt, m.Error = tx.Now, ""
		case Pending:
			m.wait(tx.Now, "To be sent again, as the operator settled.") // its line may be gone: the release finds it one
			if m.Scheduled.After(tx.Now) {                               // it was not due yet when its outcome became unknown
				m.Status, m.Due, m.Reason = Scheduled, m.Scheduled, ""
			}
			m.Error = ""
		}
		if as != Pending {
			who.env.countOutcome(tx, &m)
		}
		who.env.putMessage(tx, &old, &m)
		return m, nil
	})
	if err != nil {
		return m, storageError(err)
	}
	e.work.wakeFor(who.env, &m)
	return m, nil
}
