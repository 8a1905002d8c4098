package httpapi

import (
	"net/http"

	"github.com/gofiber/fiber/v2"

	"tuco/engine"
)

const (
	get    = http.MethodGet
	post   = http.MethodPost
	put    = http.MethodPut
	patch  = http.MethodPatch
	remove = http.MethodDelete
)

// addRoutes is the list of all endpoints, and of who may use each.
func (s *Server) addRoutes() {
	type ok map[int]any
	add(s, route{id: "sendMessage", method: post, path: "/api/messages", summary: "Send a message", scope: engine.MessagesWrite, write: true, idempotent: true,
		answers: ok{201: sendResponse{}}, errors: []int{404, 429}}, s.sendMessage)
	add(s, route{id: "listMessages", method: get, path: "/api/messages", summary: "List messages, newest first", scope: engine.MessagesRead,
		answers: ok{200: messagesResponse{}}, errors: []int{404}}, s.listMessages)
	add(s, route{id: "cancelForLead", method: post, path: "/api/messages/cancel-for-lead", summary: "Cancel what waits for a lead or an address", scope: engine.MessagesWrite, write: true,
		answers: ok{200: cancelResponse{}}}, s.cancelForLead)
	add(s, route{id: "getMessage", method: get, path: "/api/messages/{id}", summary: "Show a message", scope: engine.MessagesRead,
		answers: ok{200: messageResponse{}}, errors: []int{404}}, s.getMessage)

	add(s, route{id: "createLeads", method: post, path: "/api/leads", summary: "Create leads", scope: engine.LeadsWrite, write: true, idempotent: true, bulk: true, shows: true,
		answers: ok{200: createLeadsResponse{}, 201: createLeadsResponse{}}, errors: []int{404}}, s.createLeads)
	add(s, route{id: "listLeads", method: get, path: "/api/leads", summary: "Show one lead, or a page of them, newest first", scope: engine.LeadsRead,
		answers: ok{200: leadsResponse{}}, errors: []int{404}}, s.listLeads)
	add(s, route{id: "setLead", method: put, path: "/api/leads/{id}", summary: "Change a lead", scope: engine.LeadsWrite, write: true, shows: true,
		answers: ok{200: leadResponse{}}, errors: []int{404, 409}}, s.setLead)
	add(s, route{id: "deleteLeads", method: remove, path: "/api/leads", summary: "Delete leads and cancel what waits for them", scope: engine.LeadsWrite, write: true,
		answers: ok{200: deleteLeadsResponse{}}}, s.deleteLeads)

	add(s, route{id: "listLists", method: get, path: "/api/lists", summary: "List the lists", scope: engine.ListsRead,
		answers: ok{200: listsResponse{}}}, s.listLists)
	add(s, route{id: "createList", method: post, path: "/api/lists", summary: "Create a list", scope: engine.ListsWrite, write: true, idempotent: true,
		answers: ok{201: listResponse{}}, errors: []int{409}}, s.createList)
	add(s, route{id: "setList", method: patch, path: "/api/lists/{id}", summary: "Rename a list", scope: engine.ListsWrite, write: true,
		answers: ok{200: listResponse{}}, errors: []int{404, 409}}, s.setList)
	add(s, route{id: "deleteList", method: remove, path: "/api/lists/{id}", summary: "Delete an empty list", scope: engine.ListsWrite, write: true,
		answers: ok{200: successResponse{}}, errors: []int{404, 409}}, s.deleteList)

	add(s, route{id: "listLines", method: get, path: "/api/lines/by-user", summary: "List the lines with today's usage", scope: engine.LinesRead,
		answers: ok{200: linesResponse{}}}, s.listLines)
	add(s, route{id: "spamMonitor", method: get, path: "/api/lines/spam-monitor", summary: "Show how each line's sends went", scope: engine.LinesRead,
		answers: ok{200: spamResponse{}}}, s.spamMonitor)
	add(s, route{id: "createLine", method: post, path: "/api/lines", summary: "Create a line", scope: engine.LinesWrite, write: true, unrepeatable: true,
		answers: ok{201: lineResponse{}}, errors: []int{409}}, s.createLine)
	add(s, route{id: "setLine", method: patch, path: "/api/lines/{id}", summary: "Change or pause a line", scope: engine.LinesWrite, write: true,
		answers: ok{200: lineResponse{}}, errors: []int{404}}, s.setLine)
	add(s, route{id: "deleteLine", method: remove, path: "/api/lines/{id}", summary: "Delete a line", scope: engine.LinesWrite, write: true,
		answers: ok{200: successResponse{}}, errors: []int{404}}, s.deleteLine)

	add(s, route{id: "listKeys", method: get, path: "/api/keys", summary: "List the API keys of this environment", scope: engine.KeysManage,
		answers: ok{200: keysResponse{}}}, s.listKeys)
	add(s, route{id: "createKey", method: post, path: "/api/keys", summary: "Create an API key", scope: engine.KeysManage, write: true, unrepeatable: true,
		answers: ok{201: secretResponse{}}}, s.createKey)
	// Taking rights away must work in READ_ONLY too; the engine refuses the rest.
	add(s, route{id: "setKey", method: patch, path: "/api/keys/{id}", summary: "Change or disable an API key", scope: engine.KeysManage,
		answers: ok{200: keyResponse{}}, errors: []int{402, 404, 409}}, s.setKey)
	add(s, route{id: "revokeKey", method: remove, path: "/api/keys/{id}", summary: "Revoke an API key", scope: engine.KeysManage,
		answers: ok{200: successResponse{}}, errors: []int{404}}, s.revokeKey)
	add(s, route{id: "rotateKey", method: post, path: "/api/keys/{id}/rotate", summary: "Give an API key a new secret", scope: engine.KeysManage, unrepeatable: true, emptyBody: true,
		answers: ok{200: secretResponse{}}, errors: []int{404, 409}}, s.rotateKey)

	add(s, route{id: "showWorkspace", method: get, path: "/api/workspace", summary: "Show the workspace and whether it takes writes", scope: engine.WorkspaceRead,
		answers: ok{200: workspaceResponse{}}}, s.showWorkspace)
	add(s, route{id: "showUsage", method: get, path: "/api/usage", summary: "Show every limit and what is used of it", scope: engine.UsageRead,
		answers: ok{200: usageResponse{}}}, s.showUsage)

	s.addAccessRoutes()
	s.addStaffRoutes()
	s.addAuditRoutes()

	add(s, route{id: "live", realm: anybody, method: get, path: "/livez", summary: "Whether the process answers", answers: ok{200: livenessResponse{}}}, s.live)
	add(s, route{id: "ready", realm: anybody, method: get, path: "/readyz", summary: "Whether requests can be served, and what to look at",
		answers: ok{200: readinessResponse{}, 503: readinessResponse{}}}, s.ready)
	s.raw(route{id: "metrics", realm: anybody, method: get, path: "/metrics", summary: "Metrics for Prometheus", answers: ok{200: ""}}, metricsHandler(s.opt.Registry))
	s.raw(route{id: "openAPI", realm: anybody, method: get, path: "/openapi.json", summary: "This document", answers: ok{200: nil}}, func(c *fiber.Ctx) error {
		return writeBody(c, http.StatusOK, s.openAPI)
	})
}

// addAccessRoutes are the customer's decisions about staff access. They are no writes: they work in READ_ONLY.
func (s *Server) addAccessRoutes() {
	type ok map[int]any
	add(s, route{id: "listAccessRequests", method: get, path: "/api/staff-access/requests", summary: "List the requests for staff access, newest first", scope: engine.AccessApprove,
		answers: ok{200: accessPageResponse{}}}, s.listAccess)
	add(s, route{id: "getAccessRequest", method: get, path: "/api/staff-access/requests/{id}", summary: "Show a request for staff access, and what it opens", scope: engine.AccessApprove,
		answers: ok{200: accessResponse{}}, errors: []int{404}}, s.getAccess)
	add(s, route{id: "approveAccessRequest", method: post, path: "/api/staff-access/requests/{id}/approve", summary: "Approve a request for staff access", scope: engine.AccessApprove, emptyBody: true,
		answers: ok{200: accessObject{}}, errors: []int{402, 404, 409}}, s.approveAccess)
	add(s, route{id: "denyAccessRequest", method: post, path: "/api/staff-access/requests/{id}/deny", summary: "Deny a request for staff access", scope: engine.AccessApprove, emptyBody: true,
		answers: ok{200: accessObject{}}, errors: []int{402, 404, 409}}, s.denyAccess)
	add(s, route{id: "revokeAccessRequest", method: post, path: "/api/staff-access/requests/{id}/revoke", summary: "End a grant of staff access at once", scope: engine.AccessApprove, emptyBody: true,
		answers: ok{200: accessObject{}}, errors: []int{402, 404, 409}}, s.revokeAccess)
	add(s, route{id: "showAccessPolicy", method: get, path: "/api/staff-access/policy", summary: "Show what it takes for staff to look into the workspace", scope: engine.AccessApprove,
		answers: ok{200: policyResponse{}}}, s.showPolicy)
	add(s, route{id: "setAccessPolicy", method: put, path: "/api/staff-access/policy", summary: "Set what it takes for staff to look into the workspace", scope: engine.AccessApprove,
		answers: ok{200: policyResponse{}}, errors: []int{402, 429}}, s.setPolicy)
	add(s, route{id: "listAgreements", method: get, path: "/api/staff-access/agreements", summary: "List the agreements", scope: engine.AccessApprove,
		answers: ok{200: agreementsResponse{}}}, s.listAgreements)
	add(s, route{id: "addAgreement", method: post, path: "/api/staff-access/agreements", summary: "Add an agreement, which can only tighten the policy", scope: engine.AccessApprove, unrepeatable: true,
		answers: ok{201: agreementObject{}}, errors: []int{402, 409, 429}}, s.addAgreement)
	add(s, route{id: "removeAgreement", method: remove, path: "/api/staff-access/agreements/{id}", summary: "End an agreement", scope: engine.AccessApprove,
		answers: ok{200: agreementObject{}}, errors: []int{402, 404, 429}}, s.removeAgreement)
	add(s, route{id: "showControls", method: get, path: "/api/staff-access/controls", summary: "Show what holds for staff access now, and why", scope: engine.AccessApprove,
		answers: ok{200: controlsResponse{}}}, s.showControls)
	add(s, route{id: "showAccessLog", method: get, path: "/api/staff-access/log", summary: "Show what the audit log has of the workspace, newest first", scope: engine.AccessApprove,
		answers: ok{200: accessLogResponse{}}}, s.showAccessLog)
	add(s, route{id: "showAccessCheckpoint", method: get, path: "/api/staff-access/checkpoint", summary: "The newest checkpoint of the audit log, signed, to be kept", scope: engine.AccessApprove,
		answers: ok{200: ""}}, s.showCheckpoint)
	add(s, route{id: "whoSaw", method: get, path: "/api/staff-access/who-saw", summary: "Show which looks of staff had a person on the page", scope: engine.AccessApprove,
		answers: ok{200: entriesResponse{}}}, s.whoSaw)
	add(s, route{id: "forgetPerson", method: post, path: "/api/staff-access/forget", summary: "Make it impossible to tell which entries of the audit log name a person", scope: engine.AccessApprove,
		answers: ok{200: forgetResponse{}}, errors: []int{402}}, s.forgetPerson)
	add(s, route{id: "exportAccessLog", method: post, path: "/api/staff-access/export", summary: "Take away what the audit log has of the workspace, as a bundle that proves itself", scope: engine.AccessApprove, emptyBody: true,
		answers: ok{200: &download{}}, errors: []int{429}}, s.exportOwnAudit)
	add(s, route{id: "proveAccessEntry", method: get, path: "/api/staff-access/log/{seq}/proof", summary: "Prove that an entry of the workspace is in the audit log (C2SP tlog-proof)", scope: engine.AccessApprove,
		answers: ok{200: ""}, errors: []int{404}}, s.proveOwnEntry)
	add(s, route{id: "proveAccessConsistency", method: get, path: "/api/staff-access/consistency", summary: "Prove that the audit log continues an earlier checkpoint", scope: engine.AccessApprove,
		answers: ok{200: ""}}, s.proveConsistency)
	add(s, route{id: "showAccessWebhook", method: get, path: "/api/staff-access/webhook", summary: "Show where notices of staff access go, and how far they are delivered", scope: engine.AccessApprove,
		answers: ok{200: webhookResponse{}}, errors: []int{404}}, s.showWebhook)
	add(s, route{id: "setAccessWebhook", method: put, path: "/api/staff-access/webhook", summary: "Set where notices of staff access go", scope: engine.AccessApprove,
		answers: ok{200: webhookSecretResponse{}}, errors: []int{402, 429}}, s.setWebhook)
	add(s, route{id: "rotateAccessWebhook", method: post, path: "/api/staff-access/webhook/rotate", summary: "Give the webhook a new secret", scope: engine.AccessApprove, unrepeatable: true, emptyBody: true,
		answers: ok{200: webhookSecretResponse{}}, errors: []int{402, 404, 429}}, s.rotateWebhook)
	add(s, route{id: "removeAccessWebhook", method: remove, path: "/api/staff-access/webhook", summary: "End the notices of staff access", scope: engine.AccessApprove,
		answers: ok{200: successResponse{}}, errors: []int{402, 404, 429}}, s.removeWebhook)
}

// addStaffRoutes are for staff.
func (s *Server) addStaffRoutes() {
	type ok map[int]any
	add(s, route{id: "requestAccess", method: post, path: "/staff/access-requests", summary: "Ask a customer for access", realm: staffToken, unrepeatable: true,
		answers: ok{201: accessObject{}}, errors: []int{402, 404}}, s.requestAccess)
	add(s, route{id: "listOwnAccessRequests", method: get, path: "/staff/access-requests", summary: "List one's own requests, newest first", realm: staffToken,
		answers: ok{200: accessPageResponse{}}}, s.listOwnAccess)
	add(s, route{id: "getOwnAccessRequest", method: get, path: "/staff/access-requests/{id}", summary: "Show one's own request", realm: staffToken,
		answers: ok{200: accessObject{}}, errors: []int{404}}, s.getOwnAccess)
	add(s, route{id: "withdrawAccessRequest", method: post, path: "/staff/access-requests/{id}/withdraw", summary: "Take back a request, or give back the grant", realm: staffToken,
		answers: ok{200: accessObject{}}, errors: []int{402, 404, 409}}, s.withdrawAccess)
	s.addStaffViews()
}

// addAuditRoutes are for auditors.
func (s *Server) addAuditRoutes() {
	type ok map[int]any
	add(s, route{id: "showAuditLog", method: get, path: "/audit/log", summary: "Show entries of the audit log as they stand", realm: auditorToken,
		answers: ok{200: auditLogResponse{}}}, s.showAuditLog)
	add(s, route{id: "showCheckpoint", method: get, path: "/audit/checkpoint", summary: "The newest checkpoint of the audit log, as a signed note", realm: auditorToken,
		answers: ok{200: ""}}, s.showCheckpoint)
	add(s, route{id: "showAuditKeys", method: get, path: "/audit/key", summary: "The verifier keys of the audit log, one a line, the newest last", realm: auditorToken,
		answers: ok{200: ""}}, s.showAuditKeys)
	add(s, route{id: "exportAudit", method: post, path: "/audit/export", summary: "Take away entries of the audit log, as a bundle that proves itself", realm: auditorToken, emptyBody: true,
		answers: ok{200: &download{}}, errors: []int{404, 429}}, s.exportAudit)
	add(s, route{id: "proveAuditEntry", method: get, path: "/audit/log/{seq}/proof", summary: "Prove that an entry is in the audit log (C2SP tlog-proof)", realm: auditorToken,
		answers: ok{200: ""}, errors: []int{404}}, s.proveAuditEntry)
	add(s, route{id: "proveAuditConsistency", method: get, path: "/audit/consistency", summary: "Prove that the audit log continues an earlier checkpoint", realm: auditorToken,
		answers: ok{200: ""}}, s.proveConsistency)
}
