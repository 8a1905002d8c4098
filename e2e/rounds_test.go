//go:build !long

package e2e

const (
	killRounds   = 10
	backupRounds = 3
)
