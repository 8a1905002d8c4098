package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/rs/zerolog"

	"tuco/backup"
	"tuco/engine"
	"tuco/kv"
)

// Options say what is kept where.
type Options struct {
	Engine     *engine.Engine
	Product    string // version of the program
	Dir        string // of temporary files: the data directory
	Target     backup.Target
	Encryption backup.Encryption // no passphrase: to stretch it takes a second for each object
	Keys       backup.Keys       // open what is encrypted, for verification; without them only digests are compared
	Keep       backup.Keep
	Schedule   string        // of full backups, as cron writes it, in UTC; none if empty
	Verify     string        // of verifications, likewise
	Ship       time.Duration // how far the changes may be behind; 5 s if 0
	MaxAge     time.Duration // of the newest full backup, before it is a warning; 26 h if 0
	MaxBehind  int64         // bytes of the log that wait for a target that is away, before a new full backup is needed; 1 GiB if 0
	Pace       int64         // bytes a second that a full backup reads, and a verification writes; 0 is any
	Log        zerolog.Logger
	Now        func() time.Time
}

// A Keeper makes backups until it is stopped. Its methods may be called by several goroutines.
type Keeper struct {
	opt    Options
	ctx    context.Context
	cancel context.CancelFunc
	cron   gocron.Scheduler
	done   chan struct{} // closed when nothing is shipped any more
	full   sync.Mutex    // one full backup, or verification, at a time

	ship     shipping
	catching catching

	mu       sync.Mutex
	status   Status
	failures map[string]string // what fails, and how
}

// What can fail, as it is said.
const (
	fullFailed   = "The full backup"
	shipFailed   = "Shipping the changes"
	retireFailed = "Deleting old backups"
)

// Status is how the backups stand.
type Status struct {
	FullAt         time.Time   // when the newest full backup was taken; zero: never
	FullBytes      int64       // of it, as stored
	ShippedAt      time.Time   // when everything that was committed by then was in the target
	ShippedTo      kv.Position // what was committed before is there
	Behind         int64       // bytes of the log that are not there yet
	VerifiedAt     time.Time   // when a backup was last verified with success
	VerifyError    string      // of the last verification; empty if it was right
	Failures       int64       // of full backups and shipping, since the start
	VerifyFailures int64       // since the start
	Error          string      // what failed when it was last done, and why; empty if nothing
	FullDue        bool        // the chain is broken, or the last full backup failed: one is made as soon as it can be
	VerifyDue      bool        // the last verification found out nothing, for lack of the target or of space: it is tried again
	Connected      bool        // the target was listed: what there is in it is known
	Other          backup.Name // the newest full backup in the target, if this installation was found new and empty there; else zero
}

const (
	defaultShip      = 5 * time.Second
	defaultMaxAge    = 26 * time.Hour
	defaultMaxBehind = 1 << 30
	tempPrefix       = "backup-"
)

// Start removes what a process before this one left half done, and begins to ship and to keep the schedule.
func Start(opt Options) (*Keeper, error) {
	opt.Ship, opt.MaxAge, opt.MaxBehind = cmp.Or(opt.Ship, defaultShip), cmp.Or(opt.MaxAge, defaultMaxAge), cmp.Or(opt.MaxBehind, defaultMaxBehind)
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if err := errors.Join(opt.Encryption.Check(), opt.Keep.Check()); err != nil {
		return nil, err
	}
	if err := RemoveTemporary(opt.Dir); err != nil {
		return nil, err
	}
	if opt.Encryption.Passphrase != "" {
		return nil, fmt.Errorf("%w: what is shipped all the time is encrypted to recipients, not with a passphrase", backup.ErrInvalid)
	}
	k := &Keeper{opt: opt, done: make(chan struct{}), failures: map[string]string{}}
	before := k.state()
	k.status.VerifiedAt, k.status.VerifyError, k.status.VerifyDue = before.VerifiedAt, before.Error, before.Due
	k.ctx, k.cancel = context.WithCancel(context.Background())
	var err error
	if k.cron, err = gocron.NewScheduler(gocron.WithLocation(time.UTC)); err != nil {
		return nil, err
	}
	for what, job := range map[string]struct {
		schedule string
		run      func()
	}{
		"backup":       {opt.Schedule, func() { _, _ = k.Full(k.ctx) }},
		"verification": {opt.Verify, func() { _, _ = k.Verify(k.ctx) }},
	} {
		if job.schedule == "" {
			continue
		}
		if _, err := k.cron.NewJob(gocron.CronJob(job.schedule, false), gocron.NewTask(job.run), gocron.WithSingletonMode(gocron.LimitModeReschedule)); err != nil {
			k.cancel()
			return nil, fmt.Errorf("the schedule of the %s, %q: %w", what, job.schedule, err)
		}
	}
	k.cron.Start()
	go k.run()
	return k, nil
}

// CheckSchedule tells why s can't be [Options.Schedule] or [Options.Verify].
func CheckSchedule(s string) error {
	if s != "" && gocron.NewDefaultCron(false).IsValid(s, time.UTC, time.Now()) != nil {
		return fmt.Errorf("%q is not minute, hour, day, month and weekday as cron writes them, such as 17 2 * * *", s)
	}
	return nil
}

// RemoveTemporary removes what was left behind in a data directory by a process that died.
func RemoveTemporary(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, tempPrefix+"*"))
	for _, path := range left {
		if info, failed := os.Stat(path); failed == nil && info.IsDir() && strings.HasPrefix(filepath.Base(path), tempPrefix) {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}

// Finish ships what is still missing, and says in the target that nothing comes after. The engine must not write any more.
// It gives up when ctx ends.
func (k *Keeper) Finish(ctx context.Context) error {
	k.cancel()
	err := k.cron.Shutdown()
	<-k.done
	k.catching.all.Wait()
	return errors.Join(err, k.finishShipping(ctx))
}

// Stop ends at once.
func (k *Keeper) Stop() {
	k.cancel()
	_ = k.cron.Shutdown()
	<-k.done
	k.catching.all.Wait()
	k.ship.close()
}

// Status tells how the backups stand.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

func (k *Keeper) note(change func(s *Status)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.status)
}

// failed notes a failure, and logs it if it is news.
func (k *Keeper) failed(what string, err error) {
	if errors.Is(err, context.Canceled) && k.ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	_, known := k.failures[what]
	k.failures[what] = err.Error()
	k.status.Failures++
	k.status.Error = k.failing()
	k.mu.Unlock()
	if !known {
		k.opt.Log.Error().Err(err).Msg(what + " failed")
	}
}

// worked takes back what failed before.
func (k *Keeper) worked(what string) {
	k.mu.Lock()
	_, known := k.failures[what]
	delete(k.failures, what)
	k.status.Error = k.failing()
	k.mu.Unlock()
	if known {
		k.opt.Log.Info().Msg(what + " works again")
	}
}

// failing says all that fails. The caller holds the lock.
func (k *Keeper) failing() string {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(k.failures)) {
		all = append(all, what+": "+k.failures[what])
	}
	return strings.Join(all, "; ")
}

// Warnings say in words what is not as it should be.
func (k *Keeper) Warnings() (all []string) {
	s, now := k.Status(), k.opt.Now()
	if s.Other != (backup.Name{}) && k.empty() {
		all = append(all, s.otherWarning())
	}
	switch {
	case s.FullAt.IsZero() && s.Connected:
		all = append(all, "There is no backup yet.")
	case !s.FullAt.IsZero() && now.Sub(s.FullAt) > k.opt.MaxAge:
		all = append(all, fmt.Sprintf("The newest full backup is of %s.", s.FullAt.Format(time.RFC3339)))
	}
	if s.Error != "" {
		all = append(all, "Backups fail: "+s.Error+".")
	}
	if s.Behind > 0 && now.Sub(s.ShippedAt) > max(time.Minute, 10*k.opt.Ship) {
		all = append(all, fmt.Sprintf("Since %s no changes have come to the backup: a lost disk would lose them.", s.ShippedAt.Format(time.RFC3339)))
	}
	if s.VerifyError != "" {
		all = append(all, "The verification of the newest backup failed: "+s.VerifyError+".")
	}
	return all
}
