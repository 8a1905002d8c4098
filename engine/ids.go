package engine

import (
	"errors"

	"tuco/kv"
)

// ID is an id of one kind of record, so that an id of another kind doesn't compile. As text it is 24
// lower-case hex digits.
type ID[Kind any] struct{ kv.ID }

// The kinds of id.
type (
	LeadID    = ID[leadKind]
	ListID    = ID[listKind]
	LineID    = ID[lineKind]
	MessageID = ID[messageKind]
	KeyID     = ID[keyKind]

	leadKind    struct{}
	listKind    struct{}
	lineKind    struct{}
	messageKind struct{}
	keyKind     struct{}
)

// IsZero tells whether there is no id.
func (id ID[K]) IsZero() bool { return id.ID == kv.ID{} }

// String is the id's 24 hex digits, or nothing.
func (id ID[K]) String() string {
	if id.IsZero() {
		return ""
	}
	return id.ID.String()
}

// MarshalText writes String.
func (id ID[K]) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID[K]) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		id.ID = kv.ID{}
		return nil
	}
	parsed, ok := kv.ParseID(string(text))
	if !ok {
		return errors.New("not 24 hex digits")
	}
	id.ID = parsed
	return nil
}

func (id ID[K]) key() []byte { return id.ID[:] }

// newID makes an id in the transaction's environment.
func newID[K any](tx *kv.Tx, env *environment) ID[K] { return ID[K]{tx.NewID(env.tag)} }

// idOf reads an id out of the last 12 bytes of an index key. A shorter key, in a damaged file, is no record's.
func idOf[K any](key []byte) (id ID[K]) {
	if from := len(key) - len(id.ID); from >= 0 {
		copy(id.ID[:], key[from:])
	}
	return id
}

// parseID reads an id of the caller's own environment. malformed and unknown are the endpoint's
// documented texts. An id that carries another owner's tag is refused alike whether or not its
// record exists: the tag alone decides.
func parseID[K any](who Caller, text, malformed, unknown string) (id ID[K], err error) {
	parsed, ok := kv.ParseID(text)
	if !ok {
		return id, Errorf(Invalid, "%s", malformed)
	}
	return ID[K]{parsed}, who.owns(parsed, unknown)
}

// owns refuses ids of another workspace or environment, and those whose tag nobody was given.
func (who Caller) owns(id kv.ID, unknown string) error {
	switch {
	case id.Tag() == who.env.tag:
		return nil
	case who.env.engine.tags.given(id.Tag()):
		return wrongWorkspace()
	}
	return Errorf(NotFound, "%s", unknown)
}

func wrongWorkspace() *Error {
	return Errorf(Forbidden, "This id belongs to another workspace or environment").With(CodeWrongWorkspace)
}

// CheckOwner refuses text that is an id of another workspace or environment; any other text is fine.
func (who Caller) CheckOwner(text string) error {
	if id, ok := kv.ParseID(text); ok && id.Tag() != who.env.tag && who.env.engine.tags.given(id.Tag()) {
		return wrongWorkspace()
	}
	return nil
}

// CheckWorkspace refuses the name of another workspace; none is fine.
func (who Caller) CheckWorkspace(id string) error {
	if id != "" && id != string(who.Workspace()) {
		return wrongWorkspace()
	}
	return nil
}
