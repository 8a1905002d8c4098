package engine

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// A Restore says what is known of a database that was made of a backup, and of what it may lack.
type Restore struct {
	Backup string    // its id
	State  time.Time // the moment whose customer data it has
	Newest time.Time // the moment of the newest change that was shipped, which all else is of
	// Complete says that nothing was done after the newest change: the server was stopped, and shipped all.
	Complete bool
	// Standing is how an anchor stands to the audit log of the backup. See [Compare].
	Standing Standing
	// Rewind is why a log that is behind its anchor is accepted.
	Rewind string
	// NewLog says that the signing key is lost: the log begins anew.
	NewLog bool
}

// A Restored is what [FinishRestore] did.
type Restored struct {
	Epoch      uint64
	Workspaces int
	Unknown    int // messages whose outcome is not known any more
	KeysOff    int // API keys that were disabled
	StaffOff   int // accounts of staff and auditors that were
	Entries    uint64
}

// FinishRestore makes a database that was unpacked from a backup one that can be served: it begins a new epoch of the audit
// log, puts every workspace into READ_ONLY maintenance, makes messages that were not final unknown ones, uses up what may
// have been used since, and, where revocations may be lost, disables keys, staff and grants. Each of that is recorded. If it
// is cut short the database must be unpacked anew.
//
// Errors: those of [Open].
func FinishRestore(opt Options, r Restore) (done Restored, err error) {
	e, err := Open(opt)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if e.audit.found > 0 {
		return done, errors.New("there is an anchor beside the restored database; it must be unpacked into a new directory")
	}
	x := &restorer{e: e, r: r, now: e.opt.Now().UTC()}
	if err := x.begin(); err != nil {
		return done, err
	}
	for _, t := range e.allTenants() {
		if err := x.workspace(t); err != nil {
			return x.done, err
		}
	}
	if x.lost {
		err = x.disableAccounts()
	}
	x.done.Epoch, x.done.Workspaces = e.audit.state.Load().Epoch, len(e.allTenants())
	return x.done, errors.Join(err, e.Anchor())
}

// A restorer finishes one restore.
type restorer struct {
	e    *Engine
	r    Restore
	now  time.Time
	lost bool // revocations may have been
	done Restored
}

// auditRestore is where an epoch of the log ended: what later ones have of it.
type auditRestore struct {
	Epoch uint64 `json:"epoch"`
	Size  uint64 `json:"size"`
}

// begin starts the new epoch.
func (x *restorer) begin() error {
	e := x.e
	state := *e.audit.state.Load()
	size, err := kv.View(e.db, func(tx *kv.Tx) (uint64, error) { return auditNodes.Len(tx), nil })
	if err != nil {
		return err
	}
	x.done.Entries = size
	x.lost = x.r.NewLog || !x.r.Complete && !x.r.Standing.Proves
	detail := map[string]string{
		"backup": x.r.Backup, "state": timeText(x.r.State), "newest": timeText(x.r.Newest), "complete": strconv.FormatBool(x.r.Complete),
		"entries": strconv.FormatUint(size, 10), "epochBefore": strconv.FormatUint(state.Epoch, 10),
	}
	if a := x.r.Standing.Anchor; a != nil {
		detail["anchorSize"], detail["anchorRoot"], detail["anchorOrigin"] = strconv.FormatUint(a.Size, 10), a.Root.String(), a.Origin
	}
	if x.r.Rewind != "" {
		detail["rewindReason"] = detailText(x.r.Rewind)
	}
	if x.r.NewLog {
		detail["log"] = "new: the signing key is lost"
	}
	state.Restores = append(slices.Clone(state.Restores), auditRestore{state.Epoch, size})
	// The second it is, so that two restores of one backup never sign for the same origin.
	state.Epoch = max(state.Epoch+1, uint64(x.now.Unix()))
	e.audit.state.Store(&state)
	_, err = kv.UpdateCritical(e.db, func(tx *kv.Tx) (struct{}, error) {
		auditStates.Put(tx, auditStateKey, state)
		return struct{}{}, e.record(tx, auditlog.Entry{Event: "restore", Actor: operatorActor, Detail: detail})
	})
	return err
}

// workspace brings one workspace into a state from which nothing happens by itself.
func (x *restorer) workspace(t *tenant) error {
	if t.record().ReadOnly == "" {
		reason := ReadOnlyMaintenance
		if _, err := x.e.Admin().SetWorkspace(t.id, WorkspaceChange{ReadOnly: &reason}); err != nil {
			return err
		}
	}
	if !x.r.Complete || x.r.State.Before(x.r.Newest) {
		for _, env := range t.envs {
			if err := x.messages(env); err != nil {
				return err
			}
		}
	}
	if err := x.usage(t); err != nil || !x.lost {
		return err
	}
	return x.disableKeys(t)
}

// restoreBatch is how many messages one transaction changes.
const restoreBatch = 1000

// messages makes what was not final unknown: it may have been sent since. What has a line stays as handed over, so that its
// transport is asked at the start; what the transport can't tell is unknown then.
func (x *restorer) messages(env *environment) error {
	for _, status := range []Status{Queued, Pending, Scheduled} {
		for {
			n, err := kv.UpdateCritical(x.e.db, func(tx *kv.Tx) (n int, err error) {
				for key := range env.store.messageByStatus.Scan(tx, kv.Prefix([]byte{statusCodes[status]})) {
					if n == restoreBatch {
						break
					}
					m, ok := env.store.messages.Get(tx, idOf[messageKind](key).key())
					if !ok {
						continue
					}
					old := m
					m.Status, m.Place, m.Updated = Uncertain, nowhere, tx.Now
					m.Error = "A backup was restored in which this message had not been sent; whether it was sent since is not known."
					if !m.Line.IsZero() {
						m.Status = Sending
					}
					env.putMessage(tx, &old, &m)
					n++
				}
				return n, nil
			})
			x.done.Unknown += n
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
		}
	}
	return nil
}

// disableKeys disables the keys of a workspace, and ends its grants.
func (x *restorer) disableKeys(t *tenant) error {
	n, err := kv.UpdateCritical(x.e.db, func(tx *kv.Tx) (n int, err error) {
		for _, env := range t.envs {
			for key, k := range env.keys().Scan(tx, kv.Range{}) {
				if k.Disabled || !k.Revoked.IsZero() {
					continue
				}
				k.Disabled = true
				env.keys().Put(tx, key, k)
				n++
			}
		}
		entry := auditlog.Entry{Event: "restore.keys-disabled", Actor: operatorActor, Workspace: string(t.id), Records: int64(n)}
		if err := x.e.record(tx, entry); err != nil {
			return n, err
		}
		return n, x.e.endAccess(tx, liveAccess(tx, "", t.id), EndedRestore, operatorActor)
	})
	x.done.KeysOff += n
	return err
}

// disableAccounts disables staff and auditors.
func (x *restorer) disableAccounts() error {
	staff, err := x.e.Admin().StaffAccounts()
	if err != nil {
		return err
	}
	for _, s := range staff {
		if s.Disabled {
			continue
		}
		if _, err := x.e.Admin().DisableStaff(s.ID); err != nil {
			return err
		}
		x.done.StaffOff++
	}
	auditors, err := x.e.Admin().Auditors()
	for _, a := range auditors {
		if a.Disabled || err != nil {
			continue
		}
		_, err = x.e.Admin().DisableAuditor(a.ID)
		x.done.StaffOff++
	}
	return err
}

// RestoreChoice says which buckets of a database that is restored to an earlier moment come from the newest state that there
// is: all that is no customer data, and of workspaces the keys, what erasure left of persons, what was used, and the answers
// to repeated requests. A workspace that was deleted since is there again, without keys.
func RestoreChoice(path kv.Path) kv.Graft {
	if path == systemPath {
		return kv.AskWithin
	}
	first, rest, _ := strings.Cut(string(path), "/")
	name := filepath.Base(rest)
	switch {
	case slices.Contains([]kv.Path{workspaces.Path, tagOwners.Path, plans.Path}, path):
		return kv.MergeBucket
	case first == string(systemPath), first == string(kv.AppendOnlyRoot):
		return kv.TakeBucket
	case !strings.HasPrefix(first, "workspace:"):
		return kv.KeepBucket
	case rest == "" || slices.Contains(Environments, Environment(rest)):
		return kv.AskWithin
	case slices.Contains([]string{"keys", "keys.use", "persons.digest", "persons.seen", "usage", "usage.restored", "lines.usage", "lines.restored", "idempotency", "idempotency.time"}, name):
		return kv.TakeBucket
	}
	return kv.KeepBucket
}

// WithoutKeysChoice takes from a database whose key files are lost what is of no use without them: the names of the keys, the
// audit log, which nobody could go on signing, and what places of others have of it. An empty database gives what replaces it.
func WithoutKeysChoice(path kv.Path) kv.Graft {
	switch {
	case path == systemPath:
		return kv.AskWithin
	case slices.Contains([]kv.Path{secretRecord.Path, auditStates.Path, auditDrops.Path, auditCursors.Path, webhooks.Path}, path), path == kv.AppendOnlyRoot:
		return kv.TakeBucket
	}
	first, rest, _ := strings.Cut(string(path), "/")
	switch name := filepath.Base(rest); {
	case !strings.HasPrefix(first, "workspace:"):
	case rest == "" || slices.Contains(Environments, Environment(rest)):
		return kv.AskWithin
	case name == "persons.digest", name == "persons.seen": // of entries that are gone
		return kv.TakeBucket
	}
	return kv.KeepBucket
}

// kept is how much the log has of an epoch before this one.
func (s *auditState) kept(epoch uint64) (size uint64) {
	i := slices.IndexFunc(s.Restores, func(r auditRestore) bool { return r.Epoch == epoch })
	if i < 0 {
		return 0
	}
	return s.Restores[i].Size
}
