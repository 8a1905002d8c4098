package main

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/go-json-experiment/json/jsontext"

	"tuco/httpapi"
)

type staffCommand struct {
	Add     staffAdd      `cmd:"" help:"Add a staff account. It opens nothing by itself. Its token is printed once."`
	List    staffList     `cmd:"" help:"List the staff accounts."`
	Set     staffSet      `cmd:"" help:"Change a staff account. What it was granted before opens nothing any more: customers approved what it was."`
	Disable accountChange `cmd:"" help:"Refuse an account's tokens, and end its grants and requests for good."`
	Enable  accountChange `cmd:"" help:"Accept a disabled account's tokens again."`
	Rotate  accountRotate `cmd:"" help:"Give an account a new token."`
}

// newAccount is what adding staff and auditors have in common.
type newAccount struct {
	adminFlags
	Name    string  `arg:"" help:"The person's name."`
	Email   string  `required:"" help:"Their e-mail address." placeholder:"ADDRESS"`
	Expires *period `help:"How long their tokens are valid, such as 90d; for ever by default." placeholder:"DURATION"`
}

func (c newAccount) expires() string {
	if c.Expires == nil {
		return ""
	}
	return time.Duration(*c.Expires).String()
}

type staffAdd struct {
	newAccount
	Employer string `required:"" help:"Who employs them. Customers see it, and agreements can name it." placeholder:"NAME"`
	Country  string `required:"" help:"The country that they work from, as the two letters of ISO 3166." placeholder:"CC"`
	Role     string `required:"" help:"What they do, in words that customers and auditors see." placeholder:"ROLE"`
}

func (c staffAdd) Run(out *output) error {
	return c.call(out, "staff/add", httpapi.StaffInput{
		Name: c.Name, Email: c.Email, Employer: c.Employer, Country: c.Country, Role: c.Role, Expires: c.expires(),
	})
}

type staffList struct{ adminFlags }

func (c staffList) Run(out *output) error { return c.call(out, "staff/list", httpapi.Nothing{}) }

type staffSet struct {
	idArg
	Name     *string `help:"The person's new name."`
	Email    *string `help:"Their new e-mail address." placeholder:"ADDRESS"`
	Employer *string `help:"Who employs them now." placeholder:"NAME"`
	Country  *string `help:"The country that they work from now, as the two letters of ISO 3166." placeholder:"CC"`
	Role     *string `help:"What they do now." placeholder:"ROLE"`
}

func (c staffSet) Run(out *output) error {
	return c.call(out, "staff/set", httpapi.StaffSetInput{ID: c.ID, Name: c.Name, Email: c.Email, Employer: c.Employer, Country: c.Country, Role: c.Role})
}

// accountChange disables or enables staff or an auditor: what the command line says is the command's name on the server.
type accountChange struct{ idArg }

func (c accountChange) Run(out *output, line *kong.Context) error {
	return c.call(out, serverCommand(line), httpapi.IDInput{ID: c.ID})
}

// accountRotate gives staff or an auditor a new token.
type accountRotate struct {
	idArg
	Overlap period `help:"How long the old token goes on, such as 24h; 0 by default." placeholder:"DURATION"`
}

func (c accountRotate) Run(out *output, line *kong.Context) error {
	return c.call(out, serverCommand(line), httpapi.RotateInput{ID: c.ID, Overlap: time.Duration(c.Overlap).String()})
}

// serverCommand is the command's name on the admin socket: staff/disable of staff disable ID.
func serverCommand(line *kong.Context) string {
	words := strings.Fields(line.Command())
	return words[0] + "/" + words[1]
}

type auditorCommand struct {
	Add     auditorAdd    `cmd:"" help:"Add an auditor's account: it reads the audit log, and nothing else. Its token is printed once."`
	List    auditorList   `cmd:"" help:"List the auditors' accounts."`
	Set     auditorSet    `cmd:"" help:"Change an auditor's account."`
	Disable accountChange `cmd:"" help:"Refuse an account's tokens until it is enabled."`
	Enable  accountChange `cmd:"" help:"Accept a disabled account's tokens again."`
	Rotate  accountRotate `cmd:"" help:"Give an account a new token."`
}

type auditorAdd struct{ newAccount }

func (c auditorAdd) Run(out *output) error {
	return c.call(out, "auditor/add", httpapi.AuditorInput{Name: c.Name, Email: c.Email, Expires: c.expires()})
}

type auditorList struct{ adminFlags }

func (c auditorList) Run(out *output) error { return c.call(out, "auditor/list", httpapi.Nothing{}) }

type auditorSet struct {
	idArg
	Name  *string `help:"The person's new name."`
	Email *string `help:"Their new e-mail address." placeholder:"ADDRESS"`
}

func (c auditorSet) Run(out *output) error {
	return c.call(out, "auditor/set", httpapi.AuditorSetInput{ID: c.ID, Name: c.Name, Email: c.Email})
}

type accessCommand struct {
	Requests accessRequests `cmd:"" help:"List staff's requests for access to workspaces, the newest first."`
	Show     accessShow     `cmd:"" help:"Show a request: who asks, why, and exactly what it would open."`
	Approve  accessApprove  `cmd:"" help:"Approve a request, where the customer lets the operator decide."`
	Deny     accessDeny     `cmd:"" help:"Turn a request down."`
	Revoke   accessRevoke   `cmd:"" help:"End a grant now."`
	Controls accessControls `cmd:"" help:"Show what a workspace's agreements ask for now, and which of them asks for what."`
	Policy   accessPolicy   `cmd:"" help:"Show a workspace's policy for staff access. Only the customer changes it."`
}

type accessRequests struct {
	adminFlags
	Workspace string `help:"Only those for this workspace." placeholder:"ID"`
	Status    string `enum:",pending,approved,denied,expired,withdrawn,revoked,ended" default:"" help:"Only these: pending, approved, denied, expired, withdrawn, revoked or ended."`
}

// accessRow is a request in a line: what does not fit into one is seen with show.
type accessRow struct {
	ID          string   `json:"id"`
	Status      string   `json:"status"`
	WorkspaceID string   `json:"workspaceId"`
	Environment string   `json:"environment"`
	Scopes      []string `json:"scopes"`
	Unmasked    []string `json:"unmasked"`
	Duration    string   `json:"duration"`
	Ticket      string   `json:"ticket"`
	Who         string   `json:"who"`
	Employer    string   `json:"employer"`
	Country     string   `json:"country"`
	ExpiresAt   string   `json:"expiresAt"`
	EndsAt      *string  `json:"endsAt"`
	Staff       struct {
		Name, Employer, Country string
	} `json:"staff"` // no cell of a table
}

func (c accessRequests) Run(out *output) error {
	const name = "access/requests"
	in := httpapi.AccessListInput{WorkspaceID: c.Workspace, Status: c.Status}
	if out.json {
		return c.call(out, name, in)
	}
	var found struct {
		Requests []accessRow `json:"requests"`
	}
	if err := c.ask(name, in, &found); err != nil {
		return err
	}
	for i, r := range found.Requests {
		row := &found.Requests[i]
		row.Who, row.Employer, row.Country = r.Staff.Name, r.Staff.Employer, r.Staff.Country
	}
	return out.show(found)
}

type accessShow struct{ idArg }

// Run shows people each kind that is opened by itself: with all their fields they make no table.
func (c accessShow) Run(out *output) error {
	const name = "access/show"
	in := httpapi.IDInput{ID: c.ID}
	if out.json {
		return c.call(out, name, in)
	}
	var answer json.RawMessage
	if err := c.ask(name, in, &answer); err != nil {
		return err
	}
	list, err := members(answer)
	if err != nil {
		return err
	}
	for i, m := range list {
		if m.name == "opens" {
			if list[i].value, err = byKind(m.value); err != nil {
				return err
			}
		}
	}
	return out.show(json.RawMessage(object(list)))
}

// byKind makes a list of openings an object with a member for each kind.
func byKind(openings []byte) (jsontext.Value, error) {
	list, err := members(openings)
	for i, m := range list {
		fields, err := members(m.value)
		if err != nil {
			return nil, err
		}
		list[i].value = object(slices.DeleteFunc(fields, func(f member) bool {
			if f.name == "kind" {
				list[i].name = cell(f.value)
			}
			return f.name == "kind"
		}))
	}
	return object(list), err
}

// object is the opposite of members.
func object(list []member) jsontext.Value {
	text := []byte{'{'}
	for i, m := range list {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(strconv.AppendQuote(text, m.name), ':') // names of members are plain words
		text = append(text, m.value...)
	}
	return append(text, '}')
}

type accessApprove struct{ idArg }

func (c accessApprove) Run(out *output) error {
	return c.call(out, "access/approve", httpapi.IDInput{ID: c.ID})
}

type accessDeny struct {
	idArg
	Note string `help:"Why, for who asked." placeholder:"TEXT"`
}

func (c accessDeny) Run(out *output) error {
	return c.call(out, "access/deny", httpapi.AccessDenyInput{ID: c.ID, Note: c.Note})
}

type accessRevoke struct{ idArg }

func (c accessRevoke) Run(out *output) error {
	return c.call(out, "access/revoke", httpapi.IDInput{ID: c.ID})
}

type accessControls struct {
	adminFlags
	Workspace string `required:"" help:"The workspace's id." placeholder:"ID"`
}

func (c accessControls) Run(out *output) error {
	return c.call(out, "access/controls", httpapi.ScopeInput{WorkspaceID: c.Workspace})
}

type accessPolicy struct {
	adminFlags
	Workspace string `required:"" help:"The workspace's id." placeholder:"ID"`
}

func (c accessPolicy) Run(out *output) error {
	return c.call(out, "access/policy", httpapi.ScopeInput{WorkspaceID: c.Workspace})
}

type agreementCommand struct {
	Add    agreementAdd    `cmd:"" help:"Add an agreement with a customer: its controls tighten the workspace's policy."`
	List   agreementList   `cmd:"" help:"List a workspace's agreements, also those that are over."`
	Remove agreementRemove `cmd:"" help:"End an agreement now, where the customer lets the operator decide. It stays visible."`
}

type agreementAdd struct {
	adminFlags
	Workspace string  `required:"" help:"The workspace's id." placeholder:"ID"`
	Type      string  `required:"" enum:"support,dpa" help:"support, or dpa for a data processing addendum."`
	Reference string  `required:"" help:"What it is filed under: letters, digits and -_./#:"`
	From      *moment `help:"Its first day (UTC), such as 2027-01-01, or its first moment; now by default." placeholder:"DATE"`
	To        *moment `help:"Its last day (UTC), such as 2027-12-31, or the first moment without it; none by default." placeholder:"DATE"`

	MaxDuration    *period  `help:"The longest grant, such as 8h." placeholder:"DURATION"`
	TwoApprovers   bool     `help:"Each request needs two approvals."`
	DifferentRoles bool     `help:"Each request needs two approvals, by keys of different roles."`
	AlwaysMasked   []string `help:"Fields that staff never see, such as email or messages.message." placeholder:"FIELD"`
	NoEnvironment  []string `enum:"development,staging,production" help:"Environments that staff never see." placeholder:"ENV"`
	NoKind         []string `help:"Kinds of record that staff never see, such as messages." placeholder:"KIND"`
	Employer       []string `sep:"none" help:"Only staff of these employers." placeholder:"NAME"`
	Country        []string `help:"Only staff in these countries." placeholder:"CC"`
	Hours          *hours   `and:"hours" help:"Only at this time of day, such as 08:00-18:00." placeholder:"FROM-TO"`
	Timezone       string   `and:"hours" help:"IANA time zone of the hours."`
	Retention      *period  `help:"How long the workspace's audit entries are kept at least, such as 730d." placeholder:"DURATION"`
}

func (c agreementAdd) Run(out *output) error {
	controls := httpapi.AgreementControls{
		TwoApprovers: c.TwoApprovers, DifferentRoles: c.DifferentRoles, AlwaysMasked: c.AlwaysMasked, NoEnvironments: c.NoEnvironment,
		NoKinds: c.NoKind, Employers: c.Employer, Countries: c.Country,
	}
	if c.Hours != nil {
		controls.Hours = &httpapi.AgreementHours{From: c.Hours.from, To: c.Hours.to, Zone: c.Timezone}
	}
	if c.MaxDuration != nil {
		controls.MaxDuration = time.Duration(*c.MaxDuration).String()
	}
	if c.Retention != nil {
		controls.Retention = time.Duration(*c.Retention).String()
	}
	in := httpapi.AgreementInput{WorkspaceID: c.Workspace, Type: c.Type, Reference: c.Reference, Controls: controls}
	if c.From != nil {
		in.From = c.From.start().Format(time.RFC3339)
	}
	if c.To != nil {
		in.To = c.To.end().Format(time.RFC3339)
	}
	return c.call(out, "agreement/add", in)
}

// hours are a time of day, such as 08:00-18:00.
type hours struct{ from, to string }

func (h *hours) UnmarshalText(text []byte) error {
	var ok bool
	if h.from, h.to, ok = strings.Cut(string(text), "-"); !ok || h.from == "" || h.to == "" {
		return errors.New("give a time of day such as 08:00-18:00")
	}
	return nil
}

// moment is a time, or a whole day in UTC.
type moment struct {
	at  time.Time
	day bool
}

func (m *moment) UnmarshalText(text []byte) (err error) {
	if m.at, err = time.Parse(time.DateOnly, string(text)); err == nil {
		m.day = true
		return nil
	}
	if m.at, err = time.Parse(time.RFC3339, string(text)); err != nil {
		return errors.New("give a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z")
	}
	return nil
}

// start is the first moment, end the first one after.
func (m moment) start() time.Time { return m.at.UTC() }

func (m moment) end() time.Time {
	if m.day {
		return m.at.AddDate(0, 0, 1)
	}
	return m.at.UTC()
}

type agreementList struct {
	adminFlags
	Workspace string `required:"" help:"The workspace's id." placeholder:"ID"`
}

// agreementRow is an agreement in a line.
type agreementRow struct {
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	Reference string          `json:"reference"`
	From      string          `json:"from"`
	To        *string         `json:"to"`
	AddedBy   string          `json:"addedBy"`
	RemovedAt *string         `json:"removedAt"`
	RemovedBy *string         `json:"removedBy"`
	AsksFor   string          `json:"asksFor"`
	Controls  json.RawMessage `json:"controls"` // no cell of a table
}

func (c agreementList) Run(out *output) error {
	const name = "agreement/list"
	in := httpapi.ScopeInput{WorkspaceID: c.Workspace}
	if out.json {
		return c.call(out, name, in)
	}
	var found struct {
		Agreements []agreementRow `json:"agreements"`
	}
	if err := c.ask(name, in, &found); err != nil {
		return err
	}
	for i, a := range found.Agreements {
		var err error
		if found.Agreements[i].AsksFor, err = inWords(a.Controls); err != nil {
			return err
		}
	}
	return out.show(found)
}

// inWords is an object in a cell: maxDuration 8h0m0s, hours 08:00 18:00 Europe/Berlin.
func inWords(object []byte) (string, error) {
	list, err := members(object)
	if err != nil {
		return "", err
	}
	var words []string
	for _, m := range list {
		text := cell(m.value)
		if m.value.Kind() == '{' {
			if text, err = inWords(m.value); err != nil {
				return "", err
			}
		}
		words = append(words, strings.TrimSpace(m.name+" "+text))
	}
	return strings.Join(words, ", "), nil
}

type agreementRemove struct {
	idArg
	Workspace string `required:"" help:"The workspace's id." placeholder:"ID"`
}

func (c agreementRemove) Run(out *output) error {
	return c.call(out, "agreement/remove", httpapi.AgreementIDInput{WorkspaceID: c.Workspace, ID: c.ID})
}
