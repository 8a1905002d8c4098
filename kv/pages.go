package kv

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// bbolt trusts the pages of its file: one that was cut, or a page that names another which is not
// there, would end the process, since bbolt reads them through its memory map and partly in
// goroutines of its own; and where it does find a fault at the opening, its panic races with them.
// So this package looks first. The layout is that of bbolt's internal/common/page.go and meta.go,
// in the byte order of the machines this program is made for.
var layout = binary.LittleEndian

const (
	pageHeader  = 16 // id 8, kind 2, count 2, overflow 4
	elementSize = 16 // of a branch: pos 4, key size 4, page 8; of a leaf: flags, pos, key size, value size 4 each
	bucketSize  = 16 // root page 8, sequence 8; if the root is 0, a leaf page follows

	branchPage   = 1
	leafPage     = 2
	freelistPage = 16
	bucketFlag   = 1

	metaMagic   = 0xED0CDAED
	metaVersion = 2
	metaSize    = 64
	noFreelist  = 1<<64 - 1
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// inspect fails unless bbolt can open the file. If the file was not closed, it reads all its pages.
func inspect(f *os.File) error {
	return withPages(f, func(data []byte, m meta) error {
		if m.freelist != noFreelist {
			return checkFreelist(data, m)
		}
		// In order first: that is twenty times faster on a cold disk, and what can't be read is an error here.
		if _, err := io.Copy(io.Discard, f); err != nil {
			return damaged("reading it: %v", err)
		}
		return checkTree(data, m)
	})
}

// withPages calls fn with the pages of the file and the newest meta page.
func withPages(f *os.File, fn func(data []byte, m meta) error) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 { // which can't be mapped
		return fmt.Errorf("%w: it is empty, or no file", ErrForeign)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping the file: %w", err)
	}
	defer unix.Munmap(data)
	m, err := newestMeta(data)
	if err != nil {
		return err
	}
	return fn(data, m)
}

// A meta is one of the two pages at the start of the file: the state after one commit.
type meta struct {
	root, freelist, pages, tx uint64
}

// newestMeta returns the meta page that counts. Both must be whole: a power cut can't tear one, since
// it fits into a sector; and if the newer one rotted, the older one lacks a commit that was acknowledged.
func newestMeta(data []byte) (meta, error) {
	newest, err := readMeta(data)
	second, err2 := readMeta(data[min(len(data), pageBytes):])
	switch {
	case err != nil && err2 != nil:
		return meta{}, err
	case err != nil || err2 != nil:
		return meta{}, damaged("one of the first two pages is not what was written")
	case second.tx > newest.tx:
		newest = second
	}
	if have, want := uint64(len(data)), newest.pages*pageBytes; have < want {
		return meta{}, damaged("the file has %d bytes of %d; it was cut", have, want)
	}
	return newest, nil
}

func readMeta(page []byte) (meta, error) {
	if len(page) < pageHeader+metaSize {
		return meta{}, ErrForeign
	}
	m := page[pageHeader : pageHeader+metaSize]
	if layout.Uint32(m) != metaMagic || layout.Uint32(m[4:]) != metaVersion || layout.Uint32(m[8:]) != pageBytes {
		return meta{}, ErrForeign
	}
	sum := fnv.New64a()
	sum.Write(m[:56])
	if sum.Sum64() != layout.Uint64(m[56:]) {
		return meta{}, damaged("wrong checksum")
	}
	return meta{layout.Uint64(m[16:]), layout.Uint64(m[32:]), layout.Uint64(m[40:]), layout.Uint64(m[48:])}, nil
}
