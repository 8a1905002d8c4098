package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const (
	alertsFile    = "packaging/prometheus/alerts.yaml"
	dashboardFile = "packaging/grafana/tuco.json"
)

// given are series that Prometheus makes of every scrape.
var given = []string{"up"}

// openLabels are those whose values come from requests: that a server does not have one now says nothing.
var openLabels = map[string]bool{"status": true, "sink": true}

// checkQuery parses an expression and finds each series that it selects among those of a real server.
func (m exposition) checkQuery(expr string) error {
	tree, err := parser.ParseExpr(expr)
	if err != nil {
		return err
	}
	for _, matchers := range parser.ExtractSelectors(tree) {
		if err := m.checkSelector(matchers); err != nil {
			return err
		}
	}
	return nil
}

func (m exposition) checkSelector(matchers []*labels.Matcher) error {
	name := ""
	var rest []*labels.Matcher
	for _, l := range matchers {
		switch {
		case l.Name == model.MetricNameLabel:
			name = l.Value
		case l.Name == "job":
			if l.Value != "tuco" {
				return fmt.Errorf("the job is called tuco, not %q", l.Value)
			}
		case l.Name != "instance":
			rest = append(rest, l)
		}
	}
	if slices.Contains(given, name) {
		return nil
	}
	series := m.series[name]
	if len(series) == 0 {
		return fmt.Errorf("no server has the metric %q", name)
	}
	if !slices.ContainsFunc(series, func(have map[string]string) bool {
		return !slices.ContainsFunc(rest, func(l *labels.Matcher) bool {
			value, ok := have[l.Name]
			return !ok || !openLabels[l.Name] && !l.Matches(value)
		})
	}) {
		return fmt.Errorf("of the metric %q no server has a series with %v", name, rest)
	}
	return nil
}

// TestAlerts: Prometheus takes the rules, each says what to do, and each can fire on what a server shows.
func TestAlerts(t *testing.T) {
	data, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	file, errs := rulefmt.Parse(data, false, model.UTF8Validation)
	for _, err := range errs {
		t.Error(err)
	}
	if file == nil {
		t.FailNow()
	}
	headings, shown := headingsOf(t, "docs/operating.md"), scrape(t)
	names := map[string]bool{}
	for _, group := range file.Groups {
		for _, r := range group.Rules {
			if !strings.HasPrefix(r.Alert, "Tuco") || names[r.Alert] {
				t.Errorf("%q: a rule is an alert with a name of its own that begins with Tuco", r.Alert)
			}
			names[r.Alert] = true
			if err := shown.checkQuery(r.Expr); err != nil {
				t.Errorf("%s: %v", r.Alert, err)
			}
			if s := r.Labels["severity"]; s != "critical" && s != "warning" {
				t.Errorf("%s: the severity is %q", r.Alert, s)
			}
			for _, word := range []string{"summary", "description", "runbook"} {
				if r.Annotations[word] == "" {
					t.Errorf("%s has no %s", r.Alert, word)
				}
			}
			if doc, slug, _ := strings.Cut(r.Annotations["runbook"], "#"); doc != "docs/operating.md" || !headings[slug] {
				t.Errorf("%s: the runbook %q is no heading of the operating guide", r.Alert, r.Annotations["runbook"])
			}
		}
	}
	if len(names) < 20 {
		t.Errorf("there are only %d alerts", len(names))
	}
}

// headingsOf returns the anchors of a page's headings.
func headingsOf(t *testing.T, name string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, h := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(string(text), -1) {
		words := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(h[1]), "")
		anchors[strings.ReplaceAll(words, " ", "-")] = true
	}
	return anchors
}

// A dashboard is what the test looks at of Grafana's model.
type dashboard struct {
	UID    string  `json:"uid"`
	Title  string  `json:"title"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID         int                      `json:"id"`
	Type       string                   `json:"type"`
	Title      string                   `json:"title"`
	Datasource struct{ UID string }     `json:"datasource"`
	GridPos    struct{ X, Y, W, H int } `json:"gridPos"`
	Targets    []struct {
		RefID        string `json:"refId"`
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
	} `json:"targets"`
}

// TestDashboard: every panel has a place and an id of its own, its queries find something on a real server, and all that a
// server shows is on it.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" {
		t.Error("the dashboard has no uid, or no title")
	}
	shown := scrape(t)
	ids, cells, all := map[int]bool{}, map[[2]int]string{}, ""
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("%s: its id %d is not its own", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s lies over %q, or beyond the edge", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %d %q: it needs a title, a query and the chosen data source", p.ID, p.Title)
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if refs[q.RefID] || q.RefID == "" {
				t.Errorf("%s: %q names two queries", p.Title, q.RefID)
			}
			refs[q.RefID] = true
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(q.Expr)
			if err := shown.checkQuery(expr); err != nil {
				t.Errorf("%s: %s: %v", p.Title, q.Expr, err)
			}
			all += expr + "\n"
		}
	}
	for _, name := range shown.names {
		if !regexp.MustCompile(`\b` + name + `(_bucket|_sum|_count)?\b`).MatchString(all) {
			t.Errorf("%s is on no panel", name)
		}
	}
}
