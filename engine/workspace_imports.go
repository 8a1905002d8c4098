package engine

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// An import is a workspace that is not there yet: its records lie where they will be, and nothing reads them before the
// transaction that makes it a workspace. Whatever ends the process, the next start or the next import deletes what lies there.

// importState is what is known of an import that has not ended.
type importState struct {
	Object string    `json:"object"` // id of the backup object
	Began  time.Time `json:"began"`
}

var imports = kv.Bucket[importState]{Path: systemPath.Join("imports"), Codec: kv.JSON[importState](1)} // by workspace

// importMark lies among the records of an import. A restore to a moment within it brings them back with their mark, beside a
// workspace that was whole later.
func importMark(w WorkspaceID) kv.Bucket[importState] {
	return kv.Bucket[importState]{Path: w.path().Join("import"), Codec: kv.JSON[importState](1)}
}

var importMarkKey = []byte("state")

// Names in the data directory.
const (
	importDir    = "import"     // what an import unpacks; gone when it ends
	importIDsDir = "import-ids" // for each workspace that was imported, which id became which
)

// importedIDs is the file of the ids of a workspace that was imported.
func (e *Engine) importedIDs(w WorkspaceID) string {
	return filepath.Join(e.opt.Dir, importIDsDir, string(w)+".jsonl")
}

// dropImports deletes what is left of imports that did not end.
func (e *Engine) dropImports() error {
	left, err := kv.View(e.db, func(tx *kv.Tx) (map[WorkspaceID]importState, error) {
		left := map[WorkspaceID]importState{}
		for id, s := range imports.Scan(tx, kv.Range{}) {
			left[WorkspaceID(id)] = s
		}
		for id := range workspaces.Scan(tx, kv.Range{}) {
			if s, ok := importMark(WorkspaceID(id)).Get(tx, importMarkKey); ok {
				left[WorkspaceID(id)] = s
			}
		}
		return left, nil
	})
	for id, s := range left {
		err = errors.Join(err, e.dropImport(id, s, "the server stopped"))
	}
	return errors.Join(err, os.RemoveAll(filepath.Join(e.opt.Dir, importDir)))
}

// dropImport deletes an import that failed. It is recorded a little later: an opening must leave the audit log as it is, which a
// restore compares with its anchors.
func (e *Engine) dropImport(id WorkspaceID, s importState, reason string) error {
	if err := os.Remove(e.importedIDs(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	_, err := kv.UpdateCritical(e.db, func(tx *kv.Tx) (struct{}, error) {
		imports.Delete(tx, []byte(id))
		dropWorkspace(tx, id)
		return struct{}{}, nil
	})
	if err == nil {
		e.audit.pending.add(auditlog.Entry{
			Event: "workspace.imported", Outcome: auditlog.Failed, Actor: operatorActor, Workspace: string(id), Kind: "backup", Object: s.Object,
			Detail: map[string]string{"error": reason},
		})
	}
	return err
}
