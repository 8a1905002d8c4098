package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/mod/sumdb/note"

	"tuco/engine/auditlog"
	"tuco/kv"
)

// An anchor keeps the newest checkpoint outside the database: whoever brings back an older copy of that, or cuts off the
// end of the log, does not bring back what the anchors say.
//
// It is named by a path. A directory holds a file for each installation, with its newest checkpoint. A file that begins
// with + is appended to, and its checkpoint of the most lines in the latest restore epoch counts: it may be one that can only be
// appended to. Any other file holds the newest checkpoint.
type anchor string

// AnchorName is the anchor in the data directory.
const AnchorName = "anchor"

func (a anchor) appends() bool { return strings.HasPrefix(string(a), "+") }

func (a anchor) file(installation string) string {
	path := strings.TrimPrefix(string(a), "+")
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, installation+".checkpoint")
	}
	return path
}

// read returns the newest checkpoint, nil if there is none yet.
func (a anchor) read(installation string) ([]byte, error) {
	data, err := os.ReadFile(a.file(installation))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if a.appends() {
		data = largestCheckpoint(data, installation)
	}
	return data, err
}

// AnchorFault tells why the anchor at path, in any of the forms of [Options.Anchors], can't be read; nil if it can, or is not there yet.
func AnchorFault(path string) error {
	_, err := anchor(path).read("")
	return err
}

// largestCheckpoint returns the whole checkpoint of the most lines, of those of the latest restore epoch, in a file that is appended
// to. One that a crash cut short is left out.
func largestCheckpoint(data []byte, installation string) (largest []byte) {
	begin := []byte("\n" + auditlog.KeyName(installation) + "/")
	var best auditlog.Checkpoint
	for rest := append([]byte("\n"), data...); ; {
		at := bytes.LastIndex(rest, begin)
		if at < 0 {
			return largest
		}
		signed := rest[at+1:]
		c, err := auditlog.UnsignedCheckpoint(signed)
		if err == nil && bytes.HasSuffix(signed, []byte("\n")) && (largest == nil || newerCheckpoint(&c, &best)) {
			largest, best = signed, c
		}
		rest = rest[:at+1]
	}
}

func (a anchor) write(installation string, signed []byte) error {
	path := a.file(installation)
	if !a.appends() {
		if err := renameio.WriteFile(path, signed, 0o600); err != nil {
			return err
		}
		return kv.SyncDir(filepath.Dir(path))
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(signed)
	return errors.Join(err, f.Sync(), f.Close())
}

// anchors are those of this installation: the one in the data directory, unless others are named.
func (e *Engine) anchors() []anchor {
	if len(e.opt.Anchors) == 0 {
		return []anchor{anchor(filepath.Join(e.opt.Dir, AnchorName))}
	}
	all := make([]anchor, len(e.opt.Anchors))
	for i, path := range e.opt.Anchors {
		all[i] = anchor(path)
	}
	return all
}

// checkAnchors compares the log with every anchor that it can reach. A log that is behind one, or is not the one that it
// was made of, is not to be relied on: nothing more is signed, and staff have no access. It returns how many it found, and how
// many are missing although the log has entries.
func (e *Engine) checkAnchors() (found, missing int) {
	state := e.audit.state.Load()
	begun, err := kv.View(e.db, func(tx *kv.Tx) (bool, error) { return auditNodes.Len(tx) > 0, nil })
	begun = begun || err != nil
	for _, place := range e.anchors() {
		signed, err := place.read(state.Installation)
		if err != nil {
			e.log.Warn().Err(err).Str("anchor", string(place)).Msg("an anchor of the audit log can't be read")
			e.audit.unused.set(place, err)
			continue
		}
		if signed == nil {
			if begun {
				e.log.Warn().Str("anchor", string(place)).Msg("an anchor of the audit log is missing")
				missing++
			}
			continue
		}
		found++
		_ = e.compareAnchor(place, signed) // it says so itself
	}
	return found, missing
}

func (s *auditState) verifiers() ([]note.Verifier, error) {
	all := make([]note.Verifier, len(s.Verifiers))
	for i, vkey := range s.Verifiers {
		v, err := auditlog.ParseVerifier(vkey)
		if err != nil {
			return nil, fmt.Errorf("verifier key %d of the audit log: %w", i, err)
		}
		all[i] = v
	}
	return all, nil
}

// compare checks that the log continues a checkpoint of it, and takes what that says as proven.
func (a *audit) compare(tx *kv.Tx, c auditlog.Checkpoint) error {
	if lost, err := a.state.Load().judge(tx, &c); lost || err != nil {
		return err
	}
	if a.proven != nil && a.proven.Size() >= c.Size {
		return nil
	}
	edge, err := auditlog.Edge(c.Size, auditHashes{tx})
	if err != nil {
		return err
	}
	if a.proven, err = auditlog.RangeFrom(c.Size, edge); err == nil {
		a.chain = auditlog.ChainFrom(c.Size)
	}
	return err
}

// Anchor brings every anchor up to date, unless they are.
func (e *Engine) Anchor() error {
	a := &e.audit
	a.anchoring.Lock()
	defer a.anchoring.Unlock()
	if a.trouble.Load() != nil {
		return nil
	}
	signed, err := e.Checkpoint()
	if err != nil {
		return err
	}
	if bytes.Equal(signed, a.anchored) {
		a.anchoredAt.Store(e.opt.Now().UnixMilli())
		return nil
	}
	for _, place := range e.anchors() {
		if failed := e.moveAnchor(place, signed); failed != nil {
			err = errors.Join(err, fmt.Errorf("anchor %q of the audit log: %w", string(place), failed))
		}
	}
	if err == nil {
		a.anchored = signed
		a.anchoredAt.Store(e.opt.Now().UnixMilli())
	}
	return err
}

// moveAnchor brings one anchor up to date. What it has by then is compared with the log before: it may have been away when
// the log was opened. A file that is appended to is looked at once, since it grows.
func (e *Engine) moveAnchor(place anchor, signed []byte) error {
	a := &e.audit
	state := a.state.Load()
	if a.anchored == nil || !place.appends() {
		there, err := place.read(state.Installation)
		if err != nil {
			a.unused.set(place, err)
			return err
		}
		if err := e.compareAnchor(place, there); err != nil {
			return err
		}
	}
	err := place.write(state.Installation, signed)
	a.unused.set(place, err)
	return err
}

// compareAnchor compares the log with what an anchor has. If they don't agree, the log is not to be relied on.
func (e *Engine) compareAnchor(place anchor, signed []byte) error {
	if signed == nil {
		return nil
	}
	a := &e.audit
	verifiers, err := a.state.Load().verifiers()
	if err != nil {
		return err
	}
	c, err := auditlog.OpenCheckpoint(signed, verifiers...)
	if err == nil {
		a.mu.Lock()
		_, err = kv.View(e.db, func(tx *kv.Tx) (struct{}, error) { return struct{}{}, a.compare(tx, c) })
		a.mu.Unlock()
	}
	if err != nil {
		err = fmt.Errorf("the audit log does not agree with its anchor %q: %w", string(place), err)
		if a.trouble.CompareAndSwap(nil, &err) {
			e.log.Error().Err(err).Msg("staff access is refused")
		}
	}
	return err
}

// anchorNow brings the anchors up to date before what took rights away is answered: so a restore can tell from an anchor whether
// it lacks that. A failure is told where the anchors are kept up to date.
func (e *Engine) anchorNow() { _ = e.Anchor() }
