//go:build nosync

package kv

const noSync = true
