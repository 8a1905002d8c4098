package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"tuco/engine"
	"tuco/httpapi"
)

// adminFlags lead to a running server.
type adminFlags struct {
	Data string `help:"Data directory of the running server." default:"./tuco-data" type:"path"`
}

// socketName is the admin socket's file name in the data directory.
const socketName = "admin.sock"

// call runs a command on the server and prints its answer.
func (f adminFlags) call(out *output, name string, in any) error {
	var answer json.RawMessage
	if err := f.ask(name, in, &answer); err != nil {
		return err
	}
	return out.show(answer)
}

func (f adminFlags) ask(name string, in, answer any) error {
	return f.with(func(c *httpapi.AdminClient) error { return c.Call(name, in, answer) })
}

// with calls fn with a client of the server.
func (f adminFlags) with(fn func(*httpapi.AdminClient) error) error {
	path, done, err := socketPath(f.Data)
	if err == nil {
		defer done()
		err = fn(httpapi.NewAdminClient(path))
	}
	if errors.Is(err, httpapi.ErrNoServer) || errors.Is(err, os.ErrNotExist) {
		return &noServerError{f.Data}
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: run this as the user that the server runs as, such as with 'sudo -u tuco tuco …'", err)
	}
	return err
}

// noServerError says that no server runs on a data directory.
type noServerError struct{ dir string }

func (e *noServerError) Error() string {
	return fmt.Sprintf("no server is running on %q: start it with 'tuco serve --data %s', or name its directory with --data", e.dir, e.dir)
}

// socketPath is the admin socket's path. A socket's path has at most 107 bytes; so it is named by way
// of the directory's file descriptor, which is short however deep the directory lies.
func socketPath(dir string) (path string, done func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), socketName), func() { f.Close() }, nil
}

// idArg names one record.
type idArg struct {
	adminFlags
	ID string `arg:"" help:"Its id."`
}

type workspaceCommand struct {
	Create   workspaceCreate   `cmd:"" help:"Make a workspace."`
	List     workspaceList     `cmd:"" help:"List the workspaces."`
	Show     workspaceShow     `cmd:"" help:"Show a workspace."`
	Set      workspaceSet      `cmd:"" help:"Change a workspace."`
	Delete   workspaceDelete   `cmd:"" help:"Delete a workspace with everything in it."`
	ReadOnly workspaceReadOnly `cmd:"" help:"Let a workspace take no writes: reads go on, writes answer 402 with the reason."`
	Active   workspaceActive   `cmd:"" help:"Let a workspace take writes again."`
	Import   workspaceImport   `cmd:"" help:"Make a workspace of one that another installation exported ('tuco backup create --workspace ID')."`
}

type workspaceCreate struct {
	adminFlags
	Name     string `arg:"" help:"The customer's name."`
	Plan     string `help:"The plan that was bought: mini, starter, growth, enterprise or one made with 'tuco plan set'." default:"starter"`
	Timezone string `help:"IANA time zone of the plan's days." default:"UTC"`
}

func (c workspaceCreate) Run(out *output) error {
	return c.call(out, "workspace/create", httpapi.WorkspaceInput{Name: &c.Name, Plan: &c.Plan, Timezone: &c.Timezone})
}

type workspaceList struct{ adminFlags }

func (c workspaceList) Run(out *output) error {
	return c.call(out, "workspace/list", httpapi.Nothing{})
}

type workspaceShow struct{ idArg }

func (c workspaceShow) Run(out *output) error {
	return c.call(out, "workspace/show", httpapi.IDInput{ID: c.ID})
}

type workspaceSet struct {
	idArg
	Name     *string `help:"Its new name."`
	Plan     *string `help:"Its new plan; the new limits hold from the next request on."`
	Timezone *string `help:"The new time zone of the plan's days."`
}

func (c workspaceSet) Run(out *output) error {
	return c.call(out, "workspace/set", httpapi.WorkspaceInput{ID: c.ID, Name: c.Name, Plan: c.Plan, Timezone: c.Timezone})
}

type workspaceDelete struct {
	idArg
	Yes bool `help:"Do not ask."`
}

func (c workspaceDelete) Run(out *output) error {
	if !c.Yes {
		return &usageError{"this deletes the workspace with everything in it, for good; say so with --yes"}
	}
	return c.call(out, "workspace/delete", httpapi.IDInput{ID: c.ID})
}

type workspaceReadOnly struct {
	idArg
	Reason string `required:"" enum:"past_due,suspended,license_expired,operator,maintenance" help:"Why: past_due, suspended, license_expired, operator or maintenance."`
	DryRun bool   `help:"Change nothing; report what would have been refused lately."`
}

func (c workspaceReadOnly) Run(out *output) error {
	if c.DryRun {
		return c.call(out, "workspace/dry-run", httpapi.IDInput{ID: c.ID})
	}
	return c.call(out, "workspace/set", httpapi.WorkspaceInput{ID: c.ID, ReadOnly: &c.Reason})
}

type workspaceActive struct{ idArg }

func (c workspaceActive) Run(out *output) error {
	none := ""
	return c.call(out, "workspace/set", httpapi.WorkspaceInput{ID: c.ID, ReadOnly: &none})
}

type planCommand struct {
	Set  planSet  `cmd:"" help:"Make or change a plan. What is left out is unlimited in a new plan and unchanged in an old one."`
	List planList `cmd:"" help:"List the plans."`
	Show planShow `cmd:"" help:"Show a plan."`
}

type planSet struct {
	adminFlags
	Name              string     `arg:"" help:"The plan's name."`
	MessagesPerDay    *int64     `help:"0 is unlimited."`
	MessagesPerMonth  *int64     `help:"0 is unlimited."`
	NewContactsPerDay *int64     `help:"0 is unlimited."`
	PhoneLines        *lineCount `help:"A number, or unlimited; 0 is none. Sandbox lines do not count." placeholder:"N|unlimited"`
	EmailLines        *lineCount `help:"A number, or unlimited; 0 is none. Sandbox lines do not count." placeholder:"N|unlimited"`
	RequestsPerMinute *int64     `help:"In place of every documented limit per minute; 0 removes them."`
}

func (c planSet) Run(out *output) error {
	return c.call(out, "plan/set", httpapi.PlanInput{
		Name: c.Name, MessagesPerDay: c.MessagesPerDay, MessagesPerMonth: c.MessagesPerMonth, NewContactsPerDay: c.NewContactsPerDay,
		PhoneLines: (*int64)(c.PhoneLines), EmailLines: (*int64)(c.EmailLines), RequestsPerMinute: c.RequestsPerMinute,
	})
}

// lineCount is a number of lines, or unlimited.
type lineCount int64

func (n *lineCount) UnmarshalText(text []byte) error {
	if string(text) == "unlimited" {
		*n = engine.UnlimitedLines
		return nil
	}
	v, err := strconv.ParseUint(string(text), 10, 31)
	*n = lineCount(v)
	if err != nil {
		return errors.New("give a number from 0 on, or unlimited")
	}
	return nil
}

type planList struct{ adminFlags }

func (c planList) Run(out *output) error { return c.call(out, "plan/list", httpapi.Nothing{}) }

type planShow struct {
	adminFlags
	Name string `arg:"" help:"The plan's name."`
}

func (c planShow) Run(out *output) error {
	return c.call(out, "plan/show", httpapi.PlanInput{Name: c.Name})
}

type keyCommand struct {
	Create  keyCreate  `cmd:"" help:"Make an API key. Its secret is printed once."`
	Import  keyImport  `cmd:"" help:"Take over a secret that an integration already has."`
	List    keyList    `cmd:"" help:"List a workspace's keys with the last use of each secret."`
	Disable keyDisable `cmd:"" help:"Refuse a key until it is enabled."`
	Enable  keyEnable  `cmd:"" help:"Accept a disabled key again."`
	Rotate  keyRotate  `cmd:"" help:"Give a key a new secret."`
	Revoke  keyRevoke  `cmd:"" help:"End a key for good."`
}

// newKey is what making and importing a key have in common.
type newKey struct {
	adminFlags
	Workspace string   `required:"" help:"The workspace's id." placeholder:"ID"`
	Env       string   `required:"" enum:"development,staging,production" help:"development, staging or production."`
	Name      string   `required:"" help:"What the key is for."`
	Role      string   `help:"viewer, member, admin or owner; member by default."`
	Scope     []string `help:"Scopes instead of a role, such as leads:read."`
	Expires   *period  `help:"How long it is valid, such as 90d; for ever by default." placeholder:"DURATION"`
	Allow     []string `help:"Networks that may use it, such as 192.0.2.0/24; all by default." placeholder:"CIDR"`
}

func (c newKey) input(secret string) httpapi.KeyInput {
	in := httpapi.KeyInput{WorkspaceID: c.Workspace, Environment: c.Env, Name: c.Name, Role: c.Role, Scopes: c.Scope, Allow: c.Allow, Secret: secret}
	if c.Expires != nil {
		in.Expires = time.Duration(*c.Expires).String()
	}
	return in
}

// period is a duration that may count in days.
type period time.Duration

func (p *period) UnmarshalText(text []byte) error {
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		*p = period(time.Duration(n) * 24 * time.Hour)
		return err
	}
	d, err := time.ParseDuration(string(text))
	*p = period(d)
	return err
}

type keyCreate struct{ newKey }

func (c keyCreate) Run(out *output) error { return c.call(out, "key/create", c.input("")) }

type keyImport struct {
	newKey
	SecretFile string `required:"" help:"File that holds the secret; - is standard input." type:"path"`
}

func (c keyImport) Run(out *output) error {
	name := c.SecretFile
	if name == "-" {
		name = "/dev/stdin"
	}
	secret, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return c.call(out, "key/create", c.input(strings.TrimSpace(string(secret))))
}

type keyList struct {
	adminFlags
	Workspace string `required:"" help:"The workspace's id." placeholder:"ID"`
}

func (c keyList) Run(out *output) error {
	return c.call(out, "key/list", httpapi.ScopeInput{WorkspaceID: c.Workspace})
}

type keyDisable struct{ idArg }

func (c keyDisable) Run(out *output) error {
	return c.call(out, "key/disable", httpapi.IDInput{ID: c.ID})
}

type keyEnable struct{ idArg }

func (c keyEnable) Run(out *output) error {
	return c.call(out, "key/enable", httpapi.IDInput{ID: c.ID})
}

type keyRotate struct {
	idArg
	Overlap period `help:"How long the old secret goes on, such as 24h; 0 by default." placeholder:"DURATION"`
}

func (c keyRotate) Run(out *output) error {
	return c.call(out, "key/rotate", httpapi.RotateInput{ID: c.ID, Overlap: time.Duration(c.Overlap).String()})
}

type keyRevoke struct{ idArg }

func (c keyRevoke) Run(out *output) error {
	return c.call(out, "key/revoke", httpapi.IDInput{ID: c.ID})
}

type lineCommand struct {
	Create lineCreate `cmd:"" help:"Make a line."`
	List   lineList   `cmd:"" help:"List a workspace's lines with today's usage."`
	Set    lineSet    `cmd:"" help:"Change, pause or resume a line."`
	Delete lineDelete `cmd:"" help:"Delete a line; what waits for it goes to other lines."`
}

// lineFlags are what can be said of a line.
type lineFlags struct {
	FirstName          *string `help:"First name of the sender."`
	LastName           *string `help:"Last name of the sender."`
	Transport          *string `secret:"" help:"How it sends: sandbox:, smtp://user:password@host:587 or smtps://…; a sandbox by default. Better in TUCO_TRANSPORT_FILE than on the command line." placeholder:"URL"`
	DailyMessages      *int64  `help:"Messages per UTC day; 0 is unlimited."`
	DailyConversations *int64  `help:"First messages to people per UTC day; 0 is unlimited."`
	DeviceGap          *string `help:"Least time between two messages; 30s by default." placeholder:"DURATION"`
	ContactGap         *string `help:"Least time between first messages to people; 45s by default." placeholder:"DURATION"`
}

func (f lineFlags) input() httpapi.LineInput {
	return httpapi.LineInput{
		FirstName: f.FirstName, LastName: f.LastName, Transport: f.Transport, DailyMessages: f.DailyMessages,
		DailyConversations: f.DailyConversations, DeviceGap: f.DeviceGap, ContactGap: f.ContactGap,
	}
}

type lineCreate struct {
	adminFlags
	Workspace string  `required:"" help:"The workspace's id." placeholder:"ID"`
	Env       string  `required:"" enum:"development,staging,production" help:"development, staging or production."`
	Type      string  `required:"" enum:"imessage,sms,email" help:"imessage, sms or email."`
	Phone     *string `help:"Its phone number, for imessage and sms."`
	Email     *string `help:"Its e-mail address."`
	lineFlags
}

func (c lineCreate) Run(out *output) error {
	in := c.input()
	in.WorkspaceID, in.Environment, in.Channel, in.Phone, in.Email = c.Workspace, c.Env, c.Type, c.Phone, c.Email
	return c.call(out, "line/create", in)
}

type lineList struct {
	adminFlags
	Workspace string `required:"" help:"The workspace's id." placeholder:"ID"`
}

func (c lineList) Run(out *output) error {
	return c.call(out, "line/list", httpapi.ScopeInput{WorkspaceID: c.Workspace})
}

type lineSet struct {
	idArg
	lineFlags
	Pause  bool `xor:"pause" help:"Send nothing until it is resumed."`
	Resume bool `xor:"pause" help:"Send again."`
}

func (c lineSet) Run(out *output) error {
	in := c.input()
	in.ID = c.ID
	if c.Pause || c.Resume {
		in.Active = &c.Resume
	}
	return c.call(out, "line/set", in)
}

type lineDelete struct{ idArg }

func (c lineDelete) Run(out *output) error {
	return c.call(out, "line/delete", httpapi.IDInput{ID: c.ID})
}

type usageCommand struct {
	adminFlags
	Workspace string `required:"" help:"The workspace's id." placeholder:"ID"`
}

func (c usageCommand) Run(out *output) error {
	return c.call(out, "usage", httpapi.ScopeInput{WorkspaceID: c.Workspace})
}

type messageCommand struct {
	Unknown messageUnknown `cmd:"" help:"List the messages that were handed over and of which nobody can tell whether they arrived."`
	Settle  messageSettle  `cmd:"" help:"Say what became of such a message."`
}

type messageUnknown struct {
	adminFlags
	Workspace string `required:"" help:"The workspace's id." placeholder:"ID"`
}

func (c messageUnknown) Run(out *output) error {
	return c.call(out, "message/unknown", httpapi.ScopeInput{WorkspaceID: c.Workspace})
}

type messageSettle struct {
	adminFlags
	ID        string `arg:"" optional:"" help:"The message's id."`
	Workspace string `help:"All messages of this workspace whose outcome is not known, in place of one." placeholder:"ID"`
	As        string `required:"" enum:"sent,failed,pending" help:"sent, failed, or pending to send it again: it may then arrive twice."`
}

func (c messageSettle) Run(out *output) error {
	if (c.ID == "") == (c.Workspace == "") {
		return &usageError{"name a message, or all of a workspace with --workspace"}
	}
	return c.call(out, "message/settle", httpapi.SettleInput{ID: c.ID, WorkspaceID: c.Workspace, As: c.As})
}

type clockCommand struct {
	Accept clockAccept `cmd:"" help:"Open days by the clock as it is now, after it jumped ahead."`
}

type clockAccept struct{ adminFlags }

func (c clockAccept) Run(out *output) error { return c.call(out, "clock/accept", httpapi.Nothing{}) }
