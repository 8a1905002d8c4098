package httpapi

import "time"

// date is a time as Tuco writes it: UTC, with milliseconds and Z.
type date time.Time

const dateLayout = "2006-01-02T15:04:05.000Z"

// AppendText writes what dateLayout says, by way of a layout that package time is quick about.
func (d date) AppendText(text []byte) ([]byte, error) {
	t := time.Time(d).UTC()
	text = t.AppendFormat(text, time.RFC3339)
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(text[:len(text)-len("Z")], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z'), nil
}

func (d date) MarshalText() ([]byte, error) { return d.AppendText(nil) }

func (d date) IsZero() bool { return time.Time(d).IsZero() }

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
