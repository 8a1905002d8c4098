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

// backupGauges show how the backups stand.
func (s *server) backupGauges() {
	seconds := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return float64(t.UnixMilli()) / 1000
	}
	for _, g := range []struct {
		name, help string
		value      func() float64
	}{
		{"tuco_backup_last_success_timestamp_seconds", "When the newest full backup was taken; 0 if there is none.", func() float64 { return seconds(s.backups.Status().FullAt) }},
		{"tuco_backup_size_bytes", "Size of the newest full backup, as stored.", func() float64 { return float64(s.backups.Status().FullBytes) }},
		{"tuco_backup_duration_seconds", "How long the last full backup of this process took.", func() float64 { return s.backups.Status().FullTook.Seconds() }},
		{"tuco_backup_shipped_timestamp_seconds", "Everything that was committed by then is in the backup target.", func() float64 { return seconds(s.backups.Status().ShippedAt) }},
		{"tuco_backup_behind_bytes", "Bytes of changes that are not in the backup target yet.", func() float64 { return float64(s.backups.Status().Behind) }},
		{"tuco_backup_verified_timestamp_seconds", "When a backup was last restored and read with success; 0 if never.", func() float64 { return seconds(s.backups.Status().VerifiedAt) }},
		{"tuco_backup_verify_failed", "1 if the last verification of a backup failed.", func() float64 { return asGauge(s.backups.Status().VerifyError != "") }},
		{"tuco_backup_failed", "1 while making or shipping backups fails.", func() float64 { return asGauge(s.backups.Status().Error != "") }},
	} {
		s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, g.value))
	}
	s.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "tuco_backup_failures_total", Help: "Failures of full backups, shipping and verifications since the start.",
	}, func() float64 { return float64(s.backups.Status().Failures) }))
}

func asGauge(set bool) float64 {
	if set {
		return 1
	}
	return 0
}
