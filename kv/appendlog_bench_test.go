package kv

import (
	"fmt"
	"testing"
)

// BenchmarkLogAppend appends a line of 500 bytes in each transaction, from 64 callers at a time.
func BenchmarkLogAppend(b *testing.B) {
	db := newTest(b)
	l := lines.In(db)
	line := make([]byte, 500)
	before := db.Stats()
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := try(db, func(tx *Tx) error { l.Append(tx, line); return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	after := db.Stats()
	b.ReportMetric(float64(after.Transactions-before.Transactions)/float64(after.Commits-before.Commits), "tx/commit")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
}

// BenchmarkLogAppendInTx is what the first append of a transaction takes of it, with 100,000 records in the file and
// so many others in memory.
func BenchmarkLogAppendInTx(b *testing.B) {
	for _, inMemory := range []int{0, 1, 100_000} {
		b.Run(fmt.Sprint(inMemory), func(b *testing.B) {
			db := newTest(b)
			l := lines.In(db)
			line := make([]byte, 500)
			appendLines(b, db, l, 100_000, line)
			settle(b, db)
			appendLines(b, db, l, inMemory, line)
			b.ReportAllocs()
			_ = try(db, func(tx *Tx) error {
				for b.Loop() {
					l.Append(tx, line)
					tx.own = changeSet{few: tx.own.few[:0]}
				}
				return errEnd
			})
		})
	}
}

// BenchmarkLogDropSegment drops a segment of so many records of 500 bytes.
func BenchmarkLogDropSegment(b *testing.B) {
	for _, size := range []int{1_000, 10_000, 65_536} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			db := newTest(b)
			l := lines.In(db)
			appendLines(b, db, l, size+1, make([]byte, 500))
			settle(b, db)
			for b.Loop() {
				_ = try(db, func(tx *Tx) error {
					l.DropSegment(tx, uint64(size), 0)
					if tx.err != nil {
						b.Fatal(tx.err)
					}
					return errEnd
				})
			}
		})
	}
}

func appendLines(b *testing.B, db *DB, l Log, n int, line []byte) {
	do(b, db, func(tx *Tx) {
		for range n {
			l.Append(tx, line)
		}
	})
}
