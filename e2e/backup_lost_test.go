package e2e

import (
	"os"
	"testing"
	"time"
)

// What a loss costs: what was committed since the last shipment began. On a machine that others use, the look at the log, which is
// due every quarter of a second, and the shipment itself come late.
const (
	sampled       = 250*time.Millisecond + lateness
	recoveryPoint = ship + 250*time.Millisecond + lateness
	lateness      = 1500 * time.Millisecond
)

// TestDirectoryLost: the data directory is deleted under load. What is lost are the changes of the recovery point, and no
// others; and one can go back to an earlier moment.
func TestDirectoryLost(t *testing.T) {
	t.Parallel()
	dir, v := t.TempDir(), newVault(t)
	s := serve(t, dir, v.flags()...)
	v.open(s)
	who := newTenant(s, "--requests-per-minute", "0")
	newLine(s, who, "--type", "imessage", "--phone", "+12025550100")
	all := map[string]sent{}

	first := startLoad(s.url, who, 0)
	eventually(t, "the load runs", func() bool { return first.count() > 10*connections })
	first.end(t, all)
	s.allShipped()
	quiet, then := time.Now(), len(all)
	eventually(t, "a later moment", func() bool { return time.Since(quiet) > time.Second })

	second := startLoad(s.url, who, 1_000_000)
	eventually(t, "the load runs", func() bool { return second.count() > 10*connections })
	busy := time.Now()
	eventually(t, "the load goes on", func() bool { return time.Since(busy) > 4*ship })
	gone := time.Now()
	deleteUnder(t, dir)
	s.kill()
	second.end(t, all)

	v.restoredTo(quiet, who, func(r *server) {
		if kept := r.kept(who); len(kept) != then {
			t.Errorf("at %v there were %d messages, and %d are restored", quiet, then, len(kept))
		}
	})
	v.restoredTo(busy, who, func(r *server) { compare(t, r.kept(who), all, busy.Add(-sampled), busy.Add(time.Millisecond)) })

	restored, out, _ := v.restore()
	r := serveRestored(t, restored, who, out)
	lost := compare(t, r.kept(who), all, gone.Add(-recoveryPoint), time.Now())
	age := time.Duration(0)
	for _, m := range lost {
		age = max(age, gone.Sub(m.acked))
	}
	t.Logf("%d messages, of which %d are lost; the oldest of them was acknowledged %v before the directory went, with --backup-ship %v",
		len(all), len(lost), age.Round(time.Millisecond), ship)
}

// deleteUnder deletes a directory in which a server makes and removes files.
func deleteUnder(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "the directory goes", func() bool { return os.RemoveAll(dir) == nil })
}

// restoredTo restores what there was at a moment, and lets look at it.
func (v *vault) restoredTo(at time.Time, who tenant, look func(r *server)) {
	v.t.Helper()
	dir, out, _ := v.restore("--to", at.UTC().Format("2006-01-02T15:04:05.000Z"))
	r := serveRestored(v.t, dir, who, out)
	look(r)
	r.kill()
}
