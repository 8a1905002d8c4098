package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"tuco/kv"
)

// TestRareRequestsAreFoundPageByPage: a page looks at a bounded number of requests, and a cursor leads past those that it left out.
func TestRareRequestsAreFoundPageByPage(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, s := w.in(Production), w.staff()
	var rare []AccessID
	w.forge(func(tx *kv.Tx) {
		for i := range 2*maxLooked + 500 {
			r := AccessRequest{ID: AccessID(newSystemID(tx, "access")), Workspace: w.id, Staff: s.Staff().ID, Status: AccessDenied, Created: tx.Now, Closed: tx.Now}
			if i < 3 || i == maxLooked {
				r.Status = AccessWithdrawn
				rare = append(rare, r.ID)
			}
			putAccess(tx, &r)
		}
	})
	slices.Reverse(rare)
	for name, ask := range map[string]func(q AccessQuery) (AccessPage, error){
		"the customer": func(q AccessQuery) (AccessPage, error) { return w.AccessRequests(owner, q) },
		"the operator": func(q AccessQuery) (AccessPage, error) { return w.Admin().AccessRequests("", q) },
		"of one":       func(q AccessQuery) (AccessPage, error) { return w.Admin().AccessRequests(w.id, q) },
		"staff":        func(q AccessQuery) (AccessPage, error) { return w.OwnAccessRequests(s, q) },
	} {
		var found []AccessID
		var pages []string
		for q := (AccessQuery{Status: AccessWithdrawn, Limit: 2}); ; {
			page, err := ask(q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Requests {
				found = append(found, r.ID)
			}
			pages = append(pages, fmt.Sprint(len(page.Requests)))
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if got := strings.Join(pages, " "); !slices.Equal(found, rare) || got != "0 1 2 1" {
			t.Errorf("%s: found %d of %d, on pages of %s", name, len(found), len(rare), got)
		}
		all := 0
		for q := (AccessQuery{}); ; {
			page, err := ask(q)
			if err != nil {
				t.Fatal(err)
			}
			all += len(page.Requests)
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if all != 2*maxLooked+500 {
			t.Errorf("%s: %d in all", name, all)
		}
	}
}
