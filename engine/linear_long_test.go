//go:build long

package engine

func init() { linearSeeds = 1200 }
