package engine

import (
	"cmp"
	"slices"
	"strconv"

	"tuco/engine/auditlog"
	"tuco/engine/quota"
	"tuco/kv"
)

// A Plan is what a workspace has bought: its ceilings. For messages and contacts 0 is unlimited; for
// lines 0 is none and [UnlimitedLines] is unlimited.
type Plan struct {
	Name              string `json:"name"`
	MessagesPerDay    int64  `json:"messagesPerDay"`
	MessagesPerMonth  int64  `json:"messagesPerMonth"`
	NewContactsPerDay int64  `json:"newContactsPerDay"`
	PhoneLines        int64  `json:"phoneLines"`
	EmailLines        int64  `json:"emailLines"`
	// RequestsPerMinute replaces every documented per-minute limit; 0 removes them, nil keeps them.
	RequestsPerMinute *int64 `json:"requestsPerMinute"`
}

// UnlimitedLines as a plan's number of lines is no limit.
const UnlimitedLines = -1

// builtinPlans are the documented ones. They have no month limit.
var builtinPlans = []Plan{
	{Name: "mini", MessagesPerDay: 150, NewContactsPerDay: 50, PhoneLines: 0, EmailLines: 1},
	{Name: "starter", MessagesPerDay: 150, NewContactsPerDay: 50, PhoneLines: 1, EmailLines: 0},
	{Name: "growth", MessagesPerDay: 500, NewContactsPerDay: 100, PhoneLines: 2, EmailLines: 0},
	{Name: "enterprise", PhoneLines: UnlimitedLines, EmailLines: UnlimitedLines},
}

// DefaultPlan is what a workspace gets that was made without naming one.
const DefaultPlan = "starter"

var plans = kv.Bucket[Plan]{Path: systemPath.Join("plans"), Codec: kv.JSON[Plan](1)}

// getPlan returns the stored plan, else the built-in one of that name.
func getPlan(tx *kv.Tx, name string) (Plan, bool) {
	if p, ok := plans.Get(tx, []byte(name)); ok {
		return p, true
	}
	i := slices.IndexFunc(builtinPlans, func(p Plan) bool { return p.Name == name })
	if i < 0 {
		return Plan{}, false
	}
	return builtinPlans[i], true
}

// A PlanChange names what to change of a plan; nil leaves it, or in a new plan unlimited.
type PlanChange struct {
	MessagesPerDay, MessagesPerMonth, NewContactsPerDay *int64
	PhoneLines, EmailLines                              *int64
	RequestsPerMinute                                   *int64
}

func (c PlanChange) apply(p *Plan) error {
	for _, f := range []struct {
		name       string
		to         *int64
		from       *int64
		atLeast, n int64
	}{
		{"messages per day", &p.MessagesPerDay, c.MessagesPerDay, 0, quota.Unlimited},
		{"messages per month", &p.MessagesPerMonth, c.MessagesPerMonth, 0, quota.Unlimited},
		{"new contacts per day", &p.NewContactsPerDay, c.NewContactsPerDay, 0, quota.Unlimited},
		{"phone lines", &p.PhoneLines, c.PhoneLines, UnlimitedLines, 1 << 20},
		{"e-mail lines", &p.EmailLines, c.EmailLines, UnlimitedLines, 1 << 20},
	} {
		if f.from == nil {
			continue
		}
		if *f.from < f.atLeast || *f.from >= f.n {
			return Errorf(Invalid, "%s must be from 0 to %d", f.name, f.n-1)
		}
		*f.to = *f.from
	}
	if c.RequestsPerMinute != nil {
		if *c.RequestsPerMinute < 0 || *c.RequestsPerMinute > maxRate {
			return Errorf(Invalid, "requests per minute must be from 0 to %d", int64(maxRate))
		}
		p.RequestsPerMinute = c.RequestsPerMinute
	}
	return nil
}

// SetPlan makes or changes a plan. The new limits hold for every request that begins after it returns.
func (a Admin) SetPlan(name string, change PlanChange) (Plan, error) {
	if err := checkName(name); err != nil {
		return Plan{}, err
	}
	p, err := kv.UpdateCritical(a.e.db, func(tx *kv.Tx) (Plan, error) {
		p, ok := getPlan(tx, name)
		if !ok {
			p = Plan{Name: name, PhoneLines: UnlimitedLines, EmailLines: UnlimitedLines}
		}
		if err := change.apply(&p); err != nil {
			return p, err
		}
		plans.Put(tx, []byte(name), p)
		return p, a.e.record(tx, auditlog.Entry{Event: "plan.changed", Actor: operatorActor, Kind: "plan", Object: name, Detail: p.detail()})
	})
	if err != nil {
		return p, storageError(err)
	}
	for _, t := range a.e.allTenants() {
		if t.record().Plan == name {
			if err := t.changed(true); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

// detail is what the audit log says of a plan.
func (p Plan) detail() map[string]string {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	d := map[string]string{
		"messagesPerDay": number(p.MessagesPerDay), "messagesPerMonth": number(p.MessagesPerMonth),
		"newContactsPerDay": number(p.NewContactsPerDay), "phoneLines": number(p.PhoneLines), "emailLines": number(p.EmailLines),
	}
	if p.RequestsPerMinute != nil {
		d["requestsPerMinute"] = number(*p.RequestsPerMinute)
	}
	return d
}

// Plans returns every plan, built in or made, by name.
func (a Admin) Plans() ([]Plan, error) {
	return kv.View(a.e.db, func(tx *kv.Tx) ([]Plan, error) {
		all := slices.Clone(builtinPlans)
		for _, p := range plans.Scan(tx, kv.Range{}) {
			all = slices.DeleteFunc(all, func(b Plan) bool { return b.Name == p.Name })
			all = append(all, p)
		}
		slices.SortFunc(all, func(a, b Plan) int { return cmp.Compare(a.Name, b.Name) })
		return all, nil
	})
}

// Plan returns one plan.
func (a Admin) Plan(name string) (Plan, error) {
	return kv.View(a.e.db, func(tx *kv.Tx) (Plan, error) {
		p, ok := getPlan(tx, name)
		if !ok {
			return p, Errorf(NotFound, "There is no plan %q", name)
		}
		return p, nil
	})
}
