package bench

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestQuantiles: a quantile is what sorting says, or at most 1/128 more; and it does not matter who counted what.
func TestQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Uint64Range(0, 1<<rapid.IntRange(0, 62).Draw(t, "bits")).Draw(t, "duration"))
		}), 1, 300).Draw(t, "durations")
		var all, other histogram
		for i, d := range durations {
			if i%3 == 0 {
				other.add(d)
			} else {
				all.add(d)
			}
		}
		all.merge(&other)
		slices.Sort(durations)
		if got, want := all.quantile(1), durations[len(durations)-1]; got != want {
			t.Errorf("the longest is %d, want %d", got, want)
		}
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		want := durations[max(1, int(q*float64(len(durations))+0.5))-1]
		if got := all.quantile(q); got < want || got > want+want/steps {
			t.Errorf("the quantile %v is %d, want %d or a little more", q, got, want)
		}
	})
}

func TestNoDurations(t *testing.T) {
	if got := new(histogram).quantile(.99); got != 0 {
		t.Errorf("the 99 %% quantile of nothing is %v, want 0", got)
	}
}
