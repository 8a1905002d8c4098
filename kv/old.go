package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// An Old is a database of an older schema, before it is migrated. What its log had beyond the file has been read.
type Old struct {
	Schema int // what it has
	Newest int // what it is brought to
	db     *DB
}

// PartSuffix is behind the name of a directory that is not complete.
const PartSuffix = ".part"

// beforeMigration lets the caller copy a file that is about to be migrated. Nothing is written yet, nor moved.
func (db *DB) beforeMigration() error {
	schema, err := View(db, db.schema)
	if err != nil || schema == db.opt.Schema || db.opt.BeforeMigration == nil || len(db.opt.Migrations) == 0 {
		return err
	}
	return db.opt.BeforeMigration(Old{schema, db.opt.Schema, db})
}

// CopyTo copies the database into dir, which is not there yet, under its own name, and reads all of the copy. dir is there only
// when the copy is complete, sound and on the disk. A program of the older schema can open it.
//
// Errors: [ErrNoRoom], [ErrDamaged].
func (o Old) CopyTo(dir string) error {
	db, part := o.db, dir+PartSuffix
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	size, _ := db.fileBytes()
	needs := size + 3*(db.log.bytes()+db.pending()) + compactSlack // its log is moved into the copy
	if free := db.Room().Free; free < needs {
		return fmt.Errorf("%w: a copy needs %d free bytes on the disk, and there are %d", ErrNoRoom, needs, free)
	}
	if err := os.Mkdir(part, 0o700); err != nil {
		return err
	}
	if err := o.copyInto(part); err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	if err := os.Rename(part, dir); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(dir))
}

func (o Old) copyInto(dir string) error {
	path := filepath.Join(dir, filepath.Base(o.db.path))
	r, err := o.db.CopyTo(context.Background(), path, 0)
	if err != nil {
		return err
	}
	r.Close()
	opened, err := Open(path, Options{Schema: o.Schema, Now: o.db.opt.Now, AllowNetworkFS: o.db.opt.AllowNetworkFS})
	if err != nil {
		return err
	}
	faults, err := opened.Check()
	if err = errors.Join(err, opened.Close()); err != nil {
		return err
	}
	if len(faults) > 0 {
		return damaged("%s", faults[0])
	}
	return SyncDir(dir)
}

// IsIn tells whether dir has a copy of the database just as it is: an earlier migration made it, and did not come to its end.
func (o Old) IsIn(dir string) bool {
	if o.db.recovery.Transactions > 0 {
		return false
	}
	opt := boltOptions(0)
	opt.ReadOnly = true
	b, err := bolt.Open(filepath.Join(dir, filepath.Base(o.db.path)), 0, opt)
	if err != nil {
		return false
	}
	defer b.Close()
	return b.View(func(copied *bolt.Tx) error {
		return o.db.bolt.Load().View(func(tx *bolt.Tx) error {
			return sameBut(system, tx, copied)
		})
	}) == nil
}

// sameBut compares all but one of the outermost buckets.
func sameBut(left Path, a, b *bolt.Tx) error {
	names := func(tx *bolt.Tx) (all [][]byte) {
		_ = tx.ForEach(func(name []byte, _ *bolt.Bucket) error {
			if Path(name) != left {
				all = append(all, name)
			}
			return nil
		})
		return all
	}
	if !bytes.Equal(bytes.Join(names(a), []byte("/")), bytes.Join(names(b), []byte("/"))) {
		return damaged("one has other buckets")
	}
	for _, name := range names(a) {
		if err := same(Path(name), a.Bucket(name), b.Bucket(name), func(int) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}
