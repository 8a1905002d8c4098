package kv

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Graft is what [GraftFrom] does with a bucket.
type Graft int

// The choices.
const (
	KeepBucket  Graft = iota // as it is
	TakeBucket               // that of the other database, or none if it has none, with all that is in it
	MergeBucket              // with the records of the other database put over its own
	AskWithin                // records as they are; each bucket in it is asked about
)

// GraftFrom replaces buckets of the database at path by those of another one, of the same schema, as choose says of each.
// Both were closed, and nobody has them open. It is one transaction.
//
// Errors: [ErrDamaged]; and for a database that was not closed.
func GraftFrom(path, other string, choose func(Path) Graft) error {
	to, err := openBolt(path)
	if err != nil {
		return fmt.Errorf("opening %q: %w", path, err)
	}
	from, err := openBolt(other)
	if err != nil {
		return errors.Join(fmt.Errorf("opening %q: %w", other, err), to.Close())
	}
	err = to.Update(func(dst *bolt.Tx) error {
		return from.View(func(src *bolt.Tx) error {
			if err := errors.Join(wasClosed(dst), wasClosed(src)); err != nil {
				return err
			}
			return graft(dst.Cursor().Bucket(), src.Cursor().Bucket(), "", choose)
		})
	})
	return errors.Join(err, to.Sync(), to.Close(), from.Close())
}

// wasClosed refuses a file that may lack what its log has.
func wasClosed(tx *bolt.Tx) error {
	b := newBoltStore(tx, new(homes), 0).bucket(marks.Path)
	if b == nil {
		return damaged("the file has no bucket %q", marks.Path)
	}
	m, err := decodeMark(b.Get(markKey))
	if err == nil && m.Open {
		err = errors.New("the database was not closed: its log may have more")
	}
	return err
}

// graft asks about each bucket in dst and src, which are at path; src may be nil.
func graft(dst, src *bolt.Bucket, path Path, choose func(Path) Graft) error {
	for name := range bucketNames(dst, src) {
		at := Path(name)
		if path != "" {
			at = path.Join(name)
		}
		var err error
		choice := KeepBucket
		switch {
		case at == system:
			choice = AskWithin
		case at == leases.Path:
			choice = MergeBucket // so that no id is given twice
		case !within(at, system):
			choice = choose(at)
		}
		switch choice {
		case MergeBucket:
			err = mergeBucket(dst, src, name)
		case TakeBucket:
			err = takeBucket(dst, src, name)
		case AskWithin:
			var inner *bolt.Bucket
			if src != nil {
				inner = src.Bucket([]byte(name))
			}
			if b := dst.Bucket([]byte(name)); b != nil {
				err = graft(b, inner, at, choose)
			} else if b, err = dst.CreateBucket([]byte(name)); err == nil { // of the other only: its records come, too
				if err = copyRecords(b, inner); err == nil {
					err = graft(b, inner, at, choose)
				}
			}
		}
		if err != nil {
			return fmt.Errorf("bucket %q: %w", at, err)
		}
	}
	return nil
}

func bucketNames(buckets ...*bolt.Bucket) map[string]struct{} {
	names := map[string]struct{}{}
	for _, b := range buckets {
		if b != nil {
			_ = b.ForEachBucket(func(name []byte) error { names[string(name)] = struct{}{}; return nil }) // it has no error of its own
		}
	}
	return names
}

func mergeBucket(dst, src *bolt.Bucket, name string) error {
	if src == nil || src.Bucket([]byte(name)) == nil {
		return nil
	}
	b, err := dst.CreateBucketIfNotExists([]byte(name))
	if err != nil {
		return err
	}
	return copyRecords(b, src.Bucket([]byte(name)))
}

func takeBucket(dst, src *bolt.Bucket, name string) error {
	if dst.Bucket([]byte(name)) != nil {
		if err := dst.DeleteBucket([]byte(name)); err != nil {
			return err
		}
	}
	if src == nil || src.Bucket([]byte(name)) == nil {
		return nil
	}
	made, err := dst.CreateBucket([]byte(name))
	if err != nil {
		return err
	}
	return copyBucket(made, src.Bucket([]byte(name)))
}

func copyBucket(to, from *bolt.Bucket) error {
	if err := copyRecords(to, from); err != nil {
		return err
	}
	return from.ForEachBucket(func(name []byte) error {
		inner, err := to.CreateBucket(name)
		if err != nil {
			return err
		}
		return copyBucket(inner, from.Bucket(name))
	})
}

func copyRecords(to, from *bolt.Bucket) error {
	if from == nil {
		return nil
	}
	to.FillPercent = fillWithin
	return from.ForEach(func(key, value []byte) error {
		if value == nil { // a bucket
			return nil
		}
		return to.Put(key, value)
	})
}
