package httpapi

import "tuco/engine"

// UnknownMessage is a message whose outcome nobody knows, for the operator: who it went to and what it says is the customer's.
type UnknownMessage struct {
	ID                string             `json:"_id"`
	Environment       engine.Environment `json:"environment"`
	LineID            *string            `json:"lineId"`
	Status            engine.Status      `json:"status"`
	ExternalMessageID *string            `json:"externalMessageId"` // what the other side calls it
	CreatedAt         date               `json:"createdAt"`
	UpdatedAt         date               `json:"updatedAt"`
}

func newUnknownMessage(env engine.Environment, m *engine.Message) UnknownMessage {
	return UnknownMessage{m.ID.String(), env, nullable(m.Line.String()), m.Status, nullable(m.ExternalID), date(m.Created), date(m.Updated)}
}

// UnknownMessagesOutput is up to [maxUnknown] of them, the newest first in each environment.
type UnknownMessagesOutput struct {
	Messages []UnknownMessage `json:"messages"`
	More     bool             `json:"more"` // there are more
}

const maxUnknown = 1000

func (a *AdminServer) unknownMessages(in ScopeInput) (UnknownMessagesOutput, error) {
	out := UnknownMessagesOutput{Messages: []UnknownMessage{}}
	err := a.each(in, func(who engine.Caller) error {
		for q := (engine.MessageQuery{Status: engine.Uncertain, Limit: maxPageSize}); ; {
			page, err := a.eng.Messages(who, q)
			for i := range page.Messages {
				if len(out.Messages) == maxUnknown {
					out.More = true
					return nil
				}
				out.Messages = append(out.Messages, newUnknownMessage(who.Environment(), &page.Messages[i].Message))
			}
			if q.Cursor = page.Next; err != nil || q.Cursor == "" {
				return err
			}
		}
	})
	return out, err
}

// SettleInput ends a message whose outcome is unknown, or all such messages of a workspace.
type SettleInput struct {
	ID          string `json:"id,omitempty"`
	WorkspaceID string `json:"workspaceId,omitempty"` // all of it; then there is no ID
	As          string `json:"as"`                    // sent, failed, or pending to send it again
}

// SettleOutput is how many were settled.
type SettleOutput struct {
	Settled int `json:"settled"`
}

func (a *AdminServer) settle(in SettleInput) (out SettleOutput, err error) {
	if in.ID != "" {
		who, err := a.admin.FindOwner(in.ID, "Message not found")
		if err == nil {
			_, err = a.eng.Settle(who, in.ID, engine.Status(in.As))
		}
		if err == nil {
			out.Settled = 1
		}
		return out, err
	}
	err = a.each(ScopeInput{WorkspaceID: in.WorkspaceID}, func(who engine.Caller) error {
		for {
			page, err := a.eng.Messages(who, engine.MessageQuery{Status: engine.Uncertain, Limit: maxPageSize})
			if err != nil || len(page.Messages) == 0 {
				return err
			}
			for i := range page.Messages {
				if _, err := a.eng.Settle(who, page.Messages[i].ID.String(), engine.Status(in.As)); err != nil {
					return err
				}
				out.Settled++
			}
		}
	})
	return out, err
}
