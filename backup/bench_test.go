package backup

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"filippo.io/age"
)

// databaseOf makes a file of pages filled like those of bbolt: a header, the places of records, and the records, with ids that
// don't compress and words that do; a tenth of a page is free.
func databaseOf(b *testing.B, size int64) *os.File {
	b.Helper()
	const words = `"status":"delivered","lineId":"65f0000000000000000000a1","campaignId":"65f000000000000000000c01","text":"Hello, here is your appointment on Monday at ten."`
	f := must1(os.Create(filepath.Join(b.TempDir(), "tuco.db")))(b)
	b.Cleanup(func() { f.Close() })
	w := bufio.NewWriterSize(f, 1<<20)
	r := rand.New(rand.NewPCG(1, 2))
	const pageBytes, records = 4096, 15
	for n := range uint64(size / pageBytes) {
		page := make([]byte, 16, pageBytes)
		binary.LittleEndian.PutUint64(page, n)
		for i := range uint32(records) {
			page = binary.LittleEndian.AppendUint64(page, uint64(i)<<32|uint64(240*i))
			page = binary.LittleEndian.AppendUint64(page, 8|uint64(len(words)+60)<<32)
		}
		for i := range uint64(records) {
			page = append(binary.BigEndian.AppendUint64(page, n*records+i), words...)
			for range 15 {
				page = binary.BigEndian.AppendUint32(page, r.Uint32())
			}
		}
		w.Write(page[:pageBytes])
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	return f
}

// BenchmarkObject writes and reads an object of 1 GiB of database.
func BenchmarkObject(b *testing.B) {
	f := databaseOf(b, 1<<30)
	size := must1(f.Stat())(b).Size()
	id := newIdentity(b)
	in := []Input{{"tuco.db", io.NewSectionReader(f, 0, size)}}
	enc := Encryption{Recipients: []string{id.Recipient().String()}}
	b.Run("create", func(b *testing.B) {
		b.SetBytes(size)
		defer heap(b)()
		for b.Loop() {
			o := must1(Create(context.Background(), b.TempDir(), fullManifest(), in, enc))(b)
			b.ReportMetric(float64(size)/float64(o.Size()), "times-smaller")
			o.Close()
		}
	})
	o := create(b, fullManifest(), enc, in...)
	keys := Keys{Identities: []age.Identity{id}}
	for name, read := range map[string]func(*Reader) error{
		"check":  func(r *Reader) error { return r.Check(b.Context()) },
		"verify": func(r *Reader) error { return r.Verify(b.Context(), keys) },
		"unpack": func(r *Reader) error { return r.Unpack(b.Context(), keys, filepath.Join(b.TempDir(), "new")) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			defer heap(b)()
			for b.Loop() {
				if err := read(must1(Open(io.NewSectionReader(o, 0, o.Size()), 2))(b)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// heap reports the most memory that was in use, above that at the beginning.
func heap(b *testing.B) func() {
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most, stop, stopped := uint64(0), make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapInuse)
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		b.ReportMetric(float64(most-min(most, before.HeapInuse))/1e6, "MB-heap")
	}
}

// BenchmarkPassphrase is what a passphrase costs, once for each object.
func BenchmarkPassphrase(b *testing.B) {
	for b.Loop() {
		create(b, fullManifest(), Encryption{Passphrase: "x"}, inputs("x")...)
	}
}
