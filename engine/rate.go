package engine

import (
	"time"

	"tuco/engine/quota"
)

// RateGroup is a group of endpoints that share a per-minute limit.
type RateGroup uint8

// The documented groups that exist in this program.
const (
	RateMessages RateGroup = iota
	rateGroups             // how many there are
)

// documentedRates are the requests per minute that Tuco documents.
var documentedRates = [rateGroups]int64{RateMessages: 60}

// maxRate bounds the requests per minute of a plan: each takes 8 bytes of memory.
const maxRate = 1_000_000

// rates are a workspace's per-minute limits, by group; zero and nil where there is none.
type rates struct {
	limits [rateGroups]int64
	groups [rateGroups]*quota.Rate
}

// newRates makes the limits of a plan. A limit that did not change keeps what was counted.
func newRates(p Plan, old *rates) *rates {
	r := new(rates)
	for group, n := range documentedRates {
		if p.RequestsPerMinute != nil {
			n = *p.RequestsPerMinute
		}
		switch {
		case n == 0:
		case old != nil && old.limits[group] == n:
			r.limits[group], r.groups[group] = n, old.groups[group]
		default:
			r.limits[group], r.groups[group] = n, quota.NewRate(int(n), time.Minute)
		}
	}
	return r
}

// states are the limits, and what the last minute used of them.
func (r *rates) states(now time.Duration) []LimitState {
	var all []LimitState
	for group, rate := range r.groups {
		if rate != nil {
			all = append(all, LimitState{Name: limitRequests, Limit: r.limits[group], Used: int64(rate.Used(now)), Window: time.Minute})
		}
	}
	return all
}

// takeRequest counts one request of a group, or refuses it. The state is zero if the group has no limit.
func (e *Engine) takeRequest(t *tenant, group RateGroup) (state LimitState, err error) {
	r := t.rates.Load()
	rate := r.groups[group]
	if rate == nil {
		return state, nil
	}
	ok, remaining, reset := rate.Take(e.clock.ticks())
	limit := r.limits[group]
	state = LimitState{Name: limitRequests, Limit: limit, Used: limit - int64(remaining), Window: time.Minute, ResetsAt: e.opt.Now().Add(reset).UTC()}
	if ok {
		return state, nil
	}
	reached := state // a copy, so that only a refusal allocates
	return state, &Error{Kind: QuotaExceeded, Code: CodeRateLimit, Msg: "Rate limit exceeded", Limit: &reached, RetryAfter: reset}
}
