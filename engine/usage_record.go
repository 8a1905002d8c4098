package engine

import (
	"google.golang.org/protobuf/encoding/protowire"

	"tuco/engine/quota"
)

var planUsageCodec = wireCodec(encodePlanUsage, decodePlanUsage)

// The fields of a [PlanUsage].
const (
	planUsageDay      protowire.Number = 1
	planUsageMessages protowire.Number = 2
	planUsageMonth    protowire.Number = 3
	planUsageContacts protowire.Number = 4
)

func encodePlanUsage(w *recordWriter, u PlanUsage) {
	w.number(planUsageDay, int64(u.Day))
	w.number(planUsageMessages, u.Messages)
	w.number(planUsageMonth, u.Month)
	w.number(planUsageContacts, u.Contacts)
}

func decodePlanUsage(r recordReader) (u PlanUsage, err error) {
	for r.next() {
		switch r.field {
		case planUsageDay:
			u.Day = quota.Label(r.number())
		case planUsageMessages:
			u.Messages = r.number()
		case planUsageMonth:
			u.Month = r.number()
		case planUsageContacts:
			u.Contacts = r.number()
		}
	}
	return u, r.err
}

var lineUsageCodec = wireCodec(encodeLineUsage, decodeLineUsage)

// The fields of a [LineUsage].
const (
	lineUsageDay           protowire.Number = 1
	lineUsageMessages      protowire.Number = 2
	lineUsageConversations protowire.Number = 3
	lineUsageLastSend      protowire.Number = 4
	lineUsageLastFirst     protowire.Number = 5
	lineUsageFailures      protowire.Number = 6
)

func encodeLineUsage(w *recordWriter, u LineUsage) {
	w.number(lineUsageDay, int64(u.Day))
	w.number(lineUsageMessages, u.Messages)
	w.number(lineUsageConversations, u.Conversations)
	w.time(lineUsageLastSend, u.LastSend)
	w.time(lineUsageLastFirst, u.LastFirst)
	w.number(lineUsageFailures, u.Failures)
}

func decodeLineUsage(r recordReader) (u LineUsage, err error) {
	for r.next() {
		switch r.field {
		case lineUsageDay:
			u.Day = quota.Label(r.number())
		case lineUsageMessages:
			u.Messages = r.number()
		case lineUsageConversations:
			u.Conversations = r.number()
		case lineUsageLastSend:
			u.LastSend = r.time()
		case lineUsageLastFirst:
			u.LastFirst = r.time()
		case lineUsageFailures:
			u.Failures = r.number()
		}
	}
	return u, r.err
}

var lineHourCodec = wireCodec(encodeLineHour, decodeLineHour)

// The fields of a [lineHour].
const (
	lineHourSent   protowire.Number = 1
	lineHourFailed protowire.Number = 2
)

func encodeLineHour(w *recordWriter, h lineHour) {
	w.number(lineHourSent, h.Sent)
	w.number(lineHourFailed, h.Failed)
}

func decodeLineHour(r recordReader) (h lineHour, err error) {
	for r.next() {
		switch r.field {
		case lineHourSent:
			h.Sent = r.number()
		case lineHourFailed:
			h.Failed = r.number()
		}
	}
	return h, r.err
}

// countField is the one field of a count.
const countField protowire.Number = 1

var countCodec = wireCodec(
	func(w *recordWriter, n int64) {
		w.number(countField, n)
	},
	func(r recordReader) (n int64, err error) {
		for r.next() {
			if r.field == countField {
				n = r.number()
			}
		}
		return n, r.err
	},
)

var answerCodec = wireCodec(encodeAnswer, decodeAnswer)

// The fields of a [storedAnswer].
const (
	answerStatus      protowire.Number = 1
	answerBody        protowire.Number = 2
	answerFingerprint protowire.Number = 3
	answerAt          protowire.Number = 4
)

func encodeAnswer(w *recordWriter, a storedAnswer) {
	w.number(answerStatus, int64(a.Status))
	w.bytes(answerBody, a.Body)
	w.bytes(answerFingerprint, a.Fingerprint)
	w.time(answerAt, a.At)
}

func decodeAnswer(r recordReader) (a storedAnswer, err error) {
	for r.next() {
		switch r.field {
		case answerStatus:
			a.Status = int(r.number())
		case answerBody:
			a.Body = r.bytes()
		case answerFingerprint:
			a.Fingerprint = r.bytes()
		case answerAt:
			a.At = r.time()
		}
	}
	return a, r.err
}
