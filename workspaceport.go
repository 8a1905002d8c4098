package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"filippo.io/age"

	"tuco/backup"
	"tuco/backup/keeper"
	"tuco/engine"
)

type workspaceImport struct {
	adminFlags
	keyFlags
	From string `arg:"" help:"The object that 'tuco backup create --workspace' made: a file, or s3://BUCKET/PREFIX/NAME?endpoint=HOST."`
	Name string `help:"Its new name; as it was by default."`
	Plan string `help:"A plan that is there; by default the one that it had, which is made if it is not there."`
}

func (c workspaceImport) Run(out *output) (err error) {
	in := importInput{Name: c.Name, Plan: c.Plan}
	if in.From, err = absolute(c.From); err != nil {
		return err
	}
	keys, err := c.opening()
	if err != nil {
		return err
	}
	in.Passphrase = keys.Passphrase
	if c.IdentityFile != "" {
		text, err := os.ReadFile(c.IdentityFile)
		if err != nil {
			return err
		}
		in.Identities = string(text)
	}
	return c.call(out, "workspace/import", in)
}

// importInput asks a running server to import a workspace.
type importInput struct {
	From       string `json:"from"`
	Identities string `json:"identities,omitzero"` // private age keys, one a line
	Passphrase string `json:"passphrase,omitzero"`
	Name       string `json:"name,omitzero"`
	Plan       string `json:"plan,omitzero"`
}

// importOutput is a workspace that was imported.
type importOutput struct {
	ID              string           `json:"id"`
	Name            string           `json:"name"`
	Plan            string           `json:"plan"`
	State           string           `json:"state"` // READ_ONLY maintenance: 'tuco workspace active ID'
	Source          string           `json:"source"`
	UnknownMessages int              `json:"unknownMessages"` // 'tuco message unknown', 'tuco message settle'
	Transports      []string         `json:"transports"`      // lines that need theirs again: 'tuco line set ID --transport URL'
	IDs             string           `json:"ids"`             // file that says which id became which
	Records         map[string]int64 `json:"records"`
	Took            string           `json:"took"`
}

func (s *server) importWorkspace(in importInput) (importOutput, error) {
	began := time.Now()
	opt := keeper.WorkspaceImport{Keys: backup.Keys{Passphrase: in.Passphrase}, Name: in.Name, Plan: in.Plan}
	if in.Identities != "" {
		identities, err := age.ParseIdentities(strings.NewReader(in.Identities))
		if err != nil { // age's own words might repeat a key
			return importOutput{}, engine.Errorf(engine.Invalid, "identities: they must be private age keys, one a line")
		}
		opt.Keys.Identities = identities
	}
	object, err := backup.OpenWorkspace(context.Background(), in.From)
	if err != nil {
		return importOutput{}, backupProblem(err)
	}
	defer object.Close()
	opt.Object = object
	w, err := keeper.ImportWorkspace(context.Background(), s.eng, opt)
	if err != nil {
		return importOutput{}, backupProblem(err)
	}
	out := importOutput{
		ID: string(w.ID), Name: w.Name, Plan: w.Plan, State: "READ_ONLY " + string(w.ReadOnly), Source: string(w.Source), UnknownMessages: w.Unknown,
		Transports: []string{}, IDs: w.IDs, Records: w.Records, Took: time.Since(began).Round(time.Millisecond).String(),
	}
	for _, id := range w.Lines {
		out.Transports = append(out.Transports, id.String())
	}
	return out, nil
}

// makeWorkspaceBackup makes an object of one workspace of an open engine.
func makeWorkspaceBackup(eng *engine.Engine, dir string, in backupInput) (out backupOutput, err error) {
	began := time.Now()
	target, err := backup.OpenTarget(in.To)
	if err != nil {
		return out, backupProblem(err)
	}
	o, err := keeper.PackWorkspace(context.Background(), keeper.Options{
		Engine: eng, Product: version, Dir: dir, Encryption: backup.Encryption{Recipients: in.Recipients, Passphrase: in.Passphrase, Plain: in.Plain},
	}, engine.WorkspaceID(in.Workspace))
	if err != nil {
		return out, backupProblem(err)
	}
	defer o.Close()
	name := o.Manifest.WorkspaceName()
	err = target.Put(context.Background(), name, o)
	return backupOutput{name, o.Size(), o.Manifest.Records, time.Since(began).Round(time.Millisecond).String(), o.Manifest.To}, backupProblem(err)
}

// backupProblem says errors of backups as those of the engine are said, each with its code.
func backupProblem(err error) error {
	if known := (*engine.Error)(nil); err == nil || errors.As(err, &known) {
		return err
	}
	for _, p := range []struct {
		is   error
		kind engine.Kind
		code string
	}{
		{backup.ErrDamaged, engine.Invalid, engine.CodeDamaged},
		{backup.ErrNewer, engine.Unsupported, engine.CodeNewer},
		{backup.ErrKey, engine.Invalid, "BACKUP_KEY"},
		{backup.ErrNotFound, engine.NotFound, "BACKUP_NOT_FOUND"},
		{fs.ErrNotExist, engine.NotFound, "BACKUP_NOT_FOUND"},
		{fs.ErrPermission, engine.Forbidden, "BACKUP_NOT_READABLE"},
		{backup.ErrNoSpace, engine.Unavailable, engine.CodeNoRoom},
		{backup.ErrUnavailable, engine.Unavailable, "BACKUP_UNAVAILABLE"},
		{backup.ErrExists, engine.Conflict, "BACKUP_EXISTS"},
		{backup.ErrInvalid, engine.Invalid, "BACKUP_INVALID"},
	} {
		if errors.Is(err, p.is) {
			return engine.Errorf(p.kind, "%v", err).With(p.code)
		}
	}
	return err
}
