package kv

import (
	"errors"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// boltStore is a bbolt transaction that writes, with the buckets that were looked up in it.
type boltStore struct {
	tx      *bolt.Tx
	buckets map[Path]*bolt.Bucket
	homes   *homes // are told what moves
	version uint64 // that the transaction makes of the file
}

func newBoltStore(tx *bolt.Tx, homes *homes, version uint64) *boltStore {
	return &boltStore{tx, map[Path]*bolt.Bucket{}, homes, version}
}

// bucket returns the bucket at path, nil if there is none.
func (s *boltStore) bucket(path Path) *bolt.Bucket {
	if b, ok := s.buckets[path]; ok {
		return b
	}
	var b *bolt.Bucket
	if outer := path.outer(); outer == "" {
		b = s.tx.Bucket([]byte(path))
	} else if around := s.bucket(outer); around != nil {
		b = around.Bucket([]byte(path[len(outer)+1:]))
	}
	if b != nil {
		s.buckets[path] = b
	}
	return b
}

// create returns the bucket at path, to be written to. It makes it if there is none.
func (s *boltStore) create(path Path) (*bolt.Bucket, error) {
	s.homes.home(path).move(s.version)
	if b := s.bucket(path); b != nil {
		return b, nil
	}
	names := strings.Split(string(path), "/")
	b, err := s.tx.CreateBucketIfNotExists([]byte(names[0]))
	for _, name := range names[1:] {
		if err != nil {
			break
		}
		b, err = b.CreateBucketIfNotExists([]byte(name))
	}
	if err != nil {
		return nil, fmt.Errorf("creating bucket %q: %w", path, err)
	}
	s.buckets[path] = b
	return b, nil
}

func (s *boltStore) drop(path Path) error {
	s.homes.home(path).move(s.version)
	s.homes.dropped.Store(s.version)
	for known := range s.buckets {
		if within(known, path) {
			delete(s.buckets, known)
		}
	}
	var err error
	if outer := path.outer(); outer == "" {
		err = s.tx.DeleteBucket([]byte(path))
	} else if b := s.bucket(outer); b != nil {
		err = b.DeleteBucket([]byte(path[len(outer)+1:]))
	}
	if err != nil && !errors.Is(err, berrors.ErrBucketNotFound) && !errors.Is(err, berrors.ErrIncompatibleValue) { // a record of that name is no bucket
		return fmt.Errorf("dropping bucket %q: %w", path, err)
	}
	return nil
}
