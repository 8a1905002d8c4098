//go:build long

package e2e

const (
	killRounds   = 100
	backupRounds = 50
)
