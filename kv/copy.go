package kv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// CopyTo copies the database, while it is used, to path, where nothing is yet. To open the copy is like opening the
// database after a crash at a moment during the call: it has every commit up to the position of the reader that CopyTo
// returns, and none after it. The log keeps what comes from there on until the reader is closed.
//
// A bbolt transaction lasts as long as the file is read: pages that become free meanwhile are used again only after it. With
// pace the copy takes at least as long as that many bytes a second would; 0 is as fast as it can. It gives up when ctx ends.
func (db *DB) CopyTo(ctx context.Context, path string, pace int64) (*LogReader, error) {
	r, err := db.readLog((*redo).oldest)
	for errors.Is(err, ErrGone) { // the applier was faster
		r, err = db.readLog((*redo).oldest)
	}
	if err != nil {
		return nil, err
	}
	err = db.copyFile(ctx, path, r, pace)
	if err == nil {
		err = r.copyLog(path+redoSuffix, db.Position())
	}
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("copying the database to %q: %w", path, err)
	}
	return r, nil
}

// copyFile copies the file as one bbolt transaction sees it, and moves r to what the log has beyond it.
func (db *DB) copyFile(ctx context.Context, path string, r *LogReader, pace int64) error {
	db.copying.RLock()
	defer db.copying.RUnlock()
	tx, err := db.bolt.Load().Begin(false)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // it only reads
	db.stats.reads.begin(tx)
	defer db.stats.reads.end(tx)
	data := newBoltStore(tx, &db.homes, 0).bucket(marks.Path)
	if data == nil {
		return damaged("the file has no bucket %q", marks.Path)
	}
	m, err := decodeMark(data.Get(markKey))
	if err != nil {
		return err
	}
	if err := r.seek(m.Applied); err != nil {
		return err
	}
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = tx.WriteTo(&SteadyWriter{Context: ctx, File: to, Pace: pace, Forget: true})
	return errors.Join(err, to.Sync(), to.Close())
}

func decodeMark(value []byte) (m mark, err error) {
	version, data, err := unseal(marks.Path, markKey, value)
	if err != nil {
		return m, err
	}
	return marks.Codec.Decode(version, data)
}

// SettleCopy moves everything that a copy's log has into its file, and lets look see it. The log can still be extended.
func SettleCopy(path string, opt Options, look func(tx *Tx) error) error {
	opt.KeepLog = 0
	db, err := Open(path, opt)
	if err != nil {
		return err
	}
	defer db.abandon() // to close it would end its log
	if err := db.settle(); err != nil {
		return err
	}
	_, err = View(db, func(tx *Tx) (struct{}, error) { return struct{}{}, look(tx) })
	return err
}
