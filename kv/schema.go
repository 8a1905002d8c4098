package kv

import (
	"fmt"
	"time"
)

// system is where this package keeps its own records.
const system = Path("kv")

// header is the one record that says what the file is.
type header struct {
	Program string    `json:"program"`
	Schema  int       `json:"schema"`
	Created time.Time `json:"created"`
}

const program = "tuco"

var (
	headers   = Bucket[header]{Path: system.Join("header"), Codec: JSON[header](1)}
	headerKey = []byte("header")
)

// migrate brings the file to the schema of this program, one version a transaction.
func (db *DB) migrate() error {
	for migrated := false; ; migrated = true {
		schema, err := View(db, db.schema)
		if err != nil {
			return err
		}
		if schema == db.opt.Schema {
			if migrated { // an older program looks into the file only, and must refuse it from now on
				err = db.settle()
			}
			return err
		}
		if schema >= 1 && len(db.opt.Migrations) == 0 {
			return fmt.Errorf("%w: its schema is %d, this program's %d", ErrOlder, schema, db.opt.Schema)
		}
		if schema < 1 || schema-1 >= len(db.opt.Migrations) {
			return fmt.Errorf("%w: no way from its schema %d to %d", ErrForeign, schema, db.opt.Schema)
		}
		if _, err := UpdateCritical(db, func(tx *Tx) (struct{}, error) { return struct{}{}, db.step(tx) }); err != nil {
			return fmt.Errorf("migrating from schema %d: %w", schema, err)
		}
	}
}

func (db *DB) schema(tx *Tx) (int, error) {
	h, ok := headers.Get(tx, headerKey)
	switch {
	case !ok || h.Program != program:
		return 0, ErrForeign
	case h.Schema > db.opt.Schema:
		return 0, fmt.Errorf("%w: its schema is %d, this program's %d", ErrNewer, h.Schema, db.opt.Schema)
	}
	return h.Schema, nil
}

func (db *DB) step(tx *Tx) error {
	h, ok := headers.Get(tx, headerKey)
	if !ok {
		return ErrForeign
	}
	if err := db.opt.Migrations[h.Schema-1](tx); err != nil {
		return err
	}
	h.Schema++
	headers.Put(tx, headerKey, h)
	return nil
}
