package backup

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"tuco/kv"
)

const (
	maxEpoch    = 9_999_999_999
	maxPosition = maxNumber // 16 digits
)

// A Name is what a full or a log object is called in a target. It is a path, so that installations, and what came before and
// after a restore, lie apart; the order of names of one kind in one directory is that of positions.
//
//	INSTALLATION/EPOCH/full-POSITION-TIME.tuco
//	INSTALLATION/EPOCH/log-FROM-TO.tuco
type Name struct {
	Installation string
	Epoch        uint64
	Kind         Kind        // Full or Log
	From         kv.Position // 0 if full
	To           kv.Position
	Time         time.Time // only if full: UTC, in whole seconds
}

const nameTime = "20060102T150405Z"

var namePattern = regexp.MustCompile(`^([a-z0-9][a-z0-9-]{0,63})/(\d{10})/(?:full-(\d{16})-(\d{8}T\d{6}Z)|log-(\d{16})-(\d{16}))\.tuco$`)

// Name returns the name of an object that is full or a log.
func (m *Manifest) Name() Name {
	n := Name{Installation: m.Installation, Epoch: m.Epoch, Kind: m.Kind, From: m.From, To: m.To}
	if m.Kind == Full {
		n.Time = m.Time.Truncate(time.Second)
	}
	return n
}

func (n Name) String() string {
	dir := fmt.Sprintf("%s/%010d/", n.Installation, n.Epoch)
	if n.Kind == Full {
		return fmt.Sprintf("%sfull-%016d-%s.tuco", dir, n.To, n.Time.UTC().Format(nameTime))
	}
	return fmt.Sprintf("%slog-%016d-%016d.tuco", dir, n.From, n.To)
}

// ParseName is the inverse of [Name.String]. It reports whether s is such a name: everything else in a target is not ours.
func ParseName(s string) (n Name, ok bool) {
	m := namePattern.FindStringSubmatch(s)
	if m == nil {
		return Name{}, false
	}
	n = Name{Installation: m[1], Kind: Log, From: position(m[5]), To: position(m[6])}
	n.Epoch, _ = strconv.ParseUint(m[2], 10, 64) // ten digits
	if m[3] != "" {
		n.Kind, n.From, n.To = Full, 0, position(m[3])
		var err error
		if n.Time, err = time.Parse(nameTime, m[4]); err != nil {
			return Name{}, false
		}
	} else if n.From >= n.To {
		return Name{}, false
	}
	if n.To > maxPosition {
		return Name{}, false
	}
	return n, true
}

// position returns the number that up to 16 digits are.
func position(digits string) kv.Position {
	n, _ := strconv.ParseUint(digits, 10, 64)
	return kv.Position(n)
}
