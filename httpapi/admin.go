package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/rs/zerolog"

	"tuco/engine"
	"tuco/strictjson"
)

// AdminServer answers the operator's commands on the admin socket: POST /<command> with a JSON object.
// Who can open the socket is the operator; the file's mode decides that.
type AdminServer struct {
	eng    *engine.Engine
	admin  engine.Admin
	log    zerolog.Logger
	mux    *http.ServeMux
	server *http.Server

	version  string
	care     progress        // of a check or a compaction
	stopping context.Context // ends when the server is to stop
}

// NewAdmin makes the operator's server.
func NewAdmin(eng *engine.Engine, version string, log zerolog.Logger) *AdminServer {
	mux := http.NewServeMux()
	a := &AdminServer{eng: eng, admin: eng.Admin(), version: version, log: log, mux: mux}
	a.addCommands(mux)
	a.addAuditCommands(mux)
	a.addStaffCommands(mux)
	a.addCareCommands(mux)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	var stop context.CancelFunc
	a.stopping, stop = context.WithCancel(context.Background())
	a.server.RegisterOnShutdown(stop)
	return a
}

// Serve answers on ln until Shutdown.
func (a *AdminServer) Serve(ln net.Listener) error {
	if err := a.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown waits for the commands that were begun, as long as ctx allows.
func (a *AdminServer) Shutdown(ctx context.Context) error { return a.server.Shutdown(ctx) }

// AddCommand adds a command that is none of the engine's, but of the process around it. It must be added before Serve.
func AddCommand[In, Out any](a *AdminServer, name string, fn func(In) (Out, error)) {
	command(a, a.mux, name, fn)
}

// command registers fn under a name.
func command[In, Out any](a *AdminServer, mux *http.ServeMux, name string, fn func(In) (Out, error)) {
	mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
		in, err := input[In](r)
		var out Out
		if err == nil {
			out, err = fn(in)
		}
		a.answer(w, name, out, err)
	})
}

// input reads what a command is given.
func input[In any](r *http.Request) (in In, err error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyBytes))
	if err == nil {
		err = strictjson.Unmarshal(body, &in, strictjson.RejectUnknown)
	}
	return in, err
}

func (a *AdminServer) answer(w http.ResponseWriter, name string, out any, err error) {
	status, body := http.StatusOK, out
	if err != nil {
		a.log.Warn().Err(err).Str("command", name).Msg("admin command failed")
		status, body = adminError(err)
	} else {
		a.log.Info().Str("command", name).Msg("admin command")
	}
	data, err := strictjson.Marshal(body)
	if err != nil {
		http.Error(w, internalText, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(data)
}

// adminError tells the operator everything: who reads it may see it.
func adminError(err error) (int, any) {
	var e *engine.Error
	if errors.As(err, &e) {
		text := e.Error()
		if e.Kind == engine.ReadOnly {
			text = engine.ReadOnlyReason(e.Reason).Sentence()
		}
		return statusOf[e.Kind], errorResponse{Error: text, Code: e.Code, Reason: e.Reason}
	}
	var bad *strictjson.Error
	if errors.As(err, &bad) {
		return http.StatusBadRequest, errorResponse{Error: bad.Msg}
	}
	return http.StatusInternalServerError, errorResponse{Error: err.Error()}
}

// AdminClient speaks to a running server over its admin socket.
type AdminClient struct {
	client http.Client
}

// NewAdminClient returns a client of the server whose admin socket is at path.
func NewAdminClient(path string) *AdminClient {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &AdminClient{http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// ErrNoServer says that nobody answers on the admin socket.
var ErrNoServer = errors.New("no server is running")

// Call runs a command and decodes its answer into out.
func (c *AdminClient) Call(name string, in, out any) error {
	var data bytes.Buffer
	if err := c.Fetch(name, in, &data); err != nil {
		return err
	}
	return json.Unmarshal(data.Bytes(), out)
}

// Fetch runs a command and writes its answer to w as it comes.
func (c *AdminClient) Fetch(name string, in any, w io.Writer) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	resp, err := c.client.Post("http://admin/"+name, "application/json", bytes.NewReader(body))
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		return ErrNoServer
	}
	if err != nil {
		return fmt.Errorf("the server ended before it answered: its log says why, and what was done (%w)", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		_, err = io.Copy(w, resp.Body)
		return err
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var e errorResponse
	if json.Unmarshal(data, &e) != nil || e.Error == "" {
		e.Error = resp.Status
	}
	return errors.New(e.Error)
}

// Nothing is the input, or the answer, of a command that has none.
type Nothing struct{}

// IDInput names one record.
type IDInput struct {
	ID string `json:"id"`
}

// WorkspaceInput makes or changes a workspace; nil leaves it.
type WorkspaceInput struct {
	ID       string  `json:"id,omitempty"`
	Name     *string `json:"name,omitempty"`
	Plan     *string `json:"plan,omitempty"`
	Timezone *string `json:"timezone,omitempty"`
	ReadOnly *string `json:"readOnly,omitempty"` // empty: it takes writes again
}

// WorkspaceOutput is a workspace as the operator sees it.
type WorkspaceOutput struct {
	ID        string  `json:"id"`
	Name      string  `json:"name"`
	Plan      string  `json:"plan"`
	Timezone  string  `json:"timezone"`
	State     string  `json:"state"`
	Reason    *string `json:"reason"`
	Since     *string `json:"since"`
	CreatedAt string  `json:"createdAt"`
}

// WorkspacesOutput is every workspace.
type WorkspacesOutput struct {
	Workspaces []WorkspaceOutput `json:"workspaces"`
}

func newWorkspaceOutput(w engine.Workspace) WorkspaceOutput {
	out := WorkspaceOutput{ID: string(w.ID), Name: w.Name, Plan: w.Plan, Timezone: w.Timezone, State: "active", CreatedAt: w.Created.Format(dateLayout)}
	if w.ReadOnly != "" {
		out.State, out.Reason, out.Since = "read_only", nullable(string(w.ReadOnly)), nullable(w.ReadOnlySince.Format(dateLayout))
	}
	return out
}

// DryRunOutput is what READ_ONLY would have refused lately.
type DryRunOutput struct {
	Since    string           `json:"since"`
	Requests map[string]int64 `json:"requests"` // by scope
	Waiting  int              `json:"waiting"`  // messages that would not go
}

// PlanInput makes or changes a plan; nil leaves it. For lines -1 is unlimited.
type PlanInput struct {
	Name              string `json:"name"`
	MessagesPerDay    *int64 `json:"messagesPerDay,omitempty"`
	MessagesPerMonth  *int64 `json:"messagesPerMonth,omitempty"`
	NewContactsPerDay *int64 `json:"newContactsPerDay,omitempty"`
	PhoneLines        *int64 `json:"phoneLines,omitempty"`
	EmailLines        *int64 `json:"emailLines,omitempty"`
	RequestsPerMinute *int64 `json:"requestsPerMinute,omitempty"`
}

// PlanOutput is a plan; null is unlimited, or for requests per minute the documented limits.
type PlanOutput struct {
	Name              string `json:"name"`
	MessagesPerDay    *int64 `json:"messagesPerDay"`
	MessagesPerMonth  *int64 `json:"messagesPerMonth"`
	NewContactsPerDay *int64 `json:"newContactsPerDay"`
	PhoneLines        *int64 `json:"phoneLines"`
	EmailLines        *int64 `json:"emailLines"`
	RequestsPerMinute *int64 `json:"requestsPerMinute"`
}

// PlansOutput is every plan.
type PlansOutput struct {
	Plans []PlanOutput `json:"plans"`
}

func newPlanOutput(p engine.Plan) PlanOutput {
	lines := func(n int64) *int64 {
		if n == engine.UnlimitedLines {
			return nil
		}
		return &n
	}
	return PlanOutput{p.Name, limited(p.MessagesPerDay), limited(p.MessagesPerMonth), limited(p.NewContactsPerDay), lines(p.PhoneLines), lines(p.EmailLines), p.RequestsPerMinute}
}

// KeyInput makes a key, or with a secret imports it.
type KeyInput struct {
	WorkspaceID string   `json:"workspaceId"`
	Environment string   `json:"environment"`
	Name        string   `json:"name"`
	Role        string   `json:"role,omitempty"`
	Scopes      []string `json:"scopes,omitempty"`
	Expires     string   `json:"expires,omitempty"` // a duration from now, such as 2160h
	Allow       []string `json:"allow,omitempty"`
	Secret      string   `json:"secret,omitempty"`
}

// RotateInput rotates a key.
type RotateInput struct {
	ID      string `json:"id"`
	Overlap string `json:"overlap,omitempty"`
}

// LineInput makes or changes a line; nil leaves it.
type LineInput struct {
	ID                 string  `json:"id,omitempty"`
	WorkspaceID        string  `json:"workspaceId,omitempty"`
	Environment        string  `json:"environment,omitempty"`
	Channel            string  `json:"channel,omitempty"`
	FirstName          *string `json:"firstName,omitempty"`
	LastName           *string `json:"lastName,omitempty"`
	Phone              *string `json:"phone,omitempty"`
	Email              *string `json:"email,omitempty"`
	Transport          *string `json:"transport,omitempty"`
	DailyMessages      *int64  `json:"dailyMessages,omitempty"`
	DailyConversations *int64  `json:"dailyConversations,omitempty"`
	DeviceGap          *string `json:"deviceGap,omitempty"`
	ContactGap         *string `json:"contactGap,omitempty"`
	Active             *bool   `json:"active,omitempty"`
}

// ScopeInput names a workspace, and one of its environments or all.
type ScopeInput struct {
	WorkspaceID string `json:"workspaceId"`
	Environment string `json:"environment,omitempty"`
}

func (a *AdminServer) addCommands(mux *http.ServeMux) {
	command(a, mux, "workspace/create", func(in WorkspaceInput) (WorkspaceOutput, error) {
		text := func(s *string) string {
			if s == nil {
				return ""
			}
			return *s
		}
		w, err := a.admin.CreateWorkspace(text(in.Name), text(in.Plan), text(in.Timezone))
		return newWorkspaceOutput(w), err
	})
	command(a, mux, "workspace/list", func(Nothing) (WorkspacesOutput, error) {
		all, err := a.admin.Workspaces()
		out := WorkspacesOutput{[]WorkspaceOutput{}}
		for _, w := range all {
			out.Workspaces = append(out.Workspaces, newWorkspaceOutput(w))
		}
		return out, err
	})
	command(a, mux, "workspace/show", func(in IDInput) (WorkspaceOutput, error) {
		w, err := a.admin.Workspace(engine.WorkspaceID(in.ID))
		return newWorkspaceOutput(w), err
	})
	command(a, mux, "workspace/set", func(in WorkspaceInput) (WorkspaceOutput, error) {
		change := engine.WorkspaceChange{Name: in.Name, Plan: in.Plan, Timezone: in.Timezone, ReadOnly: (*engine.ReadOnlyReason)(in.ReadOnly)}
		w, err := a.admin.SetWorkspace(engine.WorkspaceID(in.ID), change)
		return newWorkspaceOutput(w), err
	})
	command(a, mux, "workspace/dry-run", func(in IDInput) (DryRunOutput, error) {
		seen, err := a.admin.RecentWrites(engine.WorkspaceID(in.ID))
		out := DryRunOutput{Since: seen.Since.UTC().Format(dateLayout), Requests: map[string]int64{}, Waiting: seen.Waiting}
		for scope, n := range seen.Requests {
			out.Requests[string(scope)] = n
		}
		return out, err
	})
	command(a, mux, "workspace/delete", func(in IDInput) (Nothing, error) {
		return Nothing{}, a.admin.DeleteWorkspace(engine.WorkspaceID(in.ID))
	})
	command(a, mux, "plan/set", func(in PlanInput) (PlanOutput, error) {
		p, err := a.admin.SetPlan(in.Name, engine.PlanChange{
			MessagesPerDay: in.MessagesPerDay, MessagesPerMonth: in.MessagesPerMonth, NewContactsPerDay: in.NewContactsPerDay,
			PhoneLines: in.PhoneLines, EmailLines: in.EmailLines, RequestsPerMinute: in.RequestsPerMinute,
		})
		return newPlanOutput(p), err
	})
	command(a, mux, "plan/list", func(Nothing) (PlansOutput, error) {
		all, err := a.admin.Plans()
		out := PlansOutput{[]PlanOutput{}}
		for _, p := range all {
			out.Plans = append(out.Plans, newPlanOutput(p))
		}
		return out, err
	})
	command(a, mux, "plan/show", func(in PlanInput) (PlanOutput, error) {
		p, err := a.admin.Plan(in.Name)
		return newPlanOutput(p), err
	})
	a.addKeyCommands(mux)
	a.addLineCommands(mux)
	command(a, mux, "usage", func(in ScopeInput) (map[string][]limitObject, error) {
		out := map[string][]limitObject{}
		err := a.each(in, func(who engine.Caller) error {
			states, err := a.eng.Usage(who)
			out[string(who.Environment())] = newLimits(states)
			return err
		})
		return out, err
	})
	command(a, mux, "message/unknown", a.unknownMessages)
	command(a, mux, "message/settle", a.settle)
	command(a, mux, "clock/accept", func(Nothing) (Nothing, error) {
		return Nothing{}, a.admin.AcceptClock()
	})
}

// AuditLogInput says which entries of the audit log to show.
type AuditLogInput struct {
	From  uint64 `json:"from,omitzero"`
	Limit int    `json:"limit,omitzero"`
}

// AuditLogOutput has entries as they stand in the log, and where the next ones begin.
type AuditLogOutput struct {
	Entries []jsontext.Value `json:"entries"`
	Next    uint64           `json:"next"`
}

// AuditKeysOutput has the verifier keys of the audit log, the newest last.
type AuditKeysOutput struct {
	Keys []string `json:"keys"`
}

// CheckpointOutput has a signed checkpoint of the audit log.
type CheckpointOutput struct {
	Checkpoint string `json:"checkpoint"`
}

// AuditProofInput names an entry of the audit log.
type AuditProofInput struct {
	Seq uint64 `json:"seq"`
}

// AuditProofOutput has the proof that an entry is in the log.
type AuditProofOutput struct {
	Proof string `json:"proof"`
}

// ExportInput says what of the audit log to export. Empty is all.
type ExportInput struct {
	Workspace  string `json:"workspace,omitzero"`
	From       string `json:"from,omitzero"`
	To         string `json:"to,omitzero"`
	Checkpoint string `json:"checkpoint,omitzero"` // an earlier one, signed
}

func (in ExportInput) bounds() (r engine.AuditRange, err error) {
	r.Workspace = engine.WorkspaceID(in.Workspace)
	if in.Checkpoint != "" {
		r.Earlier = []byte(in.Checkpoint)
	}
	if r.From, err = queryDate("from", in.From); err == nil {
		r.To, err = queryDate("to", in.To)
	}
	return r, err
}

// export answers with a bundle of the audit log. It is made before the first byte goes, so that an answer is a whole one.
func (a *AdminServer) export(w http.ResponseWriter, req *http.Request) {
	const name = "audit/export"
	in, err := input[ExportInput](req)
	var r engine.AuditRange
	if err == nil {
		r, err = in.bounds()
	}
	var file *os.File
	if err == nil {
		if file, err = a.eng.TempFile(); err == nil {
			defer file.Close()
			_, err = a.admin.ExportAudit(file, a.version, r)
		}
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		a.answer(w, name, nil, err)
		return
	}
	a.log.Info().Str("command", name).Msg("admin command")
	if info, err := file.Stat(); err == nil {
		w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10)) // so that a cut-off answer is known as one
	}
	w.Header().Set("Content-Type", "application/x-tar")
	io.Copy(w, file) //nolint:errcheck // the client notices
}

func (a *AdminServer) addAuditCommands(mux *http.ServeMux) {
	mux.HandleFunc("POST /audit/export", a.export)
	command(a, mux, "audit/log", func(in AuditLogInput) (AuditLogOutput, error) {
		lines, next, err := a.admin.AuditLines(in.From, min(or(in.Limit, 100), 1000))
		out := AuditLogOutput{Entries: []jsontext.Value{}, Next: next}
		for _, line := range lines {
			out.Entries = append(out.Entries, jsontext.Value(bytes.TrimSpace(line)))
		}
		return out, err
	})
	command(a, mux, "audit/key", func(Nothing) (AuditKeysOutput, error) { return AuditKeysOutput{a.eng.AuditKeys()}, nil })
	command(a, mux, "audit/rotate-key", func(Nothing) (AuditKeysOutput, error) {
		_, err := a.admin.RotateAuditKey()
		return AuditKeysOutput{a.eng.AuditKeys()}, err
	})
	command(a, mux, "audit/proof", func(in AuditProofInput) (AuditProofOutput, error) {
		proof, err := a.admin.ProveEntry(in.Seq)
		return AuditProofOutput{string(proof)}, err
	})
	command(a, mux, "audit/checkpoint", func(Nothing) (CheckpointOutput, error) {
		signed, err := a.eng.Checkpoint()
		return CheckpointOutput{string(signed)}, err
	})
}

// each runs fn for the environments that in names.
func (a *AdminServer) each(in ScopeInput, fn func(engine.Caller) error) error {
	envs := engine.Environments
	if in.Environment != "" {
		env, err := engine.ParseEnvironment(in.Environment)
		if err != nil {
			return err
		}
		envs = []engine.Environment{env}
	}
	for _, env := range envs {
		who, err := a.admin.In(engine.WorkspaceID(in.WorkspaceID), env)
		if err != nil {
			return err
		}
		if err := fn(who); err != nil {
			return err
		}
	}
	return nil
}

func (a *AdminServer) addKeyCommands(mux *http.ServeMux) {
	command(a, mux, "key/create", a.createKey)
	command(a, mux, "key/list", func(in ScopeInput) (keysResponse, error) {
		out := keysResponse{[]keyObject{}}
		err := a.each(in, func(who engine.Caller) error {
			all, err := a.eng.Keys(who)
			for _, k := range all {
				out.Keys = append(out.Keys, newKeyObject(who.Environment(), k))
			}
			return err
		})
		return out, err
	})
	disable := func(yes bool) func(IDInput) (keyObject, error) {
		return func(in IDInput) (keyObject, error) {
			who, err := a.admin.FindOwner(in.ID, "Key not found")
			if err != nil {
				return keyObject{}, err
			}
			k, err := a.eng.SetKey(who, in.ID, engine.KeyChange{Disabled: &yes})
			return newKeyObject(who.Environment(), k), err
		}
	}
	command(a, mux, "key/disable", disable(true))
	command(a, mux, "key/enable", disable(false))
	command(a, mux, "key/revoke", func(in IDInput) (successResponse, error) {
		who, err := a.admin.FindOwner(in.ID, "Key not found")
		if err != nil {
			return successResponse{}, err
		}
		return successResponse{true}, a.eng.RevokeKey(who, in.ID)
	})
	command(a, mux, "key/rotate", func(in RotateInput) (secretResponse, error) {
		overlap, err := parseOverlap(in.Overlap)
		if err != nil {
			return secretResponse{}, err
		}
		who, err := a.admin.FindOwner(in.ID, "Key not found")
		if err != nil {
			return secretResponse{}, err
		}
		k, secret, err := a.eng.RotateKey(who, in.ID, overlap)
		return secretResponse{k.ID.String(), secret, newKeyObject(who.Environment(), k), secretWarning}, err
	})
}

func (a *AdminServer) createKey(in KeyInput) (secretResponse, error) {
	key := engine.NewKey{Name: in.Name, Role: engine.Role(in.Role), Secret: in.Secret}
	for _, s := range in.Scopes {
		key.Scopes = append(key.Scopes, engine.Scope(s))
	}
	var err error
	if key.Allow, err = ParsePrefixes(in.Allow); err != nil {
		return secretResponse{}, err
	}
	if key.Expires, err = expiry(in.Expires); err != nil {
		return secretResponse{}, err
	}
	who, err := a.admin.In(engine.WorkspaceID(in.WorkspaceID), engine.Environment(in.Environment))
	if err != nil {
		return secretResponse{}, err
	}
	k, secret, err := a.eng.CreateKey(who, key)
	if err != nil {
		return secretResponse{}, err
	}
	out := secretResponse{k.ID.String(), secret, newKeyObject(who.Environment(), k), secretWarning}
	if in.Secret != "" {
		out.Secret, out.Warning = "", "" // who imports it has it
	}
	return out, nil
}

func (a *AdminServer) addLineCommands(mux *http.ServeMux) {
	command(a, mux, "line/create", func(in LineInput) (lineObject, error) {
		change, err := in.change()
		if err != nil {
			return lineObject{}, err
		}
		who, err := a.admin.In(engine.WorkspaceID(in.WorkspaceID), engine.Environment(in.Environment))
		if err != nil {
			return lineObject{}, err
		}
		l, err := a.eng.CreateLine(who, engine.Channel(in.Channel), change)
		if err != nil {
			return lineObject{}, err
		}
		return newLineObject(who.Workspace(), a.eng.Report(who, l)), nil
	})
	command(a, mux, "line/list", func(in ScopeInput) (map[string][]lineObject, error) {
		out := map[string][]lineObject{}
		err := a.each(in, func(who engine.Caller) error {
			all, err := a.eng.Lines(who)
			list := []lineObject{}
			for _, l := range all {
				list = append(list, newLineObject(who.Workspace(), l))
			}
			out[string(who.Environment())] = list
			return err
		})
		return out, err
	})
	command(a, mux, "line/set", func(in LineInput) (lineObject, error) {
		change, err := in.change()
		if err != nil {
			return lineObject{}, err
		}
		who, err := a.admin.FindOwner(in.ID, "Line not found")
		if err != nil {
			return lineObject{}, err
		}
		l, err := a.eng.SetLine(who, in.ID, change)
		if err != nil {
			return lineObject{}, err
		}
		return newLineObject(who.Workspace(), a.eng.Report(who, l)), nil
	})
	command(a, mux, "line/delete", func(in IDInput) (successResponse, error) {
		who, err := a.admin.FindOwner(in.ID, "Line not found")
		if err != nil {
			return successResponse{}, err
		}
		return successResponse{true}, a.eng.DeleteLine(who, in.ID)
	})
}

func (in LineInput) change() (engine.LineChange, error) {
	device, err := duration("device-gap", in.DeviceGap)
	if err != nil {
		return engine.LineChange{}, err
	}
	contact, err := duration("contact-gap", in.ContactGap)
	return engine.LineChange{
		FirstName: in.FirstName, LastName: in.LastName, Phone: in.Phone, Email: in.Email, Transport: in.Transport,
		DailyMessages: in.DailyMessages, DailyNew: in.DailyConversations, DeviceGap: device, ContactGap: contact, Active: in.Active,
	}, err
}

func duration(name string, text *string) (*time.Duration, error) {
	if text == nil {
		return nil, nil
	}
	d, err := time.ParseDuration(*text)
	if err != nil {
		return nil, engine.Errorf(engine.Invalid, "%s must be a duration such as 30s", name)
	}
	return &d, nil
}
