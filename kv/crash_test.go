package kv

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// How much of the crash suite is run; more in crash_long_test.go.
var (
	crashSeeds  = 16
	crashImages = 10_000 // at least
)

// A world is what the database should hold, and the highest id of each tag that was given out.
type world struct {
	records model
	ids     map[Tag]ID
}

func (w *world) clone() *world { return &world{w.records.clone(), maps.Clone(w.ids)} }

// A crashRun is a random workload on a machine, and what is asked of each image of it.
type crashRun struct {
	seed   uint64
	groups int
	random int // images of each point at which something is open
	nested int // one image in so many crashes again while it recovers; more are of a killed process

	from   int // the first step that is looked at
	sample int // one in so many is; each if it is 0

	// Sabotage.
	commitBolt func(*simMachine) func(*bolt.Tx) error
	lie        func([]event) []event // what the disk made of the steps
	spoil      func(image) image     // what the recovery makes of the disk
}

// A workload changes a database and knows what must be in it.
type workload struct {
	*rand.Rand
	m     *simMachine
	db    *DB
	opt   Options
	clock *clock
	world *world // as of the last acknowledged transaction
	n     int    // stamps texts
	runs  int    // counts what the writer ran

	faulty  bool   // steps may fail
	perhaps *world // what a group of unknown outcome would have made
}

func (r *crashRun) workload(m *simMachine, rng *rand.Rand, w *world) *workload {
	c := newClock()
	opt := Options{
		Now:          c.now,
		Overlay:      []int64{8 << 10, 24 << 10, 64 << 10}[rng.IntN(3)],
		ApplyAfter:   time.Hour,
		KeepLog:      []int64{0, 0, 20_000}[rng.IntN(3)],
		segmentBytes: []int64{4 << 10, 16 << 10}[rng.IntN(2)],
		partOps:      5,
	}
	if r.commitBolt != nil {
		opt.commitBolt = r.commitBolt(m)
	}
	return &workload{Rand: rng, m: m, opt: opt, clock: c, world: w}
}

func (w *workload) open() (err error) {
	w.db, err = w.m.open(w.opt)
	return err
}

// end ends the process, if it runs.
func (w *workload) end() {
	if w.db != nil {
		w.db.abandon()
	}
}

// A crashMember is a member of a group that may also draw ids.
type crashMember struct {
	member
	tags []Tag
	drew []ID
	ran  int // when it ran last
	got  outcome
}

func (c *crashMember) run(tx *Tx) error {
	var told []string
	c.drew = c.drew[:0]
	for _, tag := range c.tags {
		id := tx.NewID(tag)
		c.drew = append(c.drew, id)
		bucketAt("ids").Put(tx, id[:], note{})
	}
	return c.member.run(tx, &told)
}

func (c *crashMember) onWorld(w *world) {
	for i, id := range c.drew {
		w.records.put("ids", string(id[:]), "")
		w.ids[c.tags[i]] = id
	}
	for _, o := range c.ops {
		o.onModel(w.records)
	}
}

var crashPaths = []Path{"a", "b/x", "b/k~", "b/z/deep", "c", "s", "s/t", lines.Path}

// text is unlike any other one.
func (w *workload) text(n int) string {
	w.n++
	return strings.Repeat(fmt.Sprintf("%d ", w.n), n/2+1)[:n]
}

func (w *workload) steps() []step {
	path := crashPaths[w.IntN(5)]
	one := step{kind: "put", path: path, key: string(number(w.IntN(40)))}
	switch n := w.IntN(100); {
	case n < 8:
		return []step{{kind: "append", path: lines.Path, text: w.text(w.IntN(2000))}}
	case n < 11:
		return []step{{kind: "drop segment", path: lines.Path}}
	case n < 45:
		one.text = w.text(w.IntN(200))
	case n < 62:
		one.text = w.text(500 + w.IntN(4000))
	case n < 63:
		one.text = w.text(20_000 + w.IntN(70_000))
	case n < 80:
		one.kind = "delete"
	case n < 84:
		return []step{{kind: "drop", path: []Path{"b", "b/z", "c", "ids", path}[w.IntN(5)]}}
	case n < 90:
		from := w.IntN(40)
		return []step{{kind: "put many", path: path, text: w.text(w.IntN(40)), from: from, to: from + 1 + w.IntN(20)}}
	case n < 93:
		return []step{{kind: "delete many", path: path, from: 0, to: 20 + w.IntN(20)}}
	default: // a bucket of records becomes one of buckets, or the other way
		one.path, one.key, one.text = crashPaths[5+w.IntN(2)], "t", w.text(30)
		return []step{{kind: "drop", path: "s"}, one}
	}
	return []step{one}
}

func (w *workload) member() *crashMember {
	c := &crashMember{member: member{end: "succeeds"}}
	for range 1 + w.IntN(5) {
		c.ops = append(c.ops, w.steps()...)
	}
	for range max(0, w.IntN(6)-3) {
		c.tags = append(c.tags, Tag{byte(w.IntN(3))})
	}
	if w.IntN(8) == 0 {
		c.end = []string{"fails", "panics"}[w.IntN(2)]
	}
	return c
}

// group runs up to four transactions together. From its beginning all of them may be on the disk, or none;
// from its end on all must be. It returns why the database takes no more writes.
func (w *workload) group() error {
	members := make([]*crashMember, 1+max(0, w.IntN(7)-3))
	fns := make([]func(*Tx) error, len(members))
	for i := range members {
		members[i] = w.member()
		fns[i] = func(tx *Tx) error {
			w.runs++
			members[i].ran = w.runs
			return members[i].run(tx)
		}
	}
	between := make([]*world, 1) // after the group; or, if it may be committed in parts, after each member
	if w.faulty {
		between = make([]*world, len(members))
	}
	for i := range between {
		between[i] = &world{}
	}
	w.allow(append([]*world{w.world}, between...)...)
	for i, got := range together(w.db, fns) {
		members[i].got = got
	}
	slices.SortFunc(members, func(a, b *crashMember) int { return a.ran - b.ran })
	acknowledged, next := w.world, w.world.clone()
	for i, m := range members {
		taken, err := w.taken(m)
		if err != nil {
			return err
		}
		if taken {
			m.onWorld(next)
		}
		*between[min(i, len(between)-1)] = *next.clone()
		if taken && m.got.err == nil {
			acknowledged = next.clone()
		}
	}
	w.acknowledge(acknowledged)
	if cause := w.db.failure.Load(); cause != nil {
		w.perhaps = next
		w.allow(acknowledged, next)
		return *cause
	}
	return nil
}

// taken tells whether a member's changes count, or may do so; and an error if it must not end as it did.
func (w *workload) taken(m *crashMember) (bool, error) {
	want := map[string]outcome{"succeeds": {}, "fails": {err: errEnd}, "panics": {panicked: "panics"}}[m.end]
	failed := w.db.failure.Load() != nil
	switch {
	case m.got == want:
		return m.end == "succeeds", nil
	case w.faulty && errors.Is(m.got.err, ErrUnknown) && failed && m.end == "succeeds":
		return true, nil
	case w.faulty && errors.Is(m.got.err, ErrStopped) && failed,
		w.faulty && errors.Is(m.got.err, ErrNoRoom):
		return false, nil
	}
	return false, fmt.Errorf("a transaction ended in %v, %v; want %v, %v", m.got.err, m.got.panicked, want.err, want.panicked)
}

// together runs the functions as one group; one after the other if the writer can't be held.
func together(db *DB, fns []func(*Tx) error) []outcome {
	if len(fns) > 1 {
		if outcomes := runGroup(db, fns...); outcomes != nil {
			return outcomes
		}
	}
	outcomes := make([]outcome, len(fns))
	for i, fn := range fns {
		func() {
			defer func() { outcomes[i].panicked = recover() }()
			outcomes[i].err = try(db, fn)
		}()
	}
	return outcomes
}

// acknowledge tells that the disk must hold next from now on.
func (w *workload) acknowledge(next *world) {
	w.world = next
	w.allow(next)
}

func (w *workload) allow(worlds ...*world) {
	w.m.disk.mark(event{kind: evAllowed, allowed: worlds})
}

// turn does one thing, mostly a group.
func (w *workload) turn() error {
	switch n := w.IntN(100); {
	case n < 78:
		return w.group()
	case n < 92:
		return w.db.settle()
	case n < 95:
		return w.shrink()
	case n < 97:
		w.clock.move(time.Duration(w.IntN(100)-30) * time.Second)
		return nil
	case n < 98:
		w.db.abandon() // and goes on with what the process wrote
		return w.open()
	default:
		if err := w.db.Close(); err != nil {
			return err
		}
		return w.open()
	}
}

// shrink gives back what the log took, as the writer does when there is no room.
func (w *workload) shrink() (err error) {
	_ = try(w.db, func(*Tx) error { err = w.db.makeRoom(); return nil })
	return err
}

// record runs the workload and returns what the disk saw.
func (r *crashRun) record(start image) ([]event, error) {
	m, err := start.boot()
	if err != nil {
		return nil, err
	}
	defer m.file.Close()
	w := r.workload(m, rand.New(rand.NewPCG(r.seed, 0)), &world{model{}, map[Tag]ID{}})
	if err := w.open(); err != nil {
		return nil, err
	}
	for range r.groups {
		if err = w.turn(); err != nil {
			break
		}
	}
	w.end()
	if r.lie != nil {
		m.disk.journal = r.lie(m.disk.journal)
	}
	return m.disk.steps(), err
}

// images gives each image of each point of a journal.
func (r *crashRun) images(rng *rand.Rand, start image, journal []event, yield func(image) bool) {
	p := start.platter()
	last := -1
	for i := 0; i <= len(journal); i++ {
		var next event
		where := "at the end"
		if i < len(journal) {
			next = journal[i]
			where = "before " + next.String()
		}
		looks := i >= r.from && (r.sample == 0 || rng.IntN(r.sample) == 0)
		if looks && (next.step() || i == len(journal) || next.kind == evBoltBegins) {
			where := fmt.Sprintf("seed %d, step %d, %s (after %v)", r.seed, i, where, journal[max(0, i-8):i])
			if !r.cuts(rng, p, &last, where, yield) {
				return
			}
		}
		if i < len(journal) {
			p.play(next)
		}
	}
}

// cuts gives the images of one point. What was synced for certain is given once.
func (r *crashRun) cuts(rng *rand.Rand, p *platter, last *int, where string, yield func(image) bool) bool {
	if p.version != *last {
		*last = p.version
		if !yield(p.cut(where+", only what was synced", onlySynced{})) {
			return false
		}
	}
	if p.certain() {
		return true
	}
	if !yield(p.cut(where+", everything", everything{})) {
		return false
	}
	for range r.random {
		if !yield(p.cut(where+", at random", atRandom{rng})) {
			return false
		}
	}
	return rng.IntN(r.nested/8) > 0 || yield(p.killed(where+", the process is killed"))
}

// A verdict is what a run of the suite found.
type verdict struct {
	images     atomic.Int64
	nested     atomic.Int64
	recovered  atomic.Int64 // transactions
	inFlight   atomic.Int64 // images that hold the group that was not acknowledged
	mu         sync.Mutex
	violations []string
}

func (v *verdict) violation(what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.violations = append(v.violations, what)
}

func (v *verdict) found() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.violations) > 0
}

// run records the workload and looks at every image of it, until something is wrong.
func (r *crashRun) run(start image, v *verdict) {
	journal, err := r.record(start)
	if err != nil {
		v.violation(fmt.Sprintf("seed %d: %v", r.seed, err))
	}
	work := make(chan image)
	var wg sync.WaitGroup
	for i := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(r.seed, uint64(i)+2))
			for im := range work {
				r.verify(im, rng, v, 1)
			}
		})
	}
	r.images(rand.New(rand.NewPCG(r.seed, 1)), start, journal, func(im image) bool {
		work <- im
		return !v.found()
	})
	close(work)
	wg.Wait()
}

// verify opens an image and looks whether it is right. If depth allows, the machine may lose its power again.
func (r *crashRun) verify(im image, rng *rand.Rand, v *verdict, depth int) {
	v.images.Add(1)
	nested := depth > 0 && (im.under != nil || rng.IntN(r.nested) == 0)
	journal, err := r.afterlife(im, rng, v, nested)
	if err != nil {
		v.violation(im.what + ": " + err.Error())
		return
	}
	if !nested {
		return
	}
	r.images(rng, im, journal, func(again image) bool {
		if rng.IntN(4) == 0 {
			again.what = im.what + "; again, " + again.what
			v.nested.Add(1)
			r.verify(again, rng, v, depth-1)
		}
		return !v.found()
	})
}

// afterlife opens an image, checks what is in it, and uses it until it is closed, or crashes again.
func (r *crashRun) afterlife(im image, rng *rand.Rand, v *verdict, recorded bool) ([]event, error) {
	seen := im
	if r.spoil != nil {
		seen = r.spoil(im)
	}
	m, err := seen.boot()
	if err != nil {
		return nil, err
	}
	defer m.file.Close()
	w := r.workload(m, rng, nil)
	if !recorded {
		w.opt.commitBolt = (*bolt.Tx).Commit
	}
	if err := w.open(); err != nil {
		return nil, fmt.Errorf("opening: %w", err)
	}
	defer w.end()
	v.recovered.Add(w.db.Recovery().Transactions)
	if w.world, err = w.matches(im.allowed); err != nil {
		return nil, err
	}
	if len(im.allowed) > 1 && w.world == im.allowed[1] {
		v.inFlight.Add(1)
	}
	w.allow(w.world)
	if err := w.use(); err != nil {
		return nil, fmt.Errorf("using what was recovered: %w", err)
	}
	if recorded {
		if err := w.db.settle(); err != nil {
			return nil, fmt.Errorf("settling what was recovered: %w", err)
		}
	}
	first := m.disk // the power may go and leave another
	err = w.reopen(seen)
	return first.steps(), err
}

// use draws ids, which must be new, writes, and perhaps checks the pages.
func (w *workload) use() error {
	c := w.member()
	c.end, c.tags = "succeeds", []Tag{{0}, {1}, {2}}
	next := &world{}
	w.allow(w.world, next)
	if err := try(w.db, c.run); err != nil {
		return err
	}
	for i, id := range c.drew {
		if old, ok := w.world.ids[c.tags[i]]; ok && bytes.Compare(id[:], old[:]) <= 0 {
			return fmt.Errorf("the new id %v does not come after %v", id, old)
		}
	}
	*next = *w.world.clone()
	c.onWorld(next)
	w.acknowledge(next)
	if w.IntN(16) > 0 {
		return nil
	}
	if faults, err := w.db.Check(); err != nil || len(faults) > 0 {
		return fmt.Errorf("Check() = %q, %v", faults, err)
	}
	return nil
}

// reopen closes the database, or lets the power go, and looks whether all is still there.
func (w *workload) reopen(start image) error {
	if w.IntN(3) == 0 {
		if err := w.db.Close(); err != nil {
			return fmt.Errorf("closing: %w", err)
		}
	} else {
		w.db.abandon()
		p := start.platter()
		for _, e := range w.m.disk.steps() {
			if e.kind != evBoltBegins && e.kind != evBoltEnds {
				p.play(e)
			}
		}
		w.m.disk = p.cut("", onlySynced{}).disk()
	}
	if err := w.open(); err != nil {
		return fmt.Errorf("opening once more: %w", err)
	}
	if _, err := w.matches([]*world{w.world}); err != nil {
		return fmt.Errorf("once more: %w", err)
	}
	return nil
}

// matches returns the one of the worlds that the database holds.
func (w *workload) matches(worlds []*world) (*world, error) {
	got, err := View(w.db, func(tx *Tx) (model, error) { return dump(tx), nil })
	if err != nil {
		return nil, err
	}
	for _, want := range worlds {
		if want.records.same(got) {
			return want, nil
		}
	}
	return nil, fmt.Errorf("the database holds\n %s\nwant one of %d:\n %s", brief(got.sizes()), len(worlds), brief(worlds[0].records.sizes()))
}

// dump reads every record.
func dump(tx *Tx) model {
	got := model{}
	for _, path := range append(crashPaths, "ids") {
		if path.packed() {
			got.putAll(path, keysOf(tx, path, Range{}))
			continue
		}
		for key, value := range tx.scan(tx.home(nil, path), Range{}) {
			if _, data, ok := tx.unseal(path, key, value); ok {
				data = bytes.TrimPrefix(data, []byte(`{"text":"`))
				got.put(path, string(key), string(bytes.TrimSuffix(data, []byte(`","n":0}`))))
			}
		}
	}
	return got
}

func (m model) same(other model) bool {
	for path := range m {
		if len(m[path]) > 0 && !maps.Equal(m[path], other[path]) {
			return false
		}
	}
	for path := range other {
		if len(m[path]) == 0 && len(other[path]) > 0 {
			return false
		}
	}
	return true
}

// sizes tells a model in short: each text's beginning and length.
func (m model) sizes() (lines []string) {
	for path, records := range m {
		for key, text := range records {
			lines = append(lines, fmt.Sprintf("%s %x %.8q+%d", path, key, text, len(text)))
		}
	}
	slices.Sort(lines)
	return lines
}

// Whatever a power cut leaves at any step of the log, of bbolt or of a recovery: what was acknowledged is
// there, and of what was not either a whole group or nothing of it; and the database can be used.
func TestPowerCutAtEveryStep(t *testing.T) {
	t.Parallel()
	began := time.Now()
	start := blank(t)
	v := &verdict{}
	for seed := range crashSeeds {
		r := &crashRun{seed: uint64(seed), groups: 60, random: 3, nested: 100}
		r.run(start, v)
		if v.found() {
			break
		}
	}
	for _, what := range v.violations {
		t.Error(what)
	}
	n := v.images.Load()
	t.Logf("%d images (%d of them of a recovery that was cut short), %d transactions recovered, %d times the group in flight was there, in %v",
		n, v.nested.Load(), v.recovered.Load(), v.inFlight.Load(), time.Since(began).Round(time.Second))
	if n < int64(crashImages) && !t.Failed() {
		t.Errorf("only %d images, want %d", n, crashImages)
	}
}
