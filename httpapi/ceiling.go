package httpapi

import (
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/rs/zerolog"
)

// NewCeiling makes a server that reads and answers as the real one does, with nothing behind it: no
// engine, no storage, no authentication and no metrics. What it manages is the most that any server on
// this HTTP stack can on this machine; 'tuco bench' measures it beside the real one.
func NewCeiling() *Server {
	s := &Server{log: zerolog.Nop()}
	s.app = fiber.New(config(Options{}, s.unreadable))
	s.app.Use(func(c *fiber.Ctx) error {
		begin(c)
		if err := c.Next(); err != nil {
			return s.writeError(c, err)
		}
		return nil
	})
	add(s, route{realm: anybody, method: post, path: "/api/messages"}, ceilingSend)
	add(s, route{realm: anybody, method: get, path: "/api/messages"}, ceilingList)
	add(s, route{realm: anybody, method: get, path: "/api/messages/{id}"}, ceilingGet)
	return s
}

func ceilingSend(_ *call, req sendRequest) (reply, error) {
	m := ceilingMessage(ceilingID)
	m.Message, m.MessageType, m.RecipientPhone = req.Message, req.MessageType, &req.RecipientPhone
	m.RecipientName, m.BatchID = nullable(req.RecipientName), nullable(req.BatchID)
	return reply{status: http.StatusCreated, body: &sendResponse{Success: true, Status: "pending", Message: m, LeadID: m.LeadID}}, nil
}

func ceilingGet(_ *call, in messageInput) (reply, error) {
	return ok(&messageResponse{ceilingMessage(in.ID)})
}

func ceilingList(*call, messagesInput) (reply, error) {
	answer := messagesResponse{NextCursor: nullable(ceilingID)}
	for range pageSize {
		answer.Messages = append(answer.Messages, ceilingMessage(ceilingID))
	}
	return ok(&answer)
}

const ceilingID = "6b03d08e97cd740000000003"

// ceilingMessage is a message as long as the ones that the bench sends.
func ceilingMessage(id string) messageObject {
	record, phone, name, batch, now := ceilingID, "+12025550142", "Ana Lopez", "spring-2027-03", date(time.Now())
	return messageObject{
		ID: id, MessageType: "sms", Status: "pending", Direction: "sent",
		Message:    "Hello {{firstName}}, your order is ready. Our shop is open from nine to six; reply here if another day suits you better.",
		FromLineID: &record, FromLinePhone: &phone, RecipientPhone: &phone, RecipientName: &name, LeadID: &record,
		WorkspaceID: "org_" + record, CreatedByUserID: &record, CorrelationID: "app_" + record, BatchID: &batch, CreatedAt: now, UpdatedAt: now,
	}
}
