package schedule

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // an appliance may have no zone files; where it has some, they win
)

// ErrZone is what [LoadZone] wraps for a name that is not a time zone.
var ErrZone = errors.New("not an IANA time zone")

// maxZoneNameBytes bounds what is looked up. The longest IANA name has 32 bytes.
const maxZoneNameBytes = 64

// zones holds the zones loaded so far. Only names that exist get in, in one spelling each, so the zone database bounds it.
var zones sync.Map // string → *time.Location

// LoadZone returns the time zone with an IANA name such as Europe/Berlin or UTC. It refuses names that mean something else
// on every machine: the empty one, Local, localtime and the like. It is safe for concurrent use and quick for a zone seen before.
func LoadZone(name string) (*time.Location, error) {
	if zone, ok := zones.Load(name); ok {
		return zone.(*time.Location), nil
	}
	if !isZoneName(name) {
		return nil, ErrZone
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %q", ErrZone, name)
	}
	zones.Store(strings.Clone(name), zone)
	return zone, nil
}

// isZoneName reports whether name is spelled like an IANA name: no dots, so no way out of the zone directory and no second
// spelling of a file in it, and none of the files there that are no zone of the database.
func isZoneName(name string) bool {
	switch name {
	case "Local", "localtime", "posixrules", "Factory":
		return false
	}
	if len(name) > maxZoneNameBytes || strings.HasPrefix(name, "posix/") || strings.HasPrefix(name, "right/") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.ContainsFunc(part, notInZoneName) {
			return false
		}
	}
	return true
}

func notInZoneName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-' || r == '+')
}
