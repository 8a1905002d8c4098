package engine

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// The audit log lies in buckets that can only be appended to. An entry is appended in the transaction that does what it
// records: there is no one without the other.
var (
	auditLines = kv.Log{Path: auditPath.Join("lines+")} // by seq; old ones may be dropped by whole segments
	auditNodes = kv.Log{Path: auditPath.Join("nodes+")} // by seq: see auditNode; never dropped
)

const auditPath = kv.AppendOnlyRoot + "/audit"

// auditOf are the places in the log of a workspace's entries, by its own count. They outlive the workspace.
func auditOf(w WorkspaceID) kv.Log { return kv.Log{Path: auditPath.Join(string(w) + "+")} }

// An auditNode is what stays of an entry for ever: the hash of its line, and the hashes of the tree that it completed.
type auditNode []byte

func newAuditNode(line auditlog.Hash, completed []auditlog.Hash) auditNode {
	n := slices.Clone(line[:])
	for _, h := range completed {
		n = append(n, h[:]...)
	}
	return n
}

// hash returns the line's hash for 0, else the hash of the tree at that level, counted from 1.
func (n auditNode) hash(i int) (h auditlog.Hash, err error) {
	if len(n) < (i+1)*len(h) {
		return h, fmt.Errorf("%w: a node of the audit log has no hash %d", kv.ErrDamaged, i)
	}
	return auditlog.Hash(n[i*len(h) : (i+1)*len(h)]), nil
}

// auditHash returns a hash of the node of an entry.
func auditHash(tx *kv.Tx, seq uint64, i int) (h auditlog.Hash, err error) {
	node, ok := auditNodes.Get(tx, seq)
	if !ok {
		return h, fmt.Errorf("%w: node %d of the audit log is missing", kv.ErrDamaged, seq)
	}
	return auditNode(node).hash(i)
}

// auditHashes reads the stored hashes of the tree in a transaction.
type auditHashes struct{ tx *kv.Tx }

// ReadHashes returns the hashes with the given stored indexes.
func (r auditHashes) ReadHashes(indexes []int64) ([]auditlog.Hash, error) {
	hashes := make([]auditlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		last := uint64(n+1)<<level - 1 // the entry that completed it
		var err error
		if hashes[i], err = auditHash(r.tx, last, 1+level); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

// auditHead is where the log goes on.
func auditHead(tx *kv.Tx) (head auditlog.Head, err error) {
	head.Seq = auditNodes.Len(tx)
	if head.Seq > 0 {
		head.Line, err = auditHash(tx, head.Seq-1, 0)
	}
	return head, err
}

// auditHeadOf is where a workspace's own chain goes on.
func auditHeadOf(tx *kv.Tx, w WorkspaceID) (head auditlog.Head, err error) {
	head.Seq = auditOf(w).Len(tx)
	if head.Seq == 0 {
		return head, nil
	}
	seq, err := auditSeq(tx, w, head.Seq-1)
	if err == nil {
		head.Line, err = auditHash(tx, seq, 0)
	}
	return head, err
}

// record appends an entry to the audit log, in the transaction that does what it records. Time, epoch and the places in
// the chains are set here.
func (e *Engine) record(tx *kv.Tx, entry auditlog.Entry) error {
	entry.Time, entry.Epoch = tx.Now, e.audit.state.Load().Epoch
	entry.Outcome = cmp.Or(entry.Outcome, auditlog.Done)
	w := WorkspaceID(entry.Workspace)
	head, err := auditHead(tx)
	if err != nil {
		return err
	}
	var own auditlog.Head
	if w != "" {
		if own, err = auditHeadOf(tx, w); err != nil {
			return err
		}
	}
	line, _, _, err := auditlog.Seal(&entry, head, own)
	if err != nil {
		return fmt.Errorf("recording %q: %w", entry.Event, err)
	}
	completed, err := auditlog.Append(head.Seq, line, auditHashes{tx})
	if err != nil {
		return err
	}
	auditLines.Append(tx, line)
	auditNodes.Append(tx, newAuditNode(auditlog.LineHash(line), completed))
	if w != "" {
		auditOf(w).Append(tx, auditPlace(head.Seq))
	}
	e.notices.tell(w)
	return nil
}

// recordAlone appends an entry for what happens in no transaction. It may use the reserve.
func (e *Engine) recordAlone(entry auditlog.Entry) error {
	_, err := kv.UpdateCritical(e.db, func(tx *kv.Tx) (struct{}, error) { return struct{}{}, e.record(tx, entry) })
	return storageError(err)
}

// entry begins an entry for what the caller does.
func (who Caller) entry(event string) auditlog.Entry {
	e := auditlog.Entry{Event: event, Workspace: string(who.tenant.id), Environment: string(who.env.name), Actor: operatorActor}
	if !who.operator {
		e.Actor, e.Credential = keyActor(who.key.String()), who.key.String()
	}
	return e
}

var (
	operatorActor = auditlog.Actor{Kind: auditlog.Operator}
	systemActor   = auditlog.Actor{Kind: auditlog.System}
)

// An audit is the log while the program runs.
type audit struct {
	state     atomic.Pointer[auditState] // never nil after the opening
	found     int                        // how many anchors there were at the opening
	missing   int                        // and how many there should have been, of a log that had entries
	trouble   atomic.Pointer[error]      // why the log can't be relied on; nil if it can
	started   atomic.Bool                // a server runs: see StartAudit
	longAgo   atomic.Bool                // the newest entry at the opening was so old that the clock may be wrong
	misuses   misuses
	pending   pendingEntries
	review    review
	presented presented

	nextDrop  time.Time    // see retire
	exporting sync.RWMutex // held for reading by who reads lines of before, and needs all of them

	mu     sync.Mutex // one checkpoint, or new key, at a time
	signer note.Signer
	proven *auditlog.Range // the lines that were read again, and are as the tree says
	chain  *auditlog.Chain
	signed []byte // the newest checkpoint

	anchoring sync.Mutex // one writes anchors at a time
	anchored  []byte     // the checkpoint that every anchor has
	unused    unusedAnchors

	anchoredAt atomic.Int64 // when every anchor was last seen to be up to date, in milliseconds; the opening if never
}

// auditState says whose log it is.
type auditState struct {
	Installation string         `json:"installation"`
	Epoch        uint64         `json:"epoch"`
	Key          string         `json:"key"`                // id of the signing key
	Verifiers    []string       `json:"verifiers"`          // of every key that ever signed, the newest last
	Rotations    [][]byte       `json:"rotations,omitzero"` // each key but the first, signed by the one before it
	Restores     []auditRestore `json:"restores,omitzero"`  // where each epoch before this one ended
}

var (
	auditStates   = kv.Bucket[auditState]{Path: systemPath.Join("audit"), Codec: kv.JSON[auditState](1)}
	auditStateKey = []byte("current")
)

// openAudit loads the signing key that the database names. A database that names none gets a log, unless it has one.
func (e *Engine) openAudit() error {
	a := &e.audit
	state, err := kv.View(e.db, func(tx *kv.Tx) (s auditState, err error) {
		s, ok := auditStates.Get(tx, auditStateKey)
		if !ok && auditNodes.Len(tx) > 0 {
			err = fmt.Errorf("%w: the record that says whose log it is is missing", kv.ErrDamaged)
		}
		return s, err
	})
	if err == nil && state.Key == "" {
		state, err = e.makeAudit()
	}
	if err != nil {
		return err
	}
	a.state.Store(&state)
	if err := errors.Join(e.beginReview(), e.loadContradictions()); err != nil {
		return err
	}
	if a.signer, err = e.auditSigner(state.Key); err != nil {
		return err
	}
	a.found, a.missing = e.checkAnchors()
	if last := e.lastEntry(); !last.IsZero() && e.opt.Now().Sub(last) > longAgo {
		a.longAgo.Store(true)
	}
	a.anchoredAt.Store(e.opt.Now().UnixMilli())
	return nil
}

func (e *Engine) auditSigner(id string) (note.Signer, error) {
	skey, err := readAuditKey(e.opt.KeysDir, id)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, fmt.Errorf("%q is damaged: %w", secretFile(e.opt.KeysDir, auditKeyKind, id), err)
	}
	return signer, nil
}

// RotateAuditKey makes a new signing key, which the old one vouches for, and returns its verifier key. From then on
// checkpoints are signed with it. The old file stays: nothing needs it any more, and the operator can destroy it.
//
// Errors: [Unavailable] with [CodeAuditUnavailable] while the log can't be relied on: both keys would vouch for it.
func (a Admin) RotateAuditKey() (vkey string, err error) {
	e, log := a.e, &a.e.audit
	log.mu.Lock()
	defer log.mu.Unlock()
	if err := e.AuditTrouble(); err != nil {
		return "", auditDistrusted(err)
	}
	old := log.state.Load()
	oldKey, err := readAuditKey(e.opt.KeysDir, old.Key)
	if err != nil {
		return "", err
	}
	skey, vkey, err := auditlog.NewSigner(rand.Reader, auditlog.KeyName(old.Installation))
	if err != nil {
		return "", err
	}
	rotation, err := auditlog.SignRotation(oldKey, skey)
	if err != nil {
		return "", err
	}
	id, err := writeAuditKey(e.opt.KeysDir, skey)
	if err != nil {
		return "", err
	}
	state := *old
	state.Key, state.Verifiers = id, append(slices.Clone(old.Verifiers), vkey)
	state.Rotations = append(slices.Clone(old.Rotations), rotation)
	_, err = kv.UpdateCritical(e.db, func(tx *kv.Tx) (struct{}, error) {
		auditStates.Put(tx, auditStateKey, state)
		return struct{}{}, e.record(tx, auditlog.Entry{Event: "audit.key-rotated", Actor: operatorActor, Detail: map[string]string{
			"key": vkey, "keyBefore": old.Verifiers[len(old.Verifiers)-1],
		}})
	})
	if err != nil {
		return "", storageError(err)
	}
	if log.signer, err = e.auditSigner(id); err != nil {
		return "", err
	}
	log.state.Store(&state)
	log.signed = nil
	return vkey, nil
}

// makeAudit writes a new signing key before the record that names it.
func (e *Engine) makeAudit() (s auditState, err error) {
	s.Installation = hex.EncodeToString(randomBytes(8))
	skey, vkey, err := auditlog.NewSigner(rand.Reader, auditlog.KeyName(s.Installation))
	if err != nil {
		return s, err
	}
	s.Verifiers = []string{vkey}
	if s.Key, err = writeAuditKey(e.opt.KeysDir, skey); err != nil {
		return s, err
	}
	return kv.Update(e.db, func(tx *kv.Tx) (auditState, error) {
		auditStates.Put(tx, auditStateKey, s)
		return s, nil
	})
}

// AuditKeys returns the verifier keys of the log, the newest last. Whoever is to check the log must get them by
// another way than with it.
func (e *Engine) AuditKeys() []string { return slices.Clone(e.audit.state.Load().Verifiers) }

// AuditTrouble tells why the log can't be relied on, and staff access is refused; nil if it can.
func (e *Engine) AuditTrouble() error {
	if err := e.audit.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// Checkpoint returns the newest checkpoint of the log, signed. Before it signs, it reads the lines that came since the last
// one again, and recomputes chain, leaves and root from them.
//
// Errors: [Unavailable] with [CodeAuditUnavailable] while the log can't be relied on.
func (e *Engine) Checkpoint() ([]byte, error) {
	a := &e.audit
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := e.AuditTrouble(); err != nil {
		return nil, auditDistrusted(err)
	}
	signed, err := kv.View(e.db, func(tx *kv.Tx) ([]byte, error) {
		if a.signed != nil && a.proven.Size() == auditNodes.Len(tx) {
			return a.signed, nil
		}
		if err := a.prove(tx); err != nil {
			return nil, err
		}
		state := a.state.Load()
		c := auditlog.Checkpoint{Origin: auditlog.Origin(state.Installation, state.Epoch), Size: a.proven.Size(), Root: a.proven.Root()}
		return auditlog.SignCheckpoint(c, a.signer)
	})
	if err != nil {
		if bad := (*auditlog.BadEntryError)(nil); errors.As(err, &bad) || errors.Is(err, kv.ErrDamaged) {
			a.distrust(err)
			err = auditDistrusted(err)
		}
		return nil, storageError(err)
	}
	a.signed = signed
	return signed, nil
}

// checkpointAt returns a signed checkpoint of the first size lines, and who signed it. The log may have more by now.
func (e *Engine) checkpointAt(size uint64) (signed []byte, signer note.Signer, err error) {
	if _, err := e.Checkpoint(); err != nil { // so all that is there is proven
		return nil, nil, err
	}
	a := &e.audit
	a.mu.Lock()
	defer a.mu.Unlock()
	signed, err = kv.View(e.db, func(tx *kv.Tx) ([]byte, error) {
		hashes := auditHashes{tx}
		root, err := auditlog.Root(size, hashes)
		if err != nil {
			return nil, err
		}
		if all := a.proven; size != all.Size() {
			proof, err := tlog.ProveTree(int64(all.Size()), int64(size), hashes)
			if err == nil {
				err = tlog.CheckTree(proof, int64(all.Size()), all.Root(), int64(size), root)
			}
			if err != nil {
				return nil, fmt.Errorf("the first %d lines: %w", size, err)
			}
		}
		state := a.state.Load()
		return auditlog.SignCheckpoint(auditlog.Checkpoint{Origin: auditlog.Origin(state.Installation, state.Epoch), Size: size, Root: root}, a.signer)
	})
	return signed, a.signer, err
}

// auditDistrusted is what whoever asks for a proof is told of a log that can't be relied on.
func auditDistrusted(err error) error {
	return &Error{Kind: Unavailable, Code: CodeAuditUnavailable, Err: err, Msg: "The audit log can't be relied on until the operator has looked at it"}
}

func (a *audit) distrust(err error) {
	err = fmt.Errorf("the audit log is damaged: %w", err)
	a.trouble.CompareAndSwap(nil, &err)
}

// AuditLines returns up to most lines of the log from seq on, as they are stored, and where to go on.
func (a Admin) AuditLines(from uint64, most int) (lines [][]byte, next uint64, err error) {
	_, err = kv.View(a.e.db, func(tx *kv.Tx) (struct{}, error) {
		next = from
		for seq, line := range auditLines.Scan(tx, from, auditNodes.Len(tx)) {
			lines, next = append(lines, line), seq+1
			if len(lines) == most {
				break
			}
		}
		return struct{}{}, nil
	})
	return lines, next, err
}

// prove reads what was appended since it last did, and compares it with the tree.
func (a *audit) prove(tx *kv.Tx) error {
	if a.proven == nil {
		var err error
		if a.proven, a.chain, err = auditStart(tx); err != nil {
			return err
		}
	}
	size := auditNodes.Len(tx)
	for seq, line := range auditLines.Scan(tx, a.proven.Size(), size) {
		entry, err := auditlog.ParseLine(line)
		if err != nil {
			return &auditlog.BadEntryError{Seq: seq, Reason: err.Error()}
		}
		if err := a.chain.Add(&entry, auditlog.LineHash(line)); err != nil {
			return err
		}
		a.proven.Append(auditlog.LeafHash(line))
	}
	if a.proven.Size() != size {
		return &auditlog.BadEntryError{Seq: a.proven.Size(), Reason: "its line is missing"}
	}
	root, err := auditlog.Root(size, auditHashes{tx})
	if err == nil && root != a.proven.Root() {
		err = &auditlog.BadEntryError{Seq: size, Reason: "the lines before it are not those of the tree"}
	}
	return err
}

// auditStart is where the lines begin that are still there. Of those before, the tree has the hashes.
func auditStart(tx *kv.Tx) (*auditlog.Range, *auditlog.Chain, error) {
	first := auditLines.First(tx)
	edge, err := auditlog.Edge(first, auditHashes{tx})
	if err != nil {
		return nil, nil, err
	}
	proven, err := auditlog.RangeFrom(first, edge)
	return proven, auditlog.ChainFrom(first), err
}

// auditPlace is a workspace's record of where one of its entries is in the log.
func auditPlace(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func auditSeq(tx *kv.Tx, w WorkspaceID, own uint64) (seq uint64, err error) {
	place, ok := auditOf(w).Get(tx, own)
	if !ok || len(place) != 8 {
		return 0, fmt.Errorf("%w: the place of entry %d of workspace %s is missing from the audit log", kv.ErrDamaged, own, w)
	}
	return binary.BigEndian.Uint64(place), nil
}

const auditKeyKind = "log"

// writeAuditKey stores a signing key, durably, under a new id.
func writeAuditKey(dir, skey string) (id string, err error) {
	id = hex.EncodeToString(randomBytes(4))
	if err := renameio.WriteFile(secretFile(dir, auditKeyKind, id), []byte(skey+"\n"), 0o600); err != nil {
		return "", err
	}
	return id, kv.SyncDir(dir)
}

func readAuditKey(dir, id string) (skey string, err error) {
	text, err := readSecretFile(secretFile(dir, auditKeyKind, id))
	return strings.TrimSpace(string(text)), err
}

// StartAudit records that a server of this version started. From here on its end is recorded, too. If there is no room,
// the entry waits until there is.
func (e *Engine) StartAudit(version string) error {
	e.audit.started.Store(true)
	e.audit.pending.add(auditlog.Entry{Event: "server.started", Actor: systemActor, Detail: map[string]string{
		"reserve": strconv.FormatInt(e.opt.Reserve, 10), "version": version, "anchors": strconv.Itoa(e.audit.found), "recovered": strconv.FormatInt(e.db.Recovery().Transactions, 10),
	}})
	err := e.recordPending()
	if errors.Is(err, kv.ErrNoRoom) {
		return nil
	}
	return storageError(err)
}

// StopAudit records that the server stops, with what was not recorded yet. [Engine.Close] does it, unless it was done before.
func (e *Engine) StopAudit() error {
	if !e.audit.started.Swap(false) {
		return nil
	}
	e.audit.pending.add(append(e.audit.misuses.takeAll(), auditlog.Entry{Event: "server.stopped", Actor: systemActor})...)
	return errors.Join(e.recordPending(), e.Anchor())
}

// KeepAudit records what could not be recorded where it happened, brings the anchors up to date, and reads on in the lines of
// before the opening. It is to be called every second or so.
func (e *Engine) KeepAudit() error {
	e.audit.pending.add(e.audit.misuses.take(e.opt.Now())...)
	return errors.Join(e.recordPending(), e.Anchor(), e.reviewAudit(reviewKeep), e.retire())
}

// recordPending records what waits for it. If that fails it goes on waiting.
func (e *Engine) recordPending() error {
	entries := e.audit.pending.take()
	if len(entries) == 0 {
		return nil
	}
	_, err := kv.UpdateCritical(e.db, func(tx *kv.Tx) (struct{}, error) {
		for _, entry := range entries {
			if err := e.record(tx, entry); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		e.audit.pending.putBack(entries)
	}
	return err
}

// pendingEntries are for what was noticed where nothing can be written.
type pendingEntries struct {
	mu  sync.Mutex
	all []auditlog.Entry
}

// maxPending bounds what waits on a full disk. Of what comes beyond, the first is kept: it says since when.
const maxPending = 1000

func (p *pendingEntries) add(entries ...auditlog.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, entries[:min(len(entries), max(0, maxPending-len(p.all)))]...)
}

func (p *pendingEntries) take() (all []auditlog.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all, p.all = p.all, nil
	return all
}

func (p *pendingEntries) putBack(entries []auditlog.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(entries, p.all...)
}
