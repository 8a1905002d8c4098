package quota

import (
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkHotWord compares ways to take one unit of a word that everyone wants, and to give it back: what
// a Counter does, the plain loop that it is built on, adding first and taking back what was too much
// (which refuses others falsely while it is there, so that it can't be used), and a mutex.
func BenchmarkHotWord(b *testing.B) {
	run := func(name string, op func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					op()
				}
			})
		})
	}
	const limit = 1 << 30
	c := NewCounter(true, nov28, Sums{}, Sums{limit, limit})
	run("counter", func() {
		u, _ := c.Reserve(nov28, Sums{1, 1})
		u.Release()
	})
	var loop atomic.Uint64
	add := func(n uint64) {
		for {
			word := loop.Load()
			if word+n > limit || loop.CompareAndSwap(word, word+n) {
				return
			}
		}
	}
	run("plain CAS loop", func() {
		add(1)
		add(^uint64(0))
	})
	var word atomic.Uint64
	run("add", func() {
		if word.Add(1) > limit {
			word.Add(^uint64(0))
			return
		}
		word.Add(^uint64(0))
	})
	var mu sync.Mutex
	var n uint64
	locked := func(by uint64) {
		mu.Lock()
		defer mu.Unlock()
		if n+by <= limit {
			n += by
		}
	}
	run("mutex", func() {
		locked(1)
		locked(^uint64(0))
	})
}
