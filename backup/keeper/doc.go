// Package keeper makes the backups of a running engine, and puts them back: full ones on a schedule, the changes between them
// as they come, a look at each whether it can be restored, and the restore itself. The form of backups and where they are
// kept is package backup's.
package keeper
