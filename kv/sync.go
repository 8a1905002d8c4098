//go:build !nosync

package kv

// noSync is on only in the build that proves the power-cut test: one that acknowledges before the
// disk has anything.
const noSync = false
