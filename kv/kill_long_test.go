//go:build long

package kv

func init() { killRounds = 500 }
