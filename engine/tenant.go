package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tuco/engine/quota"
	"tuco/engine/schedule"
	"tuco/kv"
)

// A tenant is a workspace while the program runs: what a request needs to know of it without a look
// at the store. What is here follows the store: it is set after the commit and before the answer.
type tenant struct {
	engine *Engine
	id     WorkspaceID
	envs   map[Environment]*environment // never changed
	pools  map[pool]*counters           // never changed

	// epoch moves with every change of who may do what. A credential that was cached under another
	// epoch is looked up again.
	epoch   atomic.Uint64
	current atomic.Pointer[Workspace]
	zone    atomic.Pointer[time.Location]
	dayEnds atomic.Pointer[dayEnds] // of the day that was asked for last
	plan    atomic.Pointer[Plan]
	rates   atomic.Pointer[rates]
	deleted atomic.Bool
	// writable is the mark of a state in which the workspace was neither READ_ONLY nor gone; 0 is none.
	writable atomic.Uint64
	recent   recent
	loading  sync.Mutex // held while the store's state is read and made the current one
}

// counters are what a pool has used of its plan.
type counters struct {
	messages *quota.Counter // per day and per month
	contacts *quota.Counter // new ones per day
}

func (t *tenant) record() *Workspace { return t.current.Load() }

func (t *tenant) path() kv.Path { return t.id.path() }

// changeAccess runs fn as a transaction that may use the reserve, and moves the epoch after its
// commit, whether or not that succeeded: when its outcome is unknown nobody may rely on the old state.
func changeAccess[T any](t *tenant, fn func(tx *kv.Tx) (T, error)) (T, error) {
	defer t.epoch.Add(1)
	v, err := kv.UpdateCritical(t.engine.db, fn)
	return v, storageError(err)
}

// reload makes what is stored now what requests see. One reload at a time, and each reads after its
// caller's commit: so the last one to end has seen every change.
func (t *tenant) reload() error {
	t.loading.Lock()
	defer t.loading.Unlock()
	_, err := kv.View(t.engine.db, func(tx *kv.Tx) (struct{}, error) {
		w, ok := workspaces.Get(tx, []byte(t.id))
		if !ok {
			return struct{}{}, Errorf(NotFound, "There is no workspace %q", string(t.id))
		}
		return struct{}{}, t.set(tx, w)
	})
	return err
}

// changed makes what is stored now what requests see, and lets the dispatcher look again. If there may
// be room where there was none, what waits for it becomes due.
func (t *tenant) changed(room bool) error {
	if err := t.reload(); err != nil {
		return err
	}
	for _, env := range t.envs {
		if !room {
			break
		}
		if err := env.hurry(); isKind(err, ReadOnly) {
			break // when it takes writes again, this runs again
		} else if err != nil {
			return err
		}
	}
	t.engine.work.wakeAll(t)
	return nil
}

// set makes w, and its plan's limits, hold from the next decision on.
func (t *tenant) set(tx *kv.Tx, w Workspace) error {
	p, ok := getPlan(tx, w.Plan)
	if !ok {
		return fmt.Errorf("workspace %s: its plan %q is missing", w.ID, w.Plan)
	}
	zone, err := schedule.LoadZone(w.Timezone)
	if err != nil {
		return fmt.Errorf("workspace %s: %w", w.ID, err)
	}
	for _, c := range t.pools {
		c.messages.SetLimits(quota.Sums{First: limitOf(p.MessagesPerDay), Second: limitOf(p.MessagesPerMonth)})
		c.contacts.SetLimits(quota.Sums{First: limitOf(p.NewContactsPerDay), Second: quota.Unlimited})
	}
	t.zone.Store(zone)
	t.plan.Store(&p)
	t.rates.Store(newRates(p, t.rates.Load()))
	t.current.Store(&w)
	return nil
}

// limitOf turns the 0 of plans and lines into what counters call unlimited.
func limitOf(n int64) int64 {
	if n == 0 {
		return quota.Unlimited
	}
	return n
}

// addTenant makes the state of a workspace that was just made.
func (e *Engine) addTenant(w Workspace) error {
	_, err := kv.View(e.db, func(tx *kv.Tx) (struct{}, error) { return struct{}{}, e.loadTenant(tx, w) })
	if err != nil {
		return err
	}
	return e.tenant(w.ID).reload() // its plan may have changed before the change could find it
}

// loadTenants reads every workspace, rebuilds its counters, and compares them with its messages where
// those are few.
func (e *Engine) loadTenants() error {
	_, err := kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
		for tag := range tagOwners.Scan(tx, kv.Range{}) {
			e.tags.add(kv.Tag(tag))
		}
		left, large := recountAtMost, 0
		for _, w := range workspaces.Scan(tx, kv.Range{}) {
			if err := e.loadTenant(tx, w); err != nil {
				return struct{}{}, err
			}
			looked, compared := e.tenant(w.ID).recount(tx, left)
			if left -= looked; !compared {
				large++
			}
		}
		if large > 0 {
			e.log.Info().Int("workspaces", large).Msg("too many messages to recount at the start; tuco check compares them with the stored usage")
		}
		return struct{}{}, nil
	})
	return err
}

func (e *Engine) loadTenant(tx *kv.Tx, w Workspace) error {
	t := &tenant{engine: e, id: w.ID, envs: map[Environment]*environment{}, pools: map[pool]*counters{}}
	for _, name := range Environments {
		t.envs[name] = newEnvironment(t, w, name)
		e.tags.add(t.envs[name].tag)
		t.envs[name].setLines(tx)
	}
	for _, p := range []pool{contracted, trial} {
		t.pools[p] = loadCounters(tx, w, p)
	}
	for _, env := range t.envs {
		env.counters = t.pools[env.name.pool()]
	}
	if err := t.set(tx, w); err != nil {
		return err
	}
	e.mu.Lock()
	e.tenants[w.ID] = t
	e.mu.Unlock()
	return nil
}
