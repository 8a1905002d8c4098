//go:build long

package bundle

func init() { mutations, badBundles = 10_000, 400 }
