package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tuco/backup/keeper"
	"tuco/engine"
)

// recorded makes an entry of the audit log, and returns a copy of the anchor that has seen it.
func (r *rig) recorded(what string) (anchor string) {
	r.t.Helper()
	n := int64(len(what))
	must[engine.Plan](r.t)(r.eng.Admin().SetPlan(what, engine.PlanChange{MessagesPerDay: &n}))
	if err := r.eng.KeepAudit(); err != nil {
		r.t.Fatal(err)
	}
	anchor = filepath.Join(r.t.TempDir(), "anchor")
	if err := os.WriteFile(anchor, must[[]byte](r.t)(os.ReadFile(r.anchor())), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return anchor
}

func (r *rig) sendMany(n int, text string) {
	r.t.Helper()
	var all sync.WaitGroup
	who := r.who()
	for worker := range 10 {
		all.Go(func() {
			for i := range n / 10 {
				if _, err := r.eng.Send(who, nil, engine.SendRequest{Text: text, Phone: fmt.Sprintf("+1212555%04d", 1000*i+worker)}); err != nil {
					r.t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// TestBacklogAndAnchors: what waited while the target was away is shipped in pieces, and the server may die after each. Whatever an
// anchor has seen, a plan says that it is ahead if entries are lost, and not otherwise; so does the restore.
func TestBacklogAndAnchors(t *testing.T) {
	r := newRig(t)
	k := r.started()
	anchors := []string{r.recorded("before")}
	r.shipped(k)
	away := r.target + ".away"
	if err := os.Rename(r.target, away); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		anchors = append(anchors, r.recorded(fmt.Sprint("waits", i)))
		for range 5 {
			r.sendMany(100, strings.Repeat("A long text. ", 1500))
			position := int64(r.eng.Position())
			eventually(t, "the moment is noted", func() bool { s := k.Status(); return int64(s.ShippedTo)+s.Behind >= position })
		}
	}
	if err := os.Rename(away, r.target); err != nil {
		t.Fatal(err)
	}
	r.shipped(k)
	k.Stop()

	logs := r.logs()
	if len(logs) < 4 {
		t.Fatalf("the backlog is in %d objects", len(logs))
	}
	outlooks := map[keeper.Outlook]int{}
	for ; ; logs = logs[:len(logs)-1] {
		found := r.found(nil)
		if got := bad(found); len(found) != 1 || len(got) > 0 {
			t.Fatalf("%d logs: %+v", len(logs), found)
		}
		var entries uint64
		for _, v := range found {
			entries = v.Entries
		}
		for i, anchor := range anchors {
			opt := r.restoring()
			opt.Anchors = []string{anchor}
			plan := must[keeper.RestorePlan](t)(keeper.PlanRestore(context.Background(), opt))
			got, lost := plan.Anchors(), plan.Anchor.Size > entries
			outlooks[got]++
			if got == keeper.Ahead != lost && got != keeper.MaybeAhead || got != keeper.Ahead && got != keeper.Agrees && got != keeper.MaybeAhead {
				t.Errorf("%d logs with %d entries, an anchor of %d: %v", len(logs), entries, plan.Anchor.Size, got)
			}
			if i != len(logs)%len(anchors) { // one each is restored, too
				continue
			}
			if _, err := keeper.Restore(context.Background(), opt, plan); errors.As(err, new(*engine.RewindError)) != lost || err != nil && !lost {
				t.Errorf("%d logs with %d entries, an anchor of %d: %v", len(logs), entries, plan.Anchor.Size, err)
			}
		}
		if len(logs) == 0 {
			break
		}
		if err := r.opt.Target.Delete(context.Background(), logs[len(logs)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if outlooks[keeper.Ahead] < 6 || outlooks[keeper.Agrees] < 6 || outlooks[keeper.MaybeAhead] > 3 {
		t.Errorf("ahead, agree, may be ahead: %v", outlooks)
	}
}

// TestEntriesUnderLoad: while entries are added all the time, a manifest that says how many there are is right.
func TestEntriesUnderLoad(t *testing.T) {
	r := newRig(t)
	k := r.started()
	stop := make(chan struct{})
	var load sync.WaitGroup
	for worker := range 4 {
		load.Go(func() {
			for n := int64(1); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := r.eng.Admin().SetPlan(fmt.Sprint("plan", worker), engine.PlanChange{MessagesPerDay: &n}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	eventually(t, "enough is shipped", func() bool { return len(r.logs()) >= 8 })
	close(stop)
	load.Wait()
	r.shipped(k)
	k.Stop()
	for n := len(r.logs()); n > 0; n-- {
		for _, v := range r.found(nil) {
			if len(v.Faults) > 0 {
				t.Errorf("%d logs: %q", n, v.Faults)
			}
		}
		all := r.objects()
		if err := r.opt.Target.Delete(context.Background(), all[len(all)-1]); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnchorsOfEpochs: after a restore that lost entries, an anchor of before it has seen more than the new log holds. It proves
// nothing, and refuses nothing; the one of the new epoch counts, wherever the two lie.
func TestAnchorsOfEpochs(t *testing.T) {
	r := newRig(t)
	k := r.started()
	early := r.recorded("early")
	r.shipped(k)
	k.Stop()
	for i := range 9 { // not shipped
		r.recorded(fmt.Sprint("lost", i))
	}
	old := r.recorded("lost")
	r.restored(func(o *keeper.RestoreOptions) { o.Anchors, o.Rewind = []string{old}, "the disk died" })
	both := filepath.Join(t.TempDir(), "both")
	k = r.started()
	if _, _, err := r.eng.Admin().AddStaff(engine.NewStaff{Name: "Sam", Email: "sam@vendor.example", Employer: "Vendor", Country: "DE", Role: "support"}); err != nil {
		t.Fatal(err)
	}
	young := r.recorded("new")
	r.shipped(k)
	k.Stop()
	if err := os.WriteFile(both, bytes.Join([][]byte{must[[]byte](t)(os.ReadFile(young)), must[[]byte](t)(os.ReadFile(old))}, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	later := r.recorded("not shipped")
	none := filepath.Join(t.TempDir(), "none")
	for _, tt := range []struct {
		anchors []string
		want    keeper.Outlook
		missing int
		off     bool // staff is disabled: revocations may be lost
	}{
		{[]string{old}, keeper.OfOldEpoch, 0, true},
		{[]string{early}, keeper.OfOldEpoch, 0, true}, // the log has all of it, and may have lost what came after the restore
		{[]string{young}, keeper.Agrees, 0, false},
		{[]string{old, young}, keeper.Agrees, 0, false},
		{[]string{young, old, none}, keeper.Agrees, 1, false},
		{[]string{"+" + both}, keeper.Agrees, 0, false},
		{[]string{old, later, young}, keeper.Ahead, 0, true},
		{[]string{none}, keeper.NoAnchor, 1, true},
	} {
		opt := r.restoring()
		opt.Anchors = tt.anchors
		plan := must[keeper.RestorePlan](t)(keeper.PlanRestore(context.Background(), opt))
		if got := plan.Anchors(); got != tt.want || len(plan.Missing) != tt.missing {
			t.Errorf("%q: %v, want %v; missing are %q", tt.anchors, got, tt.want, plan.Missing)
		}
		done, err := keeper.Restore(context.Background(), opt, plan)
		if errors.As(err, new(*engine.RewindError)) != (tt.want == keeper.Ahead) || err != nil && tt.want != keeper.Ahead {
			t.Errorf("%q: %v", tt.anchors, err)
		}
		if err == nil && done.StaffOff > 0 != tt.off {
			t.Errorf("%q: %+v", tt.anchors, done)
		}
	}
}
