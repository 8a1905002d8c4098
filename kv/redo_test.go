package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// logOptions are small segments, and nothing that happens by itself.
func logOptions() Options {
	return Options{ApplyAfter: time.Hour, segmentBytes: 4 << 10, partOps: 5}
}

// bootTest opens the database on a machine with this disk; it is closed at the end of the test.
func bootTest(t testing.TB, im image, opt Options) (*simMachine, *DB) {
	t.Helper()
	m, db, err := tryBoot(t, im, opt)
	if err != nil {
		t.Fatalf("open = %v", err)
	}
	return m, db
}

func tryBoot(t testing.TB, im image, opt Options) (*simMachine, *DB, error) {
	t.Helper()
	m, err := im.boot()
	if err != nil {
		t.Fatal(err)
	}
	db, err := m.open(opt)
	t.Cleanup(func() {
		if err == nil {
			db.abandon()
		}
		m.file.Close()
	})
	return m, db, err
}

// killed is what the machine's disk holds when the process ends here.
func (m *simMachine) killed(t testing.TB, db *DB) image {
	t.Helper()
	db.abandon()
	content, err := m.file.content()
	if err != nil {
		t.Fatal(err)
	}
	return image{files: m.disk.files(), bolt: content}
}

// files are the log's, nil if it has no directory.
func (d *simDisk) files() (files map[string][]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.names[simDir]; ok {
		files = map[string][]byte{}
	}
	for name, file := range d.names {
		if file != nil {
			files[name] = bytes.Clone(file.data)
		}
	}
	return files
}

// segments are the names of the log's segments, oldest first.
func (im image) segments() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(im.files)) {
		if !strings.Contains(name, sparePrefix) {
			names = append(names, name)
		}
	}
	return names
}

// checkHolds opens the image: it holds the notes, and can be used.
func checkHolds(t *testing.T, what string, im image, want map[string]note) {
	t.Helper()
	opt := logOptions()
	for range 2 {
		m, db, err := tryBoot(t, im, opt)
		if err != nil {
			t.Errorf("%s: open = %v", what, err)
			return
		}
		equal(t, what, all(t, db, notes), want)
		want = maps.Clone(want)
		want["new"] = note{Text: "written after"}
		put(t, db, "written after", "new")
		im = m.killed(t, db)
		m.file.Close()
	}
}

// checkDamaged opens the image, which fails, with part in the error's text; and again, so nothing was repaired away.
func checkDamaged(t *testing.T, what string, im image, part string) {
	t.Helper()
	for range 2 {
		m, err := im.boot()
		if err != nil {
			t.Fatal(err)
		}
		db, err := m.open(logOptions())
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: open = %v, want %v with %q", what, err, ErrDamaged, part)
		}
		if err == nil {
			db.abandon()
			return
		}
		im.files = m.disk.files()
		m.file.Close()
	}
}

// threeRecords is the log of three puts, with the position of each.
func threeRecords(t *testing.T, texts ...string) (im image, at []Position) {
	t.Helper()
	m, db := bootTest(t, blank(t), logOptions())
	for i, text := range texts {
		at = append(at, Position(db.log.durable.Load()))
		put(t, db, text, fmt.Sprint(i))
	}
	return m.killed(t, db), at
}

func notesOf(texts ...string) map[string]note {
	n := map[string]note{}
	for i, text := range texts {
		n[fmt.Sprint(i)] = note{Text: text}
	}
	return n
}

func TestTornLastRecordIsLeftOut(t *testing.T) {
	t.Parallel()
	im, _ := threeRecords(t, "first", "second", "third")
	name, s, last := im.newest()
	checkHolds(t, "untouched", im, notesOf("first", "second", "third"))
	for cut := last; cut < s.good; cut++ {
		lost := bytes.Clone(s.data)
		clear(lost[cut:])
		checkHolds(t, fmt.Sprintf("zeros from byte %d of %d on", cut-last, s.good-last), im.withFile(name, lost), notesOf("first", "second"))
		checkHolds(t, fmt.Sprintf("cut after %d bytes of %d", cut-last, s.good-last), im.withFile(name, lost[:cut]), notesOf("first", "second"))
	}
	for bit := range (s.good - last) * 8 {
		flipped := bytes.Clone(s.data)
		flipped[last+bit/8] ^= 1 << (bit % 8)
		checkHolds(t, fmt.Sprintf("bit %d flipped", bit), im.withFile(name, flipped), notesOf("first", "second"))
	}
}

// An acknowledged record in the middle is never left out in silence.
func TestDamagedRecordBeforeOthers(t *testing.T) {
	t.Parallel()
	im, at := threeRecords(t, "first", "second", "third")
	name, s, last := im.newest()
	for i := range 2 {
		from, to := s.offset(at[i]), s.offset(at[i+1])
		for bit := range (to - from) * 8 {
			flipped := bytes.Clone(s.data)
			flipped[from+bit/8] ^= 1 << (bit % 8)
			checkDamaged(t, fmt.Sprintf("record %d, bit %d flipped", i, bit), im.withFile(name, flipped), fmt.Sprintf("position %d", at[i]))
		}
	}
	headless := bytes.Clone(s.data)
	clear(headless[:sectorBytes])
	if last >= sectorBytes {
		t.Fatalf("the last record begins at %d, want it in the first sector", last)
	}
	copy(headless[last:], s.data[last:s.good])
	checkDamaged(t, "without the beginning", im.withFile(name, headless), fmt.Sprintf("position %d", at[2]))
}

// severalSegments is a log of some segments, none of which is in the file yet.
func severalSegments(t *testing.T) (im image, want map[string]note) {
	t.Helper()
	m, db := bootTest(t, blank(t), logOptions())
	want = map[string]note{}
	for i := range 12 {
		text := long(1500) + fmt.Sprint(i)
		put(t, db, text, fmt.Sprint(i))
		want[fmt.Sprint(i)] = note{Text: text}
	}
	im = m.killed(t, db)
	if n := len(im.segments()); n < 4 {
		t.Fatalf("%d segments, want some more", n)
	}
	return im, want
}

func TestMissingPartsOfTheLog(t *testing.T) {
	im, want := severalSegments(t)
	checkHolds(t, "untouched", im, want)
	names := im.segments()
	for i, name := range names[:len(names)-1] { // without the last one the log ends before it
		checkDamaged(t, fmt.Sprintf("without segment %d of %d", i, len(names)), im.withFile(name, nil), "position")
	}
	empty, none := im, im
	empty.files, none.files = map[string][]byte{}, nil
	checkDamaged(t, "without all segments", empty, "does not reach back to position 0")
	checkDamaged(t, "without the directory", none, "does not reach back to position 0")
}

func TestLogOfAnotherDatabase(t *testing.T) {
	im, _ := severalSegments(t)
	other, _ := severalSegments(t)
	im.files = other.files
	checkDamaged(t, "with another's log", im, "segment of the redo log")
}

func TestSegmentOfANewerVersion(t *testing.T) {
	im, _ := severalSegments(t)
	for _, name := range im.segments() {
		data := bytes.Clone(im.files[name])
		binary.BigEndian.PutUint32(data[8:], redoVersion+1)
		m, _, err := tryBoot(t, im.withFile(name, data), logOptions())
		if !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
			t.Errorf("open = %v, want %v", err, ErrNewer)
		}
		equal(t, "files that were changed", len(m.disk.steps()), 0)
	}
}

func TestLogBesideAClosedFileIsRemoved(t *testing.T) {
	t.Parallel()
	m, db := bootTest(t, blank(t), logOptions())
	put(t, db, "old", "k")
	old := m.disk.files()
	put(t, db, "new", "k")
	closeTest(t, db)
	im := m.killed(t, db)
	if im.files != nil {
		t.Errorf("Close left %v of the log", slices.Collect(maps.Keys(im.files)))
	}
	im.files = old
	im.files[simDir+"/something"] = []byte("else")
	_, db = bootTest(t, im, logOptions())
	equal(t, "notes", all(t, db, notes), map[string]note{"k": {Text: "new"}})
	if _, ok := db.disk.(*simDisk).files()[simDir+"/something"]; ok {
		t.Errorf("a file of the old log is still there")
	}
}

// What earlier uses of a file left in it is no record, wherever the new ones end.
func TestSegmentFileUsedAgain(t *testing.T) {
	m, db := bootTest(t, blank(t), logOptions())
	want := map[string]note{}
	reused := 0
	for i := range 200 {
		text := fmt.Sprint(i) + long(100+i*7%900)
		put(t, db, text, fmt.Sprint(i%10))
		want[fmt.Sprint(i%10)] = note{Text: text}
		if i%6 == 0 {
			settle(t, db)
		}
	}
	for _, e := range m.disk.steps() {
		if e.kind == evRename && strings.Contains(e.name, sparePrefix) {
			reused++
		}
	}
	if reused < 10 {
		t.Errorf("files were used again %d times, this test wants more", reused)
	}
	checkHolds(t, "after many uses", m.killed(t, db), want)
}

// A caller may store what looks like a record at just the place where it lies.
func TestStoredValueIsNoRecord(t *testing.T) {
	im, _ := threeRecords(t, "first", "second", "third")
	_, s, last := im.newest()
	record := bytes.Clone(s.data[last:s.good])
	m, db := bootTest(t, im, logOptions())
	raw := Bucket[[]byte]{Path: "raw", Codec: Codec[[]byte]{1,
		func(to, b []byte) ([]byte, error) { return append(to, b...), nil },
		func(_ byte, b []byte) ([]byte, error) { return bytes.Clone(b), nil },
	}}
	end := s.end()
	do(t, db, func(tx *Tx) {
		var forged []byte
		for i := range 100 { // records for positions near the one where they will lie
			binary.BigEndian.PutUint64(record[8:], uint64(end)+uint64(i*len(record)))
			forged = append(forged, record...)
		}
		raw.Put(tx, []byte("k"), forged)
	})
	im = m.killed(t, db)
	name, s, last := im.newest()
	torn := bytes.Clone(s.data)
	clear(torn[last : last+recordHeader])
	checkHolds(t, "with a torn record that holds others", im.withFile(name, torn), notesOf("first", "second", "third"))
}

func TestRecordLargerThanASegment(t *testing.T) {
	m, db := bootTest(t, blank(t), logOptions())
	want := map[string]note{}
	for i, n := range []int{10, 100_000, 20, 3_000_000, 30} {
		text := fmt.Sprint(i) + long(n)
		put(t, db, text, fmt.Sprint(i))
		want[fmt.Sprint(i)] = note{Text: text}
	}
	checkHolds(t, "after large records", m.killed(t, db), want)
}

// A segment names its buckets itself: those before it may be gone.
func TestEachSegmentNamesItsBuckets(t *testing.T) {
	m, db := bootTest(t, blank(t), logOptions())
	paths := []Path{"a", "b/c", "b/d", "e"}
	want := map[Path]string{}
	for i := range 40 {
		path := paths[i*i%4]
		want[path] = fmt.Sprint(i) + long(700)
		do(t, db, func(tx *Tx) { bucketAt(path).Put(tx, []byte("k"), note{Text: want[path]}) })
		if i%9 == 8 {
			settle(t, db)
		}
	}
	_, db = bootTest(t, m.killed(t, db), logOptions())
	for path, text := range want {
		equal(t, string(path), all(t, db, bucketAt(path)), map[string]note{"k": {Text: text}})
	}
}

// The names of buckets that a refused transaction brought in are not taken for written.
func TestBucketNamesOfARefusedTransaction(t *testing.T) {
	m, db := bootTest(t, blank(t), logOptions())
	put(t, db, "first", "0")
	m.setFull(true)
	err := try(db, func(tx *Tx) error {
		bucketAt("refused/first").Put(tx, []byte("k"), note{Text: long(200_000)})
		bucketAt("refused/second").Put(tx, []byte("k"), note{Text: "too"})
		return nil
	})
	if !errors.Is(err, ErrNoRoom) {
		t.Errorf("Update = %v, want %v", err, ErrNoRoom)
	}
	m.setFull(false)
	for _, path := range []Path{"refused/second", "other", "refused/first"} {
		do(t, db, func(tx *Tx) { bucketAt(path).Put(tx, []byte("k"), note{Text: string(path)}) })
	}
	_, db = bootTest(t, m.killed(t, db), logOptions())
	for _, path := range []Path{"refused/second", "other", "refused/first"} {
		equal(t, string(path), all(t, db, bucketAt(path)), map[string]note{"k": {Text: string(path)}})
	}
}

func TestCrashLeavesTheLog(t *testing.T) {
	m, db := bootTest(t, blank(t), logOptions())
	put(t, db, "v", "k")
	settle(t, db)
	im := m.killed(t, db)
	if len(im.segments()) == 0 {
		t.Errorf("the log is gone")
	}
	_, db = bootTest(t, im, logOptions())
	equal(t, "transactions in the log beyond the file", db.Recovery().Transactions, int64(0))
	put(t, db, "w", "k")
	closeTest(t, db)
}

// A writer that is faster than the applier waits for it: memory and log stay within bounds, and nothing fails.
func TestFastWriterWaitsForTheApplier(t *testing.T) {
	t.Parallel()
	opt := logOptions()
	opt.Overlay = 64 << 10
	opt.segmentBytes = 16 << 10
	var db *DB
	var slow atomic.Bool
	start := blank(t)
	m, err := start.boot()
	if err != nil {
		t.Fatal(err)
	}
	defer m.file.Close()
	opt.commitBolt = func(tx *bolt.Tx) error {
		for slow.Load() && db.pending() < opt.Overlay { // the writer gets there, and a little further
			runtime.Gosched()
		}
		for i := 0; slow.Load() && i < 500; i++ {
			runtime.Gosched()
		}
		return tx.Commit()
	}
	if db, err = m.open(opt); err != nil {
		t.Fatal(err)
	}
	const group = 3000 // bytes that one transaction takes of memory, at most
	slow.Store(true)
	most, mostLog := int64(0), int64(0)
	for i := range 600 {
		put(t, db, long(2000), fmt.Sprint(i))
		s := db.Stats()
		most, mostLog = max(most, s.OverlayBytes), max(mostLog, s.LogBytes)
	}
	slow.Store(false)
	if limit := opt.Overlay + group; most > limit {
		t.Errorf("%d bytes of memory were in use, want at most %d", most, limit)
	}
	if limit := opt.Overlay + group + (maxSpares+2)*(opt.segmentBytes+group); mostLog > limit {
		t.Errorf("the log had %d bytes, want at most %d", mostLog, limit)
	}
	equal(t, "number of records", count(t, db), 600)
	checkAndClose(t, db)
}

// What KeepLog keeps for readers of changes is there after a crash, and after the file was closed.
func TestKeptLogOutlivesTheProcess(t *testing.T) {
	opt := logOptions()
	opt.KeepLog = 20_000
	m, db := bootTest(t, blank(t), opt)
	var at []Position
	for i := range 40 {
		at = append(at, db.Position())
		put(t, db, long(1000), fmt.Sprint(i))
	}
	settle(t, db)
	crashed := m.killed(t, db)
	m, db = bootTest(t, crashed, opt)
	closeTest(t, db)
	for what, im := range map[string]image{"after a crash": crashed, "after Close": m.killed(t, db)} {
		_, db := bootTest(t, im, opt)
		n := 0
		for _, err := range db.Changes(at[25]) {
			if err != nil {
				t.Errorf("%s: Changes = %v", what, err)
				break
			}
			n++
		}
		equal(t, what+": number of changes", n, 40-25)
	}
}

// A reader of changes is told if some are missing: it never goes on behind them.
func TestChangesBehindADamagedRecord(t *testing.T) {
	opt := logOptions()
	opt.KeepLog = 1 << 20
	m, db := bootTest(t, blank(t), opt)
	for i := range 12 {
		put(t, db, long(1000), fmt.Sprint(i))
	}
	settle(t, db)
	im := m.killed(t, db)
	names := im.segments()
	cut := bytes.Clone(im.files[names[1]])
	clear(cut[len(cut)/50:])
	for what, im := range map[string]image{
		"cut":     im.withFile(names[1], cut),
		"missing": im.withFile(names[1], nil),
	} {
		_, db := bootTest(t, im, opt)
		n, failed := 0, false
		for _, err := range db.Changes(0) {
			if n++; err != nil {
				failed = errors.Is(err, ErrDamaged)
			}
		}
		if !failed || n > 8 {
			t.Errorf("a segment is %s: %d changes, ErrDamaged at the end: %v", what, n, failed)
		}
	}
}

func TestPositionsOnlyIncrease(t *testing.T) {
	im := blank(t)
	opt := logOptions()
	last := Position(0)
	for i := range 12 {
		m, db := bootTest(t, im, opt)
		if at := db.Stats().Position; at < last {
			t.Errorf("opening %d: position %d after %d", i, at, last)
		}
		for range i {
			put(t, db, long(900), "k")
			if at := db.Stats().Position; at <= last {
				t.Errorf("opening %d: position %d after %d", i, at, last)
			}
			last = db.Stats().Position
		}
		if i%2 == 0 {
			closeTest(t, db)
		}
		im = m.killed(t, db)
	}
}

// The log may tell of a newer schema than the file does: an older program refuses both.
func TestOlderProgramRefusesTheLogOfANewer(t *testing.T) {
	newer := logOptions()
	newer.Schema = 2
	newer.Migrations = []func(*Tx) error{func(tx *Tx) error {
		notes.Put(tx, []byte("k"), note{Text: "as of schema 2"})
		return nil
	}}
	m, db := bootTest(t, blank(t), logOptions())
	put(t, db, "as of schema 1", "k")
	im := m.killed(t, db)

	cut := newer // a power cut after the migration, before the file says so
	cut.commitBolt = failingCommits["not written"]
	m, _, err := tryBoot(t, im, cut)
	if !errors.Is(err, ErrUnknown) {
		t.Fatalf("open = %v, want %v", err, ErrUnknown)
	}
	im.files = m.disk.files()
	for _, where := range []string{"in the log", "in the file"} {
		m, _, err := tryBoot(t, im, logOptions())
		if !errors.Is(err, ErrNewer) {
			t.Errorf("schema 2 %s: open = %v, want %v", where, err, ErrNewer)
		}
		im.files = m.disk.files() // whatever the older program made of them
		m, db := bootTest(t, im, newer)
		equal(t, "schema 2 "+where, all(t, db, notes), map[string]note{"k": {Text: "as of schema 2"}})
		im = m.killed(t, db)
	}
}

// A log whose newest segment was being made when all before it was in the file.
func TestUnfinishedSegmentBehindAnAppliedOne(t *testing.T) {
	m, db := bootTest(t, blank(t), logOptions())
	put(t, db, long(5000), "k")
	settle(t, db)
	im := m.killed(t, db)
	for _, unfinished := range [][]byte{{}, make([]byte, 10), make([]byte, minFill)} {
		name := simDir + "/" + segmentName(db.log.at)
		checkHolds(t, fmt.Sprintf("an unfinished segment of %d bytes", len(unfinished)), im.withFile(name, unfinished), map[string]note{"k": {Text: long(5000)}})
	}
}

// A process is killed while it begins a segment, when all before it was in the file. The next one takes
// the segment, which only the kernel's memory has, and the power goes at any of its steps.
func TestPowerCutAfterAKilledProcess(t *testing.T) {
	start := blank(t)
	m, db := bootTest(t, start, logOptions())
	put(t, db, long(5000), "k")
	settle(t, db)
	onWriter(t, db, func() error { return db.log.start() })
	p := start.platter()
	steps := m.disk.steps()
	for _, e := range steps[:len(steps)-2] { // but for the syncs of the file and the directory
		p.play(e)
	}
	killed := p.killed("")
	m, db = bootTest(t, killed, logOptions())
	want := map[string]note{"k": {Text: long(5000)}}
	equal(t, "after the kill", all(t, db, notes), want)
	steps = m.disk.steps()
	for i := range len(steps) + 1 {
		p := killed.platter()
		for _, e := range steps[:i] {
			p.play(e)
		}
		for j, c := range []cutter{onlySynced{}, everything{}, namesOnly{}} {
			checkHolds(t, fmt.Sprintf("power cut after %v, image %d", steps[:i], j), p.cut("", c), want)
		}
	}
}

// namesOnly leaves all changes of names, and no write.
type namesOnly struct{ onlySynced }

func (namesOnly) count(n int) int { return n }

// Giving room back must not take the file that is being written to.
func TestShrinkBeforeAnythingWasLogged(t *testing.T) {
	m, db := bootTest(t, blank(t), logOptions())
	put(t, db, long(5*minFill), "k") // a large segment
	settle(t, db)
	put(t, db, "v", "k") // begins the next one
	settle(t, db)
	put(t, db, long(5000), "k") // fills it
	settle(t, db)
	onWriter(t, db, func() error { return db.log.start() }) // begins one in the large file
	if db.log.at != db.log.base || db.log.filled <= 2*minFill {
		t.Fatalf("the log is at %d of the segment from %d on, which has %d bytes; want a large one without records", db.log.at, db.log.base, db.log.filled)
	}
	for range 2 {
		onWriter(t, db, db.makeRoom)
	}
	put(t, db, "new", "k")
	checkHolds(t, "after shrinking", m.killed(t, db), map[string]note{"k": {Text: "new"}})
}

// onWriter runs fn on the writer's goroutine.
func onWriter(t *testing.T, db *DB, fn func() error) {
	t.Helper()
	if err := try(db, func(*Tx) error { return fn() }); err != nil {
		t.Fatal(err)
	}
}

// A segment that is made, and left out by a recovery, twice.
func TestSegmentLeftOutTwice(t *testing.T) {
	m, db := bootTest(t, blank(t), logOptions())
	put(t, db, long(5000), "k")
	im := m.killed(t, db)
	name := segmentName(db.log.at)
	im = im.withFile(simDir+"/"+sparePrefix+name, make([]byte, minFill)).withFile(simDir+"/"+name, make([]byte, minFill))
	_, db = bootTest(t, im, logOptions())
	for i := range 4 { // each takes a spare file, as long as there is one
		put(t, db, long(5000)+fmt.Sprint(i), "k")
	}
	closeTest(t, db)
}

// When giving room back fails, the log goes on in its old segment. The new one may still be there after a power cut.
func TestShrinkFailsAndThePowerGoes(t *testing.T) {
	for _, failing := range []eventKind{evCreate, evWrite, evSync, evSyncDir} {
		for _, done := range []bool{false, true} {
			what := fmt.Sprintf("%s fails, done: %v", eventNames[failing], done)
			start, opt := blank(t), logOptions()
			opt.segmentBytes = 100 * minFill // so that a large one isn't full
			m, db := bootTest(t, start, opt)
			put(t, db, long(5*minFill), "k")
			put(t, db, "v", "k")
			setFault(m.disk, failing, fault{&fs.PathError{Op: "x", Path: "y", Err: unix.EIO}, done})
			if err := try(db, func(*Tx) error { return db.makeRoom() }); !errors.Is(err, unix.EIO) {
				t.Errorf("%s: makeRoom() = %v, want %v", what, err, unix.EIO)
			}
			setFault(m.disk, failing, fault{})
			want := "v"
			if err := try(db, func(tx *Tx) error { notes.Put(tx, []byte("k"), note{Text: "new"}); return nil }); err == nil {
				want = "new"
			}
			checkCuts(t, what, start, m, map[string]note{"k": {Text: want}})
			checkHolds(t, what, m.killed(t, db), map[string]note{"k": {Text: want}})
		}
	}
}

// setFault lets each step of one kind fail; none if there is no error.
func setFault(d *simDisk, kind eventKind, f fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = func(e event) fault {
		if e.kind == kind {
			return f
		}
		return fault{}
	}
}

// checkCuts looks at what a power cut now may leave.
func checkCuts(t *testing.T, what string, start image, m *simMachine, want map[string]note) {
	t.Helper()
	p := newPlatter(start)
	for _, e := range m.disk.steps() {
		p.play(e)
	}
	for i, c := range []cutter{onlySynced{}, everything{}, atRandom{rand.New(rand.NewPCG(1, 1))}, atRandom{rand.New(rand.NewPCG(1, 2))}} {
		checkHolds(t, fmt.Sprintf("%s, image %d", what, i), p.cut("", c), want)
	}
}

// The applier was cut short between its parts, and the next opening has less memory: it may not move in
// what comes before the first part.
func TestSmallerOverlayAfterAHalfAppliedTable(t *testing.T) {
	opt := logOptions()
	m, db := bootTest(t, blank(t), opt)
	before := m.killed(t, db)
	m, db = bootTest(t, before, opt)
	do(t, db, func(tx *Tx) { bucketAt("s").Put(tx, []byte("t"), note{Text: "a record"}) })
	do(t, db, func(tx *Tx) { tx.Drop("s"); bucketAt("s/t").Put(tx, []byte("k"), note{Text: "in a bucket"}) })
	do(t, db, func(tx *Tx) {
		for i := range 300 {
			bucketAt(Path(fmt.Sprintf("u%d", i%10))).Put(tx, number(i), note{})
		}
	})
	parts := 0
	db.opt.commitBolt = func(tx *bolt.Tx) error {
		if parts++; parts > 1 {
			return failingCommits["not written"](tx)
		}
		return m.commit(tx)
	}
	if err := db.settle(); !errors.Is(err, errDisk) || parts != 2 {
		t.Fatalf("settle() = %v after %d parts, want it to fail in the second", err, parts)
	}
	im := m.killed(t, db)
	opt.Overlay = 2
	_, db, err := tryBoot(t, im, opt)
	if err != nil {
		t.Fatalf("open = %v", err)
	}
	equal(t, "the bucket", all(t, db, bucketAt("s/t")), map[string]note{"k": {Text: "in a bucket"}})
	checkAndClose(t, db)
}
