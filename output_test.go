package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestShow: what a program reads as JSON, people read as a page.
func TestShow(t *testing.T) {
	const answer = `{"id":"1","none":null,"inner":{"createdAt":"today"},"list":[
		{"_id":"a","scopes":["x:read","y:read"]},
		{"_id":"b","scopes":["z:read"],"errorMessage":"no\u001b[31m \nroute"}],"empty":[]}`
	var text strings.Builder
	out := output{to: &text}
	if err := out.show(json.RawMessage(answer)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(text.String()) {
		got = append(got, strings.TrimRight(line, " \n"))
	}
	want := []string{
		"id               1",
		"none             -",
		"inner.createdAt  today",
		"list:",
		"  ID  SCOPES         ERROR MESSAGE",
		"  a   x:read y:read  -",
		"  b   z:read         no?[31m ?route",
		"empty:",
		"  (none)",
	}
	squeeze := func(lines []string) string { return strings.Join(lines, "\n") }
	if squeeze(got) != squeeze(want) {
		t.Errorf("got\n%s\nwant\n%s", squeeze(got), squeeze(want))
	}
}
