//go:build long

package kv

func init() { crashSeeds, crashImages, badSeeds = 160, 100_000, 10 }
