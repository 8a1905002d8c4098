package engine

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tuco/engine/auditlog"
)

// wish is a request for an hour of the first workspace's leads and messages in production.
func (w *world) wish() NewAccess {
	return NewAccess{
		Workspace: w.id, Environment: Production, Scopes: []Scope{LeadsRead, MessagesRead}, ReasonType: "incident",
		Reason: "Ana Marker says that nothing arrives", Ticket: "T-1", Duration: time.Hour,
	}
}

func (w *world) ask(who StaffCaller, in NewAccess) AccessRequest {
	w.t.Helper()
	r, err := w.RequestAccess(who, in)
	if err != nil {
		w.t.Fatalf("asking for %+v: %v", in, err)
	}
	return r
}

func (w *world) approve(who Caller, r AccessRequest) AccessRequest {
	w.t.Helper()
	r, err := w.ApproveAccess(who, string(r.ID))
	if err != nil {
		w.t.Fatalf("approving: %v", err)
	}
	return r
}

// agree adds an agreement with controls.
func (w *world) agree(who Caller, c Controls) Agreement {
	w.t.Helper()
	a, err := w.AddAgreement(who, Agreement{Type: DataProcessing, Reference: "DPA-7", Controls: c})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) policy(who Caller, p Policy) {
	w.t.Helper()
	if _, err := w.SetAccessPolicy(who, p); err != nil {
		w.t.Fatal(err)
	}
}

// approver is another key of the customer's that may decide.
func (w *world) approver(owner Caller, in NewKey) Caller {
	w.t.Helper()
	in.Name = "approver"
	_, secret, err := w.CreateKey(owner, in)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.auth(secret)
}

func TestAccessRequestChecks(t *testing.T) {
	w := newWorld(t, unlimited())
	s := w.staff()
	before := len(w.lines())
	for name, change := range map[string]func(*NewAccess){
		"no environment":   func(in *NewAccess) { in.Environment = "" },
		"no scope":         func(in *NewAccess) { in.Scopes = nil },
		"a write scope":    func(in *NewAccess) { in.Scopes = append(in.Scopes, LeadsWrite) },
		"keys:manage":      func(in *NewAccess) { in.Scopes = []Scope{KeysManage} },
		"access:approve":   func(in *NewAccess) { in.Scopes = []Scope{AccessApprove} },
		"an unknown scope": func(in *NewAccess) { in.Scopes = []Scope{"all:read"} },
		"no reason type":   func(in *NewAccess) { in.ReasonType = "" },
		"another one":      func(in *NewAccess) { in.ReasonType = "curiosity" },
		"no reason":        func(in *NewAccess) { in.Reason = " \n" },
		"a long reason":    func(in *NewAccess) { in.Reason = strings.Repeat("x", maxReasonBytes+1) },
		"no ticket":        func(in *NewAccess) { in.Ticket = "" },
		"prose as ticket":  func(in *NewAccess) { in.Ticket = "Ana Marker called" },
		"a long ticket":    func(in *NewAccess) { in.Ticket = strings.Repeat("x", 101) },
		"no duration":      func(in *NewAccess) { in.Duration = 0 },
		"a negative one":   func(in *NewAccess) { in.Duration = -time.Hour },
		"a long one":       func(in *NewAccess) { in.Duration = MaxAccess + 1 },
		"a late start":     func(in *NewAccess) { in.StartAt = noon.Add(MaxAccess + time.Minute) },
		"an unknown field": func(in *NewAccess) { in.Unmasked = []string{"password"} },
		"a shown field":    func(in *NewAccess) { in.Unmasked = []string{"id"} },
		"a hidden field":   func(in *NewAccess) { in.Unmasked = []string{"secrets"} },
		"of another kind":  func(in *NewAccess) { in.Unmasked = []string{"lists.email"} },
	} {
		in := w.wish()
		change(&in)
		_, err := w.RequestAccess(s, in)
		refused(t, name, err, Invalid, "", "")
	}
	for _, id := range []WorkspaceID{"", "org_", "org_0123456789abcdef01234567", "../audit"} {
		in := w.wish()
		in.Workspace = id
		_, err := w.RequestAccess(s, in)
		refused(t, string(id), err, NotFound, "", "")
	}
	if got := w.events(before); got != "" {
		t.Errorf("nothing happened, but there are entries: %s", got)
	}
}

// TestAccessLife: the clock of a grant starts with the last approval, every step is an entry, and nothing leads back.
func TestAccessLife(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, s := w.in(Production), w.staff()
	id := func(r AccessRequest) string { return string(r.ID) }
	now := func(r AccessRequest) AccessStatus {
		t.Helper()
		got, err := w.AccessRequest(owner, id(r))
		if err != nil {
			t.Fatal(err)
		}
		return got.Status
	}
	in := w.wish()
	in.Unmasked = []string{"phone", "leads.email", "phone"}
	before := len(w.lines())
	r := w.ask(s, in)
	if r.Status != AccessPending || !r.Expires.Equal(noon.Add(12*time.Hour)) || r.Approvers != 1 || !isSystemID(id(r), "access") {
		t.Errorf("asked: %+v", r)
	}
	w.clock.pass(11 * time.Hour)
	r = w.approve(owner, r)
	if r.Status != AccessApproved || !r.Starts.Equal(w.clock.now()) || !r.Ends.Equal(w.clock.now().Add(time.Hour)) {
		t.Errorf("approved: %+v", r)
	}
	asked, approved := w.last("access.requested"), w.last("access.approved")
	if asked.Actor != s.staff.actor() || asked.Access != id(r) || asked.Ticket != "T-1" || asked.ReasonType != "incident" || asked.Address != home.String() ||
		asked.Detail["scopes"] != "leads:read messages:read" || !slices.Equal(asked.Fields, []string{"leads.email", "phone"}) || len(asked.Detail["reasonSha256"]) != 64 {
		t.Errorf("the entry of the request: %+v", asked)
	}
	if approved.Actor.ID != owner.key.String() || approved.Actor.Role != "owner" || !slices.Equal(approved.Approvers, []string{owner.key.String()}) ||
		approved.Environment != "production" || approved.Detail["ends"] != timeText(r.Ends) || approved.Credential != owner.key.String() {
		t.Errorf("the entry of the approval: %+v", approved)
	}
	_, err := w.ApproveAccess(owner, id(r))
	refused(t, "approving again", err, Conflict, CodeAlreadyDecided, "")
	_, err = w.DenyAccess(owner, id(r), "")
	refused(t, "denying", err, Conflict, CodeAlreadyDecided, "")
	w.clock.pass(time.Hour - 1)
	if now(r) != AccessApproved {
		t.Error("it ends early")
	}
	w.clock.pass(1)
	if now(r) != AccessEnded {
		t.Error("it goes on")
	}
	_, err = w.RevokeAccess(owner, id(r))
	refused(t, "revoking what is over", err, Conflict, CodeAlreadyDecided, "")
	if got := w.events(before); got != "access.requested access.approved access.approved access.denied access.ended access.revoked" { // three were refused
		t.Errorf("entries: %s", got)
	}
	if e := w.last("access.ended"); e.Detail["reason"] != "time" || e.Detail["since"] != timeText(r.Ends) || e.Actor.Kind != auditlog.System {
		t.Errorf("the entry of the end: %+v", e)
	}

	in = w.wish()
	in.StartAt = w.clock.now().Add(3 * time.Hour)
	later := w.approve(owner, w.ask(s, in))
	if !later.Starts.Equal(in.StartAt) || !later.Ends.Equal(in.StartAt.Add(time.Hour)) {
		t.Errorf("with a start: %+v", later)
	}
	if later, err = w.RevokeAccess(owner, id(later)); err != nil || later.Status != AccessRevoked || w.last("access.revoked").Actor.ID != owner.key.String() {
		t.Errorf("revoked: %+v, %v", later, err)
	}
	denied, err := w.DenyAccess(owner, id(w.ask(s, w.wish())), "Marker: not today")
	if err != nil || denied.Status != AccessDenied || denied.Note == "" {
		t.Errorf("denied: %+v, %v", denied, err)
	}
	back, err := w.WithdrawAccess(s, id(w.ask(s, w.wish())))
	if err != nil || back.Status != AccessWithdrawn {
		t.Errorf("withdrawn: %+v, %v", back, err)
	}
	late := w.ask(s, w.wish())
	w.clock.pass(12 * time.Hour)
	if now(late) != AccessExpired {
		t.Error("an unanswered request lives on")
	}
	before = len(w.lines())
	for range 2 {
		if err := w.SweepAccess(); err != nil {
			t.Fatal(err)
		}
	}
	_, err = w.ApproveAccess(owner, id(late))
	refused(t, "approving what has expired", err, Conflict, CodeAlreadyDecided, "")
	if e := w.last("access.approved"); e.Outcome != auditlog.Denied || e.Detail["code"] != CodeAlreadyDecided {
		t.Errorf("the entry of the refusal: %+v", e)
	}
	if got := w.events(before); got != "access.expired access.approved" {
		t.Errorf("entries of the sweep: %s", got)
	}

	page, err := w.AccessRequests(owner, AccessQuery{Limit: 3})
	if err != nil || len(page.Requests) != 3 || page.Next == "" || page.Requests[0].ID != late.ID {
		t.Fatalf("the first page: %+v, %v", page, err)
	}
	rest, err := w.AccessRequests(owner, AccessQuery{Limit: 3, Cursor: page.Next})
	if err != nil || len(rest.Requests) != 2 || rest.Next != "" || rest.Requests[1].ID != r.ID {
		t.Errorf("the second page: %+v, %v", rest, err)
	}
	if own, err := w.OwnAccessRequests(s, AccessQuery{Status: AccessDenied}); err != nil || len(own.Requests) != 1 {
		t.Errorf("the staff's own: %+v, %v", own, err)
	}
	all := strings.Join(w.lines(), "")
	if strings.Contains(all, "Marker") {
		t.Error("the log has the reason, or a note")
	}
}

func TestAccessOfOthers(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, s := w.in(Production), w.staff()
	other := w.ownerOf(w.workspace("Other", "UTC"), Production)
	viewer := w.approver(owner, NewKey{Role: RoleViewer})
	r := w.ask(s, w.wish())
	id := string(r.ID)
	stranger := w.staff()
	for name, call := range map[string]func() error{
		"another customer looks":    func() error { _, err := w.AccessRequest(other, id); return err },
		"another customer approves": func() error { _, err := w.ApproveAccess(other, id); return err },
		"another customer denies":   func() error { _, err := w.DenyAccess(other, id, ""); return err },
		"another customer revokes":  func() error { _, err := w.RevokeAccess(other, id); return err },
		"another staff looks":       func() error { _, err := w.OwnAccessRequest(stranger, id); return err },
		"another staff withdraws":   func() error { _, err := w.WithdrawAccess(stranger, id); return err },
		"nobody's":                  func() error { _, err := w.ApproveAccess(owner, "access_0123456789abcdef01234567"); return err },
		"no id":                     func() error { _, err := w.ApproveAccess(owner, "x"); return err },
	} {
		refused(t, name, call(), NotFound, "", "Access request not found")
	}
	for name, call := range map[string]func(Caller) error{
		"AccessRequests":   func(c Caller) error { _, err := w.AccessRequests(c, AccessQuery{}); return err },
		"AccessRequest":    func(c Caller) error { _, err := w.AccessRequest(c, id); return err },
		"AccessOpens":      func(c Caller) error { _, err := w.AccessOpens(c, id); return err },
		"ApproveAccess":    func(c Caller) error { _, err := w.ApproveAccess(c, id); return err },
		"DenyAccess":       func(c Caller) error { _, err := w.DenyAccess(c, id, ""); return err },
		"RevokeAccess":     func(c Caller) error { _, err := w.RevokeAccess(c, id); return err },
		"AccessPolicy":     func(c Caller) error { _, err := w.AccessPolicy(c); return err },
		"SetAccessPolicy":  func(c Caller) error { _, err := w.SetAccessPolicy(c, Policy{Mode: PolicyNotify}); return err },
		"Agreements":       func(c Caller) error { _, err := w.Agreements(c); return err },
		"AddAgreement":     func(c Caller) error { _, err := w.AddAgreement(c, Agreement{}); return err },
		"RemoveAgreement":  func(c Caller) error { _, err := w.RemoveAgreement(c, id); return err },
		"EffectiveControl": func(c Caller) error { _, err := w.EffectiveControls(c); return err },
		"WhoSaw":           func(c Caller) error { _, err := w.WhoSaw(c, "+12025550142"); return err },
		"ForgetSightings":  func(c Caller) error { _, err := w.ForgetSightings(c, "+12025550142"); return err },
	} {
		refused(t, name+" as viewer", call(viewer), Forbidden, CodeInsufficientScope, "")
		refused(t, name+" as operator", call(w.operator(Production)), Forbidden, CodeInsufficientScope, "")
	}

	// The operator: only what takes away, unless the customer said otherwise.
	_, err := w.Admin().ApproveAccess(id)
	refused(t, "the operator approves", err, Forbidden, CodeCustomerDecides, "")
	w.policy(owner, Policy{Mode: PolicyApproval, OperatorDecides: true})
	if got, err := w.Admin().ApproveAccess(id); err != nil || got.Status != AccessApproved || got.Approvals[0].By != "operator" {
		t.Errorf("the operator decides: %+v, %v", got, err)
	}
	w.policy(owner, Policy{Mode: PolicyApproval})
	if got, err := w.Admin().RevokeAccess(id); err != nil || got.Status != AccessRevoked || got.ClosedBy != "operator" {
		t.Errorf("the operator revokes: %+v, %v", got, err)
	}
	if got, err := w.Admin().DenyAccess(string(w.ask(s, w.wish()).ID), ""); err != nil || got.Status != AccessDenied {
		t.Errorf("the operator denies: %+v, %v", got, err)
	}
	if e := w.last("policy.changed"); e.Detail["operatorDecides"] != "false" || e.Detail["operatorDecidesBefore"] != "true" || e.Workspace != string(w.id) {
		t.Errorf("the entry of the policy: %+v", e)
	}

	// A key that was revoked after it was authenticated decides nothing.
	second := w.approver(owner, NewKey{Role: RoleOwner})
	if err := w.RevokeKey(owner, second.key.String()); err != nil {
		t.Fatal(err)
	}
	_, err = w.ApproveAccess(second, string(w.ask(s, w.wish()).ID))
	refused(t, "a revoked key approves", err, Unauthorized, "", "")
}

func TestTwoApprovers(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, s := w.in(Production), w.staff()
	second, custom := w.approver(owner, NewKey{Role: RoleOwner}), w.approver(owner, NewKey{Scopes: []Scope{AccessApprove}})
	early := w.ask(s, w.wish())
	w.agree(owner, Controls{TwoApprovers: true})
	if r := w.approve(owner, early); r.Status != AccessPending || r.Approvers != 2 {
		t.Errorf("a request from before the agreement: %+v", r)
	}
	r := w.ask(s, w.wish())
	if r = w.approve(owner, r); r.Status != AccessPending || !r.Starts.IsZero() {
		t.Errorf("with one of two: %+v", r)
	}
	_, err := w.ApproveAccess(owner, string(r.ID))
	refused(t, "the same key again", err, Conflict, CodeAlreadyApproved, "")
	w.clock.pass(time.Minute)
	if r = w.approve(second, r); r.Status != AccessApproved || !r.Starts.Equal(w.clock.now()) || len(r.Approvals) != 2 {
		t.Errorf("with both: %+v", r)
	}
	if e := w.last("access.approved"); len(e.Approvers) != 2 || e.Detail["approversNeeded"] != "2" {
		t.Errorf("its entry: %+v", e)
	}
	w.agree(owner, Controls{DifferentRoles: true})
	r = w.approve(owner, w.ask(s, w.wish()))
	_, err = w.ApproveAccess(second, string(r.ID))
	refused(t, "a second owner", err, Conflict, CodeSameRole, "")
	if r = w.approve(custom, r); r.Status != AccessApproved {
		t.Errorf("with another role: %+v", r)
	}
	// The policy notify doesn't stand for two people.
	w.policy(owner, Policy{Mode: PolicyNotify})
	if r := w.ask(s, w.wish()); r.Status != AccessPending {
		t.Errorf("notify, but two approvers: %+v", r)
	}
}

func TestAccessPolicy(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, s := w.in(Production), w.staff()
	if p, err := w.AccessPolicy(owner); err != nil || p.Mode != PolicyApproval || p.OperatorDecides {
		t.Errorf("the default: %+v, %v", p, err)
	}
	_, err := w.SetAccessPolicy(owner, Policy{Mode: "open"})
	refused(t, "another mode", err, Invalid, "", "")
	pending, granted := w.ask(s, w.wish()), w.approve(owner, w.ask(s, w.wish()))
	other := w.ownerOf(w.workspace("Other", "UTC"), Production)
	in := w.wish()
	in.Workspace = other.Workspace()
	foreign := w.approve(other, w.ask(s, in))
	before := len(w.lines())
	w.policy(owner, Policy{Mode: PolicyClosed})
	for _, id := range []AccessID{pending.ID, granted.ID} {
		if r, _ := w.AccessRequest(owner, string(id)); r.Status != AccessEnded || r.EndReason != EndedPolicy || r.ClosedBy != owner.key.String() {
			t.Errorf("when the policy is closed: %+v", r)
		}
	}
	_, err = w.RequestAccess(s, w.wish())
	refused(t, "asking while it is closed", err, Forbidden, CodePolicyClosed, "")
	if got := w.events(before); got != "policy.changed access.ended access.ended access.requested" {
		t.Errorf("entries: %s", got)
	}
	if e := w.last("access.requested"); e.Outcome != auditlog.Denied || e.Detail["code"] != CodePolicyClosed || e.Access != "" {
		t.Errorf("the entry of the refusal: %+v", e)
	}
	if r, _ := w.AccessRequest(other, string(foreign.ID)); r.Status != AccessApproved {
		t.Errorf("the grant of another workspace: %+v", r)
	}
	w.policy(owner, Policy{Mode: PolicyNotify})
	if r, _ := w.AccessRequest(owner, string(granted.ID)); r.Status != AccessEnded {
		t.Errorf("a closed grant comes back: %+v", r)
	}
	before = len(w.lines())
	r := w.ask(s, w.wish())
	if r.Status != AccessApproved || !r.ByPolicy || len(r.Approvals) != 0 {
		t.Errorf("notify: %+v", r)
	}
	if e := w.last("access.approved"); w.events(before) != "access.requested access.approved" || e.Detail["approval"] != "policy notify" || e.Actor.Kind != auditlog.System {
		t.Errorf("its entries: %s, %+v", w.events(before), e)
	}
	// It outlives the workspace.
	if err := w.Admin().DeleteWorkspace(w.id); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	if page, err := w.Admin().AccessRequests(w.id, AccessQuery{}); err != nil || len(page.Requests) != 3 || page.Requests[0].EndReason != EndedWorkspace {
		t.Errorf("after the deletion: %+v, %v", page, err)
	}
	if all, err := w.Admin().AccessRequests("", AccessQuery{}); err != nil || len(all.Requests) != 4 {
		t.Errorf("all: %+v, %v", all, err)
	}
}

func TestDisablingEndsAccess(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, s := w.in(Production), w.staff()
	granted, pending := w.approve(owner, w.ask(s, w.wish())), w.ask(s, w.wish())
	if _, err := w.Admin().DisableStaff(s.staff.ID); err != nil {
		t.Fatal(err)
	}
	_, err := w.RequestAccess(s, w.wish())
	refused(t, "asking after it", err, Unauthorized, "", "")
	if _, err := w.Admin().EnableStaff(s.staff.ID); err != nil {
		t.Fatal(err)
	}
	for _, id := range []AccessID{granted.ID, pending.ID} {
		if r, _ := w.AccessRequest(owner, string(id)); r.Status != AccessEnded || r.EndReason != EndedStaff {
			t.Errorf("after disabling and enabling: %+v", r)
		}
	}
}

func TestControls(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, s := w.in(Production), w.staff()
	for name, in := range map[string]Agreement{
		"a type":        {Type: "nda", Reference: "X"},
		"prose":         {Type: SupportAgreement, Reference: "with Ana Marker"},
		"over":          {Type: SupportAgreement, Reference: "X", From: noon.Add(-2 * time.Hour), To: noon.Add(-time.Hour)},
		"turned":        {Type: SupportAgreement, Reference: "X", From: noon.Add(2 * time.Hour), To: noon.Add(time.Hour)},
		"a field":       {Type: SupportAgreement, Reference: "X", Controls: Controls{AlwaysMasked: []string{"password"}}},
		"a kind":        {Type: SupportAgreement, Reference: "X", Controls: Controls{NoKinds: []RecordKind{"invoices"}}},
		"a place":       {Type: SupportAgreement, Reference: "X", Controls: Controls{NoEnvironments: []Environment{"prod"}}},
		"a country":     {Type: SupportAgreement, Reference: "X", Controls: Controls{Countries: []string{"Germany"}}},
		"an hour":       {Type: SupportAgreement, Reference: "X", Controls: Controls{Hours: Hours{"8", "17:00", "UTC"}}},
		"a zone":        {Type: SupportAgreement, Reference: "X", Controls: Controls{Hours: Hours{"08:00", "17:00", "Mars"}}},
		"negative time": {Type: SupportAgreement, Reference: "X", Controls: Controls{MaxDuration: -1}},
	} {
		_, err := w.AddAgreement(owner, in)
		refused(t, name, err, Invalid, "", "")
	}
	first := w.agree(owner, Controls{MaxDuration: 2 * time.Hour, Employers: []string{"Vendor GmbH", "Other"}, AlwaysMasked: []string{"notes"}, Retention: 24 * time.Hour})
	opAdded, err := w.Admin().AddAgreement(w.id, Agreement{Type: SupportAgreement, Reference: "S-1", To: noon.Add(time.Hour), Controls: Controls{
		MaxDuration: 3 * time.Hour, Employers: []string{"Vendor GmbH"}, Countries: []string{"de"}, AlwaysMasked: []string{"leads.phone"},
		NoKinds: []RecordKind{KindMessages}, NoEnvironments: []Environment{Staging}, Hours: Hours{"08:00", "17:00", "Europe/Berlin"}, Retention: 48 * time.Hour,
	}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.EffectiveControls(owner)
	if err != nil {
		t.Fatal(err)
	}
	sources := c.Sources
	c.Sources = nil
	want := EffectiveControls{
		MaxDuration: 2 * time.Hour, Employers: []string{"Vendor GmbH"}, Countries: []string{"DE"}, AlwaysMasked: []string{"leads.phone", "notes"},
		NoKinds: []RecordKind{KindMessages}, NoEnvironments: []Environment{Staging}, Hours: []Hours{{"08:00", "17:00", "Europe/Berlin"}}, Retention: 48 * time.Hour,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("effective: %+v, want %+v", c, want)
	}
	if len(sources) != 12 || sources[0] != (ControlSource{"maxDuration", "2h0m0s", first.ID, DataProcessing, "DPA-7"}) || sources[11].Agreement != opAdded.ID {
		t.Errorf("sources: %+v", sources)
	}
	if e := w.last("agreement.added"); e.Detail["maxDurationBefore"] != "" || e.Detail["employers"] != "Vendor GmbH" || e.Detail["employersBefore"] != "Vendor GmbH, Other" ||
		e.Detail["reference"] != "S-1" || e.Object != string(opAdded.ID) || e.Actor.Kind != auditlog.Operator {
		t.Errorf("the entry: %+v", e)
	}
	_, other := w.addStaff(NewStaff{Name: "X", Email: "x@other.example", Employer: "Other", Country: "DE", Role: "r"})
	_, abroad := w.addStaff(NewStaff{Name: "X", Email: "x@vendor.example", Employer: "Vendor GmbH", Country: "US", Role: "r"})
	for _, tt := range []struct {
		name   string
		who    StaffCaller
		change func(*NewAccess)
		code   string
	}{
		{"longer", s, func(in *NewAccess) { in.Duration = 2*time.Hour + 1 }, CodeDurationTooLong},
		{"an environment", s, func(in *NewAccess) { in.Environment = Staging }, CodeEnvironmentExcluded},
		{"a kind", s, func(in *NewAccess) { in.Scopes = []Scope{MessagesRead} }, CodeKindExcluded},
		{"a field", s, func(in *NewAccess) { in.Unmasked = []string{"leads.notes"} }, CodeFieldMasked},
		{"a field of many kinds", s, func(in *NewAccess) { in.Unmasked = []string{"phone"} }, CodeFieldMasked},
		{"an employer", w.authStaff(other), func(*NewAccess) {}, CodeStaffExcluded},
		{"a country", w.authStaff(abroad), func(*NewAccess) {}, CodeStaffExcluded},
	} {
		in := w.wish()
		in.Scopes = []Scope{LeadsRead}
		tt.change(&in)
		_, err := w.RequestAccess(tt.who, in)
		refused(t, tt.name, err, Forbidden, tt.code, "")
	}
	in := w.wish()
	in.Scopes, in.Unmasked = []Scope{LeadsRead, WorkspaceRead}, []string{"email", "lines.phone"}
	r := w.ask(s, in)
	opens, err := w.AccessOpens(owner, string(r.ID))
	if err != nil || len(opens) != 3 || opens[2].Kind != KindLeads || !slices.Equal(opens[2].Unmasked, []string{"email"}) || !slices.Contains(opens[2].Masked, "phone") {
		t.Errorf("it opens %+v, %v", opens, err)
	}

	// An agreement that came in between holds for the decision.
	tighter := w.agree(owner, Controls{MaxDuration: time.Minute})
	_, err = w.ApproveAccess(owner, string(r.ID))
	refused(t, "approving more than is allowed by now", err, Forbidden, CodeDurationTooLong, "")

	// Only the customer loosens.
	for _, a := range []Agreement{first, opAdded} {
		_, err := w.Admin().RemoveAgreement(w.id, string(a.ID))
		refused(t, "the operator removes an agreement", err, Forbidden, CodeCustomerDecides, "")
	}
	stranger := w.ownerOf(w.workspace("Other", "UTC"), Production)
	_, err = w.RemoveAgreement(stranger, string(first.ID))
	refused(t, "another customer removes one", err, NotFound, "", "")
	if _, err := w.RemoveAgreement(owner, string(tighter.ID)); err != nil {
		t.Fatal(err)
	}
	if e := w.last("agreement.removed"); e.Detail["maxDuration"] != "2h0m0s" || e.Detail["maxDurationBefore"] != "1m0s" {
		t.Errorf("the entry: %+v", e)
	}
	w.approve(owner, r)
	w.clock.pass(time.Hour)
	if err := w.SweepAccess(); err != nil {
		t.Fatal(err)
	}
	if e := w.last("agreement.ended"); e.Object != string(opAdded.ID) || e.Detail["countriesBefore"] != "DE" || e.Detail["countries"] != "" {
		t.Errorf("the entry: %+v", e)
	}
	if all, err := w.Agreements(owner); err != nil || len(all) != 3 {
		t.Errorf("agreements: %+v, %v", all, err)
	}
	if c, err := w.EffectiveControls(owner); err != nil || c.Countries != nil || c.MaxDuration != 2*time.Hour {
		t.Errorf("after the end of one: %+v, %v", c, err)
	}
}

// TestClosedToTheOperator: a workspace that is closed to staff gets no keys from the operator either.
func TestClosedToTheOperator(t *testing.T) {
	w := newWorld(t, unlimited())
	owner := w.in(Production)
	if _, err := w.SetAccessPolicy(owner, Policy{Mode: PolicyClosed}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.CreateKey(w.operator(Production), NewKey{Name: "k"}); !isKind(err, Forbidden) {
		t.Errorf("the operator makes a key: %v", err)
	}
	k, _, err := w.CreateKey(owner, NewKey{Name: "k"})
	if err != nil {
		t.Errorf("the customer makes a key: %v", err)
	}
	if _, _, err := w.RotateKey(w.operator(Production), k.ID.String(), 0); !isKind(err, Forbidden) {
		t.Errorf("the operator takes its secret: %v", err)
	}
	if _, err := w.SetKey(w.operator(Production), k.ID.String(), KeyChange{Role: ptr(RoleAdmin)}); !isKind(err, Forbidden) {
		t.Errorf("the operator widens it: %v", err)
	}
	if _, err := w.SetKey(w.operator(Production), k.ID.String(), KeyChange{Disabled: ptr(true)}); err != nil {
		t.Errorf("the operator disables it: %v", err)
	}
	if _, err := w.SetAccessPolicy(owner, Policy{Mode: PolicyApproval}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.CreateKey(w.operator(Production), NewKey{Name: "k"}); err != nil {
		t.Errorf("the operator makes a key when it is open again: %v", err)
	}
}

// TestGrantsFollowTheCustomer: what the customer would not give now, is not there, whatever was given before.
func TestGrantsFollowTheCustomer(t *testing.T) {
	w := newWorld(t, unlimited())
	owner := w.in(Production)
	ended := func(what string, s StaffCaller, says string) {
		t.Helper()
		_, err := w.StaffRead(s, w.look(KindLeads))
		if e := refused(t, what, err, Forbidden, CodeAccessEnded, ""); !strings.Contains(e.Msg, says) {
			t.Errorf("%s: got %q, want it to say %q", what, e.Msg, says)
		}
	}

	// The account is not what the customer saw.
	s := w.staff()
	r := w.ask(s, w.wish())
	if _, err := w.Admin().SetStaff(r.Staff, StaffChange{Employer: ptr("Other Corp")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ApproveAccess(owner, string(r.ID)); !isKind(err, Conflict) {
		t.Errorf("a request of an account that was changed is approved: %v", err)
	}
	s = w.staff()
	r = w.approve(owner, w.ask(s, w.wish()))
	if _, err := w.StaffRead(s, w.look(KindLeads)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Admin().SetStaff(r.Staff, StaffChange{Country: ptr("FR")}); err != nil {
		t.Fatal(err)
	}
	ended("another country", s, "your account was changed")

	// Policy and agreements ask for more than the grant had.
	w.policy(owner, Policy{Mode: PolicyNotify})
	s = w.staff()
	w.ask(s, w.wish())
	w.policy(owner, Policy{Mode: PolicyApproval})
	ended("granted by a policy that is over", s, "policy or an agreement now asks for more")
	s = w.staff()
	w.approve(owner, w.ask(s, w.wish()))
	w.agree(owner, Controls{TwoApprovers: true})
	ended("one approver where two are asked for", s, "policy or an agreement now asks for more")

	// A yes counts as long as who gave it could.
	stolen := w.approver(owner, NewKey{Role: RoleOwner})
	r = w.ask(w.staff(), w.wish())
	w.approve(stolen, r)
	if err := w.RevokeKey(owner, stolen.key.String()); err != nil {
		t.Fatal(err)
	}
	if r = w.approve(owner, r); r.Status != AccessPending {
		t.Errorf("with the yes of a revoked key the request is %s", r.Status)
	}

	// Nobody asks without end.
	s = w.staff()
	for range maxLiveAccess {
		w.ask(s, w.wish())
	}
	if _, err := w.RequestAccess(s, w.wish()); !isKind(err, Conflict) {
		t.Errorf("one request too many: %v", err)
	}
}
