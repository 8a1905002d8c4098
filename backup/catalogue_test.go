package backup

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tuco/kv"
)

func TestNames(t *testing.T) {
	full := fullManifest()
	log := logManifest(7, 9)
	for _, tt := range []struct {
		m    Manifest
		want string
	}{
		{full, "0123456789abcdef/0000000001/full-0000000000004096-20260412T120000Z.tuco"},
		{log, "0123456789abcdef/0000000001/log-0000000000000007-0000000000000009.tuco"},
	} {
		got := tt.m.Name().String()
		if n, ok := ParseName(got); got != tt.want || !ok || n != tt.m.Name() {
			t.Errorf("name %s, want %s; parsed %v %v", got, tt.want, n, ok)
		}
	}
	for _, bad := range []string{
		"", "x", "i/0000000001/full-1-20260412T120000Z.tuco", "i/1/log-0000000000000007-0000000000000009.tuco", "i/0000000001/log-0000000000000009-0000000000000009.tuco",
		"i/0000000001/full-0000000000004096-20261312T120000Z.tuco", "i/0000000001/full-0000000000004096-20260412T120000Z.tuco.tmp",
		"I/0000000001/full-0000000000004096-20260412T120000Z.tuco", "a/i/0000000001/full-0000000000004096-20260412T120000Z.tuco",
		"i/0000000001/full-9999999999999999-20260412T120000Z.tuco", "i/0000000001/log-0000000000000007-9999999999999999.tuco", "i/0000000001/log-0000000000000007-0000000000000009.tuco\n",
	} {
		if n, ok := ParseName(bad); ok {
			t.Errorf("%q is taken for %v", bad, n)
		}
	}
}

func FuzzName(f *testing.F) {
	f.Add("0123456789abcdef/0000000001/full-0000000000004096-20260412T120000Z.tuco")
	f.Add("-/0000000000/log-0000000000000000-0000000000000001.tuco")
	f.Add("0-a/0000000001/log-0000000000000007-0000000000000009.tuco")
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := ParseName(s); ok && (n.String() != s || checkName(s) != nil) {
			t.Errorf("%q is parsed as %q", s, n)
		}
	})
}

// fullAt and logAt are names, hour by hour: position 100 is one o'clock.
func fullAt(position kv.Position) string {
	return Name{Installation: "i", Epoch: 1, Kind: Full, To: position, Time: timeAt(position)}.String()
}

func logAt(from, to kv.Position) string {
	return Name{Installation: "i", Epoch: 1, Kind: Log, From: from, To: to}.String()
}

func timeAt(position kv.Position) time.Time {
	return time.Date(2026, 4, 12, 0, 0, 0, 0, time.UTC).Add(time.Duration(position) * 36 * time.Second)
}

// manifestAt is the manifest of such an object: one commit at each position.
func manifestAt(n Name) (Manifest, error) {
	if n.Kind == Full {
		return Manifest{Time: n.Time, LastTime: timeAt(n.To)}, nil
	}
	return Manifest{FirstTime: timeAt(n.From + 1), LastTime: timeAt(n.To)}, nil
}

func seriesOf(t testing.TB, names ...string) *Series {
	t.Helper()
	var list []Stored
	for _, n := range names {
		list = append(list, Stored{n, 1})
	}
	c := NewCatalogue(list)
	if len(c.Series) != 1 {
		t.Fatalf("%d series", len(c.Series))
	}
	return &c.Series[0]
}

func show(p Plan) string {
	s := fmt.Sprintf("full %d", p.Full.To)
	for _, l := range p.Logs {
		s += fmt.Sprintf(", %d-%d", l.From, l.To)
	}
	return s
}

// TestCatalogue: which objects lead where, and what is missing.
func TestCatalogue(t *testing.T) {
	s := seriesOf(t, "foreign.txt", "i/0000000001/notes", fullAt(100), logAt(100, 150), logAt(150, 250), fullAt(200), logAt(250, 300), logAt(400, 500), fullAt(450), logAt(500, 600), logAt(500, 550))
	newest, err := s.Newest()
	if got, want := show(newest), "full 450, 400-500, 500-600"; got != want || err != nil {
		t.Errorf("newest: %s, %v, want %s", got, err, want)
	}
	if got := s.Beyond(newest); len(got) > 0 {
		t.Errorf("beyond the newest: %v", got)
	}
	gap := seriesOf(t, fullAt(100), logAt(100, 150), logAt(200, 250), logAt(250, 300))
	newest, err = gap.Newest()
	if got := gap.Beyond(newest); err != nil || len(got) != 2 || got[0].From != 200 {
		t.Errorf("behind a gap: %v, %v", got, err)
	}
	for _, tt := range []struct {
		at   kv.Position
		want string
	}{
		{99, ""}, {100, "full 100"}, {101, "full 100, 100-150"}, {150, "full 100, 100-150"}, {151, "full 100, 100-150, 150-250"}, {200, "full 200"},
		{201, "full 200, 150-250"}, {300, "full 200, 150-250, 250-300"}, {301, ""}, {420, ""}, {449, ""}, {450, "full 450"}, {551, "full 450, 400-500, 500-600"}, {601, ""},
	} {
		plan, err := s.AtPosition(tt.at)
		if (err != nil) != (tt.want == "") || err == nil && show(plan) != tt.want || err != nil && !errors.Is(err, ErrNotCovered) {
			t.Errorf("position %d: %s, %v, want %s", tt.at, show(plan), err, tt.want)
		}
	}
	for _, tt := range []struct {
		at      kv.Position
		want    string
		missing bool
	}{
		{99, "", true}, {100, "full 100", false}, {101, "full 100, 100-150", false}, {150, "full 100, 100-150", false}, {299, "full 200, 150-250, 250-300", false},
		{300, "full 200, 150-250, 250-300", true}, {420, "full 200, 150-250, 250-300", true}, {450, "full 450, 400-500", false}, {600, "full 450, 400-500, 500-600", false},
		{9999, "full 450, 400-500, 500-600", false},
	} {
		plan, err := s.AtTime(timeAt(tt.at), manifestAt)
		if errors.Is(err, ErrNotCovered) != tt.missing || tt.want != "" && show(plan) != tt.want {
			t.Errorf("time of position %d: %s, %v, want %s, missing %v", tt.at, show(plan), err, tt.want, tt.missing)
		}
	}
	broken := errors.New("the target is away")
	if _, err := s.AtTime(timeAt(420), func(Name) (Manifest, error) { return Manifest{}, broken }); !errors.Is(err, broken) {
		t.Errorf("a manifest that can't be read: %v", err)
	}
}

// TestCatalogueProperty: a plan holds every position up to the one asked for, and there is one exactly if there can be.
func TestCatalogueProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"x"}
		var fulls []kv.Position
		type span struct{ from, to kv.Position }
		var logs []span
		for _, p := range rapid.SliceOfN(rapid.Uint64Range(0, 20), 1, 4).Draw(t, "fulls") {
			fulls = append(fulls, kv.Position(p))
			names = append(names, fullAt(kv.Position(p)))
		}
		for range rapid.IntRange(0, 8).Draw(t, "logs") {
			from := kv.Position(rapid.Uint64Range(0, 20).Draw(t, "from"))
			logs = append(logs, span{from, from + kv.Position(rapid.Uint64Range(1, 6).Draw(t, "length"))})
			names = append(names, logAt(logs[len(logs)-1].from, logs[len(logs)-1].to))
		}
		var list []Stored
		for _, n := range rapid.Permutation(names).Draw(t, "listing") {
			list = append(list, Stored{Name: n})
		}
		s := NewCatalogue(list).Series[0]
		at := kv.Position(rapid.Uint64Range(0, 26).Draw(t, "at"))
		possible := false
		for _, f := range fulls {
			have := f
			for again := true; again && f <= at; { // step by step, as slow as can be
				again = false
				for _, l := range logs {
					if l.from <= have && l.to > have {
						have, again = l.to, true
					}
				}
			}
			possible = possible || f <= at && at <= have
		}
		plan, err := s.AtPosition(at)
		if (err == nil) != possible {
			t.Fatalf("position %d: %s, %v; possible %v", at, show(plan), err, possible)
		}
		if err != nil {
			return
		}
		end := plan.Full.To
		for _, l := range plan.Logs {
			if l.From > end || l.To <= end || end >= at {
				t.Fatalf("position %d: %s", at, show(plan))
			}
			end = l.To
		}
		if end < at || plan.To() != end {
			t.Fatalf("position %d: %s ends at %d", at, show(plan), plan.To())
		}
	})
}

// TestCatalogueSeries: installations and epochs lie apart.
func TestCatalogueSeries(t *testing.T) {
	var list []Stored
	for _, name := range []string{fullAt(1), strings.Replace(fullAt(2), "000001", "000002", 1), "b" + logAt(1, 2)} {
		list = append(list, Stored{name, 7})
	}
	slices.Reverse(list)
	var got []string
	for _, s := range NewCatalogue(list).Series {
		got = append(got, fmt.Sprint(s.Installation, " ", s.Epoch, " ", len(s.Fulls), " ", len(s.Logs)))
	}
	if want := []string{"bi 1 0 1", "i 1 1 0", "i 2 1 0"}; !slices.Equal(got, want) {
		t.Errorf("series %q, want %q", got, want)
	}
	if _, err := NewCatalogue(list).Series[0].Newest(); !errors.Is(err, ErrNotCovered) {
		t.Errorf("logs without a full one: %v", err)
	}
}

// TestParts: each log is looked at with the full object before it, once; those that none leads to are told apart.
func TestParts(t *testing.T) {
	s := seriesOf(t, logAt(10, 90), fullAt(100), logAt(90, 150), logAt(100, 120), logAt(150, 250), fullAt(200), logAt(250, 300), fullAt(300), fullAt(300+1), logAt(400, 500), fullAt(450), logAt(500, 600), logAt(700, 800))
	parts, rest := s.Parts()
	var got []string
	for _, p := range parts {
		got = append(got, show(p))
	}
	want := []string{"full 100, 90-150, 150-250", "full 200, 150-250, 250-300", "full 300", "full 301", "full 450, 400-500, 500-600"}
	if !slices.Equal(got, want) {
		t.Errorf("parts %q, want %q", got, want)
	}
	if got, want := show(Plan{Logs: rest}), "full 0, 10-90, 100-120, 700-800"; got != want {
		t.Errorf("the rest: %s, want %s", got, want)
	}
}

// TestExports: objects of workspaces are told by their names, and only these.
func TestExports(t *testing.T) {
	m := Manifest{Kind: Workspace, Installation: "i-1", Workspace: "org_0a-20260412T120000Z-b", ID: "0f", Time: timeAt(100)}
	c := NewCatalogue([]Stored{{m.ObjectName(), 7}, {"i/workspaces/org_0.tuco", 1}, {"i/workspaces/org_0-20261312T120000Z-0f.tuco", 1}, {"workspaces/org_0-20260412T120000Z-0f.tuco", 1}, {fullAt(1), 1}})
	if want := (Export{m.ObjectName(), "i-1", m.Workspace, timeAt(100), 7}); len(c.Exports) != 1 || c.Exports[0] != want || len(c.Series) != 1 {
		t.Errorf("%+v, want %+v", c, want)
	}
}
