package engine

import (
	"slices"
	"strings"
	"unicode"

	"tuco/kv"
)

// searchText is what a search looks in: names, addresses and company, in lower case.
func (l *Lead) searchText() string {
	return strings.ToLower(strings.Join([]string{
		l.FirstName + " " + l.LastName, l.Email, l.Phone, l.CompanyName,
	}, "\n"))
}

// searchTerm is what a search looks for. A phone number is found however it is punctuated.
func searchTerm(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	digits := 0
	for _, r := range s {
		switch {
		case unicode.IsDigit(r):
			digits++
		case !strings.ContainsRune("+()-. ", r):
			return s
		}
	}
	if digits < 3 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("()-. ", r) {
			return -1
		}
		return r
	}, s)
}

// A LeadQuery asks for one page of leads, newest first.
type LeadQuery struct {
	Search      string
	List        string
	Page, Limit int // from 1
}

// LeadPage is one page.
type LeadPage struct {
	Leads []Lead
	Lists []List
	Total int64
}

// Lead returns one lead of the caller's.
func (e *Engine) Lead(who Caller, id string) (Lead, error) {
	if err := who.Require(LeadsRead); err != nil {
		return Lead{}, err
	}
	lead, err := parseID[leadKind](who, id, "Invalid lead id", "Lead not found")
	if err != nil {
		return Lead{}, err
	}
	return kv.View(e.db, func(tx *kv.Tx) (Lead, error) {
		l, ok := who.env.store.leads.Get(tx, lead.key())
		if !ok {
			return l, Errorf(NotFound, "Lead not found")
		}
		return l, nil
	})
}

// Leads returns a page of the caller's leads.
func (e *Engine) Leads(who Caller, q LeadQuery) (LeadPage, error) {
	if err := who.Require(LeadsRead); err != nil {
		return LeadPage{}, err
	}
	q.Page, q.Limit = max(1, q.Page), max(1, q.Limit)
	var list ListID
	if q.List != "" {
		var err error
		if list, err = parseID[listKind](who, q.List, "Invalid list id", "List not found"); err != nil {
			return LeadPage{}, err
		}
	}
	return kv.View(e.db, func(tx *kv.Tx) (LeadPage, error) {
		if !list.IsZero() && !who.env.store.lists.Has(tx, list.key()) {
			return LeadPage{}, Errorf(NotFound, "List not found")
		}
		page := LeadPage{Leads: []Lead{}, Lists: who.env.allLists(tx)}
		ids, total, err := who.env.pageOfLeads(tx, q, list, page.Lists)
		page.Total = total
		for _, id := range ids {
			if l, ok := who.env.store.leads.Get(tx, id.key()); ok {
				page.Leads = append(page.Leads, l)
			}
		}
		return page, err
	})
}

// pageOfLeads returns the ids on a page and how many there are on all pages.
func (env *environment) pageOfLeads(tx *kv.Tx, q LeadQuery, list ListID, lists []List) (ids []LeadID, total int64, err error) {
	skip, term := int64(q.Page-1)*int64(q.Limit), searchTerm(q.Search)
	take := func(id LeadID) {
		if total >= skip && len(ids) < q.Limit {
			ids = append(ids, id)
		}
		total++
	}
	if term != "" {
		for key, text := range env.store.leadText.Scan(tx, kv.Range{Down: true}) {
			if id := idOf[leadKind](key); strings.Contains(text, term) && env.inList(tx, id, list) {
				take(id)
			}
		}
		return ids, total, nil
	}
	scan, all := env.leadKeys(tx, list, lists)
	for key := range scan {
		if total >= skip+int64(q.Limit) {
			break
		}
		take(idOf[leadKind](key))
	}
	return ids, all, nil
}

func (env *environment) inList(tx *kv.Tx, id LeadID, list ListID) bool {
	return list.IsZero() || env.store.leadByList.Has(tx, kv.Key(list.key(), id.key()))
}

// leadKeys walks all leads, or a list's, and tells how many there are.
func (env *environment) leadKeys(tx *kv.Tx, list ListID, lists []List) (keys func(yield func([]byte) bool), n int64) {
	if list.IsZero() {
		n, _ = env.store.counts.Get(tx, leadsKey)
		return kv.Index{Path: env.store.leads.Path}.Scan(tx, kv.Range{Down: true}), n
	}
	if i := slices.IndexFunc(lists, func(l List) bool { return l.ID == list }); i >= 0 {
		n = lists[i].Leads
	}
	return env.store.leadByList.Scan(tx, kv.Prefix(list.key()).Descending()), n
}
