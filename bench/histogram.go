package bench

import (
	"math/bits"
	"time"
)

// A histogram counts durations in steps of at most 1/128 of their length, so a quantile is at most that much too long.
type histogram struct {
	counts [steps * (64 - stepBits)]uint64
	n      uint64
	max    time.Duration
}

const (
	stepBits = 7
	steps    = 1 << stepBits
)

func (h *histogram) add(d time.Duration) {
	d = max(0, d)
	h.counts[stepOf(uint64(d))]++
	h.n++
	h.max = max(h.max, d)
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.n += other.n
	h.max = max(h.max, other.max)
}

// quantile is what a share q of the durations did not exceed; 0 if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	left := max(1, uint64(q*float64(h.n)+0.5))
	for i, n := range h.counts {
		if n >= left {
			return min(h.max, lastOf(i))
		}
		left -= n
	}
	return h.max
}

// stepOf is the step that v belongs to: below 128 each number has its own, and from there on each power of two has 128.
func stepOf(v uint64) int {
	if v < steps {
		return int(v)
	}
	shift := bits.Len64(v) - stepBits - 1
	return shift*steps + int(v>>shift)
}

// lastOf is the longest duration of a step.
func lastOf(step int) time.Duration {
	if step < 2*steps {
		return time.Duration(step)
	}
	shift := step/steps - 1
	return time.Duration((step%steps+steps+1)<<shift - 1)
}
