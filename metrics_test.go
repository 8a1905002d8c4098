package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	dto "github.com/prometheus/client_model/go"

	"tuco/httpapi"
)

// An exposition is what /metrics of a real server shows.
type exposition struct {
	families map[string]*dto.MetricFamily
	names    []string                       // of our own families, in order
	series   map[string][]map[string]string // the labels of each series, by its name
}

// scrape starts a server that has every metric there is, and reads /metrics as Prometheus does.
func scrape(t *testing.T) exposition {
	t.Helper()
	events, err := serveFlags{LogLevel: "error", LogFormat: "json"}.events(&output{to: io.Discard, log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	dir, sink := filepath.Join(t.TempDir(), "data"), t.TempDir()
	srv, err := start(serveFlags{
		Data: dir, Listen: addresses{"127.0.0.1:0"}, Backup: backupFlags{To: t.TempDir(), Plain: true, Ship: time.Second, MaxAge: time.Hour}, Reserve: 1 << 20, Overlay: 16 << 20, AuditForward: []string{"file://" + sink},
		Concurrency: 100, DrainTimeout: time.Second,
	}, events, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := srv.stop(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := srv.createBackup(backupInput{}); err != nil {
		t.Fatal(err)
	}
	if _, err := srv.verifyBackup(httpapi.Nothing{}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); srv.backups.Status().ShippedAt.IsZero(); {
		if time.Now().After(end) {
			t.Fatal("nothing is shipped within 20 s")
		}
		runtime.Gosched()
	}
	url := "http://" + srv.Addr()
	resp, err := http.Post(url+"/api/messages", "application/json", strings.NewReader("{}")) // it is refused, and counted
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	resp, err = http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return newExposition(families)
}

func newExposition(families map[string]*dto.MetricFamily) exposition {
	x := exposition{families: families, series: map[string][]map[string]string{}}
	for name, f := range families {
		if strings.HasPrefix(name, "tuco_") {
			x.names = append(x.names, name)
		}
		suffixes := []string{""}
		switch f.GetType() {
		case dto.MetricType_HISTOGRAM:
			suffixes = []string{"_bucket", "_sum", "_count"}
		case dto.MetricType_SUMMARY:
			suffixes = []string{"", "_sum", "_count"}
		}
		for _, m := range f.GetMetric() {
			set := map[string]string{}
			for _, l := range m.GetLabel() {
				set[l.GetName()] = l.GetValue()
			}
			for _, suffix := range suffixes {
				x.series[name+suffix] = append(x.series[name+suffix], set)
			}
		}
	}
	slices.Sort(x.names)
	return x
}

// labels are the names of a family's labels, in order.
func (x exposition) labels(name string) (names []string) {
	for _, l := range x.families[name].GetMetric()[0].GetLabel() {
		names = append(names, l.GetName())
	}
	return names
}

// table is the reference of our own metrics, as Markdown.
func (x exposition) table() string {
	var b strings.Builder
	b.WriteString("| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n")
	for _, name := range x.names {
		f := x.families[name]
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), strings.Join(x.labels(name), ", "), f.GetHelp())
	}
	return b.String()
}

const (
	tableBegins = "<!-- Made from /metrics by: go test . -run TestMetricsReference -update -->\n"
	tableEnds   = "<!-- the end of it -->\n"
)

// TestMetricsReference keeps the table in the operating guide true to what a server shows; -update writes it.
func TestMetricsReference(t *testing.T) {
	const name = "docs/operating.md"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), tableBegins)
	got, after, ended := strings.Cut(rest, tableEnds)
	if !found || !ended {
		t.Fatalf("%s has no place for the table of metrics", name)
	}
	want := scrape(t).table()
	if *update {
		got = want
		if err := os.WriteFile(name, []byte(before+tableBegins+want+tableEnds+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got != want {
		t.Errorf("%s does not have the metrics that a server shows: run 'go test . -run TestMetricsReference -update'", name)
	}
}

// TestMetricNames: names and units are Prometheus's, and no label can have many values.
func TestMetricNames(t *testing.T) {
	x := scrape(t)
	for _, name := range x.names {
		f := x.families[name]
		if total := strings.HasSuffix(name, "_total"); total != (f.GetType() == dto.MetricType_COUNTER) {
			t.Errorf("%s is a %s", name, f.GetType())
		}
		for _, unit := range []string{"_ms", "_milliseconds", "_minutes", "_kb", "_mb", "_percent"} {
			if strings.Contains(name+"_", unit+"_") {
				t.Errorf("%s: the units are seconds and bytes", name)
			}
		}
		if f.GetHelp() == "" || strings.Contains(f.GetHelp(), "|") {
			t.Errorf("%s: its help %q is no sentence for a table", name, f.GetHelp())
		}
		for _, label := range x.labels(name) {
			if !slices.Contains([]string{"method", "route", "status", "limit", "reason", "channel", "state", "cache", "outcome", "sink", "version", "goversion"}, label) {
				t.Errorf("%s has the label %s: may it have many values?", name, label)
			}
		}
		if n := len(f.GetMetric()); n > 20 {
			t.Errorf("%s has %d series on a server that did nothing", name, n)
		}
	}
}
