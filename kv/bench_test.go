package kv

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

// row is a record with its index entries, as a message is stored: two of them scattered, the others at the end
// of their buckets.
type row struct {
	records                             Bucket[[]byte]
	byStatus, byLine, ready, byLead, by Index
	usage                               Bucket[[]byte]
}

var rawCodec = Codec[[]byte]{
	Version: 1,
	Encode:  func(to, v []byte) ([]byte, error) { return append(to, v...), nil },
	Decode:  func(_ byte, data []byte) ([]byte, error) { return append([]byte(nil), data...), nil },
}

func newRows(n int) []row {
	rows := make([]row, n)
	for i := range rows {
		path := Path(fmt.Sprintf("org_%024x/production", i*7919))
		rows[i] = row{
			Bucket[[]byte]{Path: path.Join("messages"), Codec: rawCodec},
			Index{Path: path.Join("messages.status")}, Index{Path: path.Join("messages.line")}, Index{Path: path.Join("messages.ready")},
			Index{Path: path.Join("messages.lead")}, Index{Path: path.Join("messages.address")},
			Bucket[[]byte]{Path: path.Join("usage"), Codec: rawCodec},
		}
	}
	return rows
}

func (r *row) put(tx *Tx, tag Tag, contact uint64, value []byte) {
	id := tx.NewID(tag)
	var who [12]byte
	binary.BigEndian.PutUint64(who[:], contact)
	r.records.Put(tx, id[:], value)
	r.byStatus.Put(tx, Key([]byte{2}, id[:]))
	r.byLine.Put(tx, Key(make([]byte, 12), id[:]))
	r.ready.Put(tx, Key(make([]byte, 21), id[:]))
	r.byLead.Put(tx, Key(who[:], id[:]))
	r.by.Put(tx, Key(who[:], make([]byte, 14), id[:]))
	used, _ := r.usage.Get(tx, []byte("contracted"))
	if len(used) < 16 {
		used = make([]byte, 16)
	}
	binary.BigEndian.PutUint64(used, binary.BigEndian.Uint64(used)+1)
	r.usage.Put(tx, []byte("contracted"), used)
}

// BenchmarkCommit stores a record with five index entries and a counter in one of 1,000 workspaces, from so
// many callers at a time.
func BenchmarkCommit(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			db := newTest(b)
			rows := newRows(1000)
			value := make([]byte, 300)
			b.SetParallelism(max(1, callers/2))
			var n atomic.Int64
			before := db.Stats()
			b.ResetTimer()
			work := func() {
				i := n.Add(1)
				r := &rows[rand.IntN(len(rows))]
				if _, err := Update(db, func(tx *Tx) (struct{}, error) {
					r.put(tx, Tag{1}, uint64(rand.IntN(1000))*0x9e3779b97f4a7c15, value)
					return struct{}{}, nil
				}); err != nil {
					b.Fatal(i, err)
				}
			}
			if callers == 1 {
				for b.Loop() {
					work()
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						work()
					}
				})
			}
			after := db.Stats()
			b.ReportMetric(float64(after.Transactions-before.Transactions)/float64(after.Commits-before.Commits), "tx/commit")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
		})
	}
}

// BenchmarkView reads one record by its key: from the file, and from memory.
func BenchmarkView(b *testing.B) {
	for _, settled := range []bool{true, false} {
		b.Run(fmt.Sprintf("settled=%v", settled), func(b *testing.B) {
			db := newTest(b)
			r := newRows(1)[0]
			var keys [][]byte
			do(b, db, func(tx *Tx) {
				for i := range 1000 {
					keys = append(keys, number(i))
					r.records.Put(tx, number(i), make([]byte, 300))
				}
			})
			if settled {
				settle(b, db)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := View(db, func(tx *Tx) (bool, error) {
						_, ok := r.records.Get(tx, keys[i%len(keys)])
						return ok, nil
					}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
