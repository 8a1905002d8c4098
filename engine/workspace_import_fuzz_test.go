package engine

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"tuco/kv"
)

// FuzzImportedRecord: a line that is taken has one encoding, and its record can be stored: every key is short enough, and the
// codec takes it and gives it back.
func FuzzImportedRecord(f *testing.F) {
	const tag = "aabbcc"
	id := "6b042ac0" + tag + "0000000001"
	for _, line := range []string{
		`{"id":"` + id + `","text":"Hi","channel":"sms","status":"sent","to":["+12025550100"],"lead":"` + id + `","line":"` + id + `","plan":{"day":20261123},"unit":{"day":20261123},"batchId":"b","madeBy":"operator","created":"2026-11-23T12:00:00Z","updated":"2026-11-23T12:00:00Z"}`,
		`{"id":"` + id + `","email":"a@example.com","altPhones":["+12025550100","",""],"customFields":{"a":[1,{"b":null}]},"list":"` + id + `","created":"2026-11-23T12:00:00Z","updated":"2026-11-23T12:00:00Z"}`,
		`{"id":"` + id + `","channel":"email","email":"a@example.com","active":true,"transport":"sandbox","shown":"sandbox:","dailyMessages":1,"dailyNew":0,"deviceGap":0,"contactGap":0,"healthy":true,"madeBy":"operator","created":"2026-11-23T12:00:00Z","updated":"2026-11-23T12:00:00Z"}`,
		`{"format":"tuco workspace","version":1,"kind":"leads"}`,
	} {
		f.Add(line)
	}
	known, _ := kv.ParseID(id)
	f.Fuzz(func(t *testing.T, line string) {
		x := &importer{now: noon}
		env := &environment{store: newStore("x"), tag: known.Tag()}
		i := &envImport{environment: env, x: x, from: known.Tag(), lists: map[ListID]bool{{ID: known}: true}, lines: map[LineID]bool{{ID: known}: true}}
		l, err := openLines(strings.NewReader(line+"\n"), "f.jsonl", exportHead{Kind: kindLeads})
		if err == nil && l.n != 1 {
			t.Errorf("%d lines", l.n)
		}
		var m Message
		if parseRecord([]byte(line), &m) == nil && i.checkMessage(&m) == nil {
			sameLine(t, line, m)
			sameRecord(t, messageCodec, m)
			for _, k := range env.indexKeys(&m) {
				shortKey(t, k.key)
			}
		}
		var lead Lead
		if parseRecord([]byte(line), &lead) == nil && i.checkLead(&lead) == nil {
			sameLine(t, line, lead)
			sameRecord(t, leadCodec, lead)
			for _, a := range lead.Addresses() {
				shortKey(t, addressKey(a, lead.ID.key()))
			}
		}
		var sending Line
		if n := 0; parseRecord([]byte(line), &sending) == nil && checkImportedLine(&sending, map[string]bool{}, &n) == nil {
			sameLine(t, line, sending)
			sameRecord(t, lineCodec, sending)
			shortKey(t, []byte(sending.identity()))
		}
	})
}

func sameLine(t *testing.T, line string, record any) {
	if again, err := json.Marshal(record, lineOptions); err != nil || string(again) != line {
		t.Errorf("%s becomes %s, %v", line, again, err)
	}
}

// sameRecord stores a record and reads it again.
func sameRecord[T any](t *testing.T, codec kv.Codec[T], v T) {
	data, err := codec.Encode(nil, v)
	if err != nil {
		t.Fatalf("%+v can't be stored: %v", v, err)
	}
	got, err := codec.Decode(codec.Version, data)
	if err != nil {
		t.Fatalf("%+v can't be read: %v", v, err)
	}
	again, err := codec.Encode(nil, got)
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("%+v becomes %+v, %v", v, got, err)
	}
}

func shortKey(t *testing.T, key []byte) {
	if len(key) > 1<<10 {
		t.Errorf("a key of %d bytes", len(key))
	}
}
