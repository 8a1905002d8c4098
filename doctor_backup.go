package main

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
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

// backup finds a server that makes no backups, or makes them where they go with the data.
func (d *doctor) backup() []finding {
	to := d.flags.BackupTo
	if to == "" {
		return risky("no backups are configured", "a lost disk loses everything", "set --backup-to and --backup-recipient; see docs/backup.md")
	}
	if isBucket(to) {
		return nil
	}
	target, err := os.Stat(to)
	if err != nil || !target.IsDir() {
		return wrong(fmt.Sprintf("there is no directory %s for the backups", to), "none is made, and a lost disk loses everything", "mount or make it, or name another with --backup-to")
	}
	if data, err := os.Stat(d.data); err == nil && deviceOf(data) == deviceOf(target) {
		return risky(fmt.Sprintf("the backups in %s are on the same file system as the data", to), "a lost disk loses both; a disk that should be there may not be mounted",
			"use another disk or machine: --backup-to")
	}
	return nil
}

func deviceOf(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Dev
	}
	return 0
}
