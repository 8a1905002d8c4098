package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/prometheus/client_golang/prometheus"

	"tuco/engine"
)

func keysDir(data, keys string) string {
	if keys != "" {
		return keys
	}
	return filepath.Join(data, "keys")
}

func mustHaveDatabase(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, engine.DatabaseName)); os.IsNotExist(err) {
		return fmt.Errorf("there is no database in %q: name a data directory with --data", dir)
	}
	return nil
}

// exportNote is the file beside the key files that says which of them were exported; it begins with a dot, so that it is
// none of them.
const exportNote = ".exported.json"

type exported struct {
	Time  time.Time `json:"time"`
	Files []string  `json:"files"`
}

func keyFiles(dir string) (names []string) {
	entries, _ := os.ReadDir(dir) // what can't be read has none
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".key") {
			names = append(names, e.Name())
		}
	}
	return names
}

func noteExport(dir string) error {
	text, err := json.Marshal(exported{time.Now().UTC(), keyFiles(dir)})
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dir, exportNote), text, 0o600)
}

// unexported are the key files that are in no export.
func unexported(dir string) (names []string) {
	var note exported
	if text, err := os.ReadFile(filepath.Join(dir, exportNote)); err == nil {
		_ = json.Unmarshal(text, &note) // one that can't be read says nothing
	}
	return slices.DeleteFunc(keyFiles(dir), func(name string) bool { return slices.Contains(note.Files, name) })
}

// backupMetrics show how the backups stand. What has not been yet has no value.
type backupMetrics struct{ s *server }

var (
	backupSuccess  = prometheus.NewDesc("tuco_backup_last_success_timestamp_seconds", "When the newest full backup was taken; none if there is none.", nil, nil)
	backupBytes    = prometheus.NewDesc("tuco_backup_last_bytes", "Size of the newest full backup, as stored.", nil, nil)
	backupVerified = prometheus.NewDesc("tuco_backup_last_verify_timestamp_seconds", "When a backup was last verified with success; none if never.", nil, nil)
	backupShipped  = prometheus.NewDesc("tuco_backup_shipped_timestamp_seconds", "Everything that was committed by then is in the backup target.", nil, nil)
	backupBehind   = prometheus.NewDesc("tuco_backup_behind_bytes", "Bytes of changes that are not in the backup target yet.", nil, nil)
	backupFailures = prometheus.NewDesc("tuco_backup_failures_total", "Failures of full backups and of shipping changes.", nil, nil)
	backupFailed   = prometheus.NewDesc("tuco_backup_failed", "Whether making or shipping backups fails: 1 or 0.", nil, nil)
	verifyFailed   = prometheus.NewDesc("tuco_backup_verify_failed", "Whether the last verification of a backup failed: 1 or 0.", nil, nil)
	verifyFailures = prometheus.NewDesc("tuco_backup_verify_failures_total", "Verifications of backups that failed.", nil, nil)
)

// Describe names the metrics.
func (m backupMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{backupSuccess, backupBytes, backupVerified, backupShipped, backupBehind, backupFailed, verifyFailed, backupFailures, verifyFailures} {
		to <- d
	}
}

// Collect reads them.
func (m backupMetrics) Collect(to chan<- prometheus.Metric) {
	s := m.s.backups.Status()
	for desc, t := range map[*prometheus.Desc]time.Time{backupSuccess: s.FullAt, backupVerified: s.VerifiedAt, backupShipped: s.ShippedAt} {
		if !t.IsZero() {
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(t.UnixMilli())/1000)
		}
	}
	if !s.FullAt.IsZero() {
		to <- prometheus.MustNewConstMetric(backupBytes, prometheus.GaugeValue, float64(s.FullBytes))
	}
	to <- prometheus.MustNewConstMetric(backupBehind, prometheus.GaugeValue, float64(s.Behind))
	to <- prometheus.MustNewConstMetric(backupFailed, prometheus.GaugeValue, asGauge(s.Error != ""))
	to <- prometheus.MustNewConstMetric(verifyFailed, prometheus.GaugeValue, asGauge(s.VerifyError != ""))
	to <- prometheus.MustNewConstMetric(backupFailures, prometheus.CounterValue, float64(s.Failures))
	to <- prometheus.MustNewConstMetric(verifyFailures, prometheus.CounterValue, float64(s.VerifyFailures))
}

func asGauge(set bool) float64 {
	if set {
		return 1
	}
	return 0
}
