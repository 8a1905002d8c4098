package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"tuco/kv"
)

// Once makes the repetition of a request harmless: the first answer is stored in the transaction of
// what it answers, and given again. Only answers of success are stored. A nil Once does nothing.
type Once struct {
	Key         string   // the Idempotency-Key; its scope is workspace, environment and Route
	Route       string   // method and path
	Fingerprint [32]byte // of the request
	// Encode turns the result into the answer. It may run more than once.
	Encode func(result any) (Answer, error)
}

// An Answer is a stored answer.
type Answer struct {
	Status int    `json:"status"`
	Body   []byte `json:"body"`
}

// maxAnswerBytes bounds a stored answer. 10,000 new leads need less than a tenth of it.
const maxAnswerBytes = 8 << 20

// OnceKept is how long an answer is kept.
const OnceKept = 24 * time.Hour

type storedAnswer struct {
	Answer
	Fingerprint []byte    `json:"fingerprint"`
	At          time.Time `json:"at"`
}

func (o *Once) key() []byte {
	sum := sha256.Sum256([]byte(o.Route + "\n" + o.Key))
	return sum[:]
}

// replay returns the stored answer to the request, nil if it is new.
func (env *environment) replay(tx *kv.Tx, o *Once) (*Answer, error) {
	if o == nil {
		return nil, nil
	}
	stored, ok := env.store.idempotency.Get(tx, o.key())
	switch {
	case !ok || tx.Now.Sub(stored.At) >= OnceKept:
		return nil, nil
	case [32]byte(stored.Fingerprint) != o.Fingerprint:
		return nil, Errorf(Mismatch, "This Idempotency-Key was used for a different request").With(CodeIdempotencyMismatch)
	}
	return &stored.Answer, nil
}

// replayed is replay before anything is counted: a repetition is given its answer whatever is spent.
func (e *Engine) replayed(who Caller, once *Once) (*Answer, error) {
	if once == nil {
		return nil, nil
	}
	return kv.View(e.db, func(tx *kv.Tx) (*Answer, error) { return who.env.replay(tx, once) })
}

// remember stores the answer to the request, and forgets some that are too old.
func (env *environment) remember(tx *kv.Tx, o *Once, result any) error {
	if o == nil {
		return nil
	}
	answer, err := o.Encode(result)
	if err != nil {
		return err
	}
	if len(answer.Body) > maxAnswerBytes {
		return Errorf(TooLarge, "The answer to this request is too large to be kept for its Idempotency-Key: ask for less at once")
	}
	env.forgetAnswers(tx)
	env.store.idempotency.Put(tx, o.key(), storedAnswer{answer, o.Fingerprint[:], tx.Now})
	env.store.idempotencyByTime.Put(tx, kv.Key(timeKey(tx.Now), o.key()))
	return nil
}

// forgetAnswers removes up to four answers that are too old: more than come in, so that they never pile up.
func (env *environment) forgetAnswers(tx *kv.Tx) {
	n := 0
	for key := range env.store.idempotencyByTime.Scan(tx, kv.Range{To: timeKey(tx.Now.Add(-OnceKept))}) {
		if n++; n > 4 {
			return
		}
		answer := key[8:]
		if stored, ok := env.store.idempotency.Get(tx, answer); ok && tx.Now.Sub(stored.At) >= OnceKept {
			env.store.idempotency.Delete(tx, answer)
		}
		env.store.idempotencyByTime.Delete(tx, key)
	}
}

// timeKey sorts by time, in milliseconds.
func timeKey(t time.Time) []byte { return appendTime(nil, t) }

func appendTime(key []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(key, uint64(max(0, t.UnixMilli())))
}

func keyTime(key []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(key))).UTC()
}
