package engine

import "google.golang.org/protobuf/encoding/protowire"

var leadCodec = wireCodec(encodeLead, decodeLead)

// The fields of a [Lead].
const (
	leadID           protowire.Number = 1
	leadFirstName    protowire.Number = 2
	leadLastName     protowire.Number = 3
	leadEmail        protowire.Number = 4
	leadPhone        protowire.Number = 5
	leadList         protowire.Number = 6
	leadSource       protowire.Number = 7
	leadCreated      protowire.Number = 8
	leadUpdated      protowire.Number = 9
	leadCompanyName  protowire.Number = 10
	leadJobTitle     protowire.Number = 11
	leadLinkedinURL  protowire.Number = 12
	leadNotes        protowire.Number = 13
	leadCustomFields protowire.Number = 14
	leadOwner        protowire.Number = 15
	leadAltPhone     protowire.Number = 16 // to 18
	leadAltEmail     protowire.Number = 19 // to 21
	// 60 to 64: CRM
)

func encodeLead(w *recordWriter, l Lead) {
	w.id(leadID, l.ID.ID)
	w.text(leadFirstName, l.FirstName)
	w.text(leadLastName, l.LastName)
	w.text(leadEmail, l.Email)
	w.text(leadPhone, l.Phone)
	w.id(leadList, l.List.ID)
	w.text(leadSource, l.Source)
	w.time(leadCreated, l.Created)
	w.time(leadUpdated, l.Updated)
	w.text(leadCompanyName, l.CompanyName)
	w.text(leadJobTitle, l.JobTitle)
	w.text(leadLinkedinURL, l.LinkedinURL)
	w.text(leadNotes, l.Notes)
	w.bytes(leadCustomFields, l.CustomFields)
	w.text(leadOwner, l.Owner)
	for i := range l.AltPhones {
		w.text(leadAltPhone+protowire.Number(i), l.AltPhones[i])
		w.text(leadAltEmail+protowire.Number(i), l.AltEmails[i])
	}
	w.crm(&l.CRM)
}

func decodeLead(r recordReader) (l Lead, err error) {
	for r.next() {
		switch r.field {
		case leadID:
			l.ID.ID = r.id()
		case leadFirstName:
			l.FirstName = r.text()
		case leadLastName:
			l.LastName = r.text()
		case leadEmail:
			l.Email = r.text()
		case leadPhone:
			l.Phone = r.text()
		case leadList:
			l.List.ID = r.id()
		case leadSource:
			l.Source = r.text()
		case leadCreated:
			l.Created = r.time()
		case leadUpdated:
			l.Updated = r.time()
		case leadCompanyName:
			l.CompanyName = r.text()
		case leadJobTitle:
			l.JobTitle = r.text()
		case leadLinkedinURL:
			l.LinkedinURL = r.text()
		case leadNotes:
			l.Notes = r.text()
		case leadCustomFields:
			l.CustomFields = r.bytes()
		case leadOwner:
			l.Owner = r.text()
		case leadAltPhone, leadAltPhone + 1, leadAltPhone + 2:
			l.AltPhones[r.field-leadAltPhone] = r.text()
		case leadAltEmail, leadAltEmail + 1, leadAltEmail + 2:
			l.AltEmails[r.field-leadAltEmail] = r.text()
		default:
			r.crm(&l.CRM)
		}
	}
	return l, r.err
}

var listCodec = wireCodec(encodeList, decodeList)

// The fields of a [List], which is written with each new lead.
const (
	listID          protowire.Number = 1
	listName        protowire.Number = 2
	listDescription protowire.Number = 3
	listLeads       protowire.Number = 4
	listCreated     protowire.Number = 5
	listUpdated     protowire.Number = 6
)

func encodeList(w *recordWriter, l List) {
	w.id(listID, l.ID.ID)
	w.text(listName, l.Name)
	w.text(listDescription, l.Description)
	w.number(listLeads, l.Leads)
	w.time(listCreated, l.Created)
	w.time(listUpdated, l.Updated)
}

func decodeList(r recordReader) (l List, err error) {
	for r.next() {
		switch r.field {
		case listID:
			l.ID.ID = r.id()
		case listName:
			l.Name = r.text()
		case listDescription:
			l.Description = r.text()
		case listLeads:
			l.Leads = r.number()
		case listCreated:
			l.Created = r.time()
		case listUpdated:
			l.Updated = r.time()
		}
	}
	return l, r.err
}

// listIDCodec stores the id of a list.
var listIDCodec = wireCodec(
	func(w *recordWriter, id ListID) {
		w.id(listID, id.ID)
	},
	func(r recordReader) (id ListID, err error) {
		for r.next() {
			if r.field == listID {
				id.ID = r.id()
			}
		}
		return id, r.err
	},
)
