package httpapi

import (
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"testing"

	"tuco/engine"
)

// fixture has one record of each kind in one environment of a workspace.
type fixture struct {
	ws  workspace
	env engine.Environment

	lead, list, line, message, key string
}

var persons atomic.Int64

// nextPerson is a phone number that no fixture had before.
func nextPerson() string { return person(int(1000 + persons.Add(1)%9000)) }

func (ws workspace) fixture(env engine.Environment) fixture {
	ws.w.t.Helper()
	f := fixture{ws: ws, env: env}
	f.line = ws.line(env, nextPerson(), 0).ID.String()
	f.list = f.newList()
	f.message, f.lead = f.newMessage()
	k, _ := ws.makeKey(env, engine.NewKey{Name: "fixture", Role: engine.RoleViewer})
	f.key = k.ID.String()
	return f
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (f fixture) newList() string {
	return must[engine.ListResult](f.ws.w.t)(f.ws.w.eng.CreateList(f.ws.in(f.env), nil, "List "+nextPerson(), "")).ID.String()
}

func (f fixture) newMessage() (message, lead string) {
	r := must[*engine.SendResult](f.ws.w.t)(f.ws.w.eng.Send(f.ws.in(f.env), nil, engine.SendRequest{Text: "hello", Phone: nextPerson(), Line: f.line}))
	return r.Message.ID.String(), r.Lead.ID.String()
}

func (f fixture) newLine() string { return f.ws.line(f.env, nextPerson(), 0).ID.String() }

func (f fixture) newKey() string {
	k, _ := f.ws.makeKey(f.env, engine.NewKey{Name: "short-lived", Role: engine.RoleViewer})
	return k.ID.String()
}

// valid returns a request that each route takes, and the status of its answer. Every route with a
// credential has one.
func (f fixture) valid(id string) (request, int) {
	switch id {
	case "sendMessage":
		return request{method: post, path: "/api/messages", body: obj{"message": "hi", "recipientPhone": nextPerson(), "fromLineId": f.line}}, 201
	case "listMessages":
		return request{method: get, path: "/api/messages?lineId=" + f.line + "&leadId=" + f.lead}, 200
	case "cancelForLead":
		return request{method: post, path: "/api/messages/cancel-for-lead", body: obj{"leadId": f.lead}}, 200
	case "getMessage":
		return request{method: get, path: "/api/messages/" + f.message}, 200
	case "createLeads":
		return request{method: post, path: "/api/leads", body: obj{"listId": f.list, "leads": []obj{{"phone": nextPerson()}}}}, 201
	case "listLeads":
		return request{method: get, path: "/api/leads?listId=" + f.list}, 200
	case "setLead":
		return request{method: put, path: "/api/leads/" + f.lead, body: obj{"firstName": "Ana"}}, 200
	case "deleteLeads":
		_, lead := f.newMessage()
		return request{method: remove, path: "/api/leads", body: obj{"ids": []string{lead}}}, 200
	case "listLists":
		return request{method: get, path: "/api/lists"}, 200
	case "createList":
		return request{method: post, path: "/api/lists", body: obj{"name": "List " + nextPerson()}}, 201
	case "setList":
		return request{method: patch, path: "/api/lists/" + f.list, body: obj{"description": "changed"}}, 200
	case "deleteList":
		return request{method: remove, path: "/api/lists/" + f.newList()}, 200
	case "listLines":
		return request{method: get, path: "/api/lines/by-user"}, 200
	case "spamMonitor":
		return request{method: get, path: "/api/lines/spam-monitor"}, 200
	case "createLine":
		return request{method: post, path: "/api/lines", body: obj{"channel": "sms", "phone": nextPerson()}}, 201
	case "setLine":
		return request{method: patch, path: "/api/lines/" + f.line, body: obj{"firstName": "Ana"}}, 200
	case "deleteLine":
		return request{method: remove, path: "/api/lines/" + f.newLine()}, 200
	case "listKeys":
		return request{method: get, path: "/api/keys"}, 200
	case "createKey":
		return request{method: post, path: "/api/keys", body: obj{"name": "made", "role": "viewer"}}, 201
	case "setKey":
		return request{method: patch, path: "/api/keys/" + f.key, body: obj{"name": "renamed"}}, 200
	case "revokeKey":
		return request{method: remove, path: "/api/keys/" + f.newKey()}, 200
	case "rotateKey":
		return request{method: post, path: "/api/keys/" + f.key + "/rotate", body: obj{}}, 200
	case "showWorkspace":
		return request{method: get, path: "/api/workspace"}, 200
	case "showUsage":
		return request{method: get, path: "/api/usage"}, 200
	case "listAccessRequests":
		return request{method: get, path: "/api/staff-access/requests?status=pending"}, 200
	case "getAccessRequest":
		return request{method: get, path: "/api/staff-access/requests/" + f.newAccess()}, 200
	case "approveAccessRequest":
		return request{method: post, path: "/api/staff-access/requests/" + f.newAccess() + "/approve", body: obj{}}, 200
	case "denyAccessRequest":
		return request{method: post, path: "/api/staff-access/requests/" + f.newAccess() + "/deny", body: obj{"note": "no"}}, 200
	case "revokeAccessRequest":
		return request{method: post, path: "/api/staff-access/requests/" + f.newGrant() + "/revoke", body: obj{}}, 200
	case "showAccessPolicy":
		return request{method: get, path: "/api/staff-access/policy"}, 200
	case "setAccessPolicy":
		return request{method: put, path: "/api/staff-access/policy", body: obj{"mode": "approval", "operatorDecides": true}}, 200
	case "listAgreements":
		return request{method: get, path: "/api/staff-access/agreements"}, 200
	case "addAgreement":
		return request{method: post, path: "/api/staff-access/agreements", body: obj{"type": "dpa", "reference": "DPA-1", "controls": obj{"retention": "8760h"}}}, 201
	case "removeAgreement":
		return request{method: remove, path: "/api/staff-access/agreements/" + f.newAgreement()}, 200
	case "showControls":
		return request{method: get, path: "/api/staff-access/controls"}, 200
	case "showAccessCheckpoint":
		return request{method: get, path: "/api/staff-access/checkpoint"}, 200
	case "showAccessLog":
		return request{method: get, path: "/api/staff-access/log"}, 200
	case "showAccessWebhook":
		f.newWebhook()
		return request{method: get, path: "/api/staff-access/webhook"}, 200
	case "setAccessWebhook":
		return request{method: put, path: "/api/staff-access/webhook", body: obj{"url": "https://hooks.example/tuco"}}, 200
	case "removeAccessWebhook":
		f.newWebhook()
		return request{method: remove, path: "/api/staff-access/webhook"}, 200
	case "rotateAccessWebhook":
		f.newWebhook()
		return request{method: post, path: "/api/staff-access/webhook/rotate", body: obj{"overlap": "1h"}}, 200
	case "whoSaw":
		return request{method: get, path: "/api/staff-access/who-saw?email=ana@example.com"}, 200
	case "forgetPerson":
		return request{method: post, path: "/api/staff-access/forget", body: obj{"email": "ana@example.com"}}, 200
	case "exportAccessLog":
		return request{method: post, path: "/api/staff-access/export", body: obj{}}, 200
	case "proveAccessEntry":
		return request{method: get, path: fmt.Sprintf("/api/staff-access/log/%d/proof", f.ws.firstEntry())}, 200
	case "proveAccessConsistency":
		return request{method: get, path: "/api/staff-access/consistency?from=1"}, 200
	}
	panic("no valid request for " + id)
}

// withTag gives an id another owner tag.
func withTag(id string, tag [3]byte) string { return id[:8] + hex.EncodeToString(tag[:]) + id[14:] }

// nobodys is an id whose tag nobody was ever given, but for one case in millions.
func nobodys(id string) string { return withTag(id, [3]byte{0xfe, 0xdc, 0xba}) }

// neverMade is an id of the same owner that was never given.
func neverMade(id string) string { return id[:14] + "ffffffffff" }

// idUse is a place in a request that names a record.
type idUse struct {
	name      string
	in        string // path, query or body
	with      func(id string) request
	own       func(fixture) string
	unknown   string // 404
	malformed string // 400, unless the contract says 404
	status    int    // of malformed, if not 400
}

func pathID(method, path string, own func(fixture) string, unknown, malformed string, body any) idUse {
	return idUse{name: method + " " + path, in: "path", own: own, unknown: unknown, malformed: malformed,
		with: func(id string) request { return request{method: method, path: fmt.Sprintf(path, id), body: body} }}
}

func queryID(path, name string, own func(fixture) string, unknown, malformed string) idUse {
	return idUse{name: "GET " + path + " " + name, in: "query", own: own, unknown: unknown, malformed: malformed,
		with: func(id string) request { return request{method: get, path: path + "?" + name + "=" + id} }}
}

func bodyID(method, path, name string, rest obj, own func(fixture) string, unknown, malformed string) idUse {
	return idUse{name: method + " " + path + " " + name, in: "body", own: own, unknown: unknown, malformed: malformed,
		with: func(id string) request {
			body := obj{name: id}
			for k, v := range rest {
				body[k] = v
			}
			return request{method: method, path: path, body: body}
		}}
}

const (
	unknownLead = "Lead not found or access denied"
	unknownList = "List not found. The specified listId does not exist or is invalid. Omit listId to use the Quick Sends list."
)

// idUses are all places where a request can name a record, but for DELETE /api/leads, which skips foreign ones.
func idUses() []idUse {
	message := func(f fixture) string { return f.message }
	lead := func(f fixture) string { return f.lead }
	list := func(f fixture) string { return f.list }
	line := func(f fixture) string { return f.line }
	key := func(f fixture) string { return f.key }
	uses := []idUse{
		pathID(get, "/api/messages/%s", message, "Message not found", "Invalid messageId", nil),
		queryID("/api/messages", "lineId", line, "Line not found", "Invalid lineId"),
		queryID("/api/messages", "leadId", lead, unknownLead, "Invalid leadId"),
		bodyID(post, "/api/messages", "leadId", obj{"message": "x"}, lead, unknownLead, "Invalid leadId"),
		bodyID(post, "/api/messages", "fromLineId", obj{"message": "x", "recipientPhone": person(1)}, line, "Line not found", "Invalid fromLineId"),
		bodyID(post, "/api/messages/cancel-for-lead", "leadId", nil, lead, "", "Invalid leadId"),

		pathID(put, "/api/leads/%s", lead, "Lead not found", "Invalid lead id", obj{"firstName": "x"}),
		queryID("/api/leads", "id", lead, "Lead not found", "Invalid lead id"),
		queryID("/api/leads", "listId", list, "List not found", "Invalid list id"),
		bodyID(post, "/api/leads", "listId", obj{"leads": []obj{{"phone": person(2)}}}, list, unknownList, unknownList),

		pathID(patch, "/api/lists/%s", list, "List not found", "Invalid list id", obj{"description": "x"}),
		pathID(remove, "/api/lists/%s", list, "List not found", "Invalid list id", nil),
		pathID(patch, "/api/lines/%s", line, "Line not found", "Invalid line id", obj{"firstName": "x"}),
		pathID(remove, "/api/lines/%s", line, "Line not found", "Invalid line id", nil),
		pathID(patch, "/api/keys/%s", key, "Key not found", "Invalid key id", obj{"name": "x"}),
		pathID(remove, "/api/keys/%s", key, "Key not found", "Invalid key id", nil),
		pathID(post, "/api/keys/%s/rotate", key, "Key not found", "Invalid key id", obj{}),
	}
	for i := range uses {
		uses[i].status = 400
		if uses[i].malformed == unknownList {
			uses[i].status = 404
		}
	}
	return uses
}
