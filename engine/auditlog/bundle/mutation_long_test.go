//go:build long

package bundle

func init() { mutations = 10_000 }
