package engine

import (
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"tuco/engine/auditlog"
	"tuco/engine/schedule"
	"tuco/kv"
)

// WorkspaceID names a workspace: org_ and 24 hex digits.
type WorkspaceID string

// path is the bucket that holds everything of the workspace.
func (id WorkspaceID) path() kv.Path { return kv.Path("workspace:" + id) }

// ReadOnlyReason is why a workspace takes no writes. Empty: it does.
type ReadOnlyReason string

// The reasons. Storage is the appliance's own: it can't be set.
const (
	ReadOnlyPastDue        ReadOnlyReason = "past_due"
	ReadOnlySuspended      ReadOnlyReason = "suspended"
	ReadOnlyLicenseExpired ReadOnlyReason = "license_expired"
	ReadOnlyOperator       ReadOnlyReason = "operator"
	ReadOnlyMaintenance    ReadOnlyReason = "maintenance"
	ReadOnlyStorage        ReadOnlyReason = "storage"
)

// readOnlySentences say a reason to people.
var readOnlySentences = map[ReadOnlyReason]string{
	ReadOnlyPastDue:        "Tuco workspace is in read-only mode; please resolve billing in Tuco.",
	ReadOnlySuspended:      "Tuco workspace is suspended and in read-only mode; please contact your operator.",
	ReadOnlyLicenseExpired: "The licence of this Tuco installation has expired; workspaces are in read-only mode until it is renewed.",
	ReadOnlyOperator:       "Your operator has put this Tuco workspace into read-only mode.",
	ReadOnlyMaintenance:    "Tuco workspace is in read-only mode during maintenance; please try again later.",
	ReadOnlyStorage:        "Tuco is in read-only mode because its disk is nearly full; the operator must free space.",
}

// Sentence is the reason in words for people; empty for none.
func (r ReadOnlyReason) Sentence() string { return readOnlySentences[r] }

func readOnlyError(r ReadOnlyReason) *Error {
	return &Error{Kind: ReadOnly, Code: CodeReadOnly, Msg: "READ_ONLY", Reason: string(r)}
}

// A Workspace is a customer's tenant.
type Workspace struct {
	ID            WorkspaceID            `json:"id"`
	Name          string                 `json:"name"`
	Plan          string                 `json:"plan"`
	Timezone      string                 `json:"timezone"` // of the plan's days
	ReadOnly      ReadOnlyReason         `json:"readOnly,omitzero"`
	ReadOnlySince time.Time              `json:"readOnlySince,omitzero"`
	HadOwner      bool                   `json:"hadOwner,omitzero"` // the operator made its owner key
	Tags          map[Environment]string `json:"tags"`              // owner tags, in hex
	Created       time.Time              `json:"created"`
	Updated       time.Time              `json:"updated"`
}

func (w Workspace) tag(e Environment) (tag kv.Tag) {
	hex.Decode(tag[:], []byte(w.Tags[e])) //nolint:errcheck // written by newTag
	return tag
}

var (
	workspaces = kv.Bucket[Workspace]{Path: systemPath.Join("workspaces"), Codec: workspaceCodec}
	tagOwners  = kv.Bucket[tagOwner]{Path: systemPath.Join("tags"), Codec: kv.JSON[tagOwner](1)}
)

// tagOwner says whose an owner tag is or was. It stays when the workspace goes: a tag is never given twice.
type tagOwner struct {
	Workspace   WorkspaceID `json:"workspace"`
	Environment Environment `json:"environment"`
}

// tags are the owner tags that were ever given.
type tags struct {
	mu  sync.RWMutex
	all map[kv.Tag]bool
}

func (t *tags) given(tag kv.Tag) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.all[tag]
}

func (t *tags) add(list ...kv.Tag) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[kv.Tag]bool{}
	}
	for _, tag := range list {
		t.all[tag] = true
	}
}

// newTag gives an environment a tag that nobody has or had.
func newTag(tx *kv.Tx, w WorkspaceID, e Environment) kv.Tag {
	for {
		tag := kv.Tag(randomBytes(len(kv.Tag{})))
		if tag != (kv.Tag{}) && !tagOwners.Has(tx, tag[:]) {
			tagOwners.Put(tx, tag[:], tagOwner{w, e})
			return tag
		}
	}
}

// Admin is the operator, who came over the admin socket.
type Admin struct{ e *Engine }

// Admin returns the operator's methods. Only what has proved to be the operator may call it.
func (e *Engine) Admin() Admin { return Admin{e} }

// maxNameBytes bounds every name that people give.
const maxNameBytes = 200

// checkName refuses names that are empty, too long, or could break a log or a terminal.
func checkName(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return Errorf(Invalid, "Name is required")
	case len(name) > maxNameBytes:
		return Errorf(Invalid, "A name has at most %d bytes", maxNameBytes)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return Errorf(Invalid, "A name has no control characters")
	}
	return nil
}

// CreateWorkspace makes a workspace with its three environments. An empty plan is [DefaultPlan], an
// empty timezone UTC.
func (a Admin) CreateWorkspace(name, plan, timezone string) (Workspace, error) {
	if err := checkName(name); err != nil {
		return Workspace{}, err
	}
	if plan == "" {
		plan = DefaultPlan
	}
	if timezone == "" {
		timezone = "UTC"
	}
	if _, err := schedule.LoadZone(timezone); err != nil {
		return Workspace{}, Errorf(Invalid, "Unknown time zone %q", timezone)
	}
	w, err := kv.Update(a.e.db, func(tx *kv.Tx) (Workspace, error) {
		if _, ok := getPlan(tx, plan); !ok {
			return Workspace{}, Errorf(NotFound, "There is no plan %q", plan)
		}
		w := Workspace{
			ID: WorkspaceID("org_" + hex.EncodeToString(randomBytes(12))), Name: name, Plan: plan, Timezone: timezone,
			Tags: map[Environment]string{}, Created: tx.Now, Updated: tx.Now,
		}
		for _, e := range Environments {
			tag := newTag(tx, w.ID, e)
			w.Tags[e] = hex.EncodeToString(tag[:])
		}
		workspaces.Put(tx, []byte(w.ID), w)
		return w, a.e.record(tx, auditlog.Entry{
			Event: "workspace.created", Actor: operatorActor, Workspace: string(w.ID), Detail: map[string]string{"plan": w.Plan, "timezone": w.Timezone},
		})
	})
	if err != nil {
		return w, storageError(err)
	}
	return w, a.e.addTenant(w)
}

// Workspaces returns every workspace, oldest first.
func (a Admin) Workspaces() ([]Workspace, error) {
	return kv.View(a.e.db, func(tx *kv.Tx) ([]Workspace, error) {
		list := []Workspace{}
		for _, w := range workspaces.Scan(tx, kv.Range{}) {
			list = append(list, w)
		}
		slices.SortStableFunc(list, func(a, b Workspace) int { return a.Created.Compare(b.Created) })
		return list, nil
	})
}

// Workspace returns one workspace.
func (a Admin) Workspace(id WorkspaceID) (Workspace, error) {
	t, err := a.find(id)
	if err != nil {
		return Workspace{}, err
	}
	return *t.record(), nil
}

func (a Admin) find(id WorkspaceID) (*tenant, error) {
	if t := a.e.tenant(id); t != nil {
		return t, nil
	}
	return nil, Errorf(NotFound, "There is no workspace %q", string(id))
}

// In returns the operator as a caller in one environment of a workspace.
func (a Admin) In(id WorkspaceID, env Environment) (Caller, error) {
	t, err := a.find(id)
	if err != nil {
		return Caller{}, err
	}
	if t.envs[env] == nil {
		_, err := ParseEnvironment(string(env))
		return Caller{}, err
	}
	all, err := RoleOwner.Scopes()
	return Caller{tenant: t, env: t.envs[env], scopes: all &^ scopeBit(AccessApprove), operator: true}, err
}

// A WorkspaceChange names what to change of a workspace; nil leaves it.
type WorkspaceChange struct {
	Name, Plan, Timezone *string
	ReadOnly             *ReadOnlyReason // empty: it takes writes again
}

// SetWorkspace changes a workspace. It holds for every request that begins after it returns.
func (a Admin) SetWorkspace(id WorkspaceID, change WorkspaceChange) (Workspace, error) {
	if err := change.check(); err != nil {
		return Workspace{}, err
	}
	t, err := a.find(id)
	if err != nil {
		return Workspace{}, err
	}
	w, err := changeAccess(t, func(tx *kv.Tx) (Workspace, error) {
		w, ok := workspaces.Get(tx, []byte(id))
		if !ok {
			return w, Errorf(NotFound, "There is no workspace %q", string(id))
		}
		was := w
		change.apply(&w, tx.Now)
		if _, ok := getPlan(tx, w.Plan); !ok {
			return w, Errorf(NotFound, "There is no plan %q", w.Plan)
		}
		workspaces.Put(tx, []byte(id), w)
		return w, a.e.recordChange(tx, was, w)
	})
	if err != nil {
		return w, err
	}
	return w, t.changed(change.Plan != nil || change.ReadOnly != nil)
}

// recordChange records what became of a workspace: its state apart from the rest.
func (e *Engine) recordChange(tx *kv.Tx, was, is Workspace) error {
	detail := map[string]string{}
	if is.Plan != was.Plan {
		detail["plan"], detail["planBefore"] = is.Plan, was.Plan
	}
	if is.Timezone != was.Timezone {
		detail["timezone"], detail["timezoneBefore"] = is.Timezone, was.Timezone
	}
	if is.Name != was.Name {
		detail["changed"] = "name"
	}
	entry := auditlog.Entry{Event: "workspace.changed", Actor: operatorActor, Workspace: string(is.ID), Detail: detail}
	if len(detail) > 0 {
		if err := e.record(tx, entry); err != nil {
			return err
		}
	}
	entry.Event, entry.Detail = "workspace.active", map[string]string{"before": string(was.ReadOnly)}
	switch is.ReadOnly {
	case was.ReadOnly:
		return nil
	case "":
	default:
		entry.Event, entry.Detail["reason"] = "workspace.read-only", string(is.ReadOnly)
	}
	return e.record(tx, entry)
}

func (c WorkspaceChange) check() error {
	if c.Name != nil {
		if err := checkName(*c.Name); err != nil {
			return err
		}
	}
	if c.Timezone != nil {
		if _, err := schedule.LoadZone(*c.Timezone); err != nil {
			return Errorf(Invalid, "Unknown time zone %q", *c.Timezone)
		}
	}
	if c.ReadOnly != nil && *c.ReadOnly != "" && (c.ReadOnly.Sentence() == "" || *c.ReadOnly == ReadOnlyStorage) {
		return Errorf(Invalid, "Unknown reason %q: use past_due, suspended, license_expired, operator or maintenance", string(*c.ReadOnly))
	}
	return nil
}

func (c WorkspaceChange) apply(w *Workspace, now time.Time) {
	w.Updated = now
	if c.Name != nil {
		w.Name = *c.Name
	}
	if c.Plan != nil {
		w.Plan = *c.Plan
	}
	if c.Timezone != nil {
		w.Timezone = *c.Timezone
	}
	if c.ReadOnly != nil && *c.ReadOnly != w.ReadOnly {
		w.ReadOnly, w.ReadOnlySince = *c.ReadOnly, now
		if w.ReadOnly == "" {
			w.ReadOnlySince = time.Time{}
		}
	}
}

// DeleteWorkspace deletes a workspace with everything in it. Its keys fail from then on; its owner
// tags are never given again.
func (a Admin) DeleteWorkspace(id WorkspaceID) error {
	t, err := a.find(id)
	if err != nil {
		return err
	}
	_, err = changeAccess(t, func(tx *kv.Tx) (struct{}, error) {
		if err := a.e.endAccess(tx, liveAccess(tx, "", id), EndedWorkspace, operatorActor); err != nil {
			return struct{}{}, err
		}
		dropWorkspace(tx, id)
		return struct{}{}, a.e.record(tx, auditlog.Entry{Event: "workspace.deleted", Actor: operatorActor, Workspace: string(id)})
	})
	if err != nil {
		return err
	}
	a.e.mu.Lock()
	delete(a.e.tenants, id)
	a.e.mu.Unlock()
	t.deleted.Store(true)
	a.e.work.wakeAll(t)
	if err := os.Remove(a.e.importedIDs(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		a.e.log.Warn().Err(err).Msg("the list of imported ids of a deleted workspace is left")
	}
	return nil
}

// dropWorkspace deletes what lies in a workspace, and all that leads to it.
func dropWorkspace(tx *kv.Tx, id WorkspaceID) {
	for digest, c := range credentials.Scan(tx, kv.Range{}) {
		if c.Workspace == id {
			credentials.Delete(tx, digest)
		}
	}
	endWebhook(tx, id)
	workspaces.Delete(tx, []byte(id))
	tx.Drop(id.path())
}

// ShowWorkspace returns the caller's workspace and why it takes no writes, if so.
func (e *Engine) ShowWorkspace(who Caller) (Workspace, error) {
	if err := who.Require(WorkspaceRead); err != nil {
		return Workspace{}, err
	}
	w := *who.tenant.record()
	if w.ReadOnly == "" {
		w.ReadOnly = e.readOnly(who.tenant)
	}
	return w, nil
}

// writing runs fn as a transaction that changes the environment's data, unless that is READ_ONLY.
func writing[T any](env *environment, fn func(tx *kv.Tx) (T, error)) (T, error) {
	v, err := kv.Update(env.engine.db, func(tx *kv.Tx) (v T, err error) {
		if err := mustWrite(tx, env); err != nil {
			return v, err
		}
		return fn(tx)
	})
	if errors.Is(err, kv.ErrNoRoom) {
		env.engine.noRoom()
	}
	return v, storageError(err)
}

// mustWrite refuses, inside the transaction, while the caller's workspace is READ_ONLY or gone. That it is neither
// is looked up again only when a workspace may have changed.
func mustWrite(tx *kv.Tx, env *environment) error {
	t := env.tenant
	if m := kv.Mark(t.writable.Load()); m != 0 && !workspaceStates.ChangedSince(tx, m) {
		return nil
	}
	state, ok := workspaceStates.Get(tx, []byte(t.id))
	switch {
	case !ok:
		return Errorf(Unauthorized, "Unauthorized")
	case state.ReadOnly != "":
		return readOnlyError(state.ReadOnly)
	}
	if m := tx.Mark(); !workspaceStates.ChangedSince(tx, m) { // nor by those that are committed with this one
		t.writable.Store(uint64(m))
	}
	return nil
}

// readOnly returns why t takes no writes now: as set, or because the disk is nearly full.
func (e *Engine) readOnly(t *tenant) ReadOnlyReason {
	if r := t.record().ReadOnly; r != "" {
		return r
	}
	if e.StorageLow() {
		return ReadOnlyStorage
	}
	return ""
}
