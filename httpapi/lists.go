package httpapi

import (
	"net/http"

	"tuco/engine"
)

// listObject is a list in an answer.
type listObject struct {
	ID          string  `json:"_id"`
	Name        string  `json:"name"`
	Description *string `json:"description"`
	WorkspaceID string  `json:"workspaceId"`
	LeadCount   int64   `json:"leadCount"`
	CreatedAt   date    `json:"createdAt"`
	UpdatedAt   date    `json:"updatedAt"`
}

func newListObject(w engine.WorkspaceID, l engine.List) listObject {
	return listObject{l.ID.String(), l.Name, nullable(l.Description), string(w), l.Leads, date(l.Created), date(l.Updated)}
}

type listsResponse struct {
	Lists []listObject `json:"lists"`
}

type nothing struct{}

// listLists serves GET /api/lists.
func (s *Server) listLists(c *call, _ nothing) (reply, error) {
	all, err := s.eng.Lists(c.who)
	if err != nil {
		return reply{}, err
	}
	answer := listsResponse{[]listObject{}}
	for _, l := range all {
		answer.Lists = append(answer.Lists, newListObject(c.who.Workspace(), l))
		c.sees()
	}
	return ok(answer)
}

type createListRequest struct {
	inWorkspace
	Name        string `json:"name"`
	Description string `json:"description,omitzero"`
}

type listResponse struct {
	List listObject `json:"list"`
}

// createList serves POST /api/lists.
func (s *Server) createList(c *call, req createListRequest) (reply, error) {
	answer := func(result any) reply {
		return reply{status: http.StatusCreated, body: listResponse{newListObject(c.who.Workspace(), result.(engine.ListResult).List)}}
	}
	once, err := c.once(answer)
	if err != nil {
		return reply{}, err
	}
	result, err := s.eng.CreateList(c.who, once, req.Name, req.Description)
	if err != nil {
		return reply{}, err
	}
	if result.Replay != nil {
		return reply{stored: result.Replay}, nil
	}
	return answer(result), nil
}

type setListRequest struct {
	inWorkspace
	ID          string  `path:"id" json:"-"`
	Name        *string `json:"name,omitzero"`
	Description *string `json:"description,omitzero"`
}

// setList serves PATCH /api/lists/{id}.
func (s *Server) setList(c *call, req setListRequest) (reply, error) {
	l, err := s.eng.SetList(c.who, req.ID, req.Name, req.Description)
	if err != nil {
		return reply{}, err
	}
	c.sees()
	return ok(listResponse{newListObject(c.who.Workspace(), l)})
}

type idInput struct {
	ID string `path:"id" json:"-"`
}

type successResponse struct {
	Success bool `json:"success"`
}

// deleteList serves DELETE /api/lists/{id}.
func (s *Server) deleteList(c *call, in idInput) (reply, error) {
	if err := s.eng.DeleteList(c.who, in.ID); err != nil {
		return reply{}, err
	}
	return ok(successResponse{true})
}
