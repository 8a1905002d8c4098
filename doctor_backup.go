package main

import (
	"fmt"
	"strings"
)

// keyExport finds key files that are in no export.
func (d *doctor) keyExport() []finding {
	if names := unexported(keysDir(d.data, d.flags.Keys)); len(names) > 0 {
		return risky(fmt.Sprintf("the key files %s were never exported", strings.Join(names, ", ")),
			"no backup holds them, and without them a restore loses every API key and transport password",
			"run 'tuco keys export --recipient AGE1… --out FILE', and keep the file away from the backups")
	}
	return nil
}

// backup finds a server that makes no backups.
func (d *doctor) backup() []finding {
	if d.flags.BackupTo == "" {
		return risky("no backups are configured", "a lost disk loses everything", "set --backup-to and --backup-recipient; see docs/backup.md")
	}
	return nil
}
