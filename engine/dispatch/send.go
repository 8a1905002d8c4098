package dispatch

import (
	"errors"
	"sync"
	"time"

	"tuco/engine"
	"tuco/engine/transport"
)

// send sends what the line can send now, and returns when to look again.
func (w *worker) send() (again engine.Look) {
	queue := w.key.queue
	for w.d.stopping.Err() == nil {
		jobs, again, err := queue.Next(w.key.line, w.d.opt.Parallel, w.isBusy)
		if err != nil {
			w.d.opt.Log.Error().Err(err).Stringer("line", w.key.line).Msg("waiting messages not read")
			return w.after(pause)
		}
		if len(jobs) == 0 {
			return again
		}
		if !w.ready(jobs[0].Line) || !w.sendAll(jobs) {
			return w.after(w.backoff())
		}
	}
	return engine.Look{}
}

func (w *worker) isBusy(id engine.MessageID) bool {
	_, busy := w.busy.Load(id)
	return busy
}

// ready opens the line's transport if it changed, and asks a line that was down whether it is up again.
func (w *worker) ready(l engine.Line) bool {
	if w.transport == nil || w.opened.Shown != l.Shown || string(w.opened.Sealed.Box) != string(l.Sealed.Box) {
		if err := w.reopen(l); err != nil {
			w.down(err)
			return false
		}
	}
	if w.failures == 0 && l.Healthy {
		return true
	}
	if err := w.transport.Check(w.d.stopping); err != nil {
		if w.d.stopping.Err() == nil {
			w.down(err)
		}
		return false
	}
	w.up()
	return true
}

func (w *worker) reopen(l engine.Line) (err error) {
	if w.transport != nil {
		w.transport.Close()
	}
	w.opened = l
	w.transport, err = w.d.open(w.key.queue, l)
	return err
}

// backoff grows from 1 second to a minute while the line is down.
func (w *worker) backoff() time.Duration {
	return min(time.Minute, time.Second<<min(w.failures, 6))
}

func (w *worker) down(cause error) {
	w.failures++
	news, err := w.key.queue.Health(w.key.line, false, cause.Error())
	if err != nil {
		w.d.opt.Log.Error().Err(err).Stringer("line", w.key.line).Msg("health not stored")
	}
	if news {
		w.d.opt.Log.Warn().Stringer("line", w.key.line).Str("workspace", string(w.key.queue.Workspace())).
			Str("cause", cause.Error()).Msg("line is down; its messages wait")
	}
}

func (w *worker) up() {
	w.failures = 0
	if news, err := w.key.queue.Health(w.key.line, true, ""); err == nil && news {
		w.d.opt.Log.Info().Stringer("line", w.key.line).Str("workspace", string(w.key.queue.Workspace())).Msg("line is up again")
	}
}

// sendAll sends the jobs side by side, but those to one person in their order. It reports whether the
// line could be reached.
func (w *worker) sendAll(jobs []engine.Job) bool {
	var group sync.WaitGroup
	var mu sync.Mutex
	var cause error
	seen := map[string]bool{}
	for _, job := range jobs {
		if seen[job.Message.To[0]] {
			continue // after the one before it: the next look finds it
		}
		seen[job.Message.To[0]] = true
		w.busy.Store(job.Message.ID, true)
		group.Add(1)
		go func() {
			defer group.Done()
			defer w.busy.Delete(job.Message.ID)
			if err := w.sendOne(job); err != nil {
				mu.Lock()
				cause = err
				mu.Unlock()
			}
		}()
	}
	group.Wait()
	if cause == nil {
		if w.failures > 0 {
			w.up()
		}
		return true
	}
	if errors.Is(cause, transport.ErrUnreachable) {
		w.down(cause)
	} else {
		w.failures++
	}
	return false
}

// sendOne sends one message and records its outcome. It returns an error if the line had better rest.
func (w *worker) sendOne(job engine.Job) error {
	if job.Refused != "" {
		m, err := w.key.queue.Finish(job.Message.ID, engine.Outcome{Status: engine.Failed, Detail: job.Refused})
		if err == nil {
			w.d.observe(w.key.queue, m)
		}
		return err
	}
	result, err := w.transport.Send(w.d.sends, transportMessage(job), func() error { return w.key.queue.HandOver(job) })
	var temporary *transport.TemporaryError
	var m engine.Message
	var stored error
	switch {
	case err == nil:
		m, stored = w.key.queue.Finish(job.Message.ID, outcomeOf(result))
	case errors.Is(err, engine.ErrNotNow):
		return nil
	case errors.As(err, &temporary):
		m, stored = w.key.queue.Retry(job.Message.ID, temporary.Detail)
	case errors.Is(err, transport.ErrUnreachable) && w.transport.Check(w.d.sends) == nil:
		// The line is there for others: it is this message that it ends at.
		m, stored = w.key.queue.Retry(job.Message.ID, err.Error())
	case errors.Is(err, transport.ErrUnknown):
		m, stored = w.key.queue.Lose(job.Message.ID, err.Error())
	default: // unreachable, stopping, or the store: provably not sent, and still waiting
		w.d.opt.Log.Debug().Err(err).Stringer("message", job.Message.ID).Msg("not sent yet")
		return err
	}
	if stored != nil {
		w.d.opt.Log.Error().Err(stored).Stringer("message", job.Message.ID).Msg("outcome not stored; it is reconciled at the next start")
		return stored
	}
	w.d.observe(w.key.queue, m)
	return nil
}

func (d *Dispatcher) observe(q engine.Queue, m engine.Message) {
	event := d.opt.Log.Debug() // in the usual case nobody looks, and each message would cost a write
	if m.Status == engine.Uncertain || m.Status == engine.Failed {
		event = d.opt.Log.Warn()
	}
	event.Stringer("message", m.ID).Str("workspace", string(q.Workspace())).Stringer("line", m.Line).
		Str("status", string(m.Status)).Str("correlation", m.CorrelationID).Msg("message.send.summary")
	if d.opt.Observe != nil {
		d.opt.Observe(m.Status)
	}
}

func transportMessage(job engine.Job) transport.Message {
	m, l := job.Message, job.Line
	out := transport.Message{
		ID: m.ID.String(), Type: string(m.Channel), To: m.To, ToName: m.RecipientName, Text: job.Text, Created: m.Created,
		From: transport.From{Name: l.Name(), Phone: l.Phone, Email: l.Email},
	}
	if out.ToName == "" {
		out.ToName = job.Lead.Name()
	}
	for i, url := range m.Attachments {
		a := transport.Attachment{URL: url}
		if i < len(m.AttachmentNames) {
			a.Name = m.AttachmentNames[i]
		}
		out.Attachments = append(out.Attachments, a)
	}
	return out
}

func outcomeOf(r transport.Result) engine.Outcome {
	status := map[transport.Outcome]engine.Status{
		transport.Sent: engine.Sent, transport.Delivered: engine.Delivered,
		transport.Failed: engine.Failed, transport.Fallback: engine.Fallback,
	}[r.Outcome]
	return engine.Outcome{Status: status, ExternalID: r.ExternalID, Detail: r.Detail, Checked: r.Checked}
}
