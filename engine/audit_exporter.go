package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"tuco/engine/auditlog"
	"tuco/engine/auditlog/bundle"
	"tuco/kv"
)

// An exporter is who takes a part of the audit log away: the operator, an auditor, or a key of the customer's.
type exporter struct {
	entry auditlog.Entry        // begins with who it is
	still func(tx *kv.Tx) error // refuses whoever may no longer
}

// CodeWrongCheckpoint: a checkpoint is none that the log continues.
const CodeWrongCheckpoint = "WRONG_CHECKPOINT"

// ExportAudit writes a bundle for auditors to w. It is recorded before the first byte goes. If it fails, w may have got a part.
//
// Errors: [Invalid] for a range that is none, with [CodeWrongCheckpoint] for an earlier checkpoint that is not this log's;
// [Conflict] with [CodeContradicted] for one that this log's key signed and that it does not continue; [NotFound] for a workspace that never was; [Unavailable] with [CodeAuditUnavailable].
func (a Admin) ExportAudit(w io.Writer, version string, r AuditRange) (bundle.Manifest, error) {
	return a.e.export(w, version, r, exporter{auditlog.Entry{Actor: operatorActor}, func(*kv.Tx) error { return nil }})
}

// ExportAudit is like [Admin.ExportAudit], for an auditor.
func (e *Engine) ExportAudit(who AuditorCaller, w io.Writer, version string, r AuditRange) (bundle.Manifest, error) {
	return e.export(w, version, r, exporter{who.entry(""), who.still})
}

// ExportOwnAudit is like [Admin.ExportAudit], for the entries of the caller's workspace. earlier is nil or a checkpoint of
// before.
func (e *Engine) ExportOwnAudit(who Caller, w io.Writer, version string, earlier []byte) (bundle.Manifest, error) {
	if err := who.Require(AccessApprove); err != nil {
		return bundle.Manifest{}, err
	}
	d := who.decider()
	return e.export(w, version, AuditRange{Workspace: who.Workspace(), Earlier: earlier}, exporter{d.entry(""), d.still})
}

// exportError tells the caller when the disk has no room for the record of an export, or for the export itself.
func exportError(err error) error {
	if errors.Is(err, kv.ErrNoRoom) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return noRoomForExport(err)
	}
	return storageError(err)
}

func noRoomForExport(err error) error {
	return &Error{Kind: Unavailable, Code: CodeAuditUnavailable, RetryAfter: time.Minute, Err: err,
		Msg: "There is not enough room on the server's disk for the export and its record, so there is none. The operator has to free space: exports leave --reserve, and 64 MiB above it, as they are"}
}

// roomForFiles refuses temporary files that would take of the disk what is in reserve, or come near it: as many are made at a
// time as there may be exports, and each looks after every [roomWriterLooks].
func (e *Engine) roomForFiles() error {
	if room := e.db.Room(); room.ForFiles() < 0 {
		return noRoomForExport(fmt.Errorf("%d bytes are free, %d of them in reserve", room.Free, room.Reserve))
	}
	return nil
}

// A roomWriter fails when what it writes would take the reserve.
type roomWriter struct {
	e    *Engine
	w    io.Writer
	left int64 // until it looks again
}

const roomWriterLooks = 8 << 20 // bytes

func (r *roomWriter) Write(p []byte) (int, error) {
	if r.left -= int64(len(p)); r.left < 0 {
		if err := r.e.roomForFiles(); err != nil {
			return 0, err
		}
		r.left = roomWriterLooks
	}
	return r.w.Write(p)
}

// TempFile makes a file in the data directory that is gone when it is closed, however the process ends.
func (e *Engine) TempFile() (*os.File, error) {
	f, err := os.CreateTemp(e.opt.Dir, "export-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
