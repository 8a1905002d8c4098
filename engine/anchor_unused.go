package engine

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// unusedAnchors are those that could not be read, or written, when it was last tried.
type unusedAnchors struct {
	mu  sync.Mutex
	why map[anchor]error
}

// set notes what came of the use of an anchor.
func (u *unusedAnchors) set(place anchor, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err == nil {
		delete(u.why, place)
		return
	}
	if u.why == nil {
		u.why = map[anchor]error{}
	}
	u.why[place] = err
}

// warnings tell of them what to do, in the order of their names.
func (u *unusedAnchors) warnings() (all []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, place := range slices.Sorted(maps.Keys(u.why)) {
		all = append(all, fmt.Sprintf("The anchor %q of the audit log can't be used: %v. Until it can, it does not show whether the end of the log was cut off. "+
			"Mount it, make room on it, or let the server's user read and write it: then it is compared with the log by itself.", string(place), u.why[place]))
	}
	return all
}
