package engine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"tuco/engine/quota"
	"tuco/kv"
)

// An export of a workspace is some files of JSON lines. Each begins with a line that says what it holds; every other line is a
// record, in its one encoding. docs/backup.md describes them.
const (
	workspaceFormat        = "tuco workspace"
	workspaceFormatVersion = 1
)

// Kinds of records in an export, which are also their files' names.
const (
	kindWorkspace  = "workspace"
	kindAgreements = "agreements"
	kindUsage      = "usage"
	kindLists      = "lists"
	kindLines      = "lines"
	kindLineUsage  = "line-usage"
	kindLeads      = "leads"
	kindMessages   = "messages"
	kindKeys       = "keys"
)

// ExportedAudit is the file with the workspace's part of the audit log: a bundle that needs nothing else to be verified.
const ExportedAudit = "audit-bundle.tar"

// fileName is the name of the file of some records; env is empty for those of the whole workspace.
func fileName(env Environment, kind string) string {
	if env == "" {
		return kind + ".jsonl"
	}
	return string(env) + "." + kind + ".jsonl"
}

// exportHead is the first line of a file.
type exportHead struct {
	Format      string      `json:"format"`
	Version     int         `json:"version"`
	Kind        string      `json:"kind"`
	Environment Environment `json:"environment,omitzero"`
}

// exportedWorkspace is the one record of its file.
type exportedWorkspace struct {
	Workspace
	PlanFigures Plan   `json:"planFigures"`
	Policy      Policy `json:"policy"`
}

// exportedUsage is what a pool of the plan has used.
type exportedUsage struct {
	Pool pool `json:"pool"`
	PlanUsage
}

// exportedLineUsage is what was used under a number or mailbox.
type exportedLineUsage struct {
	Identity string `json:"identity"`
	LineUsage
}

// exportedKey says which keys there were. It opens nothing, and is not imported.
type exportedKey struct {
	ID       KeyID   `json:"id"`
	Name     string  `json:"name"`
	Role     Role    `json:"role,omitzero"`
	Scopes   []Scope `json:"scopes"`
	Disabled bool    `json:"disabled,omitzero"`
	Revoked  bool    `json:"revoked,omitzero"`
}

// maxExportLine is more than the longest record takes, in bytes.
const maxExportLine = 8 << 20

// lineOptions make a record's one encoding. Durations are nanoseconds. Text that is no UTF-8 can only be what a mail server
// answered; its faults are replaced.
var lineOptions = json.JoinOptions(json.Deterministic(true), jsonv1.FormatDurationAsNano(true))

// A lineWriter writes one file of an export.
type lineWriter struct {
	w     *bufio.Writer
	lines int64 // records
	line  bytes.Buffer
	err   error
}

func newLineWriter(w io.Writer, head exportHead) *lineWriter {
	l := &lineWriter{w: bufio.NewWriterSize(w, 256<<10)}
	l.put(head)
	l.lines = 0
	return l
}

// put adds a record. After a failure it does nothing.
func (l *lineWriter) put(record any) (ok bool) {
	if l.err != nil {
		return false
	}
	l.line.Reset()
	if l.err = json.MarshalWrite(&l.line, record, lineOptions, jsontext.AllowInvalidUTF8(true)); l.err == nil {
		l.line.WriteByte('\n')
		_, l.err = l.w.Write(l.line.Bytes())
	}
	l.lines++
	return l.err == nil
}

func (l *lineWriter) end() error {
	if l.err != nil {
		return l.err
	}
	return l.w.Flush()
}

// A lineReader reads one file of an export.
type lineReader struct {
	name string
	r    *bufio.Reader
	n    int // lines so far
	line []byte
}

// openLines reads the first line.
//
// Errors: [Invalid] with [CodeDamaged] or [CodeNewer]; those of r.
func openLines(r io.Reader, name string, want exportHead) (*lineReader, error) {
	l := &lineReader{name: name, r: bufio.NewReaderSize(r, 256<<10)}
	var head exportHead
	if err := readRecord(l, &head); errors.Is(err, io.EOF) {
		return nil, l.damaged("it is empty")
	} else if err != nil {
		return nil, err
	}
	if head.Format == workspaceFormat && head.Version > workspaceFormatVersion {
		return nil, Errorf(Unsupported, "The export was written by a newer version of tuco: its format is %d, this program reads up to %d", head.Version, workspaceFormatVersion).With(CodeNewer)
	}
	if want.Format, want.Version = workspaceFormat, workspaceFormatVersion; head != want {
		return nil, l.damaged("its first line is not that of %s", strings.TrimSuffix(name, ".jsonl"))
	}
	return l, nil
}

// Codes of exports that can't be imported.
const (
	CodeDamaged = "BACKUP_DAMAGED"
	CodeNewer   = "BACKUP_NEWER"
)

func (l *lineReader) damaged(format string, args ...any) error {
	return Errorf(Invalid, "%s, line %d: %s. Nothing was imported", l.name, l.n, fmt.Sprintf(format, args...)).With(CodeDamaged)
}

// next returns the next line without its end, valid until the next call, and [io.EOF] behind the last one.
func (l *lineReader) next() ([]byte, error) {
	l.line = l.line[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if l.line = append(l.line, part...); len(l.line) > maxExportLine {
			l.n++
			return nil, l.damaged("it is longer than %d bytes", maxExportLine)
		}
		switch {
		case err == nil:
			l.n++
			return l.line[:len(l.line)-1], nil
		case err == io.EOF && len(l.line) == 0:
			return nil, io.EOF
		case err == io.EOF:
			l.n++
			return nil, l.damaged("it is cut off")
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// readRecord reads the next line into record, which is zero.
func readRecord[T any](l *lineReader, record *T) error {
	line, err := l.next()
	if err != nil {
		return err
	}
	if err := parseRecord(line, record); err != nil {
		return l.damaged("%v", err)
	}
	return nil
}

// parseRecord decodes a record from its one encoding, and nothing else.
func parseRecord[T any](line []byte, record *T) error {
	if len(line) == 0 || line[0] != '{' {
		return errors.New("it is no JSON object")
	}
	if err := json.Unmarshal(line, record, lineOptions, json.RejectUnknownMembers(true)); err != nil {
		return errors.New("it is no such record") // what the decoder says may repeat customers' data
	}
	again, err := json.Marshal(record, lineOptions)
	if err != nil || !bytes.Equal(again, line) {
		return errors.New("it is not the one encoding of what it says")
	}
	return nil
}

// retagged is an id with the tag of its new owner: all else of it stays, so that ids keep their order and their time.
func retagged(id kv.ID, tag kv.Tag) kv.ID {
	if id == (kv.ID{}) {
		return id
	}
	copy(id[4:7], tag[:])
	return id
}

// isLabel tells whether a label is that of a day, and of none that is far ahead.
func isLabel(l, latest quota.Label) bool {
	m, d := l.Month()%100, int32(l)%100
	return l == 0 || l >= 1970_01_01 && l <= latest && m >= 1 && m <= 12 && d >= 1 && d <= 31
}
