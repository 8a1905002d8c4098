package engine

import (
	"sync/atomic"

	"tuco/kv"
)

// Environment selects the data that a key sees: each has its own leads, lists, lines and messages.
type Environment string

// The environments of every workspace.
const (
	Development Environment = "development"
	Staging     Environment = "staging"
	Production  Environment = "production"
)

// Environments lists them all.
var Environments = []Environment{Development, Staging, Production}

// ParseEnvironment reads an environment's name.
func ParseEnvironment(s string) (Environment, error) {
	for _, e := range Environments {
		if s == string(e) {
			return e, nil
		}
	}
	return "", Errorf(Invalid, "Unknown environment %q: use development, staging or production", s)
}

// pool is whose counters an environment uses: development has its own, with the plan's figures;
// staging and production share what was contracted.
type pool string

const (
	contracted pool = "contracted"
	trial      pool = "development"
)

func (e Environment) pool() pool {
	if e == Development {
		return trial
	}
	return contracted
}

// environment is one environment of one workspace while the program runs: where its records are, and
// its lines. There is one for each, made at start or with its workspace.
type environment struct {
	engine *Engine
	tenant *tenant
	name   Environment
	tag    kv.Tag
	store  store

	usage    kv.Bucket[PlanUsage] // of the workspace, by pool
	counters *counters            // of its pool; never changed

	lines atomic.Pointer[lineSet] // replaced as a whole after each change of a line
	turn  atomic.Uint64           // whose turn it is among the lines
}

func newEnvironment(t *tenant, w Workspace, name Environment) *environment {
	return &environment{engine: t.engine, tenant: t, name: name, tag: w.tag(name), store: newStore(w.ID.path().Join(string(name))).in(t.engine.db), usage: usageBucket(w.ID).In(t.engine.db)}
}

func (env *environment) path() kv.Path { return env.tenant.path().Join(string(env.name)) }

// store names the buckets of one environment.
type store struct {
	leads      kv.Bucket[Lead]
	leadText   kv.Bucket[string] // what search looks in
	leadByAddr kv.Index          // address, 0, lead
	leadByList kv.Index          // list, lead
	lists      kv.Bucket[List]
	quickSends kv.Bucket[ListID] // the id of the list of that name
	counts     kv.Bucket[int64]
	people     kv.Bucket[person] // by address; follows from leadByAddr and messageByAddr

	lines     kv.Bucket[Line]
	lineUsage kv.Bucket[LineUsage] // by the line's identity, so that a new line does not refill its day
	lineHours kv.Bucket[lineHour]  // line, hour

	messages        kv.Bucket[Message]
	messageByStatus kv.Index // status, message
	messageByLead   kv.Index // lead, message
	messageByLine   kv.Index // line, message
	messageByBatch  kv.Index // batch, 0, message
	messageByAddr   kv.Index // address, 0, whether it was charged, line, message; without the cancelled ones
	released        kv.Index // plan day, message: charged on another day than it was made
	due             kv.Index // time, message: waits for a time
	ready           kv.Index // line, follow-up or first, time, message: waits for its line

	idempotency       kv.Bucket[storedAnswer]
	idempotencyByTime kv.Index
}

func newStore(path kv.Path) store {
	return store{
		leads:      kv.Bucket[Lead]{Path: path.Join("leads"), Codec: leadCodec},
		leadText:   kv.Bucket[string]{Path: path.Join("leads.text"), Codec: textCodec},
		leadByAddr: kv.Index{Path: path.Join("leads.address")},
		leadByList: kv.Index{Path: path.Join("leads.list")},
		lists:      kv.Bucket[List]{Path: path.Join("lists"), Codec: listCodec},
		quickSends: kv.Bucket[ListID]{Path: path.Join("lists.quick"), Codec: listIDCodec},
		counts:     kv.Bucket[int64]{Path: path.Join("counts"), Codec: countCodec},
		people:     kv.Bucket[person]{Path: path.Join("people"), Codec: personCodec},

		lines:     kv.Bucket[Line]{Path: path.Join("lines"), Codec: lineCodec},
		lineUsage: kv.Bucket[LineUsage]{Path: path.Join("lines.usage"), Codec: lineUsageCodec},
		lineHours: kv.Bucket[lineHour]{Path: path.Join("lines.hours"), Codec: lineHourCodec},

		messages:        kv.Bucket[Message]{Path: path.Join("messages"), Codec: messageCodec},
		messageByStatus: kv.Index{Path: path.Join("messages.status")},
		messageByLead:   kv.Index{Path: path.Join("messages.lead~")},
		messageByLine:   kv.Index{Path: path.Join("messages.line")},
		messageByBatch:  kv.Index{Path: path.Join("messages.batch")},
		messageByAddr:   kv.Index{Path: path.Join("messages.address~")},
		released:        kv.Index{Path: path.Join("messages.released")},
		due:             kv.Index{Path: path.Join("messages.due")},
		ready:           kv.Index{Path: path.Join("messages.ready")},

		idempotency:       kv.Bucket[storedAnswer]{Path: path.Join("idempotency"), Codec: answerCodec},
		idempotencyByTime: kv.Index{Path: path.Join("idempotency.time")},
	}
}

// in is the store with the places that its busiest buckets have in db.
func (s store) in(db *kv.DB) store {
	s.leads, s.people = s.leads.In(db), s.people.In(db)
	s.lines, s.lineUsage = s.lines.In(db), s.lineUsage.In(db)
	s.messages, s.messageByStatus = s.messages.In(db), s.messageByStatus.In(db)
	s.messageByLead, s.messageByLine = s.messageByLead.In(db), s.messageByLine.In(db)
	s.messageByAddr, s.messageByBatch = s.messageByAddr.In(db), s.messageByBatch.In(db)
	s.ready, s.idempotency = s.ready.In(db), s.idempotency.In(db)
	return s
}

// textCodec stores text as it is.
var textCodec = kv.Codec[string]{
	Version: 1,
	Encode:  func(to []byte, s string) ([]byte, error) { return append(to, s...), nil },
	Decode:  func(_ byte, data []byte) (string, error) { return string(data), nil },
}
