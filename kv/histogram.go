package kv

import "sync/atomic"

// A Histogram is how many values were counted, by size.
type Histogram struct {
	Bounds []int64 // the largest value of each bucket but the last, which has no bound
	Counts []int64 // of the values in each bucket; one more than Bounds
	Sum    int64   // of all values
}

// maxBounds is how many bounds a histogram has at most.
const maxBounds = 20

// A histogram is counted into by several goroutines, without a lock or memory.
type histogram struct {
	counts [maxBounds + 1]atomic.Int64
	sum    atomic.Int64
}

func (h *histogram) observe(bounds []int64, value int64) {
	i := 0
	for i < len(bounds) && value > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(value)
}

func (h *histogram) read(bounds []int64) Histogram {
	r := Histogram{Bounds: bounds, Counts: make([]int64, len(bounds)+1), Sum: h.sum.Load()}
	for i := range r.Counts {
		r.Counts[i] = h.counts[i].Load()
	}
	return r
}
