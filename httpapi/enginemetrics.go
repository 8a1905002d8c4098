package httpapi

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tuco/engine"
	"tuco/kv"
)

// engineMetrics are read from the engine, each once for every time that they are asked for.
type engineMetrics struct {
	eng *engine.Engine
	log zerolog.Logger
}

// engineDescs is every metric of engineMetrics.
var engineDescs []*prometheus.Desc

func describe(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc(name, help, labels, nil)
	engineDescs = append(engineDescs, d)
	return d
}

// The store.
var (
	commits           = describe("tuco_commits_total", "Commits made durable in the redo log.")
	transactions      = describe("tuco_transactions_total", "Transactions that changed something, made durable in commits.")
	queued            = describe("tuco_transactions_queued", "Transactions that wait for the writer.")
	commitSizes       = describe("tuco_commit_transactions", "Transactions in a commit.")
	logSyncs          = describe("tuco_redo_log_sync_seconds", "Time that a sync of the redo log to the disk took; each commit has one.")
	logBytes          = describe("tuco_redo_log_bytes", "Size of the redo log.")
	logWritten        = describe("tuco_redo_log_written_bytes_total", "Bytes written to the redo log since the database was made.")
	applies           = describe("tuco_applies_total", "Moves of committed changes from memory into the database.")
	applyParts        = describe("tuco_apply_part_seconds", "Time that a part of a move into the database took; writes of requests go on meanwhile.")
	overlayBytes      = describe("tuco_overlay_bytes", "Memory of changes that are in the redo log but not in the database yet.")
	overlayMost       = describe("tuco_overlay_max_bytes", "Memory of such changes at which writes wait: --overlay.")
	databaseBytes     = describe("tuco_database_bytes", "Size of the database.")
	databaseMost      = describe("tuco_database_max_bytes", "Largest size of the database: --max-size; 0 is no limit.")
	databaseFree      = describe("tuco_database_free_pages", "Free pages of 4096 bytes in the database.")
	oldestRead        = describe("tuco_oldest_read_seconds", "For how long at least the longest read transaction has been running; while it does, the database grows.")
	diskFree          = describe("tuco_disk_free_bytes", "Free space on the disk of the database.")
	diskReserve       = describe("tuco_disk_reserve_bytes", "Free space at which workspaces become READ_ONLY: --reserve.")
	storageLow        = describe("tuco_storage_low", "Whether every workspace is READ_ONLY because there is no space: 1 or 0.")
	recovered         = describe("tuco_recovered_transactions", "Transactions that the start found in the redo log; 0 after a clean stop.")
	workspaces        = describe("tuco_workspaces", "Workspaces.")
	readOnly          = describe("tuco_read_only_workspaces", "Workspaces that take no writes, by reason.", "reason")
	lines             = describe("tuco_lines", "Lines by channel and state; down is active, but its transport can't be reached.", "channel", "state")
	messagesWaiting   = describe("tuco_messages_waiting", "Messages without an outcome: scheduled for a later date, or put off to it by a line's limit; queued for a window, the plan or a new attempt; pending for their line; sending; unknown, which the operator settles.", "status")
	messagesDue       = describe("tuco_messages_due", "Messages whose time has come and that are not with a line yet, in workspaces that take writes.")
	messagesOldest    = describe("tuco_messages_due_oldest_seconds", "For how long the oldest message that is due and not with a line has been so.")
	keyChecks         = describe("tuco_key_checks_total", "Checks of API keys by whether memory had the key.", "cache")
	auditEntries      = describe("tuco_audit_entries_total", "Entries of the audit log.")
	auditAnchored     = describe("tuco_audit_anchored_timestamp_seconds", "When every anchor of the audit log was last seen to be up to date, in seconds since 1970.")
	auditMissing      = describe("tuco_audit_anchors_missing", "Anchors of the audit log that were missing at the start although the log had entries.")
	auditContradicted = describe("tuco_audit_contradicted_checkpoints", "Checkpoints that the audit log's own key signed and that the log contradicts, as far as somebody presented them.")
	auditDistrusted   = describe("tuco_audit_distrusted", "Whether the audit log can't be relied on, and staff access is refused: 1 or 0.")
	clockHeld         = describe("tuco_clock_held", "Whether the clock jumped ahead and no new day is opened: 1 or 0.")
	readinessWarning  = describe("tuco_warnings", "Warnings of /readyz.")
)

// Describe tells which metrics there are.
func (m engineMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range engineDescs {
		to <- d
	}
}

// Collect reads them. What can't be read is left out.
func (m engineMetrics) Collect(to chan<- prometheus.Metric) {
	s := sink{to}
	s.store(m.eng.Stats(), m.eng.Room())
	s.gauge(storageLow, oneIf(m.eng.StorageLow()))
	s.gauge(recovered, float64(m.eng.Recovery().Transactions))
	s.gauge(clockHeld, oneIf(m.eng.ClockHeld()))
	s.gauge(readinessWarning, float64(len(m.eng.Warnings())))
	hits, misses := m.eng.KeyChecks()
	s.counter(keyChecks, float64(hits), "hit")
	s.counter(keyChecks, float64(misses), "miss")
	all := int64(0)
	byReason := m.eng.WorkspaceCounts()
	for _, n := range byReason {
		all += n
	}
	s.gauge(workspaces, float64(all))
	for _, reason := range engine.ReadOnlyReasons {
		s.gauge(readOnly, float64(byReason[reason]), string(reason))
	}
	for channel, byHealth := range m.eng.LineCounts() {
		for _, health := range engine.LineHealths {
			s.gauge(lines, float64(byHealth[health]), string(channel), string(health))
		}
	}
	s.gauge(auditAnchored, seconds1970(m.eng.Anchored()))
	s.gauge(auditMissing, float64(m.eng.AnchorsMissing()))
	s.gauge(auditContradicted, float64(m.eng.Contradictions()))
	s.gauge(auditDistrusted, oneIf(m.eng.AuditTrouble() != nil))
	if err := errors.Join(s.audit(m.eng), s.waiting(m.eng)); err != nil {
		m.log.Warn().Err(err).Msg("metrics not read")
	}
}

// A sink takes metrics.
type sink struct{ to chan<- prometheus.Metric }

func (s sink) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (s sink) counter(d *prometheus.Desc, value float64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
}

// histogram sends h, whose values are so many times the metric's unit.
func (s sink) histogram(d *prometheus.Desc, h kv.Histogram, unit float64) {
	buckets, n := make(map[float64]uint64, len(h.Bounds)), uint64(0)
	for i, bound := range h.Bounds {
		n += uint64(h.Counts[i])
		buckets[float64(bound)/unit] = n
	}
	n += uint64(h.Counts[len(h.Bounds)])
	s.to <- prometheus.MustNewConstHistogram(d, n, float64(h.Sum)/unit, buckets)
}

func (s sink) store(db kv.Stats, room kv.Room) {
	s.counter(commits, float64(db.Commits))
	s.counter(transactions, float64(db.Transactions))
	s.gauge(queued, float64(db.Queued))
	s.histogram(commitSizes, db.CommitSizes, 1)
	s.histogram(logSyncs, db.Syncs, float64(time.Second))
	s.gauge(logBytes, float64(db.LogBytes))
	s.counter(logWritten, float64(db.Position))
	s.counter(applies, float64(db.Applies))
	s.histogram(applyParts, db.Parts, float64(time.Second))
	s.gauge(overlayBytes, float64(db.OverlayBytes))
	s.gauge(overlayMost, float64(db.Overlay))
	s.gauge(databaseBytes, float64(db.FileBytes))
	s.gauge(databaseMost, float64(db.MaxSize))
	s.gauge(databaseFree, float64(db.FreePages))
	s.gauge(oldestRead, db.OldestRead.Seconds())
	s.gauge(diskFree, float64(room.Free))
	s.gauge(diskReserve, float64(room.Reserve))
}

func (s sink) audit(eng *engine.Engine) error {
	n, err := eng.AuditEntries()
	if err == nil {
		s.counter(auditEntries, float64(n))
	}
	return err
}

func (s sink) waiting(eng *engine.Engine) error {
	w, ok, err := eng.Waiting()
	if err != nil || !ok {
		return err
	}
	for _, status := range engine.WaitingStatuses {
		s.gauge(messagesWaiting, float64(w.ByStatus[status]), string(status))
	}
	s.gauge(messagesDue, float64(w.Due))
	s.gauge(messagesOldest, w.OldestDue.Seconds())
	return nil
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func seconds1970(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
