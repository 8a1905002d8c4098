package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"tuco/kv"
)

// checkCopyName is the directory, in the data directory, of the copy that a check of a running server reads.
const checkCopyName = "check.tmp"

// checkOverlay is how much of a log a check keeps in memory.
const checkOverlay = 16 << 20

// careSlack is how much of the disk a copy leaves beside the reserve.
const careSlack = 16 << 20

// A Progress is told what is being done, and how much of it: bytes for some parts, 0 of 0 for those that can't tell.
type Progress func(part string, done, total int64)

// A CheckReport is what a check found, and how.
type CheckReport struct {
	FileReport
	InPlace bool   // for want of room for a copy, the database itself was read, and writes waited
	Note    string // says so
	Took    time.Duration
}

// CheckRunning reads everything, in a copy of the database that it makes in the data directory and removes again: nothing waits
// for it. Where there is no room for that it reads the database itself, like [Engine.Check].
//
// Errors: [Unavailable] with [CodeTemporarilyExhausted] while another check or a compaction is under way; that of ctx.
func (e *Engine) CheckRunning(ctx context.Context, tell Progress) (r CheckReport, err error) {
	if !e.caring.TryLock() {
		return r, busy(kv.ErrBusy)
	}
	defer e.caring.Unlock()
	began := time.Now()
	next := nextPart(ctx, tell)
	dir := filepath.Join(e.opt.Dir, checkCopyName)
	if err := os.RemoveAll(dir); err != nil {
		return r, err
	}
	stats, room := e.db.Stats(), e.db.Room()
	if needs := stats.FileBytes + stats.LogBytes + 2*stats.OverlayBytes + e.opt.Reserve + careSlack; room.Free < needs {
		r.InPlace = true
		r.Note = fmt.Sprintf("There is no room for a copy, which needs %s of free space: the database itself was read, and writes may have waited.", humanize.IBytes(uint64(needs)))
		r.FileReport, err = e.report(nil, next)
	} else {
		r.FileReport, err = e.checkCopy(dir, next)
	}
	r.Took = time.Since(began)
	return r, err
}

func nextPart(ctx context.Context, tell Progress) func(part string) error {
	return func(part string) error {
		tell(part, 0, 0)
		return ctx.Err()
	}
}

// carePace is how many bytes a second a check, or a compaction, of a running server copies, so that requests hardly wait for it.
const carePace = 16 << 20

func (e *Engine) checkCopy(dir string, next func(part string) error) (r FileReport, err error) {
	if err := next("copying"); err != nil {
		return r, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, DatabaseName)
	log, err := e.db.CopyTo(context.Background(), path, carePace)
	if err != nil {
		return r, err
	}
	log.Close()
	return checkFile(path, kv.Options{AllowNetworkFS: e.opt.AllowNetworkFS}, nil, next)
}

func checkFile(path string, opt kv.Options, checkpoint []byte, next func(part string) error) (r FileReport, err error) {
	opt.Schema, opt.Overlay = Schema, checkOverlay
	db, err := kv.Open(path, opt)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return (&Engine{db: db, opt: Options{Now: time.Now}}).report(checkpoint, next)
}

// CheckStopped reads the database of a data directory that no server runs on, without any key, and compares its audit log with
// the anchor in the directory, if there is one.
//
// Errors: those of [kv.Open]; an error that matches [os.ErrNotExist] if there is no database.
func CheckStopped(dir string, tell Progress) (r CheckReport, err error) {
	began := time.Now()
	opt, err := stoppedOptions(dir)
	if err != nil {
		return r, err
	}
	anchor, err := os.ReadFile(filepath.Join(dir, AnchorName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return r, err
	}
	r.FileReport, err = checkFile(filepath.Join(dir, DatabaseName), opt, anchor, nextPart(context.Background(), tell))
	r.Took = time.Since(began)
	return r, err
}

// stoppedOptions open a database for a moment, and leave what a backup still wants of its log.
func stoppedOptions(dir string) (opt kv.Options, err error) {
	if _, err := os.Stat(filepath.Join(dir, DatabaseName)); err != nil {
		return opt, err
	}
	return kv.Options{Schema: Schema, KeepLog: kv.LogBytes(filepath.Join(dir, DatabaseName))}, nil
}

// Compact gives what is free inside the database back to the disk, while it is used. See [kv.DB.Compact].
//
// Errors: [Unavailable] with [CodeTemporarilyExhausted], [CodeNoRoom] or [CodeOverrun], and then nothing was changed.
func (e *Engine) Compact(ctx context.Context, tell Progress) (c kv.Compaction, err error) {
	if !e.caring.TryLock() {
		return c, busy(kv.ErrBusy)
	}
	defer e.caring.Unlock()
	c, err = e.db.Compact(ctx, carePace, func(done, total int64) { tell("compacting", done, total) })
	switch {
	case errors.Is(err, kv.ErrBusy):
		return c, busy(err)
	case errors.Is(err, kv.ErrNoRoom):
		return c, unavailable(CodeNoRoom, "There is not enough free space on the disk; nothing was changed", err)
	case errors.Is(err, kv.ErrOverrun):
		return c, unavailable(CodeOverrun, "The database could not be compacted beside so many writes, and nothing was changed; "+
			"try again when there are fewer, with a larger --overlay, or with the server stopped", err)
	case err == nil:
		e.log.Info().Int64("before", c.Before).Int64("after", c.After).Dur("took", c.Took).Msg("the database was compacted")
	}
	return c, err
}

func busy(err error) error {
	return unavailable(CodeTemporarilyExhausted, "Only one at a time; try again when it is done", err)
}

func unavailable(code, msg string, err error) error {
	return &Error{Kind: Unavailable, Code: code, Msg: msg, Err: err}
}

// CompactStopped compacts the database of a data directory that no server runs on.
//
// Errors: those of [kv.Open] and [kv.DB.Compact]; one that matches [os.ErrNotExist] if there is no database.
func CompactStopped(dir string, tell Progress) (c kv.Compaction, err error) {
	opt, err := stoppedOptions(dir)
	if err != nil {
		return c, err
	}
	db, err := kv.Open(filepath.Join(dir, DatabaseName), opt)
	if err != nil {
		return c, err
	}
	c, err = db.Compact(context.Background(), 0, func(done, total int64) { tell("compacting", done, total) })
	return c, errors.Join(err, db.Close())
}

// A Space is how a database uses its disk, in bytes.
type Space struct {
	File  int64 // its size
	Free  int64 // of that, what holds nothing
	Needs int64 // must be free on the disk for a compaction
	Disk  int64 // is free there
}

// Space tells what a compaction would find.
func (e *Engine) Space() Space { return spaceOf(e.db) }

// SpaceStopped is Space of a data directory that no server runs on.
func SpaceStopped(dir string) (s Space, err error) {
	opt, err := stoppedOptions(dir)
	if err != nil {
		return s, err
	}
	db, err := kv.Open(filepath.Join(dir, DatabaseName), opt)
	if err != nil {
		return s, err
	}
	return spaceOf(db), db.Close()
}

func spaceOf(db *kv.DB) Space {
	stats := db.Stats()
	s := Space{File: stats.FileBytes, Free: stats.FreePages * kv.PageBytes}
	s.Needs, s.Disk = db.CompactNeeds()
	return s
}

// From adviseFrom bytes on, a file of which more than half is free is worth a compaction.
const adviseFrom = 256 << 20

// Advice says in words that the file should be compacted; it is empty if not.
func (s Space) Advice() string {
	if s.File <= adviseFrom || s.Free <= s.File/2 {
		return ""
	}
	return fmt.Sprintf("Of the database file's %s, %s are free inside it: 'tuco compact' gives them back to the disk.",
		humanize.IBytes(uint64(s.File)), humanize.IBytes(uint64(s.Free)))
}

// CompactAdvice is the advice for the database as it is.
func (e *Engine) CompactAdvice() string { return e.Space().Advice() }
