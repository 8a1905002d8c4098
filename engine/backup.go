package engine

import (
	"context"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// A Snapshot is a consistent copy of the database, and what is known of it.
type Snapshot struct {
	Installation string
	Epoch        uint64           // of the audit log
	Time         time.Time        // when it was taken
	Position     kv.Position      // it has everything that was logged before
	Records      map[string]int64 // by kind
	Quota        []byte           // JSON: what each workspace has used
	Checkpoint   []byte           // of its audit log, signed
}

// Snapshot copies the database into dir, an empty directory, while it is used. Everything else in the data directory, the keys
// above all, is no part of it. The reader goes on where the snapshot ends, and must be closed.
//
// With pace the copy takes at least as long as so many bytes a second would. It gives up when ctx ends.
func (e *Engine) Snapshot(ctx context.Context, dir string, pace int64) (s Snapshot, log *kv.LogReader, err error) {
	path := filepath.Join(dir, DatabaseName)
	log, err = e.db.CopyTo(ctx, path, pace)
	if err != nil {
		return s, nil, err
	}
	entries := uint64(0)
	s.Position, s.Time = log.Position(), e.opt.Now().UTC()
	err = kv.SettleCopy(path, kv.Options{Schema: Schema, Now: e.opt.Now, AllowNetworkFS: e.opt.AllowNetworkFS}, func(tx *kv.Tx) (err error) {
		entries = auditNodes.Len(tx)
		s.Records, s.Quota, err = inventory(tx)
		return err
	})
	if err == nil {
		s.Checkpoint, err = e.checkpointOf(entries)
	}
	if err != nil {
		log.Close()
		return s, nil, err
	}
	s.Installation, s.Epoch = e.Installation()
	return s, log, nil
}

// checkpointOf returns a checkpoint of the first size entries; nil while the log can't be relied on.
func (e *Engine) checkpointOf(size uint64) ([]byte, error) {
	if e.AuditTrouble() != nil {
		return nil, nil
	}
	signed, _, err := e.checkpointAt(size)
	return signed, err
}

// Installation names the installation, and its restore epoch.
func (e *Engine) Installation() (id string, epoch uint64) {
	state := e.audit.state.Load()
	return state.Installation, state.Epoch
}

// ReadLog returns a reader of what was logged from a position on. See [kv.DB.ReadLog].
func (e *Engine) ReadLog(from kv.Position) (*kv.LogReader, error) { return e.db.ReadLog(from) }

// Reserve is how many bytes of the disk are kept for what must be possible on a full one.
func (e *Engine) Reserve() int64 { return e.opt.Reserve }

// Position is up to where everything is durable.
func (e *Engine) Position() kv.Position { return e.db.Position() }

// inventory counts what a backup holds.
func inventory(tx *kv.Tx) (records map[string]int64, used []byte, err error) {
	records = map[string]int64{"auditEntries": int64(auditNodes.Len(tx))}
	usage := map[WorkspaceID]map[pool]PlanUsage{}
	for _, w := range workspaces.Scan(tx, kv.Range{}) {
		records["workspaces"]++
		t := &tenant{id: w.ID}
		for _, name := range Environments {
			env := &environment{tenant: t, name: name}
			s := newStore(env.path())
			for kind, path := range map[string]kv.Path{
				"leads": s.leads.Path, "lists": s.lists.Path, "lines": s.lines.Path, "messages": s.messages.Path, "keys": env.keys().Path,
			} {
				for range (kv.Index{Path: path}).Scan(tx, kv.Range{}) {
					records[kind]++
				}
			}
		}
		pools := map[pool]PlanUsage{}
		for key, u := range usageBucket(w.ID).Scan(tx, kv.Range{}) {
			pools[pool(key)] = u
		}
		usage[w.ID] = pools
	}
	used, err = json.Marshal(usage, json.Deterministic(true))
	return records, used, err
}

// A FileReport is what a look at a database file finds.
type FileReport struct {
	Faults  []string // in words; none if all is well
	Records map[string]int64
	Entries uint64        // of the audit log
	Root    auditlog.Hash // of its tree, recomputed
}

// CheckFile opens the database at path, decodes every record, recounts every counter and recomputes the audit log's root,
// without any key. The database must not be open, and is changed by what an opening changes.
//
// Errors: those of [kv.Open].
func CheckFile(path string, checkpoint []byte) (r FileReport, err error) {
	db, err := kv.Open(path, kv.Options{Schema: Schema})
	if err != nil {
		return r, err
	}
	defer db.Close() //nolint:errcheck // nothing was written
	e := &Engine{db: db, opt: Options{Now: time.Now}}
	return e.report(checkpoint, func(string) error { return nil })
}

// report checks everything; before each part it asks whether to go on.
func (e *Engine) report(checkpoint []byte, next func(part string) error) (r FileReport, err error) {
	if r.Faults, err = e.check(next); err != nil {
		return r, err
	}
	_, err = kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
		if r.Records, _, err = inventory(tx); err != nil {
			return struct{}{}, err
		}
		r.Entries = auditNodes.Len(tx)
		r.Root, err = auditlog.Root(r.Entries, auditHashes{tx})
		if err != nil || checkpoint == nil {
			return struct{}{}, err
		}
		r.Faults = append(r.Faults, compareCheckpoint(tx, checkpoint)...)
		return struct{}{}, nil
	})
	if err != nil && len(r.Faults) > 0 { // what is so damaged that nobody can count it was reported
		err = nil
	}
	return r, err
}

// compareCheckpoint tells in which way the audit log doesn't continue a checkpoint. Its signature is not looked at.
func compareCheckpoint(tx *kv.Tx, signed []byte) []string {
	c, err := auditlog.UnsignedCheckpoint(signed)
	if err != nil {
		return []string{"the checkpoint: " + err.Error()}
	}
	if n := auditNodes.Len(tx); c.Size > n {
		return []string{"the audit log has fewer entries than its checkpoint says"}
	}
	if root, err := auditlog.Root(c.Size, auditHashes{tx}); err != nil || root != c.Root {
		return []string{"the audit log is not the one that its checkpoint is of"}
	}
	return nil
}
