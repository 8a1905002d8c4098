package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// deviceWritten is how many bytes were ever written to the block device under a directory. It counts what everybody writes.
// ok is false where no such device is to be seen, as under tmpfs and in some containers.
func deviceWritten(dir string) (bytes int64, ok bool) {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return 0, false
	}
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev)))
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 7 {
		return 0, false
	}
	sectors, err := strconv.ParseInt(fields[6], 10, 64) // of 512 bytes, whatever the device's own are
	return sectors * 512, err == nil
}

// appends measures what a file in dir takes: writers goroutines each append a record and wait until it is durable, and what
// waits is made durable together.
func appends(dir string, record []byte, writers int, d time.Duration) (*histogram, time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "bench.tmp"))
	if err != nil {
		return nil, 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	a := &appender{f: f, record: record, queue: make(chan chan error, writers)}
	began := time.Now()
	var working, committing sync.WaitGroup
	all := new(histogram)
	var mu sync.Mutex
	for range writers {
		working.Go(func() {
			own := new(histogram)
			a.write(began.Add(d), own)
			mu.Lock()
			defer mu.Unlock()
			all.merge(own)
		})
	}
	committing.Go(a.commit)
	working.Wait()
	took := time.Since(began)
	close(a.queue)
	committing.Wait()
	return all, took, a.err
}

// appender is a file to which a group at a time is appended.
type appender struct {
	f      *os.File
	record []byte
	queue  chan chan error
	err    error
}

func (a *appender) write(until time.Time, h *histogram) {
	done := make(chan error, 1)
	for began := time.Now(); began.Before(until); began = time.Now() {
		a.queue <- done
		if <-done != nil {
			return
		}
		h.add(time.Since(began))
	}
}

func (a *appender) commit() {
	var group []chan error
	var data []byte
	for first := range a.queue {
		group = append(group[:0], first)
		for more := len(a.queue); more > 0; more-- {
			group = append(group, <-a.queue)
		}
		data = data[:0]
		for range group {
			data = append(data, a.record...)
		}
		err := a.append(data)
		if err != nil {
			a.err = err
		}
		for _, done := range group {
			done <- err
		}
	}
}

func (a *appender) append(data []byte) error {
	if _, err := a.f.Write(data); err != nil {
		return err
	}
	return unix.Fdatasync(int(a.f.Fd()))
}
