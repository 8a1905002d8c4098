package engine

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"tuco/engine/quota"
	"tuco/kv"
)

// leaves calls fn with every value in v that records store as one, and its path.
func leaves(path string, v reflect.Value, fn func(path string, v reflect.Value)) {
	switch v.Interface().(type) {
	case time.Time, LeadID, ListID, LineID, MessageID, jsontext.Value:
		fn(path, v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			leaves(path+"."+v.Type().Field(i).Name, v.Field(i), fn)
		}
	case reflect.Array:
		for i := range v.Len() {
			leaves(path+"[]", v.Index(i), fn)
		}
	default:
		fn(path, v)
	}
}

// draw sets v to something that is not zero.
func draw(r *rapid.T, v reflect.Value) {
	text := rapid.StringN(1, 8, -1)
	id := func() kv.ID {
		return kv.ID(rapid.SliceOfN(rapid.ByteRange(1, 255), len(kv.ID{}), len(kv.ID{})).Draw(r, "id"))
	}
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		seconds := rapid.Int64Range(-1<<35, 1<<37).Draw(r, "seconds")
		*p = time.Unix(seconds, rapid.SampledFrom([]int64{0, 1, 999_999_999, 5e6}).Draw(r, "nanos")).UTC()
	case *LeadID:
		p.ID = id()
	case *ListID:
		p.ID = id()
	case *LineID:
		p.ID = id()
	case *MessageID:
		p.ID = id()
	case *jsontext.Value:
		*p = jsontext.Value(`{"city":"Bern","n":1}`)
	case *Channel:
		*p = rapid.SampledFrom(channelCodes[1:]).Draw(r, "channel")
	case *Status:
		*p = rapid.SampledFrom(statusWords[1:]).Draw(r, "status")
	case *place:
		*p = rapid.SampledFrom(placeCodes[1:]).Draw(r, "place")
	case *quota.Label:
		*p = quota.Label(rapid.Int32Range(1, math.MaxInt32).Draw(r, "label"))
	case *string:
		*p = text.Draw(r, "text")
	case *WorkspaceID:
		*p = WorkspaceID(text.Draw(r, "workspace"))
	case *ReadOnlyReason:
		*p = ReadOnlyReason(text.Draw(r, "reason"))
	case *map[Environment]string:
		*p = rapid.MapOfN(rapid.SampledFrom(Environments), text, 1, 3).Draw(r, "tags")
	case *[]string:
		*p = rapid.SliceOfN(rapid.StringN(0, 8, -1), 1, 3).Draw(r, "texts")
	case *[]int:
		*p = rapid.SliceOfN(rapid.IntRange(-1, 6), 1, 3).Draw(r, "numbers")
	case *[]LineID:
		for range rapid.IntRange(1, 3).Draw(r, "lines") {
			*p = append(*p, LineID{id()})
		}
	case *[]byte:
		*p = rapid.SliceOfN(rapid.Byte(), 1, 8).Draw(r, "bytes")
	case *bool:
		*p = true
	case *int, *int64, *Gap:
		v.SetInt(rapid.SampledFrom([]int64{1, -1, 300, math.MaxInt64, math.MinInt64}).Draw(r, "number"))
	default:
		r.Fatalf("records store no %s", v.Type())
	}
}

// unempty makes nil of what is empty: records don't tell them apart.
func unempty[T any](v T) T {
	leaves("", reflect.ValueOf(&v).Elem(), func(_ string, v reflect.Value) {
		if (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0 {
			v.SetZero()
		}
	})
	return v
}

// roundTrip checks that every field of a record comes back: each alone, and all together; that it comes
// back from its JSON alike; and that fields of a later version are skipped.
func roundTrip[T any](t *testing.T, codec kv.Codec[T]) {
	same := func(r *rapid.T, what string, want T) {
		data, err := codec.Encode(nil, want)
		if err != nil {
			r.Fatalf("%s: encoding: %v", what, err)
		}
		later := protowire.AppendTag(append([]byte(nil), data...), 1000, protowire.Fixed64Type)
		later = protowire.AppendFixed64(later, 1)
		later = protowire.AppendTag(later, 1001, protowire.BytesType)
		later = protowire.AppendString(later, "later")
		for _, stored := range [][]byte{data, later} {
			got, err := codec.Decode(codec.Version, stored)
			if err != nil || !reflect.DeepEqual(unempty(got), want) {
				r.Fatalf("%s: got %+v, %v; want %+v", what, got, err, want)
			}
		}
		data, err = kv.JSON[T](1).Encode(nil, want)
		if err != nil {
			r.Fatalf("%s: %v", what, err)
		}
		if got, err := codec.Decode(1, data); err != nil || !reflect.DeepEqual(unempty(got), want) {
			r.Fatalf("%s from JSON: got %+v, %v; want %+v", what, got, err, want)
		}
	}
	name := reflect.TypeFor[T]().Name()
	t.Run(name, rapid.MakeCheck(func(r *rapid.T) {
		var all T
		leaves(name, reflect.ValueOf(&all).Elem(), func(path string, v reflect.Value) {
			draw(r, v)
			var alone T
			leaves(name, reflect.ValueOf(&alone).Elem(), func(other string, w reflect.Value) {
				if other == path && w.IsZero() {
					w.Set(v)
				}
			})
			same(r, path, alone)
		})
		same(r, "everything", all)
	}))
}

func TestRecords(t *testing.T) {
	roundTrip(t, messageCodec)
	roundTrip(t, leadCodec)
	roundTrip(t, listCodec)
	roundTrip(t, listIDCodec)
	roundTrip(t, planUsageCodec)
	roundTrip(t, lineUsageCodec)
	roundTrip(t, lineHourCodec)
	roundTrip(t, countCodec)
	roundTrip(t, answerCodec)
	roundTrip(t, workspaceCodec)
	roundTrip(t, lineCodec)
	roundTrip(t, personCodec)
}

// TestWorkspaceState: whether a workspace takes writes is read from its record alike, however it is stored.
func TestWorkspaceState(t *testing.T) {
	for _, reason := range []ReadOnlyReason{"", ReadOnlyPastDue} {
		w := Workspace{ID: "org_1", Name: "n", ReadOnly: reason, ReadOnlySince: noon, Tags: map[Environment]string{Staging: "010203"}, Created: noon}
		for _, codec := range []kv.Codec[Workspace]{workspaceCodec, kv.JSON[Workspace](recordJSON)} {
			data, err := codec.Encode(nil, w)
			if err != nil {
				t.Fatal(err)
			}
			got, err := workspaceStates.Codec.Decode(codec.Version, data)
			if err != nil || got.ReadOnly != reason {
				t.Errorf("%q in version %d is read as %q, %v", reason, codec.Version, got.ReadOnly, err)
			}
		}
	}
}

// TestRecordRefusals: what can't be stored, or read, is an error and not something else.
func TestRecordRefusals(t *testing.T) {
	if _, err := messageCodec.Encode(nil, Message{Status: "lost"}); err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("a status without a code: %v", err)
	}
	tag := func(field protowire.Number, kind protowire.Type, value ...byte) []byte {
		return append(protowire.AppendTag(nil, field, kind), value...)
	}
	for name, data := range map[string][]byte{
		"an unknown status":   tag(messageStatus, protowire.VarintType, 99),
		"an id of two bytes":  tag(messageID, protowire.BytesType, 2, 0, 0),
		"a time of no bytes":  tag(messageDue, protowire.BytesType, 0),
		"too many nanos":      tag(messageDue, protowire.BytesType, 6, 1, 0x80, 0x94, 0xeb, 0xdc, 0x03),
		"a text cut off":      tag(messageText, protowire.BytesType, 5, 'x'),
		"field zero":          {0, 0},
		"a tag without value": tag(messageText, protowire.BytesType),
	} {
		if m, err := messageCodec.Decode(2, data); err == nil {
			t.Errorf("%s: read as %+v", name, m)
		}
	}
	if _, err := messageCodec.Decode(3, nil); err == nil {
		t.Error("a later version is read")
	}
}

// FuzzMessageRecord: whatever is read is written the same.
func FuzzMessageRecord(f *testing.F) {
	id := MessageID{kv.ID{1, 2, 3}}
	for _, m := range []Message{
		{},
		{ID: id, Text: typicalText, Channel: SMS, Status: Pending, To: []string{"+12025550123", ""}, Place: inReady, Due: noon, Created: noon.Add(1)},
		{ID: id, Status: Cancelled, Window: Window{Timezone: "UTC", Days: []int{0, 6}}, CRM: CRM{HSPortalID: "x"}, Plan: PlanUnit{Day: 20261123, Released: true}},
	} {
		data, err := messageCodec.Encode(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("not a record"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := messageCodec.Decode(recordWire, data)
		if err != nil {
			return
		}
		first, err := messageCodec.Encode(nil, m)
		if err != nil {
			t.Fatalf("%+v was read and can't be written: %v", m, err)
		}
		again, err := messageCodec.Decode(recordWire, first)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("read as %+v, then as %+v, %v", m, again, err)
		}
		if second, err := messageCodec.Encode(nil, again); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("written as %x, then as %x, %v", first, second, err)
		}
	})
}

// TestJSONRecordsAreRead: what was stored as JSON is read, and charged and sent as before.
func TestJSONRecordsAreRead(t *testing.T) {
	w := newWorld(t, perDay(5))
	l := w.line(Production, 5, 5)
	who := w.in(Production)
	sent := w.send(who, to(phone()))
	w.forge(func(tx *kvTx) {
		s := &who.env.store
		asJSON(tx, s.messages)
		asJSON(tx, s.leads)
		asJSON(tx, s.lists)
		asJSON(tx, s.quickSends)
		asJSON(tx, s.counts)
		asJSON(tx, s.lineUsage)
		asJSON(tx, usageBucket(w.id))
		asJSON(tx, workspaces)
		asJSON(tx, s.lines)
	})
	w.reopen()
	who = w.in(Production)
	if got := w.get(who, sent.Message.ID); !reflect.DeepEqual(got, sent.Message) {
		t.Errorf("got %+v, want %+v", got, sent.Message)
	}
	w.send(who, to(w.lead(who, sent).Phone))
	w.send(who, to(phone()))
	if got := w.usage(who, limitDay).Used; got != 3 {
		t.Errorf("%d used, want 3", got)
	}
	if m, ok := w.deliver(Production, l.ID); !ok || m.Status != Delivered {
		t.Errorf("delivered: %v, %+v", ok, m)
	}
}

// asJSON stores every record of a bucket as it was stored first.
func asJSON[T any](tx *kvTx, b kv.Bucket[T]) {
	old := kv.Bucket[T]{Path: b.Path, Codec: kv.JSON[T](recordJSON)}
	for key, v := range b.Scan(tx, kv.Range{}) {
		old.Put(tx, key, v)
	}
}
