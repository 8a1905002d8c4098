package engine

import (
	"encoding/json"
	"io"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// A WorkspaceExport says which workspace to export, and where to.
type WorkspaceExport struct {
	Workspace WorkspaceID
	Object    string // id of the backup object that it becomes
	Version   string // of the program
	// Create makes a file of the export. It is written to until the next one is made.
	Create func(name string) (io.Writer, error)
}

// ExportedWorkspace is what an export holds.
type ExportedWorkspace struct {
	Time       time.Time // of the snapshot
	Position   kv.Position
	Records    map[string]int64 // by kind
	Transports []string         // ids of lines whose transport is not in it
	Quota      []byte           // JSON: what each pool has used
	Checkpoint []byte           // of the audit log, signed
}

// ExportWorkspace writes one workspace, as it is at one moment, into files that another installation can import, and its part of
// the audit log. Secrets are no part of it: no key, no transport, no webhook. It is recorded before anything is read.
//
// Errors: [NotFound]; [Unavailable] with [CodeAuditUnavailable]; those of Create.
func (a Admin) ExportWorkspace(x WorkspaceExport) (out ExportedWorkspace, err error) {
	t, err := a.find(x.Workspace)
	if err != nil {
		return out, err
	}
	if err := a.e.AuditTrouble(); err != nil {
		return out, auditDistrusted(err)
	}
	entry := auditlog.Entry{Event: "workspace.exported", Actor: operatorActor, Workspace: string(t.id), Kind: "backup", Object: x.Object}
	if err := a.e.recordAlone(entry); err != nil {
		return out, err
	}
	create := func(name string) (io.Writer, error) {
		if err := a.e.roomForFiles(); err != nil {
			return nil, err
		}
		w, err := x.Create(name)
		return &roomWriter{e: a.e, w: w}, err
	}
	w := &workspaceWriter{e: a.e, t: t, create: create, out: ExportedWorkspace{Position: a.e.db.Position(), Records: map[string]int64{}}}
	// One transaction: what it reads is one moment. It writes to files of this machine only.
	_, err = kv.View(a.e.db, func(tx *kv.Tx) (struct{}, error) {
		w.tx, w.out.Time = tx, tx.Now
		return struct{}{}, w.all()
	})
	if err != nil {
		return out, exportError(err)
	}
	audit, err := create(ExportedAudit)
	if err != nil {
		return out, err
	}
	m, err := a.ExportAudit(audit, x.Version, AuditRange{Workspace: t.id})
	if err != nil {
		return out, err
	}
	w.out.Records["auditEntries"] = int64(m.Entries)
	w.out.Checkpoint, err = a.e.Checkpoint()
	return w.out, err
}

// A workspaceWriter writes the files of one workspace from one transaction.
type workspaceWriter struct {
	e      *Engine
	t      *tenant
	tx     *kv.Tx
	create func(name string) (io.Writer, error)
	out    ExportedWorkspace
}

// file writes one file, whose records fill puts.
func (w *workspaceWriter) file(env Environment, kind string, fill func(l *lineWriter)) error {
	to, err := w.create(fileName(env, kind))
	if err != nil {
		return err
	}
	l := newLineWriter(to, exportHead{Format: workspaceFormat, Version: workspaceFormatVersion, Kind: kind, Environment: env})
	fill(l)
	w.out.Records[kind] += l.lines
	return l.end()
}

func (w *workspaceWriter) all() error {
	record, ok := workspaces.Get(w.tx, []byte(w.t.id))
	if !ok {
		return Errorf(NotFound, "There is no workspace %q", string(w.t.id))
	}
	err := w.file("", kindWorkspace, func(l *lineWriter) {
		figures, _ := getPlan(w.tx, record.Plan)
		l.put(exportedWorkspace{record, figures, policyOf(w.tx, w.t.id)})
	})
	if err != nil {
		return err
	}
	err = w.file("", kindAgreements, func(l *lineWriter) {
		for _, a := range agreements.Scan(w.tx, kv.Prefix(addressKey(string(w.t.id)))) {
			l.put(a)
		}
	})
	if err != nil {
		return err
	}
	used := map[pool]PlanUsage{}
	err = w.file("", kindUsage, func(l *lineWriter) {
		for key, u := range usageBucket(w.t.id).Scan(w.tx, kv.Range{}) {
			used[pool(key)] = u
			l.put(exportedUsage{pool(key), u})
		}
	})
	if err != nil {
		return err
	}
	if w.out.Quota, err = json.Marshal(used); err != nil {
		return err
	}
	for _, name := range Environments {
		if err := w.environment(w.t.envs[name]); err != nil {
			return err
		}
	}
	return nil
}

// environment writes what leads name before the leads, and what messages name before the messages.
func (w *workspaceWriter) environment(env *environment) error {
	s := &env.store
	for _, part := range []struct {
		kind string
		fill func(l *lineWriter)
	}{
		{kindLists, func(l *lineWriter) { putAll(w.tx, l, s.lists) }},
		{kindLines, func(l *lineWriter) {
			for _, line := range s.lines.Scan(w.tx, kv.Range{}) {
				if !line.Deleted && !line.Sandbox() {
					w.out.Transports = append(w.out.Transports, line.ID.String())
				}
				line.Sealed = sealed{}
				if !l.put(line) {
					return
				}
			}
		}},
		{kindLineUsage, func(l *lineWriter) {
			for identity, u := range s.lineUsage.Scan(w.tx, kv.Range{}) {
				l.put(exportedLineUsage{string(identity), u})
			}
		}},
		{kindLeads, func(l *lineWriter) { putAll(w.tx, l, s.leads) }},
		{kindMessages, func(l *lineWriter) { putAll(w.tx, l, s.messages) }},
		{kindKeys, func(l *lineWriter) {
			for _, k := range env.keys().Scan(w.tx, kv.Range{}) {
				l.put(exportedKey{k.ID, k.Name, k.Role, k.Scopes, k.Disabled, !k.Revoked.IsZero()})
			}
		}},
	} {
		if err := w.file(env.name, part.kind, part.fill); err != nil {
			return err
		}
	}
	return nil
}

// putAll writes every record of a bucket as it is stored.
func putAll[T any](tx *kv.Tx, l *lineWriter, b kv.Bucket[T]) {
	for _, record := range b.Scan(tx, kv.Range{}) {
		if !l.put(record) {
			return
		}
	}
}
