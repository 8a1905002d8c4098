package kv

import (
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
)

// Check moves everything into the file, reads all of that and reports up to 100 faults: in the structure
// of its pages, and records whose checksum is wrong. Reads go on meanwhile, and writes as long as they
// fit into memory.
func (db *DB) Check() (faults []string, err error) {
	if err := db.settle(); err != nil {
		return nil, err
	}
	db.filing.Lock()
	defer db.filing.Unlock()
	file := db.bolt.Load()
	b, err := file.Begin(true) // bbolt's own check can't stand a writer beside it
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStopped, err)
	}
	defer func() { _ = b.Rollback() }()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			faults, err = append(faults, fmt.Sprint(p)), nil
		}
	}()
	if err := withPages(file.file, checkTree); err != nil {
		return []string{err.Error()}, nil // with wrong pages the rest could end the process
	}
	for fault := range b.Check() {
		faults = report(faults, fault)
	}
	return faults, b.ForEach(func(name []byte, b *bolt.Bucket) error {
		return checkBucket(Path(name), b, &faults)
	})
}

const maxFaults = 100

func report(faults []string, fault error) []string {
	if len(faults) < maxFaults {
		faults = append(faults, fault.Error())
	}
	return faults
}

func checkBucket(path Path, b *bolt.Bucket, faults *[]string) error {
	if path.packed() {
		if err := checkPacked(b, path); err != nil {
			*faults = report(*faults, err)
		}
		return nil
	}
	if path.appendOnly() {
		return checkLog(b, path, faults)
	}
	return b.ForEach(func(key, value []byte) error {
		if value == nil {
			return checkBucket(path.Join(string(key)), b.Bucket(key), faults)
		}
		if _, _, err := unseal(path, key, value); err != nil {
			*faults = report(*faults, err)
		}
		return nil
	})
}
