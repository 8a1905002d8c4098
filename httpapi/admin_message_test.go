package httpapi

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"tuco/engine"
	"tuco/strictjson"
)

// TestUnknownShowsNoText: the operator sees of messages whose outcome is not known which they are, and nothing that a customer wrote.
func TestUnknownShowsNoText(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.marked(engine.Production)
	for _, q := range w.eng.Queues() {
		for _, line := range q.LineIDs() {
			jobs, _, err := q.Next(line, 10, func(engine.MessageID) bool { return false })
			if err != nil {
				t.Fatal(err)
			}
			for _, job := range jobs {
				must[struct{}](t)(struct{}{}, q.HandOver(job))
				must[engine.Message](t)(q.Lose(job.Message.ID, "the answer said "+marker))
			}
		}
	}
	raw := ask[jsontext.Value](t, NewAdminClient(w.adminSocket()), "message/unknown", ScopeInput{WorkspaceID: string(ws.id)})
	var got struct {
		Messages []map[string]any `json:"messages"`
		More     bool             `json:"more"`
	}
	if err := strictjson.Unmarshal(raw, &got); err != nil || len(got.Messages) != 1 {
		t.Fatalf("%s, %v", raw, err)
	}
	want := []string{"_id", "createdAt", "environment", "externalMessageId", "lineId", "status", "updatedAt"}
	if names := slices.Sorted(maps.Keys(got.Messages[0])); !slices.Equal(names, want) || got.Messages[0]["_id"] != f.message {
		t.Errorf("shown are %q of %v, want %q of %s", names, got.Messages[0]["_id"], want, f.message)
	}
	for _, private := range []string{marker, strings.ToLower(marker), "2025550171", "2025550172"} {
		if strings.Contains(string(raw), private) {
			t.Errorf("%q is in %s", private, raw)
		}
	}
}
