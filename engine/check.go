package engine

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"tuco/engine/quota"
	"tuco/kv"
)

// maxFaults bounds how many faults a check reports.
const maxFaults = 100

// Check reads everything and reports, in words, up to 100 faults: usage that is not what the messages
// say, numbers of leads that are not what the lists hold, index entries without their record and records
// without their entries, persons who are not what the indexes say, an audit log whose lines, hashes and
// places don't agree, and what the store itself finds. It can run beside everything else; writes wait while
// the store checks itself.
func (e *Engine) Check() ([]string, error) { return e.check(func(string) error { return nil }) }

// check asks before each part whether to go on.
func (e *Engine) check(next func(part string) error) ([]string, error) {
	var faults []string
	for _, part := range []struct {
		name string
		look func(c *checker)
	}{{"records", func(c *checker) { c.records(e) }}, {"audit log", (*checker).audit}} {
		if err := next(part.name); err != nil {
			return nil, err
		}
		found, err := e.checkBy(part.look)
		if err != nil {
			return nil, err
		}
		faults = append(faults, found...)
	}
	if err := next("file"); err != nil {
		return nil, err
	}
	stored, err := e.db.Check()
	faults = append(faults, stored...)
	return faults[:min(len(faults), maxFaults)], err
}

// checkBy returns the faults that look reports. What is so damaged that nobody can go on reading is one, too.
func (e *Engine) checkBy(look func(c *checker)) ([]string, error) {
	c := new(checker)
	_, err := kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
		defer func() {
			if p := recover(); p != nil {
				c.report("%v", p)
			}
		}()
		c.tx = tx
		look(c)
		return struct{}{}, nil
	})
	if errors.Is(err, kv.ErrDamaged) {
		c.report("%v", err)
		err = nil
	}
	return c.faults, err
}

func (c *checker) records(e *Engine) {
	for _, w := range workspaces.Scan(c.tx, kv.Range{}) {
		c.workspace(e, w)
	}
	c.credentials()
}

// checker looks at one state of the store.
type checker struct {
	tx     *kv.Tx
	faults []string
	where  string // workspace and environment
}

func (c *checker) report(format string, args ...any) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, c.where+": "+fmt.Sprintf(format, args...))
	}
}

func (c *checker) workspace(e *Engine, w Workspace) {
	t := &tenant{engine: e, id: w.ID}
	pools := map[pool]*tally{contracted: newTally(), trial: newTally()}
	for _, name := range Environments {
		env := newEnvironment(t, w, name)
		c.where = fmt.Sprintf("workspace %s, %s", w.ID, name)
		c.messages(env, pools[name.pool()])
		c.leads(env)
		c.people(env)
		c.answers(env)
		c.keys(env)
	}
	for p, t := range pools {
		c.where = fmt.Sprintf("workspace %s, plan usage of %s", w.ID, p)
		u, _ := usageBucket(w.ID).Get(c.tx, []byte(p))
		t.restored, _ = restoredUsage(w.ID).Get(c.tx, []byte(p))
		if counted := t.plan(u); counted != u {
			c.report("stored %+v, the messages say %+v", u, counted)
		}
		for day := range t.messages {
			if day > u.Day {
				c.report("messages carry the day %s, after the stored %s", day, u.Day)
			}
		}
	}
}

// messages checks rows, indexes and line usage, and adds the rows to the pool's tally.
func (c *checker) messages(env *environment, plan *tally) {
	own := newTally()
	s := &env.store
	indexes := map[kv.Index]*indexCheck{}
	for _, index := range []kv.Index{s.messageByStatus, s.messageByLead, s.messageByLine, s.messageByBatch, s.messageByAddr, s.released, s.due, s.ready} {
		indexes[index] = &indexCheck{index: index}
	}
	for key, m := range s.messages.Scan(c.tx, kv.Range{}) {
		c.row("message", env, key, m.ID.ID)
		own.add(&m)
		plan.add(&m)
		for _, k := range env.indexKeys(&m) {
			c.expect(indexes[k.index], string(k.key), "message "+m.ID.String())
		}
	}
	for _, x := range indexes {
		c.others(x, func(key []byte) bool {
			m, ok := s.messages.Get(c.tx, idOf[messageKind](key).key())
			return ok && slices.ContainsFunc(env.indexKeys(&m), indexKey{x.index, key}.equal)
		})
	}
	c.lineUsage(env, own)
}

// row reports a record whose key is not its id, or whose id is of another owner.
func (c *checker) row(kind string, env *environment, key []byte, id kv.ID) {
	if !bytes.Equal(key, id[:]) || id.Tag() != env.tag {
		c.report("%s %s lies under the key %x", kind, id, key)
	}
}

func (c *checker) lineUsage(env *environment, own *tally) {
	counted := withRestored(c.tx, env, own.byIdentity(c.tx, env))
	for identity, days := range counted {
		u, _ := env.store.lineUsage.Get(c.tx, []byte(identity))
		for day := range days {
			if day > u.Day {
				c.report("line %s: messages carry the day %s, after the stored %s", identity, day, u.Day)
			}
		}
	}
	for identity, u := range env.store.lineUsage.Scan(c.tx, kv.Range{}) {
		stored := quota.Sums{First: u.Messages, Second: u.Conversations}
		if n := counted[string(identity)][u.Day]; n != stored && u.Day != 0 {
			c.report("line %s on %s: stored %+v, the messages say %+v", identity, u.Day, stored, n)
		}
	}
}

func (c *checker) leads(env *environment) {
	s := &env.store
	byAddr, byList, text := &indexCheck{index: s.leadByAddr}, &indexCheck{index: s.leadByList}, &indexCheck{index: kv.Index{Path: s.leadText.Path}}
	var total int64
	lists := map[ListID]int64{}
	for key, l := range s.leads.Scan(c.tx, kv.Range{}) {
		c.row("lead", env, key, l.ID.ID)
		total++
		lists[l.List]++
		name := "lead " + l.ID.String()
		for _, a := range l.Addresses() {
			c.expect(byAddr, string(addressKey(a, l.ID.key())), name)
		}
		c.expect(byList, string(kv.Key(l.List.key(), l.ID.key())), name)
		c.expect(text, string(l.ID.key()), name)
		if found, _ := s.leadText.Get(c.tx, l.ID.key()); found != l.searchText() {
			c.report("%s: the text that search looks in is out of date", name)
		}
	}
	lead := func(key []byte) (Lead, bool) { return s.leads.Get(c.tx, idOf[leadKind](key).key()) }
	c.others(byAddr, func(key []byte) bool {
		l, ok := lead(key)
		return ok && slices.ContainsFunc(l.Addresses(), func(a string) bool { return string(addressKey(a, l.ID.key())) == string(key) })
	})
	c.others(byList, func(key []byte) bool {
		l, ok := lead(key)
		return ok && string(kv.Key(l.List.key(), l.ID.key())) == string(key)
	})
	c.others(text, func(key []byte) bool { _, ok := lead(key); return ok })
	c.leadCounts(env, total, lists)
}

// people compares the records of persons with what the indexes say.
func (c *checker) people(env *environment) {
	s := &env.store
	for addr, p := range s.people.Scan(c.tx, kv.Range{}) {
		told := s.summary(c.tx, string(addr))
		switch told.Alone = told.Alone && p.Alone; {
		case told.isZero():
			c.report("person %x is stored as %+v, and no lead or charged message has this address", addr, p)
		case !p.equal(&told):
			c.report("person %x is stored as %+v, the indexes say %+v", addr, p, told)
		}
	}
	for addr := range s.addresses(c.tx) {
		if told := s.summary(c.tx, addr); !told.isZero() && !s.people.Has(c.tx, []byte(addr)) {
			c.report("person %x has no record, the indexes say %+v", addr, told)
		}
	}
}

func (c *checker) leadCounts(env *environment, total int64, lists map[ListID]int64) {
	if n, _ := env.store.counts.Get(c.tx, leadsKey); n != total {
		c.report("%d leads are counted, there are %d", n, total)
	}
	for key, l := range env.store.lists.Scan(c.tx, kv.Range{}) {
		c.row("list", env, key, l.ID.ID)
		if l.Leads != lists[l.ID] {
			c.report("list %s: %d leads are counted, there are %d", l.ID, l.Leads, lists[l.ID])
		}
		delete(lists, l.ID)
	}
	for id, n := range lists {
		c.report("%d leads are in list %s, which is not there", n, id)
	}
}

// answers checks that every stored answer will be found when it is too old. Entries without an answer
// are no fault: a key that is used again leaves one behind for a day.
func (c *checker) answers(env *environment) {
	for key, a := range env.store.idempotency.Scan(c.tx, kv.Range{}) {
		if !env.store.idempotencyByTime.Has(c.tx, kv.Key(timeKey(a.At), key)) {
			c.report("stored answer %x is in no index and would stay for ever", key)
		}
	}
}

func (c *checker) keys(env *environment) {
	for key, k := range env.keys().Scan(c.tx, kv.Range{}) {
		c.row("key", env, key, k.ID.ID)
		for _, s := range k.Secrets {
			if credentials.Has(c.tx, s.Digest) == k.Revoked.IsZero() {
				continue
			}
			c.report("key %s: a secret opens, or not, against what its record says", k.ID)
		}
	}
}

// credentials checks that every secret that opens belongs to a key that has it.
func (c *checker) credentials() {
	c.where = "credentials"
	for digest, cred := range credentials.Scan(c.tx, kv.Range{}) {
		env := environment{tenant: &tenant{id: cred.Workspace}, name: cred.Environment}
		k, ok := env.keys().Get(c.tx, cred.Key.key())
		if !ok || !slices.ContainsFunc(k.Secrets, func(s KeySecret) bool { return string(s.Digest) == string(digest) }) {
			c.report("a secret of key %s opens, but that key doesn't have it", cred.Key)
		}
	}
}

// indexCheck counts the entries of an index that a record has.
type indexCheck struct {
	index kv.Index
	found int
}

// expect reports a missing entry.
func (c *checker) expect(x *indexCheck, key, of string) {
	if x.index.Has(c.tx, []byte(key)) {
		x.found++
		return
	}
	c.report("%s has no entry %x in %s", of, key, x.index.Path)
}

// others reports the entries that belong to no record. They are looked for one by one only if there are
// more than the records have.
func (c *checker) others(x *indexCheck, belongs func(key []byte) bool) {
	n := 0
	for range x.index.Scan(c.tx, kv.Range{}) {
		n++
	}
	if n == x.found {
		return
	}
	for key := range x.index.Scan(c.tx, kv.Range{}) {
		if !belongs(key) {
			c.report("entry %x in %s belongs to no record", key, x.index.Path)
		}
	}
}
