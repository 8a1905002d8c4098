package kv

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// A simDisk is a file system in memory for the redo log. It writes down every step, so that a platter can
// tell afterwards what a power cut at any of them may have left.
type simDisk struct {
	mu      sync.Mutex
	names   map[string]*inode // nil is a directory
	inodes  int
	journal []event
	faults  func(event) fault // asked before each step; nil is no fault
}

// An inode is a file, whatever its name. Its data is replaced before it is changed if others share it.
type inode struct {
	id     int
	data   []byte
	shared bool
}

// A fault is how a step fails: with err, after it was done or not at all.
type fault struct {
	err  error
	done bool
}

// An event is one step of the log, of bbolt, or of the test.
type event struct {
	kind     eventKind
	name, to string
	inode    int
	offset   int64
	data     []byte
	bolt     *boltCommit
	allowed  []*world
}

type eventKind int

const (
	evMakeDir eventKind = iota
	evCreate
	evRename
	evRemove
	evSyncDir
	evWrite
	evSync
	evRead // has no effect, but can fail; not written down
	evBoltBegins
	evBoltEnds
	evAllowed // from here on an opening must find one of these
)

var eventNames = [...]string{"make directory", "create", "rename", "remove", "sync directory", "write", "sync", "read", "bbolt commits", "bbolt has committed", "acknowledge"}

func (e event) String() string {
	s := fmt.Sprintf("%s %s", eventNames[e.kind], e.name)
	if e.to != "" {
		s += " to " + e.to
	}
	if e.kind == evWrite {
		s += fmt.Sprintf(" %d+%d", e.offset, len(e.data))
	}
	return s
}

// step tells whether e is a step of the log.
func (e event) step() bool { return e.kind < evRead }

func newSimDisk() *simDisk { return &simDisk{names: map[string]*inode{}} }

// simName is "redo" for the log's directory, "redo/name" for a file in it, "" for the directory around it.
func simName(path string) string {
	dir, base := filepath.Split(path)
	switch {
	case strings.HasSuffix(base, "-redo"):
		return simDir
	case strings.HasSuffix(strings.TrimSuffix(dir, "/"), "-redo"):
		return simDir + "/" + base
	}
	return ""
}

const simDir = "redo"

// outerName is the name of the directory that name is in.
func outerName(name string) string {
	if name == simDir {
		return ""
	}
	return simDir
}

// step does what e says, if it may, and writes it down.
func (d *simDisk) step(e event, do func() error) error {
	if d.faults != nil {
		f := d.faults(e)
		if f.err != nil && !f.done {
			return f.err
		}
		if err := do(); err != nil {
			return err
		}
		d.note(e)
		return f.err
	}
	if err := do(); err != nil {
		return err
	}
	d.note(e)
	return nil
}

func (d *simDisk) note(e event) {
	if e.kind != evRead {
		d.journal = append(d.journal, e)
	}
}

// mark writes down an event that is no step of the disk.
func (d *simDisk) mark(e event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(e)
}

// steps returns what was written down so far.
func (d *simDisk) steps() []event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clip(d.journal)
}

func missing(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist} }

func (d *simDisk) makeDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.names[simName(dir)]; ok {
		return nil
	}
	return d.step(event{kind: evMakeDir, name: simName(dir)}, func() error {
		d.names[simName(dir)] = nil
		return nil
	})
}

func (d *simDisk) list(dir string) (names []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.step(event{kind: evRead, name: simName(dir)}, func() error {
		for name, file := range d.names {
			if file != nil {
				names = append(names, filepath.Base(name))
			}
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}

func (d *simDisk) open(path string, create bool) (logFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := simName(path)
	if file := d.names[name]; file != nil {
		return simFile{d, file, name}, d.step(event{kind: evRead, name: name}, func() error { return nil })
	}
	if _, ok := d.names[simDir]; !ok || !create {
		return nil, missing("open", name)
	}
	file := &inode{id: d.inodes}
	err := d.step(event{kind: evCreate, name: name, inode: file.id}, func() error {
		d.inodes++
		d.names[name] = file
		return nil
	})
	if err != nil {
		return nil, err
	}
	return simFile{d, file, name}, nil
}

func (d *simDisk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, name := simName(from), simName(to)
	return d.step(event{kind: evRename, name: old, to: name}, func() error {
		if d.names[old] == nil {
			return missing("rename", old)
		}
		d.names[name] = d.names[old]
		delete(d.names, old)
		return nil
	})
}

func (d *simDisk) remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := simName(path)
	return d.step(event{kind: evRemove, name: name}, func() error {
		if _, ok := d.names[name]; !ok {
			return missing("remove", name)
		}
		if name == simDir && len(d.names) > 1 {
			return &fs.PathError{Op: "remove", Path: name, Err: unix.ENOTEMPTY}
		}
		delete(d.names, name)
		return nil
	})
}

func (d *simDisk) syncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.step(event{kind: evSyncDir, name: simName(dir)}, func() error { return nil })
}

// A simFile is an open file of a simDisk.
type simFile struct {
	disk *simDisk
	file *inode
	name string
}

func (f simFile) ReadAt(p []byte, at int64) (n int, err error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err = f.disk.step(event{kind: evRead, name: f.name}, func() error {
		n = copy(p, f.file.data[min(at, int64(len(f.file.data))):])
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (f simFile) WriteAt(p []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	e := event{kind: evWrite, name: f.name, inode: f.file.id, offset: at, data: slices.Clone(p)}
	err := f.disk.step(e, func() error {
		if f.file.shared {
			f.file.data, f.file.shared = slices.Clone(f.file.data), false
		}
		f.file.data = overwrite(f.file.data, p, at)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// overwrite puts p into data, which grows if it must.
func overwrite(data, p []byte, at int64) []byte {
	if grow := at + int64(len(p)) - int64(len(data)); grow > 0 {
		data = append(data, make([]byte, grow)...)
	}
	copy(data[at:], p)
	return data
}

func (f simFile) size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return int64(len(f.file.data)), nil
}

func (f simFile) sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.disk.step(event{kind: evSync, name: f.name, inode: f.file.id}, func() error { return nil })
}

func (f simFile) Close() error { return nil }

// A boltCommit is what one commit made of bbolt's file: its new pages and its new size.
type boltCommit struct {
	pages map[int][]byte
	size  int // in pages
}

// metaPages come last in a commit: after all others are on the disk.
const metaPages = 2

// A boltFile is bbolt's file, page by page; nil is a page of zeros. Pages are shared, never changed.
type boltFile [][]byte

func boltFileOf(data []byte) boltFile {
	f := make(boltFile, len(data)/pageBytes)
	for i := range f {
		if page := data[i*pageBytes : (i+1)*pageBytes]; string(page) != string(zeros[:pageBytes]) {
			f[i] = page
		}
	}
	return f
}

// since returns what changed after old.
func (f boltFile) since(old boltFile) boltCommit {
	c := boltCommit{pages: map[int][]byte{}, size: len(f)}
	for i, page := range f {
		if i >= len(old) && page != nil || i < len(old) && string(page) != string(old[i]) {
			c.pages[i] = slices.Clone(page) // not the whole file's memory
		}
	}
	return c
}

// with returns the file with a commit's size, and of each page that it changed what keep tells.
func (f boltFile) with(c *boltCommit, keep func(page int, old []byte) []byte) boltFile {
	next := make(boltFile, max(len(f), c.size))
	copy(next, f)
	for _, i := range slices.Sorted(maps.Keys(c.pages)) {
		next[i] = keep(i, next[i])
	}
	return next
}

func (f boltFile) after(c *boltCommit) boltFile { return f.with(c, everything{}.pages(c)) }

// A platter is what the disk holds for sure, and what it may hold or not, after a part of a journal.
type platter struct {
	files   map[int]*platterFile
	names   map[string]int // files, or -1 for a directory
	changes []event        // of names, that were not synced
	bolt    boltFile
	commit  *boltCommit // that bbolt is at
	allowed []*world
	version int // counts what became durable
}

// platterFile is what is known of a file.
type platterFile struct {
	synced  []byte
	pending []event // writes since
}

const isDir = -1

func newPlatter(im image) *platter {
	p := &platter{files: map[int]*platterFile{}, names: map[string]int{}, bolt: im.bolt, allowed: im.allowed}
	if im.files == nil {
		return p
	}
	p.names[simDir] = isDir
	for _, name := range slices.Sorted(maps.Keys(im.files)) { // in the order of the simDisk made from it
		id := len(p.files)
		p.files[id] = &platterFile{synced: im.files[name]}
		p.names[name] = id
	}
	return p
}

// play takes the next event in.
func (p *platter) play(e event) {
	switch e.kind {
	case evMakeDir, evCreate, evRename, evRemove:
		if e.kind == evCreate {
			p.files[e.inode] = &platterFile{}
		}
		p.changes = append(p.changes, e)
	case evSyncDir:
		p.version++
		kept := p.changes[:0:0]
		for _, c := range p.changes {
			if outerName(c.name) == e.name {
				rename(p.names, c)
			} else {
				kept = append(kept, c)
			}
		}
		p.changes = kept
	case evWrite:
		f := p.files[e.inode]
		f.pending = append(f.pending, e)
	case evSync:
		p.version++
		f := p.files[e.inode]
		f.synced = f.all()
		f.pending = nil
	case evBoltBegins:
		p.commit = e.bolt
	case evBoltEnds:
		p.version++
		p.bolt = p.bolt.after(e.bolt)
		p.commit = nil
	case evAllowed:
		p.version++
		p.allowed = e.allowed
	}
}

// rename makes a change of names.
func rename(names map[string]int, e event) {
	switch e.kind {
	case evMakeDir:
		names[e.name] = isDir
	case evCreate:
		names[e.name] = e.inode
	case evRename:
		if id, ok := names[e.name]; ok {
			names[e.to] = id
			delete(names, e.name)
		}
	case evRemove:
		delete(names, e.name)
		if e.name == simDir {
			clear(names) // what is still in it is lost with it
		}
	}
}

// all is the file with everything that was written.
func (f *platterFile) all() []byte {
	data := slices.Clone(f.synced)
	for _, w := range f.pending {
		data = overwrite(data, w.data, w.offset)
	}
	return data
}

// certain tells whether a power cut now leaves nothing open.
func (p *platter) certain() bool {
	for _, f := range p.files {
		if len(f.pending) > 0 {
			return false
		}
	}
	return len(p.changes) == 0 && p.commit == nil
}

// An image is what an opening finds after a power cut.
type image struct {
	files   map[string][]byte // of the log, nil if it has no directory
	bolt    boltFile
	allowed []*world
	what    string

	// Of a process that was killed: the machine goes on, and what was not synced can still be lost.
	under *platter
	ids   map[string]int
}

// cut returns an image: what changed since the last syncs is lost or kept as c decides.
func (p *platter) cut(what string, c cutter) image {
	names := maps.Clone(p.names)
	for _, change := range p.changes[:c.count(len(p.changes))] {
		rename(names, change)
	}
	im := image{bolt: p.bolt, allowed: p.allowed, what: what}
	if p.commit != nil {
		im.bolt = p.bolt.with(p.commit, c.pages(p.commit))
	}
	if _, ok := names[simDir]; !ok {
		return im
	}
	im.files = map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if id := names[name]; id != isDir {
			im.files[name] = c.file(p.files[id])
		}
	}
	return im
}

// killed returns what the next process finds if this one is killed.
func (p *platter) killed(what string) image {
	im := p.cut(what, everything{})
	im.under = p.clone()
	im.under.bolt, im.under.commit = im.bolt, nil // an opening syncs the file first
	im.ids = maps.Clone(p.names)
	for _, change := range p.changes {
		rename(im.ids, change)
	}
	return im
}

func (p *platter) clone() *platter {
	c := *p
	c.names, c.changes, c.files = maps.Clone(p.names), slices.Clone(p.changes), map[int]*platterFile{}
	for id, f := range p.files {
		c.files[id] = &platterFile{f.synced, slices.Clone(f.pending)}
	}
	return &c
}

// platter is what lies under an image.
func (im image) platter() *platter {
	if im.under != nil {
		return im.under.clone()
	}
	return newPlatter(im)
}

// A cutter decides what a power cut leaves of that which was not synced.
type cutter interface {
	count(changes int) int // of names
	file(*platterFile) []byte
	pages(*boltCommit) func(page int, old []byte) []byte
}

// onlySynced leaves nothing of it, and everything leaves all.
type (
	onlySynced struct{}
	everything struct{}
)

func (onlySynced) count(int) int              { return 0 }
func (onlySynced) file(f *platterFile) []byte { return f.synced }
func (onlySynced) pages(*boltCommit) func(int, []byte) []byte {
	return func(_ int, old []byte) []byte { return old }
}

func (everything) count(n int) int            { return n }
func (everything) file(f *platterFile) []byte { return f.all() }
func (everything) pages(c *boltCommit) func(int, []byte) []byte {
	return func(page int, _ []byte) []byte { return c.pages[page] }
}

// atRandom leaves any part of it, sector by sector.
type atRandom struct{ *rand.Rand }

const sectorBytes = 512

func (r atRandom) count(n int) int { return r.IntN(n + 1) }

// file keeps each sector as it was after any of the writes, or before them. The file's size may be that after any
// of the writes, too; what no write reached then is zeros, or what lay on the disk before.
func (r atRandom) file(f *platterFile) []byte {
	if len(f.pending) == 0 {
		return f.synced
	}
	upTo := r.IntN(len(f.pending) + 1)
	all := (&platterFile{synced: f.synced, pending: f.pending[:upTo]}).all()
	data := make([]byte, len(all))
	if r.IntN(2) == 0 {
		for i := len(f.synced); i < len(data); i++ {
			data[i] = byte(r.Uint32())
		}
	}
	copy(data, f.synced)
	keep := r.Float64()
	for _, w := range f.pending {
		r.sectors(data, w, keep)
	}
	return data
}

// sectors writes some of the sectors of w, as far as they lie in data.
func (r atRandom) sectors(data []byte, w event, keep float64) {
	for from := w.offset; from < w.offset+int64(len(w.data)); {
		to := min((from/sectorBytes+1)*sectorBytes, w.offset+int64(len(w.data)))
		if r.Float64() < keep && to <= int64(len(data)) {
			copy(data[from:to], w.data[from-w.offset:])
		}
		from = to
	}
}

// pages keeps any of the pages, in part or as a whole, but for the meta page; or all of them and perhaps the
// meta page, which bbolt writes when the others are synced.
func (r atRandom) pages(c *boltCommit) func(int, []byte) []byte {
	how := r.IntN(4)
	return func(page int, old []byte) []byte {
		switch {
		case page < metaPages && how < 3, page >= metaPages && how < 2 && r.IntN(2) == 0:
			return old
		case page >= metaPages && how < 2 && r.IntN(4) == 0:
			return r.torn(old, c.pages[page])
		}
		return c.pages[page]
	}
}

func (r atRandom) torn(old, page []byte) []byte {
	data := make([]byte, pageBytes)
	copy(data, old)
	for at := 0; at < pageBytes; at += sectorBytes {
		if page != nil && r.IntN(2) == 0 {
			copy(data[at:at+sectorBytes], page[at:])
		}
	}
	return data
}

// disk returns a simDisk that holds the log's files as they are in the image.
func (im image) disk() *simDisk {
	d := newSimDisk()
	if im.files == nil {
		return d
	}
	d.names[simDir] = nil
	for _, name := range slices.Sorted(maps.Keys(im.files)) {
		d.names[name] = &inode{id: d.inodes, data: im.files[name], shared: true}
		d.inodes++
	}
	if im.under != nil {
		for name, id := range im.ids {
			if id != isDir {
				d.names[name].id = id
			}
		}
		d.inodes = len(im.under.files)
	}
	return d
}

// A memFile is a file in memory that can be opened by its path. bbolt's syncs of it take no time, and
// nothing of it is left when it is closed.
type memFile struct{ *os.File }

func newMemFile(content boltFile) (memFile, error) {
	fd, err := unix.MemfdCreate("kv", unix.MFD_CLOEXEC)
	if err != nil {
		return memFile{}, err
	}
	f := memFile{os.NewFile(uintptr(fd), "kv")}
	err = f.Truncate(int64(len(content)) * pageBytes)
	for i, page := range content {
		if err == nil && page != nil {
			_, err = f.WriteAt(page, int64(i)*pageBytes)
		}
	}
	if err != nil {
		f.Close()
	}
	return f, err
}

func (f memFile) path() string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

func (f memFile) content() (boltFile, error) {
	data, err := os.ReadFile(f.path())
	return boltFileOf(data), err
}

// A machine that a simulated power cut can hit: bbolt's file, and the log's disk.
type simMachine struct {
	file memFile
	disk *simDisk
	last boltFile // as of the last commit
}

// boot makes a machine that finds what a power cut left.
func (im image) boot() (*simMachine, error) {
	file, err := newMemFile(im.bolt)
	if err != nil {
		return nil, err
	}
	return &simMachine{file: file, disk: im.disk(), last: im.bolt}, nil
}

// open opens the database, and writes down every step from the first.
func (m *simMachine) open(opt Options) (*DB, error) {
	if opt.commitBolt == nil {
		opt.commitBolt = m.commit
	}
	return open(m.file.path(), opt, m.disk)
}

// commit is bbolt's Commit, and writes down what it makes of the file.
func (m *simMachine) commit(tx *bolt.Tx) error {
	c := &boltCommit{}
	m.disk.mark(event{kind: evBoltBegins, bolt: c})
	err := tx.Commit()
	now, readErr := m.file.content()
	if readErr != nil {
		return readErr
	}
	*c = now.since(m.last)
	m.last = m.last.after(c)
	m.disk.mark(event{kind: evBoltEnds, bolt: c})
	return err
}

// blank is a machine with a new file and no log.
func blank(t testing.TB) image {
	t.Helper()
	path := tempPath(t)
	if err := create(path, Options{Schema: 1, Now: newClock().now}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return image{bolt: boltFileOf(data), allowed: []*world{{model{}, map[Tag]ID{}}}}
}
