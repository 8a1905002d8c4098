package keeper

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sys/unix"

	"tuco/backup"
	"tuco/engine"
)

// PackWorkspace makes an object of one workspace, for another installation, in the temporary directory of opt. It takes room on
// the disk for the workspace's records as text, and for the object.
//
// Errors: those of [engine.Admin.ExportWorkspace] and of [backup.Create].
func PackWorkspace(ctx context.Context, opt Options, id engine.WorkspaceID) (*backup.Object, error) {
	object := newID()
	var inputs []backup.Input
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	out, err := opt.Engine.Admin().ExportWorkspace(engine.WorkspaceExport{
		Workspace: id, Object: object, Version: opt.Product, Create: func(name string) (io.Writer, error) {
			f, err := opt.Engine.TempFile()
			if err == nil {
				open = append(open, f)
				inputs = append(inputs, backup.Input{Name: name})
			}
			return f, err
		},
	})
	if err != nil {
		return nil, err
	}
	total := int64(0)
	for i, f := range open {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		inputs[i].Content = content{f, info.Size()}
		total += info.Size()
	}
	if err := roomFor(opt, total); err != nil {
		return nil, err
	}
	installation, epoch := opt.Engine.Installation()
	return backup.Create(ctx, opt.Dir, backup.Manifest{
		Kind: backup.Workspace, ID: object, Installation: installation, Epoch: epoch, Workspace: string(id), Transports: out.Transports,
		Product: opt.Product, Schema: engine.Schema, Time: milli(out.Time), To: out.Position, Records: out.Records,
		Quota: jsontext.Value(out.Quota), Checkpoint: string(out.Checkpoint),
	}, inputs, opt.Encryption)
}

// roomFor refuses n more bytes if they would take the disk's reserve.
func roomFor(opt Options, n int64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(opt.Dir, &fs); err != nil {
		return err
	}
	if free := int64(fs.Bavail) * fs.Frsize; free-opt.Engine.Reserve() < n {
		return fmt.Errorf("%w in %q: the object takes up to %d bytes, and %d are free, of which %d are in reserve",
			backup.ErrNoSpace, opt.Dir, n, free, opt.Engine.Reserve())
	}
	return nil
}

// A WorkspaceImport says what to import.
type WorkspaceImport struct {
	Object io.Reader
	Keys   backup.Keys
	Name   string // as in the object if empty
	Plan   string // see [engine.WorkspaceImport]
}

// ImportWorkspace makes a workspace of an object: all of it or none.
//
// Errors: those of [backup.Open], [backup.Reader.Unpack] and [engine.Admin.ImportWorkspace]; [backup.ErrInvalid] for an object of
// another kind.
func ImportWorkspace(ctx context.Context, eng *engine.Engine, in WorkspaceImport) (done engine.ImportedWorkspace, err error) {
	r, err := backup.Open(in.Object, engine.Schema)
	if err != nil {
		return done, err
	}
	m := r.Manifest
	if m.Kind != backup.Workspace {
		return done, fmt.Errorf("%w: this object is of kind %s; only one that 'tuco backup create --workspace ID' made can be imported", backup.ErrInvalid, m.Kind)
	}
	total := int64(0)
	for _, f := range m.Files {
		total += f.Size
	}
	return eng.Admin().ImportWorkspace(engine.WorkspaceImport{
		Name: in.Name, Plan: in.Plan, Source: engine.WorkspaceID(m.Workspace), Installation: m.Installation, Object: m.ID, SHA256: m.Payload.SHA256, Bytes: total,
		Unpack: func(dir string) error { return r.Unpack(ctx, in.Keys, dir) },
	})
}
