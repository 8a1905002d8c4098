//go:build race && !long

package kv

// With the race detector an image takes some forty times as long, and other things are looked for.
func init() { crashSeeds, crashImages, badSeeds, badStride = 1, 500, 1, 5 }
