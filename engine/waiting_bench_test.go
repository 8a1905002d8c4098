package engine

import (
	"encoding/binary"
	"fmt"
	"testing"

	"tuco/kv"
)

// BenchmarkWaiting counts messages that wait, most of them in the file.
func BenchmarkWaiting(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e, err := Open(Options{Dir: b.TempDir(), Overlay: 4 << 20})
			if err != nil {
				b.Fatal(err)
			}
			defer e.close()
			w, err := e.Admin().CreateWorkspace("W", "", "")
			if err != nil {
				b.Fatal(err)
			}
			index := e.tenant(w.ID).envs[Production].store.messageByStatus
			for from := 0; from < n; from += 10_000 {
				_, err := kv.Update(e.db, func(tx *kv.Tx) (struct{}, error) {
					for i := range min(10_000, n-from) {
						key := append([]byte{statusCodes[Pending]}, make([]byte, 12)...)
						binary.BigEndian.PutUint32(key[1:], uint32(from+i))
						index.Put(tx, key)
					}
					return struct{}{}, nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if got, err := e.countWaiting(); err != nil || got.ByStatus[Pending] != int64(n) {
					b.Fatalf("%+v, %v", got, err)
				}
			}
		})
	}
}
