package engine

import (
	"slices"
	"strings"
	"time"

	"tuco/engine/schedule"
)

// Controls are what an agreement asks for beyond the policy. They only tighten: what is zero asks for nothing.
type Controls struct {
	MaxDuration    time.Duration `json:"maxDuration,omitzero"` // of a grant
	TwoApprovers   bool          `json:"twoApprovers,omitzero"`
	DifferentRoles bool          `json:"differentRoles,omitzero"` // two approvers, whose keys have different roles
	AlwaysMasked   []string      `json:"alwaysMasked,omitzero"`   // names of fields, as in a request
	NoEnvironments []Environment `json:"noEnvironments,omitzero"`
	NoKinds        []RecordKind  `json:"noKinds,omitzero"`
	Employers      []string      `json:"employers,omitzero"` // only these
	Countries      []string      `json:"countries,omitzero"` // only these, as two letters
	Hours          Hours         `json:"hours,omitzero"`     // only then
	// Retention is how long the bodies of the workspace's audit entries are kept at least.
	Retention time.Duration `json:"retention,omitzero"`
}

// Hours are a time of day: from From up to To, as HH:MM by the clock of Zone; over midnight if From is after To.
type Hours struct {
	From string `json:"from"`
	To   string `json:"to"`
	Zone string `json:"zone"`
}

func (h Hours) window() (w schedule.Window, err error) {
	if w.Start, err = schedule.ParseClock(h.From); err != nil {
		return w, err
	}
	if w.End, err = schedule.ParseClock(h.To); err != nil {
		return w, err
	}
	w.Zone, err = schedule.LoadZone(h.Zone)
	return w, err
}

// contain tells whether t is within the hours. Hours that can't be read contain nothing.
func (h Hours) contain(t time.Time) bool {
	w, err := h.window()
	return err == nil && w.Contains(t)
}

// String is such as "08:00-17:00 Europe/Berlin".
func (h Hours) String() string { return h.From + "-" + h.To + " " + h.Zone }

const maxControlItems = 50 // of each list

// check refuses what is no control, and brings countries into capitals.
func (c *Controls) check() error {
	if c.MaxDuration < 0 || c.Retention < 0 {
		return Errorf(Invalid, "A duration must not be negative")
	}
	if max(len(c.AlwaysMasked), len(c.NoEnvironments), len(c.NoKinds), len(c.Employers), len(c.Countries)) > maxControlItems {
		return Errorf(Invalid, "A list of a control has at most %d items", maxControlItems)
	}
	if err := checkFields(c.AlwaysMasked); err != nil {
		return err
	}
	for _, env := range c.NoEnvironments {
		if _, err := ParseEnvironment(string(env)); err != nil {
			return err
		}
	}
	for _, k := range c.NoKinds {
		if _, err := ParseRecordKind(string(k)); err != nil {
			return err
		}
	}
	for _, name := range c.Employers {
		if err := checkName(name); err != nil {
			return Errorf(Invalid, "employers: %s", err)
		}
	}
	c.Countries = slices.Clone(c.Countries)
	for i, country := range c.Countries {
		if c.Countries[i] = strings.ToUpper(country); !isCountry(c.Countries[i]) {
			return Errorf(Invalid, "countries: %q is not the two letters of ISO 3166", country)
		}
	}
	if _, err := c.Hours.window(); err != nil && c.Hours != (Hours{}) {
		return Errorf(Invalid, "hours: give from and to as HH:MM, and a time zone")
	}
	return nil
}

// checkLists refuses an empty list of who is allowed: it reads as nobody, and would stand for anybody. Agreements from
// before this check have some, and mean anybody.
func (c *Controls) checkLists() error {
	switch {
	case c.Employers != nil && len(c.Employers) == 0:
		return Errorf(Invalid, "employers: name at least one, or leave it out to allow any")
	case c.Countries != nil && len(c.Countries) == 0:
		return Errorf(Invalid, "countries: name at least one, or leave it out to allow any")
	}
	return nil
}

// EffectiveControls are the strictest of all agreements in force at once.
type EffectiveControls struct {
	MaxDuration    time.Duration // never more than [MaxAccess]
	TwoApprovers   bool
	DifferentRoles bool
	AlwaysMasked   []string
	NoEnvironments []Environment
	NoKinds        []RecordKind
	Employers      []string // nil: any; empty: none
	Countries      []string // nil: any; empty: none
	Hours          []Hours  // within each
	Retention      time.Duration
	Sources        []ControlSource
}

// A ControlSource says which agreement asks for a control.
type ControlSource struct {
	Control   string // its name, as in the JSON of [Controls]
	Value     string
	Agreement AgreementID
	Type      AgreementType
	Reference string
}

// combine returns what holds when all agreements are in force.
func combine(agreements []Agreement) EffectiveControls {
	c := EffectiveControls{MaxDuration: MaxAccess}
	for _, a := range agreements {
		o := a.Controls
		if o.MaxDuration > 0 {
			c.MaxDuration = min(c.MaxDuration, o.MaxDuration)
		}
		c.DifferentRoles = c.DifferentRoles || o.DifferentRoles
		c.TwoApprovers = c.TwoApprovers || o.TwoApprovers || o.DifferentRoles
		c.AlwaysMasked = union(c.AlwaysMasked, o.AlwaysMasked)
		c.NoEnvironments = union(c.NoEnvironments, o.NoEnvironments)
		c.NoKinds = union(c.NoKinds, o.NoKinds)
		c.Employers = narrow(c.Employers, o.Employers)
		c.Countries = narrow(c.Countries, o.Countries)
		if o.Hours != (Hours{}) {
			c.Hours = append(c.Hours, o.Hours)
		}
		c.Retention = max(c.Retention, o.Retention)
		only := o.alone()
		for _, v := range only.values() {
			c.Sources = append(c.Sources, ControlSource{v.name, v.value, a.ID, a.Type, a.Reference})
		}
	}
	return c
}

func union[T ~string](a, b []T) []T {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// narrow returns what is allowed by both lists, nil being all and an empty b as well.
func narrow(a, b []string) []string {
	switch {
	case len(b) == 0:
		return a
	case a == nil:
		return slices.Clone(b)
	}
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

// A controlValue is one control in words.
type controlValue struct{ name, value string }

// alone is what one agreement's controls are by themselves.
func (o *Controls) alone() EffectiveControls {
	c := EffectiveControls{
		MaxDuration: o.MaxDuration, TwoApprovers: o.TwoApprovers, DifferentRoles: o.DifferentRoles, AlwaysMasked: o.AlwaysMasked,
		NoEnvironments: o.NoEnvironments, NoKinds: o.NoKinds, Employers: narrow(nil, o.Employers), Countries: narrow(nil, o.Countries), Retention: o.Retention,
	}
	if o.Hours != (Hours{}) {
		c.Hours = []Hours{o.Hours}
	}
	return c
}

// values are the controls in words, without those that ask for nothing.
func (c *EffectiveControls) values() (all []controlValue) {
	add := func(name, value string, set bool) {
		if set {
			all = append(all, controlValue{name, value})
		}
	}
	list := func(name string, words []string) {
		add(name, strings.Join(words, ", "), words != nil)
	}
	add("maxDuration", c.MaxDuration.String(), c.MaxDuration > 0)
	add("twoApprovers", "true", c.TwoApprovers)
	add("differentRoles", "true", c.DifferentRoles)
	list("alwaysMasked", c.AlwaysMasked)
	list("noEnvironments", texts(c.NoEnvironments))
	list("noKinds", texts(c.NoKinds))
	list("employers", c.Employers)
	list("countries", c.Countries)
	list("hours", texts(c.Hours))
	add("retention", c.Retention.String(), c.Retention > 0)
	return all
}

// texts are the words of a list; nil if it is empty.
func texts[T any](list []T) (words []string) {
	for _, v := range list {
		switch v := any(v).(type) {
		case Environment:
			words = append(words, string(v))
		case RecordKind:
			words = append(words, string(v))
		case Hours:
			words = append(words, v.String())
		}
	}
	return words
}

// allowStaff refuses staff whom the agreements exclude.
func (c *EffectiveControls) allowStaff(s *Staff) *Error {
	if c.Employers != nil && !slices.Contains(c.Employers, s.Employer) || c.Countries != nil && !slices.Contains(c.Countries, s.Country) {
		return Errorf(Forbidden, "An agreement of this workspace excludes staff of this employer or country").With(CodeStaffExcluded)
	}
	return nil
}

// allowPlace refuses environments and kinds of record that the agreements exclude. An empty kind is any.
func (c *EffectiveControls) allowPlace(env Environment, kind RecordKind) *Error {
	switch {
	case slices.Contains(c.NoEnvironments, env):
		return Errorf(Forbidden, "An agreement of this workspace excludes the environment %s", env).With(CodeEnvironmentExcluded)
	case slices.Contains(c.NoKinds, kind):
		return Errorf(Forbidden, "An agreement of this workspace excludes %s", kind).With(CodeKindExcluded)
	}
	return nil
}

// allowTime refuses outside of the hours of the agreements.
func (c *EffectiveControls) allowTime(now time.Time) *Error {
	for _, h := range c.Hours {
		if !h.contain(now) {
			return Errorf(Forbidden, "An agreement of this workspace allows staff access at %s only", h).With(CodeOutsideHours)
		}
	}
	return nil
}

// changedControls says in an entry's detail what became of the effective controls.
func changedControls(was, is EffectiveControls, detail map[string]string) {
	before, after := map[string]string{}, map[string]string{}
	for _, v := range was.values() {
		before[v.name] = v.value
	}
	for _, v := range is.values() {
		after[v.name] = v.value
		if v.value != before[v.name] {
			detail[v.name], detail[v.name+"Before"] = detailText(v.value), detailText(before[v.name])
		}
	}
	for name, value := range before {
		if _, ok := after[name]; !ok {
			detail[name], detail[name+"Before"] = "", detailText(value)
		}
	}
}
