package kv

import (
	"errors"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// boltStore is a bbolt transaction with the buckets that were looked up in it.
type boltStore struct {
	tx      *bolt.Tx
	buckets map[Path]*bolt.Bucket
}

func newBoltStore(tx *bolt.Tx) *boltStore {
	return &boltStore{tx, map[Path]*bolt.Bucket{}}
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

func (s *boltStore) children(path Path) (names []string) {
	if b := s.bucket(path); b != nil {
		c := b.Cursor()
		for key, value := c.First(); key != nil; key, value = c.Next() {
			if value == nil {
				names = append(names, string(key))
			}
		}
	}
	return names
}

func (s *boltStore) create(path Path) (*bolt.Bucket, error) {
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
