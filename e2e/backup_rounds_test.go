package e2e

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestBackupsKilled: under a load on 64 connections a backup is made, the process is killed, and all is restored elsewhere, again
// and again. What is restored is one moment of the store, has all that was acknowledged up to the last shipped moment, and has no
// fault; its audit log proves itself, and continues a checkpoint of before.
func TestBackupsKilled(t *testing.T) {
	t.Parallel()
	const most = 10 // of one store, which grows with each
	for left := backupRounds; left > 0; left -= most {
		backupsKilled(t, min(left, most))
	}
}

func backupsKilled(t *testing.T, rounds int) {
	dir, v := t.TempDir(), newVault(t)
	s := serve(t, dir, v.flags()...)
	v.open(s)
	who := newTenant(s, "--requests-per-minute", "0")
	newLine(s, who, "--type", "imessage", "--phone", "+12025550100")
	all, rewinds, lost := map[string]sent{}, 0, 0
	for round := range rounds {
		checkpoint := v.checkpoint(s)
		load := startLoad(s.url, who, round*1_000_000)
		eventually(t, "the load runs", func() bool { return load.count() > 2*connections })
		before := s.metric("tuco_backup_last_success_timestamp_seconds")
		began := time.Now()
		s.tuco(nil, "backup", "create")
		if after := s.metric("tuco_backup_last_success_timestamp_seconds"); after <= before {
			t.Errorf("a full backup of %v after one of %v", after, before)
		}
		enough := load.count() + rand.N(40*connections)
		eventually(t, "the load goes on", func() bool { return load.count() >= enough })
		shipped := s.shipped()
		if shipped.Before(began) {
			shipped = began // the full backup has it
		}
		s.kill()
		load.end(t, all)

		restored, out, rewound := v.restore()
		if rewound {
			rewinds++
		}
		r := serveRestored(t, restored, who, out)
		lost += len(compare(t, r.kept(who), all, shipped, time.Now()))
		v.proves(r, checkpoint)
		r.kill()
		s = serve(t, dir, v.flags()...)
		for text, id := range s.kept(who) { // in the store itself is also what nobody was told of
			m := all[text]
			m.id = id
			all[text] = m
		}
		s.allShipped()
		t.Logf("round %d of %d: %d messages so far", round+1, rounds, len(all))
	}
	s.check()
	s.kill()
	t.Logf("%d rounds: %d messages, of which %d were not shipped at the kill of their round; %d times an anchor was ahead", rounds, len(all), lost, rewinds)
}
