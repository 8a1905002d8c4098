package quota

// A word is two sums of 31 bits and two flags. A word of no flag is one that nobody has opened.
const (
	sealed   = 1 << 63 // the word never changes again
	open     = 1 << 62 // the sums hold; stays set in a sealed word
	sumBits  = 31
	sumsOnly = open - 1
)

func pack(s Sums) uint64 {
	return open | uint64(s.First)<<sumBits | uint64(s.Second)
}

func unpack(word uint64) Sums {
	return Sums{int64(word & sumsOnly >> sumBits), int64(word & Unlimited)}
}

func (s Sums) plus(n Sums) Sums  { return Sums{s.First + n.First, s.Second + n.Second} }
func (s Sums) minus(n Sums) Sums { return Sums{s.First - n.First, s.Second - n.Second} }
func (s Sums) negative() Sums    { return Sums{-s.First, -s.Second} }

// clamp returns s with each sum brought within what a word can hold.
func (s Sums) clamp() Sums {
	return Sums{min(max(s.First, 0), Unlimited), min(max(s.Second, 0), Unlimited)}
}

// fit returns the part of n, which may be negative, that can be added to s in a word.
func (s Sums) fit(n Sums) Sums {
	return Sums{
		min(max(n.First, -s.First), Unlimited-s.First),
		min(max(n.Second, -s.Second), Unlimited-s.Second),
	}
}

// check panics if an amount is negative.
func (s Sums) check() {
	if s.First < 0 || s.Second < 0 {
		panic("quota: negative amount")
	}
}

// allow tells which of the limits, if any, n would exceed on top of s.
func allow(limits, s, n Sums) Verdict {
	switch {
	case n.First > 0 && n.First > limits.First-s.First:
		return FirstSpent
	case n.Second > 0 && n.Second > limits.Second-s.Second:
		return SecondSpent
	}
	return Granted
}
