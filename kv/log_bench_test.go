package kv

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// BenchmarkLog compares the two places where the redo log could be: a file of its own, and an append-only
// bucket of the database file, each with so many transactions of 700 bytes in a commit; alone, and while
// an applier moves changes into 10,000 other buckets of the database, which for the bucket means: in turn with it.
func BenchmarkLog(b *testing.B) {
	for _, place := range []string{"file", "bucket"} {
		for _, group := range []int{1, 32, 128} {
			for _, applying := range []bool{false, true} {
				b.Run(fmt.Sprintf("%s/%d/applying=%v", place, group, applying), func(b *testing.B) {
					file := openBenchBolt(b)
					appendTo := appendToFile
					if place == "bucket" {
						appendTo = appendToBucket
					}
					add := appendTo(b, file, group)
					if applying {
						stop := benchApplier(b, file)
						defer stop()
					}
					var took []time.Duration
					for b.Loop() {
						began := time.Now()
						add()
						took = append(took, time.Since(began))
					}
					slices.Sort(took)
					b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
					b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
					b.ReportMetric(float64(group*b.N)/b.Elapsed().Seconds(), "tx/s")
				})
			}
		}
	}
}

func openBenchBolt(b *testing.B) *bolt.DB {
	file, err := bolt.Open(filepath.Join(b.TempDir(), "db"), 0o600, boltOptions(mapBytes[0]))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { file.Close() })
	return file
}

const benchTransaction = 700

func appendToFile(b *testing.B, file *bolt.DB, group int) func() {
	all := new(homes)
	l := newRedo(osDisk{}, all, file.Path(), 1, defaultSegmentBytes)
	if err := l.begin(0); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.close() })
	var c changeSet
	c.set(op{all.home("bucket"), []byte("key"), make([]byte, benchTransaction)})
	return func() {
		if err := l.start(); err != nil {
			b.Fatal(err)
		}
		for range group {
			if err := l.add(&c); err != nil {
				b.Fatal(err)
			}
		}
		r := l.seal()
		if err := l.write(r); err != nil {
			b.Fatal(err)
		}
		l.keep(r)
		if err := l.release(l.at, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func appendToBucket(b *testing.B, file *bolt.DB, group int) func() {
	next := uint64(0)
	value := make([]byte, benchTransaction)
	return func() {
		if err := file.Update(func(tx *bolt.Tx) error {
			log, err := tx.CreateBucketIfNotExists([]byte("log"))
			if err != nil {
				return err
			}
			log.FillPercent = 1
			for range group {
				next++
				if err := log.Put(binary.BigEndian.AppendUint64(nil, next), value); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// benchApplier writes transactions of as many changes as the applier does until it is stopped.
func benchApplier(b *testing.B, file *bolt.DB) (stop func()) {
	stopping, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := uint64(0); ; {
			select {
			case <-stopping:
				return
			default:
			}
			if err := file.Update(func(tx *bolt.Tx) error {
				for range defaultPartOps / 10 {
					bucket, err := tx.CreateBucketIfNotExists([]byte(fmt.Sprint("w", n%10_000)))
					if err != nil {
						return err
					}
					for range 10 {
						n++
						if err := bucket.Put(binary.BigEndian.AppendUint64(nil, n*0x9e3779b97f4a7c15), make([]byte, 40)); err != nil {
							return err
						}
					}
				}
				return nil
			}); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	return func() { close(stopping); <-ended }
}
