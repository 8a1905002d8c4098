package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tuco/kv"
)

// upgradePrefix begins the names of the copies that upgrades leave.
const upgradePrefix = "before-schema-"

// beforeUpgrade copies a database of an older schema into a directory of the data directory, unless an upgrade that did not come
// to its end has left a copy of just this.
func (o *Options) beforeUpgrade(old kv.Old) error {
	log := o.Log.With().Int("schema", old.Schema).Int("newSchema", old.Newest).Logger()
	if o.NoUpgradeCopy {
		log.Warn().Msg("the database is brought to a newer schema; no copy of it is made")
		return nil
	}
	removeStale(o.Dir)
	prefix := fmt.Sprintf("%s%d-", upgradePrefix, old.Newest)
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(entries, func(e os.DirEntry) bool {
		return strings.HasPrefix(e.Name(), prefix) && old.IsIn(filepath.Join(o.Dir, e.Name()))
	}); i >= 0 {
		log.Info().Str("copy", filepath.Join(o.Dir, entries[i].Name())).Msg("the database is brought to a newer schema; a copy of it is there already")
		return nil
	}
	dir := filepath.Join(o.Dir, prefix+o.Now().UTC().Format("20060102T150405Z"))
	began := time.Now()
	if err := old.CopyTo(dir); err != nil {
		return fmt.Errorf("copying it before its schema becomes %d: %w; to go on without a copy, start once with --no-upgrade-copy", old.Newest, err)
	}
	log.Info().Str("copy", dir).Dur("took", time.Since(began)).Msg("the database is brought to a newer schema; a copy of it was made, and checked")
	return nil
}

// removeStale removes what a process that died left behind of a check or an upgrade. The database's lock is held.
func removeStale(dir string) {
	_ = os.RemoveAll(filepath.Join(dir, checkCopyName)) // the next one says why if it can't
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), upgradePrefix) && strings.HasSuffix(e.Name(), kv.PartSuffix) {
			_ = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}
