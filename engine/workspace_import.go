package engine

import (
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"tuco/kv"
)

// A WorkspaceImport says what becomes a workspace.
type WorkspaceImport struct {
	Name string // as in the export if empty
	Plan string // one that is there; if empty that of the export, which is made if it is not there

	// Where it comes from, for the record.
	Source                       WorkspaceID
	Installation, Object, SHA256 string

	Bytes int64 // of all files together
	// Unpack puts the files of the export into a directory that is not there yet, all of them or none.
	Unpack func(dir string) error
}

// An ImportedWorkspace is what an import made.
type ImportedWorkspace struct {
	Workspace
	Source  WorkspaceID      // in the installation that it comes from
	Records map[string]int64 // by kind
	Unknown int              // messages whose outcome is not known any more
	Lines   []LineID         // without a transport
	IDs     string           // file that says which id became which
}

// Codes of imports.
const (
	CodeImportRunning = "IMPORT_RUNNING"
	CodePlanDiffers   = "PLAN_DIFFERS"
)

// ImportWorkspace makes a workspace of an export, all of it or none. Its ids and owner tags are new ones, it is in READ_ONLY
// maintenance, its lines are paused and, except for those of the sandbox, without transport, and it has no keys. What was not
// final is of unknown outcome, what was used stays used. One import runs at a time.
//
// Errors: [Invalid] with [CodeDamaged] for what is no export; [Unsupported] with [CodeNewer]; [Conflict] with
// [CodeImportRunning] or [CodePlanDiffers]; [NotFound] for a plan; [Unavailable] with [CodeNoRoom]; those of Unpack.
func (a Admin) ImportWorkspace(in WorkspaceImport) (ImportedWorkspace, error) {
	e := a.e
	if !e.importing.TryLock() {
		return ImportedWorkspace{}, Errorf(Conflict, "Another import is running").With(CodeImportRunning)
	}
	defer e.importing.Unlock()
	if err := e.dropImports(); err != nil {
		return ImportedWorkspace{}, err
	}
	if err := e.roomForImport(in.Bytes); err != nil {
		return ImportedWorkspace{}, err
	}
	dir := filepath.Join(e.opt.Dir, importDir)
	defer os.RemoveAll(dir) //nolint:errcheck // the next import or start does it
	if err := os.Mkdir(dir, 0o700); err != nil {
		return ImportedWorkspace{}, err
	}
	files := filepath.Join(dir, "files")
	if err := in.Unpack(files); err != nil {
		return ImportedWorkspace{}, err
	}
	x := &importer{e: e, in: in, files: os.DirFS(files), envs: map[Environment]*envImport{}}
	x.done.Records = map[string]int64{}
	err := x.run()
	if err != nil && x.done.ID != "" {
		if failed := e.dropImport(x.done.ID, importState{Object: in.Object}, "it was refused"); failed != nil {
			e.log.Error().Err(failed).Msg("what an import left behind is not deleted yet")
		}
	}
	if errors.Is(err, kv.ErrNoRoom) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return ImportedWorkspace{}, noRoomForImport(err)
	}
	if err != nil {
		return ImportedWorkspace{}, storageError(err)
	}
	return x.done, e.addTenant(x.done.Workspace)
}

// roomForImport refuses what the disk would have no room for: the files, and what they become in the log and in the database.
func (e *Engine) roomForImport(n int64) error {
	room := e.db.Room()
	if room.Free-2*room.Pending-room.Reserve < 3*n || room.MaxSize > 0 && room.MaxSize-room.Used-room.Reserve < n {
		return noRoomForImport(nil)
	}
	return nil
}

func noRoomForImport(err error) error {
	return &Error{Kind: Unavailable, Code: CodeNoRoom, RetryAfter: time.Minute, Err: err, Msg: "There is no room on the server's disk for this workspace. Nothing was imported"}
}

// An importer makes one workspace.
type importer struct {
	e          *Engine
	in         WorkspaceImport
	files      fs.FS
	now        time.Time
	record     exportedWorkspace
	agreements []Agreement
	usage      []exportedUsage
	tenant     *tenant
	envs       map[Environment]*envImport
	ids        *lineWriter
	done       ImportedWorkspace
}

func (x *importer) run() (err error) {
	x.now = x.e.opt.Now().UTC()
	if err := x.readWorkspace(); err != nil {
		return err
	}
	if err := x.begin(); err != nil {
		return err
	}
	path := x.e.importedIDs(x.done.ID)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	x.done.IDs, x.ids = path, newLineWriter(f, exportHead{Format: "tuco workspace ids", Version: workspaceFormatVersion, Kind: "ids"})
	for _, name := range Environments {
		if err := x.envs[name].run(); err != nil {
			return err
		}
	}
	if err := errors.Join(x.ids.end(), f.Sync(), kv.SyncDir(filepath.Dir(path))); err != nil {
		return err
	}
	return x.finish()
}

// readWorkspace reads what is of the whole workspace, and checks it.
func (x *importer) readWorkspace() error {
	n := 0
	err := eachRecord(x, "", kindWorkspace, func(r *exportedWorkspace, _ int) error {
		n++
		x.record = *r
		return x.checkWorkspace()
	})
	if err == nil && n != 1 {
		err = Errorf(Invalid, "The export has %d workspaces. Nothing was imported", n).With(CodeDamaged)
	}
	if err != nil {
		return err
	}
	err = eachRecord(x, "", kindAgreements, func(a *Agreement, _ int) error {
		if x.agreements = append(x.agreements, *a); len(x.agreements) > 100*maxAgreements {
			return errors.New("there are too many of them")
		}
		return x.checkAgreement(*a)
	})
	if err != nil {
		return err
	}
	return eachRecord(x, "", kindUsage, func(u *exportedUsage, _ int) error {
		same := func(other exportedUsage) bool { return other.Pool == u.Pool }
		if u.Pool != contracted && u.Pool != trial || slices.ContainsFunc(x.usage, same) {
			return errors.New("it is of no pool of the plan, or of one that came before")
		}
		x.usage = append(x.usage, *u)
		return x.checkSums(u.Day, u.Messages, u.Month, u.Contacts)
	})
}

// eachRecord calls fn with every record of a file, and its length in bytes. An error of fn that is no [Error] is one of the line.
func eachRecord[T any](x *importer, env Environment, kind string, fn func(record *T, size int) error) error {
	name := fileName(env, kind)
	f, err := x.files.Open(name)
	if err != nil {
		return Errorf(Invalid, "The export has no file %s. Nothing was imported", name).With(CodeDamaged)
	}
	defer f.Close()
	l, err := openLines(f, name, exportHead{Kind: kind, Environment: env})
	for err == nil {
		var record T
		if err = readRecord(l, &record); err != nil {
			break
		}
		if err = fn(&record, len(l.line)); err != nil {
			var known *Error
			if !errors.As(err, &known) && !errors.Is(err, errStore) {
				err = l.damaged("%v", err)
			}
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// begin gives the workspace its id and its tags, and notes that it is not whole yet.
func (x *importer) begin() error {
	w, err := kv.Update(x.e.db, func(tx *kv.Tx) (Workspace, error) {
		w := x.record.Workspace
		w.ID, w.Tags, w.Plan = WorkspaceID("org_"+hex.EncodeToString(randomBytes(12))), map[Environment]string{}, x.planName()
		w.ReadOnly, w.ReadOnlySince, w.HadOwner, w.Updated = ReadOnlyMaintenance, tx.Now, false, tx.Now
		if x.in.Name != "" {
			w.Name = x.in.Name
		}
		for _, env := range Environments {
			tag := newTag(tx, w.ID, env)
			w.Tags[env] = hex.EncodeToString(tag[:])
		}
		state := importState{x.in.Object, tx.Now}
		imports.Put(tx, []byte(w.ID), state)
		importMark(w.ID).Put(tx, importMarkKey, state)
		_, err := x.plan(tx)
		return w, err
	})
	if err != nil {
		return err
	}
	x.done.Workspace, x.done.Source = w, x.record.ID
	x.tenant = &tenant{engine: x.e, id: w.ID}
	for _, name := range Environments {
		x.envs[name] = &envImport{environment: newEnvironment(x.tenant, w, name), x: x, from: x.record.tag(name), tally: newTally(), lists: map[ListID]bool{}, lines: map[LineID]bool{}}
	}
	return nil
}

func (x *importer) planName() string {
	if x.in.Plan != "" {
		return x.in.Plan
	}
	return x.record.Plan
}

// plan returns the plan that has to be made, if any.
func (x *importer) plan(tx *kv.Tx) (*Plan, error) {
	have, ok := getPlan(tx, x.planName())
	switch figures := &x.record.PlanFigures; {
	case !ok && x.in.Plan != "":
		return nil, Errorf(NotFound, "There is no plan %q", x.in.Plan)
	case !ok:
		return figures, nil
	case x.in.Plan == "" && !maps.Equal(have.detail(), figures.detail()):
		return nil, Errorf(Conflict, "There is a plan %q with other figures than the workspace had; name the plan that it gets with --plan", have.Name).With(CodePlanDiffers)
	}
	return nil, nil
}
