package kv

import (
	"hash/maphash"
	"sync/atomic"
)

// A home is what an open database knows of one bucket. Whoever has it finds the bucket's records without
// looking for its path: in memory by lists, in the file by place. It is made when the bucket is first asked
// for, and stays until the database is closed.
type home struct {
	path       Path
	hash       uint64
	outer      *home // of the bucket around it, nil if there is none
	chain      *home // the next with the same place in homes
	packed     bool  // its keys rest in the file in runs
	appendOnly bool

	lists   [4]atomic.Pointer[list] // its changes, by the last bits of their table's number
	place   atomic.Pointer[place]
	moved   atomic.Uint64 // the last version of the file that has it elsewhere than the one before
	changed atomic.Uint64 // the last transaction that changed it

	// The writer's.
	segment Position // number is its name in the segment of the log that begins before here; 0: none
	number  uint64
	records bool // it holds records, or did since it was made
}

// homes are all homes. Any goroutine may ask for one.
type homes struct {
	byHash  [1 << 14]atomic.Pointer[home] // of the path
	dropped atomic.Uint64                 // the last version of the file that lacks a bucket which one before had
}

var pathSeed = maphash.MakeSeed()

// home returns the home of the bucket at path.
func (all *homes) home(path Path) *home {
	hash := maphash.String(pathSeed, string(path))
	head := &all.byHash[hash%uint64(len(all.byHash))]
	first := head.Load()
	if h := first.find(path, hash); h != nil {
		return h
	}
	h := &home{path: path, hash: hash, packed: path.packed(), appendOnly: path.appendOnly()}
	if outer := path.outer(); outer != "" {
		h.outer = all.home(outer)
	}
	for {
		h.chain = first
		if head.CompareAndSwap(first, h) {
			return h
		}
		first = head.Load()
		if other := first.find(path, hash); other != nil {
			return other
		}
	}
}

func (h *home) find(path Path, hash uint64) *home {
	for h != nil && (h.hash != hash || h.path != path) {
		h = h.chain
	}
	return h
}

// each calls fn with every home.
func (all *homes) each(fn func(*home)) {
	for i := range all.byHash {
		for h := all.byHash[i].Load(); h != nil; h = h.chain {
			fn(h)
		}
	}
}

// move notes that the bucket, and so those around it, will be elsewhere in a version of the file.
func (h *home) move(version uint64) {
	for ; h != nil; h = h.outer {
		h.moved.Store(version)
	}
}

// name is the last part of the bucket's path.
func (h *home) name() []byte {
	if h.outer == nil {
		return []byte(h.path)
	}
	return []byte(h.path[len(h.outer.path)+1:])
}
