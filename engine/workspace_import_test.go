package engine

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tuco/engine/auditlog/bundle"
	"tuco/kv"
)

// exportOf exports a workspace into a new directory.
func (w *world) exportOf(id WorkspaceID) (dir string, out ExportedWorkspace) {
	w.t.Helper()
	dir = w.t.TempDir()
	var open []*os.File
	out, err := w.Admin().ExportWorkspace(WorkspaceExport{Workspace: id, Object: "object1", Version: "1.2.3", Create: func(name string) (io.Writer, error) {
		f, err := os.Create(filepath.Join(dir, name))
		open = append(open, f)
		return f, err
	}})
	for _, f := range open {
		f.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return dir, out
}

func (w *world) importFrom(dir string, change func(*WorkspaceImport)) (ImportedWorkspace, error) {
	var source exportedWorkspace
	record, _ := os.ReadFile(filepath.Join(dir, fileName("", kindWorkspace)))
	if _, line, ok := strings.Cut(string(record), "\n"); ok {
		_ = parseRecord([]byte(strings.TrimSuffix(line, "\n")), &source)
	}
	in := WorkspaceImport{Source: source.ID, Installation: "elsewhere", Object: "object1", SHA256: strings.Repeat("0", 64), Unpack: func(to string) error {
		return os.CopyFS(to, os.DirFS(dir))
	}}
	if change != nil {
		change(&in)
	}
	return w.Admin().ImportWorkspace(in)
}

func (w *world) mustImport(dir string) ImportedWorkspace {
	w.t.Helper()
	got, err := w.importFrom(dir, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// busy fills a workspace with some of everything, whose texts carry a marker.
func (w *world) busy(id WorkspaceID, marker string) {
	w.t.Helper()
	was := w.id
	w.id = id
	defer func() { w.id = was }()
	op := w.operatorOf(id, Production)
	owner := w.ownerOf(id, Production)
	list, err := w.CreateList(owner, nil, marker+" list", marker)
	if err != nil {
		w.t.Fatal(err)
	}
	l := w.lineOf(op, IMessage, LineChange{Phone: ptr(phone()), FirstName: &marker, DailyMessages: n64(50), DailyNew: n64(40)})
	w.lineOf(op, Email, LineChange{Email: ptr(marker + "@line.example"), Transport: ptr("smtp://" + marker + ":secret" + marker + "@mail.example.com:587")})
	gone := w.lineOf(op, IMessage, LineChange{Phone: ptr(phone())})
	lead := LeadInput{FirstName: &marker, Phone: ptr(phone()), Email: ptr(marker + "@lead.example"), CustomFields: []byte(`{ "` + marker + `": 1 }`)}
	if _, err := w.CreateLeads(owner, nil, LeadBatch{List: list.ID.String(), Source: marker, Leads: []LeadInput{lead, {Phone: ptr(phone())}}}); err != nil {
		w.t.Fatal(err)
	}
	for range 3 {
		w.send(owner, SendRequest{Text: marker, Phone: phone(), BatchID: marker, Line: l.ID.String()})
	}
	w.deliver(Production, l.ID)
	w.deliver(Production, l.ID)
	later := w.send(owner, SendRequest{Text: marker, Phone: phone(), Scheduled: w.clock.now().Add(48 * time.Hour).Format(time.RFC3339)})
	if _, err := w.CancelForLead(owner, CancelRequest{Lead: later.Message.Lead.String()}); err != nil {
		w.t.Fatal(err)
	}
	w.send(owner, SendRequest{Text: marker, Phone: phone(), Scheduled: w.clock.now().Add(72 * time.Hour).Format(time.RFC3339)})
	w.send(owner, SendRequest{Text: marker, Phone: phone(), Line: gone.ID.String()})
	if err := w.DeleteLine(op, gone.ID.String()); err != nil {
		w.t.Fatal(err)
	}
	dev := w.ownerOf(id, Development)
	w.lineOf(w.operatorOf(id, Development), IMessage, LineChange{Phone: ptr(phone())})
	w.send(dev, to(phone()))
	if _, err := w.SetAccessPolicy(owner, Policy{Mode: PolicyNotify}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.AddAgreement(owner, Agreement{Type: SupportAgreement, Reference: marker, Controls: Controls{MaxDuration: 2 * time.Hour}}); err != nil {
		w.t.Fatal(err)
	}
}

// contentOf is everything in an export but the audit log and the keys, with ids, tags and what an import is documented to change
// made the same.
func contentOf(t *testing.T, dir string, owner Workspace) map[string]string {
	t.Helper()
	tags := owner.Tags[Development] + "|" + owner.Tags[Staging] + "|" + owner.Tags[Production]
	all := map[string]string{}
	for name, text := range filesOf(t, dir) {
		if name == ExportedAudit || strings.Contains(name, "."+kindKeys+".") {
			continue
		}
		for _, same := range [][2]string{
			{`"(madeBy|addedBy|updatedBy)":"[0-9a-f]{24}"`, `"$1"`},
			{`(:"[0-9a-f]{8})(` + tags + `)([0-9a-f]{10}")`, `$1------$3`},
			{`"(org|agreement)_[0-9a-f]{24}"`, `"$1"`},
			{`"tags":\{[^}]*\}`, ``},
			{`"(development|staging|production)":"[0-9a-f]{6}"`, ``},
			{`,"readOnly":"maintenance","readOnlySince":"[^"]*"`, ``},
			{`,"hadOwner":true`, ``},
			{`"updated":"[^"]*"`, `"updated"`},
			{`"active":(true|false)`, `"active"`},
			{`"transport":"(smtp|none)","shown":"[^"]*"`, `"transport"`},
			{`"minInterval":\d+`, ``},
			{`"status":"(queued|pending|scheduled|sending|unknown)"`, `"status":"open"`},
			{`"place":"(due|ready)",`, ``},
			{`"error":"The workspace was imported[^"]*",`, ``},
		} {
			text = regexp.MustCompile(same[0]).ReplaceAllString(text, same[1])
		}
		all[name] = text
	}
	return all
}

func filesOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(text)
	}
	return all
}

// TestWorkspaceRoundTrip: what is exported, imported elsewhere and exported again is the same but for its ids; it holds nothing
// of another workspace and no secret; nothing is refilled, nothing goes by itself, and every index and counter is right.
func TestWorkspaceRoundTrip(t *testing.T) {
	limits := PlanChange{MessagesPerDay: n64(100), MessagesPerMonth: n64(500), NewContactsPerDay: n64(80), RequestsPerMinute: n64(0)}
	w := newWorld(t, limits)
	other := w.workspace("Other zebra", "UTC")
	w.busy(other, "zebra")
	w.busy(w.id, "lion")
	before := map[string]LimitState{}
	for _, l := range w.operator(Production).env.planLimits() {
		before[l.Name] = l
	}
	dir, out := w.exportOf(w.id)
	for name, text := range filesOf(t, dir) {
		for _, never := range []string{"zebra", string(other), "secretlion", "tuco_sk", "digest", `"box"`} {
			if name != ExportedAudit && strings.Contains(text, never) {
				t.Errorf("%s has %q", name, never)
			}
		}
		if name == ExportedAudit && strings.Contains(text, string(other)) {
			t.Error("the bundle names another workspace")
		}
	}
	if len(out.Transports) != 1 || out.Records[kindMessages] != 7 || out.Records[kindLeads] < 2 || out.Records[kindKeys] == 0 {
		t.Errorf("%+v", out)
	}
	audit := filesOf(t, dir)[ExportedAudit]
	if _, err := bundle.Verify(strings.NewReader(audit), int64(len(audit)), w.auditVerifiers(), nil, nil); err != nil {
		t.Errorf("the bundle: %v", err)
	}
	if e := w.last("workspace.exported"); e.Object != "object1" || e.Workspace != string(w.id) {
		t.Errorf("the entry: %+v", e)
	}

	to := newWorld(t, limits)
	got := to.mustImport(dir)
	if got.ReadOnly != ReadOnlyMaintenance || got.Name != "First" || got.Plan != "test" || got.Source != w.id || got.ID == w.id || got.Unknown != 4 || len(got.Lines) != 1 {
		t.Errorf("%+v", got)
	}
	to.verify()
	second, _ := to.exportOf(got.ID)
	want, have := contentOf(t, dir, *w.tenant(w.id).record()), contentOf(t, second, got.Workspace)
	for name := range want {
		if want[name] != have[name] {
			t.Errorf("%s:\n%s\nis after an import\n%s", name, want[name], have[name])
		}
	}
	if len(want) != len(have) {
		t.Errorf("%d files, then %d", len(want), len(have))
	}
	op := to.operatorOf(got.ID, Production)
	for range 2 {
		for _, l := range op.env.planLimits() {
			if b := before[l.Name]; l.Used != b.Used || l.Limit != b.Limit {
				t.Errorf("%s: %d of %d used, want %d of %d", l.Name, l.Used, l.Limit, b.Used, b.Limit)
			}
		}
		to.reopen()
		to.verify()
		op = to.operatorOf(got.ID, Production)
	}
	fresh, err := kv.Update(to.db, func(tx *kv.Tx) (MessageID, error) { return newID[messageKind](tx, op.env), nil })
	if err != nil {
		t.Fatal(err)
	}
	page, err := to.Messages(op, MessageQuery{})
	if err != nil || len(page.Messages) == 0 {
		t.Fatalf("%d messages, %v", len(page.Messages), err)
	}
	if newest := page.Messages[0].ID; fresh.String() <= newest.String() {
		t.Errorf("a new id, %s, is not above %s", fresh, newest)
	}
	for _, l := range op.env.lines.Load().all {
		if l.Active || l.Transport != noTransport && !l.Sandbox() {
			t.Errorf("line %s is active, or has the transport %s", l.ID, l.Transport)
		}
	}
	active := ReadOnlyReason("")
	if _, err := to.Admin().SetWorkspace(got.ID, WorkspaceChange{ReadOnly: &active}); err != nil {
		t.Fatal(err)
	}
	to.clock.pass(100 * time.Hour)
	to.id = got.ID
	to.release(Production)
	for _, l := range op.env.lines.Load().all {
		if _, sent := to.deliver(Production, l.ID); sent {
			t.Errorf("line %s sends by itself", l.ID)
		}
	}
	mustFail[Line](t, "a line without a transport is made active", Conflict, CodeNoTransport, "")(to.SetLine(op, got.Lines[0].String(), LineChange{Active: ptr(true)}))
	if _, err := to.SetLine(op, got.Lines[0].String(), LineChange{Active: ptr(true), Transport: ptr("smtp://u:p@mail.example.com:587")}); err != nil {
		t.Error(err)
	}
	e := to.last("workspace.imported")
	if e.Detail["sourceWorkspace"] != string(w.id) || e.Detail["sourceInstallation"] != "elsewhere" || e.Object != "object1" || e.Outcome != "done" {
		t.Errorf("the entry: %+v", e)
	}
	ids, err := os.ReadFile(got.IDs)
	if n := bytes.Count(ids, []byte("\n")) - 1; err != nil || int64(n) != out.Records[kindLists]+out.Records[kindLines]+out.Records[kindLeads]+out.Records[kindMessages] {
		t.Errorf("%d ids, %v", n, err)
	}
}
