package engine

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"tuco/engine/quota"
	"tuco/engine/schedule"
	"tuco/kv"
)

// What every record of an export is held against before it is stored: what an index, an encoding or a counter relies on. The
// rest is as the installation that wrote it let it be.

const maxAddressBytes = 400

// isAddress tells whether s can stand in an index key.
func isAddress(s string) bool {
	return s != "" && len(s) <= maxAddressBytes && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// checkWorkspace refuses a workspace that could not be one.
func (x *importer) checkWorkspace() error {
	r, seen := &x.record, [][]byte{make([]byte, len(kv.Tag{}))}
	if _, err := schedule.LoadZone(r.Timezone); err != nil {
		return err
	}
	for _, env := range Environments {
		tag, err := hex.DecodeString(r.Tags[env])
		if err != nil || len(tag) != len(kv.Tag{}) || slices.ContainsFunc(seen, func(other []byte) bool { return bytes.Equal(other, tag) }) {
			return errors.New("an environment has no owner tag of its own")
		}
		seen = append(seen, tag)
	}
	p, again := r.PlanFigures, Plan{}
	change := PlanChange{&p.MessagesPerDay, &p.MessagesPerMonth, &p.NewContactsPerDay, &p.PhoneLines, &p.EmailLines, p.RequestsPerMinute}
	name := r.Name
	if x.in.Name != "" {
		name = x.in.Name
		if err := checkName(name); err != nil {
			return err
		}
	}
	for _, err := range []error{checkName(name), checkName(r.Plan), change.apply(&again), r.Policy.check()} {
		if err != nil {
			return errors.New(err.Error()) // it is the export's, not the caller's
		}
	}
	if r.ID != x.in.Source {
		return errors.New("it is another workspace than the manifest says")
	}
	if len(r.Tags) != len(Environments) || p.Name != r.Plan || !isSystemID(string(r.ID), "org") {
		return errors.New("its id, its tags or its plan can't be")
	}
	return nil
}

func (x *importer) checkAgreement(a Agreement) error {
	if a.Workspace != x.record.ID || !isSystemID(string(a.ID), "agreement") || a.Type != SupportAgreement && a.Type != DataProcessing || !reference.MatchString(a.Reference) {
		return errors.New("it is no agreement of this workspace")
	}
	if err := a.Controls.check(); err != nil {
		return errors.New(err.Error())
	}
	return nil
}

func checkImportedList(l *List, names map[string]bool) error {
	name := strings.ToLower(l.Name)
	switch err := checkList(l.Name, l.Description); {
	case err != nil:
		return errors.New(err.Error())
	case names[name]:
		return errors.New("there is a list of this name already")
	case len(names) == maxLists:
		return errors.New("there are too many lists")
	}
	names[name] = true
	return nil
}

func checkImportedLine(l *Line, identities map[string]bool, n *int) error {
	switch {
	case !slices.Contains(channelCodes[1:], l.Channel):
		return errors.New("its channel is none")
	case !isAddress(l.identity()), l.Phone != "" && l.Email != "" && !isAddress(l.Email):
		return errors.New("its number or mailbox is none")
	case l.DailyMessages < 0 || l.DailyMessages >= quota.Unlimited || l.DailyNew < 0 || l.DailyNew >= quota.Unlimited:
		return errors.New("its limits can't be")
	case l.DeviceGap < 0 || l.DeviceGap > Gap(maxGap) || l.ContactGap < 0 || l.ContactGap > Gap(maxGap) || l.MinInterval < 0:
		return errors.New("its gaps can't be")
	case l.Sealed.Box != nil || l.Sealed.Master != "":
		return errors.New("it has a transport's settings, which no export has")
	case l.Deleted:
		return nil
	case identities[l.identity()] || *n == maxLines:
		return errors.New("there are too many lines, or two with the same number or mailbox")
	}
	identities[l.identity()] = true
	*n++
	return nil
}

func (i *envImport) checkLead(l *Lead) error {
	addresses := l.Addresses()
	switch {
	case !i.lists[l.List]:
		return errors.New("its list is not there")
	case !allAddresses(addresses):
		return errors.New("an address is none")
	case len(l.CustomFields) > 0 && l.CustomFields.Kind() != '{':
		return errors.New("its custom fields are no object")
	}
	return nil
}

func allAddresses(all []string) bool {
	return !slices.ContainsFunc(all, func(a string) bool { return !isAddress(a) })
}

func (i *envImport) checkMessage(m *Message) error {
	latest := i.x.latest()
	_, known := statusCodes[m.Status]
	switch {
	case !known:
		return errors.New("its status is none")
	case !slices.Contains(channelCodes[1:], m.Channel):
		return errors.New("its channel is none")
	case len(m.To) == 0 || len(m.To) > 16 || !allAddresses(m.To):
		return errors.New("its addresses are none")
	case len(m.BatchID) > maxFieldBytes:
		return errors.New("its batch is none")
	case m.Place != nowhere && (!m.Status.waits() && m.Status != Sending || !slices.Contains(placeCodes[1:], m.Place)):
		return errors.New("its place is none")
	case !isLabel(m.Plan.Day, latest) || !isLabel(m.Plan.Contact, latest) || !isLabel(m.Unit.Day, latest):
		return errors.New("a day that it was charged to is none, or far ahead of this machine's clock")
	case m.Unit.Day != 0 && !i.lines[m.Line]:
		return errors.New("its line is not there")
	}
	return nil
}
