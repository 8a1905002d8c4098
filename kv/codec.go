package kv

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/go-json-experiment/json"
)

// A Codec writes records of type T and reads what this and earlier versions of the program wrote.
// What Decode returns must not refer to data.
type Codec[T any] struct {
	Version byte                                 // of what Encode writes
	Encode  func(to []byte, v T) ([]byte, error) // appends
	Decode  func(version byte, data []byte) (T, error)
}

// JSON is the codec for records that are written rarely: their JSON, at the given version.
func JSON[T any](version byte) Codec[T] {
	return Codec[T]{
		Version: version,
		Encode: func(to []byte, v T) ([]byte, error) {
			data, err := json.Marshal(v)
			return append(to, data...), err
		},
		Decode: func(got byte, data []byte) (v T, err error) {
			if got != version {
				return v, fmt.Errorf("record version %d is not known", got)
			}
			err = json.Unmarshal(data, &v)
			return v, err
		},
	}
}

// A stored value is one byte of version, four of checksum, and the encoded record. The checksum
// covers key, version and record, since bbolt's data pages carry none: a flipped bit, or a value
// under another key, is found by whoever reads it.
const valueHeader = 5

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum takes the version as a slice of one byte, since crc32 would bring an array of it to the heap.
func checksum(key, version, data []byte) uint32 {
	sum := crc32.Update(0, castagnoli, key)
	sum = crc32.Update(sum, castagnoli, version)
	return crc32.Update(sum, castagnoli, data)
}

func seal(key []byte, version byte, data []byte) []byte {
	return appendSealed(make([]byte, 0, valueHeader+len(data)), key, version, data)
}

// appendSealed appends the stored value to to.
func appendSealed(to, key []byte, version byte, data []byte) []byte {
	begin := len(to)
	to = append(to, version)
	to = binary.BigEndian.AppendUint32(to, checksum(key, to[begin:], data))
	return append(to, data...)
}

// unseal checks value and returns its version and data, which still lie in value's memory.
func unseal(path Path, key, value []byte) (version byte, data []byte, err error) {
	if len(value) < valueHeader || len(value) > maxValueBytes {
		return 0, nil, recordError(path, key, "wrong size")
	}
	version, data = value[0], value[valueHeader:]
	if binary.BigEndian.Uint32(value[1:]) != checksum(key, value[:1], data) {
		return 0, nil, recordError(path, key, "wrong checksum")
	}
	return version, data, nil
}
