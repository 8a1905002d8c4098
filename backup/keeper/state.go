package keeper

import (
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/renameio/v2"
)

// stateName is the file in the data directory that remembers the newest verification.
const stateName = "backup.json"

// state is what a start wants to know of the process before it.
type state struct {
	Verified   string    `json:"verified"`   // name of the full backup
	VerifiedAt time.Time `json:"verifiedAt"` // with success
	Error      string    `json:"error,omitzero"`
	Due        bool      `json:"due,omitzero"` // it found out nothing, and is to be tried again
}

func (k *Keeper) state() (s state) {
	text, err := os.ReadFile(filepath.Join(k.opt.Dir, stateName))
	if err == nil {
		_ = json.Unmarshal(text, &s) // one that can't be read says nothing
	}
	return s
}

func (k *Keeper) remember(s state) {
	text, err := json.Marshal(s)
	if err == nil {
		err = renameio.WriteFile(filepath.Join(k.opt.Dir, stateName), text, 0o600)
	}
	if err != nil {
		k.opt.Log.Warn().Err(err).Msg("the outcome of the verification could not be kept")
	}
}
