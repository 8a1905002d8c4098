package httpapi

import (
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	dto "github.com/prometheus/client_model/go"

	"tuco/engine"
)

// metrics reads /metrics as Prometheus does.
func (w *world) metrics(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(w.get("", "/metrics").is(t, "metrics", 200).text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// byLabel are the values of a counter or gauge, by its only label.
func byLabel(f *dto.MetricFamily) map[string]float64 {
	values := map[string]float64{}
	for _, m := range f.GetMetric() {
		label := ""
		for _, l := range m.GetLabel() {
			label = l.GetValue()
		}
		if values[label] = m.GetGauge().GetValue(); f.GetType() == dto.MetricType_COUNTER {
			values[label] = m.GetCounter().GetValue()
		}
	}
	return values
}

// TestRefusalsAreCounted: each refusal is counted once, by the limit that was reached.
func TestRefusalsAreCounted(t *testing.T) {
	w := newWorld(t)
	one, two, none := int64(1), int64(2), int64(0)
	byDay := w.workspaceOn("A", engine.PlanChange{MessagesPerDay: &one, RequestsPerMinute: &none})
	byMinute := w.workspaceOn("B", engine.PlanChange{RequestsPerMinute: &two})
	for _, try := range []struct {
		ws       workspace
		statuses []int
	}{
		{byDay, []int{201, 429, 429, 429}},
		{byMinute, []int{201, 201, 429}},
	} {
		try.ws.line(engine.Production, person(1), 0)
		key := try.ws.key(engine.Production, engine.RoleMember)
		for i, want := range try.statuses {
			w.post(key, "/api/messages", obj{"message": "x", "recipientPhone": person(10 + i)}).is(t, "a send", want)
		}
	}
	got := byLabel(w.metrics(t)["tuco_quota_refusals_total"])
	for limit, want := range map[string]float64{"messages_per_day": 3, "requests_per_minute": 1, "new_contacts_per_day": 0, "email_lines": 0, "other": 0} {
		if n, ok := got[limit]; !ok || n != want {
			t.Errorf("%v refusals by %s, %v; want %v", n, limit, ok, want)
		}
	}
}

// TestStoreHistograms: what is shown adds up, in seconds.
func TestStoreHistograms(t *testing.T) {
	w := newWorld(t)
	ws := w.workspace("A")
	f := ws.fixture(engine.Production)
	all := w.metrics(t)
	commits := all["tuco_commits_total"].GetMetric()[0].GetCounter().GetValue()
	transactions := all["tuco_transactions_total"].GetMetric()[0].GetCounter().GetValue()
	sizes := all["tuco_commit_transactions"].GetMetric()[0].GetHistogram()
	if float64(sizes.GetSampleCount()) != commits || sizes.GetSampleSum() != transactions || commits == 0 {
		t.Errorf("%v commits of %v transactions, and a histogram of %v", commits, transactions, sizes)
	}
	syncs := all["tuco_redo_log_sync_seconds"].GetMetric()[0].GetHistogram()
	if float64(syncs.GetSampleCount()) != commits || syncs.GetSampleSum() <= 0 || syncs.GetSampleSum() > 60 {
		t.Errorf("the syncs of %v commits: %v", commits, syncs)
	}
	buckets := syncs.GetBucket()
	if first, last := buckets[0].GetUpperBound(), buckets[len(buckets)-2].GetUpperBound(); first != 0.00005 || last != 10 {
		t.Errorf("the bounds are from %v to %v seconds", first, last)
	}
	if lines := byLabel(all["tuco_read_only_workspaces"]); len(lines) != len(engine.ReadOnlyReasons) {
		t.Errorf("READ_ONLY by reason: %v", lines)
	}
	waiting := byLabel(all["tuco_messages_waiting"])
	if n := waiting["pending"] + waiting["scheduled"] + waiting["queued"]; n < 1 {
		t.Errorf("the message %s does not wait: %v", f.message, waiting)
	}
}
