package keeper

import (
	"bytes"
	"context"
	"errors"
	"time"

	"tuco/backup"
	"tuco/engine"
	"tuco/engine/auditlog"
	"tuco/kv"
)

const (
	sampleEvery = 250 * time.Millisecond // how fine the moments are to which one can restore
	shipBytes   = 8 << 20                // of the log that one object holds
	retryMost   = time.Minute
)

// shipping is how far the log was shipped. The goroutine that ships uses it alone.
type shipping struct {
	log     *kv.LogReader
	moments []moment // not shipped yet
	last    moment   // up to where all was shipped
	retry   time.Duration
	after   time.Time // no try before
}

func (s *shipping) close() {
	if s.log != nil {
		s.log.Close()
		s.log = nil
	}
}

// run samples and ships until the keeper is stopped.
func (k *Keeper) run() {
	defer close(k.done)
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-tick.C:
		}
		k.step()
	}
}

// step does what is due.
func (k *Keeper) step() {
	now := k.opt.Now()
	s := &k.ship
	if now.Before(s.after) && !s.after.After(now.Add(retryMost)) {
		k.sample()
		return
	}
	err := k.connect(k.ctx)
	if err == nil {
		k.catchUp(now)
		k.sample()
		err = k.shipDue(now)
	}
	if err == nil {
		if s.retry > 0 {
			k.worked(shipFailed)
		}
		s.retry = 0
		return
	}
	if errors.Is(err, backup.ErrExists) { // stored by a call that failed all the same: the target tells how far it got
		s.close()
		s.moments = nil
	}
	k.failed(shipFailed, err)
	s.retry = min(max(2*s.retry, time.Second), retryMost)
	s.after = k.opt.Now().Add(s.retry)
}

// connect finds out where to go on: behind what the target has, or with a full backup if that leads nowhere.
func (k *Keeper) connect(ctx context.Context) error {
	s := &k.ship
	if s.log != nil {
		return nil
	}
	installation, epoch := k.opt.Engine.Installation()
	list, err := k.opt.Target.List(ctx, installation+"/")
	if err != nil {
		return err
	}
	if len(list) == 0 {
		k.lookForOther(ctx)
	}
	k.note(func(st *Status) { st.Connected = true })
	for _, series := range backup.NewCatalogue(list).Series {
		if series.Installation != installation || series.Epoch != epoch {
			continue
		}
		plan, err := series.Newest()
		if err != nil {
			continue
		}
		k.note(func(st *Status) { st.FullAt, st.FullBytes = plan.Full.Time, plan.Full.Size })
		if s.log, err = k.opt.Engine.ReadLog(plan.To()); err == nil {
			s.last = k.moment(plan.To())
			return nil
		}
		if !errors.Is(err, kv.ErrGone) {
			return err
		}
	}
	// The log comes first: so it leads from the full backup on without a gap.
	if s.log, err = k.opt.Engine.ReadLog(k.opt.Engine.Position()); err != nil {
		return err
	}
	s.last = k.moment(s.log.Position())
	k.note(func(st *Status) { st.FullDue = true })
	return nil
}

// moment is one at which everything up to a position is durable, and what is durable now may be more.
func (k *Keeper) moment(at kv.Position) moment {
	now := k.opt.Now()
	return moment{Time: milli(now), At: at, before: now}
}

// sample notes what is durable now.
func (k *Keeper) sample() {
	s := &k.ship
	if s.log == nil {
		return
	}
	before := k.opt.Now()
	at := k.opt.Engine.Position()
	if n := len(s.moments); n > 0 && s.moments[n-1].At == at || n == 0 && s.last.At == at {
		if n == 0 {
			s.last.Time, s.last.before = before, before
		}
	} else {
		checkpoint, _ := k.opt.Engine.Checkpoint() // every entry that it counts lies before what is durable next; none while the log can't be relied on
		at = k.opt.Engine.Position()
		// Rounded up: a restore to a time before it must have nothing of after that time.
		s.moments = append(s.moments, moment{milli(k.opt.Now().Add(time.Millisecond - 1)), at, before, checkpoint})
	}
	behind := s.log.Behind()
	k.note(func(st *Status) { st.Behind, st.ShippedAt, st.ShippedTo = behind, s.last.before, s.last.At })
	if behind > k.opt.MaxBehind || behind > 0 && k.opt.Engine.StorageLow() {
		s.close() // the disk is worth more than the chain
		s.moments = nil
		k.opt.Log.Warn().Int64("bytes", behind).Msg("the changes were not shipped for too long, and are let go; a new full backup is needed")
		k.note(func(st *Status) { st.FullDue = true })
	}
}

// shipDue ships if there is enough, or if it has waited long enough.
func (k *Keeper) shipDue(now time.Time) error {
	s := &k.ship
	for s.log != nil && s.log.Behind() > 0 && (s.log.Behind() >= shipBytes || now.Sub(s.last.before) >= k.opt.Ship) && len(s.moments) > 0 {
		if err := k.shipOne(k.ctx, false); err != nil {
			return err
		}
	}
	return nil
}

// shipOne ships up to shipBytes of the log, up to a moment.
func (k *Keeper) shipOne(ctx context.Context, closed bool) error {
	s := &k.ship
	k.sample()
	if s.log == nil {
		return nil
	}
	end, pieces, err := s.gather()
	if err != nil {
		return err
	}
	var told []moment
	for _, m := range s.moments {
		if m.At <= end {
			told = append(told, m)
		}
	}
	last := told[len(told)-1]
	closed = closed && end == k.opt.Engine.Position()
	installation, epoch := k.opt.Engine.Installation()
	m := backup.Manifest{
		Kind: backup.Log, ID: newID(), Installation: installation, Epoch: epoch, Product: k.opt.Product, Schema: engine.Schema,
		Time: milli(k.opt.Now()), From: s.last.At, To: end, FirstTime: milli(s.last.Time), LastTime: later(last.Time, milli(s.last.Time)),
	}
	m.Checkpoint = string(last.checkpoint)
	if n, exact := k.entriesAt(len(told) - 1); exact {
		m.Records = map[string]int64{entriesRecord: n}
	}
	o, err := backup.Create(ctx, k.opt.Dir, m, []backup.Input{
		{Name: piecesFile, Content: bytes.NewReader(pieces)}, {Name: momentsFile, Content: bytes.NewReader(appendMoments(nil, told, closed))},
	}, k.opt.Encryption)
	if err != nil {
		return err
	}
	defer o.Close()
	if err := k.opt.Target.Put(ctx, m.Name().String(), o); err != nil {
		return err
	}
	s.log.Advance(kv.LogPiece{From: end})
	s.last, s.moments = moment{Time: m.LastTime, At: end, before: last.before}, s.moments[len(told):]
	k.note(func(st *Status) {
		st.Behind, st.ShippedAt, st.ShippedTo = s.log.Behind(), s.last.before, s.last.At
	})
	return nil
}

// entriesRecord is how manifests call the entries of the audit log.
const entriesRecord = "auditEntries"

// entriesAt tells how many entries the audit log had at a moment that was not shipped yet, if a look after it found no more than one
// before it. The checkpoint alone may lack some that came between its signing and the moment.
func (k *Keeper) entriesAt(i int) (n int64, exact bool) {
	m := k.ship.moments[i]
	var after []byte
	if i+1 < len(k.ship.moments) {
		after = k.ship.moments[i+1].checkpoint
	} else {
		after, _ = k.opt.Engine.Checkpoint()
	}
	c, err := auditlog.UnsignedCheckpoint(m.checkpoint)
	return int64(c.Size), err == nil && bytes.Equal(m.checkpoint, after)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// gather reads the log up to the latest moment that shipBytes allow, at least to the first one.
func (s *shipping) gather() (end kv.Position, pieces []byte, err error) {
	end = s.moments[0].At
	for _, m := range s.moments {
		if int64(m.At-s.last.At) <= shipBytes {
			end = max(end, m.At)
		}
	}
	for at := s.log.Position(); at < end; {
		p, err := s.log.ReadAt(at, end, shipBytes)
		if err != nil {
			return 0, nil, err
		}
		pieces = appendPiece(pieces, p)
		at = p.To()
	}
	return end, pieces, nil
}

// finishShipping ships everything that is left, and says that it is the end.
func (k *Keeper) finishShipping(ctx context.Context) error {
	s := &k.ship
	defer s.close()
	if err := k.connect(ctx); err != nil { // it may have had no time for it before
		return err
	}
	k.sample()
	if s.log == nil {
		return nil
	}
	for s.log.Behind() > 0 && len(s.moments) > 0 {
		if err := k.shipOne(ctx, true); err != nil {
			return err
		}
	}
	return nil
}
