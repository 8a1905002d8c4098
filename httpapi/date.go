package httpapi

import "time"

// date is a time as Tuco writes it: UTC, with milliseconds and Z.
type date time.Time

const dateLayout = "2006-01-02T15:04:05.000Z"

func (d date) MarshalText() ([]byte, error) {
	return time.Time(d).UTC().AppendFormat(nil, dateLayout), nil
}

func (d *date) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.RFC3339Nano, string(text))
	*d = date(t)
	return err
}

// newDate returns nil for no time.
func newDate(t time.Time) *date {
	if t.IsZero() {
		return nil
	}
	d := date(t)
	return &d
}
