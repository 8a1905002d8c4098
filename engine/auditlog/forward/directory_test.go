package forward

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"tuco/engine/auditlog"
	"tuco/engine/auditlog/bundle"
)

// fill brings a directory up to date, with files of most entries.
func fill(l *testLog, dir, format string, most uint64) error {
	enc, err := newEncoder(format, "1.2.3", l.origin)
	if err != nil {
		return err
	}
	d := newDirectory(Sink{dir: dir}, l, enc)
	d.most = most
	defer d.close()
	next, err := d.open(l.t.Context())
	if err != nil {
		return err
	}
	for {
		entries, err := l.Entries(next, 2000) // some writes for each file
		if err != nil || len(entries) == 0 {
			return err
		}
		if err := d.send(entries); err != nil {
			return err
		}
		next += uint64(len(entries))
	}
}

// filesIn returns the contents of the files by name, and checks their modes.
func filesIn(t testing.TB, dir string) map[string]string {
	t.Helper()
	all, err := os.ReadDir(dir)
	must(t, err)
	files := map[string]string{}
	for _, f := range all {
		info, err := f.Info()
		must(t, err)
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		must(t, err)
		files[f.Name()] = string(text)
	}
	return files
}

func same(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Fatalf("%s: %s is\n%q, want\n%q", what, name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d files, want %d", what, len(got), len(want))
	}
}

// TestDirectory reads what was written as others do.
func TestDirectory(t *testing.T) {
	l := newLog(t, 23)
	for _, format := range Formats {
		dir := t.TempDir()
		must(t, fill(l, dir, format, 5))
		files := filesIn(t, dir)
		if len(files) != 5 {
			t.Fatalf("%s: %d files", format, len(files))
		}
		for first := 0; first < 23; first += 5 {
			text, ok := files[fmt.Sprintf("audit-%s-0-%016d%s", installation, first, extensions[format])]
			if !ok {
				t.Fatalf("%s: no file from %d on", format, first)
			}
			rows := readRows(t, format, text)
			if len(rows) != min(5, 23-first) {
				t.Fatalf("%s: %d entries from %d on", format, len(rows), first)
			}
			for i, r := range rows {
				e := l.entries[first+i]
				if r.seq != fmt.Sprint(e.Seq) || r.leaf != hex.EncodeToString(e.Leaf[:]) || r.dropped != (e.Line == nil) {
					t.Errorf("%s: entry %d is %+v", format, e.Seq, r)
				}
			}
		}
	}
}

type row struct {
	seq, leaf string
	dropped   bool
}

// readRows reads a file without the code that wrote it. Of JSON it computes the leaf hash.
func readRows(t testing.TB, format, text string) (rows []row) {
	t.Helper()
	if format == bundle.CSV {
		cells, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		must(t, err)
		for _, c := range cells[1:] {
			rows = append(rows, row{c[0], c[1], c[4] == "(dropped)"})
			for _, cell := range c {
				if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
					t.Errorf("cell %q", cell)
				}
			}
		}
		return rows
	}
	for line := range strings.Lines(text) {
		switch format {
		case JSONL:
			var o struct {
				Seq     json.Number
				Leaf    string
				Entry   json.RawMessage
				Dropped bool
			}
			must(t, json.Unmarshal([]byte(line), &o))
			if sum := sha256.Sum256([]byte("\x00" + string(o.Entry) + "\n")); !o.Dropped && o.Leaf != hex.EncodeToString(sum[:]) {
				t.Errorf("entry %s has another leaf hash than %s", o.Entry, o.Leaf)
			}
			rows = append(rows, row{o.Seq.String(), o.Leaf, o.Dropped})
		case bundle.OCSF:
			var o struct {
				Metadata struct {
					UID      string
					Sequence json.Number
				}
				Unmapped struct{ Dropped bool }
			}
			must(t, json.Unmarshal([]byte(line), &o))
			rows = append(rows, row{o.Metadata.Sequence.String(), o.Metadata.UID, o.Unmapped.Dropped})
		case bundle.CEF:
			parts := strings.SplitN(line, "|", 8) // nothing in the head has one in it
			find := func(pattern string) string { return regexp.MustCompile(pattern).FindStringSubmatch(" " + parts[7])[1] }
			rows = append(rows, row{find(` externalId=(\d+) `), find(` cs3Label=leafHash cs3=(\S+)`), parts[4] == "dropped"})
		}
	}
	return rows
}

// TestDirectoryAfterACrash cuts what the last write made at every byte: what is written then is the same as without a crash.
func TestDirectoryAfterACrash(t *testing.T) {
	l := newLog(t, 9)
	for _, format := range Formats {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			whole, dir := t.TempDir(), t.TempDir()
			must(t, fill(l, whole, format, 7))
			want := filesIn(t, whole)
			must(t, fill(l, dir, format, 7))
			last := filepath.Join(dir, fmt.Sprintf("audit-%s-0-%016d%s", installation, 7, extensions[format]))
			text := []byte(want[filepath.Base(last)])
			for size := range text {
				must(t, os.Truncate(last, int64(size)))
				if err := fill(l, dir, format, 7); err != nil {
					t.Fatalf("cut at %d: %v", size, err)
				}
				same(t, fmt.Sprint("cut at ", size), filesIn(t, dir), want)
			}
			// What is written again is shorter: the log has let its lines go meanwhile.
			short := l.first(9)
			short.entries = slices.Clone(short.entries)
			for i := range short.entries {
				short.entries[i].Line = nil
			}
			for _, size := range []int{len(text) - 1, len(text)*3/4 - 1} {
				must(t, os.WriteFile(last, text[:size], 0o600))
				must(t, fill(short, dir, format, 7))
				if rows := readRows(t, format, filesIn(t, dir)[filepath.Base(last)]); len(rows) != 2 || !rows[1].dropped {
					t.Fatalf("cut at %d: %+v", size, rows)
				}
			}
			// Blocks that did not get to the disk are zeros.
			for at := 0; at < len(text); at += 64 {
				must(t, os.WriteFile(last, append(append(bytes.Clone(text[:at]), make([]byte, min(64, len(text)-at))...), text[min(len(text), at+64):]...), 0o600))
				if err := fill(l, dir, format, 7); err != nil {
					t.Fatalf("zeros at %d: %v", at, err)
				}
				same(t, fmt.Sprint("zeros at ", at), filesIn(t, dir), want)
			}
			// The crash came before a file had a name.
			must(t, os.Remove(last))
			must(t, fill(l, dir, format, 7))
			same(t, "no last file", filesIn(t, dir), want)
		})
	}
}

// TestRottenFile: whichever byte (or every third) is changed, the file is left as it is, or what is there in the end is as if it had not been.
func TestRottenFile(t *testing.T) {
	l := newLog(t, 4)
	for _, format := range Formats {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			dir, step := t.TempDir(), 3
			if format == JSONL {
				step = 1
			}
			must(t, fill(l.first(3), dir, format, 100))
			name := filepath.Join(dir, fmt.Sprintf("audit-%s-0-%016d%s", installation, 0, extensions[format]))
			good, err := os.ReadFile(name)
			must(t, err)
			must(t, fill(l, dir, format, 100))
			want := filesIn(t, dir)
			refused := 0
			for at := 0; at < len(good); at += step {
				rotten := bytes.Clone(good)
				rotten[at] ^= 1
				must(t, os.WriteFile(name, rotten, 0o600))
				err := fill(l, dir, format, 100)
				got := filesIn(t, dir)
				switch _, leaf, ok := place(format, rotten[bytes.LastIndexByte(rotten[:at], '\n')+1:]); {
				case err != nil:
					refused++
					same(t, fmt.Sprintf("byte %d, refused", at), got, map[string]string{filepath.Base(name): string(rotten)})
					if !strings.Contains(err.Error(), "is not continued, nor changed") {
						t.Fatal(err)
					}
				case format == JSONL:
					same(t, fmt.Sprintf("byte %d", at), got, want)
				case ok && leaf == "":
					t.Fatalf("byte %d: accepted without a leaf hash", at)
				}
			}
			if least := map[string]int{JSONL: 95}[format]; refused*100 < least*len(good) || refused < 3*64/step {
				t.Errorf("%d changes of %d were refused", refused, len(good))
			}
		})
	}
}

// TestForeignFiles: files that are not of this log are left alone.
func TestForeignFiles(t *testing.T) {
	l, dir := newLog(t, 12), t.TempDir()
	must(t, fill(l, dir, JSONL, 5))
	before := filesIn(t, dir)
	refuse := func(name string, l *testLog, want string) {
		t.Helper()
		if err := fill(l, dir, JSONL, 5); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
		same(t, name, filesIn(t, dir), before)
	}
	other := newLog(t, 0)
	other.head.Line = auditlog.LineHash([]byte("another beginning"))
	other.grow(12)
	refuse("another log", other, "is of another log")
	refuse("an older log", l.first(11), "the log is an older one")
	refuse("a much older log", l.first(3), "the log is an older one")

	for name, change := range map[string]func(*testLog){
		"another installation": func(l *testLog) { l.origin = auditlog.Origin("0a", 0) },
		"another epoch":        func(l *testLog) { l.origin = auditlog.Origin(installation, 1) },
	} {
		l := l.first(12)
		change(l)
		must(t, fill(l, dir, JSONL, 5))
		after := filesIn(t, dir)
		if len(after) != len(before)+3 {
			t.Errorf("%s: %d files", name, len(after))
		}
		before = after
	}

	// What was written when the log had its body stays as it is.
	kept := l.first(12)
	kept.entries = append([]Entry{}, kept.entries...)
	kept.entries[11].Line = nil
	must(t, fill(kept, dir, JSONL, 5))
	same(t, "dropped since", filesIn(t, dir), before)

	must(t, os.Remove(filepath.Join(dir, fmt.Sprintf("audit-%s-0-%016d.jsonl", installation, 0))))
	delete(before, fmt.Sprintf("audit-%s-0-%016d.jsonl", installation, 0))
	must(t, fill(l, dir, JSONL, 5))
	same(t, "the oldest was taken away", filesIn(t, dir), before)

	gap := filepath.Join(dir, fmt.Sprintf("audit-%s-0-%016d.jsonl", installation, 12))
	must(t, os.WriteFile(gap, nil, 0o600))
	before[filepath.Base(gap)] = ""
	l.grow(2)
	must(t, os.Truncate(filepath.Join(dir, fmt.Sprintf("audit-%s-0-%016d.jsonl", installation, 10)), 0))
	before[fmt.Sprintf("audit-%s-0-%016d.jsonl", installation, 10)] = ""
	refuse("an empty file behind a gap", l, "ends before entry 12")
}

// TestDirectoryAway takes the directory, and then the file that is being written, away while entries come.
func TestDirectoryAway(t *testing.T) {
	l, parent := newLog(t, 5), t.TempDir()
	dir, away := filepath.Join(parent, "dir"), filepath.Join(parent, "away")
	var log logBuffer
	f, stop := forwardTo(t, l, Options{Product: "1.2.3", Log: zerolog.New(&log)}, "file://"+dir)
	state := func() State { return f.States()[0] }
	eventually(t, "it fails", func() bool { s := state(); return s.Err != nil && s.Behind == 5 && s.Late })
	must(t, os.Mkdir(dir, 0o700))
	eventually(t, "it is there", func() bool { return state() == State{Sink: "file://" + dir} })
	for i := range 3 {
		must(t, os.Rename(dir, away))
		l.grow(4)
		eventually(t, "it fails again", func() bool { s := state(); return s.Err != nil && s.Behind > 0 })
		must(t, os.Rename(away, dir))
		eventually(t, "it is back", func() bool { return state() == State{Sink: "file://" + dir} })
		if got := log.count("is not forwarded; it is tried again"); got != i+2 {
			t.Errorf("%d warnings after %d outages", got, i+2)
		}
	}
	name := filepath.Join(dir, fmt.Sprintf("audit-%s-0-%016d.jsonl", installation, 0))
	must(t, os.Rename(name, away))
	l.grow(1)
	eventually(t, "the file is written anew", func() bool { return state() == State{Sink: "file://" + dir} && log.count("forwarded again") == 5 })
	text, err := os.ReadFile(name)
	must(t, err)
	must(t, os.WriteFile(away, text, 0o600))
	must(t, os.Rename(away, name))
	l.grow(1)
	eventually(t, "the copy goes on", func() bool { return state() == State{Sink: "file://" + dir} })
	stop()
	whole := t.TempDir()
	must(t, fill(l, whole, JSONL, perFile))
	same(t, "in the end", filesIn(t, dir), filesIn(t, whole))
}

// TestNoRoom lets writes fail in the middle of an entry, as on a full disk, until there is room. The limit is that of a
// process: one of its own.
func TestNoRoom(t *testing.T) {
	if os.Getenv("TUCO_TEST_NO_ROOM") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNoRoom$")
		cmd.Env = append(os.Environ(), "TUCO_TEST_NO_ROOM=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	limit := func(bytes uint64) {
		must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: before.Max}))
	}
	defer limit(before.Cur)
	l, dir := newLog(t, 3), t.TempDir()
	var log logBuffer
	f, stop := forwardTo(t, l, Options{Product: "1.2.3", Log: zerolog.New(&log)}, "file://"+dir)
	eventually(t, "all is there", func() bool { return f.States()[0].Behind == 0 })
	for room := uint64(2500); room < 6000; room += 333 {
		limit(room)
		l.grow(2)
		eventually(t, "it fails or fits", func() bool { s := f.States()[0]; return s.Err != nil || s.Behind == 0 })
	}
	if log.count("file too large") != 1 {
		t.Errorf("log: %s", &log.text)
	}
	limit(before.Cur)
	eventually(t, "there is room", func() bool { s := f.States()[0]; return s.Err == nil && s.Behind == 0 })
	stop()
	whole := t.TempDir()
	must(t, fill(l, whole, JSONL, perFile))
	same(t, "in the end", filesIn(t, dir), filesIn(t, whole))
}
