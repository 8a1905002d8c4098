package engine

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"tuco/kv"
)

var workspaceCodec = wireCodec(encodeWorkspace, decodeWorkspace)

// workspaceStates reads of the same records only what every transaction that writes asks for.
var workspaceStates = kv.Bucket[workspaceState]{Path: workspaces.Path, Codec: wireCodec(nil, decodeWorkspaceState)}

// workspaceState is a part of a [Workspace]. It is never stored by itself.
type workspaceState struct {
	ReadOnly ReadOnlyReason `json:"readOnly"`
}

func decodeWorkspaceState(r recordReader) (s workspaceState, err error) {
	for r.next() {
		if r.field == workspaceReadOnly {
			s.ReadOnly = ReadOnlyReason(r.text())
		}
	}
	return s, r.err
}

// The fields of a [Workspace].
const (
	workspaceID            protowire.Number = 1
	workspaceName          protowire.Number = 2
	workspacePlan          protowire.Number = 3
	workspaceTimezone      protowire.Number = 4
	workspaceReadOnly      protowire.Number = 5
	workspaceReadOnlySince protowire.Number = 6
	workspaceHadOwner      protowire.Number = 7
	workspaceCreated       protowire.Number = 8
	workspaceUpdated       protowire.Number = 9
	workspaceTag           protowire.Number = 10 // and one more for each further environment, in their order
)

func encodeWorkspace(w *recordWriter, v Workspace) {
	w.text(workspaceID, string(v.ID))
	w.text(workspaceName, v.Name)
	w.text(workspacePlan, v.Plan)
	w.text(workspaceTimezone, v.Timezone)
	w.text(workspaceReadOnly, string(v.ReadOnly))
	w.time(workspaceReadOnlySince, v.ReadOnlySince)
	w.flag(workspaceHadOwner, v.HadOwner)
	w.time(workspaceCreated, v.Created)
	w.time(workspaceUpdated, v.Updated)
	for env := range v.Tags {
		if !slices.Contains(Environments, env) {
			w.err = fmt.Errorf("a tag of the unknown environment %q", env)
		}
	}
	for i, env := range Environments {
		w.text(workspaceTag+protowire.Number(i), v.Tags[env])
	}
}

func decodeWorkspace(r recordReader) (v Workspace, err error) {
	v.Tags = make(map[Environment]string, len(Environments))
	for r.next() {
		switch r.field {
		case workspaceID:
			v.ID = WorkspaceID(r.text())
		case workspaceName:
			v.Name = r.text()
		case workspacePlan:
			v.Plan = r.text()
		case workspaceTimezone:
			v.Timezone = r.text()
		case workspaceReadOnly:
			v.ReadOnly = ReadOnlyReason(r.text())
		case workspaceReadOnlySince:
			v.ReadOnlySince = r.time()
		case workspaceHadOwner:
			v.HadOwner = r.flag()
		case workspaceCreated:
			v.Created = r.time()
		case workspaceUpdated:
			v.Updated = r.time()
		default:
			if i := int(r.field - workspaceTag); i >= 0 && i < len(Environments) {
				v.Tags[Environments[i]] = r.text()
			}
		}
	}
	return v, r.err
}
