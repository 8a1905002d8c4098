package httpapi

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tuco/engine"
)

// What staff can do: ask for access, and look at what a grant opens.

type newAccessRequest struct {
	WorkspaceID string         `json:"workspaceId"`
	Environment string         `json:"environment" enum:"development,staging,production"`
	Scopes      []engine.Scope `json:"scopes" description:"that read"`
	ReasonType  string         `json:"reasonType" enum:"customer_initiated_support,service,review,legal_request,incident"`
	Reason      string         `json:"reason" description:"for the customer; it is not in the audit log"`
	Ticket      string         `json:"ticket" description:"1 to 100 letters, digits and -_./#:"`
	Duration    string         `json:"duration" description:"of the grant, such as 1h; at most 720h"`
	StartAt     string         `json:"startAt,omitzero" description:"RFC 3339, within 720h; at approval without it"`
	Unmasked    []string       `json:"unmasked,omitzero" description:"names of fields to see, such as phone or messages.to"`
}

// requestAccess serves POST /staff/access-requests.
func (s *Server) requestAccess(c *call, in newAccessRequest) (reply, error) {
	if in.WorkspaceID == "" {
		return reply{}, engine.Errorf(engine.Invalid, "workspaceId is required")
	}
	q := engine.NewAccess{
		Workspace: engine.WorkspaceID(in.WorkspaceID), Environment: engine.Environment(in.Environment), Scopes: in.Scopes,
		ReasonType: engine.ReasonType(in.ReasonType), Reason: in.Reason, Ticket: in.Ticket, Unmasked: in.Unmasked,
	}
	var err error
	if q.Duration, err = parseDuration("duration", in.Duration); err != nil {
		return reply{}, err
	}
	if q.StartAt, err = queryDate("startAt", in.StartAt); err != nil {
		return reply{}, err
	}
	r, err := s.eng.RequestAccess(*c.staff, q)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, body: newAccessObject(&r)}, nil
}

// listOwnAccess serves GET /staff/access-requests.
func (s *Server) listOwnAccess(c *call, in accessPageInput) (reply, error) {
	q, err := in.query()
	if err != nil {
		return reply{}, err
	}
	page, err := s.eng.OwnAccessRequests(*c.staff, q)
	if err != nil {
		return reply{}, err
	}
	return ok(newAccessPage(page))
}

// getOwnAccess serves GET /staff/access-requests/{id}.
func (s *Server) getOwnAccess(c *call, in accessInput) (reply, error) {
	return accessReply(s.eng.OwnAccessRequest(*c.staff, in.ID))
}

// withdrawAccess serves POST /staff/access-requests/{id}/withdraw.
func (s *Server) withdrawAccess(c *call, in accessInput) (reply, error) {
	return accessReply(s.eng.WithdrawAccess(*c.staff, in.ID))
}

// A staffView is what staff see of one kind of record: a page of records, or one. It describes itself for the
// OpenAPI document with the names of its fields, so that a field that is in no list of the engine's can't pass there.
type staffView struct {
	kind   engine.RecordKind
	member string // of the answer
	one    bool
}

func (v staffView) schema() object {
	fields := object{}
	for _, name := range slices.Concat(engine.ShownFields(v.kind), engine.MaskableFields(v.kind)) {
		fields[name] = object{}
	}
	record := object{"type": "object", "properties": fields, "additionalProperties": false}
	properties := object{
		"accessId":   object{"type": "string", "description": "the grant"},
		"unmasked":   object{"type": "array", "items": object{"type": "string"}, "description": "fields that the grant shows; other masked ones are " + engine.Mask},
		"auditEntry": object{"type": "integer", "format": "int64", "description": "sequence number of the entry that records this answer"},
		v.member:     record,
	}
	required := []string{v.member, "accessId", "unmasked", "auditEntry"}
	if !v.one {
		properties[v.member] = object{"type": "array", "items": record}
		properties["nextCursor"] = object{"type": []string{"string", "null"}}
		required = append(required, "nextCursor")
	}
	return object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

func (v staffView) answer(p engine.StaffPage) (object, error) {
	answer := object{"accessId": p.Access, "unmasked": p.Unmasked, "auditEntry": p.Entry}
	if !v.one {
		records := make([]staffRecord, len(p.Records))
		for i, r := range p.Records {
			records[i] = staffRecord(r)
		}
		answer[v.member], answer["nextCursor"] = records, nullable(p.Next)
		return answer, nil
	}
	if len(p.Records) != 1 {
		return nil, engine.Errorf(engine.NotFound, "Not found")
	}
	answer[v.member] = staffRecord(p.Records[0])
	return answer, nil
}

// staffRecord is a record in an answer.
type staffRecord engine.StaffRecord

// MarshalJSONTo writes an object, with times as everywhere else.
func (r staffRecord) MarshalJSONTo(e *jsontext.Encoder) error {
	if err := e.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, f := range r {
		if err := e.WriteToken(jsontext.String(f.Name)); err != nil {
			return err
		}
		if err := writeField(e, f.Value); err != nil {
			return err
		}
	}
	return e.WriteToken(jsontext.EndObject)
}

func writeField(e *jsontext.Encoder, value any) error {
	switch v := value.(type) {
	case string:
		return e.WriteToken(jsontext.String(v))
	case bool:
		return e.WriteToken(jsontext.Bool(v))
	case int64:
		return e.WriteToken(jsontext.Int(v))
	case time.Time:
		return json.MarshalEncode(e, date(v))
	}
	return json.MarshalEncode(e, value)
}

// staffPlace is where staff look.
type staffPlace struct {
	Workspace   string `path:"id" json:"-" pattern:"org_[0-9a-f]{24}"`
	Environment string `query:"environment" json:"-" enum:"development,staging,production" required:"true"`
}

func (in staffPlace) query() (engine.StaffQuery, error) {
	return engine.StaffQuery{Workspace: engine.WorkspaceID(in.Workspace), Environment: engine.Environment(in.Environment)}, nil
}

type staffRecordInput struct {
	staffPlace
	Record string `path:"record" json:"-"`
}

func (in staffRecordInput) query() (engine.StaffQuery, error) {
	q, err := in.staffPlace.query()
	q.ID = in.Record
	return q, err
}

type staffPageInput struct {
	staffPlace
	Cursor string `query:"cursor" json:"-" description:"nextCursor of the page before"`
	Limit  int    `query:"limit" json:"-" minimum:"1" description:"50; at most 100"`
}

func (in staffPageInput) query() (engine.StaffQuery, error) {
	q, err := in.staffPlace.query()
	q.Cursor, q.Limit = in.Cursor, min(or(in.Limit, pageSize), maxPageSize)
	return q, err
}

type staffLeadsInput struct {
	staffPageInput
	Search string `query:"search" json:"-" description:"403 unless the grant shows firstName, lastName, email, phone and companyName"`
	ListID string `query:"listId" json:"-"`
}

func (in staffLeadsInput) query() (engine.StaffQuery, error) {
	q, err := in.staffPageInput.query()
	q.Search, q.List = in.Search, in.ListID
	return q, err
}

type staffMessagesInput struct {
	staffPageInput
	Status   string `query:"status" json:"-" enum:"queued,pending,sending,sent,delivered,failed,fallback,scheduled,cancelled,unknown"`
	LineID   string `query:"lineId" json:"-"`
	LeadID   string `query:"leadId" json:"-"`
	BatchID  string `query:"batchId" json:"-" description:"403 unless the grant shows batchId"`
	DateFrom string `query:"dateFrom" json:"-" description:"ISO 8601, of creation, inclusive"`
	DateTo   string `query:"dateTo" json:"-" description:"ISO 8601, of creation, inclusive"`
}

func (in staffMessagesInput) query() (engine.StaffQuery, error) {
	q, err := in.staffPageInput.query()
	if err != nil {
		return q, err
	}
	q.Status, q.Line, q.Lead, q.Batch = engine.Status(in.Status), in.LineID, in.LeadID, in.BatchID
	if q.From, err = queryDate("dateFrom", in.DateFrom); err != nil {
		return q, err
	}
	if q.To, err = queryDate("dateTo", in.DateTo); err != nil {
		return q, err
	}
	if !q.To.IsZero() && q.To.Before(q.From) {
		return q, engine.Errorf(engine.Invalid, "dateFrom must be <= dateTo")
	}
	return q, nil
}

// addStaffViews adds the routes by which staff look into a workspace.
func (s *Server) addStaffViews() {
	addStaffView[staffPlace](s, "staffWorkspace", "workspace", "Show a workspace to staff", staffView{engine.KindWorkspace, "workspace", true})
	addStaffView[staffPlace](s, "staffUsage", "usage", "Show a workspace's limits to staff", staffView{engine.KindUsage, "limits", false})
	addStaffView[staffPageInput](s, "staffKeys", "keys", "Show API keys to staff, without secrets", staffView{engine.KindKeys, "keys", false})
	addStaffView[staffLeadsInput](s, "staffLeads", "leads", "Show leads to staff", staffView{engine.KindLeads, "leads", false})
	addStaffView[staffRecordInput](s, "staffLead", "leads/{record}", "Show a lead to staff", staffView{engine.KindLeads, "lead", true})
	addStaffView[staffPageInput](s, "staffLists", "lists", "Show lists to staff", staffView{engine.KindLists, "lists", false})
	addStaffView[staffRecordInput](s, "staffList", "lists/{record}", "Show a list to staff", staffView{engine.KindLists, "list", true})
	addStaffView[staffPageInput](s, "staffLines", "lines", "Show lines to staff", staffView{engine.KindLines, "lines", false})
	addStaffView[staffRecordInput](s, "staffLine", "lines/{record}", "Show a line to staff", staffView{engine.KindLines, "line", true})
	addStaffView[staffMessagesInput](s, "staffMessages", "messages", "Show messages to staff", staffView{engine.KindMessages, "messages", false})
	addStaffView[staffRecordInput](s, "staffMessage", "messages/{record}", "Show a message to staff", staffView{engine.KindMessages, "message", true})
}

func addStaffView[In interface {
	query() (engine.StaffQuery, error)
}](s *Server, id, path, summary string, v staffView) {
	r := route{
		id: id, method: get, path: "/staff/workspaces/{id}/" + path, summary: summary, realm: staffToken,
		answers: map[int]any{http.StatusOK: v}, errors: []int{http.StatusNotFound},
	}
	known := newBinder(reflect.TypeFor[In]()).params
	add(s, r, func(c *call, in In) (reply, error) {
		q, err := in.query()
		if err != nil {
			return reply{}, err
		}
		q.Kind, q.Operation = v.kind, r.method+" "+r.path
		by, other := lookedBy(v.kind, c.query, known)
		if q.By = by; other {
			refuseFilter(&q)
		}
		page, err := s.eng.StaffRead(*c.staff, q)
		if err != nil {
			return reply{}, err
		}
		answer, err := v.answer(page)
		if err != nil {
			return reply{}, err
		}
		return ok(answer)
	})
}

// lookedBy returns the fields by which parameters search, filter or sort that the route doesn't have, and whether there are
// such parameters. Which of the fields are masked, the grant says.
func lookedBy(kind engine.RecordKind, query []argument, known []param) (by []string, other bool) {
	masked := engine.MaskableFields(kind)
	fields := slices.Concat(masked, engine.ShownFields(kind))
	for _, a := range query {
		name := strings.TrimPrefix(a.name, string(kind)+".")
		switch {
		case name == "limit", name == "cursor", slices.ContainsFunc(known, func(p param) bool { return p.query == a.name }):
			continue
		case slices.Contains(fields, name):
			by, other = append(by, name), true
		case name == "search", name == "q", name == "filter":
			by, other = append(by, masked...), true
		case slices.Contains([]string{"sort", "sortBy", "orderBy", "order"}, name):
			by, other = append(by, sortFields(fields, a.value)...), true
		}
	}
	return by, other
}

// sortFields returns the fields that a text names.
func sortFields(fields []string, text string) (by []string) {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(",:.+- ", r) }) {
		if slices.Contains(fields, word) {
			by = append(by, word)
		}
	}
	return by
}

// refuseFilter makes the engine refuse the query as one with a filter that its kind doesn't have, after it has looked
// for a grant, and at what that masks: whoever may not look learns nothing else.
func refuseFilter(q *engine.StaffQuery) {
	if q.Kind == engine.KindLeads {
		q.Line = "none"
	} else {
		q.List = "none"
	}
}
