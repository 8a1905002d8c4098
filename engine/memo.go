package engine

import (
	"sync"

	"tuco/kv"
)

// maxMemo bounds how many records a memo keeps.
const maxMemo = 1000

// memoized decodes the same bytes once: for records that every request of staff reads, in each of its transactions. The bytes
// are read and compared each time, so it is never behind. What it returns is shared, and must not be changed.
func memoized[T any](c kv.Codec[T]) kv.Codec[*T] {
	var mu sync.RWMutex
	known := map[string]*T{}
	return kv.Codec[*T]{
		Version: c.Version,
		Encode:  func(to []byte, v *T) ([]byte, error) { return c.Encode(to, *v) },
		Decode: func(version byte, data []byte) (*T, error) {
			mu.RLock()
			v := known[string(data)]
			mu.RUnlock()
			if v != nil && version == c.Version {
				return v, nil
			}
			decoded, err := c.Decode(version, data)
			if err != nil || version != c.Version {
				return &decoded, err
			}
			mu.Lock()
			defer mu.Unlock()
			if len(known) >= maxMemo {
				clear(known)
			}
			known[string(data)] = &decoded
			return &decoded, nil
		},
	}
}

// The accounts and requests of staff, to read only.
var (
	sharedStaff  = kv.Bucket[*Staff]{Path: staffAccounts.Path, Codec: memoized(staffAccounts.Codec)}
	sharedAccess = kv.Bucket[*AccessRequest]{Path: accessRequests.Path, Codec: memoized(accessRequests.Codec)}
)
