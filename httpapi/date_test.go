package httpapi

import (
	"testing"
	"time"
)

func TestDatesAreWrittenByTheLayout(t *testing.T) {
	base := time.Date(2026, 2, 28, 23, 59, 59, 0, time.UTC)
	for _, at := range []time.Time{
		{}, base, base.Add(time.Millisecond), base.Add(999 * time.Millisecond), base.Add(999*time.Millisecond + 999_999), base.Add(90 * time.Millisecond), base.Add(999_999),
		base.In(time.FixedZone("x", -5*3600-1800)), time.Unix(0, -1), base.AddDate(-2020, 0, 0), base.AddDate(7973, 0, 0), base.AddDate(7974, 0, 0),
	} {
		got, err := date(at).MarshalText()
		if want := at.UTC().Format(dateLayout); err != nil || string(got) != want {
			t.Errorf("%v: %q %v, want %q", at, got, err, want)
		}
		if date(at).IsZero() != at.IsZero() {
			t.Errorf("%v: IsZero = %v", at, date(at).IsZero())
		}
	}
}
