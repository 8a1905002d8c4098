package kv

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sort"

	bolt "go.etcd.io/bbolt"
)

// A packed bucket is a set of keys, made for those that come scattered over all of it: as records, each
// would dirty a page of its own. Instead each batch of changes becomes a run: its keys in order, each with
// a mark if it was deleted. Where several runs have a key, the newest is right. A run's level tells its size.
// So that they stay few, the newest runs up to a level are merged once packedFanIn of them are of that level.
//
// A run lies in blocks, each an entry of the bucket: at the run's level, its number and the block's first
// key, there is the sealed block. Nothing in a run is changed: it is written, read and deleted as a whole.
//
// What reads a block panics with a [RecordError] if the block is damaged, as bbolt does if a page is.

const (
	packedFanIn = 4
	// Runs of a level are smaller than these, the next level's packedFanIn times larger. Those of restLevel and
	// above, 4 MiB and more, are not merged any more: so a merge, and its memory, is at most about 20 MiB.
	level0Bytes  = 16 << 10
	restLevel    = 5
	packedLevels = 32 // more than there will ever be

	packedVersion = 1
	runIDBytes    = 5
	blockHeader   = 6 // the bytes of all blocks of the run 4, count of keys 2

	// maxBlockBytes is how large a block with its first key may be, so that a page takes two of them. A key
	// that is larger has a block of its own.
	maxBlockBytes = (pageBytes-pageHeader)/2 - elementSize - runIDBytes - valueHeader

	deletedBit = 1 << 15 // in the end of a key
)

// A runID is a run's level, and in the lower half its number. A run with a higher number is newer.
type runID uint64

func newRunID(level int, number uint32) runID { return runID(level)<<32 | runID(number) }

// levelOf returns the level of runs of that size.
func levelOf(runBytes int) (level int) {
	for ; runBytes >= level0Bytes; runBytes /= packedFanIn {
		level++
	}
	return level
}

func (id runID) level() int     { return int(id >> 32) }
func (id runID) number() uint32 { return uint32(id) }

// appendEntry appends the key of the entry whose block begins with first.
func (id runID) appendEntry(to, first []byte) []byte {
	to = append(to, byte(id.level()))
	to = binary.BigEndian.AppendUint32(to, id.number())
	return append(to, first...)
}

// runOf returns the run that an entry belongs to, false if that is none.
func runOf(entry []byte) (runID, bool) {
	if len(entry) < runIDBytes || entry[0] >= packedLevels {
		return 0, false
	}
	return newRunID(int(entry[0]), binary.BigEndian.Uint32(entry[1:])), true
}

// holds tells whether an entry is the run's.
func (id runID) holds(entry []byte) bool {
	got, ok := runOf(entry)
	return ok && got == id
}

// A block is its header, for each key 2 bytes of where it ends among the keys, and the keys.
type block struct {
	runBytes int    // of all blocks of the run
	ends     []byte // with deletedBit
	keys     []byte
}

// openBlock returns the block in an entry. What it returns lies in value's memory.
func openBlock(path Path, entry, value []byte) (block, error) {
	version, data, err := unseal(path, entry, value)
	if err != nil {
		return block{}, err
	}
	if version != packedVersion {
		return block{}, recordError(path, entry, fmt.Sprintf("block version %d is not known", version))
	}
	if len(data) < blockHeader {
		return block{}, recordError(path, entry, "no block")
	}
	n := int(binary.BigEndian.Uint16(data[4:]))
	if n == 0 || len(data) < blockHeader+2*n {
		return block{}, recordError(path, entry, "no block")
	}
	keys := data[blockHeader+2*n:]
	return block{int(binary.BigEndian.Uint32(data)), data[blockHeader : blockHeader+2*n], keys}, nil
}

func (b block) len() int           { return len(b.ends) / 2 }
func (b block) bytes() int         { return blockHeader + len(b.ends) + len(b.keys) }
func (b block) mark(i int) uint16  { return binary.BigEndian.Uint16(b.ends[2*i:]) }
func (b block) end(i int) int      { return int(b.mark(i) &^ deletedBit) }
func (b block) deleted(i int) bool { return b.mark(i)&deletedBit != 0 }

func (b block) key(i int) []byte {
	from, to := 0, b.end(i)
	if i > 0 {
		from = b.end(i - 1)
	}
	return b.keys[from:to:to]
}

// search returns where key is or would be, and whether it is there.
func (b block) search(key []byte) (at int, found bool) {
	return sort.Find(b.len(), func(i int) int { return bytes.Compare(key, b.key(i)) })
}

// A packer makes the blocks of a run.
type packer struct {
	blocks [][]byte // not sealed, and without the bytes of the run
	ends   []byte   // of the block that is being filled
	keys   []byte
	first  int // length of its first key
}

// pack makes blocks of what c yields, and tells how many keys that was. A nil value is a deleted key, which
// is left out unless keepDeleted.
func pack(c cursor, keepDeleted bool) (blocks [][]byte, n int) {
	var p packer
	for change := c.first(); change.key != nil; change = c.next() {
		n++
		if change.value != nil || keepDeleted {
			p.add(change.key, change.value == nil)
		}
	}
	p.finish()
	return p.blocks, n
}

func (p *packer) add(key []byte, deleted bool) {
	if p.first+blockHeader+len(p.ends)+2+len(p.keys)+len(key) > maxBlockBytes {
		p.finish()
	}
	if len(p.ends) == 0 {
		p.first = len(key)
	}
	p.keys = append(p.keys, key...)
	end := uint16(len(p.keys))
	if deleted {
		end |= deletedBit
	}
	p.ends = binary.BigEndian.AppendUint16(p.ends, end)
}

// finish ends the block, unless it is empty.
func (p *packer) finish() {
	if len(p.ends) == 0 {
		return
	}
	data := make([]byte, 4, blockHeader+len(p.ends)+len(p.keys))
	data = binary.BigEndian.AppendUint16(data, uint16(len(p.ends)/2))
	data = append(append(data, p.ends...), p.keys...)
	p.blocks = append(p.blocks, data)
	p.ends, p.keys, p.first = p.ends[:0], p.keys[:0], 0
}

// putRun writes the blocks of a run. It empties blocks meanwhile: what is sealed is a copy.
func putRun(b *bolt.Bucket, number uint32, blocks [][]byte) error {
	total := 0
	for _, data := range blocks {
		total += len(data)
	}
	id := newRunID(levelOf(total), number)
	for i, data := range blocks {
		binary.BigEndian.PutUint32(data, uint32(total))
		n := int(binary.BigEndian.Uint16(data[4:]))
		first := block{ends: data[blockHeader:], keys: data[blockHeader+2*n:]}.key(0)
		entry := id.appendEntry(nil, first)
		if err := b.Put(entry, seal(entry, packedVersion, data)); err != nil {
			return err
		}
		blocks[i] = nil
	}
	return nil
}

// writePacked writes a batch of changes, in ascending order with each key once; a nil value deletes the key, any
// other puts it. To write the same batch again changes nothing. It returns how many keys it wrote, those of merges,
// too.
func writePacked(b *bolt.Bucket, path Path, changes cursor) (n int, err error) {
	b.FillPercent = 1 // no block grows, and two fill a page
	runs := (&packedCursor{path: path, in: boltEntries{b.Cursor()}}).find(nil)
	last := uint32(0)
	if len(runs) > 0 {
		last = runs[0].number()
	}
	if last == math.MaxUint32 {
		return 0, fmt.Errorf("bucket %q has used up its run numbers", path)
	}
	blocks, n := pack(changes, len(runs) > 0)
	if err := putRun(b, last+1, blocks); err != nil {
		return n, fmt.Errorf("writing to bucket %q: %w", path, err)
	}
	for level := range restLevel {
		merged, err := mergeLevel(b, path, level)
		if n += merged; err != nil {
			return n, fmt.Errorf("merging in bucket %q: %w", path, err)
		}
	}
	return n, nil
}

// mergeLevel makes one run of the newest ones up to this level, if many of them are of this level, and returns how
// many keys that were.
func mergeLevel(b *bolt.Bucket, path Path, level int) (keys int, err error) {
	c := &packedCursor{path: path, in: boltEntries{b.Cursor()}}
	all := c.find(nil)
	n, same := 0, 0
	for ; n < len(all) && all[n].level() <= level; n++ {
		if all[n].level() == level {
			same++
		}
	}
	if same < packedFanIn {
		return 0, nil
	}
	runs := all[:n]
	c.keepDeleted = n < len(all) // an older run may have the key
	c.use(runs)
	old := runEntries(b, runs)
	blocks, keys, sound := c.pack()
	if !sound { // who reads the damaged block, or checks, is told; nobody else
		return 0, nil
	}
	for _, entry := range old { // only now: the cursor walks over them
		if err := b.Delete(entry); err != nil {
			return keys, err
		}
	}
	return keys, putRun(b, runs[0].number(), blocks)
}

// pack makes blocks of what the cursor yields, unless one of the blocks there is damaged.
func (c *packedCursor) pack() (blocks [][]byte, keys int, sound bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, damaged := p.(*RecordError); !damaged {
				panic(p)
			}
		}
	}()
	blocks, keys = pack(c, c.keepDeleted)
	return blocks, keys, true
}

// runEntries returns where the blocks of the runs lie.
func runEntries(b *bolt.Bucket, runs []runID) (all [][]byte) {
	c := b.Cursor()
	for _, id := range runs {
		for entry, _ := c.Seek(id.appendEntry(nil, nil)); id.holds(entry); entry, _ = c.Next() {
			all = append(all, entry)
		}
	}
	return all
}

// packedEntries are the entries of a packed bucket, in a transaction of bbolt's or in a version of the file.
type packedEntries interface {
	from(key []byte) pair   // the first that is not before key
	before(key []byte) pair // the last that is
}

type boltEntries struct{ c *bolt.Cursor }

func (e boltEntries) from(key []byte) pair {
	entry, value := e.c.Seek(key)
	return pair{entry, value}
}

// before can't be used after a delete: bbolt's cursor finds nothing on a page that was emptied.
func (e boltEntries) before(key []byte) pair {
	if entry, _ := e.c.Seek(key); entry == nil {
		last, value := e.c.Last()
		return pair{last, value}
	}
	entry, value := e.c.Prev()
	return pair{entry, value}
}

func (c *treeCursor) from(key []byte) pair {
	c.r = Range{From: key}
	return c.first()
}

func (c *treeCursor) before(key []byte) pair {
	c.r = Range{To: key, Down: true}
	return c.first()
}

// A packedCursor walks the keys of a packed bucket. Keys lie in the bucket's memory; the value of each is
// empty, but not nil.
type packedCursor struct {
	path        Path
	in          packedEntries
	r           Range
	keepDeleted bool // then a deleted key is there, with a nil value

	runs  []packedRun // newest first; nil before the beginning
	at    *packedRun  // whose key is the cursor's
	bound []byte      // what was looked for last
}

// A packedRun is a run, and a cursor's place in it.
type packedRun struct {
	id    runID
	entry []byte // where the block lies
	block block
	i     int    // of the key in the block
	key   []byte // nil at the end
}

var packedValue = []byte{}

func (c *packedCursor) first() pair {
	if c.runs == nil {
		var ids [16]runID
		c.use(c.find(ids[:0]))
	}
	for i := range c.runs {
		c.start(&c.runs[i])
	}
	c.runs = slices.DeleteFunc(c.runs, func(r packedRun) bool { return r.key == nil })
	return c.newest()
}

// use makes these the runs that are walked.
func (c *packedCursor) use(ids []runID) {
	c.runs = make([]packedRun, len(ids))
	for i, id := range ids {
		c.runs[i].id = id
	}
}

func (c *packedCursor) next() pair {
	if c.at == nil {
		return pair{}
	}
	c.pass(c.at.key)
	return c.newest()
}

// newest returns what the newest run says of the key that comes first.
func (c *packedCursor) newest() pair {
	for {
		c.at = c.least()
		switch {
		case c.at == nil:
			return pair{}
		case !c.at.block.deleted(c.at.i):
			return pair{c.at.key, packedValue}
		case c.keepDeleted:
			return pair{c.at.key, nil}
		}
		c.pass(c.at.key)
	}
}

// least returns the newest of the runs whose key comes first, nil at the end.
func (c *packedCursor) least() (least *packedRun) {
	var key []byte
	for i := range c.runs {
		if r := &c.runs[i]; compare(r.key, key, c.r.Down) < 0 {
			least, key = r, r.key
		}
	}
	return least
}

// pass moves all runs past key.
func (c *packedCursor) pass(key []byte) {
	for i := range c.runs {
		if r := &c.runs[i]; r.key != nil && bytes.Equal(r.key, key) {
			c.step(r)
		}
	}
}

// find appends all runs, newest first, to runs.
func (c *packedCursor) find(runs []runID) []runID {
	for id := runID(0); ; id++ {
		entry := c.in.from(c.seek(id, nil)).key
		if entry == nil {
			break
		}
		found, ok := runOf(entry)
		if !ok {
			panic(recordError(c.path, entry, "no block"))
		}
		id = found
		runs = append(runs, id)
	}
	slices.SortFunc(runs, func(a, b runID) int { return cmp.Compare(b.number(), a.number()) })
	return runs
}

// seek returns the entry of a block that begins with key. It is good until the next call.
func (c *packedCursor) seek(id runID, key []byte) []byte {
	c.bound = id.appendEntry(c.bound[:0], key)
	return c.bound
}

// after returns what comes after each entry that begins with key.
func (c *packedCursor) after(id runID, key []byte) []byte {
	c.bound = append(c.seek(id, key), 0)
	return c.bound
}

// load makes the block in an entry the run's, unless the entry is another run's.
func (c *packedCursor) load(r *packedRun, entry pair) bool {
	if !r.id.holds(entry.key) {
		return false
	}
	b, err := openBlock(c.path, entry.key, entry.value)
	if err != nil {
		panic(err)
	}
	r.entry, r.block = entry.key, b
	return true
}

// start moves the run to its first key in the range.
func (c *packedCursor) start(r *packedRun) {
	r.key = nil
	if c.r.Down {
		c.startDown(r)
		return
	}
	found := len(c.r.From) > 0 && c.load(r, c.in.before(c.after(r.id, c.r.From)))
	if found || c.load(r, c.in.from(c.seek(r.id, nil))) {
		r.i, _ = r.block.search(c.r.From)
		c.settle(r)
	}
}

func (c *packedCursor) startDown(r *packedRun) {
	bound := c.seek(r.id+1, nil)
	if c.r.To != nil {
		bound = c.seek(r.id, c.r.To)
	}
	if !c.load(r, c.in.before(bound)) {
		return
	}
	r.i = r.block.len()
	if c.r.To != nil {
		r.i, _ = r.block.search(c.r.To)
	}
	r.i--
	c.settle(r)
}

// step moves the run to its next key.
func (c *packedCursor) step(r *packedRun) {
	if c.r.Down {
		r.i--
	} else {
		r.i++
	}
	c.settle(r)
}

// settle takes the key at the run's place, which may be just outside its block.
func (c *packedCursor) settle(r *packedRun) {
	r.key = nil
	switch {
	case r.i < 0:
		if !c.load(r, c.in.before(r.entry)) {
			return
		}
		r.i = r.block.len() - 1
	case r.i == r.block.len():
		if !c.load(r, c.in.from(c.after(r.id, r.entry[runIDBytes:]))) {
			return
		}
		r.i = 0
	}
	if key := r.block.key(r.i); c.r.holds(key) {
		r.key = key
	}
}

// packedHas tells whether key is in the bucket.
func packedHas(in packedEntries, path Path, key []byte) bool {
	c := packedCursor{path: path, in: in}
	var ids [16]runID
	for _, id := range c.find(ids[:0]) {
		r := packedRun{id: id}
		if !c.load(&r, in.before(c.after(id, key))) {
			continue
		}
		if i, found := r.block.search(key); found {
			return !r.block.deleted(i)
		}
	}
	return false
}

// checkPacked reads all of the bucket and returns its first fault.
func checkPacked(b *bolt.Bucket, path Path) error {
	c := packedCheck{path: path, seen: map[uint32]bool{}}
	if err := b.ForEach(c.block); err != nil {
		return err
	}
	return c.runEnds()
}

// A packedCheck has seen the entries before one.
type packedCheck struct {
	path Path
	last packedRun       // with the last block, at its last key
	left int             // bytes that its run should still have
	seen map[uint32]bool // numbers
}

func (c *packedCheck) block(entry, value []byte) error {
	id, ok := runOf(entry)
	if !ok {
		return recordError(c.path, entry, "no block")
	}
	b, err := openBlock(c.path, entry, value)
	if err != nil {
		return err
	}
	if !b.inOrder() || !bytes.Equal(b.key(0), entry[runIDBytes:]) {
		return recordError(c.path, entry, "its keys are wrong")
	}
	if c.last.entry == nil || c.last.id != id {
		if err := c.runBegins(id, entry, b.runBytes); err != nil {
			return err
		}
	} else if b.runBytes != c.last.block.runBytes || bytes.Compare(c.last.key, b.key(0)) >= 0 {
		return recordError(c.path, entry, "it does not follow the block before it")
	}
	c.left -= b.bytes()
	c.last = packedRun{id: id, entry: entry, block: b, key: b.key(b.len() - 1)}
	return nil
}

func (c *packedCheck) runBegins(id runID, entry []byte, runBytes int) error {
	if err := c.runEnds(); err != nil {
		return err
	}
	if id.level() != levelOf(runBytes) || c.seen[id.number()] {
		return recordError(c.path, entry, "its run has a wrong level, or a number that another has")
	}
	c.seen[id.number()] = true
	c.left = runBytes
	return nil
}

func (c *packedCheck) runEnds() error {
	if c.left != 0 {
		return recordError(c.path, c.last.entry, "the run up to here is not as long as it was")
	}
	return nil
}

// inOrder tells whether the keys are whole and ascend.
func (b block) inOrder() bool {
	from := 0
	for i := range b.len() {
		if b.end(i) < from || b.end(i) > len(b.keys) || i > 0 && bytes.Compare(b.key(i-1), b.key(i)) >= 0 {
			return false
		}
		from = b.end(i)
	}
	return from == len(b.keys)
}
