package engine

import "google.golang.org/protobuf/encoding/protowire"

// lineCodec is for a record that is written rarely, but read whenever a message is handed over.
var lineCodec = wireCodec(encodeLine, decodeLine)

// The fields of a [Line].
const (
	lineID            protowire.Number = 1
	lineChannel       protowire.Number = 2
	lineFirstName     protowire.Number = 3
	lineLastName      protowire.Number = 4
	linePhone         protowire.Number = 5
	lineEmail         protowire.Number = 6
	lineActive        protowire.Number = 7
	lineDeleted       protowire.Number = 8
	lineTransport     protowire.Number = 9
	lineShown         protowire.Number = 10
	lineSealedMaster  protowire.Number = 11
	lineSealedBox     protowire.Number = 12
	lineDailyMessages protowire.Number = 13
	lineDailyNew      protowire.Number = 14
	lineDeviceGap     protowire.Number = 15 // gaps are in nanoseconds
	lineContactGap    protowire.Number = 16
	lineMinInterval   protowire.Number = 17
	lineHealthy       protowire.Number = 18
	lineHealthDetail  protowire.Number = 19
	lineHealthChecked protowire.Number = 20
	lineMadeBy        protowire.Number = 21
	lineCreated       protowire.Number = 22
	lineUpdated       protowire.Number = 23
)

func encodeLine(w *recordWriter, l Line) {
	w.id(lineID, l.ID.ID)
	writeCode(w, lineChannel, channelCodes, l.Channel)
	w.text(lineFirstName, l.FirstName)
	w.text(lineLastName, l.LastName)
	w.text(linePhone, l.Phone)
	w.text(lineEmail, l.Email)
	w.flag(lineActive, l.Active)
	w.flag(lineDeleted, l.Deleted)
	w.text(lineTransport, l.Transport)
	w.text(lineShown, l.Shown)
	w.text(lineSealedMaster, l.Sealed.Master)
	w.bytes(lineSealedBox, l.Sealed.Box)
	w.number(lineDailyMessages, l.DailyMessages)
	w.number(lineDailyNew, l.DailyNew)
	w.number(lineDeviceGap, int64(l.DeviceGap))
	w.number(lineContactGap, int64(l.ContactGap))
	w.number(lineMinInterval, int64(l.MinInterval))
	w.flag(lineHealthy, l.Healthy)
	w.text(lineHealthDetail, l.HealthDetail)
	w.time(lineHealthChecked, l.HealthChecked)
	w.text(lineMadeBy, l.MadeBy)
	w.time(lineCreated, l.Created)
	w.time(lineUpdated, l.Updated)
}

func decodeLine(r recordReader) (l Line, err error) {
	for r.next() {
		switch r.field {
		case lineID:
			l.ID.ID = r.id()
		case lineChannel:
			l.Channel = readCode(&r, channelCodes)
		case lineFirstName:
			l.FirstName = r.text()
		case lineLastName:
			l.LastName = r.text()
		case linePhone:
			l.Phone = r.text()
		case lineEmail:
			l.Email = r.text()
		case lineActive:
			l.Active = r.flag()
		case lineDeleted:
			l.Deleted = r.flag()
		case lineTransport:
			l.Transport = r.text()
		case lineShown:
			l.Shown = r.text()
		case lineSealedMaster:
			l.Sealed.Master = r.text()
		case lineSealedBox:
			l.Sealed.Box = r.bytes()
		case lineDailyMessages:
			l.DailyMessages = r.number()
		case lineDailyNew:
			l.DailyNew = r.number()
		case lineDeviceGap:
			l.DeviceGap = Gap(r.number())
		case lineContactGap:
			l.ContactGap = Gap(r.number())
		case lineMinInterval:
			l.MinInterval = Gap(r.number())
		case lineHealthy:
			l.Healthy = r.flag()
		case lineHealthDetail:
			l.HealthDetail = r.text()
		case lineHealthChecked:
			l.HealthChecked = r.time()
		case lineMadeBy:
			l.MadeBy = r.text()
		case lineCreated:
			l.Created = r.time()
		case lineUpdated:
			l.Updated = r.time()
		}
	}
	return l, r.err
}
