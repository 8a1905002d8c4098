package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// secretText is in every text of the customer's that staff could be shown.
const secretText = "Zyxmarker"

// A staffCase is a workspace with a few records, and one of staff with a grant that shows every field of them.
type staffCase struct {
	t                         *testing.T
	workspace, owner          string
	staff, auditor            string
	lead, list, line, message string
	leads                     []string
}

// newStaffCase makes one over the command line and the API.
func newStaffCase(t *testing.T, s *server) *staffCase {
	t.Helper()
	who := newTenant(s, "--requests-per-minute", "0")
	c := &staffCase{t: t, workspace: who.workspace}
	var owner struct{ Secret string }
	s.tuco(&owner, "key", "create", "--workspace", who.workspace, "--env", "production", "--name", "owner", "--role", "owner")
	c.owner = owner.Secret
	var sam, ada struct{ Token string }
	s.tuco(&sam, "staff", "add", "Sam", "--email", "sam@vendor.example", "--employer", "Vendor", "--country", "DE", "--role", "support")
	s.tuco(&ada, "auditor", "add", "Ada", "--email", "ada@audit.example")
	c.staff, c.auditor = sam.Token, ada.Token

	c.line = newLine(s, who, "--type", "imessage", "--phone", "+12025550100", "--first-name", secretText)
	var list struct {
		List struct {
			ID string `json:"_id"`
		}
	}
	c.do(s, http.MethodPost, "/api/lists", c.owner, map[string]any{"name": secretText}, &list)
	c.list = list.List.ID
	var batch []map[string]any
	for i := range 20 {
		batch = append(batch, map[string]any{"firstName": secretText, "notes": secretText, "phone": fmt.Sprintf("+1202555%04d", 1000+i)})
	}
	var made struct{ LeadIDs []string }
	c.do(s, http.MethodPost, "/api/leads", c.owner, map[string]any{"leads": batch}, &made)
	c.leads, c.lead = made.LeadIDs, made.LeadIDs[0]
	var sent struct{ Message message }
	c.do(s, http.MethodPost, "/api/messages", c.owner, map[string]any{"message": secretText, "leadId": c.lead, "scheduledDate": "2099-01-01T00:00:00Z"}, &sent)
	c.message = sent.Message.ID

	var asked struct{ ID string }
	c.do(s, http.MethodPost, "/staff/access-requests", c.staff, map[string]any{
		"workspaceId": c.workspace, "environment": "production", "scopes": []string{"leads:read", "messages:read", "lists:read", "lines:read", "usage:read", "workspace:read"},
		"reasonType": "incident", "reason": "a test", "ticket": "T-1", "duration": "1h",
		"unmasked": []string{"name", "firstName", "lastName", "notes", "phone", "message", "to"},
	}, &asked)
	c.do(s, http.MethodPost, "/api/staff-access/requests/"+asked.ID+"/approve", c.owner, nil, &asked)
	return c
}

// do sends a request that must be taken, and decodes its answer.
func (c *staffCase) do(s *server, method, path, key string, body, out any) {
	c.t.Helper()
	a, err := call(client, method, s.url+path, key, body)
	if err == nil && a.status >= 300 {
		err = fmt.Errorf("%d %s", a.status, a.body)
	}
	if err == nil {
		err = json.Unmarshal(a.body, out)
	}
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// looks are the paths of all routes by which staff see customer data, out of the server's own document.
func (c *staffCase) looks(s *server) (paths []string) {
	c.t.Helper()
	var document struct{ Paths map[string]any }
	s.get("", "/openapi.json", &document)
	records := map[string]string{"leads": c.lead, "lists": c.list, "lines": c.line, "messages": c.message}
	for path := range document.Paths {
		what, found := strings.CutPrefix(path, "/staff/workspaces/{id}/")
		if !found {
			continue
		}
		kind, rest, _ := strings.Cut(what, "/")
		if rest != "" && records[kind] == "" {
			c.t.Fatalf("there is no record for %s", path)
		}
		what = strings.Replace(what, "{record}", records[kind], 1)
		paths = append(paths, c.look(what))
	}
	if len(paths) < 11 {
		c.t.Fatalf("only %q", paths)
	}
	slices.Sort(paths)
	return paths
}

func (c *staffCase) look(what string) string {
	return "/staff/workspaces/" + c.workspace + "/" + what + "?environment=production"
}

// refused fails unless the answer is 503 AUDIT_UNAVAILABLE with nothing of the customer's in it.
func (c *staffCase) refused(path string, a answer, err error) {
	c.t.Helper()
	var body map[string]any
	if err == nil {
		err = json.Unmarshal(a.body, &body)
	}
	if err != nil || a.status != http.StatusServiceUnavailable || body["code"] != "AUDIT_UNAVAILABLE" {
		c.t.Errorf("%s: %v %d %s, want 503 with AUDIT_UNAVAILABLE", path, err, a.status, a.body)
	}
	for _, secret := range []string{secretText, "+1202555", c.lead, c.list, c.line, c.message} {
		if strings.Contains(string(a.body), secret) {
			c.t.Errorf("%s: the refusal has %q: %s", path, secret, a.body)
		}
	}
	for member := range body {
		if member != "error" && member != "code" {
			c.t.Errorf("%s: the refusal has a member %q: %s", path, member, a.body)
		}
	}
}

// An auditEntry is what tests read of an entry.
type auditEntry struct {
	Seq                    uint64
	Event, Request, Object string
	Detail                 map[string]string
}

// entries are the whole audit log, as auditors get it.
func (c *staffCase) entries(s *server) (all []auditEntry) {
	c.t.Helper()
	for {
		var page struct {
			Entries []auditEntry
			Next    int
		}
		s.get(c.auditor, fmt.Sprint("/audit/log?limit=1000&from=", len(all)), &page)
		if all = append(all, page.Entries...); len(page.Entries) == 0 {
			return all
		}
	}
}
