package kv

import (
	"bytes"
	"errors"

	bolt "go.etcd.io/bbolt"
)

// compare fails unless the new file is sound and holds byte for byte what the old one does.
func (p *compactor) compare(old *bolt.Tx, file *storeFile) error {
	if err := withPages(file.file, checkTree); err != nil {
		return err
	}
	tx, err := file.Begin(false)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // it only reads
	if err := same("", old.Cursor().Bucket(), tx.Cursor().Bucket(), p.count); err != nil {
		return err
	}
	for fault := range tx.Check() {
		err = errors.Join(err, fault)
	}
	if err != nil {
		return damaged("%v", err)
	}
	var faults []string
	if err := tx.ForEach(func(name []byte, b *bolt.Bucket) error { return checkBucket(Path(name), b, &faults) }); err != nil {
		return err
	}
	if len(faults) > 0 {
		return damaged("%s", faults[0])
	}
	return nil
}

// same compares two buckets with all that is in them, and tells count of the bytes that it has compared.
func same(path Path, a, b *bolt.Bucket, count func(bytes int) error) error {
	if a.Sequence() != b.Sequence() {
		return damaged("bucket %q has another sequence in its copy", path)
	}
	x, y := a.Cursor(), b.Cursor()
	key, value := x.First()
	other, copied := y.First()
	for ; key != nil || other != nil; key, value = x.Next() {
		if !bytes.Equal(key, other) || !bytes.Equal(value, copied) || (value == nil) != (copied == nil) {
			return damaged("bucket %q has %x, and its copy %x", path, key, other)
		}
		if err := count(len(key) + len(value)); err != nil {
			return err
		}
		if value == nil {
			if err := same(path.Join(string(key)), a.Bucket(key), b.Bucket(key), count); err != nil {
				return err
			}
		}
		other, copied = y.Next()
	}
	return nil
}
