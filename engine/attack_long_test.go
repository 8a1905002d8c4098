//go:build long

package engine

func init() { rawEdits = 10_000 }
