package engine

import (
	"time"

	"tuco/engine/quota"
)

// RateGroup is a group of endpoints that share a per-minute limit.
type RateGroup string

// The documented groups that exist in this program.
const RateMessages RateGroup = "messages"

// documentedRates are the requests per minute that Tuco documents.
var documentedRates = map[RateGroup]int64{RateMessages: 60}

// maxRate bounds the requests per minute of a plan: each takes 8 bytes of memory.
const maxRate = 1_000_000

// rates are a workspace's per-minute limits; nil where there is none.
type rates struct {
	limits map[RateGroup]int64
	groups map[RateGroup]*quota.Rate
}

// newRates makes the limits of a plan. A limit that did not change keeps what was counted.
func newRates(p Plan, old *rates) *rates {
	r := &rates{limits: map[RateGroup]int64{}, groups: map[RateGroup]*quota.Rate{}}
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
		all = append(all, LimitState{Name: limitRequests, Limit: r.limits[group], Used: int64(rate.Used(now)), Window: time.Minute})
	}
	return all
}

// takeRequest counts one request of a group, or refuses it.
func (e *Engine) takeRequest(t *tenant, group RateGroup) (*LimitState, error) {
	r := t.rates.Load()
	rate := r.groups[group]
	if rate == nil {
		return nil, nil
	}
	ok, remaining, reset := rate.Take(e.clock.elapsed())
	limit := r.limits[group]
	state := &LimitState{Name: limitRequests, Limit: limit, Used: limit - int64(remaining), Window: time.Minute, ResetsAt: e.opt.Now().Add(reset).UTC()}
	if ok {
		return state, nil
	}
	return state, &Error{Kind: QuotaExceeded, Code: CodeRateLimit, Msg: "Rate limit exceeded", Limit: state, RetryAfter: reset}
}
