package httpapi

import (
	"net/http"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tuco/engine"
)

// leadInput is a lead in a request. What is missing or null is not said.
type leadInput struct {
	FirstName         *string        `json:"firstName,omitzero"`
	LastName          *string        `json:"lastName,omitzero"`
	Email             *string        `json:"email,omitzero"`
	Phone             *string        `json:"phone,omitzero"`
	AltPhone1         *string        `json:"altPhone1,omitzero"`
	AltPhone2         *string        `json:"altPhone2,omitzero"`
	AltPhone3         *string        `json:"altPhone3,omitzero"`
	AltEmail1         *string        `json:"altEmail1,omitzero"`
	AltEmail2         *string        `json:"altEmail2,omitzero"`
	AltEmail3         *string        `json:"altEmail3,omitzero"`
	CompanyName       *string        `json:"companyName,omitzero"`
	JobTitle          *string        `json:"jobTitle,omitzero"`
	LinkedinURL       *string        `json:"linkedinUrl,omitzero"`
	Notes             *string        `json:"notes,omitzero"`
	CustomFields      jsontext.Value `json:"customFields,omitzero"`
	ExternalID        *string        `json:"externalId,omitzero"`
	HSContactID       *string        `json:"hsContactId,omitzero"`
	HSPortalID        *string        `json:"hsPortalId,omitzero"`
	GHLContactID      *string        `json:"ghlContactId,omitzero"`
	GHLLocationID     *string        `json:"ghlLocationId,omitzero"`
	ContactOwnerEmail *string        `json:"contactOwnerEmail,omitzero"`
}

func (in *leadInput) engine() engine.LeadInput {
	return engine.LeadInput{
		FirstName: in.FirstName, LastName: in.LastName, Email: in.Email, Phone: in.Phone,
		AltPhones: [3]*string{in.AltPhone1, in.AltPhone2, in.AltPhone3}, AltEmails: [3]*string{in.AltEmail1, in.AltEmail2, in.AltEmail3},
		CompanyName: in.CompanyName, JobTitle: in.JobTitle, LinkedinURL: in.LinkedinURL, Notes: in.Notes,
		CustomFields: in.CustomFields, Owner: in.ContactOwnerEmail, ExternalID: in.ExternalID,
		GHLContactID: in.GHLContactID, GHLLocationID: in.GHLLocationID, HSContactID: in.HSContactID, HSPortalID: in.HSPortalID,
	}
}

// leadObject is a lead in an answer.
type leadObject struct {
	ID                string         `json:"_id"`
	FirstName         string         `json:"firstName"`
	LastName          *string        `json:"lastName"`
	Email             *string        `json:"email"`
	Phone             *string        `json:"phone"`
	AltPhone1         *string        `json:"altPhone1"`
	AltPhone2         *string        `json:"altPhone2"`
	AltPhone3         *string        `json:"altPhone3"`
	AltEmail1         *string        `json:"altEmail1"`
	AltEmail2         *string        `json:"altEmail2"`
	AltEmail3         *string        `json:"altEmail3"`
	CompanyName       *string        `json:"companyName"`
	JobTitle          *string        `json:"jobTitle"`
	LinkedinURL       *string        `json:"linkedinUrl"`
	Notes             *string        `json:"notes"`
	CustomFields      jsontext.Value `json:"customFields,omitzero"`
	ListID            string         `json:"listId"`
	WorkspaceID       string         `json:"workspaceId"`
	Source            *string        `json:"source"`
	ContactOwnerEmail *string        `json:"contactOwnerEmail"`
	ExternalID        *string        `json:"externalId"`
	crmAnswer
	CreatedAt date `json:"createdAt"`
	UpdatedAt date `json:"updatedAt"`
}

func newLeadObject(w engine.WorkspaceID, l engine.Lead) leadObject {
	return leadObject{
		ID: l.ID.String(), FirstName: l.FirstName, LastName: given(&l.LastName), Email: given(&l.Email), Phone: given(&l.Phone),
		AltPhone1: given(&l.AltPhones[0]), AltPhone2: given(&l.AltPhones[1]), AltPhone3: given(&l.AltPhones[2]),
		AltEmail1: given(&l.AltEmails[0]), AltEmail2: given(&l.AltEmails[1]), AltEmail3: given(&l.AltEmails[2]),
		CompanyName: given(&l.CompanyName), JobTitle: given(&l.JobTitle), LinkedinURL: given(&l.LinkedinURL), Notes: given(&l.Notes),
		CustomFields: l.CustomFields, ListID: l.List.String(), WorkspaceID: string(w), Source: given(&l.Source),
		ContactOwnerEmail: given(&l.Owner), ExternalID: given(&l.CRM.ExternalID), crmAnswer: newCRMAnswer(&l.CRM),
		CreatedAt: date(l.Created), UpdatedAt: date(l.Updated),
	}
}

// leadInputs are read no further than the engine takes them, since each is much larger in memory than
// it may be in JSON.
type leadInputs []leadInput

// UnmarshalJSONFrom reads an array.
func (l *leadInputs) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '[' {
		return json.UnmarshalDecode(d, (*[]leadInput)(l))
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != ']' {
		if len(*l) == engine.MaxLeads {
			return engine.Errorf(engine.TooLarge, "At most %d leads in one request", engine.MaxLeads)
		}
		var in leadInput
		if err := json.UnmarshalDecode(d, &in); err != nil {
			return err
		}
		*l = append(*l, in)
	}
	_, err := d.ReadToken()
	return err
}

type createLeadsRequest struct {
	inWorkspace
	Leads              leadInputs `json:"leads,omitzero" description:"at most 10,000"`
	Body               leadInputs `json:"body,omitzero" description:"another name for leads"`
	ListID             string     `json:"listId,omitzero" description:"the Quick Sends list without it"`
	Source             string     `json:"source,omitzero" description:"csv by default"`
	DefaultCountryCode string     `json:"defaultCountryCode,omitzero" description:"+1 by default"`
	GHLLocationID      string     `json:"ghlLocationId,omitzero"`
	ContactOwnerEmail  string     `json:"contactOwnerEmail,omitzero"`
}

type createLeadsResponse struct {
	Message         string          `json:"message"`
	DuplicateOnly   bool            `json:"duplicateOnly,omitzero"`
	SavedCount      int             `json:"savedCount"`
	DuplicateCount  int             `json:"duplicateCount"`
	TotalProcessed  int             `json:"totalProcessed"`
	ListID          string          `json:"listId"`
	LeadID          *string         `json:"leadId"`
	LeadIDs         []string        `json:"leadIds"`
	LeadListIDs     []string        `json:"leadListIds" description:"the lists of leadIds, in the same order"`
	ExistingLeadIDs []string        `json:"existingLeadIds,omitzero"`
	Duplicates      []duplicateLead `json:"duplicates,omitzero"`
	crmAnswer
}

type duplicateLead struct {
	Input        leadInput  `json:"input"`
	ExistingLead leadObject `json:"existingLead"`
}

// createLeads serves POST /api/leads.
func (s *Server) createLeads(c *call, req createLeadsRequest) (reply, error) {
	if len(req.Leads) == 0 {
		req.Leads = req.Body
	}
	batch := engine.LeadBatch{
		List: req.ListID, Source: or(req.Source, "csv"), DefaultCountryCode: req.DefaultCountryCode,
		Owner: req.ContactOwnerEmail, GHLLocationID: req.GHLLocationID,
	}
	batch.Leads = make([]engine.LeadInput, 0, len(req.Leads))
	for i := range req.Leads {
		batch.Leads = append(batch.Leads, req.Leads[i].engine())
	}
	answer := func(result any) reply {
		return newLeadsReply(c.who.Workspace(), req.Leads, result.(engine.LeadsSaved))
	}
	once, err := c.once(answer)
	if err != nil {
		return reply{}, err
	}
	saved, err := s.eng.CreateLeads(c.who, once, batch)
	if err != nil {
		return reply{}, err
	}
	if saved.Replay != nil {
		return reply{stored: saved.Replay}, nil
	}
	for i := range saved.Duplicates {
		c.sees(saved.Duplicates[i].Existing.Addresses()...)
	}
	return answer(saved), nil
}

func newLeadsReply(w engine.WorkspaceID, inputs []leadInput, saved engine.LeadsSaved) reply {
	r := createLeadsResponse{
		Message: "Leads saved successfully", SavedCount: len(saved.Created), DuplicateCount: len(saved.Duplicates),
		TotalProcessed: len(inputs), ListID: saved.List.String(), LeadIDs: []string{}, LeadListIDs: []string{},
	}
	for _, l := range saved.Created {
		r.LeadIDs = append(r.LeadIDs, l.ID.String())
		r.LeadListIDs = append(r.LeadListIDs, l.List.String())
	}
	for _, d := range saved.Duplicates {
		r.Duplicates = append(r.Duplicates, duplicateLead{inputs[d.Input], newLeadObject(w, d.Existing)})
	}
	if len(saved.Created) > 0 {
		r.LeadID, r.crmAnswer = &r.LeadIDs[0], newCRMAnswer(&saved.Created[0].CRM)
		return reply{status: http.StatusCreated, body: r}
	}
	r.DuplicateOnly, r.Message = true, "All leads were duplicates; existing lead IDs returned."
	if len(inputs) == 1 {
		r.Message = "Lead was a duplicate; existing lead ID returned."
	}
	for _, d := range saved.Duplicates {
		r.ExistingLeadIDs = append(r.ExistingLeadIDs, d.Existing.ID.String())
		r.LeadListIDs = append(r.LeadListIDs, d.Existing.List.String())
	}
	first := &saved.Duplicates[0].Existing
	r.LeadIDs, r.LeadID, r.crmAnswer = r.ExistingLeadIDs, &r.ExistingLeadIDs[0], newCRMAnswer(&first.CRM)
	r.ListID = first.List.String()
	return reply{status: http.StatusOK, body: r}
}

type leadsInput struct {
	ID     string `query:"id" json:"-" description:"one lead instead of a page"`
	Search string `query:"search" json:"-" description:"part of a name, an address or a company, in any case"`
	ListID string `query:"listId" json:"-"`
	Page   int    `query:"page" json:"-" minimum:"1"`
	Limit  int    `query:"limit" json:"-" minimum:"1" description:"50; at most 500"`
}

// leadsResponse is one lead, or a page of them.
type leadsResponse struct {
	Lead       *leadObject   `json:"lead,omitzero"`
	Leads      *[]leadObject `json:"leads,omitzero"`
	Lists      *[]listObject `json:"lists,omitzero"`
	Pagination *pagination   `json:"pagination,omitzero"`
}

type pagination struct {
	Page       int   `json:"page"`
	Limit      int   `json:"limit"`
	TotalCount int64 `json:"totalCount"`
	TotalPages int64 `json:"totalPages"`
}

const maxLeadPage = 500

// listLeads serves GET /api/leads.
func (s *Server) listLeads(c *call, in leadsInput) (reply, error) {
	w := c.who.Workspace()
	if slices.ContainsFunc(c.query, func(a argument) bool { return a.name == "id" }) {
		l, err := s.eng.Lead(c.who, in.ID)
		if err != nil {
			return reply{}, err
		}
		lead := newLeadObject(w, l)
		c.seen.Object = lead.ID
		c.sees(l.Addresses()...)
		return ok(leadsResponse{Lead: &lead})
	}
	q := engine.LeadQuery{Search: in.Search, List: in.ListID, Page: or(in.Page, 1), Limit: min(or(in.Limit, pageSize), maxLeadPage)}
	page, err := s.eng.Leads(c.who, q)
	if err != nil {
		return reply{}, err
	}
	leads, lists := []leadObject{}, []listObject{}
	for _, l := range page.Leads {
		leads = append(leads, newLeadObject(w, l))
		c.sees(l.Addresses()...)
	}
	for _, l := range page.Lists {
		lists = append(lists, newListObject(w, l))
	}
	limit := int64(q.Limit)
	return ok(leadsResponse{Leads: &leads, Lists: &lists, Pagination: &pagination{q.Page, q.Limit, page.Total, (page.Total + limit - 1) / limit}})
}

type setLeadRequest struct {
	inWorkspace
	ID string `path:"id" json:"-"`
	leadInput
	ListID             *string `json:"listId,omitzero" description:"moves the lead to another list"`
	DefaultCountryCode string  `json:"defaultCountryCode,omitzero"`
}

type leadResponse struct {
	Success bool       `json:"success"`
	Lead    leadObject `json:"lead"`
}

// setLead serves PUT /api/leads/{id}.
func (s *Server) setLead(c *call, req setLeadRequest) (reply, error) {
	in := req.leadInput.engine()
	in.List = req.ListID
	l, err := s.eng.SetLead(c.who, req.ID, in, or(req.DefaultCountryCode, engine.DefaultCountryCode))
	if err != nil {
		return reply{}, err
	}
	c.seen.Object = l.ID.String()
	c.sees(l.Addresses()...)
	return ok(leadResponse{true, newLeadObject(c.who.Workspace(), l)})
}

type deleteLeadsRequest struct {
	inWorkspace
	IDs []string `json:"ids" description:"at most 10,000; those of others are skipped"`
}

type deleteLeadsResponse struct {
	DeletedCount int `json:"deletedCount"`
}

// deleteLeads serves DELETE /api/leads.
func (s *Server) deleteLeads(c *call, req deleteLeadsRequest) (reply, error) {
	n, err := s.eng.DeleteLeads(c.who, req.IDs)
	if err != nil {
		return reply{}, err
	}
	return ok(deleteLeadsResponse{n})
}
