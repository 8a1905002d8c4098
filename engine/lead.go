package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"tuco/engine/address"
	"tuco/kv"
)

// A Lead is a person to reach.
type Lead struct {
	ID           LeadID         `json:"id"`
	FirstName    string         `json:"firstName,omitzero"`
	LastName     string         `json:"lastName,omitzero"`
	Email        string         `json:"email,omitzero"`
	Phone        string         `json:"phone,omitzero"`
	AltPhones    [3]string      `json:"altPhones,omitzero"`
	AltEmails    [3]string      `json:"altEmails,omitzero"`
	CompanyName  string         `json:"companyName,omitzero"`
	JobTitle     string         `json:"jobTitle,omitzero"`
	LinkedinURL  string         `json:"linkedinUrl,omitzero"`
	Notes        string         `json:"notes,omitzero"`
	CustomFields jsontext.Value `json:"customFields,omitzero"` // an object
	List         ListID         `json:"list"`
	Source       string         `json:"source,omitzero"`
	Owner        string         `json:"owner,omitzero"` // contactOwnerEmail
	CRM          CRM            `json:"crm,omitzero"`
	Created      time.Time      `json:"created"`
	Updated      time.Time      `json:"updated"`
}

// CRM links a record to those of the customer's other systems.
type CRM struct {
	ExternalID    string `json:"externalId,omitzero"`
	GHLContactID  string `json:"ghlContactId,omitzero"`
	GHLLocationID string `json:"ghlLocationId,omitzero"`
	HSContactID   string `json:"hsContactId,omitzero"`
	HSPortalID    string `json:"hsPortalId,omitzero"`
}

// Addresses are every phone number and mailbox of the lead; none of nil.
func (l *Lead) Addresses() []string {
	if l == nil {
		return nil
	}
	all := []string{l.Phone, l.AltPhones[0], l.AltPhones[1], l.AltPhones[2], l.Email, l.AltEmails[0], l.AltEmails[1], l.AltEmails[2]}
	all = slices.DeleteFunc(all, func(a string) bool { return a == "" })
	slices.Sort(all)
	return slices.Compact(all)
}

// A LeadInput is what a request says of a lead; nil is nothing said.
type LeadInput struct {
	FirstName, LastName, Email, Phone         *string
	AltPhones, AltEmails                      [3]*string
	CompanyName, JobTitle, LinkedinURL, Notes *string
	CustomFields                              jsontext.Value
	List                                      *string // of an update only
	Owner                                     *string
	ExternalID, GHLContactID, GHLLocationID   *string
	HSContactID, HSPortalID                   *string
}

// DefaultCountryCode is the country of a phone number that has none.
const DefaultCountryCode = "+1"

const (
	maxFieldBytes  = 1000
	maxNotesBytes  = 10_000
	maxCustomBytes = 16_000
	// MaxLeads is how many leads one request can carry.
	MaxLeads = 10_000
)

// apply sets in l what in says, normalised.
func (in *LeadInput) apply(l *Lead, countryCode string) error {
	texts := []struct {
		name string
		to   *string
		from *string
		most int
	}{
		{"firstName", &l.FirstName, in.FirstName, maxFieldBytes},
		{"lastName", &l.LastName, in.LastName, maxFieldBytes},
		{"companyName", &l.CompanyName, in.CompanyName, maxFieldBytes},
		{"jobTitle", &l.JobTitle, in.JobTitle, maxFieldBytes},
		{"linkedinUrl", &l.LinkedinURL, in.LinkedinURL, maxFieldBytes},
		{"notes", &l.Notes, in.Notes, maxNotesBytes},
		{"contactOwnerEmail", &l.Owner, in.Owner, maxFieldBytes},
		{"externalId", &l.CRM.ExternalID, in.ExternalID, maxFieldBytes},
		{"ghlContactId", &l.CRM.GHLContactID, in.GHLContactID, maxFieldBytes},
		{"ghlLocationId", &l.CRM.GHLLocationID, in.GHLLocationID, maxFieldBytes},
		{"hsContactId", &l.CRM.HSContactID, in.HSContactID, maxFieldBytes},
		{"hsPortalId", &l.CRM.HSPortalID, in.HSPortalID, maxFieldBytes},
	}
	for _, t := range texts {
		if t.from == nil {
			continue
		}
		if len(*t.from) > t.most {
			return Errorf(Invalid, "%s is longer than %d bytes", t.name, t.most)
		}
		*t.to = strings.TrimSpace(*t.from)
	}
	if len(in.CustomFields) > maxCustomBytes || len(in.CustomFields) > 0 && in.CustomFields.Kind() != '{' && in.CustomFields.Kind() != 'n' {
		return Errorf(Invalid, "customFields must be an object of at most %d bytes", maxCustomBytes)
	}
	if in.CustomFields.Kind() == '{' {
		l.CustomFields = in.CustomFields.Clone()
	}
	return in.applyAddresses(l, countryCode)
}

func (in *LeadInput) applyAddresses(l *Lead, countryCode string) error {
	phone := func(raw string) (string, error) { return address.Phone(raw, countryCode) }
	set := func(name string, to, from *string, normal func(string) (string, error), what string) error {
		if from == nil {
			return nil
		}
		if *to = strings.TrimSpace(*from); *to == "" {
			return nil
		}
		normalised, err := normal(*to)
		if err != nil {
			return Errorf(Invalid, "%s: not a valid %s", name, what).With(CodeInvalidAddress)
		}
		*to = normalised
		return nil
	}
	if err := set("phone", &l.Phone, in.Phone, phone, "phone number"); err != nil {
		return err
	}
	if err := set("email", &l.Email, in.Email, address.Email, "e-mail address"); err != nil {
		return err
	}
	for i := range 3 {
		if err := set(altPhoneNames[i], &l.AltPhones[i], in.AltPhones[i], phone, "phone number"); err != nil {
			return err
		}
		if err := set(altEmailNames[i], &l.AltEmails[i], in.AltEmails[i], address.Email, "e-mail address"); err != nil {
			return err
		}
	}
	return nil
}

// The names of the alternates in requests.
var (
	altPhoneNames = [3]string{"altPhone1", "altPhone2", "altPhone3"}
	altEmailNames = [3]string{"altEmail1", "altEmail2", "altEmail3"}
)

// A LeadBatch is one request to make leads.
type LeadBatch struct {
	Leads              []LeadInput
	List               string // Quick Sends if empty
	Source             string
	DefaultCountryCode string
	Owner              string // where a lead names none
	GHLLocationID      string // where a lead names none
}

// LeadsSaved is what became of a batch.
type LeadsSaved struct {
	List       ListID
	Created    []Lead // in the order of the request
	Duplicates []DuplicateLead
	Replay     *Answer
}

// A DuplicateLead is an input that matched a lead that was there, or one earlier in the same request.
type DuplicateLead struct {
	Input    int // its place in the request
	Existing Lead
}

const unknownList = "List not found. The specified listId does not exist or is invalid. Omit listId to use the Quick Sends list."

// CreateLeads makes the leads that are not there yet, all or nothing. A lead is there if any of its
// addresses is one of any lead of the environment.
func (e *Engine) CreateLeads(who Caller, once *Once, batch LeadBatch) (LeadsSaved, error) {
	if err := who.write(LeadsWrite); err != nil {
		return LeadsSaved{}, err
	}
	leads, err := batch.leads()
	if err != nil {
		return LeadsSaved{}, err
	}
	var list ListID
	if batch.List != "" {
		parsed, ok := kv.ParseID(batch.List)
		if !ok {
			return LeadsSaved{}, Errorf(NotFound, unknownList)
		}
		if err := who.owns(parsed, unknownList); err != nil {
			return LeadsSaved{}, err
		}
		list = ListID{parsed}
	}
	return writing(who.env, func(tx *kv.Tx) (LeadsSaved, error) {
		if replay, err := who.env.replay(tx, once); replay != nil || err != nil {
			return LeadsSaved{Replay: replay}, err
		}
		saved, err := who.env.saveLeads(tx, list, leads)
		if err != nil {
			return saved, err
		}
		return saved, who.env.remember(tx, once, saved)
	})
}

// leads checks and normalises the batch, outside of any transaction.
func (b LeadBatch) leads() ([]Lead, error) {
	switch {
	case len(b.Leads) == 0:
		return nil, Errorf(Invalid, "No leads provided")
	case len(b.Leads) > MaxLeads:
		return nil, Errorf(TooLarge, "At most %d leads in one request", MaxLeads)
	case len(b.Source) > maxFieldBytes:
		return nil, Errorf(Invalid, "source is longer than %d bytes", maxFieldBytes)
	}
	b.DefaultCountryCode = cmp.Or(b.DefaultCountryCode, DefaultCountryCode)
	leads := make([]Lead, len(b.Leads))
	for i := range b.Leads {
		l := &leads[i]
		l.Source, l.Owner, l.CRM.GHLLocationID = b.Source, b.Owner, b.GHLLocationID
		if err := b.Leads[i].apply(l, b.DefaultCountryCode); err != nil {
			denied := err.(*Error)
			denied.Msg = fmt.Sprintf("leads/%d/%s", i, denied.Msg)
			return nil, denied
		}
		if l.Phone == "" && l.Email == "" {
			return nil, Errorf(Invalid, "leads/%d: either email or phone is required", i)
		}
	}
	return leads, nil
}

func (env *environment) saveLeads(tx *kv.Tx, id ListID, leads []Lead) (saved LeadsSaved, err error) {
	list := List{ID: id}
	if id.IsZero() {
		list = env.quickSends(tx)
	} else if _, ok := env.store.lists.Get(tx, id.key()); !ok {
		return saved, Errorf(NotFound, unknownList)
	}
	saved.List = list.ID
	for i, l := range leads {
		if existing, ok := env.findLead(tx, l.Addresses()); ok {
			saved.Duplicates = append(saved.Duplicates, DuplicateLead{i, existing})
			continue
		}
		l.List = list.ID
		saved.Created = append(saved.Created, env.addLead(tx, l))
	}
	env.countLeads(tx, list.ID, int64(len(saved.Created)))
	return saved, nil
}

// addLead stores a new lead. The caller counts it.
func (env *environment) addLead(tx *kv.Tx, l Lead) Lead {
	l.ID = newID[leadKind](tx, env)
	l.Created, l.Updated = tx.Now, tx.Now
	env.putLead(tx, nil, &l)
	return l
}

// putLead stores l in place of old, nil for none, with its index entries. A nil l deletes old.
func (env *environment) putLead(tx *kv.Tx, old, l *Lead) {
	env.store.putAddresses(tx, old, l)
	if old != nil {
		env.store.leadByList.Delete(tx, kv.Key(old.List.key(), old.ID.key()))
	}
	if l == nil {
		env.store.leads.Delete(tx, old.ID.key())
		env.store.leadText.Delete(tx, old.ID.key())
		return
	}
	env.store.leads.Put(tx, l.ID.key(), *l)
	env.store.leadText.Put(tx, l.ID.key(), l.searchText())
	env.store.leadByList.Put(tx, kv.Key(l.List.key(), l.ID.key()))
}

// addressKey is an index key: an address, a zero byte that no address has, and more.
func addressKey(addr string, rest ...[]byte) []byte {
	key := appendAddress(make([]byte, 0, len(addr)+1+len(kv.ID{})), addr)
	for _, part := range rest {
		key = append(key, part...)
	}
	return key
}

func appendAddress(key []byte, addr string) []byte { return append(append(key, addr...), 0) }

// findLead returns the oldest lead that has one of the addresses.
func (env *environment) findLead(tx *kv.Tx, addresses []string) (Lead, bool) {
	var oldest LeadID
	for _, a := range addresses {
		oldest = older(oldest, env.store.person(tx, a).Lead)
	}
	return env.store.leads.Get(tx, oldest.key())
}

var leadsKey = []byte("leads")

// countLeads adds n to a list's number of leads and the environment's.
func (env *environment) countLeads(tx *kv.Tx, list ListID, n int64) {
	if n == 0 {
		return
	}
	if l, ok := env.store.lists.Get(tx, list.key()); ok {
		l.Leads += n
		env.store.lists.Put(tx, list.key(), l)
	}
	total, _ := env.store.counts.Get(tx, leadsKey)
	env.store.counts.Put(tx, leadsKey, total+n)
}

// SetLead changes a lead: what in says, and nothing else. An address that another lead has is a conflict.
func (e *Engine) SetLead(who Caller, id string, in LeadInput, countryCode string) (Lead, error) {
	if err := who.write(LeadsWrite); err != nil {
		return Lead{}, err
	}
	lead, err := parseID[leadKind](who, id, "Invalid lead id", "Lead not found")
	if err != nil {
		return Lead{}, err
	}
	var list ListID
	if in.List != nil {
		if list, err = parseID[listKind](who, *in.List, "Invalid list id", "List not found"); err != nil {
			return Lead{}, err
		}
	}
	return writing(who.env, func(tx *kv.Tx) (Lead, error) {
		old, ok := who.env.store.leads.Get(tx, lead.key())
		if !ok {
			return old, Errorf(NotFound, "Lead not found")
		}
		l := old
		if err := in.apply(&l, cmp.Or(countryCode, DefaultCountryCode)); err != nil {
			return l, err
		}
		if l.Phone == "" && l.Email == "" {
			return l, Errorf(Invalid, "Either email or phone is required")
		}
		if err := who.env.checkAddresses(tx, &old, &l); err != nil {
			return l, err
		}
		if !list.IsZero() && list != old.List {
			if _, ok := who.env.store.lists.Get(tx, list.key()); !ok {
				return l, Errorf(NotFound, "List not found")
			}
			l.List = list
			who.env.countLeads(tx, old.List, -1)
			who.env.countLeads(tx, list, 1)
		}
		l.Updated = tx.Now
		who.env.putLead(tx, &old, &l)
		return l, nil
	})
}

// checkAddresses refuses to give a lead an address of another.
func (env *environment) checkAddresses(tx *kv.Tx, old, l *Lead) error {
	had := old.Addresses()
	for _, a := range l.Addresses() {
		if slices.Contains(had, a) {
			continue
		}
		for key := range env.store.leadByAddr.Scan(tx, kv.Prefix(addressKey(a))) {
			if idOf[leadKind](key) != l.ID {
				return Errorf(Conflict, "Another lead has one of these phone numbers or e-mail addresses").With(CodeDuplicateLead)
			}
		}
	}
	return nil
}

// DeleteLeads deletes leads for good and cancels what waits for them. It returns how many there were:
// ids of others, and of none, are skipped.
func (e *Engine) DeleteLeads(who Caller, ids []string) (int, error) {
	if err := who.write(LeadsWrite); err != nil {
		return 0, err
	}
	switch {
	case len(ids) == 0:
		return 0, Errorf(Invalid, "No ids provided")
	case len(ids) > MaxLeads:
		return 0, Errorf(TooLarge, "At most %d ids in one request", MaxLeads)
	}
	var own []LeadID
	for _, text := range ids {
		id, ok := kv.ParseID(text)
		if !ok {
			return 0, Errorf(Invalid, "Invalid lead id in ids array")
		}
		if id.Tag() == who.env.tag {
			own = append(own, LeadID{id})
		}
	}
	type done struct {
		deleted int
		refunds []refund
	}
	d, err := writing(who.env, func(tx *kv.Tx) (d done, err error) {
		gone := map[ListID]int64{}
		for _, id := range own {
			l, ok := who.env.store.leads.Get(tx, id.key())
			if !ok {
				continue
			}
			cancelled := who.env.cancelAll(tx, who.env.waitingFor(tx, id))
			d.refunds = append(d.refunds, cancelled.refunds...)
			who.env.putLead(tx, &l, nil)
			gone[l.List]++
			d.deleted++
		}
		for list, n := range gone {
			who.env.countLeads(tx, list, -n)
		}
		return d, nil
	})
	if err != nil {
		return 0, err
	}
	who.env.refund(d.refunds)
	return d.deleted, nil
}

// Name is the lead's display name.
func (l Lead) Name() string { return strings.TrimSpace(l.FirstName + " " + l.LastName) }
