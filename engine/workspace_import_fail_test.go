package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tuco/engine/quota"
	"tuco/kv"
)

// edited is a copy of an export in which one file is another.
func edited(t *testing.T, dir, name string, change func(string) string) string {
	t.Helper()
	to := t.TempDir()
	for n, text := range filesOf(t, dir) {
		if n == name {
			if text = change(text); text == "" {
				continue
			}
		}
		if err := os.WriteFile(filepath.Join(to, n), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// nothingLeft reports what is left of an import that failed.
func (w *world) nothingLeft(what string, workspacesBefore int) {
	w.t.Helper()
	left, err := kv.View(w.db, func(tx *kv.Tx) (left []string, err error) {
		for id := range imports.Scan(tx, kv.Range{}) {
			left = append(left, "the import of "+string(id))
		}
		for _, owner := range tagOwners.Scan(tx, kv.Range{}) {
			if !workspaces.Has(tx, []byte(owner.Workspace)) && len(tx.Children(owner.Workspace.path())) > 0 {
				left = append(left, "records of "+string(owner.Workspace))
			}
		}
		return left, nil
	})
	if err != nil || len(left) > 0 || len(w.allTenants()) != workspacesBefore {
		w.t.Errorf("%s: left are %q, and %d workspaces, %v", what, left, len(w.allTenants()), err)
	}
	for _, pattern := range []string{importDir, filepath.Join(importIDsDir, "*")} {
		if found, _ := filepath.Glob(filepath.Join(w.opt.Dir, pattern)); len(found) > 0 {
			w.t.Errorf("%s: left is %q", what, found)
		}
	}
	w.verify()
}

// TestImportRefuses: whatever is wrong with an export is said, with its code, and leaves nothing behind.
func TestImportRefuses(t *testing.T) {
	w := newWorld(t, unlimited())
	w.busy(w.id, "lion")
	dir, _ := w.exportOf(w.id)
	record := "production.messages.jsonl"
	replace := func(old, with string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				t.Errorf("there is no %s in the file", old)
			}
			return strings.Replace(s, old, with, 1)
		}
	}
	line := func(n int, fn func(lines []string, n int) []string) func(string) string {
		return func(s string) string { return strings.Join(fn(strings.SplitAfter(s, "\n"), n), "") }
	}
	tag := w.tenant(w.id).record().Tags[Production]
	today := fmt.Sprint(int(quota.DayOf(noon, time.UTC)))
	for what, c := range map[string]struct {
		file   string
		change func(string) string
		code   string
	}{
		"no messages":             {record, func(string) string { return "" }, CodeDamaged},
		"no workspace":            {"workspace.jsonl", func(string) string { return "" }, CodeDamaged},
		"a newer format":          {record, replace(`"version":1`, `"version":2`), CodeNewer},
		"another kind":            {record, replace(`"kind":"messages"`, `"kind":"leads"`), CodeDamaged},
		"another environment":     {record, replace(`"environment":"production"`, `"environment":"staging"`), CodeDamaged},
		"a cut line":              {record, func(s string) string { return s[:len(s)-9] }, CodeDamaged},
		"no end of the last line": {record, func(s string) string { return s[:len(s)-1] }, CodeDamaged},
		"an empty line":           {record, func(s string) string { return s + "\n" }, CodeDamaged},
		"another encoding":        {record, replace(`"text":"`, `"text": "`), CodeDamaged},
		"an unknown member":       {record, replace(`"text":"`, `"size":1,"text":"`), CodeDamaged},
		"a status":                {record, replace(`"status":"delivered"`, `"status":"lost"`), CodeDamaged},
		"a channel":               {record, replace(`"channel":"imessage"`, `"channel":"fax"`), CodeDamaged},
		"a place of what is sent": {record, replace(`"plan":{`, `"place":"due","plan":{`), CodeDamaged},
		"an id of another":        {record, replace(tag, "ffffff"), CodeDamaged},
		"a lead of another":       {record, replace(`"lead":"`+w.anyLead()[:8]+tag, `"lead":"`+w.anyLead()[:8]+"ffffff"), CodeDamaged},
		"a record twice":          {record, line(1, func(l []string, n int) []string { return append(l[:n+1], l[n:]...) }), CodeDamaged},
		"no address":              {record, replace(`"to":["`, `"to":["","`), CodeDamaged},
		"a zero in an address":    {record, replace(`"to":["`, `"to":["\u0000","`), CodeDamaged},
		"a long address":          {record, replace(`"to":["`, `"to":["`+strings.Repeat("9", 1000)+`","`), CodeDamaged},
		"a long batch":            {record, replace(`"batchId":"`, `"batchId":"`+strings.Repeat("b", 1000)), CodeDamaged},
		"a day that is none":      {record, replace(`"day":`+today, `"day":20261199`), CodeDamaged},
		"a day far ahead":         {record, replace(`"day":`+today, `"day":20991231`), CodeDamaged},
		"a day after the usage":   {record, replace(`"plan":{"day":`+today, `"plan":{"day":20261124`), CodeDamaged},
		"a contact after it":      {record, replace(`"contact":`+today, `"contact":20261124`), CodeDamaged},
		"a day after the line's":  {record, replace(`"unit":{"day":`+today, `"unit":{"day":20261124`), CodeDamaged},
		"units of no line":        {"production.lines.jsonl", line(1, func(l []string, n int) []string { return append(l[:n], l[n+1:]...) }), CodeDamaged},
		"a line with a secret":    {"production.lines.jsonl", replace(`"dailyMessages"`, `"sealed":{"master":"x","box":"eA=="},"dailyMessages"`), CodeDamaged},
		"two lines of a number":   {"production.lines.jsonl", twins(`"id":"[0-9a-f]{24}"`), CodeDamaged},
		"a negative limit":        {"production.lines.jsonl", replace(`"dailyMessages":50`, `"dailyMessages":-1`), CodeDamaged},
		"a line's sums":           {"production.line-usage.jsonl", replace(`"messages":`, `"messages":-`), CodeDamaged},
		"a lead of no list":       {"production.lists.jsonl", line(1, func(l []string, n int) []string { return append(l[:n], l[n+1:]...) }), CodeDamaged},
		"a list's name":           {"production.lists.jsonl", replace(`"name":"lion list"`, `"name":""`), CodeDamaged},
		"custom fields":           {"production.leads.jsonl", replace(`"customFields":{"lion":1}`, `"customFields":[1]`), CodeDamaged},
		"a lead of the future":    {"production.leads.jsonl", replace(`"id":"6`, `"id":"f`), CodeDamaged},
		"usage below zero":        {"usage.jsonl", replace(`"messages":`, `"messages":-`), CodeDamaged},
		"a pool twice":            {"usage.jsonl", line(1, func(l []string, n int) []string { return append(l[:n+1], l[n:]...) }), CodeDamaged},
		"two workspaces":          {"workspace.jsonl", line(1, func(l []string, n int) []string { return append(l[:n+1], l[n:]...) }), CodeDamaged},
		"a time zone":             {"workspace.jsonl", replace(`"UTC"`, `"Mars"`), CodeDamaged},
		"a tag of two":            {"workspace.jsonl", replace(w.tenant(w.id).record().Tags[Staging], tag), CodeDamaged},
		"an agreement of another": {"agreements.jsonl", replace(string(w.id), "org_"+strings.Repeat("0", 24)), CodeDamaged},
	} {
		_, err := w.importFrom(edited(t, dir, c.file, c.change), nil)
		var known *Error
		if !errors.As(err, &known) || known.Code != c.code {
			t.Errorf("%s: %v", what, err)
		} else if strings.Contains(err.Error(), "lion") {
			t.Errorf("%s: the error repeats customer data: %v", what, err)
		}
		w.nothingLeft(what, 1)
	}
	for what, c := range map[string]struct {
		change func(*WorkspaceImport)
		kind   Kind
		code   string
	}{
		"a plan that is not there": {func(in *WorkspaceImport) { in.Plan = "none" }, NotFound, ""},
		"a name":                   {func(in *WorkspaceImport) { in.Name = "a\x1bb" }, Invalid, ""},
		"another workspace":        {func(in *WorkspaceImport) { in.Source = "org_" + WorkspaceID(strings.Repeat("0", 24)) }, Invalid, CodeDamaged},
		"no room":                  {func(in *WorkspaceImport) { in.Bytes = 1 << 58 }, Unavailable, CodeNoRoom},
		"what can't be unpacked":   {func(in *WorkspaceImport) { in.Unpack = func(string) error { return Errorf(Invalid, "x").With("X") } }, Invalid, "X"},
	} {
		_, err := w.importFrom(dir, c.change)
		var known *Error
		if !errors.As(err, &known) || known.Kind != c.kind || c.code != "" && known.Code != c.code {
			t.Errorf("%s: %v", what, err)
		}
		w.nothingLeft(what, 1)
	}
	if _, err := w.Admin().SetPlan("test", perDay(7)); err != nil {
		t.Fatal(err)
	}
	_, err := w.importFrom(dir, nil)
	refused(t, "a plan with other figures", err, Conflict, CodePlanDiffers, "")
	if got, err := w.importFrom(dir, func(in *WorkspaceImport) { in.Plan, in.Name = "growth", "Second" }); err != nil || got.Plan != "growth" || got.Name != "Second" {
		t.Errorf("%+v, %v", got, err)
	}
	w.verify()
}

// twins makes a second record of the first, with the id of the second, in place of that.
func twins(id string) func(string) string {
	return func(s string) string {
		lines := strings.SplitAfter(s, "\n")
		lines[2] = strings.Replace(lines[1], lines[1][:len(`{"id":"`)+24], lines[2][:len(`{"id":"`)+24], 1)
		return strings.Join(lines, "")
	}
}

func (w *world) anyLead() string {
	id, _ := kv.View(w.db, func(tx *kv.Tx) (string, error) {
		for _, m := range w.tenant(w.id).envs[Production].store.messages.Scan(tx, kv.Range{}) {
			return m.Lead.String(), nil
		}
		return "", nil
	})
	return id
}

// TestImportCut: an import that a crash ends is gone at the next start, and a restore to a moment within it has none of it.
func TestImportCut(t *testing.T) {
	w := newWorld(t, unlimited())
	w.busy(w.id, "lion")
	dir, _ := w.exportOf(w.id)
	messages := "production.messages.jsonl"
	all := strings.SplitAfter(filesOf(t, dir)[messages], "\n")
	first := all[1]
	id, _ := kv.ParseID(first[len(`{"id":"`):][:24])
	var many []string
	for n := range 2*importBatch + 10 {
		next := id
		next[11], next[10] = byte(n), byte(n>>8)
		many = append(many, strings.Replace(strings.Replace(first, id.String(), next.String(), 1), `"status":"delivered"`, `"status":"failed"`, 1))
	}
	for i := range many { // what was charged is not of interest here
		for _, part := range []string{"plan", "unit"} {
			if from := strings.Index(many[i], `"`+part+`":{`); from >= 0 {
				to := from + strings.Index(many[i][from:], "},") + 2
				many[i] = many[i][:from] + many[i][to:]
			}
		}
	}
	to := newWorld(t, unlimited())
	pipe := ""
	done := make(chan error, 1)
	var got ImportedWorkspace
	ready := make(chan struct{})
	go func() {
		var err error
		got, err = to.importFrom(dir, func(in *WorkspaceImport) {
			in.Unpack = func(into string) error {
				if err := os.CopyFS(into, os.DirFS(dir)); err != nil {
					return err
				}
				pipe = filepath.Join(into, messages)
				defer close(ready)
				return errors.Join(os.Remove(pipe), unix.Mkfifo(pipe, 0o600))
			}
		})
		done <- err
	}()
	<-ready
	f, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(all[0] + strings.Join(many, "")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two batches", func() bool {
		n, _ := kv.View(to.db, func(tx *kv.Tx) (n int, err error) {
			for id := range imports.Scan(tx, kv.Range{}) {
				for range newStore(WorkspaceID(id).path().Join(string(Production))).messages.Scan(tx, kv.Range{}) {
					n++
				}
			}
			return n, nil
		})
		return n >= 2*importBatch
	})
	_, err = to.importFrom(dir, nil)
	refused(t, "a second import", err, Conflict, CodeImportRunning, "")
	if stored, err := to.Admin().Workspaces(); err != nil || len(stored) != 1 || len(to.allTenants()) != 1 {
		t.Errorf("%d workspaces are stored while one is imported, %v", len(stored), err)
	}
	early := to.copied()
	crashed := t.TempDir()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	to.verify()
	late := to.copied()
	to.id = got.ID
	if n, err := to.Messages(to.operatorOf(got.ID, Production), MessageQuery{}); err != nil || len(n.Messages) == 0 {
		t.Errorf("%d messages, %v", len(n.Messages), err)
	}

	if err := os.CopyFS(crashed, os.DirFS(early.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(crashed, DatabaseName), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, dir := range map[string]string{"after a crash": crashed, "after a restore to a moment": early.Dir} {
		opt := early
		opt.Dir = dir
		if dir == early.Dir {
			for _, o := range []Options{early, late} {
				db, err := kv.Open(filepath.Join(o.Dir, DatabaseName), kv.Options{Schema: Schema, Now: o.Now})
				if err == nil {
					err = db.Close()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := kv.GraftFrom(filepath.Join(early.Dir, DatabaseName), filepath.Join(late.Dir, DatabaseName), RestoreChoice); err != nil {
				t.Fatal(err)
			}
		} else if err := os.MkdirAll(filepath.Join(dir, importDir, "files"), 0o700); err != nil {
			t.Fatal(err)
		}
		to.close()
		to.opt = opt
		to.open()
		to.nothingLeft(what, 1)
		to.keepAudit()
		if e := to.last("workspace.imported"); e.Outcome != "failed" {
			t.Errorf("%s: the entry %+v", what, e)
		}
	}
}

// TestImportFillsTheDisk: an import that finds no more room is gone.
func TestImportFillsTheDisk(t *testing.T) {
	w := newWorld(t, unlimited())
	who := w.in(Production)
	w.line(Production, 0, 0)
	for range 10 {
		leads := make([]LeadInput, 300)
		for i := range leads {
			leads[i] = LeadInput{Phone: ptr(phone()), Notes: ptr(strings.Repeat("n", 9000))}
		}
		if _, err := w.CreateLeads(who, nil, LeadBatch{Leads: leads}); err != nil {
			t.Fatal(err)
		}
	}
	dir, _ := w.exportOf(w.id)
	to := newWorldIn(t, unlimited(), "UTC", Options{MaxSize: 24 << 20, Reserve: 1 << 20})
	_, err := to.importFrom(dir, nil)
	refused(t, "an import without room", err, Unavailable, CodeNoRoom, "")
	to.nothingLeft("without room", 1)
}

// TestImportKeepsUsage: what was used and no message stands for, as after a restore, stays used.
func TestImportKeepsUsage(t *testing.T) {
	w := newWorld(t, perDay(100))
	w.busy(w.id, "lion")
	dir, _ := w.exportOf(w.id)
	raise := regexp.MustCompile(`"messages":\d+`)
	nine := func(s string) string { return raise.ReplaceAllString(s, `"messages":90`) }
	got := w.mustImport(edited(t, edited(t, dir, "production.line-usage.jsonl", nine), "usage.jsonl", nine))
	for range 2 {
		w.verify()
		op := w.operatorOf(got.ID, Production)
		if used := op.env.planLimits()[0].Used; used != 90 {
			t.Errorf("%d used of the plan", used)
		}
		for _, l := range op.env.lines.Load().all {
			if used := l.limits(w.lineDay())[0].Used; l.Channel == IMessage && used != 90 {
				t.Errorf("%d used of line %s", used, l.ID)
			}
		}
		w.reopen()
	}
}
