package engine

import (
	"slices"
	"strings"
	"time"

	"tuco/engine/quota"
)

// RecordKind is a kind of record that staff can be let see.
type RecordKind string

// The kinds.
const (
	KindWorkspace RecordKind = "workspace" // its configuration
	KindUsage     RecordKind = "usage"     // its limits
	KindKeys      RecordKind = "keys"      // without secrets
	KindLeads     RecordKind = "leads"
	KindLists     RecordKind = "lists"
	KindLines     RecordKind = "lines"
	KindMessages  RecordKind = "messages"
)

// RecordKinds lists them all.
var RecordKinds = []RecordKind{KindWorkspace, KindUsage, KindKeys, KindLeads, KindLists, KindLines, KindMessages}

// kindScopes are the scopes that open each kind.
var kindScopes = map[RecordKind]Scope{
	KindWorkspace: WorkspaceRead, KindUsage: UsageRead, KindKeys: WorkspaceRead,
	KindLeads: LeadsRead, KindLists: ListsRead, KindLines: LinesRead, KindMessages: MessagesRead,
}

func kindsOf(s Scope) (kinds []RecordKind) {
	for _, k := range RecordKinds {
		if kindScopes[k] == s {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// ParseRecordKind reads a kind's name.
func ParseRecordKind(s string) (RecordKind, error) {
	if k := RecordKind(s); slices.Contains(RecordKinds, k) {
		return k, nil
	}
	return "", Errorf(Invalid, "Unknown kind of record %q", s)
}

// Mask stands for what staff may not see, whether or not there is anything.
const Mask = "•••"

var masked any = Mask // made once

// A StaffRecord is one record as staff see it.
type StaffRecord []StaffField

// A StaffField is one field of a record: a text, a number, a truth, a [time.Time], or a list or map of such; [Mask] if it is masked.
type StaffField struct {
	Name  string
	Value any
}

// Value is that of a field, nil if there is none of the name.
func (r StaffRecord) Value(name string) any {
	for _, f := range r {
		if f.Name == name {
			return f.Value
		}
	}
	return nil
}

// A field of a record, as staff see it. Ids, statuses, times and counts are shown; everything that somebody wrote is
// masked. A field of a record that is in no table is not there at all.
type field[T any] struct {
	name  string
	of    string // what it shows of T: the names of Go fields
	shown bool   // else it is masked
	get   func(v *T) any
}

// hidden are fields that staff never see, whatever a grant says.
var hidden = map[RecordKind][]string{
	KindLines:     {"Sealed"},
	KindKeys:      {"Secrets"},
	KindWorkspace: {"Tags"},
}

// maskedView shows a record by its table.
func maskedView[T any](table []field[T], v *T, unmasked []string) StaffRecord {
	r := make(StaffRecord, 0, len(table))
	for _, f := range table {
		if !f.shown && !slices.Contains(unmasked, f.name) {
			r = append(r, StaffField{f.name, masked})
			continue
		}
		value := f.get(v)
		if t, ok := value.(time.Time); ok && t.IsZero() {
			continue
		}
		r = append(r, StaffField{f.name, value})
	}
	return r
}

func maskable[T any](table []field[T], shown bool) (names []string) {
	for _, f := range table {
		if f.shown == shown {
			names = append(names, f.name)
		}
	}
	slices.Sort(names)
	return names
}

// maskedFields and shownFields are the names of each kind's fields, sorted.
var (
	maskedFields = fieldsOf(false)
	shownFields  = fieldsOf(true)
)

func fieldsOf(shown bool) map[RecordKind][]string {
	return map[RecordKind][]string{
		KindWorkspace: maskable(workspaceFields, shown), KindUsage: maskable(usageFields, shown), KindKeys: maskable(keyFields, shown),
		KindLeads: maskable(leadFields, shown), KindLists: maskable(listFields, shown), KindLines: maskable(lineFields, shown),
		KindMessages: maskable(messageFields, shown),
	}
}

// MaskableFields returns the names of the fields of a kind that a request can ask to see. In a request, and in a control, a
// name alone is that field of every kind that has it; with its kind and a dot before it, of that kind only.
func MaskableFields(k RecordKind) []string { return slices.Clone(maskedFields[k]) }

// ShownFields returns the names of the fields of a kind that every grant for it shows.
func ShownFields(k RecordKind) []string { return slices.Clone(shownFields[k]) }

// covers tells whether a list of a request or a control names the field.
func covers(list []string, k RecordKind, name string) bool {
	return slices.Contains(list, name) || slices.Contains(list, string(k)+"."+name)
}

// unmaskedFields are the fields of a kind that a grant shows beyond those that are always shown.
func unmaskedFields(k RecordKind, granted, never []string) (names []string) {
	for _, name := range maskedFields[k] {
		if covers(granted, k, name) && !covers(never, k, name) {
			names = append(names, name)
		}
	}
	return names
}

// fieldsOverlap tells whether name, as in a request, means a field that list names.
func fieldsOverlap(name string, list []string) bool {
	for _, k := range RecordKinds {
		if slices.ContainsFunc(maskedFields[k], func(f string) bool { return covers([]string{name}, k, f) && covers(list, k, f) }) {
			return true
		}
	}
	return false
}

// checkFields refuses names that mean no field.
func checkFields(names []string) error {
	all := []string{}
	for _, k := range RecordKinds {
		all = append(all, maskedFields[k]...)
	}
	for _, name := range names {
		if !fieldsOverlap(name, all) {
			return Errorf(Invalid, "There is no masked field %q", strings.ToValidUTF8(name, "?"))
		}
	}
	return nil
}

// An Opening is what a request opens of one kind of record.
type Opening struct {
	Kind     RecordKind
	Excluded bool     // an agreement excludes it
	Shown    []string // fields
	Unmasked []string // fields, beyond those
	Masked   []string // fields that stay masked
}

// openings returns what the request opens under the controls.
func (r *AccessRequest) openings(c *EffectiveControls) (all []Opening) {
	for _, k := range RecordKinds {
		if !slices.Contains(r.Scopes, kindScopes[k]) {
			continue
		}
		if c.allowPlace(r.Environment, k) != nil {
			all = append(all, Opening{Kind: k, Excluded: true})
			continue
		}
		o := Opening{Kind: k, Shown: ShownFields(k), Unmasked: unmaskedFields(k, r.Unmasked, c.AlwaysMasked)}
		for _, f := range maskedFields[k] {
			if !slices.Contains(o.Unmasked, f) {
				o.Masked = append(o.Masked, f)
			}
		}
		all = append(all, o)
	}
	return all
}

// gap is a Gap as people write it.
func gap(g Gap) string { return time.Duration(g).String() }

func limitText(n int64) any {
	if n >= quota.Unlimited {
		return "unlimited"
	}
	return n
}
