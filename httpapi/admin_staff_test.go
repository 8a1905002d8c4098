package httpapi

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tuco/engine"
)

var staffAddr = netip.MustParseAddr("192.0.2.7")

// opened tells whether a token is good.
func (w *world) opened(token string) bool {
	if strings.HasPrefix(token, "tuco_au_") {
		_, err := w.eng.AuthenticateAuditor(token, staffAddr)
		return err == nil
	}
	_, err := w.eng.AuthenticateStaff(token, staffAddr)
	return err == nil
}

func TestAdminStaffCommands(t *testing.T) {
	w := newWorld(t)
	c := NewAdminClient(w.adminSocket())
	ann := StaffInput{Name: "Ann", Email: "ann@tuco.example", Employer: "Tuco, Inc.", Country: "de", Role: "support engineer", Expires: "2160h"}
	staff := ask[StaffTokenOutput](t, c, "staff/add", ann)
	if s := staff.Staff; s.Country != "DE" || s.Employer != "Tuco, Inc." || s.ExpiresAt == nil || len(s.Tokens) != 1 || staff.ID != s.ID || !w.opened(staff.Token) {
		t.Errorf("added %+v", staff)
	}
	if got := ask[StaffOutput](t, c, "staff/disable", IDInput{staff.ID}); !got.IsDisabled || w.opened(staff.Token) {
		t.Errorf("disabled: %+v", got)
	}
	if got := ask[StaffOutput](t, c, "staff/enable", IDInput{staff.ID}); got.IsDisabled || !w.opened(staff.Token) {
		t.Errorf("enabled: %+v", got)
	}
	with := ask[StaffTokenOutput](t, c, "staff/rotate", RotateInput{ID: staff.ID, Overlap: "24h"})
	if !w.opened(staff.Token) || !w.opened(with.Token) || with.Token == staff.Token {
		t.Errorf("rotated with overlap: %+v", with)
	}
	without := ask[StaffTokenOutput](t, c, "staff/rotate", RotateInput{ID: staff.ID})
	if w.opened(staff.Token) || w.opened(with.Token) || !w.opened(without.Token) {
		t.Errorf("rotated without overlap: %+v", without)
	}
	if got := ask[StaffListOutput](t, c, "staff/list", Nothing{}); len(got.Staff) != 1 || got.Staff[0].Email != ann.Email {
		t.Errorf("staff %+v", got)
	}

	auditor := ask[AuditorTokenOutput](t, c, "auditor/add", AuditorInput{Name: "Bob", Email: "bob@audit.example", Expires: "24h"})
	if u := auditor.Auditor; u.Name != "Bob" || u.ExpiresAt == nil || auditor.ID != u.ID || !w.opened(auditor.Token) {
		t.Errorf("added %+v", auditor)
	}
	if got := ask[AuditorOutput](t, c, "auditor/disable", IDInput{auditor.ID}); !got.IsDisabled || w.opened(auditor.Token) {
		t.Errorf("disabled: %+v", got)
	}
	ask[AuditorOutput](t, c, "auditor/enable", IDInput{auditor.ID})
	rotated := ask[AuditorTokenOutput](t, c, "auditor/rotate", RotateInput{ID: auditor.ID})
	if w.opened(auditor.Token) || !w.opened(rotated.Token) {
		t.Errorf("rotated: %+v", rotated)
	}
	if got := ask[AuditorListOutput](t, c, "auditor/list", Nothing{}); len(got.Auditors) != 1 {
		t.Errorf("auditors %+v", got)
	}
	for _, token := range []string{staff.Token, with.Token, without.Token, auditor.Token, rotated.Token} {
		if strings.Contains(w.logged.String(), token[len("tuco_st_"):]) {
			t.Error("a token is in the log")
		}
	}
}

// request is what Ann asks for with a token.
func (ws workspace) request(token string) engine.AccessRequest {
	ws.w.t.Helper()
	who, err := ws.w.eng.AuthenticateStaff(token, staffAddr)
	if err != nil {
		ws.w.t.Fatal(err)
	}
	return must[engine.AccessRequest](ws.w.t)(ws.w.eng.RequestAccess(who, engine.NewAccess{
		Workspace: ws.id, Environment: engine.Production, Scopes: []engine.Scope{engine.MessagesRead, engine.LeadsRead},
		ReasonType: "incident", Reason: "A campaign stands still", Ticket: "T-1", Duration: time.Hour, Unmasked: []string{"messages.message"},
	}))
}

// customer is who may decide about staff access.
func (ws workspace) customer() engine.Caller {
	ws.w.t.Helper()
	who, err := ws.w.eng.Authenticate(ws.key(engine.Production, engine.RoleOwner), staffAddr)
	if err != nil {
		ws.w.t.Fatal(err)
	}
	return who
}

func TestAdminAccessCommands(t *testing.T) {
	w := newWorld(t)
	c := NewAdminClient(w.adminSocket())
	ws := w.workspace("A")
	customer, id := ws.customer(), string(ws.id)
	token := ask[StaffTokenOutput](t, c, "staff/add", StaffInput{Name: "Ann", Email: "ann@tuco.example", Employer: "Tuco", Country: "DE", Role: "support"}).Token

	if got := ask[policyResponse](t, c, "access/policy", ScopeInput{WorkspaceID: id}); got.Mode != "approval" || got.OperatorDecides || got.UpdatedAt != nil {
		t.Errorf("policy %+v", got)
	}
	first := ws.request(token)
	shown := ask[accessResponse](t, c, "access/show", IDInput{string(first.ID)})
	if shown.Status != "pending" || shown.WorkspaceID != id || shown.Environment != "production" || shown.Duration != "1h0m0s" || shown.Ticket != "T-1" ||
		shown.Reason != "A campaign stands still" || shown.ReasonType != "incident" || shown.Staff.Employer != "Tuco" || shown.Staff.Country != "DE" ||
		shown.Staff.Role != "support" || shown.Staff.Name != "Ann" || !slices.Equal(shown.Unmasked, []string{"messages.message"}) || len(shown.Scopes) != 2 {
		t.Errorf("request %+v", shown)
	}
	if o := shown.Opens; len(o) != 2 || o[0].Kind != "leads" || len(o[0].Unmasked) != 0 || !slices.Contains(o[0].Masked, "email") ||
		o[1].Kind != "messages" || !slices.Equal(o[1].Unmasked, []string{"message"}) {
		t.Errorf("opens %+v", o)
	}
	const advice = "Only the customer decides this: the customer approves with a key that has access:approve (POST /api/staff-access/requests/access_"
	if err := c.Call("access/approve", IDInput{string(first.ID)}, &struct{}{}); err == nil || !strings.HasPrefix(err.Error(), advice) {
		t.Errorf("approving what the customer decides: %v", err)
	}
	if got := ask[accessObject](t, c, "access/deny", AccessDenyInput{string(first.ID), "Not now"}); got.Status != "denied" || *got.Note != "Not now" || *got.ClosedBy != "operator" {
		t.Errorf("denied: %+v", got)
	}

	must[engine.Policy](t)(w.eng.SetAccessPolicy(customer, engine.Policy{Mode: engine.PolicyApproval, OperatorDecides: true}))
	if got := ask[policyResponse](t, c, "access/policy", ScopeInput{WorkspaceID: id}); !got.OperatorDecides || got.UpdatedAt == nil || got.UpdatedBy == nil {
		t.Errorf("policy %+v", got)
	}
	second := ws.request(token)
	if got := ask[accessObject](t, c, "access/approve", IDInput{string(second.ID)}); got.Status != "approved" || len(got.Approvals) != 1 || got.Approvals[0].By != "operator" || got.EndsAt == nil {
		t.Errorf("approved: %+v", got)
	}
	if got := ask[accessObject](t, c, "access/revoke", IDInput{string(second.ID)}); got.Status != "revoked" {
		t.Errorf("revoked: %+v", got)
	}
	for in, want := range map[AccessListInput]int{{}: 2, {WorkspaceID: id}: 2, {Status: "denied"}: 1, {WorkspaceID: id, Status: "pending"}: 0} {
		if got := ask[accessListOutput](t, c, "access/requests", in); len(got.Requests) != want {
			t.Errorf("requests of %+v: %+v, want %d", in, got, want)
		}
	}
}

func TestAdminAgreements(t *testing.T) {
	w := newWorld(t)
	c := NewAdminClient(w.adminSocket())
	ws := w.workspace("A")
	customer, id := ws.customer(), string(ws.id)
	hours := AgreementHours{"08:00", "18:00", "Europe/Berlin"}
	controls := AgreementControls{
		MaxDuration: "8h0m0s", TwoApprovers: true, DifferentRoles: true, AlwaysMasked: []string{"email"}, NoEnvironments: []string{"staging"},
		NoKinds: []string{"keys"}, Employers: []string{"Tuco"}, Countries: []string{"DE"}, Hours: &hours, Retention: "8760h0m0s",
	}
	ours := ask[agreementObject](t, c, "agreement/add", AgreementInput{WorkspaceID: id, Type: "dpa", Reference: "D-1", To: "2199-01-01T00:00:00Z", Controls: controls})
	if got := ours.Controls; ours.AddedBy != "operator" || ours.To == nil || got.MaxDuration != controls.MaxDuration || *got.Hours != hours ||
		got.Retention != controls.Retention || !got.TwoApprovers || !got.DifferentRoles ||
		!slices.Equal(slices.Concat(got.AlwaysMasked, got.NoEnvironments, got.NoKinds, got.Employers, got.Countries), []string{"email", "staging", "keys", "Tuco", "DE"}) {
		t.Errorf("added %+v", ours)
	}
	theirs := must[engine.Agreement](t)(w.eng.AddAgreement(customer, engine.Agreement{Type: engine.SupportAgreement, Reference: "S-1", Controls: engine.Controls{Countries: []string{"FR"}}}))
	effective := ask[controlsResponse](t, c, "access/controls", ScopeInput{WorkspaceID: id})
	if effective.MaxDuration != "8h0m0s" || effective.Employers == nil || effective.Countries == nil || len(*effective.Countries) != 0 || len(effective.Sources) != 13 ||
		effective.Sources[12].Control != "countries" || effective.Sources[12].Value != "FR" || *effective.Sources[12].AgreementID != string(theirs.ID) {
		t.Errorf("controls %+v", effective)
	}
	if got := ask[agreementsResponse](t, c, "agreement/list", ScopeInput{WorkspaceID: id}); len(got.Agreements) != 2 {
		t.Errorf("agreements %+v", got)
	}
	const refusal = "Only the customer decides this: the customer removes it"
	refused := func(what, agreement string) {
		if err := c.Call("agreement/remove", AgreementIDInput{id, agreement}, &struct{}{}); err == nil || !strings.HasPrefix(err.Error(), refusal) {
			t.Errorf("removing %s: %v", what, err)
		}
	}
	refused("our agreement without operatorDecides", ours.ID)
	must[engine.Policy](t)(w.eng.SetAccessPolicy(customer, engine.Policy{Mode: engine.PolicyApproval, OperatorDecides: true}))
	refused("the customer's agreement", string(theirs.ID))
	if got := ask[agreementObject](t, c, "agreement/remove", AgreementIDInput{id, ours.ID}); got.RemovedAt == nil || *got.RemovedBy != "operator" {
		t.Errorf("removed: %+v", got)
	}
	if got := ask[controlsResponse](t, c, "access/controls", ScopeInput{WorkspaceID: id}); got.MaxDuration != "720h0m0s" || got.Employers != nil || len(got.Sources) != 4 {
		t.Errorf("controls afterwards %+v", got)
	}
}

func TestAdminStaffErrors(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	c := NewAdminClient(w.adminSocket())
	agreement := func(controls AgreementControls) AgreementInput {
		return AgreementInput{WorkspaceID: string(ws.id), Type: "dpa", Reference: "D-1", Controls: controls}
	}
	for _, tt := range []struct {
		name string
		in   any
		want string
	}{
		{"staff/add", obj{"name": "x", "mail": "x"}, `unknown key "mail"`},
		{"staff/add", StaffInput{Name: "x", Email: "x"}, "email: not a valid e-mail address"},
		{"staff/add", StaffInput{Name: "x", Email: "x@example.com", Employer: "x", Country: "Germany", Role: "x"}, "country: it must be the two letters"},
		{"staff/add", StaffInput{Name: "x", Expires: "soon"}, "expires must be a duration such as 2160h"},
		{"staff/add", StaffInput{Name: "x", Expires: "-1h"}, "expires must be a duration such as 2160h"},
		{"staff/rotate", RotateInput{ID: "x", Overlap: "long"}, "overlap must be a duration such as 24h"},
		{"staff/rotate", RotateInput{ID: "staff_x"}, `There is no staff account "staff_x"`},
		{"staff/disable", IDInput{"x"}, `There is no staff account "x"`},
		{"auditor/add", AuditorInput{Name: "x", Email: "x@example.com", Expires: "0s"}, "expires must be a duration such as 2160h"},
		{"auditor/rotate", RotateInput{ID: "x", Overlap: "long"}, "overlap must be a duration such as 24h"},
		{"auditor/enable", IDInput{"staff_6b03d3c2feeeee0000000005"}, "There is no auditor account"},
		{"access/requests", AccessListInput{WorkspaceID: "org_x"}, `There is no workspace "org_x"`},
		{"access/show", IDInput{"x"}, "Access request not found"},
		{"access/approve", IDInput{"access_6b03d3c20000000000000005"}, "Access request not found"},
		{"access/deny", AccessDenyInput{ID: "x", Note: strings.Repeat("x", 3000)}, "note: it has at most 2000 bytes"},
		{"access/controls", ScopeInput{WorkspaceID: "org_x"}, `There is no workspace "org_x"`},
		{"access/policy", ScopeInput{WorkspaceID: "org_x"}, `There is no workspace "org_x"`},
		{"agreement/add", AgreementInput{WorkspaceID: "org_x", Type: "dpa", Reference: "x"}, `There is no workspace "org_x"`},
		{"agreement/add", AgreementInput{WorkspaceID: string(ws.id), Type: "oral", Reference: "x"}, `Unknown type of agreement "oral"`},
		{"agreement/add", AgreementInput{WorkspaceID: string(ws.id), Type: "dpa", Reference: "a word"}, "reference: "},
		{"agreement/add", AgreementInput{WorkspaceID: string(ws.id), From: "soon"}, "Invalid from"},
		{"agreement/add", AgreementInput{WorkspaceID: string(ws.id), To: "soon"}, "Invalid to"},
		{"agreement/add", AgreementInput{WorkspaceID: string(ws.id), Type: "dpa", Reference: "x", To: "2001-01-01T00:00:00Z"}, "to: the agreement would be over already"},
		{"agreement/add", agreement(AgreementControls{MaxDuration: "long"}), "maxDuration must be a duration"},
		{"agreement/add", agreement(AgreementControls{MaxDuration: "0s"}), "maxDuration must be more than 0"},
		{"agreement/add", agreement(AgreementControls{Retention: "-1h"}), "retention must be more than 0"},
		{"agreement/add", agreement(AgreementControls{Hours: &AgreementHours{}}), "hours: give from and to as HH:MM"},
		{"agreement/add", agreement(AgreementControls{Hours: &AgreementHours{"8", "25:00", "UTC"}}), "hours: give from and to as HH:MM"},
		{"agreement/add", agreement(AgreementControls{Hours: &AgreementHours{From: "08:00", To: "18:00"}}), "hours: give from and to as HH:MM"},
		{"agreement/add", agreement(AgreementControls{NoKinds: []string{"dogs"}}), `Unknown kind of record "dogs"`},
		{"agreement/list", ScopeInput{WorkspaceID: "org_x"}, `There is no workspace "org_x"`},
		{"agreement/remove", AgreementIDInput{string(ws.id), "x"}, "Agreement not found"},
	} {
		if err := c.Call(tt.name, tt.in, &struct{}{}); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s %v: %v, want %s", tt.name, tt.in, err, tt.want)
		}
	}
}
