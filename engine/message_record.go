package engine

import (
	"google.golang.org/protobuf/encoding/protowire"

	"tuco/engine/quota"
)

var messageCodec = wireCodec(encodeMessage, decodeMessage)

// The fields of a [Message]. Those that nearly every message has are below 16: they take a byte less.
const (
	messageID            protowire.Number = 1
	messageText          protowire.Number = 2
	messageChannel       protowire.Number = 3
	messageStatus        protowire.Number = 4
	messageTo            protowire.Number = 5
	messageLead          protowire.Number = 6
	messageLine          protowire.Number = 7
	messageDue           protowire.Number = 8
	messagePlace         protowire.Number = 9
	messagePlanDay       protowire.Number = 10
	messageUnitDay       protowire.Number = 11
	messageMadeBy        protowire.Number = 12
	messageSentAt        protowire.Number = 13
	messageCreated       protowire.Number = 14
	messageUpdated       protowire.Number = 15
	messageAttachment    protowire.Number = 16
	messageName          protowire.Number = 17 // of an attachment
	messageReason        protowire.Number = 18
	messageRecipient     protowire.Number = 19
	messagePinned        protowire.Number = 20
	messageScheduled     protowire.Number = 21
	messageTimezone      protowire.Number = 22
	messageStart         protowire.Number = 23
	messageEnd           protowire.Number = 24
	messageWeekday       protowire.Number = 25
	messageDeferral      protowire.Number = 26
	messagePlanContact   protowire.Number = 27
	messagePlanReleased  protowire.Number = 28
	messageUnitFirst     protowire.Number = 29
	messageAttempts      protowire.Number = 30
	messageBatchID       protowire.Number = 31
	messageCorrelationID protowire.Number = 32
	messageOwner         protowire.Number = 33
	messageDeliveredAt   protowire.Number = 34
	messageExternalID    protowire.Number = 35
	messageError         protowire.Number = 36
	messageChecked       protowire.Number = 37
	// 60 to 64: CRM
)

func encodeMessage(w *recordWriter, m Message) {
	w.id(messageID, m.ID.ID)
	w.text(messageText, m.Text)
	writeCode(w, messageChannel, channelCodes, m.Channel)
	writeCode(w, messageStatus, statusWords, m.Status)
	w.texts(messageTo, m.To)
	w.id(messageLead, m.Lead.ID)
	w.id(messageLine, m.Line.ID)
	w.time(messageDue, m.Due)
	writeCode(w, messagePlace, placeCodes, m.Place)
	w.number(messagePlanDay, int64(m.Plan.Day))
	w.number(messageUnitDay, int64(m.Unit.Day))
	w.text(messageMadeBy, m.MadeBy)
	w.time(messageSentAt, m.SentAt)
	w.time(messageCreated, m.Created)
	w.time(messageUpdated, m.Updated)
	w.texts(messageAttachment, m.Attachments)
	w.texts(messageName, m.AttachmentNames)
	w.text(messageReason, m.Reason)
	w.text(messageRecipient, m.RecipientName)
	w.flag(messagePinned, m.Pinned)
	w.time(messageScheduled, m.Scheduled)
	w.text(messageTimezone, m.Window.Timezone)
	w.text(messageStart, m.Window.Start)
	w.text(messageEnd, m.Window.End)
	for _, day := range m.Window.Days {
		w.data = protowire.AppendTag(w.data, messageWeekday, protowire.VarintType)
		w.data = protowire.AppendVarint(w.data, uint64(day))
	}
	w.text(messageDeferral, m.Window.Deferral)
	w.number(messagePlanContact, int64(m.Plan.Contact))
	w.flag(messagePlanReleased, m.Plan.Released)
	w.flag(messageUnitFirst, m.Unit.First)
	w.number(messageAttempts, int64(m.Attempts))
	w.text(messageBatchID, m.BatchID)
	w.text(messageCorrelationID, m.CorrelationID)
	w.text(messageOwner, m.Owner)
	w.time(messageDeliveredAt, m.DeliveredAt)
	w.text(messageExternalID, m.ExternalID)
	w.text(messageError, m.Error)
	w.texts(messageChecked, m.Checked)
	w.crm(&m.CRM)
}

func decodeMessage(r recordReader) (m Message, err error) {
	for r.next() {
		switch r.field {
		case messageID:
			m.ID.ID = r.id()
		case messageText:
			m.Text = r.text()
		case messageChannel:
			m.Channel = readCode(&r, channelCodes)
		case messageStatus:
			m.Status = readCode(&r, statusWords)
		case messageTo:
			m.To = append(m.To, r.text())
		case messageLead:
			m.Lead.ID = r.id()
		case messageLine:
			m.Line.ID = r.id()
		case messageDue:
			m.Due = r.time()
		case messagePlace:
			m.Place = readCode(&r, placeCodes)
		case messagePlanDay:
			m.Plan.Day = quota.Label(r.number())
		case messageUnitDay:
			m.Unit.Day = quota.Label(r.number())
		case messageMadeBy:
			m.MadeBy = r.text()
		case messageSentAt:
			m.SentAt = r.time()
		case messageCreated:
			m.Created = r.time()
		case messageUpdated:
			m.Updated = r.time()
		case messageAttachment:
			m.Attachments = append(m.Attachments, r.text())
		case messageName:
			m.AttachmentNames = append(m.AttachmentNames, r.text())
		case messageReason:
			m.Reason = r.text()
		case messageRecipient:
			m.RecipientName = r.text()
		case messagePinned:
			m.Pinned = r.flag()
		case messageScheduled:
			m.Scheduled = r.time()
		case messageTimezone:
			m.Window.Timezone = r.text()
		case messageStart:
			m.Window.Start = r.text()
		case messageEnd:
			m.Window.End = r.text()
		case messageWeekday:
			m.Window.Days = append(m.Window.Days, int(r.number()))
		case messageDeferral:
			m.Window.Deferral = r.text()
		case messagePlanContact:
			m.Plan.Contact = quota.Label(r.number())
		case messagePlanReleased:
			m.Plan.Released = r.flag()
		case messageUnitFirst:
			m.Unit.First = r.flag()
		case messageAttempts:
			m.Attempts = int(r.number())
		case messageBatchID:
			m.BatchID = r.text()
		case messageCorrelationID:
			m.CorrelationID = r.text()
		case messageOwner:
			m.Owner = r.text()
		case messageDeliveredAt:
			m.DeliveredAt = r.time()
		case messageExternalID:
			m.ExternalID = r.text()
		case messageError:
			m.Error = r.text()
		case messageChecked:
			m.Checked = append(m.Checked, r.text())
		default:
			r.crm(&m.CRM)
		}
	}
	return m, r.err
}
