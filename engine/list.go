package engine

import (
	"slices"
	"strings"
	"time"

	"tuco/kv"
)

// A List is a named set of leads. Every lead is in one.
type List struct {
	ID          ListID    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description,omitzero"`
	Leads       int64     `json:"leads"` // how many
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
}

// QuickSends is the list of leads that came without one. It is made when it is needed.
const QuickSends = "Quick Sends"

const (
	maxDescriptionBytes = 2000
	maxLists            = 10_000 // of an environment
)

// Lists returns the caller's lists, oldest first.
func (e *Engine) Lists(who Caller) ([]List, error) {
	if err := who.Require(ListsRead); err != nil {
		return nil, err
	}
	return kv.View(e.db, func(tx *kv.Tx) ([]List, error) { return who.env.allLists(tx), nil })
}

func (env *environment) allLists(tx *kv.Tx) []List {
	all := []List{}
	for _, l := range env.store.lists.Scan(tx, kv.Range{}) {
		all = append(all, l)
	}
	return all
}

// ListResult is a list, or the stored answer to the same request.
type ListResult struct {
	List
	Replay *Answer
}

// CreateList makes a list. Names differ, whatever their case.
func (e *Engine) CreateList(who Caller, once *Once, name, description string) (ListResult, error) {
	if err := who.write(ListsWrite); err != nil {
		return ListResult{}, err
	}
	if err := checkList(name, description); err != nil {
		return ListResult{}, err
	}
	return writing(who.env, func(tx *kv.Tx) (ListResult, error) {
		if replay, err := who.env.replay(tx, once); replay != nil || err != nil {
			return ListResult{Replay: replay}, err
		}
		if err := who.env.checkListName(tx, name, ListID{}); err != nil {
			return ListResult{}, err
		}
		result := ListResult{List: who.env.newList(tx, name, description)}
		return result, who.env.remember(tx, once, result)
	})
}

func checkList(name, description string) error {
	if len(description) > maxDescriptionBytes {
		return Errorf(Invalid, "A description has at most %d bytes", maxDescriptionBytes)
	}
	return checkName(name)
}

func (env *environment) checkListName(tx *kv.Tx, name string, except ListID) error {
	all := env.allLists(tx)
	if except.IsZero() && len(all) >= maxLists {
		return Errorf(Conflict, "An environment has at most %d lists", maxLists).With(CodeTooMany)
	}
	taken := func(l List) bool { return l.ID != except && strings.EqualFold(l.Name, name) }
	if slices.ContainsFunc(all, taken) {
		return Errorf(Conflict, "There is a list with this name already").With(CodeNameTaken)
	}
	return nil
}

func (env *environment) newList(tx *kv.Tx, name, description string) List {
	l := List{ID: newID[listKind](tx, env), Name: name, Description: description, Created: tx.Now, Updated: tx.Now}
	env.store.lists.Put(tx, l.ID.key(), l)
	return l
}

// quickSends returns the list called Quick Sends, and makes it if there is none.
func (env *environment) quickSends(tx *kv.Tx) List {
	id, _ := env.store.quickSends.Get(tx, quickSendsKey)
	if l, ok := env.store.lists.Get(tx, id.key()); ok && l.isQuickSends() {
		return l
	}
	all := env.allLists(tx)
	i := slices.IndexFunc(all, List.isQuickSends)
	if i < 0 {
		all, i = append(all, env.newList(tx, QuickSends, "Quick send messages")), len(all)
	}
	env.store.quickSends.Put(tx, quickSendsKey, all[i].ID)
	return all[i]
}

var quickSendsKey = []byte("list")

func (l List) isQuickSends() bool { return strings.EqualFold(l.Name, QuickSends) }

// SetList renames a list, or changes its description; nil leaves it.
func (e *Engine) SetList(who Caller, id string, name, description *string) (List, error) {
	if err := who.write(ListsWrite); err != nil {
		return List{}, err
	}
	list, err := parseID[listKind](who, id, "Invalid list id", "List not found")
	if err != nil {
		return List{}, err
	}
	return writing(who.env, func(tx *kv.Tx) (List, error) {
		l, ok := who.env.store.lists.Get(tx, list.key())
		if !ok {
			return l, Errorf(NotFound, "List not found")
		}
		if name != nil {
			l.Name = *name
		}
		if description != nil {
			l.Description = *description
		}
		if err := checkList(l.Name, l.Description); err != nil {
			return l, err
		}
		if err := who.env.checkListName(tx, l.Name, l.ID); err != nil {
			return l, err
		}
		l.Updated = tx.Now
		who.env.store.lists.Put(tx, list.key(), l)
		return l, nil
	})
}

// DeleteList deletes an empty list.
func (e *Engine) DeleteList(who Caller, id string) error {
	if err := who.write(ListsWrite); err != nil {
		return err
	}
	list, err := parseID[listKind](who, id, "Invalid list id", "List not found")
	if err != nil {
		return err
	}
	_, err = writing(who.env, func(tx *kv.Tx) (struct{}, error) {
		l, ok := who.env.store.lists.Get(tx, list.key())
		if !ok {
			return struct{}{}, Errorf(NotFound, "List not found")
		}
		if l.Leads > 0 {
			return struct{}{}, Errorf(Conflict, "This list still has %d leads: delete them or move them to another list first", l.Leads).With(CodeListNotEmpty)
		}
		who.env.store.lists.Delete(tx, list.key())
		return struct{}{}, nil
	})
	return err
}
