package engine

import "tuco/engine/quota"

// The fields of each kind of record, as staff see them.
var (
	leadFields = append([]field[Lead]{
		{"id", "ID", true, func(l *Lead) any { return l.ID.String() }},
		{"list", "List", true, func(l *Lead) any { return l.List.String() }},
		{"created", "Created", true, func(l *Lead) any { return l.Created }},
		{"updated", "Updated", true, func(l *Lead) any { return l.Updated }},
		{"firstName", "FirstName", false, func(l *Lead) any { return l.FirstName }},
		{"lastName", "LastName", false, func(l *Lead) any { return l.LastName }},
		{"email", "Email", false, func(l *Lead) any { return l.Email }},
		{"phone", "Phone", false, func(l *Lead) any { return l.Phone }},
		{"altPhones", "AltPhones", false, func(l *Lead) any { return l.AltPhones }},
		{"altEmails", "AltEmails", false, func(l *Lead) any { return l.AltEmails }},
		{"companyName", "CompanyName", false, func(l *Lead) any { return l.CompanyName }},
		{"jobTitle", "JobTitle", false, func(l *Lead) any { return l.JobTitle }},
		{"linkedinUrl", "LinkedinURL", false, func(l *Lead) any { return l.LinkedinURL }},
		{"notes", "Notes", false, func(l *Lead) any { return l.Notes }},
		{"customFields", "CustomFields", false, func(l *Lead) any { return l.CustomFields }},
		{"source", "Source", false, func(l *Lead) any { return l.Source }},
		{"contactOwnerEmail", "Owner", false, func(l *Lead) any { return l.Owner }},
	}, crmFields(func(l *Lead) *CRM { return &l.CRM })...)

	listFields = []field[List]{
		{"id", "ID", true, func(l *List) any { return l.ID.String() }},
		{"leads", "Leads", true, func(l *List) any { return l.Leads }},
		{"created", "Created", true, func(l *List) any { return l.Created }},
		{"updated", "Updated", true, func(l *List) any { return l.Updated }},
		{"name", "Name", false, func(l *List) any { return l.Name }},
		{"description", "Description", false, func(l *List) any { return l.Description }},
	}

	lineFields = []field[Line]{
		{"id", "ID", true, func(l *Line) any { return l.ID.String() }},
		{"type", "Channel", true, func(l *Line) any { return string(l.Channel) }},
		{"active", "Active", true, func(l *Line) any { return l.Active }},
		{"deleted", "Deleted", true, func(l *Line) any { return l.Deleted }},
		{"transport", "Transport", true, func(l *Line) any { return l.Transport }}, // a word of ours
		{"dailyMessages", "DailyMessages", true, func(l *Line) any { return l.DailyMessages }},
		{"dailyConversations", "DailyNew", true, func(l *Line) any { return l.DailyNew }},
		{"deviceGap", "DeviceGap", true, func(l *Line) any { return gap(l.DeviceGap) }},
		{"contactGap", "ContactGap", true, func(l *Line) any { return gap(l.ContactGap) }},
		{"minInterval", "MinInterval", true, func(l *Line) any { return gap(l.MinInterval) }},
		{"healthy", "Healthy", true, func(l *Line) any { return l.Healthy }},
		{"healthChecked", "HealthChecked", true, func(l *Line) any { return l.HealthChecked }},
		{"madeBy", "MadeBy", true, func(l *Line) any { return l.MadeBy }}, // an id, or operator
		{"created", "Created", true, func(l *Line) any { return l.Created }},
		{"updated", "Updated", true, func(l *Line) any { return l.Updated }},
		{"firstName", "FirstName", false, func(l *Line) any { return l.FirstName }},
		{"lastName", "LastName", false, func(l *Line) any { return l.LastName }},
		{"phone", "Phone", false, func(l *Line) any { return l.Phone }},
		{"email", "Email", false, func(l *Line) any { return l.Email }},
		{"transportUrl", "Shown", false, func(l *Line) any { return l.Shown }},
		{"healthDetail", "HealthDetail", false, func(l *Line) any { return l.HealthDetail }},
	}

	messageFields = append([]field[Message]{
		{"id", "ID", true, func(m *Message) any { return m.ID.String() }},
		{"type", "Channel", true, func(m *Message) any { return string(m.Channel) }},
		{"status", "Status", true, func(m *Message) any { return string(m.Status) }},
		{"lead", "Lead", true, func(m *Message) any { return m.Lead.String() }},
		{"line", "Line", true, func(m *Message) any { return m.Line.String() }},
		{"pinned", "Pinned", true, func(m *Message) any { return m.Pinned }},
		{"scheduled", "Scheduled", true, func(m *Message) any { return m.Scheduled }},
		{"due", "Due", true, func(m *Message) any { return m.Due }},
		{"place", "Place", true, func(m *Message) any { return string(m.Place) }},
		{"planDay", "Plan.Day", true, func(m *Message) any { return label(m.Plan.Day) }},
		{"contactDay", "Plan.Contact", true, func(m *Message) any { return label(m.Plan.Contact) }},
		{"released", "Plan.Released", true, func(m *Message) any { return m.Plan.Released }},
		{"lineDay", "Unit.Day", true, func(m *Message) any { return label(m.Unit.Day) }},
		{"newConversation", "Unit.First", true, func(m *Message) any { return m.Unit.First }},
		{"attempts", "Attempts", true, func(m *Message) any { return m.Attempts }},
		{"attachmentCount", "Attachments", true, func(m *Message) any { return len(m.Attachments) }},
		{"madeBy", "MadeBy", true, func(m *Message) any { return m.MadeBy }}, // an id, or operator
		{"sentAt", "SentAt", true, func(m *Message) any { return m.SentAt }},
		{"deliveredAt", "DeliveredAt", true, func(m *Message) any { return m.DeliveredAt }},
		{"created", "Created", true, func(m *Message) any { return m.Created }},
		{"updated", "Updated", true, func(m *Message) any { return m.Updated }},
		{"message", "Text", false, func(m *Message) any { return m.Text }},
		{"attachments", "Attachments", false, func(m *Message) any { return m.Attachments }},
		{"attachmentNames", "AttachmentNames", false, func(m *Message) any { return m.AttachmentNames }},
		{"reason", "Reason", false, func(m *Message) any { return m.Reason }},
		{"to", "To", false, func(m *Message) any { return m.To }},
		{"recipientName", "RecipientName", false, func(m *Message) any { return m.RecipientName }},
		{"window", "Window", false, func(m *Message) any { return m.Window }},
		{"batchId", "BatchID", false, func(m *Message) any { return m.BatchID }},
		{"correlationId", "CorrelationID", false, func(m *Message) any { return m.CorrelationID }},
		{"contactOwnerEmail", "Owner", false, func(m *Message) any { return m.Owner }},
		{"providerId", "ExternalID", false, func(m *Message) any { return m.ExternalID }},
		{"error", "Error", false, func(m *Message) any { return m.Error }},
		{"checked", "Checked", false, func(m *Message) any { return m.Checked }},
	}, crmFields(func(m *Message) *CRM { return &m.CRM })...)

	keyFields = []field[Key]{
		{"id", "ID", true, func(k *Key) any { return k.ID.String() }},
		{"role", "Role", true, func(k *Key) any { return string(k.Role) }},
		{"scopes", "Scopes", true, func(k *Key) any { return k.Scopes }},
		{"madeBy", "MadeBy", true, func(k *Key) any { return k.MadeBy }}, // an id, or operator
		{"operatorMade", "OperatorMade", true, func(k *Key) any { return k.OperatorMade }},
		{"disabled", "Disabled", true, func(k *Key) any { return k.Disabled }},
		{"revoked", "Revoked", true, func(k *Key) any { return k.Revoked }},
		{"expires", "Expires", true, func(k *Key) any { return k.Expires }},
		{"created", "Created", true, func(k *Key) any { return k.Created }},
		{"updated", "Updated", true, func(k *Key) any { return k.Updated }},
		{"name", "Name", false, func(k *Key) any { return k.Name }},
		{"allow", "Allow", false, func(k *Key) any { return k.Allow }},
	}

	workspaceFields = []field[Workspace]{
		{"id", "ID", true, func(w *Workspace) any { return string(w.ID) }},
		{"plan", "Plan", true, func(w *Workspace) any { return w.Plan }}, // the operator's word
		{"timezone", "Timezone", true, func(w *Workspace) any { return w.Timezone }},
		{"readOnly", "ReadOnly", true, func(w *Workspace) any { return string(w.ReadOnly) }},
		{"readOnlySince", "ReadOnlySince", true, func(w *Workspace) any { return w.ReadOnlySince }},
		{"hadOwner", "HadOwner", true, func(w *Workspace) any { return w.HadOwner }},
		{"created", "Created", true, func(w *Workspace) any { return w.Created }},
		{"updated", "Updated", true, func(w *Workspace) any { return w.Updated }},
		{"name", "Name", false, func(w *Workspace) any { return w.Name }},
	}

	usageFields = []field[LimitState]{
		{"name", "Name", true, func(l *LimitState) any { return l.Name }}, // a word of ours
		{"line", "Line", true, func(l *LimitState) any { return l.Line.String() }},
		{"limit", "Limit", true, func(l *LimitState) any { return limitText(l.Limit) }},
		{"used", "Used", true, func(l *LimitState) any { return l.Used }},
		{"reserved", "Reserved", true, func(l *LimitState) any { return l.Reserved }},
		{"window", "Window", true, func(l *LimitState) any { return l.Window.String() }},
		{"resetsAt", "ResetsAt", true, func(l *LimitState) any { return l.ResetsAt }},
	}
)

// crmFields are the fields of a record that link it to the customer's other systems.
func crmFields[T any](crm func(*T) *CRM) []field[T] {
	return []field[T]{
		{"externalId", "CRM.ExternalID", false, func(v *T) any { return crm(v).ExternalID }},
		{"ghlContactId", "CRM.GHLContactID", false, func(v *T) any { return crm(v).GHLContactID }},
		{"ghlLocationId", "CRM.GHLLocationID", false, func(v *T) any { return crm(v).GHLLocationID }},
		{"hsContactId", "CRM.HSContactID", false, func(v *T) any { return crm(v).HSContactID }},
		{"hsPortalId", "CRM.HSPortalID", false, func(v *T) any { return crm(v).HSPortalID }},
	}
}

// label is a day's label, empty for none.
func label(d quota.Label) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
