package engine

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"tuco/kv"
)

// noRecords are the buckets of an environment that hold nothing that staff could be shown: they follow from records, or
// hold what only the program reads. A bucket with a dot in its name belongs to the one before the dot.
var noRecords = map[string]string{
	"counts":      "numbers of records",
	"people":      "follows from leads and messages",
	"idempotency": "answers, given once more to who has the key",
	"persons":     "digest keys and the sightings by them, for the audit log",
}

// TestEveryBucketIsAKind: whoever keeps a new kind of record in an environment makes it a kind that staff can be let see, or
// says here why not. Also, its scope exists and is one that reads, and all tables know it.
func TestEveryBucketIsAKind(t *testing.T) {
	w := newWorld(t, unlimited())
	owner, _ := w.populate(w.id, Production, "marker")
	s, _ := w.granted(owner)
	w.read(s, w.look(KindLeads))
	env := w.tenant(w.id).envs[Production]
	var names []string
	for path := range storePaths(reflect.ValueOf(&env.store).Elem()) {
		names = append(names, strings.TrimPrefix(string(path), string(env.path())+"/"))
	}
	inStore := len(names)
	children, err := kv.View(w.db, func(tx *kv.Tx) ([]string, error) { return tx.Children(env.path()), nil })
	if err != nil || inStore < 10 || len(children) < 10 {
		t.Fatalf("%d buckets in the store, %q in the file, %v", inStore, children, err)
	}
	for _, name := range append(names, children...) {
		noun, _, _ := strings.Cut(name, ".")
		if noRecords[noun] == "" && !slices.Contains(RecordKinds, RecordKind(noun)) {
			t.Errorf("the bucket %s holds no kind of record that staff can be let see: add it to RecordKinds, or say in noRecords why not", name)
		}
	}
	for _, k := range RecordKinds {
		if scope := kindScopes[k]; !slices.Contains(AllScopes, scope) || !strings.HasSuffix(string(scope), ":read") || !slices.Contains(kindsOf(scope), k) {
			t.Errorf("%s is opened by the scope %q", k, scope)
		}
		if _, ok := maskedFields[k]; !ok || len(shownFields[k]) == 0 {
			t.Errorf("%s has no table of fields", k)
		}
		page, err := w.StaffRead(s, w.look(k))
		if err != nil || len(page.Records) == 0 {
			t.Errorf("%s can't be shown: %v, %v", k, page.Records, err)
		}
	}
}

// storePaths are the paths of the buckets and indexes in a struct.
func storePaths(store reflect.Value) map[kv.Path]bool {
	paths := map[kv.Path]bool{}
	for i := range store.NumField() {
		if path := store.Field(i).FieldByName("Path"); path.IsValid() {
			paths[kv.Path(path.String())] = true
		}
	}
	return paths
}
