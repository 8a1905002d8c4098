package httpapi

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"tuco/engine"
	"tuco/engine/auditlog"
	"tuco/engine/auditlog/bundle"
)

// auditLines returns the log as it is.
func (w *world) auditLines() (entries []auditlog.Entry) {
	w.t.Helper()
	for from := uint64(0); ; {
		lines, next, err := w.eng.Admin().AuditLines(from, 1000)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, line := range lines {
			entries = append(entries, must[auditlog.Entry](w.t)(auditlog.ParseLine(line)))
		}
		if from = next; len(lines) == 0 {
			return entries
		}
	}
}

// firstEntry is the number of the workspace's first entry.
func (ws workspace) firstEntry() uint64 {
	for _, e := range ws.w.auditLines() {
		if e.Workspace == string(ws.id) {
			return e.Seq
		}
	}
	panic("the workspace has no entry")
}

// verifiers are what an auditor was given.
func (w *world) verifiers() (all []note.Verifier) {
	w.t.Helper()
	for _, key := range w.eng.AuditKeys() {
		all = append(all, must[note.Verifier](w.t)(auditlog.ParseVerifier(key)))
	}
	return all
}

// bundle checks an answer as who downloaded it would.
func (w *world) bundle(a answer, earlier *auditlog.Checkpoint) bundle.Report {
	w.t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/x-tar" || a.header.Get("Content-Length") != strconv.Itoa(len(a.text)) {
		w.t.Errorf("Content-Type %s, Content-Length %s of %d bytes", got, a.header.Get("Content-Length"), len(a.text))
	}
	return must[bundle.Report](w.t)(bundle.Verify(strings.NewReader(a.text), int64(len(a.text)), w.verifiers(), earlier, nil))
}

// untar returns the files of a bundle.
func untar(t *testing.T, a answer) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(strings.NewReader(a.text)); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files[head.Name] = must[[]byte](t)(io.ReadAll(r))
	}
}

// leftovers are the temporary files in a data directory.
func leftovers(t *testing.T, dir string) (names []string) {
	t.Helper()
	for _, pattern := range []string{"export-*", "bundle-*"} {
		names = append(names, must[[]string](t)(filepath.Glob(filepath.Join(dir, pattern)))...)
	}
	return names
}

// TestTheCustomersBundle: it proves itself, is complete, and has nothing of another workspace.
func TestTheCustomersBundle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, func(o *engine.Options, _ *Options) { o.Dir = dir })
	a, b := w.workspace("A"), w.workspace("B")
	f, g := a.marked(engine.Production), b.fixture(engine.Production)
	owner, other := a.key(engine.Production, engine.RoleOwner), b.key(engine.Production, engine.RoleOwner)
	sam, eve := w.staff("Sam"), w.staff("Eve")
	id := sam.asks(t, f, obj{"ticket": "OTHERS-1"})
	w.post(owner, "/api/staff-access/requests/"+id+"/approve", nil).is(t, "approving", 200)
	w.get(sam.token, f.look("leads")).is(t, "a look at A", 200)
	early := w.get(other, "/api/staff-access/checkpoint").is(t, "a checkpoint", 200).text
	before := must[auditlog.Checkpoint](t)(auditlog.OpenCheckpoint([]byte(early), w.verifiers()...))
	asked := eve.asks(t, g, nil)
	w.get(sam.token, f.look("messages")).is(t, "another look at A", 200)
	_, narrow := b.makeKey(engine.Production, engine.NewKey{Name: "narrow", Role: engine.RoleAdmin})
	b.readOnly(engine.ReadOnlyPastDue)

	got := w.post(other, "/api/staff-access/export", obj{"checkpoint": early}).is(t, "the bundle, in READ_ONLY", 200)
	if name := got.header.Get("Content-Disposition"); !regexp.MustCompile(`^attachment; filename=tuco-audit-` + string(b.id) + `-\d{8}T\d{6}Z\.tar$`).MatchString(name) {
		t.Errorf("Content-Disposition: %s", name)
	}
	report := w.bundle(got, &before)
	own := 0
	for _, e := range w.auditLines() {
		if e.Workspace == string(b.id) {
			own++
		}
	}
	if m := report.Manifest; m.Workspace != string(b.id) || m.Entries != uint64(own) || !report.Complete {
		t.Errorf("%d of %d entries of %s, complete: %v", m.Entries, own, m.Workspace, report.Complete)
	}
	files := untar(t, got)
	names := slices.Sorted(maps.Keys(files))
	want := []string{"checkpoint", "consistency", "entries.cef", "entries.csv", "entries.jsonl", "entries.ocsf.jsonl", "manifest.json", "proofs", "report.html", "signature", "staff.json"}
	if !slices.Equal(names, want) || strings.TrimSpace(string(files["staff.json"])) != "[]" {
		t.Errorf("files %q, want %q; the staff in it: %s", names, want, files["staff.json"])
	}
	var last auditlog.Entry
	for line := range bytes.Lines(files["entries.jsonl"]) {
		if last = must[auditlog.Entry](t)(auditlog.ParseLine(line)); last.Workspace != string(b.id) {
			t.Errorf("an entry of another: %s", line)
		}
	}
	if last.Event != "audit.exported" || last.Actor.Kind != auditlog.Key || last.Actor.ID != last.Credential || last.Credential == "" ||
		last.Address != "127.0.0.1" || last.Request != got.header.Get(headerRequestID) || last.Detail["earlier"] == "" {
		t.Errorf("the entry of the export: %+v", last)
	}
	if !strings.Contains(got.text, asked) {
		t.Error("what was asked of B is not in its bundle")
	}
	for what, text := range map[string]string{"id": string(a.id), "access": id, "staff": string(sam.id), "ticket": "OTHERS-1", "key": f.key, "lead": f.lead, "text": marker} {
		if strings.Contains(got.text, text) {
			t.Errorf("the %s of another workspace is in the bundle", what)
		}
	}
	for _, e := range w.auditLines() { // nor what follows from their lines, but for the hashes in the proofs
		if line := must[[]byte](t)(auditlog.AppendLine(nil, &e)); e.Workspace != string(b.id) && strings.Contains(got.text, string(line)) {
			t.Errorf("in the bundle: %s", line)
		}
	}
	w.bundle(w.post(other, "/api/staff-access/export", nil).is(t, "once more, without a body", 200), nil)
	w.post(other, "/api/staff-access/export", obj{"workspaceId": a.id}).codes(t, "of another workspace", 403, engine.CodeWrongWorkspace)
	w.post(narrow, "/api/staff-access/export", nil).codes(t, "without the scope", 403, engine.CodeInsufficientScope)
	if left := leftovers(t, dir); len(left) > 0 {
		t.Errorf("left in the data directory: %q", left)
	}
}

// TestTheAuditorsBundle: every range proves itself, and is recorded with who took it; what is no range is not.
func TestTheAuditorsBundle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	ws.fixture(engine.Production)
	ada := w.auditor("Ada")
	w.staff("Sam")
	early := w.get(ada, "/audit/checkpoint").is(t, "a checkpoint", 200).text
	before := must[auditlog.Checkpoint](t)(auditlog.OpenCheckpoint([]byte(early), w.verifiers()...))
	for name, body := range map[string]any{
		"all": nil, "all of it": obj{}, "since a checkpoint": obj{"checkpoint": early}, "a workspace": obj{"workspaceId": ws.id},
		"up to a time": obj{"to": "2020-01-01"}, "from a time on": obj{"from": time.Now().Add(-time.Hour).Format(time.RFC3339)},
	} {
		got := w.post(ada, "/audit/export", body).is(t, name, 200)
		var earlier *auditlog.Checkpoint
		if name == "since a checkpoint" {
			earlier = &before
		}
		report := w.bundle(got, earlier)
		log := w.auditLines()
		last := log[len(log)-1]
		if last.Event != "audit.exported" || last.Actor.Kind != auditlog.Auditor || !strings.HasPrefix(last.Actor.ID, "auditor_") || last.Credential != last.Actor.ID ||
			last.Address != "127.0.0.1" || last.Request != got.header.Get(headerRequestID) || last.Workspace != report.Manifest.Workspace {
			t.Errorf("%s: the entry %+v", name, last)
		}
		if name == "all" && (report.Manifest.Entries != uint64(len(log)) || !report.Complete || !strings.Contains(got.text, `"employer": "Vendor GmbH"`)) {
			t.Errorf("%d of %d entries, complete: %v", report.Manifest.Entries, len(log), report.Complete)
		}
	}
	stranger := newWorld(t)
	foreign := string(must[[]byte](t)(stranger.eng.Checkpoint()))
	recorded := len(w.auditLines())
	for _, r := range []struct {
		name   string
		body   any
		status int
		code   string
	}{
		{"ends before it begins", obj{"from": "2021-01-01", "to": "2020-01-01"}, 400, ""},
		{"no time", obj{"from": "yesterday"}, 400, ""},
		{"a workspace and a time", obj{"workspaceId": ws.id, "from": "2020-01-01"}, 400, ""},
		{"no such workspace", obj{"workspaceId": "org_000000000000000000000000"}, 404, ""},
		{"no id of a workspace", obj{"workspaceId": "../x\u0000+"}, 404, ""},
		{"no checkpoint", obj{"checkpoint": "none"}, 400, engine.CodeWrongCheckpoint},
		{"a checkpoint of another log", obj{"checkpoint": foreign}, 400, engine.CodeWrongCheckpoint},
		{"a changed checkpoint", obj{"checkpoint": strings.Replace(early, "\n"+fmt.Sprint(before.Size)+"\n", "\n1\n", 1)}, 400, engine.CodeWrongCheckpoint},
		{"no JSON", "{", 400, ""},
		{"another type", obj{"checkpoint": 5}, 400, ""},
	} {
		w.post(ada, "/audit/export", r.body).codes(t, r.name, r.status, r.code)
	}
	owner := ws.key(engine.Production, engine.RoleOwner)
	w.post(owner, "/api/staff-access/export", obj{"checkpoint": foreign}).codes(t, "the customer with a checkpoint of another log", 400, engine.CodeWrongCheckpoint)
	for _, e := range w.auditLines()[recorded:] {
		if e.Event == "audit.exported" {
			t.Errorf("recorded although nothing was exported: %+v", e)
		}
	}
}

// TestExportsAreBounded: two are made for each realm, one for each customer and auditor, and nobody keeps the other realm out.
func TestExportsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.workspace("A")
	owner, ada := ws.key(engine.Production, engine.RoleOwner), w.auditor("Ada")
	own := func() answer { return w.post(owner, "/api/staff-access/export", nil) }
	busy := func(name string) {
		if a := own().codes(t, name, 429, engine.CodeTemporarilyExhausted); a.header.Get("Retry-After") != "10" {
			t.Errorf("%s: Retry-After %q", name, a.header.Get("Retry-After"))
		}
		w.post(ada, "/audit/export", nil).is(t, name+": an auditor", 200)
	}
	begin := func(owner string) (made, free func()) {
		t.Helper()
		made, free, err := w.srv.exports.begin(workspaceKey, owner)
		if err != nil {
			t.Fatal(err)
		}
		return made, free
	}
	made, free := begin(string(ws.id))
	busy("one of its own is made")
	made()
	busy("one of its own is downloaded")
	free()
	own().is(t, "after that", 200)
	first, _ := begin("org_1")
	second, _ := begin("org_2")
	busy("two of others are made")
	first()
	first() // counts once
	own().is(t, "one of another is made, and one downloaded", 200)
	begin("org_3")
	busy("again two of others are made")
	second()
	w.post(owner, "/api/staff-access/export", obj{"checkpoint": "x"}).is(t, "one that fails", 400)
	own().is(t, "after one that failed", 200)
}

// fill adds n entries to the log.
func (w *world) fill(n int) {
	w.t.Helper()
	const clients = 64
	hammer(clients, func(i int) {
		for j := range n / clients {
			limit := int64(j + 1)
			if _, err := w.eng.Admin().SetPlan(fmt.Sprint("plan ", i), engine.PlanChange{MessagesPerDay: &limit}); err != nil {
				w.t.Error(err)
				return
			}
		}
	}).Wait()
}

// TestDownloads: one that is slow gets the time that its size takes, and one that is given up gives its place back.
func TestDownloads(t *testing.T) {
	t.Parallel()
	const timeout = 500 * time.Millisecond
	dir := t.TempDir()
	w := newWorld(t, func(o *engine.Options, web *Options) { o.Dir, web.WriteTimeout = dir, timeout })
	ada := w.auditor("Ada")
	w.fill(6400) // 13 MB: more than the kernel takes
	begin := func() *http.Response {
		t.Helper()
		dialer := &net.Dialer{ControlContext: func(_ context.Context, _, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
		}}
		client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
		req := must[*http.Request](t)(request{method: post, path: "/audit/export", key: ada}.http("http://" + w.addr))
		resp := must[*http.Response](t)(client.Do(req))
		if resp.StatusCode != 200 {
			t.Fatalf("%d", resp.StatusCode)
		}
		return resp
	}
	slow := begin()
	w.post(ada, "/audit/export", nil).codes(t, "beside it", 429, engine.CodeTemporarilyExhausted)
	w.post(w.auditor("Bo"), "/audit/export", nil).is(t, "another auditor's", 200)
	<-time.After(2 * timeout) // it reads nothing, until an ordinary answer would be cut off
	text, err := io.ReadAll(slow.Body)
	if err != nil {
		t.Fatalf("after %d of %d bytes: %v", len(text), slow.ContentLength, err)
	}
	slow.Body.Close()
	w.bundle(answer{200, slow.Header, string(text)}, nil)

	begin().Body.Close()
	w.until(t, "after one that was given up", func() answer { return w.post(ada, "/audit/export", nil) }, func(a answer) bool { return a.status == 200 })
	if left := leftovers(t, dir); len(left) > 0 {
		t.Errorf("left in the data directory: %q", left)
	}
}

// TestExportOnAFullDisk: nothing leaves that can't be recorded, or would take what is in reserve.
func TestExportOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	in := func(o *engine.Options, _ *Options) { o.Dir = dir }
	var owner, ada string
	t.Run("before", func(t *testing.T) {
		w := newWorld(t, in)
		owner, ada = w.workspace("A").key(engine.Production, engine.RoleOwner), w.auditor("Ada")
	})
	t.Run("full", func(t *testing.T) {
		w := newWorld(t, in, func(o *engine.Options, _ *Options) { o.Reserve = 1 << 60 })
		recorded := len(w.auditLines())
		if a := w.post(owner, "/api/staff-access/export", nil).codes(t, "the customer", 503, engine.CodeAuditUnavailable); a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		w.post(ada, "/audit/export", nil).codes(t, "the auditor", 503, engine.CodeAuditUnavailable)
		w.get(ada, "/audit/log/0/proof").is(t, "a proof takes no room", 200)
		if now := len(w.auditLines()); now != recorded {
			t.Errorf("%d entries of exports that there were not", now-recorded)
		}
		if left := leftovers(t, dir); len(left) > 0 {
			t.Errorf("left in the data directory: %q", left)
		}
	})
	t.Run("damaged", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(dir, engine.AnchorName), []byte("not a checkpoint\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, in)
		recorded := len(w.auditLines())
		for _, r := range []request{
			{method: post, path: "/audit/export", key: ada}, {method: get, path: "/audit/checkpoint", key: ada}, {method: get, path: "/audit/log/0/proof", key: ada},
			{method: get, path: "/audit/consistency?from=1", key: ada}, {method: post, path: "/api/staff-access/export", key: owner}, {method: get, path: "/api/staff-access/checkpoint", key: owner},
		} {
			w.do(r).codes(t, r.path+" of a log that can't be relied on", 503, engine.CodeAuditUnavailable)
		}
		if now := len(w.auditLines()); now != recorded {
			t.Errorf("%d entries of exports that there were not", now-recorded)
		}
	})
}

// TestProofsOfEntries: what a customer or an auditor gets proves the very bytes that the log shows them.
func TestProofsOfEntries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.workspace("A"), w.workspace("B")
	f := a.fixture(engine.Production)
	owner, other, ada := a.key(engine.Production, engine.RoleOwner), b.key(engine.Production, engine.RoleOwner), w.auditor("Ada")
	odd, token, err := w.eng.Admin().AddStaff(engine.NewStaff{Name: "Odd", Email: "odd@example.com", Employer: `Ü & <b>"Söhne"</b>`, Country: "DE", Role: "a\u2028b \U0001F600"})
	if err != nil {
		t.Fatal(err)
	}
	staffMember{w: w, id: odd.ID, token: token}.asks(t, f, nil)
	early := w.get(owner, "/api/staff-access/checkpoint").is(t, "a checkpoint", 200).text
	before := must[auditlog.Checkpoint](t)(auditlog.OpenCheckpoint([]byte(early), w.verifiers()...))
	b.fixture(engine.Staging)

	var page struct {
		Entries []struct {
			Seq   uint64
			Entry json.RawMessage
		}
	}
	log := w.get(owner, "/api/staff-access/log?limit=100").is(t, "the log", 200)
	if err := json.Unmarshal([]byte(log.text), &page); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.text, "Söhne") || len(page.Entries) < 3 {
		t.Fatalf("the log is %s", log.text)
	}
	for _, e := range page.Entries {
		proof := w.get(owner, fmt.Sprintf("/api/staff-access/log/%d/proof", e.Seq)).is(t, "a proof", 200)
		if got := proof.header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
			t.Errorf("Content-Type %s", got)
		}
		line := append(slices.Clone(e.Entry), '\n')
		if _, err := auditlog.VerifyProof([]byte(proof.text), line, w.verifiers()...); err != nil {
			t.Errorf("entry %d: %v: %s", e.Seq, err, line)
		}
		if again := w.get(ada, fmt.Sprintf("/audit/log/%d/proof", e.Seq)).is(t, "the auditor's", 200); again.text != proof.text {
			t.Errorf("the auditor's proof of %d is another", e.Seq)
		}
		checkRecord(t, proof.text, line)
	}

	// Of what is not its own, a customer learns nothing: not that it is there, nor whose it is.
	entries := w.auditLines()
	nothing := w.get(other, "/api/staff-access/log/999999/proof").fails(t, "behind the end", 404, "Entry not found")
	for _, e := range entries {
		if e.Workspace == string(b.id) {
			continue
		}
		got := w.get(other, fmt.Sprintf("/api/staff-access/log/%d/proof", e.Seq)).is(t, "another's entry", 404)
		for _, a := range []answer{got, nothing} {
			for _, own := range []string{"Date", headerRequestID, headerCorrelationID} {
				a.header.Del(own)
			}
		}
		if got.text != nothing.text || !sameHeader(got.header, nothing.header) {
			t.Errorf("entry %d of %q: %s, behind the end: %s", e.Seq, e.Workspace, got.text, nothing.text)
		}
	}
	w.get(ada, fmt.Sprintf("/audit/log/%d/proof", len(entries))).fails(t, "the auditor behind the end", 404, "Entry not found")
	for _, bad := range []string{"x", "-1", "1.5", "99999999999999999999", "%31x"} {
		w.get(owner, "/api/staff-access/log/"+bad+"/proof").is(t, "the number "+bad, 400)
		w.get(ada, "/audit/log/"+bad+"/proof").is(t, "the number "+bad, 400)
	}

	for key, path := range map[string]string{owner: "/api/staff-access/consistency", ada: "/audit/consistency"} {
		text := w.get(key, fmt.Sprint(path, "?from=", before.Size)).is(t, path, 200).text
		if now, err := auditlog.VerifyConsistency([]byte(text), before, w.verifiers()...); err != nil || now.Size != uint64(len(entries)) {
			t.Errorf("%s: %v, %+v", path, err, now)
		}
		w.get(key, path+"?from=0").is(t, path+" from nothing", 200)
		w.get(key, fmt.Sprint(path, "?from=", len(entries))).is(t, path+" from now", 200)
		for _, bad := range []string{"", "?from=", "?from=x", "?from=-1", fmt.Sprint("?from=", len(entries)+1), "?from=1&from=2", "?from=9007199254740993"} {
			w.get(key, path+bad).is(t, path+bad, 400)
		}
	}
	a.readOnly(engine.ReadOnlyPastDue)
	w.get(owner, fmt.Sprintf("/api/staff-access/log/%d/proof", page.Entries[0].Seq)).is(t, "a proof in READ_ONLY", 200)
}

// checkRecord checks a proof with nothing but what its format says.
func checkRecord(t *testing.T, proof string, line []byte) {
	t.Helper()
	head, signed, _ := strings.Cut(proof, "\n\n")
	parts := strings.Split(head, "\n")
	var seq int64
	if _, err := fmt.Sscanf(parts[1], "index %d", &seq); err != nil || parts[0] != "c2sp.org/tlog-proof@v1" {
		t.Fatalf("%v in %s", err, proof)
	}
	var hashes tlog.RecordProof
	for _, h := range parts[2:] {
		hashes = append(hashes, must[tlog.Hash](t)(tlog.ParseHash(h)))
	}
	c := strings.Split(signed, "\n")
	size, root := must[int64](t)(strconv.ParseInt(c[1], 10, 64)), must[tlog.Hash](t)(tlog.ParseHash(c[2]))
	if err := tlog.CheckRecord(hashes, size, root, seq, tlog.RecordHash(line)); err != nil {
		t.Errorf("entry %d: %v", seq, err)
	}
}
