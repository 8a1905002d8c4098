package keeper

import (
	"context"
	"fmt"
	"time"

	"tuco/backup"
)

// lookForOther looks for backups of another installation, if this one has none and is empty: it may stand in the place of one that
// was lost, begun anew by a service that is started again by itself.
func (k *Keeper) lookForOther(ctx context.Context) {
	if !k.empty() {
		return
	}
	list, err := k.opt.Target.List(ctx, "")
	if err != nil { // who may only look at what is its own has nobody beside it
		return
	}
	var newest backup.Name
	for _, series := range backup.NewCatalogue(list).Series {
		if n := len(series.Fulls); n > 0 && series.Fulls[n-1].Time.After(newest.Time) {
			newest = series.Fulls[n-1].Name
		}
	}
	if newest == (backup.Name{}) {
		return
	}
	k.note(func(s *Status) { s.Other = newest })
	k.opt.Log.Warn().Str("other", newest.String()).Msg("this installation is new and empty, and the target holds backups of another")
}

// empty tells whether there is no workspace.
func (k *Keeper) empty() bool {
	for _, n := range k.opt.Engine.WorkspaceCounts() {
		if n > 0 {
			return false
		}
	}
	return true
}

func (s *Status) otherWarning() string {
	return fmt.Sprintf("This installation is new and empty, and the target holds backups of another, %s, the newest of %s. If that is the one which was here, "+
		"stop the server, move this data directory away, and restore ('tuco backup restore'). This goes with the first workspace.", s.Other.Installation, s.Other.Time.Format(time.RFC3339))
}
