package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"tuco/engine/quota"
	"tuco/engine/transport"
	"tuco/kv"
)

// envImport brings the records of one environment in.
type envImport struct {
	*environment
	x       *importer
	from    kv.Tag // of the ids in the export
	highest kv.ID  // of those that were imported, by their time
	last    kv.ID  // of the file that is being read: its ids ascend
	tally   *tally
	lists   map[ListID]bool
	lines   map[LineID]bool
}

// What one transaction brings in, at most.
const (
	importBatch      = 500
	importBatchBytes = 4 << 20
)

// errStore marks errors of the store among those of a file.
var errStore = errors.New("storing what is imported")

// run reads the files in the order in which their records name each other.
func (i *envImport) run() error {
	names, identities, active := map[string]bool{}, map[string]bool{}, 0
	err := importAll(i, kindLists, func(l *List) error {
		l.Leads = 0 // they are counted as they come
		i.lists[l.ID] = true
		return checkImportedList(l, names)
	}, func(l *List) *kv.ID { return &l.ID.ID }, func(tx *kv.Tx, l *List) { i.store.lists.Put(tx, l.ID.key(), *l) }, nil)
	if err != nil {
		return err
	}
	err = importAll(i, kindLines, func(l *Line) error {
		if err := checkImportedLine(l, identities, &active); err != nil {
			return err
		}
		i.lines[l.ID] = true
		i.pause(l)
		return nil
	}, func(l *Line) *kv.ID { return &l.ID.ID }, func(tx *kv.Tx, l *Line) { i.store.lines.Put(tx, l.ID.key(), *l) }, nil)
	if err != nil {
		return err
	}
	err = importAll(i, kindLineUsage, func(u *exportedLineUsage) error {
		if !isAddress(u.Identity) || u.Failures < 0 || u.LastSend.After(i.x.now.Add(day)) || u.LastFirst.After(i.x.now.Add(day)) {
			return errors.New("it is no usage of a line")
		}
		return i.x.checkSums(u.Day, u.Messages, u.Conversations)
	}, nil, func(tx *kv.Tx, u *exportedLineUsage) { i.store.lineUsage.Put(tx, []byte(u.Identity), u.LineUsage) }, nil)
	if err != nil {
		return err
	}
	err = importAll(i, kindLeads, func(l *Lead) error {
		if err := i.own(&l.List.ID); err != nil {
			return err
		}
		return i.checkLead(l)
	}, func(l *Lead) *kv.ID { return &l.ID.ID }, func(tx *kv.Tx, l *Lead) { i.putLead(tx, nil, l) }, i.count)
	if err != nil {
		return err
	}
	return importAll(i, kindMessages, i.message, func(m *Message) *kv.ID { return &m.ID.ID }, func(tx *kv.Tx, m *Message) { i.putMessage(tx, nil, m) }, nil)
}

// count counts the leads of a batch.
func (i *envImport) count(tx *kv.Tx, batch []Lead) {
	lists := map[ListID]int64{}
	for _, l := range batch {
		lists[l.List]++
	}
	for list, n := range lists {
		i.countLeads(tx, list, n)
	}
}

// pause makes a line one that sends nothing. A sandbox line stays one; any other needs its transport again.
func (i *envImport) pause(l *Line) {
	l.Active, l.Healthy, l.HealthDetail, l.HealthChecked = false, true, "", time.Time{}
	switch {
	case l.Deleted:
	case l.Sandbox():
		l.Sealed = i.engine.secrets.seal(transport.Sandbox+":", l.ID.String())
	default:
		l.Transport, l.Shown, l.MinInterval = noTransport, "", 0
		i.x.done.Lines = append(i.x.done.Lines, l.ID)
	}
}

// message checks a message and makes it one that is never sent by itself.
func (i *envImport) message(m *Message) error {
	if err := errors.Join(i.own(&m.Lead.ID), i.own(&m.Line.ID)); err != nil {
		return err
	}
	if err := i.checkMessage(m); err != nil {
		return err
	}
	if m.Status.waits() || m.Status == Sending {
		m.Status, m.Place, m.Updated = Uncertain, nowhere, i.x.now
		m.Error = "The workspace was imported from another installation while this message was not sent; whether it was sent there since is not known."
		i.x.done.Unknown++
	}
	i.tally.add(m)
	return nil
}

// importAll reads a file and stores its records in batches. idOf is nil for records without an id; check gets a record with
// its new id; more, if it is not nil, completes a batch.
func importAll[T any](i *envImport, kind string, check func(*T) error, idOf func(*T) *kv.ID, put func(*kv.Tx, *T), more func(*kv.Tx, []T)) error {
	var batch []T
	i.last = kv.ID{}
	size := 0
	store := func() error {
		if len(batch) == 0 {
			return nil
		}
		_, err := kv.Update(i.engine.db, func(tx *kv.Tx) (struct{}, error) {
			for n := range batch {
				put(tx, &batch[n])
			}
			if more != nil {
				more(tx, batch)
			}
			return struct{}{}, nil
		})
		if err != nil {
			return fmt.Errorf("%w: %w", errStore, err)
		}
		i.x.done.Records[kind] += int64(len(batch))
		batch, size = batch[:0], 0
		return nil
	}
	err := eachRecord(i.x, i.name, kind, func(record *T, bytes int) error {
		if idOf != nil {
			if err := i.take(kind, idOf(record)); err != nil {
				return err
			}
		}
		if err := check(record); err != nil {
			return err
		}
		batch = append(batch, *record)
		if size += bytes; len(batch) < importBatch && size < importBatchBytes {
			return nil
		}
		return store()
	})
	if err != nil {
		return err
	}
	return store()
}

// importedID is a line of the file that says which id became which.
type importedID struct {
	Environment Environment `json:"environment"`
	Kind        string      `json:"kind"`
	Old         string      `json:"old"`
	New         string      `json:"new"`
}

// take gives a record its new id.
func (i *envImport) take(kind string, id *kv.ID) error {
	old := *id
	switch {
	case old == kv.ID{} || bytes.Compare(old[:], i.last[:]) <= 0:
		return errors.New("its id is not above that of the line before")
	case old.Time().After(i.x.now.Add(day)):
		return errors.New("its id is of " + old.Time().Format(time.RFC3339) + ", more than a day ahead of this machine's clock; is that right?")
	}
	if err := i.own(id); err != nil {
		return err
	}
	i.last = old
	if binary.BigEndian.Uint32(id[:4]) >= binary.BigEndian.Uint32(i.highest[:4]) {
		i.highest = *id
	}
	i.x.ids.put(importedID{i.name, strings.TrimSuffix(kind, "s"), old.String(), id.String()})
	return i.x.ids.err
}

// own makes an id of the export one of the environment; none stays none.
func (i *envImport) own(id *kv.ID) error {
	if *id != (kv.ID{}) && id.Tag() != i.from {
		return errors.New("it has an id of another workspace or environment")
	}
	*id = retagged(*id, i.tag)
	return nil
}

// checkLineDays refuses messages with a day of a line that is after the line's last one.
func (i *envImport) checkLineDays(tx *kv.Tx) error {
	for identity, days := range i.tally.byIdentity(tx, i.environment) {
		u, _ := i.store.lineUsage.Get(tx, []byte(identity))
		for d := range days {
			if d > u.Day {
				return Errorf(Invalid, "Messages of the export carry the day %s of a line whose last one is %s. Nothing was imported", d, u.Day).With(CodeDamaged)
			}
		}
	}
	return nil
}

// checkSums refuses usage that can't be.
func (x *importer) checkSums(d quota.Label, sums ...int64) error {
	if !isLabel(d, x.latest()) {
		return errors.New("its day is none, or far ahead of this machine's clock")
	}
	for _, n := range sums {
		if n < 0 || n >= quota.Unlimited || d == 0 && n > 0 {
			return errors.New("its sums can't be")
		}
	}
	return nil
}

// latest is the latest day that anything can have been charged to.
func (x *importer) latest() quota.Label { return quota.DayOf(x.now.Add(2*day), time.UTC) }
